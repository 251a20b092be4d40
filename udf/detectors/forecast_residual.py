"""Forecast and residual in one, for where there is no stream of forecasts between them."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.base import Scores, State, StateValue, StreamDetector
from detectors.forecast import Forecast
from detectors.residual import Residual

_FORECAST, _RESIDUAL = "forecast ", "residual "


class ForecastResidual(StreamDetector):
    """Forecasts a series and judges each value by the forecast that was made for it.

    *Idea.* In Telegraf, `Forecast` and `Residual` are two processors with a stream of forecasts
    between them, which is stored and shown as well. A UDF of Kapacitor has one stream in and
    one out: here the first hands its forecasts to the second directly. The scores are the same.

    *Trade-off.* One thing to configure instead of two, and no forecasts in the database.

    Parameters
    ----------
    horizon : float
        How far ahead a value is forecast, in seconds.
    interval : float
        Seconds over which values are averaged.
    learn : float
        Seconds of settled data before the first forecast.
    settle : float
        Seconds that pass before anything is learned.
    memory : float
        Seconds of the past that are kept.
    threshold : float
        Score that is too far for a single value.
    silence : float
        Seconds without a value that are too long.

    Raises
    ------
    ValueError
        Listing everything that is wrong with the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(1)
    >>> wave = 20 + np.sin(np.arange(2880) * np.pi / 72) + random.normal(0, 0.05, 2880)
    >>> wave[2500] += 2
    >>> detector = ForecastResidual(learn=7200)
    >>> scores = [detector.update(value, i * 10**10) for i, value in enumerate(wave.tolist())]
    >>> [i for i, score in enumerate(scores) if score["anomaly"]]
    [2500]

    References
    ----------
    .. [1] See `detectors.forecast.Forecast` and `detectors.residual.Residual`.
    """

    def __init__(
        self,
        horizon: float = 600.0,
        interval: float = 30.0,
        learn: float = 18_000.0,
        settle: float = 3600.0,
        memory: float = 86_400.0,
        threshold: float = 7.0,
        silence: float = 60.0,
    ) -> None:
        wrong = []
        try:
            self.forecast = Forecast(
                horizon=horizon, interval=interval, learn=learn, settle=settle, memory=memory
            )
        except ValueError as error:
            wrong.append(str(error))
        try:
            self.residual = Residual(threshold=threshold, silence=silence, apart=4 * interval)
        except ValueError as error:
            wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))

    def update(self, value: float, time: int) -> Scores:
        """Judge one value and learn from it.

        Returns
        -------
        dict
            What `Residual.update` returns: residual, score, bias and anomaly.
        """
        scores = self.residual.update(value, time)
        made = self.forecast.observe(value, time)
        if made is not None:
            self.residual.expect(*made)
        return scores

    def state(self) -> State:
        """Return all that was learned, as plain values and numpy arrays, safe to keep."""
        parts = ((_FORECAST, self.forecast.state()), (_RESIDUAL, self.residual.state()))
        return {prefix + name: value for prefix, part in parts for name, value in part.items()}

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace all that was learned; raise ValueError, changing nothing, if it does not fit."""
        before = self.residual.state()
        self.residual.restore(_part(state, _RESIDUAL))
        try:
            self.forecast.restore(_part(state, _FORECAST))
        except ValueError:
            self.residual.restore(before)
            raise


def _part(state: Mapping[str, StateValue], prefix: str) -> State:
    return {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
