"""The base of every processor: bytes in, lines to a method, bytes out.

Telegraf's ``processors.execd`` writes each metric as line protocol to the program's standard
input and reads metrics from its standard output. The loop here reads whatever has arrived,
up to a block at a time, and writes all that came of it before it reads again: nothing is
held back when the stream pauses, and a fast stream is handled in large pieces.

A line that the processor does not want, cannot read or fails on goes out byte for byte as it
came in. Each kind is counted, and the counts are logged at the end.
"""

import os
import select
import signal
import sys
from collections.abc import Iterable
from time import monotonic
from types import FrameType

from lineprotocol import Line, LineError, LineSplitter, Point, format_point, let_go
from processors.log import Counted, log

BLOCK = 256 * 1024
"""Bytes read at once at most; a pipe holds 64 KiB unless it was made larger."""

_IDLE = 1.0
_GRACE = 4.0  # below the 5 s after which Telegraf sends the next, harder signal


class Processor:
    """Override `process`; everything else has a default that does nothing.

    Attributes
    ----------
    precision : str
        The unit of the timestamps. Telegraf writes nanoseconds.
    """

    precision = "ns"

    def __init__(self) -> None:
        self.lines_in = 0
        self.lines_out = 0
        self.not_understood = Counted("lines that are not line protocol, passed on as they came")
        self.failed = Counted("lines the processor failed on, passed on as they came")
        self.unwritable = Counted("points that line protocol cannot hold, left out")

    def process(self, line: Line) -> Iterable[Line | Point | bytes] | None:
        """Return what goes out for one line.

        Parameters
        ----------
        line : Line
            Parsed when `point`, `name`, `tags`, `fields` or `time` is first looked at; `raw` is
            the line as it came. An error of parsing may simply be left to the caller.

        Returns
        -------
        iterable of Line, Point or bytes, or None
            Written in this order, a `Line` byte for byte. Nothing for an empty one; None is
            the line itself.
        """
        raise NotImplementedError

    def process_lines(self, lines: list[bytes]) -> list[bytes]:
        """Return what goes out for some lines; override to handle many at once.

        Parameters
        ----------
        lines : list of bytes
            Without their newlines. Comments and empty lines are among them.
        """
        out: list[bytes] = []
        append, process, precision = out.append, self.process, self.precision
        for raw in lines:
            line = Line(raw, precision)
            try:
                results = process(line)
                if results is not None and type(results) is not tuple:
                    results = tuple(results)  # a generator runs here, where its errors are caught
            except LineError as error:
                self.pass_on(line, error)
                append(raw)
                continue
            except Exception as error:  # whatever an author's code raises, the stream goes on
                self.failed.add(f"{type(error).__name__}: {error} at {raw[:200]!r}")
                append(raw)
                continue
            if results is None:
                append(raw)
                continue
            for result in results:
                if isinstance(result, Line):
                    append(result.raw)
                elif isinstance(result, bytes):
                    append(result)
                else:
                    self.write(result, out)
        return out

    def pass_on(self, line: Line, error: LineError) -> None:
        """Count a line that could not be read, unless it is a comment or empty."""
        if not line.blank:
            self.not_understood.add(f"{error} in {line.raw[:200]!r}")

    def write(self, point: Point, out: list[bytes]) -> None:
        """Append a point, or count it if line protocol cannot hold it."""
        try:
            out.append(format_point(point, self.precision))
        except (LineError, TypeError, AttributeError) as error:
            self.unwritable.add(f"{error} in {point!r:.200}")

    def idle(self) -> None:
        """Do now what may take a moment, such as saving state: all that came has been written.

        Called after every block.
        """

    def close(self) -> None:
        """Finish: the stream has ended, and everything has been written and read."""


class _Stop:
    """Asked to end by a signal: what is on its way is still read, for a short while.

    Telegraf closes standard input first and so needs no signal, but a Ctrl-C in a terminal
    reaches Telegraf and its processors at once, while points are still on their way.
    """

    def __init__(self, source: int) -> None:
        self.source = source
        self.deadline: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.deadline is not None:
            raise SystemExit(128 + number)
        self.deadline = monotonic() + _GRACE
        # A read that was interrupted is tried again; without blocking it comes back.
        os.set_blocking(self.source, False)

    def read(self) -> bytes:
        """Return the next block, or nothing when the stream has ended or may be left."""
        while True:
            try:
                return os.read(self.source, BLOCK)
            except BlockingIOError:
                if self.deadline is None:  # somebody else's choice: wait as usual
                    select.select([self.source], [], [])
                    continue
                left = min(_IDLE, self.deadline - monotonic())
                if left <= 0 or not select.select([self.source], [], [], left)[0]:
                    return b""


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])


def run(processor: Processor, source: int = 0, target: int = 1) -> int:
    """Run a processor until its input ends or a signal asks it to stop.

    Parameters
    ----------
    processor : Processor
        What to run.
    source, target : int
        File descriptors to read from and write to. At the end `target` is closed.

    Returns
    -------
    int
        The exit code: 0 after a clean end, 1 if the reader of the output went away.
    """
    stop = _Stop(source)
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    blocking = os.get_blocking(source)
    splitter = LineSplitter()
    code = 0
    try:
        while block := stop.read():
            lines = splitter.feed(block)
            if not lines:
                continue
            processor.lines_in += len(lines)
            out = processor.process_lines(lines)
            if out:
                processor.lines_out += len(out)
                out.append(b"")
                _write(target, b"\n".join(out))
            processor.idle()
        rest = splitter.close()
        if rest:
            # The last line had no newline; it gets one only if something follows it.
            processor.lines_in += 1
            out = processor.process_lines([rest])
            processor.lines_out += len(out)
            _write(target, b"\n".join(out))
        let_go(target)
    except BrokenPipeError:
        log("E", "nobody reads the output any more")
        code = 1
    finally:
        os.set_blocking(source, blocking)
        for number, handler in previous.items():
            signal.signal(number, handler)
        processor.close()
    counts = [processor.not_understood, processor.failed, processor.unwritable]
    bad = "".join(f", {counted.count} {counted.what}" for counted in counts if counted.count)
    log("I", f"{processor.lines_in} lines in, {processor.lines_out} out{bad}")
    return code


def main(processor: Processor) -> None:
    """Run a processor as a program: the last line of its file."""
    code = run(processor)
    sys.stderr.flush()
    let_go(2, patience=0.5)  # the counts are read as late as the points, and are as easily lost
    sys.exit(code)
