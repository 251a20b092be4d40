"""Forecasts a series from its own past: what followed when it last looked like this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.base import LARGEST, Scores, State, StateValue, StreamDetector, scalar, vector

VERSION = 1
_SECOND = 1_000_000_000
_ERRORS = 256  # recent errors behind the noise level


class Prediction(NamedTuple):
    """A forecast for one moment: its time in ns since 1970 UTC, the value, and the bounds."""

    time: int
    forecast: float
    lower: float
    upper: float


class Forecast(StreamDetector):
    """Forecasts by analogues: the futures of the most similar moments of the past.

    *Idea.* A fridge, a boiler or a daily load repeats itself, but never with quite the same
    period, which is what a seasonal model needs. Here nothing is assumed about the period. The
    present is described by a few values of the recent past; the most similar such
    descriptions in memory are looked up, and what came after each of them is averaged.

    *Formula.* Values are averaged over intervals, giving y(i). The present is the vector
    x(i) = (y(i), y(i-1), y(i-2), y(i-4), ..., y(i-span)). With N(i) the k past vectors nearest
    to x(i), each with weight w(j) = 1 / (|x(j) - x(i)|² + e²), the forecast H intervals ahead is

        f(i+H) = Σ w(j) y(j+H) / Σ w(j),   j in N(i),

    and its scale is s = sqrt(v + e²): v is the weighted variance of those y(j+H), e the noise,
    1.4826 times the median of the recent absolute errors. The bounds are f ± q s. The
    factor q follows the errors so that `coverage` of the values lie inside: it grows by
    `coverage` / 20 with each value outside and shrinks by (1 - `coverage`) / 20 with each
    inside.

    *What it does not learn.* A value further than `gate` half-widths from its forecast is not
    normal. It moves neither q nor e, no memory that contains it is ever looked up, and
    for the descriptions of the present it is cut to the gate. A series that stays abnormal for
    the time `relearn` is taken to have changed for good, and learning starts over.

    *Trade-off.* Forecasts stay within what was seen: a series that drifts away from its past is
    not followed, which makes the drift visible, and is wrong for one that is meant to grow
    without end; take its difference first. Until `learn` seconds are known there is no forecast,
    and whatever happens in that time counts as normal. A longer `interval` is cheaper and
    less noisy but later. The cost is one search through the memory, O(memory / interval), once
    an interval: tens of microseconds; the values in between only add up.

    Parameters
    ----------
    horizon : float
        How far ahead, in seconds: the forecast made at t is for t + horizon or up to one and a
        half intervals later.
    interval : float
        Seconds over which values are averaged; one forecast is made an interval.
    span : float
        Seconds of the recent past that describe the present.
    memory : float
        Seconds of the past that are kept.
    learn : float
        Seconds of data before the first forecast.
    neighbours : int
        Similar moments that are averaged, k.
    coverage : float
        Share of the normal values between the bounds, between 0.5 and 1.
    gate : float
        Half-widths beyond which a value is not normal.
    relearn : float
        Seconds after which a series that is not normal any more is learned anew.

    Raises
    ------
    ValueError
        Listing everything that is wrong with the arguments.

    Examples
    --------
    A wave whose period wanders between 20 and 28 minutes, a value every 10 seconds:

    >>> random = np.random.default_rng(1)
    >>> phase = np.cumsum(2 * np.pi / random.uniform(120, 168, 8640))
    >>> wave = 20 + np.sin(phase) + random.normal(0, 0.05, 8640)
    >>> forecast = Forecast(horizon=600)
    >>> made = [forecast.observe(value, i * 10 * 10**9) for i, value in enumerate(wave.tolist())]
    >>> made = [prediction for prediction in made if prediction and prediction.time < 86_400e9]
    >>> actual = np.interp([p.time / 1e10 for p in made], np.arange(8640), 20 + np.sin(phase))
    >>> predicted = np.array([p.forecast for p in made])
    >>> naive = np.interp([p.time / 1e10 - 60 for p in made], np.arange(8640), 20 + np.sin(phase))
    >>> print(f"{abs(predicted - actual).mean():.2f} against {abs(naive - actual).mean():.2f}")

    References
    ----------
    .. [1] E. N. Lorenz, "Atmospheric predictability as revealed by naturally occurring
       analogues", Journal of the Atmospheric Sciences 26 (1969), 636-646.
    .. [2] J. D. Farmer and J. J. Sidorowich, "Predicting chaotic time series", Physical Review
       Letters 59 (1987), 845-848.
    .. [3] I. Gibbs and E. Candès, "Adaptive conformal inference under distribution shift",
       Advances in Neural Information Processing Systems 34 (2021): the rule for q.
    """

    def __init__(
        self,
        horizon: float = 600.0,
        interval: float = 30.0,
        span: float = 960.0,
        memory: float = 86_400.0,
        learn: float = 14_400.0,
        neighbours: int = 8,
        coverage: float = 0.95,
        gate: float = 3.0,
        relearn: float = 43_200.0,
    ) -> None:
        wrong = [
            f"{name} must be a number of seconds above 0, got {value!r}"
            for name, value in (
                ("horizon", horizon),
                ("interval", interval),
                ("span", span),
                ("memory", memory),
                ("learn", learn),
                ("relearn", relearn),
            )
            if not 0 < value < 1e9
        ]
        if not 1 <= neighbours <= 1000 or neighbours != int(neighbours):
            wrong.append(f"neighbours must be a whole number from 1 to 1000, got {neighbours!r}")
        if not 0.5 <= coverage < 1:
            wrong.append(f"coverage must be at least 0.5 and below 1, got {coverage!r}")
        if not 1 <= gate < 1e6:
            wrong.append(f"gate must be at least 1 half-width, got {gate!r}")
        if not wrong:
            if not 0.001 <= interval <= min(horizon, span):
                wrong.append("interval must be a millisecond or more, and no more than span or horizon")
            if memory < learn + horizon + span:
                wrong.append("memory must be at least learn + horizon + span")
            if memory / interval > 1e6:
                wrong.append("memory must be at most a million intervals")
            if learn / interval < 2 * neighbours:
                wrong.append("learn must be at least twice as many intervals as neighbours")
        if wrong:
            raise ValueError("; ".join(wrong))
        self.horizon = horizon
        self.interval = round(interval * _SECOND)
        self.ahead = math.ceil(horizon / interval) + 1
        steps = round(span / interval)
        self.lags = np.array([0] + [2**n for n in range(steps.bit_length())], dtype=np.int64)
        self.memory = round(memory / interval)
        self.learn = round(learn / interval)
        self.neighbours = int(neighbours)
        self.coverage = coverage
        self.gate = gate
        self.relearn = round(relearn / interval)
        self._forget()

    def _forget(self) -> None:
        size = self.memory
        # Rings by the number of the interval; the order of the past does not matter to a search.
        self._past = np.zeros((size, self.lags.size))
        self._future = np.zeros(size)
        self._norm = np.full(size, np.inf)  # |x|², infinite where there is nothing to look up
        # As far back as a description and its future reach.
        self._reach = int(self.lags[-1]) + self.ahead + 1
        self._values = np.full(self._reach, np.nan)
        self._normal = np.zeros(self._reach, dtype=np.bool_)
        self._made: dict[int, tuple[float, float]] = {}  # interval -> forecast, half-width
        self._centre = 0.0  # subtracted from all values: squares of small numbers keep digits
        self._known = 0
        self._errors = np.zeros(0)
        self._noise = 0.0
        self._factor = 2.0
        self._odd = 0
        self._bin: int | None = None
        self._sum = 0.0
        self._count = 0
        self._last = 0.0
        self._newest: Prediction | None = None

    def observe(self, value: float, time: int) -> Prediction | None:
        """Take one value; return a forecast if one was made now.

        Parameters
        ----------
        value : float
            Ignored if it is not finite or beyond 1e150.
        time : int
            ns since 1970 UTC. A value older than the interval at work is ignored; one older
            than all that describes the present begins the series anew at that time, with its
            memory kept.
        """
        if not -LARGEST <= value <= LARGEST:
            return None
        number = time // self.interval
        if number != self._bin:
            made = None
            if self._bin is None:
                self._centre = value if not self._known else self._centre
            elif number < self._bin:
                if self._bin - number <= self._reach:
                    return None
                self._break()
            else:
                made = self._close(number)
            self._bin, self._sum, self._count = number, 0.0, 0
            self._sum += value
            self._count = 1
            self._last = value
            return made
        self._sum += value
        self._count += 1
        self._last = value
        return None

    def update(self, value: float, time: int) -> Scores:
        """Take one value; return the newest forecast.

        Returns
        -------
        dict
            ``forecast``, ``lower`` and ``upper`` in units of the value, and ``ahead``, the
            seconds from `time` to the moment they are for. While there is no forecast, the
            value itself, 0 seconds ahead.
        """
        self.observe(value, time)
        newest = self._newest
        if newest is None or newest.time < time:
            value = value if -LARGEST <= value <= LARGEST else 0.0
            return {"forecast": value, "lower": value, "upper": value, "ahead": 0.0}
        ahead = (newest.time - time) / _SECOND
        return {
            "forecast": newest.forecast,
            "lower": newest.lower,
            "upper": newest.upper,
            "ahead": ahead,
        }

    def _break(self) -> None:
        """Forget the present, keep the memory."""
        self._values[:] = np.nan
        self._normal[:] = False
        self._made.clear()
        self._newest = None

    def _close(self, following: int) -> Prediction | None:
        """End the interval at work, and those without values before `following`."""
        assert self._bin is not None
        made = self._take(self._bin, self._sum / self._count - self._centre)
        missing = following - self._bin - 1
        if missing > self._reach:
            self._break()
        else:
            for number in range(self._bin + 1, following):
                self._skip(number)
        self._newest = made or self._newest
        return made

    def _skip(self, number: int) -> None:
        """An interval without values: its forecast stands in, for descriptions only."""
        forecast = self._made.pop(number, None)
        slot = number % self._reach
        self._values[slot] = forecast[0] if forecast else np.nan
        self._normal[slot] = False
        self._norm[number % self.memory] = np.inf

    def _take(self, number: int, mean: float) -> Prediction | None:
        slot = number % self._reach
        value, normal = mean, True
        forecast = self._made.pop(number, None)
        if forecast is not None:
            expected, half = forecast
            error = mean - expected
            if abs(error) > self.gate * half:
                normal = False
                value = expected + math.copysign(self.gate * half, error)
                self._odd += 1
                if self._odd > self.relearn:
                    self._forget()
                    return None
            else:
                self._odd = max(self._odd - 1, 0)
                self._adapt(error, self._last - self._centre - expected, half)
        self._values[slot] = value
        self._normal[slot] = normal
        # What is now the future of an earlier interval completes that memory.
        lags = (number - self.lags) % self._reach
        earlier = number - self.ahead
        since = (earlier - self.lags) % self._reach
        row = earlier % self.memory
        described = self._values[since]
        if normal and self._normal[since].all():
            self._past[row] = described
            self._future[row] = mean
            self._norm[row] = described @ described
            self._known = min(self._known + 1, self.memory)
        else:
            self._norm[row] = np.inf
        present = self._values[lags]
        if self._known < self.learn or not np.isfinite(present).all():
            return None
        return self._predict(number + self.ahead, present)

    def _adapt(self, error: float, point_error: float, half: float) -> None:
        self._errors = np.append(self._errors[-_ERRORS + 1 :], abs(error))
        if self._errors.size >= 8:
            self._noise = 1.4826 * float(np.median(self._errors))
        outside = abs(point_error) > half
        self._factor += (self.coverage if outside else self.coverage - 1) / 20
        self._factor = max(self._factor, 0.5)

    def _predict(self, number: int, present: np.ndarray) -> Prediction | None:
        # Half of |past - present|², less |present|², which is the same for all.
        distance = 0.5 * self._norm - self._past @ present
        nearest = np.argpartition(distance, self.neighbours)[: self.neighbours]
        squared = np.maximum(2 * distance[nearest] + present @ present, 0.0)
        noise = self._noise**2
        weight = 1 / (squared + noise + 1e-12)
        weight[~np.isfinite(squared)] = 0.0
        total = weight.sum()
        if not total > 0:
            return None
        weight /= total
        futures = self._future[nearest]
        forecast = float(weight @ futures)
        variance = float(weight @ (futures - forecast) ** 2)
        half = self._factor * math.sqrt(variance + noise) + 1e-9
        self._made[number] = forecast, half
        middle = forecast + self._centre
        time = number * self.interval + self.interval // 2
        return Prediction(time, middle, middle - half, middle + half)

    def state(self) -> State:
        """Return all that was learned; some 200 kB for a day in intervals of 30 s."""
        made = sorted(self._made.items())
        newest = self._newest
        return {
            "version": VERSION,
            "past": self._past.ravel().copy(),
            "future": self._future.copy(),
            "usable": np.isfinite(self._norm).astype(np.int64),
            "values": np.nan_to_num(self._values, nan=0.0),
            "present": np.isfinite(self._values).astype(np.int64),
            "normal": self._normal.astype(np.int64),
            "made_for": np.array([number for number, _ in made], dtype=np.int64),
            "made": np.array([pair for _, pair in made], dtype=np.float64).ravel(),
            "errors": self._errors.copy(),
            "noise": self._noise,
            "factor": self._factor,
            "centre": self._centre,
            "known": self._known,
            "odd": self._odd,
            "begun": self._bin is not None,
            "bin": self._bin or 0,
            "sum": self._sum,
            "count": self._count,
            "last": self._last,
            "newest_time": newest.time if newest else -1,
            "newest": list(newest[1:]) if newest else [],
        }

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace all that was learned; raise ValueError, changing nothing, if it does not fit."""
        raise NotImplementedError
