"""Grafana's dashboards: their JSON by schema, and each panel's query against the real InfluxDB.

The queries run on simulated data that takes the way of real data: the printer's day and the task's
scores, turbines scored by the model, a brew through Telegraf's processors.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import ENGINES_ONLY, Stack
from stack.isolated import isolated
from stack.settings import ROOT

GRAFANA = ROOT / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SCHEMA = json.loads((Path(__file__).parent / "grafana_dashboard.schema.json").read_text())
SOURCES: dict[str, str] = {
    source["uid"]: source["jsonData"]["dbName"]
    for source in yaml.safe_load((GRAFANA / "provisioning/datasources/influxdb.yaml").read_text())[
        "datasources"
    ]
}
PANELS = [
    (file.stem, panel["title"], target["refId"], panel["datasource"]["uid"], target["query"])
    for file in DASHBOARDS
    for panel in json.loads(file.read_text())["panels"]
    for target in panel["targets"]
]
#: What the variables of the dashboards stand for here.
VARIABLES = {"$turbine": "wt01", "$brew": "haze_v5"}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_what_grafana_reads(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    jsonschema.validate(dashboard, SCHEMA)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    used = {panel["datasource"]["uid"] for panel in panels}
    used |= {target["datasource"]["uid"] for panel in panels for target in panel["targets"]}
    assert used <= SOURCES.keys()
    places = [panel["gridPos"] for panel in panels]
    for at, one in enumerate(places):
        for other in places[at + 1 :]:
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart, "two panels overlap"


def test_every_dashboard_has_its_own_name() -> None:
    found = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert {d["uid"] for d in found} == {"printer", "host", "turbine", "brew", "stack"}
    assert len({d["title"] for d in found}) == len(found)


@pytest.fixture(scope="module")
def filled(backend: str) -> Iterator[Stack]:
    """A stack in whose databases something of everything has arrived."""
    with isolated(backend, "grafana") as running:
        running.up(ENGINES_ONLY)
        urls = running.addresses.urls()
        influxdb, kapacitor = InfluxDB(urls["influxdb"]), Kapacitor(urls["kapacitor"])
        wait_for("subscriptions", lambda: influxdb.subscriptions("turbine"), 60)
        # An alert as the page keeps it, of a task that watches.
        influxdb.write(
            "results",
            'alerts,id=silent,source=watch_silence level="CRITICAL",message="silent" '
            f"{time.time_ns()}",
        )
        now = int(time.time())
        simulate(
            "printer", "--start", iso(now - 180), "--duration", "3m", "--url", urls["telegraf"]
        )
        simulate("turbine", "--start", iso(now - 1800), "--duration", "30m",
                 "--url", urls["telegraf"])  # fmt: skip
        brew(influxdb, now)
        turbine_scores(influxdb, now)
        wait_for("scores", lambda: influxdb.count("results", "print_temps_live", "pvalue_bed"), 60)
        for name in ("edges", "nodes", "ingress", "kapacitor_udf"):
            wait_for(
                f"Kapacitor's own {name}",
                lambda name=name: influxdb.query(f'SELECT * FROM "{name}" LIMIT 1', "stack"), 60,
            )  # fmt: skip
        # InfluxDB makes this database with its first counters.
        wait_for(
            "InfluxDB's own database",
            lambda: "_internal" in {row["name"] for row in influxdb.query("SHOW DATABASES")},
            60,
        )
        wait_for(
            "InfluxDB's own counters",
            lambda: influxdb.query(
                "SELECT * FROM subscriber WHERE destination != '' LIMIT 1", "_internal"
            ), 60,
        )  # fmt: skip
        assert kapacitor.task("watch_statistics")["executing"]
        # Rates need two of each.
        wait_for("a second count", lambda: _twice(influxdb), 60)
        yield running


def _twice(influxdb: InfluxDB) -> bool:
    rows = influxdb.query(
        'SELECT count("collected") AS n FROM edges WHERE "child" = \'from1\' GROUP BY task', "stack"
    )
    shards = influxdb.query('SELECT count("writePointsOk") AS n FROM "shard" GROUP BY "id"',
                            "_internal")  # fmt: skip
    return any(row["n"] > 1 for row in rows) and any(row["n"] > 1 for row in shards)


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def simulate(*arguments: str, capture: bool = False) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *arguments], cwd=ROOT, check=True,
        capture_output=capture,
    )  # fmt: skip
    return done.stdout or b""


def brew(influxdb: InfluxDB, now: int) -> None:
    """Write a brew's last eight hours; the first forecast takes six."""
    lines = simulate(
        "brew", "--start", iso(now - 8 * 3600), "--duration", "8h", "--output", "-", capture=True
    )  # fmt: skip
    every = b"\n".join(
        line + b"000000000" for line in lines.splitlines() if b"brew=haze_v5" in line
    )
    environment = {"PYTHONPATH": "udf:telegraf", "PATH": "/usr/bin:/bin"}
    forecast = subprocess.run(
        [sys.executable, "-m", "processors.forecast", "--measurement", "temperature", "--field",
         "temperature", "--horizon", "10m"],
        input=every + b"\n", cwd=ROOT, env=environment, capture_output=True, check=True,
    ).stdout  # fmt: skip
    judged = subprocess.run(
        [sys.executable, "-m", "processors.residual", "--measurement", "temperature", "--field",
         "temperature"],
        input=forecast, cwd=ROOT, env=environment, capture_output=True, check=True,
    ).stdout  # fmt: skip
    influxdb.write("brew", judged)


def turbine_scores(influxdb: InfluxDB, now: int) -> None:
    """Write what the turbine's task writes; the task itself comes with its package."""
    influxdb.write("results", "\n".join(
        f"turbine,turbine=wt01 anomaly_score={0.5 + i % 3},anomaly_status=0 {now - 10 * i}"
        for i in range(30)
    ), "s")  # fmt: skip


@pytest.mark.stack
def test_every_query_returns_rows(filled: Stack) -> None:
    influxdb = InfluxDB(filled.addresses.urls()["influxdb"])

    def values(dashboard: str, uid: str, query: str) -> list[Any]:
        end = time.time_ns() + 10**9
        statement = query.replace(
            "$timeFilter", f"time >= {end - 9 * 3600 * 10**9} AND time < {end}"
        )
        statement = statement.replace("$__interval", "1m" if dashboard in ("brew",) else "10s")
        for name, value in VARIABLES.items():
            statement = statement.replace(name, value)
        assert "$" not in statement, statement
        rows = influxdb.query(statement, SOURCES[uid])
        return [
            v
            for row in rows
            for k, v in row.items()
            if k not in ("time", "series") and v is not None
        ]

    assert len(PANELS) >= 25
    for dashboard, title, reference, uid, query in PANELS:
        # What the stack reports of itself comes every ten seconds.
        wait_for(
            f"rows for {dashboard} / {title} / {reference}: {query}",
            partial(values, dashboard, uid, query), 30,
        )  # fmt: skip


@pytest.mark.stack
@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_variable_has_values(filled: Stack, file: Path) -> None:
    influxdb = InfluxDB(filled.addresses.urls()["influxdb"])
    dashboard: dict[str, Any] = json.loads(file.read_text())
    used = set(re.findall(r"\$(\w+)", " ".join(q for n, _, _, _, q in PANELS if n == file.stem)))
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    assert used - {"timeFilter", "__interval"} == variables.keys()
    for name, variable in variables.items():
        rows = influxdb.query(variable["query"], SOURCES[variable["datasource"]["uid"]])
        assert VARIABLES[f"${name}"] in {row["value"] for row in rows}
