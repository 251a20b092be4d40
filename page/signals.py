"""Values and scores of a view in a range of time, thinned by InfluxDB to what a screen can show."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass, field

from page.alerts import iso
from page.engines import Engines, Row, quoted
from page.views import Panel, Score, View

BUCKETS = 600
"""Stretches of time that a range is cut into; the least and greatest value of each is drawn."""

SECOND = 10**9

Pair = tuple[float, float]


@dataclass
class Signal:
    """What is drawn of one panel; times are ms since 1970 UTC.

    Attributes
    ----------
    values
        In order of time.
    low, high
        The edges of the forecast's band.
    scores
        One a window, or the most abnormal of each stretch where windows are shorter than those.
    whole
        Whether each score is that of one window.
    """

    values: list[Pair] = field(default_factory=list)
    low: list[Pair] = field(default_factory=list)
    high: list[Pair] = field(default_factory=list)
    scores: list[Pair] = field(default_factory=list)
    whole: bool = True


def bucket(start: int, stop: int) -> int:
    """Return the length of a stretch, ns: the same for all ranges of one length."""
    return max(10**6, (stop - start) // BUCKETS // 10**6 * 10**6)


async def read(
    engines: Engines, view: View, start: int, stop: int, width: int, tag: str
) -> list[Signal]:
    """Read a view's panels between two times.

    Parameters
    ----------
    engines
        To ask.
    view
        What to read.
    start, stop
        The range, ns since 1970 UTC.
    width
        Length of the stretches that it is thinned to, ns.
    tag
        The value of the view's tag; empty for all series together.

    Raises
    ------
    EngineError
        When InfluxDB does not answer.
    """
    where = f" AND {quoted(view.tag)} = {_literal(tag)}" if view.tag and tag else ""
    signals = [Signal() for _ in view.panels]
    jobs = [_values(engines, view, signals, where, start, stop, width)]
    by_source: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, panel in enumerate(view.panels):
        if panel.score is not None:
            by_source[panel.score.database, panel.score.measurement].append(at)
    jobs += [
        _scores(engines, view, signals, places, where, start, stop, width)
        for places in by_source.values()
    ]
    jobs += [
        _band(engines, view, panel, signal, where, start, stop, width)
        for panel, signal in zip(view.panels, signals, strict=True)
        if panel.band is not None
    ]
    await asyncio.gather(*jobs)
    return signals


async def _values(
    engines: Engines,
    view: View,
    signals: list[Signal],
    where: str,
    start: int,
    stop: int,
    width: int,
) -> None:
    chosen = ", ".join(
        f"min({quoted(p.field)}) AS low{i}, max({quoted(p.field)}) AS high{i}"
        for i, p in enumerate(view.panels)
    )
    rows = await engines.influxdb.query(
        f"SELECT {chosen} FROM {quoted(view.measurement)} WHERE {_range(start, stop)}{where} "
        f"GROUP BY time({width}ns) fill(none)",
        view.database,
    )
    early, late = width / 4e6, width * 3 / 4e6
    for i, signal in enumerate(signals):
        for row in rows:
            low, high = row.get(f"low{i}"), row.get(f"high{i}")
            if low is None or high is None:
                continue
            at = row["time"] / 1e6
            signal.values.append((at + early, low))
            if high != low:
                signal.values.append((at + late, high))


async def _scores(
    engines: Engines,
    view: View,
    signals: list[Signal],
    places: list[int],
    where: str,
    start: int,
    stop: int,
    width: int,
) -> None:
    pairs = [(at, score) for at in places if (score := view.panels[at].score) is not None]
    first = pairs[0][1]
    # A score that comes after the range can be of a window that reaches into it.
    reach = stop + round(first.window * SECOND)
    source = f"FROM {quoted(first.measurement)} WHERE {_range(start, reach)}{where}"
    whole = first.window * SECOND >= width
    if whole:
        names = ", ".join(f"{quoted(s.field)} AS s{at}" for at, s in pairs)
        statement = f"SELECT {names} {source}"
    else:
        names = ", ".join(
            f"min({quoted(s.field)}) AS low{at}, max({quoted(s.field)}) AS s{at}" for at, s in pairs
        )
        statement = f"SELECT {names} {source} GROUP BY time({width}ns) fill(none)"
    rows = await engines.influxdb.query(statement, first.database)
    for at, score in pairs:
        signals[at].whole = whole
        for row in rows:
            value, low = row.get(f"s{at}"), row.get(f"low{at}")
            if value is None:
                continue
            if low is not None and score.worse(low, value):
                value = low
            signals[at].scores.append((row["time"] / 1e6, value))


async def _band(
    engines: Engines,
    view: View,
    panel: Panel,
    signal: Signal,
    where: str,
    start: int,
    stop: int,
    width: int,
) -> None:
    band = panel.band
    assert band is not None  # noqa: S101 - chosen by the caller
    rows = await engines.influxdb.query(
        f"SELECT min({quoted(band.low)}) AS low, max({quoted(band.high)}) AS high "
        f"FROM {quoted(band.measurement or view.measurement)} WHERE {_range(start, stop)}{where} "
        f"GROUP BY time({width}ns) fill(none)",
        band.database or view.database,
    )
    for row in rows:
        if row.get("low") is not None and row.get("high") is not None:
            at = row["time"] / 1e6 + width / 2e6
            signal.low.append((at, row["low"]))
            signal.high.append((at, row["high"]))


async def raw(engines: Engines, view: View, start: int, stop: int, tag: str) -> list[Row]:
    """Return a view's points as they are, with their times in RFC 3339.

    Raises
    ------
    EngineError
        When InfluxDB does not answer.
    """
    where = f" AND {quoted(view.tag)} = {_literal(tag)}" if view.tag and tag else ""
    names = [panel.field for panel in view.panels]
    rows = await engines.influxdb.query(
        f"SELECT {', '.join(map(quoted, names))} FROM {quoted(view.measurement)} "
        f"WHERE {_range(start, stop)}{where}",
        view.database,
        patience=60,
    )
    return [{"time": iso(row["time"])} | {name: row.get(name) for name in names} for row in rows]


async def newest(engines: Engines, view: View) -> tuple[int | None, int | None]:
    """Return the times of the newest point and of the newest score, ns since 1970 UTC."""
    panel = view.panels[0]
    found = await asyncio.gather(
        _newest(engines, view.database, view.measurement, panel.field),
        _newest(engines, panel.score.database, panel.score.measurement, panel.score.field)
        if panel.score is not None
        else _nothing(),
    )
    return found[0], found[1]


async def _newest(engines: Engines, database: str, measurement: str, name: str) -> int | None:
    rows: list[Row] = await engines.influxdb.query(
        f"SELECT last({quoted(name)}) FROM {quoted(measurement)}", database, patience=2
    )
    return int(rows[0]["time"]) if rows else None


async def _nothing() -> int | None:
    return None


async def tag_values(engines: Engines, view: View) -> list[str]:
    """Return the series that a view can show, by its tag."""
    if not view.tag:
        return []
    rows = await engines.influxdb.query(
        f"SHOW TAG VALUES FROM {quoted(view.measurement)} WITH KEY = {quoted(view.tag)}",
        view.database,
    )
    return sorted(row["value"] for row in rows)


def threshold(score: Score, script: str) -> float:
    """Return a score's threshold as the task's script sets it, else the view's own."""
    if score.variable and script:
        name, number = re.escape(score.variable), r"(-?[\d.]+(?:e-?\d+)?)"
        pattern = rf"^\s*(?:var\s+{name}\s*=\s*{number}|\.{name}\({number}\))\s*$"
        match = re.search(pattern, script, re.MULTILINE)
        if match:
            return float(match[1] or match[2])
    return score.threshold


def _range(start: int, stop: int) -> str:
    return f"time >= {start} AND time < {stop}"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
