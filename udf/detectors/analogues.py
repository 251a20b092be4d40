"""A memory of moments, and of what followed them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from detectors.base import State, StateValue, Values, vector

Numbers = npt.NDArray[np.int64]


class Analogues:
    """Looks up the moments most similar to the present, and returns what followed each.

    A moment is a vector of values; what followed is one value, and how much the series moved
    about it. A moment can be found only once it is released, so that there is time to find out
    that something was wrong with it. The memory is a ring: a new moment replaces the one `size`
    numbers before.

    Parameters
    ----------
    size : int
        Moments that are kept.
    width : int
        Values that describe a moment.

    Examples
    --------
    >>> memory = Analogues(size=100, width=2)
    >>> for number in range(50):
    ...     memory.keep(number, np.array([number, -number]), future=number + 0.5, swing=0.0)
    ...     memory.release(number)
    >>> squared, futures, swings = memory.nearest(np.array([7.1, -7.0]), count=2)
    >>> sorted(futures.tolist())
    [7.5, 8.5]
    """

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self.width = width
        self._past = np.zeros((size, width))
        self._future = np.zeros(size)
        self._swing = np.zeros(size)
        # Infinitely far away is what keeps a row from being found: no masks, no second pass.
        self._waiting = np.full(size, np.inf)  # half the squared length, before its release
        self._norm = np.full(size, np.inf)  # the same, once released

    def keep(self, number: int, past: Values, future: float, swing: float) -> None:
        """Keep a moment; it waits for its release."""
        row = number % self.size
        self._past[row] = past
        self._future[row] = future
        self._swing[row] = swing
        self._waiting[row] = 0.5 * (past @ past)
        self._norm[row] = np.inf

    def clear(self, number: int) -> None:
        """Keep nothing under this number."""
        self._waiting[number % self.size] = self._norm[number % self.size] = np.inf

    def release(self, number: int) -> None:
        """Let a moment be found from now on."""
        self._norm[number % self.size] = self._waiting[number % self.size]

    def withdraw(self, numbers: Numbers) -> None:
        """Forget moments that wait for their release."""
        self._waiting[numbers % self.size] = np.inf

    @property
    def known(self) -> int:
        """How many moments can be found."""
        return int(np.count_nonzero(self._norm < np.inf))

    def nearest(self, present: Values, count: int) -> tuple[Values, Values, Values]:
        """Return the squared distances, futures and swings of the nearest moments.

        Parameters
        ----------
        present : ndarray, shape (width,)
            What to look for.
        count : int
            How many to return; fewer if fewer are known.
        """
        # Half the squared distance less a constant: one product of a matrix and a vector.
        half = self._norm - self._past @ present
        rows = np.argpartition(half, count)[:count] if count < self.size else np.arange(self.size)
        rows = rows[half[rows] < np.inf]
        squared = np.maximum(2 * half[rows] + present @ present, 0.0)
        return squared, self._future[rows], self._swing[rows]

    def state(self) -> State:
        """Return the memory as flat arrays."""
        return {
            "past": self._past.ravel().copy(),
            "future": self._future.copy(),
            "swing": self._swing.copy(),
            "waiting": (self._waiting < np.inf).astype(np.int64),
            "released": (self._norm < np.inf).astype(np.int64),
        }

    def restore(self, state: Mapping[str, StateValue]) -> None:
        """Replace the memory; raise ValueError, changing nothing, if it does not fit."""
        arrays = {name: vector(state, name) for name in self.state()}
        for name, array in arrays.items():
            if array.size != self.size * (self.width if name == "past" else 1):
                raise ValueError(f"state: {name} has {array.size} numbers, another size is needed")
        self._past = arrays["past"].reshape(self.size, self.width)
        self._future, self._swing = arrays["future"], arrays["swing"]
        # Row by row as `keep` does it, for the same last bit.
        norm = np.array([0.5 * (past @ past) for past in self._past])
        self._waiting = np.where(arrays["waiting"] != 0, norm, np.inf)
        self._norm = np.where(arrays["released"] != 0, norm, np.inf)
