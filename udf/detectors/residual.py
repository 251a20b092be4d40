"""Judges each value by how far it is from the forecast that was made for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.base import LARGEST, Scores, State, StateValue, StreamDetector, scalar, vector
from detectors.checks import not_positive, whole_numbers
from detectors.page import Page

VERSION = 1
_SECOND = 1_000_000_000
_BATCH = 60  # samples after which the scale is brought up to date


class Judgement(NamedTuple):
    """What is said of one value; see `Residual` for the names."""

    residual: float
    score: float
    bias: float
    anomaly: bool


class Residual(StreamDetector):
    """Flags values that are far from their forecasts, or a little off for too long.

    *Idea.* What is far depends on two things: how wrong forecasts of this series usually are,
    for which a robust scale over a day of them speaks, and how unsure this very forecast is,
    which its bounds say.

    *Formula.* For the value y(t), with the forecast f and the half-width h of its bounds
    interpolated to the time t, the residual is r = y - f and the score

        z = r / sqrt(σ² + (h / 2)²),    σ = 1.4826 median |r|.

    Two rules raise the flag. The first: |z| > `threshold`. The second adds up what is small but
    stays: `Page`'s sums of z, cut at 6, with `allowance` and `limit`, in steps of the time since
    the value before over `pace`; at the limit, which is a `bias` of 1, the flag is raised. A value
    that comes more than `silence` seconds after the one before it is flagged too: something was
    not measured.

    *What it does not learn.* The median is over one residual every 30 seconds for a day, and only
    of values that are not flagged while the bias is below a half. A median does not move
    much until half of what it is over is bad, and the forecasts do not learn the anomaly either.

    *Trade-off.* A lower threshold flags earlier and more often wrongly. The second rule finds
    drifts that never go far beyond the bounds, after a multiple of `pace`. There is no score
    before the first half hour of forecasts.

    Parameters
    ----------
    threshold : float
        Score that is too far for a single value.
    allowance : float
        Score that may last; below 6.
    pace : float
        Seconds in which the sum grows by one for each 1 of score over the allowance: about the
        time for which errors of a forecast hang together.
    limit : float
        Sum at which a lasting error is flagged.
    silence : float
        Seconds without a value that are too long.
    apart : float
        Seconds between two forecasts over which it is still interpolated.

    Raises
    ------
    ValueError
        Listing everything that is wrong with the arguments.

    Examples
    --------
    >>> residual = Residual()
    >>> random = np.random.default_rng(1)
    >>> flagged = []
    >>> for second in range(7200):
    ...     time = second * 10**9
    ...     if second % 30 == 0:
    ...         residual.expect(time + 30 * 10**9, 20.0, 19.8, 20.2)
    ...     value = 20 + random.normal(0, 0.1) + (3.0 if second == 5000 else 0.0)
    ...     if residual.update(value, time)["anomaly"]:
    ...         flagged.append(second)
    >>> flagged
    [5000]

    References
    ----------
    .. [1] F. R. Hampel, "The influence curve and its role in robust estimation", Journal of the
       American Statistical Association 69 (1974), 383-393: the scale.
    .. [2] E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), 100-115: the sums.
    """

    _CUT = 6.0
    _SAMPLE = 30 * _SECOND
    _SAMPLES = 2880
    _EXPECTED = 1024  # forecasts kept at most: eight hours of one every 30 s

    def __init__(
        self,
        threshold: float = 7.0,
        allowance: float = 0.75,
        pace: float = 600.0,
        limit: float = 6.0,
        silence: float = 60.0,
        apart: float = 120.0,
    ) -> None:
        wrong = not_positive("seconds", pace=pace, silence=silence, apart=apart)
        wrong += not_positive("deviations", threshold=threshold, allowance=allowance, limit=limit)
        if allowance >= self._CUT:
            wrong.append(f"allowance must be below {self._CUT:g}, got {allowance!r}")
        if wrong:
            raise ValueError("; ".join(wrong))
        self.threshold = threshold
        self.pace = pace * _SECOND
        self.silence = round(silence * _SECOND)
        self.apart = round(apart * _SECOND)
        self._page = Page(allowance, self._CUT, limit)
        # (time, forecast, half-width) in order of time; the first is at or before the present.
        self._expected: deque[tuple[int, float, float]] = deque(maxlen=self._EXPECTED)
        self._samples = np.zeros(0)
        self._fresh: list[float] = []  # samples that the scale does not know yet
        self._scale = 0.0  # σ
        self._sampled: int | None = None
        self._time: int | None = None

    def expect(self, time: int, forecast: float, lower: float, upper: float) -> None:
        """Take a forecast for `time` (ns since 1970 UTC); one out of order is ignored."""
        if self._expected and time <= self._expected[-1][0]:
            return
        half = (upper - lower) / 2
        if half > 0 and abs(forecast) <= LARGEST and half <= LARGEST:
            self._expected.append((time, forecast, half))

    def observe(self, value: float, time: int) -> Judgement | None:
        """Judge one value; None if there is no forecast to judge it by, nor a silence before it.

        Parameters
        ----------
        value : float
            Ignored if it is not finite or beyond 1e150.
        time : int
            ns since 1970 UTC.
        """
        if not -LARGEST <= value <= LARGEST:
            return None
        since = time - self._time if self._time is not None else 0
        silent = since > self.silence
        if since < -self.apart:  # a clock set back, or old data again: forecasts are for later
            self._expected.clear()
        self._time = time
        expected = self._expected
        while len(expected) > 1 and expected[1][0] <= time:
            expected.popleft()
        if len(expected) > 1 and expected[0][0] <= time:
            begin, forecast, half = expected[0]
            end, forecast_then, half_then = expected[1]
            if end - begin <= self.apart:
                share = (time - begin) / (end - begin)
                forecast += share * (forecast_then - forecast)
                half += share * (half_then - half)
                return self._judge(value - forecast, half, time, since, silent)
        return Judgement(0.0, 0.0, self._page.bias, anomaly=True) if silent else None

    def _judge(
        self, residual: float, half: float, time: int, since: int, silent: bool
    ) -> Judgement:
        if not self._samples.size:
            self._sample(residual, time)
            return Judgement(residual, 0.0, 0.0, anomaly=silent)
        score = residual / math.sqrt(self._scale * self._scale + half * half / 4)
        # After a silence nothing is known of the time before.
        bias = (
            self._page.add(score, since / self.pace)
            if since > 0 and not silent
            else self._page.bias
        )
        far = abs(score) > self.threshold
        if not far and bias < 0.5:
            self._sample(residual, time)
        return Judgement(residual, score, bias, anomaly=far or bias >= 1 or silent)

    def _sample(self, residual: float, time: int) -> None:
        if self._sampled is not None and 0 <= time - self._sampled < self._SAMPLE:
            return
        self._sampled = time
        self._fresh.append(abs(residual))
        if len(self._fresh) >= _BATCH:
            self._samples = np.concatenate((self._samples, self._fresh))[-self._SAMPLES :]
            self._fresh.clear()
            self._scale = 1.4826 * float(np.median(self._samples))

    @property
    def bias(self) -> float:
        """The larger of the two sums, as a share of the limit."""
        return self._page.bias

    def update(self, value: float, time: int) -> Scores:
        """Judge one value.

        Returns
        -------
        dict
            ``residual`` in units of the value, ``score`` in robust standard deviations,
            ``bias`` as a share of its limit, and ``anomaly``, 0 or 1. All are 0 while there is
            nothing to judge by.
        """
        judged = self.observe(value, time)
        if judged is None:
            return {"residual": 0.0, "score": 0.0, "bias": 0.0, "anomaly": 0.0}
        return {
            "residual": judged.residual,
            "score": judged.score,
            "bias": judged.bias,
            "anomaly": float(judged.anomaly),
        }

    def state(self) -> State:
        """Return all that was learned, as plain values and numpy arrays, safe to keep."""
        began, sampled = self._time is not None, self._sampled is not None
        sizes = len(self._expected), self._samples.size, len(self._fresh)
        counts = (began, self._time or 0, sampled, self._sampled or 0, *sizes)
        # Of a size that does not depend on what was seen.
        expected = np.zeros((self._EXPECTED, 2))
        times = np.zeros(self._EXPECTED, dtype=np.int64)
        for at, (time, *pair) in enumerate(self._expected):
            times[at], expected[at] = time, pair
        samples = np.zeros(self._SAMPLES + _BATCH)
        samples[: sizes[1]] = self._samples
        samples[self._SAMPLES :][: sizes[2]] = self._fresh
        return {
            "version": VERSION,
            "expected_for": times,
            "expected": expected.ravel(),
            "samples": samples,
            "scale": self._scale,
            "above": self._page.above,
            "below": self._page.below,
            "counts": np.array(counts, dtype=np.int64),
        }

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace all that was learned; raise ValueError, changing nothing, if it does not fit."""
        if state.get("version") != VERSION:
            raise ValueError(f"state: version {state.get('version')!r}, this is version {VERSION}")
        expected, samples = vector(state, "expected"), vector(state, "samples")
        times = whole_numbers(state, "expected_for", self._EXPECTED)
        if expected.size != 2 * self._EXPECTED or samples.size != self._SAMPLES + _BATCH:
            raise ValueError("state: expected or samples has another size")
        began, time, sampled, sampled_at, *sizes = whole_numbers(state, "counts", 7)
        most = (self._EXPECTED, self._SAMPLES, _BATCH - 1)
        if not all(0 <= size <= limit for size, limit in zip(sizes, most, strict=True)):
            raise ValueError("state: counts are beyond their limits")
        scale, above, below = (scalar(state, name) for name in ("scale", "above", "below"))
        if min(scale, above, below) < 0:
            raise ValueError("state: scale, above and below must not be negative")
        rows = zip(times, *expected.reshape(-1, 2).T.tolist(), strict=True)
        self._expected = deque(list(rows)[: sizes[0]], maxlen=self._EXPECTED)
        self._samples = samples[: sizes[1]]
        self._fresh = samples[self._SAMPLES :][: sizes[2]].tolist()
        self._scale, self._page.above, self._page.below = scale, above, below
        self._time = time if began else None
        self._sampled = sampled_at if sampled else None
