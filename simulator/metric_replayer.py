"""Replays line protocol as an input of Telegraf: paced by its times, or when Telegraf asks."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import groupby, islice
from pathlib import Path
from time import monotonic, time_ns
from typing import Annotated

import typer

from simulator import options
from simulator.errors import SimulatorError
from simulator.lines import Stamped, finish, opened, stamped
from simulator.source import SECOND


class Trigger(StrEnum):
    """What makes the replayer go on to the next points: the values of Telegraf's ``signal``."""

    none = "none"
    STDIN = "STDIN"
    SIGHUP = "SIGHUP"
    SIGUSR1 = "SIGUSR1"
    SIGUSR2 = "SIGUSR2"


class Stamp(StrEnum):
    """Which time the points get."""

    keep = "keep"
    now = "now"
    ending_now = "ending-now"


def steps(
    filename: str, precision: str, *, loop: bool, ending: int | None = None
) -> Iterator[tuple[int, list[Stamped]]]:
    """Yield successive times, in ns, and the lines of each; comments are left out.

    In a loop the times go on rising: each round is shifted to follow the one before, after as
    long as its last two times are apart. With `ending`, the first round ends at that time.
    """
    shift = 0
    again = loop or ending is not None
    with opened(filename, again=again) as file:
        begin = file.tell() if again else 0
        if ending is not None:
            times = (line.time for line in stamped(file, filename, precision))
            shift = ending - max((time for time in times if time is not None), default=ending)
            file.seek(begin)
        while True:
            first: int | None = None
            last, gap = 0, SECOND
            lines = (line for line in stamped(file, filename, precision) if line.time is not None)
            for time, group in groupby(lines, key=lambda line: line.time or 0):
                gap = time - last if first is not None and time > last else gap
                first = time if first is None else first
                last = time
                yield time + shift, list(group)
            if first is None:
                raise SimulatorError(f"{filename}: holds no points")
            if not loop:
                return
            shift += last - first + gap
            file.seek(begin)


class Place:
    """How far a replay has come, kept in a file so that the next one goes on from there.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    replay : list
        What tells the replay from others. The place of another one counts for nothing.
    ending : int or None
        See `steps`; replaced by that of the replay that goes on.
    """

    def __init__(self, path: Path | None, replay: list[object], ending: int | None) -> None:
        self.path = path
        self.replay = replay
        self.ending = ending
        self.given = 0  # times whose points are out
        self._saved = monotonic()
        if path is not None and path.exists():
            try:
                kept = json.loads(path.read_text())
                if kept["replay"] == replay:
                    self.ending, self.given = kept["ending"], max(int(kept["given"]), 0)
            except (OSError, ValueError, KeyError, TypeError) as error:
                print(f"W! {path} is not used, the replay begins anew: {error}", file=sys.stderr)

    def note(self, given: int) -> None:
        """Note how many of `steps` are given; saved once a second."""
        self.given = given
        if monotonic() - self._saved >= 1:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is None or not self.given:
            return
        self._saved = monotonic()
        kept = {"replay": self.replay, "ending": self.ending, "given": self.given}
        part = self.path.with_name(self.path.name + ".part")
        try:
            part.write_text(json.dumps(kept))
            part.replace(self.path)
        except OSError as error:
            # As with what the processors learned: the stream is worth more than its place.
            print(f"E! --resume {self.path} cannot be written: {error.strerror}", file=sys.stderr)
            self.path = None

    def end(self) -> None:
        """Forget: the next replay is a new one."""
        self.given = 0
        if self.path is not None:
            with suppress(OSError):  # it is not there, or could not have been written either
                self.path.unlink()


class Bell:
    """Waits for a time to come, for Telegraf to ask, or for it to close standard input."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self.asked = 0
        # Telegraf stops an input by closing its pipe. Anything else says nothing about stopping.
        self.watched = stat.S_ISFIFO(os.fstat(0).st_mode) or trigger is Trigger.STDIN
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        if trigger not in (Trigger.none, Trigger.STDIN):
            signal.signal(signal.Signals[trigger], self._ask)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        self.ended = False
        self.closed = False

    def _ask(self, *_: object) -> None:
        self.asked += 1

    def _end(self, *_: object) -> None:
        self.ended = True

    def wait(self, until: float | None) -> bool:
        """Return whether to go on: at `until` by the monotonic clock, or when asked if None."""
        while not self.ended:
            if until is None and self.asked:
                self.asked -= 1
                return True
            if self.closed:  # only now: what was asked for before the end is still given
                return False
            left = None if until is None else max(until - monotonic(), 0.0)
            sources = [self._wake, *([0] if self.watched else [])]
            ready = select.select(sources, [], [], left)[0]
            if self._wake in ready:
                os.read(self._wake, 4096)
            if 0 in ready:
                data = os.read(0, 4096)
                self.closed = not data
                self.asked += data.count(b"\n") if self.trigger is Trigger.STDIN else 0
            elif until is not None and monotonic() >= until:
                return True
        return False


def command(
    file: Annotated[str | None, typer.Argument(help="Plain or gzipped; '-' is stdin.")] = None,
    filename: Annotated[
        str | None, typer.Option("-filename", "--filename", help="The same as FILE.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.001, max=1e9, help="Multiple of the speed of the data.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option(help="Begin anew at the end, with times that go on.")] = (
        False
    ),
    trigger: Annotated[
        Trigger,
        typer.Option(
            "--signal", help="Give the points of the next time whenever Telegraf sends this."
        ),
    ] = Trigger.none,
    stamp: Annotated[
        Stamp,
        typer.Option(
            help="The time of the data, the moment it is given, or the first shifted such that the "
            "data ends when the replay begins."
        ),
    ] = Stamp.keep,
    precision: Annotated[options.Unit, typer.Option(help="Unit of the times in the file.")] = (
        options.Unit.ns
    ),
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Keep in this file how far the replay is, and go on from there when started "
            "again. One that came to its end begins anew."
        ),
    ] = None,
) -> None:
    """Replay line protocol on standard output, for inputs.execd of Telegraf.

    The first points come at once, the rest as far apart as their times, divided by --speed. Ends
    when standard input is closed, on SIGTERM and SIGINT, and with the data if standard input is
    no pipe.
    """
    name = filename or file
    if name is None:
        raise SimulatorError("which FILE to replay?")
    if name == "-" and trigger is Trigger.STDIN:
        raise SimulatorError("standard input cannot be both the data and the signal")
    if name == "-" and resume is not None:
        raise SimulatorError("standard input cannot be resumed: give a FILE")
    bell = Bell(trigger)
    if name == "-":
        bell.watched = False
    begin: tuple[int, float] | None = None
    place = Place(
        resume,
        [*_identity(name), precision, stamp, loop],
        time_ns() if stamp is Stamp.ending_now else None,
    )
    try:
        replay = steps(name, precision, loop=loop, ending=place.ending)
        for number, (time, lines) in enumerate(islice(replay, place.given, None), place.given + 1):
            if trigger is Trigger.none:
                begin = begin or (time, monotonic())
                due = begin[1] + (time - begin[0]) / SECOND / speed
                # What is due already needs no look at the clock, let alone at the pipe.
                if due > begin[1] and not bell.wait(due):
                    break
            elif not bell.wait(None):
                break
            given = time_ns() if stamp is Stamp.now else time
            out = b"".join(b"%b %d\n" % (line.text, given) for line in lines)
            while out:
                out = out[os.write(1, out) :]
            place.note(number)
        else:
            place.end()
            # Telegraf would start again, from the beginning, an input that ends by itself.
            while trigger is Trigger.none and bell.watched and bell.wait(None):
                pass
    except BrokenPipeError:
        pass
    place.save()
    finish(sys.stdout.fileno())


def _identity(name: str) -> list[object]:
    """Return what changes when the file is another one."""
    try:
        found = Path(name).stat()
    except OSError:
        return [name]  # standard input, or to be refused when it is opened
    return [name, found.st_size, found.st_mtime_ns]
