"""What a task found in the printer's data: alerts, and expected anomalies against alarms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.printer import DAILY
from simulator.source import SECOND

WINDOW = timedelta(minutes=5)


@dataclass(frozen=True)
class Alert:
    """One alert from its first CRITICAL event to its recovery, times in UTC.

    Attributes
    ----------
    id, level, message
        As Kapacitor wrote them in the first event.
    start, end
        Time of the first event and of the recovery; `end` is None if none came.
    events
        How many windows alarmed in a row.
    """

    id: str
    level: str
    start: datetime
    end: datetime | None
    events: int
    message: str


@dataclass(frozen=True)
class Finding:
    """One expected anomaly and what became of it, times in UTC.

    Attributes
    ----------
    field
        The temperature.
    start, end
        When the data goes wrong.
    found
        The end of the first alarming window that the anomaly touches, or None.
    first_window
        Whether that is the first full window of the anomaly.
    """

    field: str
    start: datetime
    end: datetime
    found: datetime | None
    first_window: bool


def events(alert_log: str) -> list[dict[str, Any]]:
    """Return the events of an alert log, one JSON object a line, with `at` as their parsed time.

    Examples
    --------
    >>> [e["at"].hour for e in events('{"id": "bed", "time": "2016-01-01T08:05:00Z"}')]
    [8]
    """
    found = []
    for line in alert_log.splitlines():
        event = json.loads(line)
        event["at"] = datetime.fromisoformat(event["time"])
        found.append(event)
    return found


def alarms(log: list[dict[str, Any]]) -> list[datetime]:
    """Return the times of the events that are not recoveries."""
    return [event["at"] for event in log if event["level"] != "OK"]


def alerts(log: list[dict[str, Any]]) -> list[Alert]:
    r"""Join the events of one alert log into alerts that end with the recovery.

    Examples
    --------
    >>> at = '{"id": "bed", "level": "%s", "message": "", "time": "2016-01-01T08:%s:00Z"}'
    >>> log = [at % ("CRITICAL", "05"), at % ("CRITICAL", "10"), at % ("OK", "15")]
    >>> [(a.start.minute, a.end.minute, a.events) for a in alerts(events("\n".join(log)))]
    [(5, 15, 2)]
    """
    found: list[Alert] = []
    run: list[dict[str, Any]] = []

    def close(end: datetime | None) -> None:
        if run:
            first = run[0]
            found.append(
                Alert(first["id"], first["level"], first["at"], end, len(run), first["message"])
            )
            run.clear()

    for event in log:
        if event["level"] == "OK":
            close(event["at"])
        else:
            run.append(event)
    close(None)
    return found


def findings(alarming: dict[str, list[datetime]], start: datetime) -> list[Finding]:
    """Hold the alarming windows against the anomalies that a printer's day has.

    Parameters
    ----------
    alarming
        For each field, the ends of the windows that alarmed.
    start
        Time of the first point.
    """
    found = []
    for expected in _expected(start):
        hits = [t for t in alarming.get(expected.field, []) if _touches(t, expected)]
        first = min(hits, default=None)
        # Windows begin with the data, and so do the anomalies: the first full one ends here.
        full = expected.start + WINDOW
        found.append(Finding(expected.field, expected.start, expected.end, first, first == full))
    return found


def false_alarms(alarming: dict[str, list[datetime]], start: datetime) -> dict[str, int]:
    """Return, for each field, how many alarming windows touch no expected anomaly of that field."""
    expected = _expected(start)
    return {
        field: sum(not any(_touches(t, a) for a in expected if a.field == field) for t in times)
        for field, times in alarming.items()
    }


def _expected(start: datetime) -> list[Finding]:
    begin = round(start.timestamp()) * SECOND
    day = round(timedelta(days=1).total_seconds()) * SECOND
    return [
        Finding(a.field, _utc(a.start), _utc(a.end), None, False)
        for a in DAILY.anomalies(begin, begin + day)
    ]


def _touches(window_end: datetime, anomaly: Finding) -> bool:
    return window_end - WINDOW < anomaly.end and window_end > anomaly.start


def _utc(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC)
