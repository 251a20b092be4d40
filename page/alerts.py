"""The alerts of all topics: when each began and ended, and how long it took to get here.

Kapacitor keeps the latest state of every alert id in its topics; each alert node has one by
itself, so no TICKscript needs a line for the page. A state tells when the alert began (its time
less its duration), also when it has recovered: what happened while the page was away is found
when it is back. What was seen is kept in InfluxDB, where any other tool can read it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from page.engines import EngineError, Engines, Row, now_ns

DATABASE = "results"
MEASUREMENT = "alerts"

KEPT = 2000
"""Alerts in memory, the newest; InfluxDB has them all."""

LIVE = 3600.0
"""An alert whose point is older when it arrives, in seconds, is one of replayed data."""

LEVELS = ("", "OK", "INFO", "WARNING", "CRITICAL")

SECOND = 10**9


@dataclass
class Alert:
    """One alert from its beginning to its recovery.

    Attributes
    ----------
    id, topic, task
        Its id, the topic it came through, and the task if that is known.
    began, last, ended
        Times of the data, ns since 1970 UTC; `ended` is None while it lasts.
    level
        The worst so far; empty when only the recovery was seen.
    message
        Of the worst level.
    noticed, ended_noticed
        When the page saw it begin and end, ns; None when it was not looking.
    first
        Time of the point whose event was the first to be noticed.
    """

    id: str
    topic: str
    task: str
    began: int
    last: int
    level: str
    message: str
    ended: int | None = None
    noticed: int | None = None
    ended_noticed: int | None = None
    first: int | None = None

    @property
    def delay(self) -> float | None:
        """Seconds from the newest point of the first event to the page; None of old data."""
        if self.noticed is None or self.first is None:
            return None
        seconds = (self.noticed - self.first) / SECOND
        return seconds if 0 <= seconds < LIVE else None

    @property
    def source(self) -> tuple[str, str]:
        """What tells alerts apart that run at the same time."""
        return self.task or self.topic, self.id

    def as_row(self) -> Row:
        """Return plain values for an export."""
        return {
            "began": iso(self.began),
            "ended": None if self.ended is None else iso(self.ended),
            "level": self.level,
            "id": self.id,
            "task": self.task,
            "topic": self.topic,
            "message": self.message,
            "noticed": None if self.noticed is None else iso(self.noticed),
            "seconds_from_write": None if self.delay is None else round(self.delay, 3),
        }

    def line(self) -> str:
        """Return line protocol, which says all of it again each time."""
        tags = "".join(
            f",{name}={_escaped(value)}"
            for name, value in (("id", self.id), ("source", self.source[0]))
            if value
        )
        fields = [
            f'level="{self.level}"',
            f"message={_string(self.message)}",
            f"task={_string(self.task)}",
            f"topic={_string(self.topic)}",
            f"last={self.last}i",
        ]
        for name in ("ended", "noticed", "ended_noticed", "first"):
            value = getattr(self, name)
            if value is not None:
                fields.append(f"{name}={value}i")
        return f"{MEASUREMENT}{tags} {','.join(fields)} {self.began}"


class Alerts:
    """What is known of the alerts, and how it is found out.

    Parameters
    ----------
    engines
        To ask and to write to.
    keep
        Whether to write what is found to InfluxDB.
    """

    def __init__(self, engines: Engines, keep: bool = True) -> None:
        self._engines = engines
        self._keep = keep
        self._alerts: dict[tuple[str, str, int], Alert] = {}
        self._open: dict[tuple[str, str], Alert] = {}
        self._collected: dict[str, int] | None = None
        self._unwritten: dict[tuple[str, str, int], Alert] = {}
        self._restored = False
        self.version = 0

    def newest(self) -> list[Alert]:
        """Return all alerts, the one that began last first."""
        return sorted(self._alerts.values(), key=lambda a: (a.began, a.last), reverse=True)

    @property
    def open(self) -> int:
        """How many have not recovered."""
        return len(self._open)

    async def look(self) -> None:
        """Ask Kapacitor for what is new; raise `EngineError` when it does not answer."""
        if not self._restored:
            await self._restore()
        collected = await self._engines.kapacitor.topics()
        first = self._collected is None
        before = self._collected or {}
        for topic, count in collected.items():
            if first or count != before.get(topic, 0):
                for event in await self._engines.kapacitor.events(topic):
                    self.see(topic, event, None if first else now_ns())
        self._collected = collected
        await self._write()

    def lost_sight(self) -> None:
        """Kapacitor was away: what it tells next may be old."""
        self._collected = None

    def see(self, topic: str, event: Row, noticed: int | None) -> None:
        """Take in the state of one alert id.

        Parameters
        ----------
        topic
            Where it was found.
        event
            With id, level, time, duration, message and details.
        noticed
            Now in ns, or None when it is not known for how long it has been there.
        """
        at = nanoseconds(event["time"])
        began = at - _duration(event.get("duration") or "0s")
        level, task = event["level"], _task(topic, event)
        # A node with a topic and handlers tells the same in its own topic and in that one.
        known = (task or topic, event["id"])
        alert = self._alerts.get((*known, began))
        running = self._open.get(known)
        if running is not None and running is not alert and began > running.began:
            # A new one: the recovery in between was not seen, so it ended at the latest now.
            self._close(running, began, None)
        if alert is None:
            if level == "OK" and began == at:
                return
            alert = Alert(
                id=event["id"],
                topic=topic,
                task=task,
                began=began,
                last=at,
                level="" if level == "OK" else level,
                message=event.get("message") or "",
                noticed=noticed,
                first=at if noticed else None,
            )
            self._alerts[(*known, began)] = alert
            self._changed(alert)
        if level == "OK":
            if alert.ended is None:
                self._close(alert, at, noticed)
        elif at >= alert.last and alert.ended is None:
            self._open[known] = alert
            worse = LEVELS.index(level) >= LEVELS.index(alert.level)
            if at > alert.last or (worse and level != alert.level):
                alert.last = at
                if worse:
                    alert.level, alert.message = level, event.get("message") or ""
                self._changed(alert)
        self._forget_oldest()

    def _close(self, alert: Alert, ended: int, noticed: int | None) -> None:
        alert.ended, alert.ended_noticed = ended, noticed
        if self._open.get(alert.source) is alert:
            del self._open[alert.source]
        self._changed(alert)

    def _changed(self, alert: Alert) -> None:
        self.version += 1
        self._unwritten[(*alert.source, alert.began)] = alert

    def _forget_oldest(self) -> None:
        if len(self._alerts) <= KEPT:
            return
        for alert in self.newest()[KEPT:]:
            self._alerts.pop((*alert.source, alert.began), None)
            if self._open.get(alert.source) is alert:
                del self._open[alert.source]

    async def _write(self) -> None:
        if not self._keep:
            self._unwritten.clear()
        if not self._unwritten:
            return
        writing, self._unwritten = self._unwritten, {}
        lines = "\n".join(alert.line() for alert in writing.values())
        try:
            await self._engines.influxdb.write(DATABASE, lines)
        except EngineError:
            # Tried again with the next look; only the newest are kept meanwhile.
            merged = writing | self._unwritten
            self._unwritten = dict(list(merged.items())[-KEPT:])

    async def _restore(self) -> None:
        """Read what was kept; without InfluxDB there is nothing to begin with yet."""
        statement = f"SELECT * FROM {MEASUREMENT} ORDER BY time DESC LIMIT {KEPT}"
        try:
            rows = await self._engines.influxdb.query(statement, DATABASE)
        except EngineError:
            return
        self._restored = True
        for row in reversed(rows):
            alert = Alert(
                id=row["id"],
                topic=row.get("topic") or "",
                task=row.get("task") or "",
                began=row["time"],
                last=row["last"],
                level=row["level"],
                message=row["message"],
                **{k: row.get(k) for k in ("ended", "noticed", "ended_noticed", "first")},
            )
            key = (*alert.source, alert.began)
            if key in self._alerts:
                continue
            self._alerts[key] = alert
            if alert.ended is None:
                self._open[alert.source] = alert
        self.version += 1


def _task(topic: str, event: Row) -> str:
    """Return the task of an event: part of a node's own topic, else told by the details."""
    parts = topic.split(":")
    if len(parts) == 3:
        return parts[1]
    try:
        return str(json.loads(html.unescape(event.get("details") or ""))["TaskName"])
    except (ValueError, KeyError, TypeError):
        return ""


def as_lines(alerts: Iterable[Alert]) -> str:
    """Return JSON, one alert a line."""
    return "".join(json.dumps(alert.as_row(), ensure_ascii=False) + "\n" for alert in alerts)


def iso(nanoseconds: int) -> str:
    """Return a time in RFC 3339 with milliseconds.

    Examples
    --------
    >>> iso(1451606400123000000)
    '2016-01-01T00:00:00.123Z'
    """
    moment = datetime.fromtimestamp(nanoseconds // SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % SECOND // 10**6:03}Z"


def nanoseconds(text: str) -> int:
    """Return ns of an RFC 3339 time in UTC with up to nine digits.

    Examples
    --------
    >>> nanoseconds("2016-01-01T00:00:00.123456789Z")
    1451606400123456789
    """
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND + int((fraction or "0").ljust(9, "0"))


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": SECOND, "m": 60 * SECOND,
          "h": 3600 * SECOND}  # fmt: skip


def _duration(text: str) -> int:
    """Return ns of a duration as Go writes it.

    Examples
    --------
    >>> _duration("1m10.5s"), _duration("10s"), _duration("250ms")
    (70500000000, 10000000000, 250000000)
    """
    parts = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text)
    total = 0
    for number, unit in parts:
        whole, _, fraction = number.partition(".")
        scale = _UNITS[unit]
        total += int(whole or 0) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    return total


def _escaped(text: str) -> str:
    """Return a tag's value for line protocol."""
    text = text.replace("\n", " ").rstrip("\\")
    return re.sub(r"([,= ])", r"\\\1", text)


def _string(text: str) -> str:
    """Return a string field's value for line protocol."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
