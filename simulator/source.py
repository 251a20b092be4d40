"""What a generator is: values for the times it is given, as chunks of line protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulator.errors import SimulatorError

Times = npt.NDArray[np.int64]

SECOND = 1_000_000_000
PRECISIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND}
"""Nanoseconds in a unit of the timestamps, by the name of the unit."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Successive points, ready to be written.

    Attributes
    ----------
    lines : bytes
        Line protocol, every line ended by a newline.
    points : int
        Number of lines.
    last : int
        Time of the last point, ns since 1970 UTC.
    """

    lines: bytes
    points: int
    last: int


class Source(Protocol):
    """A generator of data: it knows its values, and the one who drives it knows the time.

    Successive calls of `take` continue one seeded series: however it is cut into chunks, the
    bytes are the same.

    Attributes
    ----------
    interval : float
        Seconds of the simulated process between two points of a series.
    series : int
        Points made for each time.
    injections : Injections
        Anomalies by hand, which it heeds.
    """

    interval: float
    series: int
    injections: Injections

    def take(self, times: Times, precision: str) -> Chunk:
        """Return the next points, stamped with `times` (ns) in units of `precision`."""
        ...


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A field that misbehaves from `start` up to, and not including, `end` (ns since 1970 UTC)."""

    field: str
    start: int
    end: int


class Injections:
    """Anomalies started by hand, at most one a field; safe to use from several threads.

    Parameters
    ----------
    fields : tuple of str
        The fields that know how to misbehave.

    Examples
    --------
    >>> injections = Injections(("hotend", "bed"))
    >>> injections.begin("bed", seconds=2, now=10 * SECOND)
    Anomaly(field='bed', start=10000000000, end=12000000000)
    >>> injections.mask("bed", np.arange(9, 14) * SECOND)
    array([False,  True,  True, False, False])
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self._lock = threading.Lock()
        self._running: dict[str, Anomaly] = {}

    def begin(self, field: str, seconds: float, now: int) -> Anomaly:
        """Start an anomaly at `now` (ns), replacing the field's previous one.

        Raises
        ------
        SimulatorError
            If there is no such field or the length makes no sense.
        """
        if field not in self.fields:
            raise SimulatorError(f"no field {field!r} here, one of: {', '.join(self.fields)}")
        if not 0 < seconds <= 1e9:
            raise SimulatorError(f"an anomaly lasts more than 0 seconds, got {seconds:g}")
        anomaly = Anomaly(field, now, now + round(seconds * SECOND))
        with self._lock:
            self._running[field] = anomaly
        return anomaly

    def stop(self, field: str, now: int) -> Anomaly | None:
        """End the field's anomaly at `now` (ns) and return it, or None if none was running."""
        with self._lock:
            anomaly = self._running.get(field)
            if anomaly is None or anomaly.end <= now:
                return None
            anomaly = Anomaly(field, anomaly.start, max(anomaly.start, now))
            self._running[field] = anomaly
            return anomaly

    def running(self, now: int) -> list[Anomaly]:
        """Return the anomalies that have not ended at `now` (ns), by their fields' order."""
        with self._lock:
            return [a for f in self.fields if (a := self._running.get(f)) and a.end > now]

    def mask(self, field: str, times: Times) -> npt.NDArray[np.bool_]:
        """Return which of the times (ns) lie in the field's anomaly."""
        with self._lock:
            anomaly = self._running.get(field)
        if anomaly is None:
            return np.zeros(times.shape, dtype=np.bool_)
        return (times >= anomaly.start) & (times < anomaly.end)


def iso(time_ns: int) -> str:
    """Return a time in ns since 1970 as ISO 8601 in UTC, to the millisecond.

    Examples
    --------
    >>> iso(1451606400_250_000_000)
    '2016-01-01T00:00:00.250Z'
    """
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def chunks(source: Source, start: int, count: int, size: int, precision: str) -> Iterator[Chunk]:
    """Yield `count` times' points from `start` (ns) on, `size` times to a chunk.

    Examples
    --------
    >>> from simulator.printer import Printer
    >>> made = chunks(Printer(seed=7), start=1451606400 * SECOND, count=5, size=2, precision="s")
    >>> [chunk.points for chunk in made]
    [2, 2, 1]
    """
    step = round(source.interval * SECOND)
    for first in range(0, count, size):
        indices = np.arange(first, min(first + size, count), dtype=np.int64)
        yield source.take(start + indices * step, precision)
