"""Gives line protocol new timestamps, so that old data can be replayed as if it came now."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import time_ns
from typing import IO, Annotated

import typer

from simulator import options
from simulator.errors import SimulatorError
from simulator.lines import opened, stamped
from simulator.source import PRECISIONS

Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="Plain or gzipped files in order; '-' is stdin."),
]


class Clock:
    """Turns the times of the data into new ones.

    Parameters
    ----------
    spacing : int or None
        ns between one time and the next that is different; None keeps the spacing.

    Examples
    --------
    >>> clock = Clock(spacing=10)
    >>> [clock.tick(time) for time in (5, 5, 6, 9)]
    [0, 0, 10, 20]
    """

    def __init__(self, spacing: int | None) -> None:
        self.spacing = spacing
        self.first: int | None = None
        self.latest = 0
        self.ticks = 0

    def tick(self, time: int) -> int:
        """Return the ns from the first time to this one, in the new spacing."""
        if self.first is None:
            self.first = self.latest = time
        if time != self.latest:
            self.ticks += 1
            self.latest = time
        return time - self.first if self.spacing is None else self.ticks * self.spacing


def restamp(
    sources: list[tuple[IO[bytes], str]],
    precision: str,
    out_precision: str,
    start: int | None,
    spacing: int | None,
) -> Iterator[bytes]:
    """Yield the lines with their new times.

    Parameters
    ----------
    sources : list of (file, name)
        Open files; read twice if `start` is None, so they must be able to go back.
    precision, out_precision : str
        Units of the timestamps in the files and of the new ones.
    start : int or None
        ns of the first point; None makes the latest one now.
    spacing : int or None
        See `Clock`.
    """
    if start is None:
        begins = [file.tell() for file, _ in sources]
        clock, largest = Clock(spacing), 0
        for file, name in sources:
            for line in stamped(file, name, precision):
                if line.time is not None:
                    largest = max(largest, clock.tick(line.time))
        start = time_ns() - largest
        for (file, _), begin in zip(sources, begins, strict=True):
            file.seek(begin)
    clock, unit = Clock(spacing), PRECISIONS[out_precision]
    for file, name in sources:
        for line in stamped(file, name, precision):
            if line.time is None:
                yield line.text + b"\n"
            else:
                yield b"%b %d\n" % (line.text, (start + clock.tick(line.time)) // unit)


def command(
    files: Files = None,
    filename: Annotated[
        str | None, typer.Option("-filename", "--filename", help="The same as FILE.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="File to write; '-': stdout.")
    ] = "-",
    start: Annotated[
        str | None, typer.Option(help="Time of the first point. [default: the last one is now]")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Time between successive points. [default: as it was]")
    ] = None,
    precision: Annotated[options.Unit, typer.Option(help="Unit of the old times.")] = (
        options.Unit.ns
    ),
    to_precision: Annotated[options.Unit, typer.Option(help="Unit of the new times.")] = (
        options.Unit.ns
    ),
) -> None:
    """Give line protocol new timestamps, ending now or starting at a given time.

    Memory stays the same whatever the size. A pipe is spooled to a temporary file when the times
    are to end now, since the last line must be known first.
    """
    names = [*([filename] if filename else []), *(files or [])] or ["-"]
    if names.count("-") > 1:
        raise SimulatorError("standard input ('-') can be read once only")
    begin = None if start is None else options.parse_start(start)
    step = None if spacing is None else round(options.parse_duration("--spacing", spacing) * 1e9)
    with ExitStack() as stack:
        sources = [(stack.enter_context(opened(name, again=begin is None)), name) for name in names]
        made = restamp(sources, precision, to_precision, begin, step)
        if output == "-":
            try:
                sys.stdout.buffer.writelines(made)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                # The reader has had enough, as `head` does; Python would complain at exit too.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        part = Path(output + ".part")
        try:
            with part.open("wb") as file:
                file.writelines(made)
            part.replace(output)
        except OSError as error:
            raise SimulatorError(f"--output {output}: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
