import numpy as np
import pytest

from simulator.fleet import BRIEF, INCIDENT, SERVICES, Fleet
from simulator.source import SECOND, Injections

START = 1451606400 * SECOND


def times(count: int) -> np.ndarray:
    return START + np.arange(count, dtype=np.int64) * 10 * SECOND


def test_the_same_seed_gives_the_same_bytes_however_it_is_cut() -> None:
    whole = Fleet(seed=3).take(times(50), "s").lines
    cut = Fleet(seed=3)
    parts = [cut.take(part, "s").lines for part in np.split(times(50), [1, 7, 30])]
    assert b"".join(parts) == whole
    assert Fleet(seed=4).take(times(50), "s").lines != whole


def test_every_host_of_every_service_and_datacenter_reports_at_every_time() -> None:
    chunk = Fleet(seed=1, hosts=2).take(times(3), "s")
    lines = chunk.lines.decode().splitlines()
    assert chunk.points == len(lines) == 3 * 2 * 2 * len(SERVICES)
    assert len({line.split(" ")[0] for line in lines}) == len(lines) / 3
    assert chunk.last == START + 20 * SECOND


def test_days_are_busier_than_nights_and_incidents_stand_out() -> None:
    fleet = Fleet(seed=1, hosts=1)
    day = fleet.values(times(8640))
    column = [s.name for s in SERVICES].index("web") * 2
    noon, midnight = day[4500:4860, column].mean(), day[360:720, column].mean()
    assert noon < midnight - 5
    (first, *_) = fleet.anomalies(START, START + 86_400 * SECOND)
    assert first.field == "search/eu"
    begin, end = ((t - START) // (10 * SECOND) for t in (first.start, first.end))
    column = [s.name for s in SERVICES].index("search") * 2
    assert day[begin:end, column].mean() < day[: begin - 1, column].mean() - INCIDENT + 5
    assert day[begin:end, column + 1].mean() > 70


def test_the_brief_schedule_repeats() -> None:
    found = Fleet(seed=1, schedule=BRIEF).anomalies(START, START + 14_400 * SECOND)
    assert [(a.start - START) // SECOND for a in found] == [1200, 3600, 6000, 8400, 10800, 13200]


def test_an_incident_by_hand_takes_the_service_everywhere() -> None:
    injections = Injections(tuple(s.name for s in SERVICES))
    injections.begin("web", 60, START)
    values = Fleet(seed=1, hosts=1, injections=injections).values(times(20))
    web = values[:, -2:]
    assert (web[:6] < 45).all()
    assert (web[7:] > 60).all()
    assert (values[:, :-2] > 60).all()


@pytest.mark.parametrize("precision", ["ns", "ms", "s"])
def test_times_are_in_the_unit_asked_for(precision: str) -> None:
    line = Fleet(seed=1).take(times(1), precision).lines.splitlines()[0]
    assert int(line.split()[-1]) == START // {"ns": 1, "ms": 10**6, "s": 10**9}[precision]
