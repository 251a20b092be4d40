"""Temperatures of two beers in the early days of fermentation, each in a fridge of its own.

The model is that of a small heat balance per fridge, in steps of a second:

- the air of the fridge takes heat from the room and from the beer; the compressor and a
  heating belt take it out and put it in,
- the beer follows the air slowly and warms itself as the yeast ferments,
- the probe on the fermenter's wall is between beer and air and follows with a lag,
- a thermostat with hysteresis and a rest time switches the compressor by that probe, which is
  why the temperature cycles, and never with quite the same period.

The logger reads the probe in steps of 0.1 °C, once a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, pi, sin
from typing import Annotated

import numpy as np
import typer

from simulator.generator import generator
from simulator.options import choice
from simulator.source import PRECISIONS, SECOND, Anomaly, Chunk, Injections, Times

MEASUREMENT = "temperature"
BREWS = ("haze_v5", "bv_1")
FAULTS = ("door", "heater", "drift", "spike", "gap")
FIELDS = tuple(f"{brew}.{fault}" for brew in BREWS for fault in FAULTS)

DOOR_EXCHANGE = 1 / 90  # 1/s: an open door replaces the air within minutes
HEATER = 0.02  # °C/s in the air: a belt that will not switch off, stronger than the compressor
DRIFT = 0.5 / 3600  # °C/s that the reading moves away from the truth
SPIKE = 6.0  # °C: interference on the wire


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one brew from `start` for `length`, both in seconds of the data."""

    brew: str
    kind: str
    start: int
    length: int


FERMENTATION = (
    Fault("haze_v5", "door", 10 * 3600, 1200),
    Fault("bv_1", "heater", 14 * 3600, 7200),
    Fault("haze_v5", "spike", 19 * 3600, 5),
    Fault("bv_1", "gap", 23 * 3600, 900),
    Fault("haze_v5", "drift", 27 * 3600, 6 * 3600),
)
"""Each fault once, the first when a forecast has had ten hours to learn the fridge."""

SCHEDULES: dict[str, tuple[Fault, ...]] = {"faults": FERMENTATION, "calm": ()}


class Fridge:
    """One fermenter in its fridge.

    Parameters
    ----------
    random : numpy.random.Generator
        Draws the constants of this fridge, its weather and its noise.
    target : float
        What the thermostat keeps, °C.
    """

    def __init__(self, random: np.random.Generator, target: float) -> None:
        self.random = random
        self.target = target
        vary = random.uniform
        self.hysteresis = vary(0.15, 0.25)  # °C on either side of the target
        self.room_exchange = 1 / vary(2400, 3600)  # 1/s, air with room
        self.beer_exchange = 1 / vary(700, 1100)  # 1/s, air with beer
        self.beer_inertia = 1 / vary(5 * 3600, 8 * 3600)  # 1/s, beer with air
        self.cooling = vary(0.012, 0.018)  # °C/s in the air
        self.wall = vary(0.25, 0.4)  # share of the air in what the probe feels
        self.probe_lag = 1 / vary(90, 180)  # 1/s
        self.room = vary(23.5, 25.5)  # °C, mean of the room
        self.daily = vary(0.5, 1.5)  # °C, its swing over a day
        self.phase = vary(0.0, 2 * pi)
        self.ferment_peak = vary(20, 40) * 3600  # s until the yeast is busiest
        self.ferment_rate = vary(0.1, 0.3) / 3600  # °C/s at that time
        self.noise = vary(0.015, 0.03)  # °C, of one reading
        self.second = 0
        self.beer = target + vary(-0.1, 0.1)
        self.air = target - 1.0
        self.probe = target
        self.weather = 0.0
        self.cold = False
        self.rest_until = 0
        self.offset = 0.0

    def readings(self, faults: list[set[str]]) -> Iterator[float | None]:
        """Yield one reading a second, in °C; None while there is none.

        Parameters
        ----------
        faults : list of set of str
            For each second, which of `FAULTS` are at work.
        """
        weather = self.random.normal(0.0, 0.003, len(faults)).tolist()
        noise = self.random.normal(0.0, self.noise, len(faults)).tolist()
        for active, gust, error in zip(faults, weather, noise, strict=True):
            self._step(active, gust)
            self.offset = self.offset + DRIFT if "drift" in active else 0.0
            if "gap" in active:
                yield None
                continue
            spike = SPIKE if "spike" in active else 0.0
            yield round(self.probe + self.offset + spike + error, 1)

    def _step(self, active: set[str], gust: float) -> None:
        now = self.second
        self.second += 1
        # The room wanders about its daily course and comes back within an hour or so.
        self.weather += gust - self.weather / 3600
        room = self.room + self.daily * sin(2 * pi * now / 86_400 + self.phase) + self.weather
        if self.probe > self.target + self.hysteresis and now >= self.rest_until:
            self.cold = True
        elif self.cold and self.probe < self.target - self.hysteresis:
            self.cold = False
            self.rest_until = now + 180
        exchange = DOOR_EXCHANGE if "door" in active else self.room_exchange
        self.air += (
            (room - self.air) * exchange
            + (self.beer - self.air) * self.beer_exchange
            - self.cooling * self.cold
            + HEATER * ("heater" in active)
        )
        # Rises to its peak and falls off slowly, as a gamma function does.
        busy = now / self.ferment_peak * exp(1 - now / self.ferment_peak)
        self.beer += (self.air - self.beer) * self.beer_inertia + self.ferment_rate * busy
        felt = self.wall * self.air + (1 - self.wall) * self.beer
        self.probe += (felt - self.probe) * self.probe_lag


class Brew:
    """The temperatures of `BREWS`, one point a second each.

    Parameters
    ----------
    seed : int
        The same seed gives the same values, whatever the chunks; another one gives other
        fridges, another room and another noise.
    schedule : tuple of Fault
        What goes wrong when.
    injections : Injections, optional
        Faults started by hand, on top of the schedule; their fields are ``BREW.FAULT``.

    Examples
    --------
    >>> brew = Brew(seed=7)
    >>> print(brew.take(1596602228 * SECOND + np.arange(2) * SECOND, "s").lines.decode().strip())
    temperature,brew=haze_v5 temperature=18.8 1596602228
    temperature,brew=bv_1 temperature=20.4 1596602228
    temperature,brew=haze_v5 temperature=18.8 1596602229
    temperature,brew=bv_1 temperature=20.4 1596602229
    """

    interval = 1.0
    series = len(BREWS)

    def __init__(
        self,
        seed: int,
        schedule: tuple[Fault, ...] = FERMENTATION,
        injections: Injections | None = None,
    ) -> None:
        self.schedule = schedule
        self.injections = injections or Injections(FIELDS)
        self._next = 0
        children = np.random.SeedSequence(seed).spawn(len(BREWS))
        targets = (18.8, 20.4)
        self._fridges = [
            Fridge(np.random.default_rng(child), target)
            for child, target in zip(children, targets, strict=True)
        ]

    def anomalies(self, start: int) -> list[Anomaly]:
        """Return the faults of the schedule, for data that begins at `start` (ns)."""
        return [
            Anomaly(
                f"{fault.brew}.{fault.kind}",
                start + fault.start * SECOND,
                start + (fault.start + fault.length) * SECOND,
            )
            for fault in self.schedule
        ]

    def _active(self, brew: str, times: Times) -> list[set[str]]:
        active: list[set[str]] = [set() for _ in range(times.size)]
        for fault in self.schedule:
            if fault.brew == brew:
                first = max(fault.start - self._next, 0)
                last = max(min(fault.start + fault.length - self._next, times.size), 0)
                for second in range(first, last):
                    active[second].add(fault.kind)
        for kind in FAULTS:
            for second in np.flatnonzero(self.injections.mask(f"{brew}.{kind}", times)).tolist():
                active[second].add(kind)
        return active

    def take(self, times: Times, precision: str) -> Chunk:
        """Return the next points, stamped with `times` (ns) in units of `precision`."""
        stamps = (times // PRECISIONS[precision]).tolist()
        columns = [
            fridge.readings(self._active(brew, times))
            for brew, fridge in zip(BREWS, self._fridges, strict=True)
        ]
        self._next += times.size
        lines = [
            f"{MEASUREMENT},brew={brew} temperature={reading} {stamp}\n"
            for stamp, *readings in zip(stamps, *columns, strict=True)
            for brew, reading in zip(BREWS, readings, strict=True)
            if reading is not None
        ]
        return Chunk("".join(lines).encode("ascii"), len(lines), int(times[-1]))


def make(
    seed: int,
    live: bool,  # noqa: ARG001 - live or not, the same goes wrong
    schedule: Annotated[
        str, typer.Option(help="What goes wrong: faults (each once), calm (nothing).")
    ] = "faults",
) -> Brew:
    """Make the temperatures of two fermenting beers, one point a second each.

    Faults, for --inject as well, are BREW.FAULT: the brews haze_v5 and bv_1, the faults door
    (left open), heater (stuck), drift (of the sensor, 0.5 °C an hour), spike and gap.
    """
    return Brew(seed, choice("--schedule", schedule, SCHEDULES))


command = generator(
    make, database="brew", length="36h", first="2020-08-05T04:37:08Z", faults=Brew.anomalies
)
