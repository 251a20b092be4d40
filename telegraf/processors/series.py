"""The base of processors that follow one field of one measurement, each series by itself."""

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from lineprotocol import Line, LineError, Point, format_point, parse_key
from processors.base import Processor
from processors.log import Counted, log
from processors.options import number
from processors.state import StateError, load, save

_NUMBER = rb"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


class Keeps(Protocol):
    """Anything with a state."""

    def state(self) -> dict[str, Any]:
        """Return what was learned."""

    def restore(self, state: dict[str, Any]) -> None:
        """Replace what was learned, or raise ValueError."""


D = TypeVar("D", bound=Keeps)


class Series(Generic[D]):
    """One series and what was learned of it.

    Attributes
    ----------
    key : bytes
        Measurement and tags, sorted, as line protocol: the name it is saved under.
    tags : bytes
        The tags as they came first, with the comma before them, for points of its own.
    seen : float
        When its latest point came, by the monotonic clock.
    last : int
        The latest point's time, in ns, 0 before there was one.
    """

    __slots__ = ("detector", "key", "last", "seen", "silent", "tags")

    def __init__(self, key: bytes, tags: bytes, detector: D) -> None:
        self.key = key
        self.tags = tags
        self.detector = detector
        self.seen = monotonic()
        self.last = 0
        self.silent = False


class SeriesProcessor(Processor, Generic[D]):
    """Override `take`: it gets each value of the field and adds lines of its own.

    The points themselves go on as they came, each before what is said about it.

    Parameters
    ----------
    build : callable
        Makes the detector of a new series.
    options : argparse.Namespace
        From `arguments`.
    """

    def __init__(self, build: Callable[[], D], options: argparse.Namespace) -> None:
        super().__init__()
        self.build = build
        self.measurement: bytes = escaped(options.measurement)
        self.field: str = options.field
        self.state: Path | None = options.state
        self.save_every: float = options.save
        self.forget: float = options.forget
        self.most: int = options.series
        self.series: dict[bytes, Series[D]] = {}  # by the sorted key
        self.found: dict[bytes, Series[D]] = {}  # by the key as it is spelled in a line
        self.bad = Counted(f"values of {options.field!r} that are no finite number")
        self.too_many = Counted(f"points of series beyond the {self.most} that are followed")
        self.forgotten = 0
        field = re.escape(escaped(options.field, r"[,= ]"))
        # Most lines, without escapes or strings in the fields: no parsing but for one value.
        self.match = re.compile(
            rb"(" + re.escape(self.measurement) + rb"(?:,(?:\\[,= ]|[^ ])+)?) "
            rb'(?:[^" \\]+,)?'
            + field
            + rb"=("
            + _NUMBER
            + rb')[iu]?(?:,[^" \\]+)? (-?[0-9]{1,19})\Z'
        ).match
        self._housekeeping = self._saved = monotonic()
        self._restore()

    def take(self, series: Series[D], value: float, time: int, out: list[bytes]) -> None:
        """Take the next value of a series, at a time in ns; append lines to `out`."""
        raise NotImplementedError

    def other(self, line: bytes) -> None:
        """Take a line that is not of the measurement; it goes on in any case."""

    def process_lines(self, lines: list[bytes]) -> list[bytes]:
        """Return every line, and after each what `take` added."""
        out: list[bytes] = []
        append, match, found = out.append, self.match, self.found
        now = monotonic()
        name = self.measurement
        for line in lines:
            append(line)
            matched = match(line)
            if matched is None:
                if line.startswith(name) and line[len(name) : len(name) + 1] in (b",", b" "):
                    self._slowly(line, now, out)
                else:
                    self.other(line)
                continue
            key, value, time = matched.groups()
            series = found.get(key) or self.admit(key)
            if series is not None:
                series.seen = now
                self._guarded(series, float(value), int(time), out)
        return out

    def _guarded(self, series: Series[D], value: float, time: int, out: list[bytes]) -> None:
        try:
            self.take(series, value, time, out)
        except Exception as error:  # a detector that fails on a point must not stop the stream
            self.failed.add(f"{type(error).__name__}: {error} at {value} of {series.key!r}")

    def _slowly(self, line: bytes, now: float, out: list[bytes]) -> None:
        """Take a line that the pattern does not fit, for whatever reason."""
        try:
            point = Line(line, self.precision).point
        except LineError as error:
            self.pass_on(Line(line), error)
            return
        value = point.fields.get(self.field)
        if value is None:
            return
        if isinstance(value, bool | str) or not math.isfinite(value):
            self.bad.add(f"{value!r} in {line[:200]!r}")
            return
        key = format_point(Point(point.name, point.tags, {"f": 1.0}))[: -len(b" f=1.0")]
        series = self.found.get(key) or self.admit(key)
        if series is not None:
            series.seen = now
            time = time_ns() if point.time is None else point.time
            self._guarded(series, float(value), time, out)

    def admit(self, key: bytes) -> Series[D] | None:
        """Return the series of a key that was not seen in this spelling before."""
        try:
            name, tags = parse_key(key)
        except LineError as error:
            self.not_understood.add(f"{error} in {key[:200]!r}")
            return None
        point = Point(name, dict(sorted(tags.items())), {"f": 1.0})
        ordered = format_point(point)[: -len(b" f=1.0")]
        series = self.series.get(ordered)
        if series is None:
            if len(self.series) >= self.most:
                self.too_many.add(repr(key[:200]))
                return None
            series = Series(ordered, key[len(self.measurement) :], self.build())
            self.series[ordered] = series
        if len(self.found) < 4 * self.most:
            self.found[key] = series
        return series

    def idle(self) -> None:
        """Forget series that vanished and save the rest, now and then."""
        now = monotonic()
        if now - self._housekeeping >= min(60.0, self.forget / 4):
            self._housekeeping = now
            self._forget(now)
        if now - self._saved >= self.save_every:
            self._save()

    def _forget(self, now: float) -> None:
        gone = {key for key, series in self.series.items() if now - series.seen > self.forget}
        if gone:
            self.series = {k: s for k, s in self.series.items() if k not in gone}
            self.found = {k: s for k, s in self.found.items() if s.key not in gone}
            self.forgotten += len(gone)
            log("I", f"forgot {len(gone)} series that vanished, {len(self.series)} are left")

    def _restore(self) -> None:
        path = self.state
        if path is None:
            return
        try:
            states = load(path)
        except FileNotFoundError:
            log("I", f"no state at {path} yet: learning begins")
            return
        except (OSError, StateError) as error:
            log("W", f"the state {path} is not used, learning begins: {error}")
            return
        unfit = 0
        for key, state in states.items():
            raw = key.encode("utf-8", "surrogateescape")
            if not raw.startswith(self.measurement) or len(self.series) >= self.most:
                unfit += 1
                continue
            series = Series(raw, raw[len(self.measurement) :], self.build())
            try:
                series.last = int(state.pop("last time"))
                series.detector.restore(state)
            except (ValueError, KeyError, TypeError) as error:
                unfit += 1
                log("W", f"the state of {key} is not used: {error}")
                continue
            self.series[raw] = series
        kept = f"{len(self.series)} series" + (f", {unfit} did not fit" if unfit else "")
        log("I", f"restored {kept} from {path}")

    def _save(self) -> None:
        self._saved = monotonic()
        if self.state is None:
            return
        states = {
            series.key.decode("utf-8", "surrogateescape"): {
                **series.detector.state(),
                "last time": series.last,
            }
            for series in self.series.values()
        }
        try:
            save(self.state, states)
        except OSError as error:
            log("E", f"the state was not saved to {self.state}: {error.strerror}")

    def close(self) -> None:
        """Save what was learned and say what was counted."""
        self._save()
        counts = [counted for counted in (self.bad, self.too_many) if counted.count]
        text = "".join(f", {counted.count} {counted.what}" for counted in counts)
        log("I", f"{len(self.series)} series followed, {self.forgotten} forgotten{text}")


def escaped(name: str, special: str = r"[, ]") -> bytes:
    """Return a measurement, or with ``[,= ]`` another name, as it stands in a line."""
    return re.sub(f"({special})", r"\\\1", name).encode("utf-8", "surrogateescape")


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all of these processors have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--measurement", required=True, help="measurement to follow")
    add("--field", required=True, help="numeric field to follow, each series by its tags")
    add("--output", default=None, help="measurement of the points that are added")
    add("--state", type=Path, default=None, help="file that keeps what was learned over a restart")
    add("--save", type=number, default=300.0, metavar="TIME", help="time between two saves")
    add("--forget", type=number, default=86_400.0, metavar="TIME", help="when a series is vanished")
    add("--series", type=int, default=10_000, metavar="N", help="series to follow at most")
    return parser


def refuse(parser: argparse.ArgumentParser, error: ValueError) -> NoReturn:
    """End with what is wrong with the options, in a line that Telegraf logs as an error."""
    log("E", f"{parser.prog}: {error}")
    sys.exit(2)
