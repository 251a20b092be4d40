"""The stack watches its UDFs: what they report arrives in InfluxDB, what is wrong alerts."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from page.tasklist import draw
from page.tasks import add_reports, parse_dot, reports
from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import Stack
from stack.isolated import isolated
from stack.native import NativeStack

pytestmark = pytest.mark.stack

#: A function under the supervisor, declared where those of installed packages are.
FUNCTION = """
[udf.functions.watched]
  prog = "python3"
  args = ["-m", "kapacitor.udf.supervise", "--",
          "python3", "-u", "udf/ttest.py", "--values", "field=1"]
  timeout = "10s"
  [udf.functions.watched.env]
    PYTHONPATH = "udf"
    KAPACITOR_UDF_STATS_EVERY = "1"
"""
DECLARED = "packages/installed/watched/functions.toml"
SCRIPT = """
dbrp "printer"."autogen"

stream
    |from()
        .measurement('watched')
    |window()
        .period(10s)
        .every(10s)
    @watched()
        .field('hotend')
        .size(600)
        .alpha(0.001)
    |influxDBOut()
        .database('results')
        .measurement('watched')
        .flushInterval(100ms)
"""
#: Kills the UDF itself, not its supervisor, of all processes of which FOLDER is the kapacitord's.
KILL = """
import os, signal, sys
from pathlib import Path

def parent(process):
    return process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]

for process in Path("/proc").glob("[0-9]*"):
    try:
        words = (process / "cmdline").read_bytes().split(b"\\0")
        if words[:3] != [b"python3", b"-u", b"udf/ttest.py"] or b"field=1" not in words:
            continue
        engine = (parent(parent(process)) / "cmdline").read_text()
    except OSError:
        continue
    if sys.argv[1] in engine:
        os.kill(int(process.name), signal.SIGKILL)
        print(process.name)
"""


def run_beside(stack: Stack, script: str, *arguments: str) -> str:
    """Run Python where Kapacitor's processes are."""
    python = [sys.executable]
    if not isinstance(stack, NativeStack):
        python = ["docker", "exec", f"{stack.name}-kapacitor-1", "python3"]
    return subprocess.run(
        [*python, "-c", script, *arguments], check=True, capture_output=True, text=True
    ).stdout


def data_folder(stack: Stack) -> str:
    native = isinstance(stack, NativeStack)
    return str(stack.state / "kapacitor") if native else "/var/lib/kapacitor"  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def running(backend: str) -> Iterator[Stack]:
    """InfluxDB and Kapacitor, with a task whose UDF is supervised."""
    with isolated(backend, "udf-stats") as stack:
        stack.up(("influxdb", "kapacitor"))
        run_beside(
            stack,
            "import sys; from pathlib import Path; file = Path(sys.argv[1]); "
            "file.parent.mkdir(parents=True); file.write_text(sys.argv[2])",
            f"{data_folder(stack)}/{DECLARED}",
            FUNCTION,
        )
        stack.stop("kapacitor")
        stack.start("kapacitor")
        kapacitor = Kapacitor(stack.addresses.urls()["kapacitor"])
        kapacitor.define("watched", textwrap.dedent(SCRIPT), enabled=True)
        wait_for("the task", lambda: kapacitor.task("watched")["executing"])
        influxdb = InfluxDB(stack.addresses.urls()["influxdb"])
        wait_for("the subscription", lambda: influxdb.subscriptions("printer"))
        yield stack


@pytest.fixture
def influxdb(running: Stack) -> InfluxDB:
    return InfluxDB(running.addresses.urls()["influxdb"])


def told(influxdb: InfluxDB, field: str, kind: str) -> float:
    """Return what the processes of a kind have reported altogether."""
    rows = influxdb.query(
        f'SELECT sum("{field}") FROM kapacitor_udf '
        f"WHERE task = 'watched' AND node = 'watched3' AND kind = '{kind}'",
        "stack",
    )
    return float(rows[0]["sum"]) if rows else 0.0


def events(stack: Stack, id_: str) -> list[dict[str, Any]]:
    lines = map(json.loads, stack.alert_log("watch_failure.log").splitlines())
    return [line for line in lines if line["id"] == id_]


def send(influxdb: InfluxDB, first: int, last: int) -> None:
    """Write one point a second, each tenth without the field that the task reads."""
    influxdb.write(
        "printer",
        "\n".join(
            f"watched {'other' if i % 10 == 5 else 'hotend'}={220 + i % 7} {1451606400 + i}"
            for i in range(first, last)
        ),
        "s",
    )


def test_what_a_udf_did_arrives_and_what_it_could_not_use_raises_an_alert(
    running: Stack, influxdb: InfluxDB
) -> None:
    send(influxdb, 0, 101)  # ten windows; the last point closes the tenth
    wait_for("the points", lambda: told(influxdb, "points", "typed") == 100)
    assert told(influxdb, "batches", "typed") == 10
    assert told(influxdb, "quarantined", "typed") == 10
    assert told(influxdb, "failed", "typed") == 0
    assert 0 < told(influxdb, "busy", "typed") < told(influxdb, "seconds", "typed")
    wait_for("the supervisor's", lambda: told(influxdb, "bytes_in", "supervisor") > 0)
    found = "passed over in UDF watched3 of watched"
    wait_for("the alert and its end", lambda: len(events(running, found)) >= 2)
    assert [event["level"] for event in events(running, found)][:2] == ["WARNING", "OK"]
    assert "points were of no use to ttest.py" in events(running, found)[0]["message"]


def test_a_udf_that_is_killed_shows_as_a_restart(running: Stack, influxdb: InfluxDB) -> None:
    assert told(influxdb, "restarts", "supervisor") == 0
    killed = run_beside(running, KILL, f"{data_folder(running)}/kapacitor.conf").split()
    assert len(killed) == 1
    wait_for("the restart", lambda: told(influxdb, "restarts", "supervisor") == 1)
    found = "restarted UDF watched3 of watched"
    wait_for("the alert and its end", lambda: len(events(running, found)) == 2)
    critical, ok = events(running, found)
    assert (critical["level"], ok["level"]) == ("CRITICAL", "OK")
    assert "ttest.py ended and was started again, restarts: 1 in" in critical["message"]
    # Kapacitor has noticed nothing: the task runs, and its scores go on.
    kapacitor = Kapacitor(running.addresses.urls()["kapacitor"])
    assert kapacitor.task("watched")["executing"]
    # So the page shows it, too.
    graph = parse_dot(kapacitor.task("watched")["dot"], {"watched"})
    add_reports(graph, influxdb.query(reports("watched"), "stack"))
    assert (graph.nodes["watched3"].reported["restarts"], graph.nodes["from1"].reported) == (1, {})
    assert "restarts 1<" in draw(graph, {})
    before = influxdb.count("results", "watched", "pvalue")
    send(influxdb, 101, 131)
    wait_for("scores", lambda: influxdb.count("results", "watched", "pvalue") == before + 3)
