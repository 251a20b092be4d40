"""A point and the types of its values."""

from dataclasses import dataclass, field
from typing import TypeAlias

PRECISIONS: dict[str, int] = {
    "ns": 1,
    "n": 1,
    "us": 1_000,
    "u": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""Nanoseconds in one unit of each precision that InfluxDB's write endpoint knows."""


class Unsigned(int):
    """An unsigned 64-bit integer, written with the suffix ``u``.

    A plain `int` is written with ``i``; the subclass only remembers the suffix.

    Examples
    --------
    >>> Unsigned(7) == 7, Unsigned(7)
    (True, Unsigned(7))
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Unsigned({int(self)})"

    __str__ = int.__repr__


FieldValue: TypeAlias = int | float | str | bool | Unsigned


@dataclass(slots=True)
class Point:
    """One point: a measurement, its tags and fields in order, and a time.

    Parameters
    ----------
    name : str
        The measurement.
    tags : dict of str to str
        In the order of the line.
    fields : dict of str to int, float, str, bool or Unsigned
        In the order of the line; at least one for a point that is to be written.
    time : int or None
        Nanoseconds since 1970-01-01T00:00:00Z, or None for a line without a timestamp.

    Notes
    -----
    Bytes that are not UTF-8 are kept as surrogate escapes, so they are written as they came.
    """

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, FieldValue] = field(default_factory=dict)
    time: int | None = None
