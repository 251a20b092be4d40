"""The errors of a forecaster: how large they are, and how far its bounds must reach."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.analogues import Numbers
from detectors.base import State, StateValue, scalar, vector

_ENOUGH = 120  # settled errors, before which those that have not settled count too
_LEAST = 16  # errors that say anything at all


class Errors:
    """A ring of absolute errors, and of the same as multiples of the scale foreseen for them.

    Parameters
    ----------
    size : int
        Errors that are kept: a new one replaces the one `size` numbers before.
    settle : int
        Numbers that pass before an error counts.
    coverage : float
        Share of the errors that `factor` times their scale must hold.

    Attributes
    ----------
    noise : float
        1.4826 times the median error, which is the standard deviation if they are normal.
    factor : float
        The quantile of the multiples, 2 until there are errors, and never below a half.
    """

    def __init__(self, size: int, settle: int, coverage: float) -> None:
        self.size = size
        self.settle = settle
        self.coverage = coverage
        self._error = np.full(size, np.nan)
        self._multiple = np.full(size, np.nan)
        self.noise = 0.0
        self.factor = 2.0

    def put(self, number: int, error: float, scale: float) -> None:
        """Keep the absolute error of an interval and the scale that was foreseen for it."""
        self._error[number % self.size] = error
        self._multiple[number % self.size] = error / scale

    def clear(self, numbers: int | Numbers) -> None:
        """Keep nothing under these numbers."""
        self._error[numbers % self.size] = self._multiple[numbers % self.size] = np.nan

    def calibrate(self, number: int) -> None:
        """Bring `noise` and `factor` up to date with what has settled by `number`."""
        counts = np.isfinite(self._error)
        if np.count_nonzero(counts) >= _ENOUGH + self.settle:
            counts[np.arange(number - self.settle, number) % self.size] = False
        if np.count_nonzero(counts) >= _LEAST:
            self.noise = 1.4826 * float(np.median(self._error[counts]))
            self.factor = max(float(np.quantile(self._multiple[counts], self.coverage)), 0.5)

    def state(self) -> State:
        """Return the errors and what follows from them; -1 stands for none."""
        return {
            "error": np.nan_to_num(self._error, nan=-1.0),
            "multiple": np.nan_to_num(self._multiple, nan=-1.0),
            "noise": self.noise,
            "factor": self.factor,
        }

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace the errors; raise ValueError, changing nothing, if they do not fit."""
        error, multiple = vector(state, "error"), vector(state, "multiple")
        if error.size != self.size or multiple.size != self.size:
            raise ValueError(f"state: error and multiple must hold {self.size} numbers each")
        noise, factor = scalar(state, "noise"), scalar(state, "factor")
        self._error = np.where(error >= 0, error, np.nan)
        self._multiple = np.where(multiple >= 0, multiple, np.nan)
        self.noise, self.factor = noise, factor
