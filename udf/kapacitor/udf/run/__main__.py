"""The command ``python -m kapacitor.udf.run``."""

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.durations import parse_duration
from kapacitor.udf.harness.options import OptionError, parse_options
from kapacitor.udf.harness.program import Program, ProgramError, command
from kapacitor.udf.run import results
from kapacitor.udf.run.data import DataError, Source, kind_of
from kapacitor.udf.run.session import Sent, Session, batch_requests, stream_requests
from kapacitor.udf.run.windows import Grouping, WindowRule, Windows
from lineprotocol import Point

DIFFERS, USAGE, FAILED = 1, 2, 3
_SKIPS_SHOWN = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_err = Console(stderr=True)


class Form(StrEnum):
    """How results are written."""

    lp = "lp"
    csv = "csv"
    table = "table"


class Kind(StrEnum):
    """What a file of points is."""

    lp = "lp"
    csv = "csv"
    parquet = "parquet"


def _stop(message: object, code: int) -> typer.Exit:
    _err.print(f"[bold red]error:[/] {_plain(message)}", highlight=False)
    return typer.Exit(code)


def _plain(message: object) -> str:
    return str(message).replace("[", r"\[")


def _rule(
    window: str | None,
    every: str | None,
    align: bool,
    fill_period: bool,
    count: int,
    every_count: int,
) -> WindowRule | None:
    if window is None and not count:
        given = [
            name
            for name, value in (
                ("--every", every),
                ("--align", align),
                ("--fill-period", fill_period),
                ("--every-count", every_count),
            )
            if value
        ]
        if given:
            raise ValueError(f"{', '.join(given)} need --window or --window-count")
        return None
    period = parse_duration(window) if window is not None else 0
    if window is not None and period <= 0:
        raise ValueError("--window has to be longer than nothing")
    return WindowRule(
        period=period,
        every=parse_duration(every) if every is not None else period,
        align=align,
        fill_period=fill_period,
        period_count=count,
        every_count=every_count or count,
    )


def _requests(
    info: udf_pb2.InfoResponse,
    points: Iterator[Point],
    rule: WindowRule | None,
    grouping: Grouping,
    sent: Sent,
    place: tuple[str, str],
) -> Iterator[udf_pb2.Request]:
    if info.wants == udf_pb2.STREAM:
        if rule is not None:
            raise ValueError("the program wants a stream of points: leave --window out")
        return stream_requests(points, grouping, sent, *place)
    if rule is None:
        raise ValueError("the program wants windows: say which, such as --window 5m")

    def counted() -> Iterator[Point]:
        for point in points:
            sent.points += 1
            sent.earliest = min(sent.earliest, point.time or 0)
            sent.latest = max(sent.latest, point.time or 0)
            yield point

    return batch_requests(Windows(rule, grouping).cut(counted()), sent)


@app.command(
    help="Run a UDF program of any language over a file of points, with no Kapacitor: windows "
    "are cut by Kapacitor's rules, the results are written to standard output. Arguments of "
    "the program come after --.",
    epilog="Exit status: 0 done, 1 the results are not the expected ones, 2 wrong usage, "
    "options or data, 3 the program failed.",
)
def main(
    program: Annotated[str, typer.Argument(help="A .py file or any executable.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its own arguments.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="The points; - for standard input.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, repeatable.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="Length of a window, such as 5m.")] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Time between windows; 0s: one a point. [default: as --window]"),
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Align to multiples of every.")] = False,
    fill_period: Annotated[
        bool, typer.Option("--fill-period", help="No window before a whole period has passed.")
    ] = False,
    window_count: Annotated[int, typer.Option(help="Length of a window in points.")] = 0,
    every_count: Annotated[
        int, typer.Option(help="Points between windows. [default: as --window-count]")
    ] = 0,
    group_by: Annotated[
        list[str] | None, typer.Option("--group-by", help="Tag to group by, repeatable; * for all.")
    ] = None,
    by_measurement: Annotated[
        bool, typer.Option("--by-measurement", help="Group by measurement too.")
    ] = False,
    measurement: Annotated[
        str | None, typer.Option(help="Keep only this one; for tables, the points' name.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Column of a table that is a tag, repeatable.")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column of a table with the time.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Unit of times that are bare numbers.")] = "ns",
    kind: Annotated[Kind | None, typer.Option(help="Of the data. [default: by its name]")] = None,
    database: Annotated[str, typer.Option(help="Database the points name.")] = "",
    retention_policy: Annotated[str, typer.Option(help="Retention policy the points name.")] = "",
    form: Annotated[Form, typer.Option("--format", help="Of the results.")] = Form.lp,
    as_json: Annotated[bool, typer.Option("--json", help="Results and counts as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where results go instead of stdout.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(help="Compare with this file (line protocol or --json); shows a diff."),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="For numbers that are compared.")] = 1e-9,
    timeout: Annotated[str, typer.Option(help="Silence after which the program hangs.")] = "60s",
    describe: Annotated[
        bool, typer.Option("--info", help="Only print what the program wants and its options.")
    ] = False,
) -> None:
    """Run the command."""
    sent = Sent()
    skips = [0]

    def skipped(reason: str) -> None:
        skips[0] += 1
        if skips[0] <= _SKIPS_SHOWN:
            _err.print(f"[yellow]left out:[/] {_plain(reason)}", highlight=False)

    try:
        argv = command(program, arguments or [])
        limit = parse_duration(timeout) / 1e9
        expected = results.read_expected(expect) if expect else None
        grouped = [name for text in group_by or [] for name in text.split(",")]
        grouping = Grouping(
            tuple(name for name in grouped if name != "*"), "*" in grouped, by_measurement
        )
        rule = _rule(window, every, align, fill_period, window_count, every_count)
        if data is None and not describe:
            raise ValueError("name the points with --data")
    except ProgramError as error:
        raise _stop(error, USAGE) from error
    except ValueError as error:
        raise _stop(error, USAGE) from error

    try:
        with Program(argv, timeout=limit, stderr="show", read_ahead=64) as child:
            info = child.info()
            if describe or data is None:
                _print_info(info, as_json)
                return
            source_kind = kind or kind_of(data)
            source = Source(
                data,
                source_kind,
                precision,
                measurement,
                time_column,
                [*(tag or []), *grouping.tags] if source_kind != "lp" else (),
                skipped=skipped,
            )
            options = parse_options(info.options, option or [])
            with _progress(source) as progress:
                task = progress.add_task("reading", total=source.size or None)
                source.moved = lambda size: progress.advance(task, size)
                place = (database, retention_policy)
                requests = _requests(info, source.points(), rule, grouping, sent, place)
                answer = child.init(options)
                if not answer.success:
                    raise ValueError(f"the program refuses its options: {answer.error}")
                gather = results.Results()
                points = []
                for response in Session(child, requests).responses():
                    point = gather.add(response)
                    if point is not None:
                        points.append(point)
    except (OptionError, DataError, ValueError) as error:
        raise _stop(error, USAGE) from error
    except ProgramError as error:
        raise _stop(error, FAILED) from error

    if skips[0] > _SKIPS_SHOWN:
        _err.print(f"[yellow]left out {skips[0]} points or lines in all[/]")
    diff = list(results.differences(expected, points, tolerance)) if expected is not None else []
    if as_json:
        _write(_json(points, sent, skips[0], expected is None or not diff), output)
    elif expected is None:
        _write_results(points, form, output)
    elif output is not None:
        _write(results.lines(points), output)
    summary = f"{sent.points} points, {sent.windows} windows in; {len(points)} results out"
    _err.print(summary, highlight=False, style="dim")
    if rule is not None and sent.points and not sent.windows:
        begin, end = (np.datetime64(time, "ns") for time in (sent.earliest, sent.latest))
        _err.print(
            f"[yellow]no window was complete:[/] the points are from {begin} to {end} UTC; if that "
            "is not when they were, --precision is another; a window ends when a later point comes",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if diff:
        _print_diff(diff, expected or [], points)
        raise typer.Exit(DIFFERS)


def _progress(source: Source) -> Progress:
    # Shown on a terminal only, and only while it lasts, so it never mixes with results.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %" if source.size else "{task.completed} bytes"),
        TimeElapsedColumn(),
        console=_err,
        transient=True,
    )


def _print_info(info: udf_pb2.InfoResponse, as_json: bool) -> None:
    wants, provides = (udf_pb2.EdgeType.Name(edge).lower() for edge in (info.wants, info.provides))
    options = {
        name: [udf_pb2.ValueType.Name(kind).lower() for kind in option.valueTypes]
        for name, option in sorted(info.options.items())
    }
    if as_json:
        print(json.dumps({"wants": wants, "provides": provides, "options": options}))
        return
    print(f"wants {wants}, provides {provides}")
    for name, types in options.items():
        print(f"  {name}: {', '.join(types) or 'no value'}")


def _json(points: list[Point], sent: Sent, skips: int, same: bool) -> str:
    answer: dict[str, Any] = {
        "points_in": sent.points,
        "windows_in": sent.windows,
        "left_out": skips,
        "as_expected": same,
        "points": [results.as_json(point) for point in points],
    }
    return json.dumps(answer) + "\n"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        output.write_text(text)


def _write_results(points: list[Point], form: Form, output: Path | None) -> None:
    if form is Form.lp:
        _write(results.lines(points), output)
    elif form is Form.csv:
        _write(results.as_csv(points), output)
    elif output is not None:
        with output.open("w") as file:
            Console(file=file, width=200).print(results.as_table(points))
    else:
        Console().print(results.as_table(points))


def _print_diff(diff: list[str], expected: list[Point], found: list[Point]) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff:
        _err.print(_plain(line), style=colours.get(line[:1], ""), highlight=False, soft_wrap=True)
    _err.print(
        f"[bold red]not as expected:[/] {len(expected)} points expected, {len(found)} found; "
        "lines with - are missing, lines with + are too many",
        highlight=False,
    )


if __name__ == "__main__":
    app(prog_name="python -m kapacitor.udf.run")
