"""The printer's day: distributions, determinism, the schedule and the bytes."""

import hashlib
import time

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from lineprotocol import parse_line
from simulator.printer import BRIEF, DAILY, DAY, Printer
from simulator.source import SECOND, Injections, chunks

MIDNIGHT = 1451606400 * SECOND


def day(seed: int, count: int = DAY + 2) -> np.ndarray:
    return Printer(seed).values(MIDNIGHT + np.arange(count, dtype=np.int64) * SECOND)


def text(seed: int, count: int, size: int) -> bytes:
    return b"".join(c.lines for c in chunks(Printer(seed), MIDNIGHT, count, size, "s"))


@pytest.mark.parametrize(
    ("field", "begin", "end", "mean", "sigma"),
    [
        ("hotend", 0, 3600, 220, 0.5),
        ("hotend", 3600, 3900, 218.5, 3),
        ("hotend", 3900, 86_402, 220, 0.5),
        ("bed", 0, 28_800, 90, 1),
        ("bed", 28_800, 29_700, 92, 5),
        ("bed", 29_700, 86_402, 90, 1),
        ("air", 0, 10_800, 70, 3),
        ("air", 10_800, 43_200, 70, 5),
        ("air", 43_200, 45_000, 65, 15),
        ("air", 45_000, 72_000, 70, 5),
        ("air", 72_000, 86_402, 70, 3),
    ],
)
def test_each_phase_has_its_distribution(
    field: str, begin: int, end: int, mean: float, sigma: float
) -> None:
    values = np.concatenate([day(seed)[begin:end, DAILY.fields.index(field)] for seed in (1, 2, 3)])
    assert stats.kstest(values, stats.norm(mean, sigma).cdf).pvalue > 1e-3
    assert values.std() == pytest.approx(sigma, rel=4 / np.sqrt(2 * values.size))


def test_fields_and_successive_values_are_independent() -> None:
    values = day(5)[50_000:70_000]
    correlations = np.corrcoef(np.vstack([values.T, np.roll(values, 1, axis=0).T]))
    assert np.abs(correlations - np.eye(6)).max() < 0.035


def test_the_same_seed_gives_the_same_bytes_however_it_is_cut() -> None:
    whole = text(7, 5000, 5000)
    assert whole == text(7, 5000, 999)
    assert text(7, 1234, 100) == b"".join(whole.splitlines(keepends=True)[:1234])
    assert whole != text(8, 5000, 5000)


def test_the_bytes_of_a_seed_do_not_change_between_versions() -> None:
    digest = hashlib.sha256(text(1, DAY + 2, 5000)).hexdigest()
    assert digest == "04c8040fda5e97f23950e5b5b3c27829e5f0a84b29f099b4008da9ac03064e3b"


def test_lines_are_line_protocol_and_hold_the_values() -> None:
    values = day(3, 50)
    for i, line in enumerate(text(3, 50, 7).splitlines()):
        point = parse_line(line, "s")
        assert (point.name, point.tags, point.time) == ("temperatures", {}, MIDNIGHT + i * SECOND)
        assert point.fields == dict(zip(DAILY.fields, values[i], strict=True))
        assert all(isinstance(v, float) for v in point.fields.values())


@pytest.mark.parametrize(("unit", "ns"), [("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_timestamps_are_in_the_unit(unit: str, ns: int) -> None:
    made = Printer(1).take(np.array([MIDNIGHT, MIDNIGHT + SECOND]), unit)
    assert [int(line.split()[-1]) * ns for line in made.lines.splitlines()] == [
        MIDNIGHT,
        MIDNIGHT + SECOND,
    ]


def test_a_schedule_begins_anew_after_its_period() -> None:
    printer = Printer(1, DAILY)
    printer.values(np.arange(DAY, dtype=np.int64))
    again = printer.values(np.arange(DAY, 2 * DAY, dtype=np.int64))
    assert again[3600:3900, 0].std() == pytest.approx(3, rel=0.2)
    assert [a.start // SECOND for a in DAILY.anomalies(0, 2 * DAY * SECOND)] == [
        3600, 28_800, 43_200, 90_000, 115_200, 129_600,
    ]  # fmt: skip


def test_expected_anomalies_end_with_the_data() -> None:
    assert DAILY.anomalies(0, 3600 * SECOND) == []
    [anomaly] = DAILY.anomalies(0, 3700 * SECOND)
    assert (anomaly.field, anomaly.end) == ("hotend", 3700 * SECOND)


def test_the_brief_schedule_has_a_full_live_window_in_every_anomaly() -> None:
    # 30 times real time: 10 s windows are 300 s of the schedule, wherever they begin.
    found = BRIEF.anomalies(0, BRIEF.period * SECOND)
    assert [a.field for a in found] == ["hotend", "bed", "air"]
    assert all(a.end - a.start == 900 * SECOND for a in found)
    assert found[0].start == 600 * SECOND


def test_an_injected_anomaly_is_the_fields_own_fault_and_ends() -> None:
    injections = Injections(DAILY.fields)
    printer = Printer(1, DAILY, injections)
    injections.begin("bed", 1000, MIDNIGHT + 500 * SECOND)
    values = printer.values(MIDNIGHT + np.arange(2000, dtype=np.int64) * SECOND)
    bad = values[500:1500, 1]
    assert bad.mean() == pytest.approx(92, abs=0.6)
    assert bad.std() == pytest.approx(5, rel=0.1)
    assert values[:500, 1].std() == pytest.approx(1, rel=0.15)
    assert values[1500:, 1].std() == pytest.approx(1, rel=0.15)
    # The other fields, and the normal part, are what they would have been without it.
    normal = day(1, 2000)
    assert np.array_equal(values[:, [0, 2]], normal[:, [0, 2]])
    assert np.array_equal(values[:500], normal[:500])


def test_a_day_is_made_at_100_000_points_a_second_and_more() -> None:
    begin = time.perf_counter()
    points = sum(c.points for c in chunks(Printer(1), MIDNIGHT, DAY + 2, 5000, "s"))
    # 1.5 million a second where it was written.
    assert points / (time.perf_counter() - begin) > 100_000
