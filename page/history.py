"""The page of all alerts: filter, follow, export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from html import escape
from urllib.parse import urlencode

from nicegui import ui

from page.alerts import Alert
from page.engines import now_ns
from page.hub import Hub
from page.live import around, interval, level
from page.shell import Visitor, html, select

SHOWN = 200
"""Rows on the page; an export has all."""

COLUMNS = ("began", "ended", "level", "id", "task", "topic", "message", "noticed",
           "seconds_from_write")  # fmt: skip


def chosen(alerts: Iterable[Alert], text: str, wanted: str, only_open: bool) -> list[Alert]:
    """Return the alerts that a filter lets through.

    Parameters
    ----------
    alerts
        To choose from.
    text
        Has to be in the id, task, topic or message; upper and lower case are the same.
    wanted
        A level, or empty for any.
    only_open
        Leave out what has recovered.
    """
    text = text.lower()
    return [
        alert
        for alert in alerts
        if (not text or text in f"{alert.id} {alert.task} {alert.topic} {alert.message}".lower())
        and (not wanted or alert.level == wanted)
        and (not only_open or alert.ended is None)
    ]


def as_csv(alerts: Iterable[Alert]) -> str:
    """Return a table with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(alert.as_row() for alert in alerts)
    return text.getvalue()


def as_json(alerts: Iterable[Alert]) -> str:
    """Return a list of objects."""
    return json.dumps([alert.as_row() for alert in alerts], ensure_ascii=False, indent=1) + "\n"


def history(hub: Hub, who: Visitor) -> None:
    """Draw the table of alerts with its filter."""
    wanted = {"text": "", "level": "", "open": ""}
    seen = {"version": -1, "second": 0}

    def change(name: str, value: str) -> None:
        wanted[name] = value
        seen["version"] = -1
        show()

    with ui.element("section").classes("card"):
        with ui.element("div").classes("head"):
            html("Alerts", "h1")
            field = ui.element("input").props(
                'type="search" placeholder="id, task or message" aria-label="Filter"'
            )
            field.on("input", lambda e: change("text", str(e.args)), throttle=0.2,
                     js_handler="(e) => emit(e.target.value)")  # fmt: skip
            levels = {"": "all levels", "CRITICAL": "critical", "WARNING": "warning",
                      "INFO": "info"}  # fmt: skip
            select("Level", levels, "", lambda value: change("level", value))
            states = {"": "open and recovered", "open": "open only"}
            select("State", states, "", lambda value: change("open", value))
            with ui.element("div").classes("right"):
                links = html("")
        table = html("", classes="scroll").props('tabindex="0" role="region" aria-label="Alerts"')
        note = html("", "p", "small quiet")

    def show() -> None:
        # The lengths of open alerts grow.
        second = now_ns() // 10**9 if hub.alerts.open else 0
        if seen == {"version": hub.alerts.version, "second": second}:
            return
        seen.update(version=hub.alerts.version, second=second)
        found = chosen(hub.alerts.newest(), wanted["text"], wanted["level"], bool(wanted["open"]))
        table.set_content(_table(hub, who, found[:SHOWN]))
        more = f", the newest {SHOWN} of them shown" if len(found) > SHOWN else ""
        note.set_content(f"{len(found):,} alert{'' if len(found) == 1 else 's'}{more}.")
        query = escape(urlencode(wanted))
        links.set_content(
            f'<a class="button" href="/export/alerts.csv?{query}" download>CSV</a> '
            f'<a class="button" href="/export/alerts.json?{query}" download>JSON</a>'
        )

    show()
    ui.timer(0.3, show)


def _table(hub: Hub, who: Visitor, alerts: list[Alert]) -> str:
    if not alerts:
        return '<p class="quiet">None.</p>'
    heads = ("Level", "Id", "Began", "Ended", "Lasted", "Write to alert", "Task", "Message")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(_row(hub, who, alert) for alert in alerts)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(hub: Hub, who: Visitor, alert: Alert) -> str:
    ended = "not yet" if alert.ended is None else who.stamp(alert.ended)
    lasted = ((alert.ended or max(alert.last, min(now_ns(), alert.last + 3600 * 10**9)))
              - alert.began) / 1e9  # fmt: skip
    delay = "" if alert.delay is None else interval(alert.delay)
    name = escape(alert.id)
    return (
        f'<tr data-alert="{name}"><td>{level(alert)}</td>'
        f'<td><a href="{escape(around(hub, alert))}">{name}</a></td>'
        f'<td class="time">{who.stamp(alert.began)}</td><td class="time">{ended}</td>'
        f'<td class="time">{interval(lasted)}</td><td class="time">{delay}</td>'
        f"<td>{escape(alert.task)}</td><td>{escape(alert.message)}</td></tr>"
    )
