"""The opt-in service `brew`: temperatures, forecasts and residuals stored, an open door told."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from stack.api import InfluxDB, wait_for
from stack.backend import Stack
from stack.brewreport import collect
from stack.findings import events
from stack.isolated import isolated
from stack.report import write_report
from stack.settings import ROOT, Addresses
from tests.telegraf.real import binary, environment

pytestmark = pytest.mark.stack

HOURS = 12
DOOR = timedelta(hours=10)  # from the beginning, on haze_v5 alone


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "brew.lp"
    command = ["brew", "--seed", "7", "--duration", f"{HOURS}h", "--output", str(file)]
    subprocess.run([sys.executable, "-m", "simulator", *command], cwd=ROOT, check=True)
    return file


def count(influxdb: InfluxDB, measurement: str, field: str) -> int:
    return influxdb.count("brew", measurement, field)


def test_a_door_left_open_is_told_from_replayed_data(
    backend: str, data: Path, tmp_path: Path
) -> None:
    with isolated(backend, "brew") as stack:
        stack.variables |= {
            "COMPOSE_PROFILES": "brew",
            "BREW_DATA": str(data),
            "BREW_SPEED": "1e9",
        }
        stack.up(("influxdb", "kapacitor"))
        check(stack, data.read_bytes().count(b"\n"))
        shown(stack, tmp_path / "brew.html")


def check(stack: Stack, points: int) -> None:
    influxdb = InfluxDB(stack.addresses.urls()["influxdb"])
    wait_for(
        "the temperatures in InfluxDB",
        lambda: count(influxdb, "temperature", "temperature") >= points,
    )
    assert count(influxdb, "temperature", "temperature") == points
    (first,) = influxdb.query("SELECT first(temperature) FROM temperature", "brew")
    begin = datetime.fromtimestamp(first["time"] // 10**9, UTC)
    log = wait_for("the alert and its end", lambda: over(stack))
    assert {e["id"] for e in log} == {"brew_haze_v5"}
    assert (log[0]["level"], log[-1]["level"]) == ("CRITICAL", "OK")
    assert timedelta() <= log[0]["at"] - (begin + DOOR) <= timedelta(minutes=15)
    # One forecast each half minute and a residual each second, of both, once they are learned.
    for brew in ("haze_v5", "bv_1"):
        where = f"WHERE brew = '{brew}'"
        (made,) = influxdb.query(
            f"SELECT count(upper) AS n FROM temperature_forecast {where}", "brew"
        )
        (judged,) = influxdb.query(
            f"SELECT count(score) AS n FROM temperature_residual {where}", "brew"
        )
        assert made["n"] > 4 * 120
        assert judged["n"] > 3 * 3600


def shown(stack: Stack, page: Path) -> None:
    """The report has each brew's band, temperature and score, and the one that alerted."""
    report = collect(stack, HOURS + 1)
    names = ["brew_bv_1", "brew_bv_1 score", "brew_haze_v5", "brew_haze_v5 score"]
    assert [series.name for series in report.series] == names
    assert {alert.id for alert in report.alerts} == {"brew_haze_v5"}
    for series in report.series[::2]:
        assert series.band is not None
        known = (series.times >= series.band.times[0]) & (series.times <= series.band.times[-1])
        times, values = series.times[known], series.values[known]
        lower = np.interp(times, series.band.times, series.band.lower)
        upper = np.interp(times, series.band.times, series.band.upper)
        # Off by a timestamp, or with bounds exchanged, it would be far less.
        assert np.mean((lower <= values) & (values <= upper)) > 0.7
    write_report(report, page)
    [figure] = re.findall(r'id="figure-data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    drawn = [(trace["name"], trace["yaxis"]) for trace in json.loads(figure)["data"]]
    assert drawn == [
        ("forecast band", "y"), ("value", "y"), ("value", "y2"),
        ("forecast band", "y3"), ("value", "y3"), ("alert", "y3"), ("value", "y4"),
    ]  # fmt: skip


def over(stack: Stack) -> list[dict[str, Any]] | None:
    log = events(stack.alert_log("brew_residual_failure.log"))
    return log if log and log[-1]["level"] == "OK" else None


def test_it_is_not_healthy_before_influxdb_has_its_points(tmp_path: Path) -> None:
    address = f"127.0.0.1:{Addresses.free().brew}"
    env = environment(
        BREW_STATE=str(tmp_path), BREW_LISTEN=address, INFLUXDB_URL="http://127.0.0.1:9"
    )
    command = [binary(), "--config-directory", "telegraf/telegraf.d/brew"]
    with (tmp_path / "log").open("wb") as log:
        telegraf = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        status = wait_for("an answer after a failed write", lambda: refused(tmp_path, address))
        assert status == 503
        assert telegraf.poll() is None
    finally:
        telegraf.terminate()
        telegraf.wait(30)


def refused(folder: Path, address: str) -> int | None:
    """Return what the health check answers once InfluxDB could not be written to."""
    if "connection refused" not in (folder / "log").read_text():
        return None
    return requests.get(f"http://{address}", timeout=5).status_code
