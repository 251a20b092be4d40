"""The pages and their addresses."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from nicegui import app, ui

from page import history, signals
from page.engines import EngineError, now_ns
from page.hub import Hub
from page.live import live
from page.replaying import replaying
from page.settings import Settings
from page.shell import Visitor, shell, visitor
from page.tasklist import task_list

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


LONGEST_EXPORT = 2 * 86400 * 10**9
"""Of a range of points, ns."""


class Password:
    """Asks for a user and a password, for everything but the health check.

    Parameters
    ----------
    inner
        What answers those who may ask.
    username, password
        What they have to give.
    """

    def __init__(self, inner: Asgi, username: str, password: str) -> None:
        self._inner = inner
        self._wanted = f"{username}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        kind = scope["type"]
        path = str(scope.get("path", ""))
        # Replays' events carry a secret of their own.
        free = (
            kind not in ("http", "websocket")
            or path == "/health"
            or (path.startswith("/replays/") and scope.get("method") == "POST")
        )
        if free or self._allowed(scope):
            await self._inner(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            answer = Response(
                "user and password, please", 401,
                {"WWW-Authenticate": 'Basic realm="TICK anomaly stack", charset="UTF-8"'},
            )  # fmt: skip
            await answer(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        for name, value in scope.get("headers", []):
            if name == b"authorization" and value[:6].lower() == b"basic ":
                try:
                    given = base64.b64decode(value[6:], validate=True)
                except binascii.Error:
                    return False
                return secrets.compare_digest(given, self._wanted)
        return False


def build(settings: Settings) -> Hub:
    """Define all pages; return what they show."""
    hub = Hub(settings)
    app.on_startup(hub.start)
    app.on_shutdown(hub.stop)
    if settings.password:
        app.add_middleware(Password, username=settings.username, password=settings.password)

    @app.get("/health")
    def health() -> Response:
        """Answer whether the page has looked at the engines lately."""
        ok = bool(hub.hops)
        hops = {
            hop.key: {"health": hop.health, "why": hop.why, "total": hop.total, "rate": hop.rate}
            for hop in hub.hops
        }
        return JSONResponse(
            {"status": "ok" if ok else "starting", "hops": hops}, 200 if ok else 503
        )

    @ui.page("/")
    def first() -> Response:
        return RedirectResponse(f"/view/{next(iter(hub.views))}")

    @ui.page("/view/{key}")
    async def signals_page(request: Request, key: str) -> Response | None:
        who = visitor(request)
        if not isinstance(who, Visitor):
            return who
        view = hub.views.get(key) or await hub.view_of_task(key.removeprefix("task:"))
        if view is None:
            return Response("no such view", 404)
        fixed = _range(request)
        with shell(hub, who, f"/view/{key}", view.title):
            live(hub, who, view, fixed)
        return None

    @ui.page("/alerts")
    def alerts_page(request: Request) -> Response | None:
        who = visitor(request)
        if not isinstance(who, Visitor):
            return who
        with shell(hub, who, "/alerts", "Alerts"):
            history.history(hub, who)
        return None

    @ui.page("/tasks")
    def tasks_page(request: Request, id: str = "") -> Response | None:
        who = visitor(request)
        if not isinstance(who, Visitor):
            return who
        with shell(hub, who, "/tasks", "Tasks"):
            task_list(hub, who, id)
        return None

    @ui.page("/replay")
    def replay_page(request: Request) -> Response | None:
        who = visitor(request)
        if not isinstance(who, Visitor):
            return who
        with shell(hub, who, "/replay", "Replay"):
            replaying(hub, who)
        return None

    @app.post("/replays/{name}/{token}")
    async def event(name: str, token: str, request: Request) -> Response:
        """Take in an event of a running replay."""
        try:
            known = hub.replays.receive(name, token, await request.json())
        except (ValueError, KeyError, TypeError):
            return Response("an alert event is wanted", 400)
        return Response(status_code=204 if known else 404)

    @app.get("/export/alerts.{kind}")
    def export_alerts(kind: str, request: Request) -> Response:
        """Answer with the alerts that the same filter as on the page lets through."""
        query = request.query_params
        found = history.chosen(
            hub.alerts.newest(), query.get("text", ""), query.get("level", ""),
            bool(query.get("open", "")),
        )  # fmt: skip
        return _file(f"alerts.{kind}", kind, {
            "csv": lambda: history.as_csv(found), "json": lambda: history.as_json(found),
        })  # fmt: skip

    @app.get("/export/signals.{kind}")
    async def export_signals(kind: str, request: Request) -> Response:
        """Answer with the points of a view as they were measured, not thinned."""
        view = hub.views.get(request.query_params.get("view", ""))
        span = _range(request) or _last(request)
        if view is None or span is None or span[1] - span[0] > LONGEST_EXPORT:
            return Response("view, and from and to or seconds, are needed; two days at most", 400)
        try:
            rows = await signals.raw(hub.engines, view, *span, request.query_params.get("tag", ""))
        except EngineError as error:
            return Response(str(error), 502)
        names = ["time", *(panel.field for panel in view.panels)]
        return _file(f"{view.key}.{kind}", kind, {
            "csv": lambda: "".join(
                ",".join("" if row[name] is None else str(row[name]) for name in names) + "\n"
                for row in [dict(zip(names, names, strict=True)), *rows]
            ),
            "json": lambda: json.dumps(rows) + "\n",
        })  # fmt: skip

    return hub


def _file(name: str, kind: str, writers: dict[str, Callable[[], str]]) -> Response:
    if kind not in writers:
        return Response("csv or json", 404)
    types = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
    head = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(writers[kind](), media_type=types[kind], headers=head)


def _last(request: Request) -> tuple[int, int] | None:
    """Return the last seconds that the address asks for."""
    text = request.query_params.get("seconds", "")
    now = now_ns()
    return (now - int(text) * 10**9, now) if text.isdigit() and len(text) < 9 else None


def _range(request: Request) -> tuple[int, int] | None:
    """Return the range that the address asks for, if it makes sense."""
    start, stop = request.query_params.get("from", ""), request.query_params.get("to", "")
    if not (start.lstrip("-").isdigit() and stop.lstrip("-").isdigit()):
        return None
    begin, end = int(start), int(stop)
    longest = 400 * 86400 * 10**9
    return (begin, end) if 0 < end - begin < longest and abs(end) < 2**62 else None
