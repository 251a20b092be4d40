"""The first page: the path, the signals, what to break, and the latest alerts."""

from __future__ import annotations

import time
from html import escape
from urllib.parse import quote, urlencode

from nicegui import ui

from page import chart, signals
from page.alerts import Alert
from page.engines import EngineError, now_ns
from page.hub import SECOND, Hub, Press
from page.path import Hop
from page.shell import Visitor, button, html, select
from page.views import View, seconds

RANGES = ("2m", "5m", "15m", "1h", "6h", "24h", "2d")
BREAK_SECONDS = 30.0
LATEST = 7
MARKS = {"ok": "✓ ok", "wrong": "! wrong", "off": "– off"}


def live(hub: Hub, who: Visitor, view: View, fixed: tuple[int, int] | None) -> None:
    """Draw the page of a view; `fixed` is a range in ns to show instead of the present."""
    html("The stack, live", "h1", "unseen")
    path = html(path_html(hub.hops), "section").props('aria-label="The path of the points"')
    ui.timer(0.5, lambda: path.set_content(path_html(hub.hops)))
    with ui.element("div").classes("live"):
        Signals(hub, who, view, fixed)
        with ui.element("div").classes("side"):
            if any(panel.anomaly for panel in view.panels):
                break_it(hub, who, view)
            latest(hub, who)


def path_html(hops: list[Hop]) -> str:
    """Return the chain of hops."""
    return f'<ol class="path">{"".join(_hop(hop) for hop in hops)}</ol>'


def _hop(hop: Hop) -> str:
    rate = "–" if hop.rate is None else _rate(hop.rate)
    facts = []
    if hop.total is not None:
        facts.append(f"{hop.total:,} in total")
    if hop.lag is not None:
        what = "from write to alert" if hop.key == "alerts" else "behind"
        facts.append(f"{interval(hop.lag)} {what}")
    return (
        f'<li class="hop {hop.health}" data-hop="{hop.key}" data-health="{hop.health}">'
        f'<div class="name"><span>{escape(hop.title)}</span>'
        f'<span class="mark">{MARKS[hop.health]}</span></div>'
        f'<div class="rate">{rate} <small>{escape(hop.unit)}/s</small></div>'
        f'<div class="facts">{"<br>".join(facts) or "&nbsp;"}</div>'
        f'<div class="why">{escape(hop.why)}</div></li>'
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"


def interval(value: float) -> str:
    """Return seconds as people say them."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:,.0f} min"


class Signals:
    """The chart of a view with its range of time.

    Parameters
    ----------
    hub, who, view
        What is known, who looks, and at what.
    fixed
        A range in ns; None follows the present.
    """

    def __init__(self, hub: Hub, who: Visitor, view: View, fixed: tuple[int, int] | None) -> None:
        self.hub, self.who, self.view = hub, who, view
        self.fixed = fixed
        self.length = view.range if fixed is None else max(1, (fixed[1] - fixed[0]) // SECOND)
        self.tag = ""
        self._due = 0.0
        self._busy = False
        self._ready = False
        self._alerts = -1
        self._ranges: dict[str, ui.html] = {}
        with ui.element("section").classes("card").props('aria-label="Signals"'):
            with ui.element("div").classes("head"):
                html(escape(view.title), "h2")
                self._tags = ui.element("span")
                with ui.element("div").classes("right"):
                    self._pan_back = button("◀", lambda: self._pan(-0.5))
                    self._pan_back.props('aria-label="Earlier"')
                    self._pan_on = button("▶", lambda: self._pan(0.5)).props('aria-label="Later"')
                    with ui.element("div").classes("group").props('role="group"'):
                        for text in RANGES:
                            self._ranges[text] = button(text, lambda t=text: self._choose(t))
                    self._pause = button("❚❚ Pause", self._toggle)
                    self._exports = html("", "span").props("data-exports")
            self.chart = (
                ui.echart(chart.base(view, who.ink, who.utc))
                .style(f"height: {chart.height(view)}px; width: 100%")
                .props('role="img" data-chart')
            )
            self.chart.on("chart:datazoom", self._zoomed, args=[], throttle=0.4,
                          leading_events=False)  # fmt: skip
            self.note = html("", "p", "small quiet").props('data-note aria-live="off"')
            html(_legend(view))
        self._show_state()
        ui.timer(0.05, self._first, once=True)
        ui.timer(0.25, self._tick)

    async def _first(self) -> None:
        if self.view.tag:
            try:
                values = await signals.tag_values(self.hub.engines, self.view)
            except EngineError:
                values = []
            if values:
                self.tag = values[0]
                with self._tags:
                    select(self.view.tag, {v: v for v in values}, self.tag, self._choose_tag)
                self._show_state()
        self._ready = True
        await self._draw()

    async def _tick(self) -> None:
        if not self._ready:
            return
        changed = self._alerts != self.hub.alerts.version
        if (time.monotonic() >= self._due and self.fixed is None) or (changed and self._due):
            await self._draw()

    async def _draw(self) -> None:
        if self._busy:
            return
        self._busy = True
        started = time.monotonic()
        self._alerts = self.hub.alerts.version
        try:
            length = self.length * SECOND
            if self.fixed is None:
                stop = now_ns()
                start, first, last = stop - length, stop - length, stop
            else:
                # Half as much again on both sides, so that moving shows something at once.
                first, last = self.fixed
                start, stop = first - length // 2, last + length // 2
            width = signals.bucket(first, last)
            found = await signals.read(self.hub.engines, self.view, start, stop, width, self.tag)
            limits = [self.hub.threshold(panel) for panel in self.view.panels]
            alerts = self.hub.alerts.newest()
            update = chart.filled(
                self.view, found, limits, alerts, self.hub.shades, start, stop, self.tag
            )
            # The last field: a range within what is loaded.
            update["dataZoom"] = [{"startValue": first / 1e6, "endValue": last / 1e6}]
            self.chart.run_chart_method("setOption", update, {"lazyUpdate": True})
            count = sum(len(signal.values) for signal in found)
            text = "" if count else f"No points in this range. {self.view.hint} "
            if self.fixed is not None:
                text += f"Stopped at {self.who.clock(last)}. Drag to move, ctrl and wheel to zoom."
            self.note.set_content(escape(text))
        except EngineError as error:
            self.note.set_content(f"<strong>{escape(str(error))}</strong>")
        finally:
            self._busy = False
            took = time.monotonic() - started
            # A long range changes slowly, and a slow answer is not asked for all the time.
            stretch = signals.bucket(0, self.length * SECOND) / SECOND
            self._due = time.monotonic() + max(0.9, min(stretch / 2, 10.0), 3 * took)

    def _show_state(self) -> None:
        for text, made in self._ranges.items():
            pressed = seconds(text) == self.length
            made.props(f'aria-pressed="{"true" if pressed else "false"}"')
        paused = self.fixed is not None
        self._pause.set_content("▶ Go on" if paused else "❚❚ Pause")
        self._pause.props(f'aria-pressed="{"true" if paused else "false"}"')
        for made in (self._pan_back, self._pan_on):
            made.props(remove="disabled") if paused else made.props("disabled")
        self._exports.set_content(self._export("csv") + " " + self._export("json"))

    async def _choose(self, text: str) -> None:
        self.length = seconds(text)
        if self.fixed is not None:
            middle = sum(self.fixed) // 2
            half = self.length * SECOND // 2
            self.fixed = (middle - half, middle + half)
        self._show_state()
        await self._draw()

    async def _choose_tag(self, value: str) -> None:
        self.tag = value
        self._show_state()
        await self._draw()

    async def _toggle(self) -> None:
        if self.fixed is None:
            stop = now_ns()
            self.fixed = (stop - self.length * SECOND, stop)
        else:
            self.fixed = None
        self._show_state()
        await self._draw()

    async def _pan(self, share: float) -> None:
        if self.fixed is not None:
            step = round(share * (self.fixed[1] - self.fixed[0]))
            self.fixed = (self.fixed[0] + step, self.fixed[1] + step)
            self._show_state()
            await self._draw()

    async def _zoomed(self) -> None:
        """Load what the visitor has moved or zoomed to."""
        found = await ui.run_javascript(
            f"const z = getElement({self.chart.id}).chart.getOption().dataZoom[0];"
            "return [z.startValue, z.endValue]"
        )
        start, stop = (round(value * 1e6) for value in found)
        now = self.fixed or (now_ns() - self.length * SECOND, now_ns())
        length = max(now[1] - now[0], 1)
        same = abs(start - now[0]) < 0.02 * length and abs(stop - now[1]) < 0.02 * length
        if same or stop - start < SECOND // 10:
            return
        self.fixed = (start, stop)
        self.length = max(1, (stop - start) // SECOND)
        self._show_state()
        await self._draw()

    def _export(self, kind: str) -> str:
        query = {"view": self.view.key, "tag": self.tag, "seconds": str(self.length)}
        if self.fixed is not None:
            query |= {"from": str(self.fixed[0]), "to": str(self.fixed[1])}
        link = escape(f"/export/signals.{kind}?{urlencode(query)}")
        return f'<a class="button" href="{link}" download>{kind.upper()}</a>'


def _legend(view: View) -> str:
    parts = [("line", "value, score"), ("mark", "alert, from its beginning to its recovery")]
    if any(p.score for p in view.panels):
        parts += [("bad", "abnormal score"), ("limit", "threshold")]
    if any(p.score and p.score.window for p in view.panels):
        parts.append(("window", "windows"))
    if any(p.anomaly for p in view.panels):
        parts.append(("known", "anomaly that the simulator makes"))
    if any(p.band for p in view.panels):
        parts.append(("band", "forecast"))
    items = "".join(f'<span><i class="{mark}"></i>{text}</span>' for mark, text in parts)
    return f'<div class="legend">{items}</div>'


def break_it(hub: Hub, who: Visitor, view: View) -> None:
    """Draw the buttons that make the live simulator go wrong."""
    with ui.element("section").classes("card break").props('aria-label="Break it"'):
        html("Break it", "h2")
        if hub.settings.read_only:
            html("This page only shows: it was started read-only.", "p", "quiet")
        with ui.element("ul"):
            for panel in view.panels:
                if panel.anomaly:
                    _break_one(hub, who, panel.anomaly)
        html(
            f"Each anomaly lasts {BREAK_SECONDS:.0f} s. The alert comes with the end of the next "
            "window.", "p", "small quiet",
        )  # fmt: skip


def _break_one(hub: Hub, who: Visitor, name: str) -> None:
    async def act() -> None:
        try:
            if name in hub.running:
                await hub.release(name)
            else:
                await hub.press(name, BREAK_SECONDS)
        except EngineError as error:
            ui.notify(str(error), type="warning")
        show()

    with ui.element("li"):
        press = button("", act, "strong").props(f'data-break="{escape(name)}"')
        told = html("", "div", "small number").props(f'data-noticed="{escape(name)}"')

    def show() -> None:
        running = hub.running.get(name)
        press.set_content(f"{'■ Stop' if running else '⚡ Break'} {escape(name)}")
        missing = hub.settings.read_only or name not in hub.breakable
        press.props("disabled") if missing else press.props(remove="disabled")
        told.set_content(_told(hub.presses.get(name), running, who))

    show()
    ui.timer(0.2, show)


def _told(press: Press | None, running: tuple[int, int] | None, who: Visitor) -> str:
    parts = []
    if running:
        left = max(0.0, (running[1] - now_ns()) / 1e9)
        parts.append(f"wrong for {left:.0f} s more")
    if press is not None and press.after is not None:
        parts.append(f"<strong>✓ noticed after {press.after:.1f} s</strong>")
    elif press is not None:
        waited = (now_ns() - press.at) / 1e9
        if waited < BREAK_SECONDS + 60:
            parts.append(f"waiting for the detector: {waited:.1f} s")
        else:
            parts.append(f"not noticed ({who.clock(press.at)})")
    return "<br>".join(parts) or '<span class="quiet">as it should be</span>'


def latest(hub: Hub, who: Visitor) -> None:
    """Draw the newest alerts."""
    with ui.element("section").classes("card latest").props('aria-label="Latest alerts"'):
        with ui.element("div").classes("head"):
            html("Latest alerts", "h2")
            html('<a href="/alerts">all</a>', "span", "right small")
        shown = html("")

    def show() -> None:
        alerts = hub.alerts.newest()[:LATEST]
        rows = "".join(f"<li>{_short(hub, alert, who)}</li>" for alert in alerts)
        shown.set_content(f"<ul>{rows}</ul>" if rows else '<p class="quiet">None so far.</p>')

    show()
    ui.timer(0.2, show)


def _short(hub: Hub, alert: Alert, who: Visitor) -> str:
    ended = "not over" if alert.ended is None else f"until {who.stamp(alert.ended)}"
    delay = "" if alert.delay is None else f" · {interval(alert.delay)} after the write"
    link = around(hub, alert)
    name = escape(alert.id)
    return (
        f'<div class="what" data-alert="{name}">'
        f'<a href="{link}">{name}</a>{level(alert)}</div>'
        f'<div class="small quiet number">{who.stamp(alert.began)} {ended}{delay}</div>'
    )


def level(alert: Alert) -> str:
    """Return an alert's level as a mark."""
    return f'<span class="level {alert.level}">{alert.level or "recovered"}</span>'


def around(hub: Hub, alert: Alert) -> str:
    """Return the link to the data around an alert."""
    view = hub.view_of(alert.id)
    key = view.key if view else f"task:{alert.task}"
    end = alert.ended or alert.last
    margin = max(60 * SECOND, (end - alert.began) // 2)
    return f"/view/{quote(key)}?from={alert.began - margin}&to={end + margin}"
