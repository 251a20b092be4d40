"""The control chart: its null distribution, what it sees and its edges."""

import time

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from detectors.control_chart import LARGEST_Z, ControlChart
from detectors.welch import Welch


def fed(*windows: object, **arguments: float) -> dict[str, float]:
    detector = ControlChart(**arguments)  # type: ignore[arg-type]
    scores: dict[str, float] = {}
    for window in windows:
        scores = detector.update(np.array(window, dtype=float))
    return scores


def reference(count: int = 12, sigma: float = 1.0) -> np.ndarray:
    return np.random.default_rng(4).normal(90, sigma, (count, 300))


def test_scores_are_those_of_the_definition() -> None:
    windows = np.random.default_rng(3).normal(70, 3, (9, 31))
    scores = fed(*windows, windows=8, warmup=8)
    levels = np.median(windows, axis=1)
    spreads = np.abs(windows - levels[:, None]).mean(axis=1) ** (2 / 3)
    ps = []
    for name, y in (("level", levels), ("spread", spreads)):
        z = (y[-1] - y[:8].mean()) / (y[:8].std(ddof=1) * np.sqrt(1 + 1 / 8))
        assert scores[name] == pytest.approx(z, rel=1e-9)
        ps.append(2 * stats.t.sf(abs(z), 7))
    assert scores["pvalue"] == pytest.approx(1 - (1 - min(ps)) ** 2, rel=1e-9)


@pytest.mark.parametrize("values", [10, 300])
def test_p_values_of_normal_windows_are_uniform(values: int) -> None:
    rng = np.random.default_rng(12)
    pvalues = []
    for _ in range(150):
        # alpha next to 0, so that every window becomes reference.
        detector = ControlChart(windows=12, alpha=1e-12, warmup=12)
        for window in rng.normal(220, 0.5, (13, values)):
            last = detector.update(window)
        pvalues.append(last["pvalue"])
    assert stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_slow_swings_that_fool_a_t_test_are_normal_to_it() -> None:
    rng = np.random.default_rng(1)
    seconds = np.arange(288 * 300)
    # A thermostat: up and down by 2 °C in some 8 minutes, never quite alike.
    phase = np.cumsum(2 * np.pi / 480 * rng.uniform(0.5, 1.5, seconds.size))
    swings = 90 + 2 * np.sin(phase) + rng.normal(0, 0.2, seconds.size)
    chart, welch = ControlChart(), Welch(3600, 0.001)
    windows = swings.reshape(288, 300)
    assert sum(chart.update(w)["pvalue"] < 0.001 for w in windows) <= 2
    assert sum(welch.update(w)["pvalue"] < 0.001 for w in windows) > 50


@pytest.mark.parametrize(
    ("factor", "offset", "seen"),
    [(1.5, 0, "spread"), (0.6, 0, "spread"), (1, 0.5, "level"), (1, -0.5, "level")],
)
def test_level_and_spread_changes_show_where_they_are(
    factor: float, offset: float, seen: str
) -> None:
    window = 90 + (reference(13)[12] - 90) * factor + offset
    scores = fed(*reference(), window)
    other = "level" if seen == "spread" else "spread"
    assert scores["pvalue"] < 0.001
    assert abs(scores[seen]) > 4
    assert abs(scores[other]) < 4
    assert np.sign(scores[seen]) == np.sign(factor - 1 + offset)


def test_warm_up_is_silent_and_learns() -> None:
    detector = ControlChart(windows=10, warmup=5)
    for count, window in enumerate(reference(5), start=1):
        scores = detector.update(window)
        assert scores == {"level": 0.0, "spread": 0.0, "pvalue": 1.0}
        assert len(detector.state()["level_values"]) == count  # type: ignore[arg-type]
    assert detector.update(reference(6)[5] + 50)["pvalue"] < 0.001


@pytest.mark.parametrize(
    ("window", "tolerance", "expected"),
    [
        ([20] * 9, 0, {"level": 0, "spread": 0, "pvalue": 1}),
        ([21] * 9, 0, {"level": LARGEST_Z, "spread": 0, "pvalue": 0}),
        ([19] * 9, 0, {"level": -LARGEST_Z, "spread": 0, "pvalue": 0}),
        ([19, 20, 21], 0, {"level": 0, "spread": LARGEST_Z, "pvalue": 0}),
        ([], 0, {"level": 0, "spread": 0, "pvalue": 1}),
        ([55], 0, {"level": 0, "spread": 0, "pvalue": 1}),
        ([20.5] * 9, 0.5, {"level": 1, "spread": 0, "pvalue": pytest.approx(0.6, abs=0.1)}),
    ],
)
def test_windows_after_constant_ones(
    window: list[float], tolerance: float, expected: dict[str, float]
) -> None:
    assert fed(*[[20.0] * 9] * 6, window, tolerance=tolerance) == expected


def test_a_tolerance_hides_what_does_not_matter_and_no_more() -> None:
    small, large = reference(13)[12] + 0.5, reference(13)[12] + 20
    assert fed(*reference(), small)["pvalue"] < 0.001
    assert fed(*reference(), small, tolerance=1.0)["pvalue"] > 0.1
    assert fed(*reference(), large, tolerance=1.0)["pvalue"] < 0.001


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"windows": 2}, ["windows"]),
        ({"windows": 10, "warmup": 11}, ["warmup"]),
        ({"warmup": 2}, ["warmup"]),
        ({"alpha": 0}, ["alpha"]),
        ({"tolerance": -1}, ["tolerance"]),
        ({"tolerance": float("nan")}, ["tolerance"]),
        ({"windows": 2.0, "alpha": 2, "tolerance": "no"}, ["windows", "alpha", "tolerance"]),
    ],
)
def test_every_wrong_argument_is_named(arguments: dict[str, float], named: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        fed(**arguments)
    assert [part.split()[0] for part in str(caught.value).split("; ")] == named


def test_a_window_takes_tens_of_microseconds() -> None:
    detector = ControlChart()
    fastest = float("inf")
    windows = np.random.default_rng(1).normal(220, 0.5, (300, 300))
    for _ in range(5):
        begin = time.perf_counter()
        for window in windows:
            detector.update(window)
        fastest = min(fastest, (time.perf_counter() - begin) / len(windows))
    assert fastest < 200e-6
