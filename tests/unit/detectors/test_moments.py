"""The rolling mean and variance against numpy, over long runs and hard numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.moments import RollingMoments, moments


@pytest.mark.parametrize(
    ("offset", "sigma"), [(0.0, 1.0), (220.0, 0.5), (1e9, 0.5), (-1e12, 3.0), (1e-9, 1e-12)]
)
def test_millions_of_updates_do_not_drift(offset: float, sigma: float) -> None:
    rng = np.random.default_rng(7)
    history = RollingMoments(3600)
    for _ in range(20):
        for block in rng.normal(offset, sigma, (1000, 100)):
            history.extend(block)
        held = history.values
        # The subtraction is exact, so numpy sees the held values without their offset.
        shifted = held - history.origin
        assert history.mean == pytest.approx(shifted.mean(), abs=1e-9 * sigma)
        assert history.variance == pytest.approx(shifted.var(ddof=1), rel=1e-9)
    assert history.n == held.size == 3600


def test_an_outlier_that_leaves_takes_its_rounding_with_it() -> None:
    rng = np.random.default_rng(3)
    history = RollingMoments(100)
    history.extend(np.array([1e12]))
    for _ in range(10):
        history.extend(rng.normal(220, 0.5, 10))
    assert history.variance == pytest.approx(history.values.var(ddof=1), rel=1e-10)
    assert history.origin + history.mean == pytest.approx(history.values.mean(), rel=1e-14)


def test_constant_values_have_exactly_no_variance() -> None:
    history = RollingMoments(50)
    history.extend(np.random.default_rng(1).normal(0, 5, 50))
    for _ in range(20):
        history.extend(np.full(7, 0.1))
    assert (history.n, history.origin, history.mean, history.m2) == (50, 0.1, 0.0, 0.0)
    assert moments(np.full(300, 0.1), 0.1) == (300, 0.0, 0.0)


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(2, 40),
    blocks=st.lists(
        st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), max_size=60), max_size=30
    ),
)
def test_any_blocks_give_the_moments_of_the_last_values(
    size: int, blocks: list[list[float]]
) -> None:
    history = RollingMoments(size)
    everything: list[float] = []
    largest = 1.0
    for block in blocks:
        history.extend(np.array(block))
        everything += block
        largest = max([largest, *map(abs, block)])
        expected = np.array(everything[-size:])
        assert np.array_equal(history.values, expected)
        assert history.n == expected.size
        if expected.size:
            mean = history.origin + history.mean
            assert mean == pytest.approx(expected.mean(), abs=1e-9 * largest)
            assert history.m2 == pytest.approx(
                ((expected - expected.mean()) ** 2).sum(), rel=1e-9, abs=1e-9 * largest**2
            )


def test_restoring_into_a_smaller_size_keeps_the_newest_values() -> None:
    large, small = RollingMoments(100), RollingMoments(10)
    large.extend(np.arange(60.0))
    small.restore(large.state())
    assert np.array_equal(small.values, np.arange(50.0, 60.0))
    assert small.origin + small.mean == 54.5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"mean": "warm"}, "mean"),
        ({"m2": -1.0}, "m2"),
        ({"peak": float("nan")}, "peak"),
        ({"values": np.array([[1.0]])}, "values"),
        ({"values": np.array([1.0, np.nan])}, "values"),
        ({"values": 3.0}, "values"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    damage: dict[str, object], message: str
) -> None:
    history = RollingMoments(10)
    history.extend(np.arange(5.0))
    before = history.state()
    with pytest.raises(ValueError, match=message):
        history.restore({**before, **damage})  # type: ignore[dict-item]
    assert np.array_equal(history.values, np.arange(5.0))
    assert history.mean == before["mean"]
