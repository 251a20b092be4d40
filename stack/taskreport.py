"""``python -m stack report``: one page about what a task makes of data."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from lineprotocol import parse_line
from stack.cases.case import CASES, PRECISIONS, Case, names, nanoseconds, read
from stack.cases.engine import choose_warm, engine
from stack.cases.run import Run
from stack.errors import StackError
from stack.findings import Alert, alerts
from stack.report import ReportData, Score, Series, write_report
from stack.report.graph import draw
from stack.report.picture import browser, write_picture
from stack.settings import ROOT

OUT = ROOT / "out" / "report"
#: Series drawn; beyond these a page shows less, not more.
MOST_SERIES = 12

Tags = tuple[tuple[str, str], ...]
Columns = dict[str, tuple[list[int], list[float]]]


def command(
    task: Annotated[
        str, typer.Argument(help="A case, a task that has a case, or the path of a TICKscript.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--input", help="Line protocol, or a recording (.srpl)."),
    ] = None,
    simulator: Annotated[
        str | None, typer.Option(help='Arguments of the simulator: "printer --duration 2h".')
    ] = None,
    precision: Annotated[str, typer.Option(help="Unit of the times of --input.")] = "ns",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page.")] = None,
) -> None:
    """Replay data through a task and write a page: input, scores, alerts, the task's graph.

    Without data of your own it is that of the task's case.
    """
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        case = _case(task, data, simulator, precision, Path(folder))
        backend = choose_warm(console)
        with console.status("replaying"), engine(backend, 1, keep=True) as warm:
            job = Run(case, warm)
            outcome = job.outcome()
            for line in job.errors():
                console.print(line, markup=False)
    file = output or OUT / f"{case.name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_report(_report(case, job, outcome, backend), file)
    written = [file]
    if browser() is None:
        console.print("No PNG beside it: that needs Chromium.")
    else:
        written.append(file.with_suffix(".png"))
        with console.status("taking its picture"):
            write_picture(file, written[-1])
    for path in written:
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _case(
    task: str, data: Path | None, simulator: str | None, precision: str, folder: Path
) -> Case:
    """Return the case that a task is asked about, or make one from the data that is given."""
    script = _script(task)
    if data is None and simulator is None:
        return _case_of(task)
    if script is None:
        given = _case_of(task)
        script = given.tasks[0].file
    if data is not None and not data.is_file():
        raise StackError(f"--input {data}: no such file")
    source = f"input = {_toml(data.resolve())}" if data else f"simulator = {_toml(simulator)}"
    unit = precision if data else "s"
    settings = f"task = {_toml(script.resolve())}\n{source}\nprecision = {_toml(unit)}\n"
    made = folder / script.stem
    made.mkdir()
    (made / "case.toml").write_text(settings)
    return read(made)


def _script(task: str) -> Path | None:
    """Return the TICKscript that a path or a name in the repository means."""
    kapacitor = ROOT / "kapacitor"
    tried = [Path(task), ROOT / task]
    tried += [kapacitor / folder / f"{task}.tick" for folder in ("examples", "load/tasks")]
    return next((path for path in tried if path.suffix == ".tick" and path.is_file()), None)


def _case_of(task: str) -> Case:
    known = names()
    if task in known:
        return read(CASES / task)
    script = _script(task)
    for name in known:
        case = read(CASES / name)
        if any(task == t.name or script == t.file for t in case.tasks):
            return case
    raise StackError(
        f"no case for the task {task!r}",
        'give it data: --input FILE or --simulator "..."; or one of: ' + ", ".join(known),
    )


def _toml(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


# -- from what came to what is drawn --------------------------------------------------------------


def _report(case: Case, job: Run, outcome: Mapping[str, Any], backend: str) -> ReportData:
    events = [*outcome.get("alerts", [])]
    series, scores = _scored(_input_columns(job), outcome.get("points", []), events)
    points = sum(len(each.lines) for each in job.points)
    facts = {
        "case": case.description or case.name,
        "tasks": ", ".join(task.name for task in case.tasks),
        "points": f"{points:,}",
        "alert events": f"{len(events):,}",
        "points written": f"{len(outcome.get('points', [])):,}",
        "backend": backend,
    }
    if len(series) > MOST_SERIES:
        facts["series"] = f"the first {MOST_SERIES} of {len(series)} are drawn"
    drawn = series[:MOST_SERIES]
    graphs = {name: draw(dot) for name, dot in job.graphs.items()}
    return ReportData(
        title=case.name
        if case.name == case.tasks[0].name
        else f"{case.name}: {case.tasks[0].name}",
        series=drawn,
        scores=[score for score in scores if score.name in {s.name for s in drawn}],
        alerts=_alerts(events),
        facts=facts,
        graphs=graphs,
    )


def _input_columns(job: Run) -> dict[tuple[str, Tags], Columns]:
    """Return the numbers of the input: by measurement and tags, for each field times and values."""
    found: dict[tuple[str, Tags], Columns] = defaultdict(dict)
    for each in job.points:
        for line in each.lines:
            point = parse_line(line, each.precision)
            if point.time is None:
                continue
            columns = found[(point.name, tuple(sorted(point.tags.items())))]
            _add(columns, point.time, point.fields)
    return found


def _add(columns: Columns, time: int, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            times, values = columns.setdefault(name, ([], []))
            times.append(time)
            values.append(float(value))


def _scored(
    given: dict[tuple[str, Tags], Columns], written: list[dict[str, Any]], events: list[Any]
) -> tuple[list[Series], list[Score]]:
    """Return the input's series, p-values as the scores of theirs, and what else was written."""
    fields = [field for columns in given.values() for field in columns]
    ids = {tuple(sorted(e["tags"].items())): e["id"] for e in events if e["tags"]}
    series = []
    for (measurement, tags), columns in given.items():
        for field, column in columns.items():
            # An alert is marked in the series of its name.
            name = field if fields.count(field) == 1 else ids.get(tags, "")
            if not name or (len(columns) > 1 and name != field):
                name = " ".join([measurement, field, *(value for _, value in tags)])
            series.append(_series(name, column))
    outputs: dict[str, tuple[list[int], list[float]]] = {}
    scores: dict[str, tuple[list[int], list[float]]] = {}
    known = {each.name for each in series}
    for point in written:
        time = nanoseconds(point["time"]) or 0
        labels = [str(value) for value in point["tags"].values()]
        for field, value in point["fields"].items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            about = next((label for label in labels if label in known), "")
            about = about or field.removeprefix("pvalue_")
            if field.startswith("pvalue") and about in known:
                times, values = scores.setdefault(about, ([], []))
            else:
                name = " ".join([point["measurement"], field, *labels])
                times, values = outputs.setdefault(name, ([], []))
            times.append(time)
            values.append(float(value))
    series += [_series(name, column) for name, column in outputs.items()]
    return series, [
        Score(name, np.array(times, np.int64), np.array(values, np.float64))
        for name, (times, values) in scores.items()
    ]


def _series(name: str, column: tuple[list[int], list[float]]) -> Series:
    times, values = np.array(column[0], np.int64), np.array(column[1], np.float64)
    order = np.argsort(times, kind="stable")
    return Series(name, times[order], values[order])


def _alerts(events: list[Any]) -> list[Alert]:
    """Return the alerts of every id, each from its first event to its recovery."""
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        at = datetime.fromtimestamp((nanoseconds(event["time"]) or 0) / PRECISIONS["s"], UTC)
        by_id[event["id"]].append({**event, "at": at})
    found = [alert for log in by_id.values() for alert in alerts(log)]
    return sorted(found, key=lambda alert: alert.start)
