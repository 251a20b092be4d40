"""Welch's t-test of each window against a rolling history of normal values."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from detectors.base import Scores, State, StateValue, Values, WindowDetector, usable
from detectors.moments import RollingMoments, moments
from detectors.student_t import two_sided_pvalue

LARGEST_T = sys.float_info.max


class Welch(WindowDetector):
    r"""Welch's t-test of each window against a rolling history of normal values.

    *Idea.* A process under control draws every window from the same population as the windows
    before it. The null hypothesis is that the window's mean is the history's; the lower its
    probability, the more abnormal the window. Welch's form does not assume that both have the
    same variance. The history grows only by windows that pass the test, so an anomaly does not
    become the new normal.

    *Formula.* With the number :math:`n`, mean :math:`\bar x` and sample variance :math:`s^2` of
    the history (h) and the window (w),

    .. math::

        t = \frac{\bar x_h - \bar x_w}{\sqrt{v_h + v_w}}, \qquad v = \frac{s^2}{n}, \qquad
        \nu = \frac{(v_h + v_w)^2}{v_h^2 / (n_h - 1) + v_w^2 / (n_w - 1)}

    and the p-value is the two-sided tail of Student's t distribution with :math:`\nu` degrees of
    freedom. A negative t is a window above its history.

    *Units.* t and the p-value have none; the p-value lies in [0, 1] and may underflow to 0.

    *Trade-off.* It sees the mean and not the spread: a window that swings twice as far about the
    same mean passes. It takes the values for independent: slow oscillations within a window make
    the p-values too small. A change that stays is reported for ever, since the history waits for
    the old level to return, and a drift slower than the history is learned. A window that is
    abnormal only in part may pass and shift a short history so far that normal windows fail:
    keep ten windows or more, and alpha not below 0.001 where the history is shorter.

    *Edges.* The first window has nothing to be compared with: t = 0, p = 1, and it is learned.
    So it is with windows that hold no measurement, which teach nothing. Missing measurements
    (NaN, infinities, magnitudes over 1e150) are left out. Where one side has a single value,
    which says nothing of its variance, Student's test with the other side's variance stands in;
    two single values give t = 0, p = 1. With no variance on either side, equal means give t = 0,
    p = 1, and different ones p = 0 with t the largest finite number of its sign.

    Parameters
    ----------
    size : int
        Values of history to keep, at least 2. The history fills window by window; of a window
        larger than the history the newest values are kept.
    alpha : float
        Significance level in (0, 1): the history is extended by windows with p > alpha. One
        window in 1/alpha of a normal process fails the test.

    Raises
    ------
    ValueError
        Naming every argument that is out of range.

    References
    ----------
    .. [1] Welch, B. L. (1947). "The generalization of 'Student's' problem when several different
           population variances are involved". Biometrika 34(1-2), 28-35.

    Examples
    --------
    Six windows of a hot end held at 220 °C, the fifth 1.5 °C too cold:

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> detector = Welch(size=3600, alpha=0.001)
    >>> for offset in (0, 0, 0, 0, -1.5, 0):
    ...     scores = detector.update(rng.normal(220 + offset, 0.5, 300))
    ...     print(f"{scores['t']:6.2f} {scores['pvalue']:.2g}")
      0.00 1
     -1.52 0.13
      0.36 0.72
     -0.05 0.96
     43.84 1.5e-162
     -1.71 0.088
    """

    def __init__(self, size: int, alpha: float) -> None:
        problems = []
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            problems.append(f"size must be a whole number of at least 2, got {size!r}")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
            problems.append(f"alpha must be a number between 0 and 1, got {alpha!r}")
        if problems:
            raise ValueError("; ".join(problems))
        self.size = size
        self.alpha = float(alpha)
        self._history = RollingMoments(size)

    def update(self, values: Values) -> Scores:
        """Test one window and extend the history by it if it was normal.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            The window's measurements, in the field's unit and in order of time.

        Returns
        -------
        dict of str to float
            ``t`` and ``pvalue``.
        """
        window = usable(values)
        if not window.size:
            return {"t": 0.0, "pvalue": 1.0}
        t, pvalue = self._test(*moments(window, self._history.origin))
        if pvalue > self.alpha:
            self._history.extend(window)
        return {"t": t, "pvalue": pvalue}

    def _test(self, n: int, mean: float, m2: float) -> tuple[float, float]:
        history = self._history
        if history.n == 0 or history.n + n < 3:
            return 0.0, 1.0
        difference = history.mean - mean
        if n > 1 and history.n > 1:
            v_history = history.m2 / (history.n - 1) / history.n
            v_window = m2 / (n - 1) / n
            squared = v_history + v_window
            # As shares of the sum: squares of small variances could underflow.
            share = v_history / squared if squared else 0.0
            freedom = 1 / (share**2 / (history.n - 1) + (1 - share) ** 2 / (n - 1))
        else:
            freedom = history.n + n - 2
            squared = (history.m2 + m2) / freedom * (1 / history.n + 1 / n)
        if squared == 0:
            if difference == 0:
                return 0.0, 1.0
            return math.copysign(LARGEST_T, difference), 0.0
        t = min(max(difference / math.sqrt(squared), -LARGEST_T), LARGEST_T)
        return t, two_sided_pvalue(t, freedom)

    def state(self) -> State:
        """Return the history and its running figures."""
        return self._history.state()

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Take over a history; of a longer one the newest `size` values.

        Raises
        ------
        ValueError
            If a part is missing or malformed; the history is unchanged then.
        """
        self._history.restore(state)
