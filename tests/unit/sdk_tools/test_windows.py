"""The rules of windows, where a real replay cannot look."""

import pytest

from kapacitor.udf.run.windows import Grouping, WindowRule, Windows
from lineprotocol import Point

SECOND = 10**9


def cut(rule: WindowRule, times: list[int]) -> list[tuple[int, list[int]]]:
    points = (Point("m", {}, {"f": 1.0}, t * SECOND) for t in times)
    return [
        (window.tmax // SECOND, [(p.time or 0) // SECOND for p in window.points])
        for window in Windows(rule, Grouping()).cut(points)
    ]


def seconds(period: int, every: int, **more: bool) -> WindowRule:
    return WindowRule(period=period * SECOND, every=every * SECOND, **more)


def test_a_gap_gives_one_window_and_the_next_is_counted_from_the_point() -> None:
    assert cut(seconds(10, 10), [0, 5, 47, 50, 57]) == [(10, [0, 5]), (57, [47, 50])]


def test_an_empty_window_is_emitted() -> None:
    assert cut(seconds(2, 10), [0, 1, 10]) == [(10, [])]


def test_aligned_windows_fall_on_the_grid() -> None:
    assert cut(seconds(10, 10, align=True), [3, 9, 12, 19, 21]) == [(10, [3, 9]), (20, [12, 19])]


def test_the_last_window_waits_for_a_point_past_it() -> None:
    assert cut(seconds(10, 10), [0, 9]) == []


def test_late_points_join_the_window_at_hand() -> None:
    assert cut(seconds(10, 10), [20, 3, 25, 30]) == [(30, [20, 3, 25])]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "either a period or a number"),
        ({"period": 1, "period_count": 1, "every_count": 1}, "either a period or a number"),
        ({"period_count": 5}, "after how many points"),
        ({"period_count": 5, "every_count": 5, "align": True}, "only windows of time"),
        ({"period": 5, "every": -1}, "cannot be negative"),
    ],
)
def test_rules_that_do_not_go_together_are_refused(values: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WindowRule(**values)  # type: ignore[arg-type]


def test_a_point_without_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time"):
        Windows(seconds(1, 1), Grouping()).add(Point("m", {}, {"f": 1.0}, None))
