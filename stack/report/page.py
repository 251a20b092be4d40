"""The page around the figure: tables, styles and all scripts in one file that works offline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from stack.report.data import ReportData
from stack.report.figure import FLOOR, MOST_POINTS, figure

HERE = Path(__file__).parent
NUMBER = "number"


def write_report(data: ReportData, path: Path) -> None:
    """Write a report as one HTML file that needs nothing else, online or on disk.

    Parameters
    ----------
    data : ReportData
        What to show.
    path : Path
        Where to; an existing file is replaced, once the new one is whole.

    Raises
    ------
    ValueError
        If there is no series to draw.
    """
    if not data.series:
        raise ValueError("a report needs at least one series")
    page = Template((HERE / "page.html").read_text("utf-8")).substitute(
        title=escape(data.title),
        style=(HERE / "page.css").read_text("utf-8"),
        verdict=escape(_verdict(data)),
        findings=_findings(data),
        figure_label=escape("Values and p-values of " + ", ".join(s.name for s in data.series)),
        note=escape(_note(data)),
        details="\n".join(
            part
            for part in (
                _graphs(data),
                _hops(data),
                _seconds(data),
                _facts(data),
                _alerts(data),
            )
            if part
        ),
        plotly=get_plotlyjs(),
        # "</" would end the script element that carries the data.
        figure=figure(data).to_json().replace("</", "<\\/"),
        script=(HERE / "page.js").read_text("utf-8"),
    )
    part = path.with_name(path.name + ".part")
    part.write_text(page, "utf-8")
    part.replace(path)


def _verdict(data: ReportData) -> str:
    parts = []
    if data.findings:
        found = sum(finding.found is not None for finding in data.findings)
        parts.append(f"{found} of {len(data.findings)} expected anomalies found")
    if data.false_alarms:
        count = sum(data.false_alarms.values())
        parts.append(f"{count} false alarm{'' if count == 1 else 's'}")
    if data.hops:
        counts = set(data.hops.values())
        points = f"{max(counts):,} points"
        parts.append(f"{points} at every hop" if len(counts) == 1 else f"{points}, not all arrived")
    return " · ".join(parts)


def _note(data: ReportData) -> str:
    notes = [
        "Drag to zoom, double-click to see all, click a legend entry to hide it. Times are UTC."
    ]
    longest = max(series.values.size for series in data.series)
    if longest > MOST_POINTS:
        notes.append(
            f"Of {longest:,} points a field the lowest and highest of each of {MOST_POINTS // 2:,} "
            "stretches are drawn."
        )
    clamped = sum(int((score.pvalues < FLOOR).sum()) for score in data.scores)
    if clamped:
        notes.append(
            f"{clamped} p-value{'' if clamped == 1 else 's'} below {FLOOR:g}, 0 among them, "
            "are drawn there as triangles: a log axis cannot show 0."
        )
    return " ".join(notes)


def _findings(data: ReportData) -> str:
    if not data.findings:
        return ""
    rows = []
    for finding in data.findings:
        if finding.found:
            found = f'<span class="found">✓ {_clock(finding.found)}</span>'
            delay = _length(finding.found - finding.start)
        else:
            found, delay = '<span class="missed">✗ missed</span>', ""
        rows.append(
            [
                escape(finding.field),
                _clock(finding.start),
                _clock(finding.end),
                found,
                delay,
                str(data.false_alarms.get(finding.field, "")),
            ]
        )
    head = ["field", "anomaly from", "to", "found at", "after", "false alarms"]
    return _section("Expected and found", head, rows, numbers={5})


def _graphs(data: ReportData) -> str:
    return "\n".join(
        f"<section><h2>Graph of {escape(task)}</h2>{svg}</section>"
        for task, svg in data.graphs.items()
        if svg
    )


def _hops(data: ReportData) -> str:
    rows = [[escape(name), f"{points:,}"] for name, points in data.hops.items()]
    return _section("Points on the way", ["into", "points"], rows, numbers={1})


def _seconds(data: ReportData) -> str:
    rows = [[escape(name), f"{seconds:.1f}"] for name, seconds in data.seconds.items()]
    return _section("Time taken", ["step", "seconds"], rows, numbers={1})


def _facts(data: ReportData) -> str:
    rows = [[escape(name), escape(value)] for name, value in data.facts.items()]
    return _section("What ran", [], rows)


def _alerts(data: ReportData) -> str:
    rows = [
        [
            escape(alert.id),
            escape(alert.level),
            _clock(alert.start),
            _clock(alert.end) if alert.end else "never",
            str(alert.events),
            escape(alert.message),
        ]
        for alert in sorted(data.alerts, key=lambda alert: alert.start)
    ]
    head = ["id", "level", "from", "recovered", "windows", "message"]
    return _section("Alerts", head, rows, numbers={4}, wide={5})


def _section(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: frozenset[int] | set[int] = frozenset(),
    wide: frozenset[int] | set[int] = frozenset(),
) -> str:
    """Return a titled table, or nothing if it has no rows; cells are HTML already."""
    if not rows:
        return ""

    def cells(tag: str, texts: Sequence[str]) -> str:
        classes = [
            f' class="{NUMBER}"' if i in numbers else ' class="wide"' if i in wide else ""
            for i in range(len(texts))
        ]
        made = (f"<{tag}{c}>{text}</{tag}>" for c, text in zip(classes, texts, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(cells("td", row) for row in rows)
    top = f"<thead>{cells('th', head)}</thead>\n" if head else ""
    return (
        f'<section>\n<h2>{title}</h2>\n<div class="scroll"><table>\n{top}<tbody>\n{body}\n'
        "</tbody>\n</table></div>\n</section>"
    )


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _length(length: timedelta) -> str:
    """Return a length of time in its two largest units.

    Examples
    --------
    >>> _length(timedelta(minutes=5)), _length(timedelta(hours=2, seconds=90)), _length(timedelta())
    ('5 min', '2 h 1 min', '0 s')
    """
    seconds = round(length.total_seconds())
    units = [(seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    while len(units) > 1 and not units[0][0]:
        units.pop(0)
    return " ".join(f"{n} {unit}" for n, unit in units[:2] if n) or "0 s"
