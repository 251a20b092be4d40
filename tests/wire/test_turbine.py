"""The two turbine UDFs over real pipes: the same scores, bad data, options and a refused model."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import Program
from lineprotocol import parse_line
from simulator.source import SECOND
from simulator.turbine import DAILY, STEP, Fault, Park
from tests.wire import talk

pytestmark = pytest.mark.wire

PACKAGE = talk.ROOT / "packages" / "turbine"
PROGRAMS = {"plain": "turbine.py", "typed": "turbine_typed.py"}
START = 1451606400 * SECOND
FIELDS = ("anomaly_status", "anomaly_score", "anomaly_field", "anomaly_missing")


def start(form: str, **env: str) -> Program:
    return talk.start(PACKAGE / "udf" / PROGRAMS[form], env=env)


def requests(
    seed: int, steps: int, faults: tuple[Fault, ...] = DAILY, group: bool = False
) -> list[udf_pb2.Request]:
    times = START + np.arange(steps, dtype=np.int64) * STEP * SECOND
    made = []
    for line in Park(seed, faults).take(times, "ns").lines.splitlines():
        parsed = parse_line(line)
        name = f"turbine={parsed.tags['turbine']}" if group else ""
        request = talk.point(parsed.time, name, **parsed.fields)
        request.point.name = parsed.name
        request.point.tags.update(parsed.tags)
        made.append(request)
    return made


def replies(program: Program, sent: list[udf_pb2.Request]) -> list[udf_pb2.Point]:
    program.send(*sent)
    return [program.expect("point").point for _ in sent]


def added(point: udf_pb2.Point) -> tuple[float, float, str, int]:
    return (
        point.fieldsDouble["anomaly_status"], point.fieldsDouble["anomaly_score"],
        point.fieldsString["anomaly_field"], point.fieldsInt["anomaly_missing"],
    )  # fmt: skip


def test_both_forms_score_alike_and_find_the_fault() -> None:
    # Half of the points grouped: the typed form scores group by group, and keeps the order.
    fault = (Fault("wt03", "imbalance", 1200, 600),)
    sent = requests(1, 240, fault)[:500] + requests(1, 240, fault, group=True)[500:]
    found = {}
    for form in PROGRAMS:
        with start(form) as program:
            info = program.info()
            assert (info.wants, info.provides) == (udf_pb2.STREAM, udf_pb2.STREAM)
            assert list(info.options["field"].valueTypes) == [udf_pb2.STRING]
            assert list(info.options["threshold"].valueTypes) == [udf_pb2.DOUBLE]
            assert program.init([]).success
            found[form] = replies(program, sent)
    for request, plain, typed in zip(sent, found["plain"], found["typed"], strict=True):
        for field in request.point.fieldsDouble:
            assert plain.fieldsDouble[field] == typed.fieldsDouble[field]
        assert (plain.time, plain.group, plain.tags) == (typed.time, typed.group, typed.tags)
        # One row or many: the sums of a matrix product may round differently.
        assert added(plain)[1] == pytest.approx(added(typed)[1], rel=1e-9)
        assert added(plain)[::2] + added(plain)[3:] == added(typed)[::2] + added(typed)[3:]
    alarms = [(p.tags["turbine"], (p.time - START) // SECOND) for p in found["plain"]
              if p.fieldsDouble["anomaly_status"]]  # fmt: skip
    assert {turbine for turbine, _ in alarms} == {"wt03"}
    assert {p.fieldsString["anomaly_field"] for p in found["plain"]
            if p.fieldsDouble["anomaly_status"]} == {"vibration"}  # fmt: skip
    assert min(second for _, second in alarms) <= 1220
    assert max(second for _, second in alarms) < 1800


@pytest.mark.parametrize("form", PROGRAMS)
def test_field_and_threshold(form: str) -> None:
    sent = requests(1, 60, (Fault("wt03", "imbalance", 0, 600),))
    # Of another sensor nothing is wrong.
    for given, some in (
        ({"field": "power"}, False),
        ({"field": "vibration", "threshold": 2.0}, True),
    ):
        with start(form) as program:
            assert program.init(talk.options(**given)).success
            statuses = [added(point)[0] for point in replies(program, sent)]
            assert any(statuses) == some, given


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_wrong_option_is_named(form: str) -> None:
    with start(form) as program:
        answer = program.init(talk.options(field="gearbox"))
        assert not answer.success
        assert "no model of gearbox; it has power, gearbox_temp, bearing_temp" in answer.error


@pytest.mark.parametrize("form", PROGRAMS)
def test_bad_readings_are_counted_and_every_point_comes_out(form: str) -> None:
    good = requests(1, 1, ())[0]
    cases: dict[str, tuple[int, str]] = {}
    sent = []

    def case(name: str, missing: int, field: str) -> udf_pb2.Point:
        request = udf_pb2.Request()
        request.CopyFrom(good)
        cases[name] = missing, field
        sent.append(request)
        return request.point

    case("good", 0, "any")
    del case("one missing", 1, "any").fieldsDouble["gearbox_temp"]
    point = case("text", 1, "any")
    point.fieldsString["gearbox_temp"] = "n/a"
    del point.fieldsDouble["gearbox_temp"]
    point = case("bool", 1, "any")
    point.fieldsBool["vibration"] = True
    del point.fieldsDouble["vibration"]
    case("nan", 1, "any").fieldsDouble["wind_speed"] = float("nan")
    case("infinite", 1, "any").fieldsDouble["wind_speed"] = float("inf")
    point = case("whole number", 0, "any")
    del point.fieldsDouble["power"]
    point.fieldsInt["power"] = round(good.point.fieldsDouble["power"])
    case("nothing", 7, "").fieldsDouble.clear()
    with start(form) as program:
        assert program.init([]).success
        for (name, (missing, field)), point in zip(
            cases.items(), replies(program, sent), strict=True
        ):
            status, score, worst, count = added(point)
            assert (status, count) == (0.0, missing), name
            assert bool(worst) == bool(field), name
            assert (score > 0) == bool(field), name
        program.send(talk.snapshot())
        program.send(talk.restore(program.expect("snapshot").snapshot.snapshot))
        assert program.expect("restore").restore.success
        program.close_input()
        assert program.wait() == 0
        log = program.stderr()
    assert "6 incomplete" in log or "incomplete=6" in log


def test_the_typed_form_adds_no_delay_to_a_slow_stream() -> None:
    sent = requests(1, 10, ())
    with start("typed") as program:
        assert program.init([]).success
        replies(program, sent[:5])
        took = []
        for request in sent[5:]:
            began = time.monotonic()
            replies(program, [request])
            took.append(time.monotonic() - began)
        # Scoring one point takes a few milliseconds; a batching delay would be seen.
        assert sorted(took)[len(took) // 2] < 0.05


@pytest.mark.parametrize("form", PROGRAMS)
def test_the_model_comes_from_the_environment_and_is_refused_when_it_does_not_fit(
    form: str, tmp_path: Path
) -> None:
    model = tmp_path / "other.skops"
    shutil.copy(PACKAGE / "models" / "turbine.skops", model)
    card = json.loads((PACKAGE / "models" / "turbine.json").read_text())
    card_file = model.with_suffix(".json")

    def error(**changes: object) -> str:
        card_file.write_text(json.dumps({**card, "file": "other.skops", **changes}))
        with start(form, MODEL_PATH=str(model)) as program:
            answer = program.init([])
            return "" if answer.success else answer.error

    if form == "typed":
        assert error() == ""
    assert "not the file of its card" in error(sha256="0" * 64)


@pytest.mark.parametrize("form", PROGRAMS)
def test_the_log_level_is_heeded(form: str) -> None:
    point = requests(1, 1, ())[0]
    del point.point.fieldsDouble["power"]
    with start(form, KAPACITOR_LOGGING_LEVEL="ERROR") as program:
        assert program.init([]).success
        replies(program, [point])
        program.close_input()
        assert program.wait() == 0
        assert program.stderr() == ""
