"""The benchmark runs, compares everything with everything, and keeps what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wire.engine import ROOT

AGENTS = ["stock Python", "stock Go", "SDK, same script", "SDK, typed", "SDK, supervised"]

pytestmark = [pytest.mark.wire, pytest.mark.stack]


def test_a_small_run_measures_all_agents(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--rounds", "1", "--points", "3000"]
    parts = ["--part", "wire", "--part", "kapacitor", "--output", str(tmp_path)]
    done = subprocess.run([*command, *parts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert list(found["wire"]) == ["windows, one field", "windows, three fields", "mirror"]
    for by_name in found["wire"].values():
        assert list(by_name) == AGENTS
        assert all(v["points_per_second"] > 100 for v in by_name.values())
        assert all(v["cpu_seconds_per_million"] > 0 for v in by_name.values())
    for load in ("print_temps", "print_temps_multi", "mirror"):
        assert list(found["kapacitor"][load]) == AGENTS
    floor = found["kapacitor"]["no UDF"]["no UDF"]["seconds"]
    assert 0 < floor < found["kapacitor"]["print_temps"]["stock Python"]["seconds"]
    assert "Replay: print_temps" in done.stdout


def test_unknown_parts_are_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--part", "speed"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "there is no part speed" in done.stderr) == (2, True)
