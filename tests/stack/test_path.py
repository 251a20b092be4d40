"""Points on their way through the running stack: counted, in order, refused with a reason."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import Stack
from stack.settings import ROOT

pytestmark = pytest.mark.stack

BASE = 1_451_606_400  # 2016-01-01T00:00:00Z


@pytest.fixture
def measurement() -> str:
    """A measurement that no other test writes to."""
    return f"m{uuid4().hex[:8]}"


def send(stack: Stack, database: str, lines: str) -> requests.Response:
    url = f"{stack.addresses.urls()['telegraf']}/write"
    return requests.post(url, params={"db": database, "precision": "s"}, data=lines, timeout=30)


def test_databases_and_their_retention(influxdb: InfluxDB) -> None:
    names = {row["name"] for row in influxdb.query("SHOW DATABASES")}
    assert {"printer", "telegraf", "brew", "results"} <= names
    (policy,) = influxdb.query('SHOW RETENTION POLICIES ON "brew"')
    assert policy["duration"] == "720h0m0s"


def test_kapacitor_is_subscribed_to_every_database(influxdb: InfluxDB) -> None:
    for database in ("printer", "telegraf", "brew", "results"):
        assert len(influxdb.subscriptions(database)) == 1


def test_host_cpu_arrives(influxdb: InfluxDB) -> None:
    rows = wait_for(
        "the host's CPU in the database telegraf",
        lambda: influxdb.query("SELECT last(usage_idle) AS idle FROM cpu", "telegraf"),
    )
    assert 0 <= rows[0]["idle"] <= 100


def test_tasks_of_the_load_folder_run(kapacitor: Kapacitor) -> None:
    wanted = {p.stem for p in (ROOT / "kapacitor/load/tasks").glob("*.tick")}
    tasks = {t["id"]: t for t in kapacitor.tasks()}
    assert wanted <= set(tasks)
    for name in wanted:
        assert tasks[name]["executing"], tasks[name]["error"]


def test_every_point_is_counted_at_every_hop_and_in_order(
    stack: Stack, influxdb: InfluxDB, kapacitor: Kapacitor, measurement: str
) -> None:
    """A task that counts how often time went backwards sees none in 40,000 points."""
    count, task = 40_000, f"order_{measurement}"
    kapacitor.define(
        task,
        f"""dbrp "printer"."autogen"
stream
    |from()
        .measurement('{measurement}')
    |derivative('sequence')
        .unit(1s)
    |where(lambda: "sequence" != 1.0)
    |influxDBOut()
        .database('results')
        .measurement('{task}')
        .flushInterval(100ms)
""",
        enabled=True,
    )
    failures = influxdb.subscriber_statistics()["writeFailures"]
    for first in range(0, count, 5000):
        lines = [f"{measurement} sequence={i} {BASE + i}" for i in range(first, first + 5000)]
        assert send(stack, "printer", "\n".join(lines)).status_code == 204
    received = partial(kapacitor.points_received, "printer", measurement)
    wait_for("the points in Kapacitor", lambda: received() >= count)
    assert received() == count
    wait_for(
        "the points in InfluxDB",
        lambda: influxdb.count("printer", measurement, "sequence") == count,
    )
    assert influxdb.subscriber_statistics()["writeFailures"] == failures
    nodes = wait_for("the points in the task", lambda: _processed(kapacitor, task, count))
    assert nodes["collected"] == count - 1, "every point but the first has a step"
    assert nodes["emitted"] == 0, "a step other than 1 is a point out of order"
    kapacitor.delete_task(task)


def _processed(kapacitor: Kapacitor, task: str, count: int) -> dict[str, int] | None:
    """Return what went into the task's where node and what came out, once all has gone in."""
    statistics = kapacitor.task(task)["stats"]["node-stats"]
    (where,) = [values for name, values in statistics.items() if name.startswith("where")]
    if where["collected"] < count - 1:
        return None
    return {name: int(where[name]) for name in ("collected", "emitted")}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("temperatures hotend=", "temperatures hotend="),
        ("no fields at all 1", "no fields at all"),
        ('temperatures,printer=1 hotend="open 1', "hotend"),
    ],
)
def test_line_protocol_that_makes_no_sense_is_refused_with_a_reason(
    stack: Stack, lines: str, reason: str
) -> None:
    """At Telegraf and at InfluxDB alike: 400, and what was wrong."""
    urls = stack.addresses.urls()
    for url in (urls["telegraf"], urls["influxdb"]):
        answer = requests.post(f"{url}/write", params={"db": "printer"}, data=lines, timeout=30)
        assert answer.status_code == 400, url
        assert "error" in answer.json()


def test_replaying_twice_gives_the_same_alerts(
    stack: Stack, influxdb: InfluxDB, kapacitor: Kapacitor, measurement: str
) -> None:
    """Record as in the guide: a stop in the time of the data, and one point past it."""
    task, recording = f"twice_{measurement}", f"recording_{measurement}"
    log = f"{measurement}_failure.log"
    kapacitor.define(task, stack.tickscript(_script(measurement, log)))
    kapacitor.record_stream(recording, task, "2016-01-01T02:00:00Z")
    values = [220 + (i * 7 % 11) / 10 + (5 if 3600 <= i < 3900 else 0) for i in range(7202)]
    lines = [f"{measurement} hotend={v} {BASE + i}" for i, v in enumerate(values)]
    assert send(stack, "printer", "\n".join(lines)).status_code == 204
    recorded = kapacitor.wait_recorded(recording, seconds=60)
    assert recorded["size"] > 1000
    listed = stack.client("kapacitor", ["list", "recordings", recording], capture=True)
    assert listed.returncode == 0, listed.stderr
    assert f"{recording}" in listed.stdout
    assert "finished" in listed.stdout
    logs = []
    for run in range(2):
        before = stack.alert_log(log)
        kapacitor.replay(f"replay{run}_{measurement}", task, recording, seconds=60)
        logs.append(stack.alert_log(log).removeprefix(before))
    assert logs[0] == logs[1]
    events = [json.loads(line) for line in logs[0].splitlines()]
    assert [(e["level"], e["time"]) for e in events] == [
        ("CRITICAL", "2016-01-01T01:05:00Z"),
        ("OK", "2016-01-01T01:10:00Z"),
    ]
    kapacitor.delete_task(task)


def _script(measurement: str, log: str) -> Path:
    """Write a task like print_temps for one field of a measurement of its own."""
    folder = ROOT / "out" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"{measurement}.tick"
    script.write_text(f"""dbrp "printer"."autogen"
var scores = stream
    |from()
        .measurement('{measurement}')
    |window()
        .period(5m)
        .every(5m)
    @tTest()
        .field('hotend')
        .size(3600)
        .alpha(0.001)
scores
    |alert()
        .id('hotend')
        .crit(lambda: "pvalue" < 0.001)
        .log('/var/log/kapacitor/{log}')
scores
    |influxDBOut()
        .database('results')
        .measurement('{measurement}')
        .flushInterval(100ms)
""")
    return script


def test_a_restart_keeps_the_history_of_a_udf(
    stack: Stack, influxdb: InfluxDB, kapacitor: Kapacitor, measurement: str
) -> None:
    """Scores after Kapacitor was restarted are those of a task that was never stopped."""
    task = f"restart_{measurement}"
    kapacitor.define(task, stack.tickscript(_script(measurement, "restart.log")), enabled=True)

    def lines(first: int, last: int) -> str:
        values = {i: 220 + (i * 7 % 11) / 10 for i in range(first, last)}
        return "\n".join(f"{measurement} hotend={v} {BASE + i}" for i, v in values.items())

    def scored(windows: int) -> Callable[[], bool]:
        return lambda: (
            len(influxdb.query(f'SELECT pvalue FROM "{measurement}"', "results")) >= windows
        )

    # Two hours; the window node's own points are lost in a restart, so it falls between windows.
    assert send(stack, "printer", lines(0, 7201)).status_code == 204
    wait_for("24 windows", scored(24))
    # Nothing tells that a snapshot was taken; here Kapacitor takes one every second.
    time.sleep(2.5)
    stack.stop("kapacitor")
    stack.start("kapacitor")
    # Docker may have published another port.
    kapacitor = Kapacitor(stack.addresses.urls()["kapacitor"])
    wait_for("the task", lambda: kapacitor.task(task)["executing"])
    wait_for("the subscription", lambda: influxdb.subscriptions("printer"))
    assert send(stack, "printer", lines(7500, 7801)).status_code == 204
    wait_for("a window after the restart", scored(25))
    last = influxdb.query(f'SELECT pvalue, t FROM "{measurement}"', "results")[-1]
    # Without its history the first window after the restart would score t = 0, p = 1 exactly.
    assert last["t"] != 0
    assert last["pvalue"] > 0.001
    kapacitor.delete_task(task)
