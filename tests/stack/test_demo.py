"""The main job as a new user runs it, on every backend."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from stack.isolated import project_name
from stack.settings import ROOT, STATE

pytestmark = pytest.mark.stack

#: At alpha = 0.001, 288 windows a field give 0.3 false alarms a day; four in one day is one day in
#: some two thousand.
FALSE_ALARM_ALLOWANCE = 3
OUT = ROOT / "out" / "demo"


def demo(backend: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", "demo", *arguments],
        cwd=ROOT, env=os.environ | {"STACK": backend}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def left_running(backend: str) -> list[str]:
    """Return what of a demo still runs."""
    if backend == "compose":
        project = f"label=com.docker.compose.project={project_name('demo')}"
        listed = subprocess.run(
            ["docker", "ps", "--quiet", "--filter", project],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return listed.stdout.split()
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STACK_STATE") == str(STATE / "instances" / "demo"):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("seed", [1, 20, 345])
@pytest.mark.parametrize("task", ["print_temps", "print_temps_multi"])
def test_demo_finds_the_anomalies_of_any_seed(backend: str, seed: int, task: str) -> None:
    if task != "print_temps" and seed != 1:
        pytest.skip("one seed is enough to hold the second task against the first")
    done = demo(backend, "--seed", str(seed), "--task", task, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["backend"] == backend
    assert set(summary["hops"].values()) == {86_402}
    assert list(summary["hops"]) == ["simulator", "telegraf", "influxdb", "kapacitor"]
    assert summary["windows"] == {"hotend": 288, "bed": 288, "air": 288}
    found = {f["field"]: f["found"] for f in summary["findings"]}
    assert found == {
        "hotend": "2016-01-01T01:05:00+00:00",
        "bed": "2016-01-01T08:05:00+00:00",
        "air": "2016-01-01T12:05:00+00:00",
    }
    assert all(n <= FALSE_ALARM_ALLOWANCE for n in summary["false_alarms"].values())
    assert json.loads((OUT / "summary.json").read_text()) == summary
    for alert in summary["alerts"]:
        assert datetime.fromisoformat(alert["end"]) > datetime.fromisoformat(alert["start"])
    for field in found:
        lines = (OUT / f"{field}_failure.log").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} == {field}
    page = (OUT / "report.html").read_text()
    assert "http-equiv" not in page
    assert 'src="http' not in page, "the report must work offline"
    assert left_running(backend) == []


def test_demo_fails_when_an_anomaly_is_not_found(backend: str, tmp_path: Path) -> None:
    """A task that looks for too much: the exit status and the summary say so."""
    script = (ROOT / "kapacitor/examples/print_temps.tick").read_text()
    blind = tmp_path / "print_temps.tick"
    blind.write_text(script.replace('"pvalue" < alpha', '"pvalue" < 0.0'))
    done = demo(backend, "--task", str(blind))
    assert done.returncode == 1
    assert "not found" in done.stdout
    assert json.loads((OUT / "summary.json").read_text())["passed"] is False


def test_a_tickscript_with_a_mistake_is_named_with_its_place(backend: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tick"
    broken.write_text(
        'dbrp "printer"."autogen"\n\nstream\n    |from()\n        .mesurement(\'x\')\n'
    )
    done = demo(backend, "--task", str(broken))
    assert done.returncode == 1
    assert "line 5" in done.stderr
    assert "mesurement" in done.stderr
    assert left_running(backend) == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(
    backend: str, signal_number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "stack", "demo"]
    if signal_number == signal.SIGTERM:
        # As a shell script starts it with `&`.
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    running = subprocess.Popen(
        command,
        cwd=ROOT, env=os.environ | {"STACK": backend}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not left_running(backend) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_running(backend)
    running.send_signal(signal_number)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert left_running(backend) == []


def test_a_killed_demo_is_cleaned_up_by_the_next(backend: str) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "stack", "demo"], cwd=ROOT, env=os.environ | {"STACK": backend},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not left_running(backend) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.kill()
    running.wait()
    assert left_running(backend), "the engines go on without the command that started them"
    done = demo(backend)
    assert done.returncode == 0, done.stderr
    assert left_running(backend) == []
