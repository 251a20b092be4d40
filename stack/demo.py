"""The main job: 24 hours of printer data through the engines, recorded and replayed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console, Group
from rich.table import Table

from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import ENGINES_ONLY, Stack
from stack.choose import choose_backend
from stack.engines import ENGINES
from stack.errors import StackError
from stack.findings import Alert, Finding, alarms, alerts, events, false_alarms, findings
from stack.isolated import isolated
from stack.report import ReportData, Score, Series, write_report
from stack.settings import ROOT, environment

OUT = ROOT / "out" / "demo"
EXAMPLES = ROOT / "kapacitor" / "examples"
FIELDS = ("hotend", "bed", "air")
#: A day at one point a second, and the two that end the last window and the recording.
POINTS = 86_402
#: Five minutes each.
WINDOWS = 288


@dataclass
class Summary:
    """What ran and what came out; the content of summary.json.

    Attributes
    ----------
    hops
        Points that went into each engine: simulator (sent), telegraf, influxdb, kapacitor.
    windows
        Scores that came back to InfluxDB, by field.
    alerts
        Every alert of every field, by time.
    findings
        The expected anomalies, by time.
    false_alarms
        Alarming windows that touch no expected anomaly, by field.
    seconds
        How long each step took, and the whole.
    points_per_second
        From the start of the simulator to the last point counted in Kapacitor.
    passed
        Whether every expected anomaly was found and no point was lost.
    """

    backend: str
    seed: int
    task: str
    start: datetime
    engines: dict[str, str]
    hops: dict[str, int] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    recording_bytes: int = 0
    alerts: list[Alert] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    false_alarms: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    points_per_second: int = 0
    passed: bool = False

    def json(self) -> str:
        """Return the summary as JSON, times as RFC 3339."""
        return json.dumps(asdict(self), indent=2, default=lambda t: t.isoformat()) + "\n"


def run(console: Console, seed: int, start: datetime, task: str) -> Summary:
    """Run the main job on the backend of choice and write its results to out/demo.

    Parameters
    ----------
    console
        Where progress goes.
    seed
        Of the data.
    start
        Time of the first point, in whole seconds.
    task
        A TICKscript by its name in kapacitor/examples or its path; it writes <field>_failure.log.

    Raises
    ------
    StackError
        When the stack does not come up or a step fails. A missed anomaly or a lost point is no
        error here: look at `Summary.passed`.
    """
    script = Path(task) if task.endswith(".tick") else EXAMPLES / f"{task}.tick"
    if not script.is_file():
        known = ", ".join(sorted(p.stem for p in EXAMPLES.glob("print_temps*.tick")))
        raise StackError(f"no TICKscript {script}", f"give the path of one, or {known}")
    begin = time.monotonic()
    backend = choose_backend(console)
    versions = {e.name: e.version for e in ENGINES if e.name in ENGINES_ONLY}
    summary = Summary(backend, seed, script.stem, start, versions)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with isolated(backend, "demo") as stack:
        with _step(console, summary, "start the engines"):
            stack.up(ENGINES_ONLY)
        _record_and_replay(stack, script, summary, console)
        with _step(console, summary, "collect the results"):
            influxdb = InfluxDB(stack.addresses.urls()["influxdb"])
            _collect(stack, influxdb, summary)
            measured = _temperatures(influxdb)
            scores = _scores(influxdb, summary.task)
    with _step(console, summary, "write the report"):
        write_report(_report(summary, measured, scores), OUT / "report.html")
    summary.seconds["total"] = round(time.monotonic() - begin, 2)
    (OUT / "summary.json").write_text(summary.json())
    return summary


def _record_and_replay(stack: Stack, script: Path, summary: Summary, console: Console) -> None:
    urls = stack.addresses.urls()
    influxdb, kapacitor = InfluxDB(urls["influxdb"]), Kapacitor(urls["kapacitor"])
    with _step(console, summary, "define the task"):
        for loaded in kapacitor.tasks():
            # What kapacitor/load has started would raise alerts of its own on the same data.
            kapacitor.disable(loaded["id"])
        kapacitor.define(summary.task, stack.tickscript(script))
        wait_for(
            "Kapacitor's subscription to the database printer",
            lambda: influxdb.subscriptions("printer"),
        )
    with _step(console, summary, "send and record 24 hours"):
        stop = summary.start + timedelta(days=1)
        kapacitor.record_stream("day", summary.task, stop.isoformat())
        begin = time.monotonic()
        summary.hops["simulator"] = _simulate(urls["telegraf"], summary.seed, summary.start)
        _count_hops(influxdb, kapacitor, summary, begin)
        summary.recording_bytes = kapacitor.wait_recorded("day", seconds=60)["size"]
    with _step(console, summary, "replay the recording"):
        kapacitor.replay("day", summary.task, "day", seconds=300)


def _simulate(url: str, seed: int, start: datetime) -> int:
    """Send a printer's day to Telegraf; return how many points were sent."""
    done = subprocess.run(
        [
            sys.executable, "-m", "simulator", "printer", "--json", "--url", url,
            "--seed", str(seed), "--start", start.isoformat(),
        ],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise StackError("the simulator failed", "the cause is in the line above")
    return int(json.loads(done.stdout)["points"])


def _count_hops(influxdb: InfluxDB, kapacitor: Kapacitor, summary: Summary, begin: float) -> None:
    """Count the points at each hop, waiting until all are there or nothing moves any more."""
    counters: dict[str, Callable[[], int]] = {
        "telegraf": influxdb.telegraf_received,
        "influxdb": lambda: influxdb.count("printer", "temperatures", "hotend"),
        "kapacitor": lambda: kapacitor.points_received("printer", "temperatures"),
    }
    sent = summary.hops["simulator"]
    # The last of them first, while the points are on their way; the table shows them in order.
    found = {"kapacitor": _settled(counters["kapacitor"], sent)}
    summary.points_per_second = round(found["kapacitor"] / (time.monotonic() - begin))
    found |= {hop: _settled(counters[hop], sent) for hop in ("influxdb", "telegraf")}
    summary.hops |= {hop: found[hop] for hop in counters}


def _settled(count: Callable[[], int], target: int, patience: float = 10.0) -> int:
    """Poll a counter until it reaches `target`, or has not moved for `patience` seconds."""
    last, moved = -1, time.monotonic()
    while (now := count()) < target:
        if now != last:
            last, moved = now, time.monotonic()
        elif time.monotonic() - moved > patience:
            return now
        time.sleep(0.05)
    return now


def _collect(stack: Stack, influxdb: InfluxDB, summary: Summary) -> None:
    alarming = {}
    for name in FIELDS:
        text = stack.alert_log(f"{name}_failure.log")
        (OUT / f"{name}_failure.log").write_text(text)
        log = events(text)
        alarming[name] = alarms(log)
        summary.alerts += alerts(log)
    summary.alerts.sort(key=lambda alert: alert.start)
    summary.findings = findings(alarming, summary.start)
    summary.false_alarms = false_alarms(alarming, summary.start)
    summary.windows = {s.name: len(s.times) for s in _scores(influxdb, summary.task)}
    lost = {hop for hop, points in summary.hops.items() if points != POINTS}
    short = {name for name in FIELDS if summary.windows.get(name) != WINDOWS}
    summary.passed = not lost and not short and all(f.found for f in summary.findings)


def _temperatures(influxdb: InfluxDB) -> list[Series]:
    rows = influxdb.query('SELECT * FROM "temperatures"', "printer")
    times = np.array([row["time"] for row in rows], np.int64)
    return [
        Series(name, times, np.array([row[name] for row in rows], np.float64), "°C")
        for name in FIELDS
    ]


def _scores(influxdb: InfluxDB, task: str) -> list[Score]:
    """Return the p-values that a task wrote to `results`, for each field.

    A process for each field tags its points with `field`; one process for all of them says
    `pvalue_<field>`.
    """
    times: dict[str, list[int]] = {name: [] for name in FIELDS}
    pvalues: dict[str, list[float]] = {name: [] for name in FIELDS}
    for row in influxdb.query(f'SELECT * FROM "{task}"', "results"):
        for name in FIELDS:
            value = row.get(f"pvalue_{name}")
            if value is None and row.get("field") == name:
                value = row.get("pvalue")
            if value is not None:
                times[name].append(row["time"])
                pvalues[name].append(value)
    return [
        Score(name, np.array(times[name], np.int64), np.array(pvalues[name], np.float64))
        for name in FIELDS
    ]


def _report(summary: Summary, measured: list[Series], scores: list[Score]) -> ReportData:
    return ReportData(
        title=f"24 hours of a 3D printer: {summary.task}",
        series=measured,
        scores=scores,
        alerts=summary.alerts,
        findings=summary.findings,
        false_alarms=summary.false_alarms,
        hops=summary.hops,
        seconds=summary.seconds,
        facts={
            "backend": summary.backend,
            "seed": str(summary.seed),
            "recording": f"{summary.recording_bytes:,} bytes",
            **summary.engines,
        },
    )


@contextmanager
def _step(console: Console, summary: Summary, what: str) -> Iterator[None]:
    """Show a step while it runs, and keep how long it took."""
    begin = time.monotonic()
    with console.status(what):
        yield
    seconds = round(time.monotonic() - begin, 2)
    summary.seconds[what] = seconds
    console.print(f"  {what}: {seconds:.1f} s")


def table(summary: Summary) -> Group:
    """Return what `make demo` shows at the end."""
    found = Table(title="Anomalies in the data, and what the task found", title_justify="left")
    for column in ("field", "begins", "ends", "found at", "after", "alarms elsewhere"):
        found.add_column(column)
    for finding in summary.findings:
        when, after = "not found", ""
        if finding.found:
            when = f"{finding.found:%H:%M:%S}"
            after = str(finding.found - finding.start)
        found.add_row(
            finding.field, f"{finding.start:%H:%M:%S}", f"{finding.end:%H:%M:%S}", when, after,
            str(summary.false_alarms.get(finding.field, 0)),
        )  # fmt: skip
    hops = Table(title="Points in at each hop", title_justify="left")
    for name in summary.hops:
        hops.add_column(name, justify="right")
    hops.add_row(*(f"{points:,}" for points in summary.hops.values()))
    windows = ", ".join(f"{name} {count}" for name, count in summary.windows.items())
    return Group(
        found, hops, f"Windows scored: {windows}. Recording: {summary.recording_bytes:,} bytes.",
        f"{summary.points_per_second:,} points a second from the simulator to Kapacitor; "
        f"{summary.seconds['total']:.1f} s in all on the {summary.backend} backend.",
    )  # fmt: skip
