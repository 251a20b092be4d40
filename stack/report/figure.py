"""The figure: every field's values with its scores below, on one axis of time."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from stack.findings import Alert
from stack.report.data import Band, ReportData, Score, Series, Times, Values

MOST_POINTS = 4000
"""Points of a series that are drawn: two for each pixel of a wide screen."""

FLOOR = 1e-20
"""Smaller p-values, 0 among them, are drawn here: a log axis has no room for 0."""

# Blue and orange stay apart for every kind of colour vision, on light and on dark ground.
NORMAL = "#3d85c6"
ABNORMAL = "#e8710a"
EXPECTED = "#e8a33d"

HEIGHTS = (150, 95)
"""Pixels of a field's values and of its scores."""


def figure(data: ReportData) -> go.Figure:
    """Draw a report's series, scores, expected anomalies and alerts.

    Parameters
    ----------
    data : ReportData
        At least one series.

    Returns
    -------
    plotly.graph_objects.Figure
        Without colours for text and ground, which the page sets for light and dark.
    """
    scores = {score.name: score for score in data.scores}
    panels: list[tuple[Series, bool]] = []
    for series in data.series:
        panels.append((series, False))
        if series.name in scores:
            panels.append((series, True))
    heights = [HEIGHTS[is_score] for _, is_score in panels]
    total = sum(heights)
    made = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=min(0.016, 0.5 / len(panels)),
        row_heights=[height / total for height in heights],
    )
    for row, (series, is_score) in enumerate(panels, start=1):
        if is_score:
            _draw_scores(made, row, scores[series.name], data.alpha)
        else:
            _draw_values(made, row, series, [a for a in data.alerts if a.id == series.name])
        for finding in data.findings:
            if finding.field == series.name:
                made.add_vrect(
                    x0=_iso(finding.start),
                    x1=_iso(finding.end),
                    row=row,
                    col=1,
                    fillcolor=EXPECTED,
                    opacity=0.28,
                    line_width=0,
                    layer="below",
                )
    made.update_xaxes(
        type="date",
        range=_whole(data),
        showspikes=True,
        spikemode="across",
        spikesnap="cursor",
        spikethickness=1,
    )
    made.update_layout(
        height=total + 120,
        margin={"l": 70, "r": 52, "t": 44, "b": 36},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hoverlabel={"align": "left"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        dragmode="zoom",
    )
    if data.findings:
        _legend_for_expected(made)
    _one_legend_entry_each(made)
    return made


def thin(times: Times, values: Values, most: int) -> tuple[Times, Values]:
    """Thin a series for drawing, keeping the smallest and the largest value of every stretch.

    Parameters
    ----------
    times, values : ndarray, shape (n,)
        In order of time; a stretch of nothing but NaN keeps one, so that the gap shows.
    most : int
        Points to keep at most, at least 2.

    Returns
    -------
    tuple of ndarray
        Times and values, in order of time; the same arrays if there are few enough.

    Examples
    --------
    >>> times = np.arange(6, dtype=np.int64)
    >>> [array.tolist() for array in thin(times, np.array([1.0, 9.0, 2.0, 3.0, 0.0, 3.0]), 4)]
    [[0, 1, 3, 4], [1.0, 9.0, 3.0, 0.0]]
    """
    if values.size <= most:
        return times, values
    edges = np.linspace(0, values.size, most // 2 + 1).astype(np.int64)
    starts = edges[:-1]
    missing = np.isnan(values)
    keep = []
    for fill, find in ((np.inf, np.minimum), (-np.inf, np.maximum)):
        filled = np.where(missing, fill, values)
        extreme = np.repeat(find.reduceat(filled, starts), np.diff(edges))
        hits = np.flatnonzero(filled == extreme)
        stretch = np.searchsorted(edges, hits, side="right")
        keep.append(hits[np.unique(stretch, return_index=True)[1]])
    kept = np.unique(np.concatenate(keep))
    return times[kept], values[kept]


def _draw_band(made: go.Figure, row: int, band: Band) -> None:
    chosen = slice(None, None, band.times.size // MOST_POINTS + 1)
    times = _milliseconds(band.times[chosen])
    made.add_trace(
        go.Scatter(
            # Along the upper bounds and back along the lower ones.
            x=np.concatenate((times, times[::-1])),
            y=np.concatenate((band.upper[chosen], band.lower[chosen][::-1])),
            mode="lines",
            name="forecast band",
            fill="toself",
            opacity=0.5,
            line={"color": EXPECTED, "width": 0},
            hoverinfo="skip",
        ),
        row=row,
        col=1,
    )


def _draw_limit(made: go.Figure, row: int, limit: float) -> None:
    for side in (-limit, limit):
        line = {"color": ABNORMAL, "width": 1, "dash": "dash"}
        made.add_hline(y=side, row=row, col=1, line=line)
    # A spike of hundreds would leave the limit and all below it no room.
    made.update_yaxes(range=[-3 * limit, 3 * limit], row=row, col=1)


def _draw_values(made: go.Figure, row: int, series: Series, alerts: list[Alert]) -> None:
    if series.band is not None:
        _draw_band(made, row, series.band)
    times, values = thin(series.times, series.values, MOST_POINTS)
    unit = escape(f" {series.unit}") if series.unit else ""
    made.add_trace(
        go.Scatter(
            x=_milliseconds(times),
            y=values,
            mode="lines",
            name="value",
            line={"color": NORMAL, "width": 1},
            hovertemplate=f"%{{x|%H:%M:%S}}  %{{y:.2f}}{unit}<extra>{escape(series.name)}</extra>",
        ),
        row=row,
        col=1,
    )
    label = f"<b>{escape(series.name)}</b>{'<br>' + escape(series.unit) if series.unit else ''}"
    made.update_yaxes(title={"text": label, "standoff": 6}, row=row, col=1, nticks=6)
    if series.limit is not None:
        _draw_limit(made, row, series.limit)
    if not alerts:
        return
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    top = high + 0.09 * (high - low or 1.0)
    # An alert that never recovered lasts to the end of the data.
    ends = [datetime.fromtimestamp(t / 1e9, UTC) for t in series.times[-1:].tolist()]
    x: list[str | None] = []
    texts: list[str] = []
    for alert in alerts:
        end = alert.end or max([alert.start, *ends])
        text = (
            f"{escape(alert.level)} {alert.start:%H:%M:%S} to "
            f"{f'{alert.end:%H:%M:%S}' if alert.end else 'the end'}"
            f"<br>{escape(alert.message)}"
        )
        x += [_iso(alert.start), _iso(end), None]
        texts += [text, text, ""]
    made.add_trace(
        go.Scatter(
            x=x,
            y=[top if at else None for at in x],
            mode="lines+markers",
            name="alert",
            line={"color": ABNORMAL, "width": 3},
            marker={"symbol": ["triangle-down", "line-ns", "circle"] * len(alerts), "size": 11},
            text=texts,
            hovertemplate=f"%{{text}}<extra>{escape(series.name)} alert</extra>",
        ),
        row=row,
        col=1,
    )


def _draw_scores(made: go.Figure, row: int, score: Score, alpha: float) -> None:
    pvalues = np.clip(score.pvalues, FLOOR, 1.0)
    floor = score.pvalues < FLOOR
    symbols = np.where(floor, "triangle-down", "circle")
    for name, chosen, colour, size in (
        ("p ≥ alpha", score.pvalues >= alpha, NORMAL, 4),
        ("p < alpha", score.pvalues < alpha, ABNORMAL, 8),
    ):
        made.add_trace(
            go.Scatter(
                x=_milliseconds(score.times[chosen]),
                y=pvalues[chosen],
                mode="markers",
                name=name,
                marker={"color": colour, "size": size, "symbol": symbols[chosen].tolist()},
                text=[f"{p:.3g}" for p in score.pvalues[chosen]],
                hovertemplate=f"%{{x|%H:%M:%S}}  p = %{{text}}<extra>{escape(score.name)}</extra>",
            ),
            row=row,
            col=1,
        )
    made.add_hline(y=alpha, row=row, col=1, line={"color": ABNORMAL, "width": 1, "dash": "dash"})
    made.add_annotation(
        text=f"alpha<br>{alpha:g}",
        font={"size": 11},
        showarrow=False,
        align="left",
        # In the margin, where no mark can be.
        x=1,
        xref="x domain",
        xanchor="left",
        xshift=4,
        # On a log axis an annotation's place is the exponent, while a line's is the value.
        y=np.log10(alpha),
        yanchor="middle",
        row=row,
        col=1,
    )
    lowest = min(float(pvalues.min(initial=1.0)), alpha / 10)
    decades = np.log10(lowest)
    made.update_yaxes(
        type="log",
        range=[decades * 1.12, -decades * 0.08],
        title={"text": "p-value", "standoff": 6},
        exponentformat="power",
        nticks=5,
        tickfont={"size": 10},
        row=row,
        col=1,
    )


def _legend_for_expected(made: go.Figure) -> None:
    made.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name="expected anomaly",
            marker={"symbol": "square", "size": 14, "color": EXPECTED, "opacity": 0.45},
        ),
        row=1,
        col=1,
    )


def _one_legend_entry_each(made: go.Figure) -> None:
    """Name each kind of trace once; the entry switches all of its kind."""
    seen: set[str] = set()
    for trace in made.data:
        trace.legendgroup = trace.name
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)


def _whole(data: ReportData) -> list[float]:
    """Return the first and the last time of anything drawn."""
    drawn: list[Series | Score] = [*data.series, *data.scores]
    ends = [_milliseconds(d.times[[0, -1]]) for d in drawn if d.times.size]
    return [float(np.min(ends)), float(np.max(ends))] if ends else [0.0, 1.0]


def _milliseconds(times: Times) -> Values:
    """Return what the browser's dates count in."""
    return times / 1e6


def _iso(moment: datetime) -> str:
    """Return a time as the figure's axis reads it, which is without an offset."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
