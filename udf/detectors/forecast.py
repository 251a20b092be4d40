"""Forecasts a series from its own past: what followed when it last looked like this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.analogues import Analogues
from detectors.base import LARGEST, Scores, State, StateValue, StreamDetector, Values, vector
from detectors.checks import not_positive, whole_numbers
from detectors.errors import Errors
from detectors.page import Page

VERSION = 1
_SECOND = 1_000_000_000
_CALIBRATE = 16  # intervals between two looks at all errors


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
    x(i) = (y(i), y(i-1), y(i-2), y(i-4), ..., y(i-span)). With N the k past vectors nearest to
    x(i), each with weight w(j) = 1 / (|x(j) - x(i)|² + e²), the forecast H intervals ahead is

        f(i+H) = Σ w(j) y(j+H) / Σ w(j),   j in N,

    and its scale is s = sqrt(v + m + e²). Here v is the weighted variance of those y(j+H); m is
    the weighted mean square by which y moved within `slack` of j+H, for a cycle that comes a
    little early or late is off by as much as it moves in that time; and e is the noise, 1.4826
    times the median absolute error, but never less than the smallest step between two values
    makes. The bounds are f ± q s, with q the quantile of |y - f| / s that holds the share
    `coverage` of the errors in memory.

    *What it does not learn.* A value more than `gate` half-widths from its forecast is not
    normal, nor are values that stay on one side of their forecasts (`Page`'s sums over the
    errors in half-widths, allowance 0.5, cut at 2, limit 1.5 horizons), back to where that
    began. Nothing that contains them is looked up, and no error of theirs counts. For that to
    be possible everything waits for the time `settle` before it is used at all. A series that
    stays abnormal for the time `relearn` is taken to have changed for good, and learning starts
    over.

    *Trade-off.* Forecasts stay within what was seen: a series that drifts away from its past is
    not followed, which makes the drift visible, and is wrong for one that is meant to grow
    without end; take its difference first. Until `learn` seconds are known there is no forecast,
    and whatever happens in that time counts as normal. A shorter `settle` follows a changing
    series sooner, and learns a slower drift. The cost is one search through the memory an
    interval, tens of microseconds for a day of 30 s; the values in between only add up.

    Parameters
    ----------
    horizon : float
        How far ahead, in seconds. The forecast made at t is for a moment between t + horizon and
        two intervals after that.
    interval : float
        Seconds over which values are averaged, at least one value in each; one forecast is made
        an interval.
    span : float
        Seconds of the recent past that describe the present.
    slack : float
        Seconds by which a recurring movement may be early or late.
    memory : float
        Seconds of the past that are kept.
    learn : float
        Seconds of settled data before the first forecast.
    settle : float
        Seconds that pass before anything is learned.
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
    >>> wave = 20 + np.sin(np.cumsum(2 * np.pi / random.uniform(120, 168, 8640)))
    >>> measured = (wave + random.normal(0, 0.05, 8640)).tolist()
    >>> forecast = Forecast()
    >>> made = [forecast.observe(value, i * 10 * 10**9) for i, value in enumerate(measured)]
    >>> made = [p for p in made if p and p.time < 86_400e9]
    >>> at = np.array([p.time // 10**10 for p in made])
    >>> error = abs(wave[at] - [p.forecast for p in made])
    >>> print(f"{error.mean():.2f}, naive {abs(wave[at] - wave[at - 60]).mean():.2f}")
    0.03, naive 1.23

    References
    ----------
    .. [1] E. N. Lorenz, "Atmospheric predictability as revealed by naturally occurring
       analogues", Journal of the Atmospheric Sciences 26 (1969), 636-646.
    .. [2] J. D. Farmer and J. J. Sidorowich, "Predicting chaotic time series", Physical Review
       Letters 59 (1987), 845-848.
    .. [3] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, "Distribution-free
       predictive inference for regression", Journal of the American Statistical Association 113
       (2018), 1094-1111: bounds from the quantile of locally scaled errors.
    """

    def __init__(
        self,
        horizon: float = 600.0,
        interval: float = 30.0,
        span: float = 960.0,
        slack: float = 150.0,
        memory: float = 86_400.0,
        learn: float = 18_000.0,
        settle: float = 3600.0,
        neighbours: int = 8,
        coverage: float = 0.95,
        gate: float = 4.0,
        relearn: float = 43_200.0,
    ) -> None:
        wrong = not_positive("seconds", horizon=horizon, interval=interval, span=span, slack=slack)
        wrong += not_positive("seconds", memory=memory, learn=learn, settle=settle, relearn=relearn)
        if not 1 <= neighbours <= 1000 or neighbours != int(neighbours):
            wrong.append(f"neighbours must be a whole number from 1 to 1000, got {neighbours!r}")
        if not 0.5 <= coverage < 1:
            wrong.append(f"coverage must be at least 0.5 and below 1, got {coverage!r}")
        if not 1 <= gate < 1e6:
            wrong.append(f"gate must be at least 1 half-width, got {gate!r}")
        if not wrong:
            if not 0.001 <= interval <= min(horizon, span):
                wrong.append("interval must be at least 1 ms and at most span and horizon")
            if memory < learn + settle + horizon + 2 * span + slack:
                wrong.append("memory must be at least learn + settle + horizon + 2 span + slack")
            if memory / interval > 1e6:
                wrong.append("memory must be at most a million intervals")
            if learn / interval < 2 * neighbours:
                wrong.append("learn must be at least twice as many intervals as neighbours")
            if slack > span:
                wrong.append("slack must be at most span")
        if wrong:
            raise ValueError("; ".join(wrong))
        self.interval = round(interval * _SECOND)
        # From the middle of an interval that has just ended: the half of it and up to a whole
        # one until the next value go before the horizon.
        self.ahead = math.ceil(horizon / interval) + 1
        self.lags = np.array([0] + [2**n for n in range(round(span / interval).bit_length())])
        self.memory = round(memory / interval)
        self.slack = round(slack / interval)
        self.learn = round(learn / interval)
        self.settle = math.ceil(settle / interval)
        self.neighbours = int(neighbours)
        self.coverage = coverage
        self.gate = gate
        self.relearn = round(relearn / interval)
        self.reach = int(self.lags[-1]) + self.ahead + 2 * self.slack + 1
        self._forget()

    def _forget(self) -> None:
        self._memory = Analogues(self.memory, self.lags.size)
        # Rings by the number of the interval.
        self._values = np.full(self.reach, np.nan)
        self._normal = np.zeros(self.reach, dtype=np.bool_)
        self._made = np.full((self.reach, 3), np.nan)  # forecast, half-width and scale
        self._errors = Errors(self.memory, self.settle, self.coverage)
        self._page = Page(allowance=0.5, cut=2.0, limit=1.5)
        self._since = 0  # interval in which the sums began to grow
        self._odd = 0
        self._known = 0
        self._step = 0.0  # smallest difference between two successive values, 0 while unknown
        self._centre = 0.0  # taken off all values: squares of small numbers keep their digits
        self._number: int | None = None
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
            ns since 1970 UTC. A value of an interval that is over is ignored. One older than all
            that describes the present begins the present anew, with the memory kept.
        """
        if not -LARGEST <= value <= LARGEST:
            return None
        number = time // self.interval
        if number == self._number:
            if value != self._last:
                step = abs(value - self._last)
                if step < self._step or not self._step:
                    self._step = step
                self._last = value
            self._sum += value
            self._count += 1
            return None
        made = None
        if self._number is None:
            self._centre = value
        elif number > self._number:
            made = self._close(number)
        elif self._number - number <= self.reach:
            return None
        else:
            self._interrupt()
        self._number, self._sum, self._count, self._last = number, value, 1, value
        return made

    def update(self, value: float, time: int) -> Scores:
        """Take one value; return the newest forecast.

        Returns
        -------
        dict
            ``forecast``, ``lower`` and ``upper`` in units of the value, and ``ahead``, the
            seconds from `time` to the moment they are for. While there is no forecast, the
            value itself (0 if it is not usable), 0 seconds ahead.
        """
        self.observe(value, time)
        newest = self._newest
        if newest is None or newest.time < time:
            value = float(value) if -LARGEST <= value <= LARGEST else 0.0
            return {"forecast": value, "lower": value, "upper": value, "ahead": 0.0}
        return {
            "forecast": newest.forecast,
            "lower": newest.lower,
            "upper": newest.upper,
            "ahead": (newest.time - time) / _SECOND,
        }

    def _interrupt(self) -> None:
        """Forget the present, keep the memory."""
        self._values[:] = np.nan
        self._normal[:] = False
        self._made[:] = np.nan
        self._newest = None

    def _close(self, following: int) -> Prediction | None:
        """End the interval at work, and those without values before the `following` one."""
        assert self._number is not None  # noqa: S101
        made = self._take(self._number, self._sum / self._count - self._centre)
        if following - self._number > self.reach:
            self._interrupt()
            return None
        for number in range(self._number + 1, following):
            # A forecast stands in for what was not measured, to describe the present only.
            self._put(number, float(self._made[number % self.reach, 0]), normal=False)
        self._newest = made or self._newest
        return made

    def _take(self, number: int, mean: float) -> Prediction | None:
        if number % _CALIBRATE == 0:
            self._known = self._memory.known
            self._errors.calibrate(number)
        expected, half, scale = self._made[number % self.reach].tolist()
        if math.isnan(expected):
            self._put(number, mean, normal=True)
        else:
            error = mean - expected
            lasting = self._lasting(error / half, number)
            if lasting or abs(error) > self.gate * half:
                # The present is described by what may still be true of it.
                limit = self.gate * half
                self._put(number, expected + min(max(error, -limit), limit), normal=False)
                self._odd += 1
                if self._odd > self.relearn:
                    self._forget()
                    return None
            else:
                self._put(number, mean, normal=True)
                self._odd = max(self._odd - 1, 0)
                # Of a single value, for it is single values that the bounds are for.
                self._errors.put(number, abs(self._last - self._centre - expected), scale)
        return self._predict(number)

    def _put(self, number: int, value: float, *, normal: bool) -> None:
        """Enter an interval into the present, and into the memory what it completes."""
        self._values[number % self.reach] = value
        self._normal[number % self.reach] = normal
        self._made[number % self.reach] = np.nan
        self._errors.clear(number)
        future = number - self.slack
        moment = future - self.ahead
        described = (moment - self.lags) % self.reach
        around = np.arange(future - self.slack, number + 1) % self.reach
        if self._normal[described].all() and self._normal[around].all():
            value = float(self._values[future % self.reach])
            swing = float(np.mean((self._values[around] - value) ** 2))
            self._memory.keep(moment, self._values[described], value, swing)
        else:
            self._memory.clear(moment)
        self._memory.release(moment - self.settle)

    def _lasting(self, error: float, number: int) -> bool:
        """Return whether the errors, in half-widths, have been on one side for too long."""
        before = self._page.bias
        bias = self._page.add(error, 1 / self.ahead)
        if before == 0:
            self._since = number
        if bias >= 1 > before:
            back = np.arange(max(self._since, number - self.settle), number)
            self._memory.withdraw(back - self.ahead - self.slack)
            self._errors.clear(back)
        return bias >= 1

    def _predict(self, number: int) -> Prediction | None:
        present: Values = self._values[(number - self.lags) % self.reach]
        if self._known < self.learn or not np.isfinite(present).all():
            return None
        squared, futures, swings = self._memory.nearest(present, self.neighbours)
        noise = max(self._errors.noise**2, self._step**2 / 12)
        weight = 1 / (squared + noise + 1e-12)
        weight /= weight.sum()
        forecast = float(weight @ futures)
        variance = float(weight @ ((futures - forecast) ** 2 + swings))
        scale = math.sqrt(variance + noise) + 1e-9
        half = self._errors.factor * scale
        self._made[(number + self.ahead) % self.reach] = forecast, half, scale
        forecast += self._centre
        time = (number + self.ahead) * self.interval + self.interval // 2
        return Prediction(time, forecast, forecast - half, forecast + half)

    def state(self) -> State:
        """Return all that was learned; some 300 kB for a day in intervals of 30 s."""
        newest, page = self._newest or Prediction(0, 0.0, 0.0, 0.0), self._page
        begun = (self._number is not None, self._number or 0)
        counts = (*begun, self._count, self._since, self._odd, self._known, newest.time)
        sums = (self._sum, self._last, self._step, self._centre, page.above, page.below)
        return {
            **self._memory.state(),
            **self._errors.state(),
            "version": VERSION,
            "shape": self._shape(),
            "values": np.nan_to_num(self._values, nan=0.0),
            "kind": np.where(np.isfinite(self._values), self._normal, -1).astype(np.int64),
            "made": np.nan_to_num(self._made, nan=-1.0).ravel(),
            "counts": np.array(counts, dtype=np.int64),
            "sums": np.array(sums, dtype=np.float64),
            "newest": np.array(newest[1:], dtype=np.float64),
        }

    def _shape(self) -> list[float]:
        return [float(n) for n in (*self.lags, self.ahead, self.slack, self.settle, self.interval)]

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace all that was learned; raise ValueError, changing nothing, if it does not fit."""
        if state.get("version") != VERSION:
            raise ValueError(f"state: version {state.get('version')!r}, this is version {VERSION}")
        if vector(state, "shape").tolist() != self._shape():
            raise ValueError("state: of another horizon, interval, span, slack or settle")
        sizes = {"values": 1, "kind": 1, "made": 3}
        rings = {name: vector(state, name) for name in sizes}
        for name, width in sizes.items():
            if rings[name].size != width * self.reach:
                raise ValueError(f"state: {name} must hold {width * self.reach} numbers")
        began, number, *counts, newest_for = whole_numbers(state, "counts", 7)
        sums, newest = vector(state, "sums"), vector(state, "newest")
        if sums.size != 6 or newest.size != 3:
            raise ValueError("state: sums must hold 6 numbers, and newest 3")
        memory = Analogues(self.memory, self.lags.size)
        memory.restore(state)
        self._errors.restore(state)  # the last that may refuse
        self._memory = memory
        self._values = np.where(rings["kind"] >= 0, rings["values"], np.nan)
        self._normal = rings["kind"] > 0
        made = rings["made"].reshape(-1, 3)  # a scale is positive where there is one
        self._made = np.where(made[:, 2:] > 0, made, np.nan)
        self._number = number if began else None
        self._count, self._since, self._odd, self._known = counts
        self._sum, self._last, self._step, self._centre, *bias = sums.tolist()
        self._page.above, self._page.below = bias
        self._newest = Prediction(newest_for, *newest.tolist()) if newest_for else None
