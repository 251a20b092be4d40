"""The small HTTP port of a live simulator: its health, and anomalies started by hand.

==========================  =====================================================
``GET /health``             200 if points get through, 503 if not; the figures
``GET /anomalies``          the fields that can misbehave and what is running
``POST /anomalies``         start one: ``{"field": "hotend", "seconds": 30}``
``DELETE /anomalies/FIELD`` end one
==========================  =====================================================
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from simulator.errors import SimulatorError
from simulator.source import Injections, iso

MAX_BODY = 65_536


@contextmanager
def serve(
    address: str, health: Callable[[], dict[str, object]], injections: Injections
) -> Iterator[str]:
    """Serve health and injections at ``HOST:PORT`` for as long as the context lasts.

    Parameters
    ----------
    address : str
        Where to listen; port 0 takes a free one.
    health : callable
        Returns the figures; its ``status`` is ``ok`` or anything else.
    injections : Injections
        What to start and stop.

    Yields
    ------
    str
        The address listened at.

    Raises
    ------
    SimulatorError
        If it is no address, or taken.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit() and int(port) < 65_536):
        raise SimulatorError(f"--control {address!r} is not HOST:PORT, such as 127.0.0.1:8187")

    class Handler(_Handler):
        pass

    Handler.health = staticmethod(health)
    Handler.injections = injections
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise SimulatorError(
            f"--control {address}: {error.strerror}. Is another live simulator running? Choose "
            "another address, or stop the other one"
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    health: Callable[[], dict[str, object]]
    injections: Injections
    timeout = 5

    def do_GET(self) -> None:
        """Answer the health or the anomalies."""
        if self.path == "/health":
            figures = self.health()
            self._answer(200 if figures.get("status") == "ok" else 503, figures)
        elif self.path == "/anomalies":
            self._list(200)
        else:
            self._unknown()

    def do_POST(self) -> None:
        """Start an anomaly."""
        if self.path != "/anomalies":
            self._unknown()
            return
        # Other sites' pages can post forms here from a browser, but not JSON without asking first.
        if self.headers.get_content_type() != "application/json":
            self._answer(415, {"error": "the body must be application/json"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self._answer(413, {"error": f"the body must be at most {MAX_BODY} bytes"})
            return
        try:
            wanted = json.loads(self.rfile.read(int(length)))
            field, seconds = wanted["field"], float(wanted["seconds"])
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"error": 'the body must be {"field": NAME, "seconds": NUMBER}'})
            return
        try:
            self.injections.begin(str(field), seconds, time.time_ns())
        except SimulatorError as error:
            self._answer(400, {"error": str(error)})
            return
        self._list(201)

    def do_DELETE(self) -> None:
        """End an anomaly."""
        collection, _, field = self.path.rpartition("/")
        if collection != "/anomalies" or not field:
            self._unknown()
            return
        field = unquote(field)
        if self.injections.stop(field, time.time_ns()) is None:
            self._answer(404, {"error": f"no anomaly is running in {field!r}"})
            return
        self._list(200)

    def _list(self, code: int) -> None:
        running = [
            {"field": a.field, "start": iso(a.start), "end": iso(a.end)}
            for a in self.injections.running(time.time_ns())
        ]
        self._answer(code, {"fields": list(self.injections.fields), "running": running})

    def _unknown(self) -> None:
        self._answer(404, {"error": "there are /health and /anomalies"})

    def _answer(self, code: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: a health check every few seconds is no news."""
