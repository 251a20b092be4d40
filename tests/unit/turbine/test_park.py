"""The turbines: determinism, the physics a model can learn, and the faults at their times."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lineprotocol import parse_line
from simulator.__main__ import app
from simulator.source import SECOND, Injections, chunks
from simulator.turbine import DAILY, FAULTS, FIELDS, STEP, TURBINES, Fault, Park

MIDNIGHT = 1451606400 * SECOND


def text(park: Park, steps: int, size: int = 5000) -> bytes:
    return b"".join(c.lines for c in chunks(park, MIDNIGHT, steps, size, "s"))


def readings(park: Park, steps: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TURBINES}
    for line in text(park, steps).splitlines():
        point = parse_line(line, "s")
        found[point.tags["turbine"]].append(dict(point.fields))
    return found


def column(rows: list[dict[str, float]], field: str) -> np.ndarray:
    return np.array([row.get(field, np.nan) for row in rows])


def test_the_same_seed_gives_the_same_bytes_however_it_is_cut() -> None:
    whole = text(Park(7), 3000)
    assert whole == text(Park(7), 3000, 777)
    assert whole != text(Park(8), 3000)
    # The data of a seed is a contract: models and expectations are made from it.
    assert hashlib.sha256(whole).hexdigest()[:16] == "25a1becccbeb57b4"


def test_every_turbine_has_a_point_every_ten_seconds() -> None:
    lines = [parse_line(line, "s") for line in text(Park(1, ()), 60).splitlines()]
    assert [(p.tags["turbine"], p.time) for p in lines[:5]] == [
        ("wt01", MIDNIGHT), ("wt02", MIDNIGHT), ("wt03", MIDNIGHT), ("wt04", MIDNIGHT),
        ("wt01", MIDNIGHT + STEP * SECOND),
    ]  # fmt: skip
    assert {p.name for p in lines} == {"turbine"}
    assert {len(p.fields) for p in lines} == {8}


def test_load_changes_through_the_day_and_the_oil_follows_with_a_lag() -> None:
    rows = readings(Park(5, ()), 8640)["wt02"]
    power, oil = column(rows, "power"), column(rows, "gearbox_temp")
    hours = power.reshape(24, -1).mean(axis=1)
    assert hours.max() > 2 * hours.min()
    # What a lag of a quarter of an hour would make of the power is what the oil does.
    lagged = np.empty_like(power)
    lagged[0] = power[0]
    for step in range(1, power.size):
        lagged[step] = lagged[step - 1] + (power[step] - lagged[step - 1]) * STEP / 900
    residual = oil - 0.4 * column(rows, "ambient_temp")
    assert np.corrcoef(residual, lagged)[0, 1] > 0.95
    assert np.corrcoef(residual, power)[0, 1] < 0.85


@pytest.mark.parametrize(
    ("kind", "field", "factor"),
    [("cooling", "gearbox_temp", 1.3), ("icing", "power", 0.75), ("bearing", "bearing_temp", 1.2),
     ("imbalance", "vibration", 1.6)],
)  # fmt: skip
def test_a_fault_changes_its_sensor_and_leaves_the_other_turbines_alone(
    kind: str, field: str, factor: float
) -> None:
    calm = readings(Park(3, ()), 1800)
    faulty = readings(Park(3, (Fault("wt02", kind, 3600, 7200),)), 1800)
    during = slice(3600 // STEP + 300, 10800 // STEP)
    ratio = (
        column(faulty["wt02"], field)[during].mean() / column(calm["wt02"], field)[during].mean()
    )
    assert (ratio > factor) if factor > 1 else (ratio < factor)
    assert faulty["wt02"][:360] == calm["wt02"][:360]
    for other in ("wt01", "wt03", "wt04"):
        assert faulty[other] == calm[other]


def test_a_dropout_leaves_the_sensor_out_and_changes_nothing_else() -> None:
    calm = readings(Park(3, ()), 120)["wt01"]
    faulty = readings(Park(3, (Fault("wt01", "dropout", 300, 600),)), 120)["wt01"]
    for step, (wanted, got) in enumerate(zip(calm, faulty, strict=True)):
        if 30 <= step < 90:
            wanted = {k: v for k, v in wanted.items() if k != "gearbox_temp"}
        assert got == wanted


def test_a_fault_can_be_injected_by_hand() -> None:
    injections = Injections(FIELDS)
    injections.begin("wt04.imbalance", 100, MIDNIGHT + 200 * SECOND)
    by_hand = text(Park(2, (), injections), 60)
    assert by_hand == text(Park(2, (Fault("wt04", "imbalance", 200, 100),)), 60)


def test_the_schedule_has_every_fault_at_known_times() -> None:
    anomalies = Park(1).anomalies(MIDNIGHT)
    assert {a.field.partition(".")[2] for a in anomalies} == set(FAULTS)
    cooling = next(a for a in anomalies if a.field == "wt01.cooling")
    assert (cooling.start - MIDNIGHT, cooling.end - cooling.start) == (
        6 * 3600 * SECOND, 3 * 3600 * SECOND,
    )  # fmt: skip
    assert len(DAILY) == len(FAULTS)


def test_the_command_writes_data_and_truth(tmp_path: Path) -> None:
    data, truth = tmp_path / "data.lp", tmp_path / "truth.json"
    done = CliRunner().invoke(
        app,
        ["turbine", "--seed", "7", "--duration", "20s", "-o", str(data), "--truth", str(truth)],
    )
    assert done.exit_code == 0, done.output
    assert data.read_bytes() == text(Park(7), 2)
    assert [a["field"] for a in json.loads(truth.read_text())] == [
        f"{fault.turbine}.{fault.kind}" for fault in DAILY
    ]
