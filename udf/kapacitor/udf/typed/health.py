"""What went wrong, and how often: counted, told at a limited rate, kept if asked."""

import logging
import math
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from kapacitor.udf import udf_pb2
from kapacitor.udf.connection import Statistics

if TYPE_CHECKING:
    from lineprotocol import Point

logger = logging.getLogger("kapacitor.udf")

LOG_EVERY: Final = 5.0
"""Seconds between two log lines about the same kind of trouble."""

QUARANTINE_BYTES: Final = 64 * 1024 * 1024
"""Size of a quarantine file at which it is moved to ``.1`` and a new one begun."""

NEVER_WORKED: Final = 10
"""Calls of a handler that all raised, from the first on, after which it is given up."""

NEVER_SEEN: Final = 100
"""Points without one good value, from the first on, after which an error is logged."""


class HandlerBroken(RuntimeError):  # noqa: N818 - says what happened
    """A handler that has raised every time it was called."""


class Quarantine:
    """A file of points that could not be used, as line protocol.

    Each has one more field, ``quarantined``, with the reason. A file that cannot be
    written is given up with one log line: it must not end the task either.

    Parameters
    ----------
    path : str
        Where to append; empty for no file.
    limit : int
        Bytes in a file before it is moved to ``<path>.1``, over an older one.
    """

    def __init__(self, path: str, limit: int = QUARANTINE_BYTES) -> None:
        self._path = Path(path) if path else None
        self._limit = limit

    def add(self, point: udf_pb2.Point, name: str, reason: str) -> None:
        """Append a point.

        Parameters
        ----------
        point : udf_pb2.Point
            As it was received.
        name : str
            Its measurement; a window's points come without.
        reason : str
            Why it could not be used.
        """
        if self._path is None:
            return
        # Imported when first needed: nearly no UDF ever writes one.
        from lineprotocol import LineError, format_point

        try:
            line = format_point(_as_point(point, name, reason)) + b"\n"
            size = self._path.stat().st_size if self._path.exists() else 0
            if size and size + len(line) > self._limit:
                self._path.replace(f"{self._path}.1")
            # One write of the whole line: several processes may share the file.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except LineError as error:
            logger.warning("a quarantined point has no form in line protocol: %s", error)
        except OSError as error:
            logger.error("no quarantine file any more: %s", error)
            self._path = None


def _as_point(point: udf_pb2.Point, name: str, reason: str) -> "Point":
    fields: dict[str, int | float | str | bool] = {}
    fields.update(point.fieldsString)
    fields.update(point.fieldsBool)
    fields.update(point.fieldsInt)
    fields.update((key, x) for key, x in point.fieldsDouble.items() if math.isfinite(x))
    fields["quarantined"] = reason
    from lineprotocol import Point

    return Point(name or point.name or "unnamed", dict(point.tags), dict(fields), point.time)


class Health:
    """Counts what went wrong and tells of it.

    Parameters
    ----------
    statistics : Statistics
        The agent's counters.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self.quarantine = Quarantine("")
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}
        self._good = 0
        self._bad = 0
        self._warned = False
        self._worked = False
        self._raised = 0

    def good(self, count: int) -> None:
        """Count points that could be used."""
        self._good += count

    def bad(self, frame: bytes, name: str, reason: str) -> None:
        """Set a point aside.

        Parameters
        ----------
        frame : bytes
            The request it came in.
        name : str
            Its measurement, if that is known from elsewhere.
        reason : str
            What is wrong with it, such as "hotend is missing".
        """
        self.statistics.quarantined += 1
        self._bad += 1
        try:
            point = udf_pb2.Request.FromString(frame).point
        except DecodeError:
            self.tell("bad point", f"a point was passed over: {reason}")
            return
        where = f"group {point.group!r}, time {_iso(point.time)}"
        self.tell("bad point", f"a point was passed over ({where}): {reason}")
        self.quarantine.add(point, name, reason)
        if not self._good and self._bad >= NEVER_SEEN and not self._warned:
            self._warned = True
            names = [*point.fieldsDouble, *point.fieldsInt, *point.fieldsString, *point.fieldsBool]
            logger.error(
                "not one of the first %d points could be used; the last: %s. Its fields are %s: "
                "does an option name another?",
                self._bad,
                reason,
                ", ".join(sorted(names)) or "none",
            )

    def incomplete(self, frame: bytes, reason: str) -> None:
        """Note that a point is handled without a field it should have.

        Parameters
        ----------
        frame : bytes
            The request it came in.
        reason : str
            What is wrong with it, such as "power is missing".
        """
        self.statistics.incomplete += 1
        point = udf_pb2.Request.FromString(frame).point
        where = f"group {point.group!r}, time {_iso(point.time)}"
        self.tell("incomplete point", f"an incomplete point was handled ({where}): {reason}")

    def worked(self) -> None:
        """Note that the handler did its work once."""
        self._worked = True

    def raised(self, error: Exception, what: str, group: str, nanoseconds: int) -> None:
        """Note that the handler raised, and go on.

        Raises
        ------
        HandlerBroken
            When it has never done anything else.
        """
        self.statistics.failed += 1
        self._raised += 1
        words = f"{type(error).__name__}: {error}"
        where = f"group {group!r}, time {_iso(nanoseconds)}"
        self.tell("raised", f"the handler raised for a {what} ({where}): {words}", error)
        if not self._worked and self._raised >= NEVER_WORKED:
            raise HandlerBroken(
                f"the handler raised for each of the first {self._raised} {what}s; "
                f"the last time {words}"
            ) from error

    def tell(self, kind: str, text: str, error: Exception | None = None) -> None:
        """Log at a limited rate; the first of a kind at once."""
        now = time.monotonic()
        if now - self._told.get(kind, -math.inf) < LOG_EVERY:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told[kind] = now
        untold = self._untold.pop(kind, 0)
        more = f" (and {untold} more since the last such line)" if untold else ""
        logger.warning("%s%s", text, more, exc_info=error)


def _iso(nanoseconds: int) -> str:
    """Format a time for a log line."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return f"{nanoseconds} ns"
    return moment.isoformat().replace("+00:00", "Z")
