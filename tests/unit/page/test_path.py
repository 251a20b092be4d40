"""What the page makes of the engines' counters."""

import time

import pytest

from page.engines import EngineError, Row
from page.path import Gap, Path, Sample, udfs


def run(gap: Gap, steps: list[tuple[int, int, int]], start: float = 0.0) -> int:
    """Feed one look a second: points before, points after, points held; return all lost."""
    return sum(
        gap.see(before, after, held, 30.0, start + at)
        for at, (before, after, held) in enumerate(steps)
    )


def test_points_on_their_way_are_not_lost() -> None:
    assert run(Gap(), [(30 * i, 30 * i - 45 * (i % 3), 0) for i in range(100)]) == 0


def test_points_that_never_come_are_counted_once() -> None:
    steps = [(30 * i, 30 * i, 0) for i in range(20)]
    steps += [(30 * i, max(570, 30 * i - 500), 0) for i in range(20, 80)]
    # Less than three seconds of points could still be on their way.
    assert 500 - 3 * 30 <= run(Gap(), steps) <= 500


def test_points_in_the_buffer_are_not_lost() -> None:
    """A burst of 34,000 points takes Telegraf some seconds."""
    steps = [(30 * i, 30 * i, 0) for i in range(20)]
    steps += [(34_000 + 30 * i, 30 * i + 2_000 * (i - 20), 34_000 - 2_000 * (i - 20))
              for i in range(20, 38)]  # fmt: skip
    assert run(Gap(), steps) == 0


@pytest.mark.parametrize("which", [0, 1])
def test_a_restart_loses_nothing(which: int) -> None:
    steps = [(1000 + 30 * i, 1000 + 30 * i, 0) for i in range(20)]
    after = [(1000 + 30 * i, 30 * (i - 20)) for i in range(20, 60)]
    steps += [(b, a, 0) if which else (a, b, 0) for b, a in after]
    assert run(Gap(), steps) == 0


def telegraf(age: float = 0.0, **written: int) -> list[Row]:
    now = time.time_ns()
    return [{"gathered": 100, "time": now - int(age * 1e9)}, written | {"time": now}]


def test_counters_of_telegraf_that_stop_say_so() -> None:
    hops = {h.key: h for h in Path().observe(sample(telegraf_counters=telegraf(9)), 0, None)}
    assert hops["telegraf"].health == "wrong"
    assert "have not reached InfluxDB for 9 s" in hops["telegraf"].why


def sample(**changes: object) -> Sample:
    counters: list[Row] = [
        {"name": "shard", "tags": {"database": "printer", "id": "1"},
         "values": {"writePointsOk": 100}},
        {"name": "shard", "tags": {"database": "telegraf", "id": "2"},
         "values": {"writePointsOk": 999}},
        {"name": "subscriber", "tags": {"database": "printer"}, "values": {"writeFailures": 0}},
    ]  # fmt: skip
    kapacitor: list[Row] = [
        {"name": "ingress", "tags": {"database": "printer", "task_master": "main"},
         "values": {"points_received": 100}},
        {"name": "ingress", "tags": {"database": "printer", "task_master": "a-replay"},
         "values": {"points_received": 5000}},
        {"name": "nodes", "tags": {"task": "t", "node": "ours2", "kind": "ours"}, "values": {}},
        {"name": "nodes", "tags": {"task": "t", "node": "sum1", "kind": "sum"}, "values": {}},
        {"name": "edges", "tags": {"task": "t", "child": "ours2", "type": "batch"},
         "values": {"collected": 7}},
        {"name": "edges", "tags": {"task": "t", "child": "sum1", "type": "batch"},
         "values": {"collected": 9}},
    ]  # fmt: skip
    given = {
        "simulator": {"status": "ok", "points": 100, "lost": 0, "buffered": 0, "last_error": ""},
        "telegraf": None,
        "telegraf_counters": telegraf(dropped=0, held=3),
        "influxdb": counters,
        "kapacitor": kapacitor,
        "tasks": [{"id": "t", "status": "enabled", "executing": True, "error": "",
                   "script": "stream|from()|sum('x')@ours().a(1)"}],
    }  # fmt: skip
    return Sample(**(given | changes))  # type: ignore[arg-type]


def test_each_hop_counts_what_is_on_the_path() -> None:
    hops = {hop.key: hop for hop in Path().observe(sample(), 2, 0.5)}
    assert {key: hop.health for key, hop in hops.items()} == dict.fromkeys(hops, "ok")
    assert [hops[key].total for key in ("simulator", "telegraf", "influxdb", "kapacitor")] == [
        100, 100, 100, 100,
    ]  # fmt: skip
    assert (hops["udfs"].total, hops["udfs"].unit, hops["udfs"].why) == (7, "windows", "ours")
    assert (hops["alerts"].why, hops["alerts"].lag) == ("2 open", 0.5)


def test_an_engine_that_does_not_answer_says_so() -> None:
    away = EngineError("Kapacitor does not answer: nothing listens there")
    hops = {h.key: h for h in Path().observe(sample(kapacitor=away, tasks=away), 0, None)}
    assert hops["kapacitor"].health == "wrong"
    assert hops["kapacitor"].away
    assert hops["udfs"].health == hops["alerts"].health == "wrong"
    assert hops["influxdb"].health == "ok"


def test_telegraf_without_influxdb_is_not_wrong_itself() -> None:
    away = EngineError("InfluxDB does not answer in time")
    hops = {h.key: h for h in Path().observe(
        sample(influxdb=away, telegraf_counters=away), 0, None)}  # fmt: skip
    assert hops["influxdb"].why == "InfluxDB does not answer in time"
    assert hops["telegraf"].health == "ok"
    assert "keeps its points" in hops["telegraf"].why


def test_a_stopped_task_is_named_with_its_error() -> None:
    task = {"id": "t", "status": "enabled", "executing": False, "error": "broken pipe",
            "script": "stream@ours()"}  # fmt: skip
    hops = {h.key: h for h in Path().observe(sample(tasks=[task]), 0, None)}
    assert hops["udfs"].health == "wrong"
    assert "broken pipe" in hops["udfs"].why


def test_drops_are_shown_with_their_number() -> None:
    path = Path()
    path.observe(sample(), 0, None)
    lost = [
        {"gathered": 100, "time": time.time_ns()},
        {"dropped": 12, "held": 0, "time": time.time_ns()},
    ]
    hops = {h.key: h for h in path.observe(sample(telegraf_counters=lost), 0, None)}
    assert hops["telegraf"].health == "wrong"
    assert hops["telegraf"].why.startswith("12 points dropped")


def test_shards_that_rest_are_still_counted() -> None:
    """InfluxDB leaves shards without writes out of its counters."""
    path = Path()
    path.observe(sample(), 0, None)
    other = [{"name": "shard", "tags": {"database": "brew", "id": "9"},
              "values": {"writePointsOk": 5}}]  # fmt: skip
    assert path.observe(sample(influxdb=other), 0, None)[2].total == 105


def test_udfs_are_those_that_scripts_call() -> None:
    assert udfs([{"script": "stream|from()\n    @tTest()\n@other ()"}, {"script": None}]) == {
        "tTest", "other",
    }  # fmt: skip
