"""Detectors on the simulated day, without any engine: what is found when, and false alarms.

Five-minute windows are stamped with their end, as Kapacitor stamps them.
"""

from collections.abc import Callable

import numpy as np
import pytest

from detectors.base import WindowDetector
from detectors.control_chart import ControlChart
from detectors.welch import Welch
from simulator.printer import BRIEF, DAILY, DAY, Printer
from simulator.source import SECOND, Injections

ALPHA = 0.001
WINDOW = 300
SEEDS = range(100, 120)

FOUND_AT = {
    "hotend": range(3900, 3901, WINDOW),
    "bed": range(29_100, 29_701, WINDOW),
    "air": range(43_500, 45_001, WINDOW),
}
"""Ends, in seconds, of the full windows within each expected anomaly."""

RESTLESS_AIR = range(11_100, 72_001, WINDOW)
"""Ends of the windows in which the air's spread is not the usual one, anomaly included."""


def alarms(build: Callable[[], WindowDetector], seed: int) -> dict[str, list[int]]:
    """Return the ends (s) of the windows with p < alpha, by field."""
    times = np.arange(DAY, dtype=np.int64) * 1_000_000_000
    values = Printer(seed).values(times)
    found = {}
    for column, field in enumerate(DAILY.fields):
        detector = build()
        windows = np.ascontiguousarray(values[:, column]).reshape(-1, WINDOW)
        assert len(windows) == 288
        found[field] = [
            (i + 1) * WINDOW
            for i, window in enumerate(windows)
            if detector.update(window)["pvalue"] < ALPHA
        ]
    return found


@pytest.fixture(scope="module")
def welch_alarms() -> list[dict[str, list[int]]]:
    return [alarms(lambda: Welch(3600, ALPHA), seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def chart_alarms() -> list[dict[str, list[int]]]:
    return [alarms(lambda: ControlChart(alpha=ALPHA), seed) for seed in SEEDS]


@pytest.mark.parametrize("field", DAILY.fields)
def test_welch_finds_every_anomaly_in_its_first_full_window(
    welch_alarms: list[dict[str, list[int]]], field: str
) -> None:
    missed = [
        seed
        for seed, found in zip(SEEDS, welch_alarms, strict=True)
        if FOUND_AT[field][0] not in found[field]
    ]
    assert missed == []


@pytest.mark.parametrize("field", DAILY.fields)
def test_welch_gives_at_most_one_false_alarm_a_day_on_average(
    welch_alarms: list[dict[str, list[int]]], field: str
) -> None:
    false = [set(found[field]) - set(FOUND_AT[field]) for found in welch_alarms]
    assert np.mean([len(times) for times in false]) <= 1


@pytest.mark.parametrize("field", DAILY.fields)
def test_the_control_chart_finds_every_window_of_every_anomaly(
    chart_alarms: list[dict[str, list[int]]], field: str
) -> None:
    expected = set(RESTLESS_AIR if field == "air" else FOUND_AT[field])
    for seed, found in zip(SEEDS, chart_alarms, strict=True):
        assert expected - set(found[field]) == set(), f"seed {seed}"


@pytest.mark.parametrize("field", DAILY.fields)
def test_the_control_chart_gives_at_most_one_false_alarm_a_day_on_average(
    chart_alarms: list[dict[str, list[int]]], field: str
) -> None:
    expected = set(RESTLESS_AIR if field == "air" else FOUND_AT[field])
    assert np.mean([len(set(found[field]) - expected) for found in chart_alarms]) <= 1


@pytest.mark.parametrize("phase", [0.0, 2.5, 5.0, 9.9])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_live_schedule_gives_its_first_alert_within_a_minute(seed: int, phase: float) -> None:
    # As a live task sees it: 30 points a second, cut at every tenth second of the clock.
    values = Printer(seed, BRIEF).values(np.arange(30 * 120, dtype=np.int64))[:, 0]
    window = np.floor((np.arange(values.size) / 30 + phase) / 10)
    detector = Welch(9000, ALPHA)
    alerts = [
        (i + 1) * 10 - phase
        for i in range(int(window[-1]) + 1)
        if detector.update(values[window == i])["pvalue"] < ALPHA
    ]
    begin, end = 20, 50
    assert begin <= alerts[0] <= begin + 20
    # And it ends: what was learned meanwhile does not make normal windows look wrong.
    assert sum(alert >= end + 10 for alert in alerts) <= 1


@pytest.mark.parametrize("field", BRIEF.fields)
def test_half_a_second_of_a_part_broken_by_hand_is_enough(field: str) -> None:
    found = 0
    for seed in range(20):
        injections = Injections(BRIEF.fields)
        printer = Printer(seed, BRIEF, injections)
        column = BRIEF.fields.index(field)
        windows = np.arange(6 * 300, dtype=np.int64).reshape(6, 300) * SECOND
        injections.begin(field, 15.0, int(windows[-1, -15]))
        detector = Welch(9000, ALPHA)
        for window in windows:
            pvalue = detector.update(printer.values(window)[:, column])["pvalue"]
        found += pvalue < ALPHA
    assert found == 20
