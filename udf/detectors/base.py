"""What every detector offers, so that a UDF, a processor or a back-test can hold any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Scores = dict[str, float]
StateValue = int | float | str | bool | list[float] | Values | npt.NDArray[np.int64]
State = dict[str, StateValue]

LARGEST = 1e150
"""Largest magnitude a detector counts as a measurement: the square of more could overflow."""


class Detector(ABC):
    """Learned state that can be saved and put back.

    A detector that restored the state of another, built with the same arguments, gives the
    same scores from there on, to the last bit. Memory is bounded by the arguments.
    """

    @abstractmethod
    def state(self) -> State:
        """Return all that was learned, as plain values and numpy arrays, safe to keep."""

    @abstractmethod
    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace all that was learned; raise ValueError, changing nothing, if it does not fit."""


class WindowDetector(Detector):
    """Scores whole windows of values."""

    @abstractmethod
    def update(self, values: Values) -> Scores:
        """Score one window and learn from it if it was normal.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            The window's measurements in order of time; n may be 0. NaN, infinities and
            magnitudes over 1e150 stand for missing measurements.

        Returns
        -------
        dict of str to float
            The scores by name, always the same names and always finite, since neither line
            protocol nor JSON can carry anything else.
        """


class StreamDetector(Detector):
    """Scores one value at a time."""

    @abstractmethod
    def update(self, value: float, time: int) -> Scores:
        """Score the value measured at `time` (ns since 1970 UTC) and learn from it."""


def usable(values: Values) -> Values:
    """Return the measurements among the values: finite and no larger than `LARGEST`.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Anything numpy turns into float64.

    Returns
    -------
    ndarray of float64, shape (m,)
        The same array if all of it is usable, since that is nearly always so.

    Raises
    ------
    ValueError
        If the values are not one-dimensional.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"a window is one-dimensional, got the shape {values.shape}")
    # One reduction instead of a mask: NaN makes the comparison false, infinity exceeds it.
    if not values.size or -LARGEST <= values.min() <= values.max() <= LARGEST:
        return values
    return values[np.abs(values) <= LARGEST]


def scalar(state: Mapping[str, StateValue], name: str) -> float:
    """Return a finite number from a state, or raise a ValueError that names it."""
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"state: {name} must be a number, got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"state: {name} must be finite, got {value}")
    return float(value)


def vector(state: Mapping[str, StateValue], name: str) -> Values:
    """Return a one-dimensional float64 copy from a state, or raise a ValueError that names it."""
    value = state.get(name)
    if not isinstance(value, np.ndarray | list):
        raise ValueError(f"state: {name} must be an array, got {value!r}")
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"state: {name} must be an array of numbers") from None
    if array.ndim != 1 or not np.all(np.abs(array) <= LARGEST):
        raise ValueError(f"state: {name} must be a one-dimensional array of finite numbers")
    return array
