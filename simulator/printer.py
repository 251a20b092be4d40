"""Temperatures of a 3D printer over a day, with the three faults the main job has to find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from simulator.generator import generator
from simulator.options import choice
from simulator.source import PRECISIONS, SECOND, Anomaly, Chunk, Injections, Times

MEASUREMENT = "temperatures"
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Phase:
    """How a temperature behaves from `start` (s) on: its spread and its offset from the target.

    Both are in °C; `anomaly` marks the phases that a detector is expected to find.
    """

    start: int
    sigma: float
    offset: float = 0.0
    anomaly: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """One temperature: its target in °C, its phases in order, and how it misbehaves."""

    field: str
    target: float
    phases: tuple[Phase, ...]
    fault: Phase


@dataclass(frozen=True, slots=True)
class Schedule:
    """The channels of a printer and the seconds after which their phases begin anew."""

    period: int
    channels: tuple[Channel, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in the order they are written."""
        return tuple(channel.field for channel in self.channels)

    def anomalies(self, start: int, end: int) -> list[Anomaly]:
        """Return the expected anomalies from `start` to `end` (ns), the schedule begun at `start`.

        Examples
        --------
        >>> found = DAILY.anomalies(0, DAY * SECOND)
        >>> [(a.field, a.start // SECOND, a.end // SECOND) for a in found]
        [('hotend', 3600, 3900), ('bed', 28800, 29700), ('air', 43200, 45000)]
        """
        found = []
        for begin in range(start, end, self.period * SECOND):
            for channel in self.channels:
                ends = [phase.start for phase in channel.phases[1:]] + [self.period]
                for phase, until in zip(channel.phases, ends, strict=True):
                    since = begin + phase.start * SECOND
                    if phase.anomaly and since < end:
                        until_ns = min(begin + until * SECOND, end)
                        found.append(Anomaly(channel.field, since, until_ns))
        return sorted(found, key=lambda anomaly: anomaly.start)


HOTEND_FAULT = Phase(3600, sigma=3.0, offset=-1.5, anomaly=True)
BED_FAULT = Phase(28_800, sigma=5.0, offset=2.0, anomaly=True)
AIR_FAULT = Phase(43_200, sigma=15.0, offset=-5.0, anomaly=True)

DAILY = Schedule(
    DAY,
    (
        Channel("hotend", 220.0, (Phase(0, 0.5), HOTEND_FAULT, Phase(3900, 0.5)), HOTEND_FAULT),
        Channel("bed", 90.0, (Phase(0, 1.0), BED_FAULT, Phase(29_700, 1.0)), BED_FAULT),
        Channel(
            "air",
            70.0,
            (Phase(0, 3.0), Phase(10_800, 5.0), AIR_FAULT, Phase(45_000, 5.0), Phase(72_000, 3.0)),
            AIR_FAULT,
        ),
    ),
)
"""A day of printing: what the guides, the demo and the tests are about."""


def _brief(field: str, target: float, sigma: float, fault: Phase, start: int) -> Channel:
    bad = Phase(start, fault.sigma, fault.offset, anomaly=True)
    # Broken by hand, the heater fails: so far off that a dozen of a window's 300 points tell.
    broken = Phase(0, sigma, offset=-30 * sigma, anomaly=True)
    return Channel(field, target, (Phase(0, sigma), bad, Phase(start + 900, sigma)), broken)


BRIEF = Schedule(
    9000,
    (
        _brief("hotend", 220.0, 0.5, HOTEND_FAULT, 600),
        _brief("bed", 90.0, 1.0, BED_FAULT, 3600),
        _brief("air", 70.0, 3.0, AIR_FAULT, 6600),
    ),
)
"""For watching live: one fault after the other, fifteen minutes each, the first one soon.

At the default of 30 times real time the first begins after 20 s and lasts 30 s, the whole takes
five minutes, and 10 s hold the 300 points that a five-minute window of the day holds.
"""

SCHEDULES = {"daily": DAILY, "brief": BRIEF}


class Printer:
    """The temperatures of one printer: normal noise about targets, by a schedule of faults.

    Parameters
    ----------
    seed : int
        The same seed gives the same values, whatever the chunks.
    schedule : Schedule
        Targets and phases; it repeats after its period.
    injections : Injections, optional
        Faults started by hand, on top of the schedule.

    Examples
    --------
    >>> printer = Printer(seed=7)
    >>> print(printer.take(1451606400 * SECOND + np.arange(2) * SECOND, "s").lines.decode(), end="")
    temperatures hotend=220.001,bed=90.299,air=69.178 1451606400
    temperatures hotend=219.555,bed=89.545,air=67.025 1451606401
    """

    interval = 1.0
    series = 1

    def __init__(
        self, seed: int, schedule: Schedule = DAILY, injections: Injections | None = None
    ) -> None:
        self.schedule = schedule
        self.injections = injections or Injections(schedule.fields)
        self._random = np.random.default_rng(seed)
        self._next = 0
        names = ",".join(f"{field}=%.3f" for field in schedule.fields)
        self._line = f"{MEASUREMENT} {names} %d\n"

    def values(self, times: Times) -> npt.NDArray[np.float64]:
        """Return the next temperatures in °C, rounded as written, shape (times, fields)."""
        count = times.size
        noise = self._random.standard_normal((count, len(self.schedule.channels)))
        second = (self._next + np.arange(count)) % self.schedule.period
        self._next += count
        for column, channel in enumerate(self.schedule.channels):
            phase = np.searchsorted([p.start for p in channel.phases], second, side="right") - 1
            sigma = np.array([p.sigma for p in channel.phases])[phase]
            offset = np.array([p.offset for p in channel.phases])[phase]
            injected = self.injections.mask(channel.field, times)
            sigma[injected], offset[injected] = channel.fault.sigma, channel.fault.offset
            noise[:, column] = channel.target + offset + sigma * noise[:, column]
        return noise.round(3)

    def take(self, times: Times, precision: str) -> Chunk:
        """Return the next points, stamped with `times` (ns) in units of `precision`."""
        stamps = times // PRECISIONS[precision]
        columns = [*self.values(times).T.tolist(), stamps.tolist()]
        cells = [cell for row in zip(*columns, strict=True) for cell in row]
        # One formatting of all lines at once is several times faster than one a line.
        lines = (self._line * times.size % tuple(cells)).encode("ascii")
        return Chunk(lines, times.size, int(times[-1]))


def make(
    seed: int,
    live: bool,
    schedule: Annotated[
        str | None,
        typer.Option(help="When it goes wrong: daily or brief. By default daily; live, brief."),
    ] = None,
) -> Printer:
    """Make a printer's temperatures: hot end, bed and air, one point a second for a day."""
    name = schedule or ("brief" if live else "daily")
    return Printer(seed, choice("--schedule", name, SCHEDULES))


command = generator(make, database="printer", length="24h2s")
