"""What every page of the page has: the bar at the top, the visitor's time and theme."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from nicegui import ui

from page.chart import DARK, LIGHT, Ink
from page.hub import Hub

ASSETS = Path(__file__).parent / "assets"

ASK = """<!doctype html><html lang="en"><title>One moment</title><script>
const keep = (name, value) =>
  (document.cookie =
    `${name}=${encodeURIComponent(value)}; path=/; max-age=31536000; SameSite=Lax`);
const has = (name) => document.cookie.includes(name + "=");
keep("page_zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
if (!has("page_theme"))
  keep("page_theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
if (!has("page_time")) keep("page_time", "utc");
if (has("page_zone")) location.reload();
else document.write("This page needs cookies of its own, for the theme and the time zone.");
</script></html>"""
"""Asks a browser that comes for the first time for its time zone and theme."""


@dataclass(frozen=True)
class Visitor:
    """What a visitor prefers.

    Attributes
    ----------
    zone
        Times are shown in it.
    zone_name
        As the page calls it.
    dark
        Light text on dark ground.
    """

    zone: tzinfo
    zone_name: str
    dark: bool

    @property
    def ink(self) -> Ink:
        """The colours of the chart."""
        return DARK if self.dark else LIGHT

    @property
    def utc(self) -> bool:
        """Whether times are in UTC."""
        return self.zone is UTC

    def clock(self, nanoseconds: int, tenths: bool = False) -> str:
        """Return a time, with its date unless it is today."""
        moment = datetime.fromtimestamp(nanoseconds / 1e9, self.zone)
        text = f"{moment:%H:%M:%S}" + (f".{moment.microsecond // 100_000}" if tenths else "")
        today = datetime.now(self.zone).date() == moment.date()
        return text if today else f"{moment:%Y-%m-%d} {text}"

    def stamp(self, nanoseconds: int) -> str:
        """Return the same as an element, with the whole time for machines and on hovering."""
        moment = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
        whole = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f'<time datetime="{whole}" title="{whole}">{self.clock(nanoseconds)}</time>'


def visitor(request: Request) -> Visitor | Response:
    """Return who asks, or a page that asks them first."""
    cookies = request.cookies
    if "page_zone" not in cookies:
        return HTMLResponse(ASK, headers={"Cache-Control": "no-store"})
    local = cookies.get("page_time") == "local"
    zone: tzinfo = UTC
    name = "UTC"
    if local:
        name = cookies["page_zone"].replace("%2F", "/")
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            name = "UTC"
    return Visitor(zone, name, cookies.get("page_theme") == "dark")


@contextmanager
def shell(hub: Hub, who: Visitor, here: str, title: str) -> Iterator[None]:
    """Draw the bar, and take what is drawn inside as the page's content."""
    ui.page_title(f"{title} · TICK anomaly stack")
    ui.dark_mode(who.dark)
    ui.add_head_html('<script>document.documentElement.lang = "en"</script>')
    ui.add_head_html(f"<style>{(ASSETS / 'page.css').read_text('utf-8')}</style>")
    ui.html('<a class="skip" href="#content">To the content</a>', sanitize=False)
    with ui.element("header").classes("bar"):
        views = [(f"/view/{key}", view.title) for key, view in hub.views.items()]
        places = [*views, ("/alerts", "Alerts"), ("/tasks", "Tasks"), ("/replay", "Replay")]
        nav = "".join(
            f'<a href="{link}"{" aria-current=page" if link == here else ""}>{escape(name)}</a>'
            for link, name in places
        )
        html('<a class="brand" href="/">TICK anomaly stack</a>')
        html(nav, "nav").props('aria-label="Pages"')
        with ui.element("div").classes("tools"):
            verdict = html("", "div", "verdict").props('role="status" aria-live="polite"')
            other = "local" if who.utc else "utc"
            button(f"Times: {escape(who.zone_name)}", _keep("page_time", other)).props(
                'title="Show times in UTC or in local time"'
            )
            theme = "light" if who.dark else "dark"
            button("☀ Light" if who.dark else "☾ Dark", _keep("page_theme", theme)).props(
                'title="Light or dark"'
            )
    # The framework's page is the main landmark already.
    with ui.element("div").classes("content").props('id="content"'):
        yield

    def judge() -> None:
        found = sorted((hop for hop in hub.hops if hop.health == "wrong"), key=lambda h: not h.away)
        wrong = [hop.title for hop in found]
        if not hub.hops:
            text = "looking …"
        elif not wrong:
            text = "✓ All well"
        else:
            text = f"! {wrong[0]}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        verdict.set_content(escape(text))
        verdict.classes(add="wrong" if wrong else "", remove="" if wrong else "wrong")

    judge()
    ui.timer(0.5, judge)


def _keep(name: str, value: str) -> str:
    return (
        f"document.cookie='{name}={value}; path=/; max-age=31536000; SameSite=Lax';"
        "location.reload()"
    )


def html(content: str, tag: str = "div", classes: str = "") -> ui.html:
    """Draw HTML that this package made; values in it have been escaped."""
    return ui.html(content, sanitize=False, tag=tag).classes(classes)


def button(label: str, act: Callable[..., object] | str, classes: str = "") -> ui.html:
    """Draw a plain button; `act` runs on the server, or is JavaScript."""
    made = html(label, "button", classes).props('type="button"')
    if isinstance(act, str):
        made.on("click", js_handler=f"() => {{{act}}}")
    else:
        made.on("click", act)
    return made


def select(
    label: str, options: dict[str, str], value: str, act: Callable[[str], object]
) -> ui.element:
    """Draw a plain choice with a label."""
    with ui.element("label").classes("small quiet"):
        html(escape(label) + " ", "span")
        made = ui.element("select").props(f'aria-label="{escape(label)}"')
        with made:
            for key, text in options.items():
                one = html(escape(text), "option").props(f"value={json.dumps(key)}")
                if key == value:
                    one.props("selected")
    made.on("change", lambda e: act(str(e.args)), js_handler="(e) => emit(e.target.value)")
    return made
