"""Ten-second averages of four wind turbines of one site, with faults at known times.

Each turbine is a chain of small models, in steps of ten seconds:

- the wind of the site rises in the afternoon and wanders over hours; every turbine adds its gusts,
- power follows the cube of the wind between cut-in and rated speed, and the density of the air,
- the gearbox oil is a first-order lag (quarter of an hour) behind the losses of that power,
- the bearing follows the gearbox and its own friction, faster,
- vibration grows with speed and load.

The faults change the physics, not the readings: a blocked cooler heats the oil and, through it, the
bearing. The one exception is ``dropout``, in which a sensor says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, isnan, nan, pi, sin
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from simulator.generator import generator
from simulator.options import choice
from simulator.source import PRECISIONS, SECOND, Anomaly, Chunk, Injections, Times

MEASUREMENT = "turbine"
SITE = "north"
TURBINES = ("wt01", "wt02", "wt03", "wt04")
FAULTS = ("cooling", "icing", "bearing", "imbalance", "dropout")
FIELDS = tuple(f"{turbine}.{fault}" for turbine in TURBINES for fault in FAULTS)
STEP = 10  # s between two points of a turbine
DAY = 86_400

RATED = 2000.0  # kW
CUT_IN, RATED_WIND = 3.0, 12.0  # m/s
FULL_SPEED = 16.0  # rpm of the rotor, reached at 9.5 m/s

Readings = dict[str, float]
Draws = list[list[float]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one turbine from `start` for `length`, both in seconds of the data."""

    turbine: str
    kind: str
    start: int
    length: int


DAILY = (
    Fault("wt01", "cooling", 6 * 3600, 3 * 3600),
    Fault("wt02", "icing", 10 * 3600, 3 * 3600),
    Fault("wt03", "bearing", 14 * 3600, 2 * 3600),
    Fault("wt04", "imbalance", 18 * 3600, 3600),
    Fault("wt01", "dropout", 21 * 3600, 600),
)
"""Each fault once, on the first day; after it all is well."""

SCHEDULES: dict[str, tuple[Fault, ...]] = {"faults": DAILY, "calm": ()}


class Site:
    """Wind and temperature that the turbines of a site share.

    Parameters
    ----------
    random : numpy.random.Generator
        Draws the weather.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.second = 0
        self.wind = 0.0
        self.warmth = 0.0

    def weather(self, steps: int) -> list[tuple[float, float]]:
        """Return the wind in m/s and the temperature in °C of the next steps."""
        made = []
        for wind, warmth in self.random.standard_normal((steps, 2)).tolist():
            # Both wander within hours and come back: an Ornstein-Uhlenbeck process each.
            self.wind = drift(self.wind, wind, deviation=0.9, seconds=3 * 3600)
            self.warmth = drift(self.warmth, warmth, deviation=1.5, seconds=8 * 3600)
            day = 2 * pi * self.second / DAY
            self.second += STEP
            made.append(
                (8.5 + 1.6 * sin(day - 2.3) + self.wind, 9.0 + 5.0 * sin(day - 2.0) + self.warmth)
            )
        return made


def drift(value: float, draw: float, deviation: float, seconds: float) -> float:
    """Return the next value of an Ornstein-Uhlenbeck process with this spread and memory."""
    keep = exp(-STEP / seconds)
    return float(value * keep + draw * deviation * (1 - keep * keep) ** 0.5)


def approach(value: float, rest: float, seconds: float) -> float:
    """Return the next value of a first-order lag on its way to where it would rest."""
    return rest if isnan(value) else value + (rest - value) * STEP / seconds


class Turbine:
    """One turbine in the weather of its site.

    Parameters
    ----------
    random : numpy.random.Generator
        Draws its constants, gusts and noise.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        vary = random.uniform
        # Machines of a type differ a little, and a model of all of them has to live with that.
        self.efficiency = vary(0.99, 1.01)
        self.warmer = vary(-0.5, 0.5)  # °C
        self.rougher = vary(0.98, 1.02)
        self.gust = 0.0
        self.ice = 0.0
        # Unknown until the first step: the data begins in the middle of an operation.
        self.oil = nan
        self.bearing = nan

    def readings(
        self, weather: list[tuple[float, float]], faults: list[set[str]]
    ) -> Iterator[Readings]:
        """Yield the readings of each step, by field.

        Parameters
        ----------
        weather : list of (wind, temperature)
            As `Site.weather` gives it.
        faults : list of set of str
            For each step, which of `FAULTS` are at work.
        """
        draws = self.random.standard_normal((len(faults), 8)).tolist()
        for (wind, ambient), active, draw in zip(weather, faults, draws, strict=True):
            yield self._step(max(wind, 0.0), ambient, active, draw)

    def _step(self, wind: float, ambient: float, active: set[str], draw: list[float]) -> Readings:
        self.gust = drift(self.gust, draw[0], deviation=0.07, seconds=60)
        wind *= 1 + self.gust
        # Ice grows over half an hour and comes off at once.
        self.ice = self.ice + (0.4 - self.ice) * STEP / 900 if "icing" in active else 0.0
        load = power_share(wind) * self.efficiency * (1 - self.ice) * 288 / (279 + ambient)
        load = min(load, 1.0)
        speed = 0.0 if wind < CUT_IN else min(FULL_SPEED, 8 + 8 * (wind - CUT_IN) / 6.5)
        pitch = 0.0 if wind < RATED_WIND else min(25.0, 6.0 * (wind - RATED_WIND) ** 0.6)
        turning = speed / FULL_SPEED

        hotter = 28.0 if "cooling" in active else 0.0
        rest = 38.0 + 0.4 * ambient + 22.0 * load + self.warmer + hotter
        self.oil = approach(self.oil, rest, 900)
        friction = 18.0 if "bearing" in active else 0.0
        rest = 10.0 + 0.65 * self.oil + 9.0 * turning + 4.0 * load + friction
        self.bearing = approach(self.bearing, rest, 480)
        rough = self.rougher * (1.9 if "imbalance" in active else 1.0)
        rough *= 1.6 if "bearing" in active else 1.0
        vibration = rough * (0.5 + 1.4 * turning**2 + 0.8 * load)

        readings = {
            "wind_speed": max(0.0, wind + 0.15 * draw[1]),
            "ambient_temp": ambient + 0.2 * draw[2],
            "rotor_speed": max(0.0, speed + 0.05 * draw[3]),
            "pitch": pitch,
            "power": RATED * load - 12.0 + 8.0 * draw[4],
            "gearbox_temp": self.oil + 0.2 * draw[5],
            "bearing_temp": self.bearing + 0.2 * draw[6],
            "vibration": vibration * exp(0.05 * draw[7]),
        }
        if "dropout" in active:
            del readings["gearbox_temp"]
        return readings


def power_share(wind: float) -> float:
    """Return the share of the rated power that a wind in m/s gives, from 0 to 1.

    Examples
    --------
    >>> power_share(2.0), power_share(12.0), round(power_share(8.0), 3)
    (0.0, 1.0, 0.285)
    """
    share = (wind**3 - CUT_IN**3) / (RATED_WIND**3 - CUT_IN**3)
    return min(1.0, max(0.0, share))


class Park:
    """The turbines of `TURBINES`, a point each every ten seconds.

    Parameters
    ----------
    seed : int
        The same seed gives the same values, whatever the chunks; another one gives other weather,
        other machines of the same type and other noise.
    schedule : tuple of Fault
        What goes wrong when.
    injections : Injections, optional
        Faults started by hand, on top of the schedule; their fields are ``TURBINE.FAULT``.

    Examples
    --------
    >>> park = Park(seed=7)
    >>> print(park.take(1451606400 * SECOND + np.arange(1) * SECOND, "s").lines.decode()[:54])
    turbine,site=north,turbine=wt01 wind_speed=7.460,ambie
    """

    interval = float(STEP)
    series = len(TURBINES)

    def __init__(
        self,
        seed: int,
        schedule: tuple[Fault, ...] = DAILY,
        injections: Injections | None = None,
    ) -> None:
        self.schedule = schedule
        self.injections = injections or Injections(FIELDS)
        self._second = 0
        site, *machines = np.random.SeedSequence(seed).spawn(1 + len(TURBINES))
        self._site = Site(np.random.default_rng(site))
        self._turbines = [Turbine(np.random.default_rng(machine)) for machine in machines]

    def anomalies(self, start: int) -> list[Anomaly]:
        """Return the faults of the schedule, for data that begins at `start` (ns)."""
        return [
            Anomaly(
                f"{fault.turbine}.{fault.kind}",
                start + fault.start * SECOND,
                start + (fault.start + fault.length) * SECOND,
            )
            for fault in self.schedule
        ]

    def _active(self, turbine: str, seconds: npt.NDArray[np.int64], times: Times) -> list[set[str]]:
        active: list[set[str]] = [set() for _ in range(times.size)]
        for fault in self.schedule:
            if fault.turbine == turbine:
                at_work = (seconds >= fault.start) & (seconds < fault.start + fault.length)
                for step in np.flatnonzero(at_work):
                    active[step].add(fault.kind)
        for kind in FAULTS:
            for step in np.flatnonzero(self.injections.mask(f"{turbine}.{kind}", times)):
                active[step].add(kind)
        return active

    def take(self, times: Times, precision: str) -> Chunk:
        """Return the next points, stamped with `times` (ns) in units of `precision`."""
        stamps = (times // PRECISIONS[precision]).tolist()
        seconds = self._second + STEP * np.arange(times.size, dtype=np.int64)
        self._second += STEP * times.size
        weather = self._site.weather(times.size)
        columns = [
            turbine.readings(weather, self._active(name, seconds, times))
            for name, turbine in zip(TURBINES, self._turbines, strict=True)
        ]
        lines = [
            f"{MEASUREMENT},site={SITE},turbine={name} "
            + ",".join(f"{field}={value:.3f}" for field, value in readings.items())
            + f" {stamp}\n"
            for stamp, *row in zip(stamps, *columns, strict=True)
            for name, readings in zip(TURBINES, row, strict=True)
        ]
        return Chunk("".join(lines).encode("ascii"), len(lines), int(times[-1]))


def make(
    seed: int,
    live: bool,  # noqa: ARG001 - live or not, the same goes wrong
    schedule: Annotated[
        str, typer.Option(help="What goes wrong: faults (each once, on the first day), calm.")
    ] = "faults",
) -> Park:
    """Make the sensors of four wind turbines, a point each every ten seconds for a day.

    Faults, for --inject as well, are TURBINE.FAULT: the turbines wt01 to wt04, the faults cooling
    (blocked), icing (of the blades), bearing (worn), imbalance and dropout (of the gearbox sensor).
    """
    return Park(seed, choice("--schedule", schedule, SCHEDULES))


command = generator(make, database="turbine", length="24h", points=1000, faults=Park.anomalies)
