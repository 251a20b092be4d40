"""Welch's t-test against scipy, and its edges."""

import sys
import time

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from scipy.special import betainc, stdtr  # type: ignore[import-untyped]

from detectors.welch import Welch

ALPHA = 0.001


def fed(*windows: object, size: int = 3600) -> tuple[Welch, dict[str, float]]:
    detector = Welch(size=size, alpha=ALPHA)
    scores: dict[str, float] = {}
    for window in windows:
        scores = detector.update(np.array(window, dtype=float))
    return detector, scores


def test_agrees_with_scipy_over_a_day_of_windows() -> None:
    rng = np.random.default_rng(11)
    detector = Welch(size=3600, alpha=ALPHA)
    history = np.empty(0)
    compared = 0
    for i in range(288):
        n = int(rng.integers(2, 400))
        window = rng.normal(220 - (i % 17 == 3), rng.uniform(0.1, 5), n)
        scores = detector.update(window)
        expected_p = 1.0
        if history.size:
            expected = stats.ttest_ind(history, window, equal_var=False)
            expected_p = float(expected.pvalue)
            assert scores["t"] == pytest.approx(expected.statistic, rel=1e-8, abs=1e-10)
            assert scores["pvalue"] == pytest.approx(expected_p, rel=1e-6, abs=1e-290)
            compared += 1
        if expected_p > ALPHA:
            history = np.concatenate([history, window])[-3600:]
    assert compared == 287
    assert history.size == 3600


@pytest.mark.parametrize("freedom", [1.0, 2.5, 11.0, 300.3, 3898.0, 1e7])
@pytest.mark.parametrize("t", [1e-8, 0.1, 1.0, 3.3, 10.0, 30.0])
def test_tail_agrees_with_the_incomplete_beta_function(freedom: float, t: float) -> None:
    expected = betainc(freedom / 2, 0.5, freedom / (freedom + t * t))
    assert 2 * stdtr(freedom, -t) == pytest.approx(expected, rel=1e-7)


def test_abnormal_windows_are_not_learned() -> None:
    rng = np.random.default_rng(2)
    detector, _ = fed(rng.normal(220, 0.5, 300), rng.normal(220, 0.5, 300))
    before = detector.state()
    scores = detector.update(rng.normal(210, 0.5, 300))
    assert scores["pvalue"] < ALPHA
    assert scores["t"] > 0
    assert np.array_equal(detector.state()["values"], before["values"])


def test_history_fills_window_by_window_up_to_its_size() -> None:
    detector = Welch(size=100, alpha=ALPHA)
    sizes = []
    for window in np.random.default_rng(5).normal(0, 1, (5, 40)):
        detector.update(window)
        sizes.append(len(detector.state()["values"]))  # type: ignore[arg-type]
    assert sizes == [40, 80, 100, 100, 100]


def test_of_a_window_larger_than_the_history_the_newest_values_stay() -> None:
    detector, _ = fed(np.arange(50), size=8)
    assert np.array_equal(detector.state()["values"], np.arange(42.0, 50.0))


@pytest.mark.parametrize(
    ("windows", "t", "pvalue", "learned"),
    [
        pytest.param([[]], 0, 1, 0, id="empty first"),
        pytest.param([[1, 2, 3], []], 0, 1, 3, id="empty later"),
        pytest.param([[1, 2, 3]], 0, 1, 3, id="first window"),
        pytest.param([[5]], 0, 1, 1, id="single value first"),
        pytest.param([[5], [9]], 0, 1, 2, id="two single values"),
        pytest.param([[0.1] * 300, [0.1] * 300], 0, 1, 600, id="constant and equal"),
        pytest.param([[2] * 9, [1] * 9], sys.float_info.max, 0, 9, id="constant and lower"),
        pytest.param([[1] * 9, [2] * 9], -sys.float_info.max, 0, 9, id="constant and higher"),
        pytest.param([[7, 7, 7], [7]], 0, 1, 4, id="one value like a constant history"),
        pytest.param([[7, 7, 7], [8]], -sys.float_info.max, 0, 3, id="one value unlike it"),
        pytest.param([[np.nan, np.inf, -np.inf, 1e200]], 0, 1, 0, id="nothing usable"),
    ],
)
def test_edges(windows: list[list[float]], t: float, pvalue: float, learned: int) -> None:
    detector, scores = fed(*windows)
    assert scores == {"t": t, "pvalue": pvalue}
    assert len(detector.state()["values"]) == learned  # type: ignore[arg-type]


def test_missing_measurements_are_left_out() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.normal(0, 1, 50), rng.normal(0.2, 1, 50)
    _, clean = fed(first, second)
    _, holed = fed(np.insert(first, [0, 7, 50], np.nan), np.insert(second, 3, np.inf))
    assert holed == clean


@pytest.mark.parametrize("swap", [False, True], ids=["window", "history"])
def test_a_single_value_is_tested_with_the_other_sides_variance(swap: bool) -> None:
    many, one = np.array([1.0, 2.0, 4.0, 3.5, 2.2]), np.array([9.0])
    first, second = (one, many) if swap else (many, one)
    _, scores = fed(first, second)
    s = many.std(ddof=1) * np.sqrt(1 + 1 / many.size)
    t = (first.mean() - second.mean()) / s
    assert scores["t"] == pytest.approx(t)
    assert scores["pvalue"] == pytest.approx(2 * stats.t.sf(abs(t), many.size - 1))


@pytest.mark.parametrize("scale", [1e-140, 1e150])
def test_extreme_magnitudes_stay_finite(scale: float) -> None:
    _, scores = fed(np.array([-0.5, 1.0, 0.5]) * scale, np.array([0.5, 0.2, -1.0]) * scale)
    assert np.isfinite(scores["t"])
    assert 0.1 < scores["pvalue"] < 1


def test_a_large_offset_does_not_move_the_scores() -> None:
    # Multiples of 1/1024 stay exact at the offset, so the scores must hardly differ.
    windows = np.round(np.random.default_rng(8).normal(0, 1, (40, 30)) * 1024) / 1024
    near, far = Welch(200, ALPHA), Welch(200, ALPHA)
    for window in windows:
        a, b = near.update(window), far.update(window + 2.0**36)
        assert b["t"] == pytest.approx(a["t"], abs=1e-9)
        assert b["pvalue"] == pytest.approx(a["pvalue"], abs=1e-9)


@pytest.mark.parametrize(
    ("size", "alpha", "named"),
    [
        (1, 0.001, ["size"]),
        (2.5, 0.001, ["size"]),
        (True, 0.001, ["size"]),
        (10, 0, ["alpha"]),
        (10, 1.0, ["alpha"]),
        (10, float("nan"), ["alpha"]),
        (0, -1.0, ["size", "alpha"]),
        ("many", "low", ["size", "alpha"]),
    ],
)
def test_every_wrong_argument_is_named(size: int, alpha: float, named: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        Welch(size=size, alpha=alpha)
    assert [name for name in ("size", "alpha") if name in str(caught.value)] == named


def test_a_window_takes_tens_of_microseconds() -> None:
    detector = Welch(3600, ALPHA)
    windows = np.random.default_rng(1).normal(220, 0.5, (300, 300))
    fastest = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for window in windows:
            detector.update(window)
        fastest = min(fastest, (time.perf_counter() - begin) / len(windows))
    # Some 15 microseconds where it was written; a loop over the points would take ten times that.
    assert fastest < 100e-6
