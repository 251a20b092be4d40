"""What a generator's command asks for, and how any of them says what was done."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulator.source import SECOND, Source

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Job:
    """What a generator's command asks for.

    Attributes
    ----------
    source : Source
        Makes the points.
    target : str
        Address to write to, with database and precision in the query.
    output : str or None
        File to write instead of sending; ``-`` for standard output.
    start : int
        Time of the first point, ns since 1970 UTC; live data is stamped with the present.
    duration : float or None
        Seconds of data; None for live data without an end.
    precision : str
        Unit of the timestamps.
    chunk : int
        Points in one request.
    speed : float or None
        Multiple of real time for live data; None makes all of it at once.
    inject : list of (field, seconds, second it begins)
        Anomalies to begin with.
    buffer : int
        Points a live simulator keeps while the other side is away.
    control : str
        ``HOST:PORT`` of the live simulator's health and injections.
    as_json : bool
        Print what was done as JSON.
    """

    source: Source
    target: str
    output: str | None = None
    start: int = 0
    duration: float | None = None
    precision: str = "ns"
    chunk: int = 5000
    speed: float | None = None
    inject: list[tuple[str, float, float]] = field(default_factory=list)
    buffer: int = 100_000
    control: str = ""
    as_json: bool = False

    def begin_injections(self, now: int) -> None:
        """Start the anomalies that were asked for, counted from `now` (ns)."""
        for name, seconds, offset in self.inject:
            self.source.injections.begin(name, seconds, now + round(offset * SECOND))


def progress() -> Progress:
    """Return a progress bar on standard error, silent where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("points"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def report(summary: dict[str, object], as_json: bool, to_stderr: bool = False) -> None:
    """Say what was done, for people on standard error or for scripts on standard output."""
    if as_json:
        print(json.dumps(summary), file=sys.stderr if to_stderr else sys.stdout)
        return
    place = summary.get("url") or summary.get("output")
    console.print(
        f"{summary['points']:,} points to {place} in {summary['seconds']} s",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
