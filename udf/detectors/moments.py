"""Mean and variance of the last values, kept up to date as the window over them moves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from detectors.base import State, StateValue, Values, scalar, vector

CANCELLED = 1e-4
"""Recompute once the sum of squares has shrunk to this part of its peak.

Every addition and removal leaves an error of about 1e-16 of the largest sum of squares seen, so
with the 1e-4 at least ten digits remain right.
"""


def moments(values: Values, origin: float) -> tuple[int, float, float]:
    """Return the number of values, their mean less `origin`, and their squared deviations' sum.

    The values are first shifted by one of them: a large offset then costs no digits, and
    constant values give exactly their mean and exactly 0.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        At least one value.
    origin : float
        What the mean is given relative to; near the values, it keeps the mean's digits.

    Examples
    --------
    >>> moments(np.array([1e9 + 1, 1e9 + 2, 1e9 + 3]), origin=1e9)
    (3, 2.0, 2.0)
    """
    n = values.size
    first = float(values[0])
    shifted = values - first
    mean = float(np.add.reduce(shifted)) / n
    shifted -= mean
    return n, (first - origin) + mean, float(shifted @ shifted)


class RollingMoments:
    """Count, mean and sum of squared deviations of the last `size` values.

    Values enter in blocks and the oldest leave. A block is merged, or taken out again, by the
    pairwise formulas of Chan, Golub and LeVeque, in the time the block takes and not the history.
    Two things keep rounding from building up over days: the moments are computed afresh whenever
    the whole history has been replaced, and whenever taking a block out has cancelled most
    digits (as when an outlier leaves). Between two such times means are kept relative to one
    `origin` among the values, so that a large offset takes no digits from their differences.

    Parameters
    ----------
    size : int
        Values to keep, at least 2.

    Attributes
    ----------
    n : int
        Values held, at most `size`.
    origin : float
        What `mean` is relative to.
    mean : float
        Their mean less `origin`; 0 if there are none.
    m2 : float
        The sum of their squared deviations from the mean; never negative.

    References
    ----------
    .. [1] Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). "Algorithms for computing the
           sample variance: analysis and recommendations". The American Statistician 37(3),
           242-247.

    Examples
    --------
    >>> history = RollingMoments(3)
    >>> history.extend(np.array([10.0, 1.0, 2.0]))
    >>> history.extend(np.array([3.0]))
    >>> history.n, history.origin + history.mean, history.m2
    (3, 2.0, 2.0)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # Twice the size: the values stay contiguous and in order, and are moved to the front
        # only once in `size` values.
        self._buffer = np.empty(2 * size, dtype=np.float64)
        self._start = self._end = 0
        self._forget()

    def _forget(self) -> None:
        self._start = self._end = 0
        self.n = 0
        self.origin = 0.0
        self.mean = 0.0
        self.m2 = 0.0
        self._peak = 0.0
        self._since = 0

    @property
    def values(self) -> Values:
        """The values held, oldest first: a view, valid until the next change."""
        return self._buffer[self._start : self._end]

    @property
    def variance(self) -> float:
        """Unbiased sample variance; NaN with fewer than two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else math.nan

    def extend(self, block: Values) -> None:
        """Append a block of finite values and let the oldest beyond `size` go."""
        if not block.size:
            return
        if block.size >= self.size:
            self._forget()
            block = block[-self.size :]
        if not self.n:
            self.origin = float(block[0])
        self._merge(*moments(block, self.origin))
        surplus = self.n - self.size
        if surplus > 0:
            # The block is smaller than `size`, so what leaves was there before it.
            self._remove(*moments(self.values[:surplus], self.origin))
            self._start += surplus
        self._append(block)
        self._since += block.size
        if self._since >= self.size or self.m2 < CANCELLED * self._peak:
            self._recompute()

    def _append(self, block: Values) -> None:
        if self._end + block.size > self._buffer.size:
            held = self._end - self._start
            self._buffer[:held] = self._buffer[self._start : self._end].copy()
            self._start, self._end = 0, held
        self._buffer[self._end : self._end + block.size] = block
        self._end += block.size

    def _merge(self, n: int, mean: float, m2: float) -> None:
        total = self.n + n
        delta = mean - self.mean
        self.m2 += m2 + delta * delta * self.n * n / total
        self.mean += delta * n / total
        self.n = total
        self._peak = max(self._peak, self.m2)

    def _remove(self, n: int, mean: float, m2: float) -> None:
        left = self.n - n
        delta = mean - self.mean
        self.mean -= delta * n / left
        self.m2 -= m2 + delta * delta * self.n * n / left
        # Rounding can take it just below; the peak then orders a fresh computation.
        self.m2 = max(self.m2, 0.0)
        self.n = left

    def _recompute(self) -> None:
        self.origin = float(self.values[0])
        self.n, self.mean, self.m2 = moments(self.values, self.origin)
        self._peak = self.m2
        self._since = 0

    def state(self) -> State:
        """Return the values and the running figures, so that restoring is exact."""
        return {
            "values": self.values.copy(),
            "origin": self.origin,
            "mean": self.mean,
            "m2": self.m2,
            "peak": self._peak,
            "since": self._since,
        }

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Take over a state; of a longer history, as from a larger `size`, the newest values.

        Raises
        ------
        ValueError
            If a part is missing or malformed; nothing is changed then.
        """
        values = vector(state, "values")
        origin, mean, m2, peak = (scalar(state, k) for k in ("origin", "mean", "m2", "peak"))
        since = int(scalar(state, "since"))
        if m2 < 0 or peak < 0 or since < 0:
            raise ValueError("state: m2, peak and since must not be negative")
        self._forget()
        if not values.size:
            return
        if values.size > self.size:
            self._append(values[-self.size :])
            self._recompute()
            return
        self._append(values)
        self.n, self.origin, self.mean, self.m2 = values.size, origin, mean, m2
        self._peak, self._since = peak, since
