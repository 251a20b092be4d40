"""CPU usage of a fleet: services on hosts in datacenters, through days, nights and incidents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from simulator.generator import generator
from simulator.options import choice
from simulator.source import PRECISIONS, SECOND, Anomaly, Chunk, Injections, Times

MEASUREMENT = "cpu"
DAY = 86_400
DATACENTERS = {"eu": 13.0, "us": 20.0}
"""The hour of the day, UTC, at which each datacenter is busiest."""


@dataclass(frozen=True, slots=True)
class Service:
    """How much CPU a service uses, in per cent: at night, and how much more at the busiest hour."""

    name: str
    night: float
    day: float


SERVICES = (
    Service("checkout", night=6.0, day=8.0),
    Service("database", night=12.0, day=6.0),
    Service("search", night=9.0, day=9.0),
    Service("web", night=8.0, day=12.0),
)
#: Standard deviation of one host's usage about the course of its day, in per cent.
SIGMA = 1.5
#: What an incident takes on top, in per cent.
INCIDENT = 65.0


@dataclass(frozen=True, slots=True)
class Incident:
    """A service that overloads its hosts in one datacenter, `seconds` long from `start` on."""

    service: str
    datacenter: str
    start: int
    seconds: int


#: Seconds after which the incidents begin anew, and the incidents.
DAILY = (
    DAY,
    (
        Incident("search", "eu", start=2 * 3600, seconds=300),
        Incident("checkout", "us", start=9 * 3600, seconds=900),
        Incident("database", "eu", start=17 * 3600 + 1800, seconds=600),
    ),
)
#: The same for watching live: at 30 times real time the first begins after 40 s.
BRIEF = (
    7200,
    (
        Incident("search", "eu", start=1200, seconds=300),
        Incident("checkout", "us", start=3600, seconds=600),
        Incident("database", "eu", start=6000, seconds=300),
    ),
)
SCHEDULES = {"daily": DAILY, "brief": BRIEF}


class Fleet:
    """The idle time of every host's CPUs: the course of the day, noise, and incidents.

    Parameters
    ----------
    seed : int
        The same seed gives the same values, whatever the chunks.
    hosts : int
        Hosts of each service in each datacenter.
    schedule : tuple
        The seconds after which the incidents begin anew, and the incidents.
    injections : Injections, optional
        Incidents started by hand, on all hosts of a service.

    Examples
    --------
    >>> fleet = Fleet(seed=7, hosts=1)
    >>> lines = fleet.take(1451606400 * SECOND + np.arange(1) * SECOND, "s").lines.decode()
    >>> print(lines.splitlines()[0])
    cpu,cpu=cpu-total,datacenter=eu,host=checkout-eu-1,service=checkout usage_idle=93.86 1451606400
    """

    interval = 10.0

    def __init__(
        self,
        seed: int,
        hosts: int = 3,
        schedule: tuple[int, tuple[Incident, ...]] = DAILY,
        injections: Injections | None = None,
    ) -> None:
        self.injections = injections or Injections(tuple(s.name for s in SERVICES))
        self._period, self._incidents = schedule
        self._random = np.random.default_rng(seed)
        self._next = 0
        self._hosts = [
            (service, datacenter)
            for service in SERVICES
            for datacenter in DATACENTERS
            for _ in range(hosts)
        ]
        self.series = len(self._hosts)
        numbers = [1 + at % hosts for at in range(self.series)]
        self._lines = "".join(
            f"{MEASUREMENT},cpu=cpu-total,datacenter={datacenter},"
            f"host={service.name}-{datacenter}-{number},service={service.name}"
            " usage_idle=%.2f %d\n"
            for (service, datacenter), number in zip(self._hosts, numbers, strict=True)
        )

    def anomalies(self, start: int, end: int) -> list[Anomaly]:
        """Return the incidents from `start` to `end` (ns), the schedule begun at `start`.

        Examples
        --------
        >>> [(a.field, a.start // SECOND) for a in Fleet(1).anomalies(0, 10 * 3600 * SECOND)]
        [('search/eu', 7200), ('checkout/us', 32400)]
        """
        found = []
        for begin in range(start, end, self._period * SECOND):
            for incident in self._incidents:
                since = begin + incident.start * SECOND
                if since < end:
                    until = min(since + incident.seconds * SECOND, end)
                    name = f"{incident.service}/{incident.datacenter}"
                    found.append(Anomaly(name, since, until))
        return sorted(found, key=lambda anomaly: anomaly.start)

    def values(self, times: Times) -> npt.NDArray[np.float64]:
        """Return the next idle times in per cent, rounded as written, shape (times, hosts)."""
        count = times.size
        used = SIGMA * self._random.standard_normal((count, self.series))
        second = ((self._next + np.arange(count)) * int(self.interval)) % self._period
        self._next += count
        hour = (times / SECOND % DAY) / 3600
        for column, (service, datacenter) in enumerate(self._hosts):
            busy = 0.5 + 0.5 * np.cos((hour - DATACENTERS[datacenter]) * np.pi / 12)
            used[:, column] += service.night + service.day * busy
            overloaded = self.injections.mask(service.name, times)
            for incident in self._incidents:
                if (incident.service, incident.datacenter) == (service.name, datacenter):
                    since = second - incident.start
                    overloaded |= (since >= 0) & (since < incident.seconds)
            used[overloaded, column] += INCIDENT
        return (100.0 - used.clip(0.0, 100.0)).round(2)

    def take(self, times: Times, precision: str) -> Chunk:
        """Return the next points, one a host for each of `times` (ns), stamped in `precision`."""
        stamps = np.broadcast_to(
            (times // PRECISIONS[precision])[:, None], (times.size, self.series)
        )
        cells = [
            cell
            for row in zip(
                self.values(times).ravel().tolist(), stamps.ravel().tolist(), strict=True
            )
            for cell in row
        ]
        lines = (self._lines * times.size % tuple(cells)).encode("ascii")
        return Chunk(lines, times.size * self.series, int(times[-1]))


def make(
    seed: int,
    live: bool,
    hosts: Annotated[
        int, typer.Option(min=1, max=1000, help="Hosts of each service in each datacenter.")
    ] = 3,
    schedule: Annotated[
        str | None,
        typer.Option(help="When incidents come: daily or brief. By default daily; live, brief."),
    ] = None,
) -> Fleet:
    """Make the CPU usage of a fleet: four services in two datacenters, every ten seconds."""
    name = schedule or ("brief" if live else "daily")
    return Fleet(seed, hosts, choice("--schedule", name, SCHEDULES))


command = generator(make, database="telegraf", length="24h", points=500)
