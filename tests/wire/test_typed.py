"""Typed UDFs over real pipes: the programs, bad points, broken handlers, snapshots."""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from scipy import stats

from detectors.welch import Welch
from kapacitor.udf import udf_pb2
from kapacitor.udf.connection import READ_AHEAD
from kapacitor.udf.framing import encode_varint
from lineprotocol import parse_line
from tests.wire import talk

pytestmark = pytest.mark.wire

TTEST = talk.UDF / "ttest.py"
OPTIONS = {"field": "hotend", "size": 600, "alpha": 0.001}


def scores(program):
    return dict(program.expect("point").point.fieldsDouble)


def test_ttest_is_welchs_test_against_the_history():
    rng = np.random.default_rng(3)
    windows = [rng.normal(220 + shift, 0.5, 300) for shift in (0, 0, 0, 3, 0)]
    with talk.start(TTEST) as program:
        info = program.info()
        assert (info.wants, info.provides) == (udf_pb2.BATCH, udf_pb2.STREAM)
        assert program.init(talk.options(**OPTIONS)).success
        for number, values in enumerate(windows):
            program.send(*talk.window(values, tmax=number, group="host=a", host="a"))
        history = np.zeros(0)
        for number, values in enumerate(windows):
            got = program.expect("point").point
            assert (got.time, got.name, got.group) == (number, "temperatures", "host=a")
            assert (dict(got.tags), list(got.dimensions)) == ({"host": "a"}, ["host"])
            wanted = (0.0, 1.0)
            if number:
                wanted = stats.ttest_ind(history, values, equal_var=False)
            assert got.fieldsDouble["t"] == pytest.approx(wanted[0], rel=1e-9)
            assert got.fieldsDouble["pvalue"] == pytest.approx(wanted[1], rel=1e-9, abs=1e-300)
            if wanted[1] > 0.001:
                history = np.concatenate([history, values])[-600:]


@pytest.mark.parametrize("way", ["one call of three", "three calls of one"])
def test_three_fields_in_one_process(way):
    rng = np.random.default_rng(4)
    fields = ("hotend", "bed", "air")
    together = way == "one call of three"
    with talk.start(TTEST, ["--values", "field=3"] if together else []) as program:
        count = len(program.info().options["field"].valueTypes)
        assert count == (3 if together else 1)
        given = [fields] if together else [(field,) for field in fields]
        chosen = [option for names in given for option in talk.options(field=names)]
        assert program.init([*chosen, *talk.options(size=600, alpha=0.001)]).success
        detectors = {field: Welch(600, 0.001) for field in fields}
        for _ in range(4):
            values = rng.normal(100, 1, (300, 3))
            program.send(talk.begin())
            for row in values.tolist():
                program.send(talk.point(0, **dict(zip(fields, row, strict=True))))
            program.send(talk.end())
            wanted = {
                f"{score}_{field}": value
                for field, column in zip(fields, values.T, strict=True)
                for score, value in detectors[field].update(column.copy()).items()
            }
            assert scores(program) == wanted


def test_all_option_mistakes_come_in_one_answer():
    with talk.start(TTEST) as program:
        answer = program.init(talk.options(feild="hotend", size=1, alpha=2.0))
        assert not answer.success
        for words in ("feild: no such option", "field: must be set", "size: must be at least 2",
                      "alpha: must be above 0, below 1"):  # fmt: skip
            assert words in answer.error
        assert program.init(talk.options(**OPTIONS)).success, "another try is possible"


@pytest.mark.parametrize(
    "values",
    [[], [5.0], [5.0] * 10, [math.nan] * 10, [math.inf, 1.0], [1e308] * 10, [0.0, -0.0]],
    ids=["empty", "one point", "constant", "nan", "infinite", "huge", "zeros"],
)
def test_odd_windows_have_a_defined_result(values):
    rng = np.random.default_rng(5)
    normal = rng.normal(5, 1, 300)
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS))
        for first in (values, normal):
            program.send(*talk.window(first), *talk.window(values), *talk.window(normal))
            for _ in range(3):
                got = scores(program)
                assert got.keys() == {"t", "pvalue"}
                assert math.isfinite(got["t"])
                assert 0 <= got["pvalue"] <= 1
        program.close_input()
        assert program.drain() == []
        assert program.wait() == 0


def test_bad_points_are_counted_told_and_kept(tmp_path):
    path = tmp_path / "bad.lp"
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS, quarantine=str(path)))
        good = talk.window([1, 2, 3, 4])
        bad = [
            talk.point(10, "host=a", hotend="hot"),
            talk.point(11, "host=a", hotend=math.nan, bed=90.0),
            talk.point(12, "host=a", bed=90.0),
            talk.point(13, "host=a", hotend=True),
        ]
        outside = talk.point(14, hotend=1.0)
        program.send(*good, *good[:3], *bad, *good[3:], outside, *good)
        first, second, third = (scores(program) for _ in range(3))
        # As if they had not been there.
        assert first == {"t": 0.0, "pvalue": 1.0}
        assert second == {"t": 0.0, "pvalue": 1.0}
        assert third["pvalue"] == 1.0
        program.close_input()
        assert program.wait() == 0
        log = program.stderr()
        assert "quarantined=5" in log
        assert "(group 'host=a', time 1970-01-01T00:00:00Z): hotend is not a number" in log
        assert log.count("was passed over") == 1, "at a limited rate"
    points = [parse_line(line) for line in path.read_bytes().splitlines()]
    assert [point.time for point in points] == [10, 11, 12, 13, 14]
    assert [point.fields["quarantined"] for point in points] == [
        "hotend is not a number",
        "hotend is not a finite number",
        "hotend is missing",
        "hotend is not a number",
        "it came outside of a window",
    ]
    assert points[0].name == "temperatures"
    assert points[0].fields["hotend"] == "hot"
    assert points[1].fields["bed"] == 90.0


def test_a_quarantine_that_cannot_be_written_ends_nothing(tmp_path):
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS, quarantine=str(tmp_path / "no" / "such.lp")))
        program.send(*talk.window([math.nan] * 3), *talk.window([1, 2]))
        scores(program)
        scores(program)
        assert program.stderr().count("no quarantine file any more") == 1


def test_a_misspelt_field_is_noticed_soon():
    with talk.start(TTEST) as program:
        program.init(talk.options(**{**OPTIONS, "field": "hotnd"}))
        program.send(*talk.window([1.0] * 100))
        scores(program)
        log = program.stderr()
        assert "not one of the first 100 points could be used" in log
        assert "Its fields are hotend: does an option name another?" in log


def test_a_snapshot_goes_on_where_it_left():
    rng = np.random.default_rng(6)
    windows = [talk.window(rng.normal(0, 1, 50), group=group) for group in "abab" * 3]
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS))
        for window in windows[:6]:
            program.send(*window)
        before = [scores(program) for _ in range(6)]
        program.send(talk.snapshot())
        data = program.expect("snapshot").snapshot.snapshot
        for window in windows[6:]:
            program.send(*window)
        wanted = [scores(program) for _ in range(6)]
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS))
        program.send(talk.restore(data))
        assert program.expect("restore").restore.success
        for window in windows[6:]:
            program.send(*window)
        assert [scores(program) for _ in range(6)] == wanted
        assert wanted != before
        program.send(talk.restore(b"older"), *windows[0])
        refused = program.expect("restore").restore
        assert not refused.success
        assert "not made by this SDK" in refused.error
        scores(program)  # and it goes on with what it had


def test_a_snapshot_that_fails_is_answered_empty_and_not_with_an_older_one():
    script = """
        from kapacitor.udf.typed import Field, StreamUDF
        class Counts(StreamUDF):
            field = Field(doc="field")
            def new_state(self): return {"seen": 0}
            def point(self, point, state):
                state["seen"] = object() if point.value == 2 else point.value
        if __name__ == "__main__":
            Counts.main()
    """
    with talk.start(script) as program:
        program.init(talk.options(field="x"))
        sizes = []
        for value in (1.0, 2.0, 3.0):
            program.send(talk.point(1, x=value), talk.snapshot())
            sizes.append(len(program.expect("snapshot").snapshot.snapshot))
        assert sizes[0] > 0
        assert sizes[1] == 0
        assert sizes[2] > 0
        assert "no snapshot" in program.stderr()


MANY = """
    import time
    from kapacitor.udf.typed import *

    class Many(WindowUDF):
        '''Tries what a window UDF can return.'''
        field = Field(doc="field")
        how = Option(str, doc="how to answer")
        keep_points = True
        provides = {provides}

        def new_state(self):
            return {{"windows": 0}}

        def window(self, window, state):
            state["windows"] += 1
            if self.how == "several":
                other = Result({{"n": 2}}, time=5, tags={{"extra": "x"}})
                return [{{"n": 1}}, other, {{"n": "two"}}]
            if self.how == "add":
                return window.add_fields(score=window.column(self.field) * 2, n=state["windows"])
            if self.how == "none":
                return None
            if self.how == "wrong":
                return 3
            if self.how == "nan":
                return {{"a": float("nan"), "b": True, "c": window.tmax}}
            if self.how == "slow":
                time.sleep(2)
            if self.how == "raise" or (self.how == "sometimes" and state["windows"] % 3 == 0):
                raise RuntimeError("it broke")
            if self.how == "print":
                print("a window of", len(window))
            return {{"windows": state["windows"]}}

    if __name__ == "__main__":
        Many.main()
"""


def many(how, provides="STREAM", **extra):
    program = talk.start(MANY.format(provides=provides))
    assert program.init(talk.options(field="hotend", how=how, **extra)).success
    return program


def test_several_results_a_window():
    with many("several") as program:
        program.send(*talk.window([1, 2], tmax=9, host="a"))
        one, two, three = (program.expect("point").point for _ in range(3))
        assert (one.time, dict(one.fieldsInt)) == (9, {"n": 1})
        assert (two.time, dict(two.tags), dict(two.fieldsInt)) == (
            5, {"host": "a", "extra": "x"}, {"n": 2},
        )  # fmt: skip
        assert dict(three.fieldsString) == {"n": "two"}


def test_a_windows_points_pass_with_fields_added():
    with many("add") as program:
        sent = talk.window([1, math.nan, 3], host="a", group="host=a")
        sent[2].point.fieldsBool["score"] = True  # the new field takes its place
        sent[2].point.fieldsDouble["hotend"] = 2.0
        sent.insert(3, talk.point(7, "host=a", bed=1.0))
        program.send(*sent)
        got = [program.expect("point").point for _ in range(4)]
        assert [point.time for point in got] == [0, 1, 7, 2]
        assert [point.fieldsDouble.get("score") for point in got] == [2.0, 4.0, None, 6.0]
        assert [point.fieldsInt["n"] for point in got] == [1] * 4
        assert not got[1].fieldsBool
        assert all(point.name == "temperatures" for point in got)
        assert all(list(point.dimensions) == ["host"] for point in got)


def test_windows_can_become_batches():
    with many("add", "BATCH") as program:
        program.send(*talk.window([1, 2], tmax=9, host="a", group="host=a"))
        opened = program.expect("begin").begin
        assert (opened.name, opened.group, opened.size) == ("temperatures", "host=a", 2)
        assert [program.expect("point").point.fieldsDouble["score"] for _ in range(2)] == [2, 4]
        closed = program.expect("end").end
        assert (closed.tmax, dict(closed.tags)) == (9, {"host": "a"})


def test_no_result_and_results_that_cannot_be_written():
    with many("none") as program:
        program.send(*talk.window([1]), talk.keepalive(1))
        assert program.receive().keepalive.time == 1
    with many("nan") as program:
        program.send(*talk.window([1], tmax=4))
        got = program.expect("point").point
        assert (dict(got.fieldsDouble), dict(got.fieldsBool), dict(got.fieldsInt)) == (
            {}, {"b": True}, {"c": 4},
        )  # fmt: skip


def test_a_handler_that_raises_now_and_then_ends_nothing():
    with many("sometimes") as program:
        for _ in range(30):
            program.send(*talk.window([1]))
        program.close_input()
        got = [response.point.fieldsInt["windows"] for response in program.drain()]
        assert got == [n for n in range(1, 31) if n % 3]
        assert program.wait() == 0
        log = program.stderr()
        assert "RuntimeError: it broke" in log
        assert "failed=10" in log


@pytest.mark.parametrize(("how", "words"), [("raise", "it broke"), ("wrong", "not a int")])
def test_a_handler_that_always_raises_is_reported_soon(how, words):
    with many(how) as program:
        for _ in range(20):
            program.send(*talk.window([1]))
        error = program.receive().error.error
        assert "for each of the first 10 windows" in error
        assert words in error
        assert program.drain() == []
        assert program.wait() == 1


def test_groups_are_bounded_and_apart():
    with many("count", maxGroups=2) as program:
        for group in "aabbca":
            program.send(*talk.window([1], group=group))
        got = [program.expect("point").point for _ in range(6)]
        assert [(p.group, p.fieldsInt["windows"]) for p in got] == [
            ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("a", 1),
        ]  # fmt: skip


def test_keepalives_prints_and_signals():
    with many("slow") as program:
        program.send(*talk.window([1]), talk.keepalive(5))
        assert program.receive(timeout=1.5).keepalive.time == 5
        program.expect("point")
    with many("print") as program:
        program.send(*talk.window([1, 2]))
        program.expect("point")
        program.process.send_signal(signal.SIGINT)  # Ctrl-C is Kapacitor's business
        program.process.send_signal(signal.SIGUSR1)
        program.send(*talk.window([1, 2, 3]))
        program.expect("point")
        program.close_input()
        assert program.wait() == 0
        log = program.stderr()
        assert "a window of 2" in log
        assert "Many: points=" in log


STREAM = """
    import sys
    import numpy as np
    from kapacitor.udf.typed import *

    class Steps(StreamUDF):
        '''Emits the step from the point before; point by point, or in arrays.'''
        field = Field(doc="field")
        keep_fields = {keep}
        provides = {provides}

        def new_state(self):
            return {{"last": np.full(1, np.nan)}}

    def point(self, point, state):
        if point.value == 13:
            raise ValueError("unlucky")
        step = point.value - state["last"][0]
        state["last"][0] = point.value
        return {returns}

    def points(self, points, state):
        values = points[self.field]
        before = np.concatenate([state["last"], values[:-1]])
        state["last"][0] = values[-1]
        return {{"step": values - before, "together": len(points)}}

    setattr(Steps, "{way}", {way})
    if __name__ == "__main__":
        Steps.main()
"""


def steps(way="point", keep=True, provides="STREAM", returns='{"step": float(step)}'):
    script = STREAM.format(way=way, keep=keep, provides=provides, returns=returns)
    program = talk.start(script)
    assert program.init(talk.options(field="x")).success
    return program


@pytest.mark.parametrize("way", ["point", "points"])
@pytest.mark.parametrize("keep", [True, False])
def test_streams_point_by_point_and_in_arrays(way, keep):
    rng = np.random.default_rng(7)
    values = rng.normal(size=500)
    groups = rng.choice(["host=a", "host=b", ""], 500).tolist()
    with steps(way, keep) as program:
        sent = []
        for time_, (value, group) in enumerate(zip(values.tolist(), groups, strict=True)):
            request = talk.point(time_, group, x=value, other=1)
            request.point.name, request.point.tags["k"] = "m", "v"
            sent.append(request)
            if time_ % 50 == 10:
                sent.append(talk.point(time_, group, x="bad"))
        program.send(*sent)
        program.close_input()
        got = [response.point for response in program.drain()]
    # A group's first point has no step: without its own fields nothing is left of it.
    bare = not keep and way == "point"
    firsts = {groups.index(group) for group in groups}
    wanted = [time_ for time_ in range(500) if not bare or time_ not in firsts]
    assert [point.time for point in got] == wanted
    last = {groups[first]: float(values[first]) for first in firsts} if bare else {}
    for point, time_ in zip(got, wanted, strict=True):
        value, group = float(values[time_]), groups[time_]
        assert (point.group, point.name, dict(point.tags)) == (group, "m", {"k": "v"})
        step = point.fieldsDouble.get("step")
        assert step == (value - last[group] if group in last else None)
        last[group] = value
        assert ("other" in point.fieldsInt) == keep
        assert (point.fieldsDouble.get("x") == value) == keep


def test_a_slow_stream_is_not_delayed():
    with steps("points") as program:
        program.send(talk.point(0, x=0.0))
        program.receive()
        took = []
        for turn in range(60):
            began = time.perf_counter()
            program.send(talk.point(turn, x=1.0))
            assert program.receive().point.fieldsInt["together"] == 1
            took.append(time.perf_counter() - began)
            time.sleep(0.003)
        assert sorted(took)[30] < 0.005


def test_a_poisoned_point_ends_nothing():
    with steps() as program:
        program.send(*(talk.point(n, x=float(n)) for n in range(20)))
        program.close_input()
        assert [r.point.time for r in program.drain()] == [n for n in range(20) if n != 13]


def test_a_stream_can_become_batches():
    returns = 'Batch([{"a": step}, Result({"a": 1.5}, time=3)]) if point.value > 1 else None'
    with steps(provides="BATCH", returns=returns) as program:
        for n in range(3):
            request = talk.point(n, "host=a", x=float(n))
            request.point.tags.update(host="a", room="b")
            request.point.dimensions.append("host")
            request.point.name = "m"
            program.send(request)
        opened = program.expect("begin").begin
        assert (opened.name, opened.size, dict(opened.tags)) == ("m", 2, {"host": "a"})
        assert [program.expect("point").point.time for _ in range(2)] == [2, 3]
        assert program.expect("end").end.tmax == 2


def test_memory_is_flat_over_a_long_stream():
    """Two million points here; the bench has twenty."""
    with talk.start(TTEST) as program:
        program.init(talk.options(**OPTIONS))
        requests = talk.window(np.random.default_rng(1).normal(220, 1, 1000), tmax=1)
        bodies = [request.SerializeToString() for request in requests]
        data = b"".join(encode_varint(len(body)) + body for body in bodies) * 50
        process = psutil.Process(program.process.pid)
        sizes = []
        for _ in range(40):
            program.write(data)
            for _ in range(50):
                program.expect("point")
            sizes.append(process.memory_info().rss)
        # How much is read ahead, and copied to be decoded, is up to the machine's other work;
        # three bytes a point lost for good would be seen.
        allowed = statistics.median(sizes[5:15]) * 1.05 + 2 * READ_AHEAD
        assert statistics.median(sizes[30:]) < allowed


@pytest.mark.parametrize("name", ["ttest.py", "control_chart.py"])
def test_the_programs_are_short_and_describe_themselves(name):
    path = talk.UDF / name
    assert len(path.read_text().splitlines()) < 25
    env = {**os.environ, "PYTHONPATH": str(talk.UDF)}

    def run(*arguments):
        words = [sys.executable, str(path), *arguments]
        return subprocess.run(
            words, capture_output=True, text=True, env=env, check=False, stdin=subprocess.DEVNULL
        )

    described = run("--describe")
    assert described.returncode == 0
    assert ".field(string ...)" in described.stdout
    about = json.loads(run("--describe", "--json").stdout)
    assert about["wants"] == "batch"
    assert {"field", "alpha", "maxGroups"} <= {option["name"] for option in about["options"]}
    assert run("--help").returncode == 0
    for wrong in (["--values", "size=3"], ["--values", "field=0"], ["--values", "x"], ["--what"]):
        refused = run(*wrong)
        assert refused.returncode == 2
        assert "usage:" in refused.stderr


def test_control_chart_sees_the_spread():
    rng = np.random.default_rng(8)
    with talk.start(talk.UDF / "control_chart.py") as program:
        program.init(talk.options(field="hotend"))
        for spread in [1] * 12 + [4]:
            program.send(*talk.window(rng.normal(220, spread, 300)))
        got = [scores(program) for _ in range(13)]
        assert got[0] == {"level": 0.0, "spread": 0.0, "pvalue": 1.0}
        assert min(score["pvalue"] for score in got[:12]) > 0.001
        assert got[12]["pvalue"] < 1e-6
        assert got[12]["spread"] > 5
