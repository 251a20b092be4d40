"""Checks that several detectors make of their arguments and states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.base import StateValue


def not_positive(unit: str, **arguments: float) -> list[str]:
    """Return a complaint for every argument that is not above 0 and below a thousand million.

    Examples
    --------
    >>> not_positive("seconds", horizon=600.0, interval=-1.0)
    ['interval must be a number of seconds above 0, got -1.0']
    """
    return [
        f"{name} must be a number of {unit} above 0, got {value!r}"
        for name, value in arguments.items()
        if not 0 < value < 1e9
    ]


def whole_numbers(state: Mapping[str, StateValue], name: str, count: int) -> list[int]:
    """Return whole numbers from a state, or raise a ValueError that names them."""
    value = state.get(name)
    if not isinstance(value, np.ndarray) or value.dtype != np.int64 or value.shape != (count,):
        raise ValueError(f"state: {name} must be an array of {count} whole numbers")
    return [int(number) for number in value]
