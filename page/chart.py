"""The chart of a view: values with their scores beneath, on one axis of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from page.alerts import Alert, iso
from page.signals import Pair, Signal
from page.views import Panel, View

FLOOR = 1e-20
"""Smaller scores, 0 among them, are drawn here on a logarithmic axis."""

# The report's colours: blue and orange stay apart for every kind of colour vision.
NORMAL = "#3d85c6"
ABNORMAL = "#e8710a"
EXPECTED = "#e8a33d"

VALUES, SCORES, GAP, TOP, BOTTOM = 104, 58, 15, 10, 26
"""Pixels of a panel's values and scores, between them, and around all."""

MOST_WINDOWS = 60
"""Windows that are drawn one by one."""

Options = dict[str, Any]


@dataclass(frozen=True)
class Ink:
    """Colours of text and lines on the page's ground."""

    text: str
    quiet: str
    rule: str
    ground: str


LIGHT = Ink("#1d2530", "#5a6675", "#dfe4ea", "#ffffff")
DARK = Ink("#e4e7ec", "#a3adba", "#343c48", "#1b212b")


@dataclass(frozen=True)
class Shade:
    """A stretch of time in one field in which something is known to be wrong, ns."""

    field: str
    start: int
    end: int


def height(view: View) -> int:
    """Return the chart's height in pixels."""
    total = TOP + BOTTOM
    for panel in view.panels:
        total += VALUES + GAP + (SCORES + GAP if panel.score else 0)
    return total


def base(view: View, ink: Ink, utc: bool) -> Options:
    """Return the options that stay: grids, axes, and series without data."""
    grids: list[Options] = []
    x_axes: list[Options] = []
    y_axes: list[Options] = []
    series: list[Options] = []
    top = TOP
    for i, panel in enumerate(view.panels):
        last = i == len(view.panels) - 1
        grid = len(grids)
        grids.append(_grid(top, VALUES))
        top += VALUES + GAP
        x_axes.append(_time_axis(grid, ink, labels=last and panel.score is None))
        unit = f"  {panel.unit}" if panel.unit else ""
        y_axes.append(_axis(grid, ink, f"{panel.field}{unit}", bold=True, scale=True))
        # Marks of alerts have a scale of their own, so that they stay at the top.
        y_axes.append({"gridIndex": grid, "min": 0, "max": 1, "show": False})
        series += _value_series(i, grid, len(y_axes) - 2, panel.field)
        if panel.score is not None:
            score = panel.score
            grid = len(grids)
            grids.append(_grid(top, SCORES))
            top += SCORES + GAP
            x_axes.append(_time_axis(grid, ink, labels=last))
            kind: Options = (
                {"type": "log", "max": 1} if score.log else {"type": "value", "scale": True}
            )
            y_axes.append(_axis(grid, ink, score.title, **kind))
            series += _score_series(i, grid, len(y_axes) - 1, panel.field)
    every = list(range(len(x_axes)))
    return {
        "useUTC": utc,
        "animation": False,
        "aria": {
            "enabled": True,
            "label": {"description": "Values and scores of "
                      + ", ".join(p.field for p in view.panels)},
        },
        "grid": grids,
        "xAxis": x_axes,
        "yAxis": y_axes,
        "series": series,
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": ink.quiet}},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "transitionDuration": 0,
            "backgroundColor": ink.ground,
            "borderColor": ink.rule,
            "textStyle": {"color": ink.text, "fontSize": 12},
            ":valueFormatter": "v => Array.isArray(v) ? '' : v == null ? '' : "
            "String(+(+v).toPrecision(4))",
        },
        "dataZoom": [
            {"type": "inside", "xAxisIndex": every, "filterMode": "none", "throttle": 16,
             "zoomOnMouseWheel": "ctrl", "moveOnMouseMove": True, "preventDefaultMouseMove": False},
        ],
    }  # fmt: skip


def _grid(top: int, height: int) -> Options:
    # The place is kept whatever the length of the labels: all panels share their axis of time.
    return {"left": 62, "right": 52, "top": top, "height": height, "outerBoundsMode": "none",
            "containLabel": False}  # fmt: skip


def _time_axis(grid: int, ink: Ink, labels: bool) -> Options:
    return {
        "type": "time",
        "gridIndex": grid,
        "axisLine": {"lineStyle": {"color": ink.rule}},
        "axisTick": {"show": labels},
        "axisLabel": {"show": labels, "color": ink.quiet, "hideOverlap": True},
        "splitLine": {"show": True, "lineStyle": {"color": ink.rule, "opacity": 0.6}},
        "splitNumber": 8,
    }


def _axis(grid: int, ink: Ink, name: str, bold: bool = False, **more: Any) -> Options:
    return {
        "type": "value",
        "gridIndex": grid,
        "name": name,
        "nameLocation": "middle",
        "nameGap": 40,
        "nameTextStyle": {
            "color": ink.text if bold else ink.quiet,
            "fontWeight": "bold" if bold else "normal",
            "fontSize": 12 if bold else 11,
        },
        "axisLabel": {
            "color": ink.quiet,
            "fontSize": 11,
            "hideOverlap": True,
            ":formatter": "v => v !== 0 && Math.abs(v) < 0.01 ? v.toExponential(0) : String(v)",
        },
        "splitLine": {"lineStyle": {"color": ink.rule}},
        "splitNumber": 3,
        **more,
    }


def _value_series(i: int, grid: int, axis: int, name: str) -> list[Options]:
    place = {"xAxisIndex": grid, "yAxisIndex": axis}
    line = {"type": "line", "symbol": "none", "data": [], **place}
    edge = {"width": 0, "opacity": 0}
    return [
        {"id": f"low{i}", "name": f"{name} forecast", **line, "lineStyle": edge,
         "stack": f"band{i}", "stackStrategy": "all", "tooltip": {"show": False}, "silent": True},
        {"id": f"high{i}", "name": f"{name} forecast", **line, "lineStyle": edge,
         "stack": f"band{i}", "stackStrategy": "all", "tooltip": {"show": False}, "silent": True,
         "areaStyle": {"color": NORMAL, "opacity": 0.2}},
        {"id": f"value{i}", "name": name, **line,
         "lineStyle": {"width": 1, "color": NORMAL}, "itemStyle": {"color": NORMAL},
         "emphasis": {"disabled": True}},
        {"id": f"shade{i}", "name": "shading", **line, "silent": True, "tooltip": {"show": False}},
        {"id": f"window{i}", "name": "windows", **line, "silent": True,
         "tooltip": {"show": False}},
        {"id": f"alert{i}", "name": f"{name} alert", "type": "line", "data": [],
         "xAxisIndex": grid, "yAxisIndex": axis + 1, "connectNulls": False, "z": 5,
         "symbol": "triangle", "symbolRotate": 180, "symbolSize": 9,
         "lineStyle": {"width": 3, "color": ABNORMAL}, "itemStyle": {"color": ABNORMAL},
         "tooltip": {"show": False}, "emphasis": {"disabled": True}},
    ]  # fmt: skip


def _score_series(i: int, grid: int, axis: int, name: str) -> list[Options]:
    place = {"xAxisIndex": grid, "yAxisIndex": axis, "data": []}
    quiet = {"emphasis": {"disabled": True}}
    return [
        {"id": f"span{i}", "name": f"{name} window", "type": "line", "symbol": "none", **place,
         "lineStyle": {"width": 1.5, "color": NORMAL, "opacity": 0.6}, "silent": True,
         "tooltip": {"show": False}, **quiet},
        {"id": f"limit{i}", "name": f"{name} threshold", "type": "line", "symbol": "none", **place,
         "lineStyle": {"width": 1, "color": ABNORMAL, "type": "dashed"}, "silent": True,
         "tooltip": {"show": False},
         "endLabel": {"show": True, "fontSize": 11, "color": ABNORMAL, "distance": 4,
                      ":formatter": "p => String(p.value[1])"}, **quiet},
        {"id": f"score{i}", "name": f"{name} score", "type": "scatter", "symbolSize": 5, **place,
         "itemStyle": {"color": NORMAL}, **quiet},
        {"id": f"bad{i}", "name": f"{name} score, abnormal", "type": "scatter",
         "symbol": "diamond", "symbolSize": 11, **place, "itemStyle": {"color": ABNORMAL}, **quiet},
    ]  # fmt: skip


def filled(
    view: View,
    signals: Sequence[Signal],
    thresholds: Sequence[float],
    alerts: Sequence[Alert],
    shades: Sequence[Shade],
    start: int,
    stop: int,
    tag: str = "",
) -> Options:
    """Return the options that change: the data, the marks and the ends of the axes.

    Parameters
    ----------
    view
        As given to `base`.
    signals, thresholds
        One a panel.
    alerts
        Of any id; those of the panels are marked.
    shades
        Anomalies that are known from elsewhere.
    start, stop
        The range, ns since 1970 UTC.
    tag
        Of the series that is shown.
    """
    first, last = start / 1e6, stop / 1e6
    x_axes = sum(1 + (panel.score is not None) for panel in view.panels)
    y_axes: list[Options] = []
    series: list[Options] = []
    for i, (panel, signal, limit) in enumerate(zip(view.panels, signals, thresholds, strict=True)):
        marks = [[max(s.start / 1e6, first), min(s.end / 1e6, last)] for s in shades
                 if s.field == panel.anomaly and s.end >= start and s.start <= stop]  # fmt: skip
        low = dict(signal.low)
        series += [
            {"id": f"low{i}", "data": signal.low},
            {"id": f"high{i}", "data": [(at, high - low[at]) for at, high in signal.high]},
            {"id": f"value{i}", "data": signal.values},
            {"id": f"shade{i}", "markArea": _areas(marks, EXPECTED, 0.3)},
            {"id": f"alert{i}", "data": _marks([a for a in alerts if panel.owns(a.id, tag)],
                                               first, last)},
            {"id": f"window{i}", "markArea": _areas(_windows(panel, signal, first, last),
                                                    "#888888", 0.1)},
        ]  # fmt: skip
        y_axes += [{}, {}]
        if panel.score is None:
            continue
        score = panel.score
        scores = [(at, max(value, FLOOR) if score.log else value) for at, value in signal.scores]
        bad = [pair for pair in scores if score.bad(pair[1], limit)]
        good = [pair for pair in scores if not score.bad(pair[1], limit)]
        series += [
            {"id": f"span{i}", "data": _spans(scores, score.window, signal)},
            {"id": f"limit{i}", "data": [(first, limit), (last, limit)]},
            {"id": f"score{i}", "data": good},
            {"id": f"bad{i}", "data": bad},
        ]
        if score.log:
            least = min([limit / 10, *(value for _, value in scores)])
            y_axes.append({"min": 10.0 ** math.floor(math.log10(least))})
        else:
            y_axes.append({})
    ends = {"min": first, "max": last}
    return {"xAxis": [ends] * x_axes, "yAxis": y_axes, "series": series}


def _areas(marks: list[list[float]], colour: str, opacity: float) -> Options:
    return {
        "silent": True,
        "itemStyle": {"color": colour, "opacity": opacity},
        "data": [[{"xAxis": start}, {"xAxis": end}] for start, end in marks],
    }


def _windows(panel: Panel, signal: Signal, first: float, last: float) -> list[list[float]]:
    """Return every second window, so that each can be told from its neighbours."""
    window = panel.score.window if panel.score else 0.0
    if not window or not signal.whole or len(signal.scores) > MOST_WINDOWS:
        return []
    length = window * 1e3
    return [
        [max(at - length, first), min(at, last)]
        for at, _ in signal.scores
        if round(at / length) % 2 and at > first and at - length < last
    ]


def _spans(scores: list[Pair], window: float, signal: Signal) -> list[list[float | None]]:
    if not window or not signal.whole or len(scores) > MOST_WINDOWS:
        return []
    spans: list[list[float | None]] = []
    for at, value in scores:
        spans += [[at - window * 1e3, value], [at, value], [at, None]]
    return spans


def _marks(alerts: list[Alert], first: float, last: float) -> list[Options]:
    marks: list[Options] = []
    for alert in alerts:
        start, end = alert.began / 1e6, (alert.ended / 1e6 if alert.ended else last)
        if end < first or start > last:
            continue
        name = f"{alert.level} from {iso(alert.began)}"
        marks += [
            {"value": [max(start, first), 0.95], "name": name},
            {"value": [min(end, last), 0.95], "symbol": "circle" if alert.ended else "none"},
            {"value": [min(end, last), None]},
        ]
    return marks
