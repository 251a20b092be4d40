"""``python -m stack brew-report``: a page about what the running stack made of the brew."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from detectors.residual import Residual
from stack import choose
from stack.api import InfluxDB
from stack.backend import Stack
from stack.errors import StackError
from stack.findings import Alert, alerts, events
from stack.report import Band, ReportData, Series, write_report
from stack.settings import ROOT

OUT = ROOT / "out" / "report" / "brew.html"
DATABASE = "brew"
#: Where kapacitor/load/tasks/brew_residual.tick logs its alerts.
ALERT_LOG = "brew_residual_failure.log"


def command(
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="How far back from now.")] = 36,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = OUT,
) -> None:
    """Write a page about each brew: temperature, forecast band, residual score, alerts."""
    data = collect(choose.running_live(), hours)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_report(data, output)
    except OSError as error:
        raise StackError(f"--output {output}: {error.strerror}") from None
    print(output.relative_to(ROOT) if output.is_relative_to(ROOT) else output)


def collect(stack: Stack, hours: float) -> ReportData:
    """Read the last hours of the database `brew` and of the task's alert log.

    Raises
    ------
    StackError
        When there are no temperatures.
    """
    influxdb = InfluxDB(stack.addresses.urls()["influxdb"])
    since = f"WHERE time > now() - {round(hours * 3600)}s GROUP BY brew"
    values = _columns(influxdb, f"SELECT temperature FROM temperature {since}")
    bands = _columns(influxdb, f"SELECT lower, upper FROM temperature_forecast {since}")
    scores = _columns(influxdb, f"SELECT score FROM temperature_residual {since}")
    if not values:
        raise StackError(
            f"no temperatures of the last {hours:g} hours in the database {DATABASE}",
            "start the stack with COMPOSE_PROFILES=brew, which replays some",
        )
    series = []
    for brew, column in values.items():
        # The name of the alerts of brew_residual.tick, which are marked in the series they name.
        name = f"brew_{brew}"
        band = Band(*bands[brew]) if brew in bands else None
        series.append(Series(name, column[0], column[1], "°C", band=band))
        if brew in scores:
            series.append(_scores(name, scores[brew]))
    begin = min(int(column[0][0]) for column in values.values())
    found = [a for a in _alerts(stack.alert_log(ALERT_LOG)) if a.start.timestamp() * 1e9 >= begin]
    facts = {
        "temperatures": f"{sum(column[0].size for column in values.values()):,}",
        "forecasts": f"{sum(column[0].size for column in bands.values()):,}",
        "residuals": f"{sum(column[0].size for column in scores.values()):,}",
        "alerts": f"{len(found):,}",
        "backend": stack.backend,
    }
    return ReportData("Brews", series, alerts=found, facts=facts)


def _scores(name: str, column: list[Any]) -> Series:
    times, values = column
    return Series(f"{name} score", times, values, limit=Residual().threshold)


def _columns(influxdb: InfluxDB, statement: str) -> dict[str, list[Any]]:
    """Return for each brew an array of times and one of each field."""
    return {
        each["tags"]["brew"]: [
            np.array(column, np.int64 if at == 0 else np.float64)
            for at, column in enumerate(zip(*each["values"], strict=True))
        ]
        for each in influxdb.series(statement, DATABASE)
    }


def _alerts(log: str) -> list[Alert]:
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events(log):
        by_id[event["id"]].append(event)
    found = [alert for one in by_id.values() for alert in alerts(one)]
    return sorted(found, key=lambda alert: alert.start)
