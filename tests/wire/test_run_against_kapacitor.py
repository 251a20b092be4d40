"""`run` cuts the windows that the real Kapacitor cuts, and gets the same results."""

import json
import random
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.wire.engine import ROOT, Function, Kapacitor, alert_points, find_kapacitord, kapacitord

LEDGER = ROOT / "tests/wire/programs/ledger.py"
START = 1_451_606_400

pytestmark = [pytest.mark.wire, pytest.mark.stack]

# what a TICKscript says, and what `run` is told
WINDOWS = {
    "five_minutes": (".period(5m).every(5m)", ["--window", "5m"]),
    "overlapping": (".period(10m).every(3m)", ["--window", "10m", "--every", "3m"]),
    "apart": (".period(1m).every(4m)", ["--window", "1m", "--every", "4m"]),
    "aligned": (".period(5m).every(5m).align()", ["--window", "5m", "--align"]),
    # 7m does not divide a day: the grid is counted from the year 1, not from 1970
    "odd_grid": (".period(7m).every(7m).align()", ["--window", "7m", "--align"]),
    "filled": (
        ".period(10m).every(4m).fillPeriod()",
        ["--window", "10m", "--every", "4m", "--fill-period"],
    ),
    "filled_aligned": (
        ".period(10m).every(4m).fillPeriod().align()",
        ["--window", "10m", "--every", "4m", "--fill-period", "--align"],
    ),
    "every_point": (".period(30s)", ["--window", "30s", "--every", "0s"]),
    "counted": (
        ".periodCount(100).everyCount(40)",
        ["--window-count", "100", "--every-count", "40"],
    ),
    "counted_filled": (
        ".periodCount(100).everyCount(40).fillPeriod()",
        ["--window-count", "100", "--every-count", "40", "--fill-period"],
    ),
}
GROUPS = {
    "one_group": ("", []),
    "by_host": (".groupBy('host')", ["--group-by", "host"]),
    "by_all": (".groupBy(*)", ["--group-by", "*"]),
    "by_two_and_name": (
        ".groupByMeasurement().groupBy('host', 'rack')",
        ["--group-by", "rack,host", "--by-measurement"],
    ),
}


def points() -> list[bytes]:
    """Two hours with irregular steps, gaps longer than a window, equal times, absent tags."""
    rng = random.Random(11)
    lines, now = [], START * 10**9 + 12_345_678_901
    for number in range(3000):
        now += rng.choice((0, 10**9, 10**9, 2 * 10**9, 3_500_000_000))
        if rng.random() < 0.003:
            now += rng.randrange(20 * 60) * 10**9
        tags = "".join(
            f",{key}={rng.choice(values)}"
            for key, values in (("host", "ab"), ("rack", "12"))
            if rng.random() < 0.9
        )
        field = "g" if number % 50 == 7 else "f"
        lines.append(f"m{tags} {field}={rng.gauss(20, 3):.6f} {now}".encode())
    return lines


def script(window: str, group: str, out: Path) -> str:
    return (
        f"stream|from().measurement('m'){group}|window(){window}@ledger().field('f')"
        f"|alert().id('all').crit(lambda: TRUE).log('{out}')"
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    find_kapacitord()
    folder = tmp_path_factory.mktemp("kapacitor")
    function = Function(sys.executable, [str(LEDGER)], env={"PYTHONPATH": str(ROOT / "udf")})
    with kapacitord(folder, {"ledger": function}) as engine:
        lines = points()
        (folder / "points.lp").write_bytes(b"\n".join(lines) + b"\n")
        engine.define("recorder", "stream|from().measurement('m')|log()")
        engine.record("points", "recorder", lines)
        yield engine, folder


def run(data: Path, arguments: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "kapacitor.udf.run", str(LEDGER), "--data", str(data)]
    done = subprocess.run(
        [*command, "--option", "field=f", "--measurement", "m", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": "udf", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["points"])


def _nanoseconds(text: str) -> int:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = round(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)


CASES = [(window, "by_host") for window in WINDOWS] + [
    (window, group)
    for window in ("overlapping", "every_point", "counted")
    for group in GROUPS
    if group != "by_host"
]


@pytest.mark.parametrize(("window", "group"), CASES)
def test_same_windows_same_results(engine: tuple[Kapacitor, Path], window: str, group: str) -> None:
    kapacitor, folder = engine
    name = f"{window}-{group}"
    out = folder / f"{name}.log"
    in_script, for_window = WINDOWS[window]
    group_script, for_group = GROUPS[group]
    kapacitor.define(name, script(in_script, group_script, out))
    kapacitor.replay("points", name, name)
    real = alert_points(out)
    ours = run(folder / "points.lp", for_window + for_group)

    assert len(real) > 10
    assert [_nanoseconds(p["time"]) for p in real] == [p["time"] for p in ours]
    for theirs, mine in zip(real, ours, strict=True):
        assert theirs["name"] == mine["name"]
        assert {k: v for k, v in theirs["tags"].items() if v} == {
            k: v for k, v in mine["tags"].items() if v
        }
        assert theirs["fields"] == pytest.approx(mine["fields"])
