"""An HTTP peer that answers as told and keeps what it got: the other end of a writer's wire."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    code: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Peer:
    """Gives the answers of `script` one after the other, then 204 for ever."""

    def __init__(self, script: list[Answer], port: int) -> None:
        self.bodies: list[bytes] = []
        self.taken: list[bytes] = []
        self.paths: list[str] = []
        self._script = list(script)
        self._connections: list[socket.socket] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                peer._connections.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = peer._script.pop(0) if peer._script else Answer()
                peer.bodies.append(body)
                peer.paths.append(self.path)
                if answer.code == 204:
                    peer.taken.append(body)
                self.send_response(answer.code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def lines(self) -> list[bytes]:
        """The lines of the requests that were answered with 204."""
        return b"".join(self.taken).splitlines()

    def query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.paths[-1]).query).items()}

    def close(self) -> None:
        """Stop listening and cut what is connected, as a service that is stopped does."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def peer(*script: Answer, port: int = 0) -> Iterator[Peer]:
    made = Peer(list(script), port)
    try:
        yield made
    finally:
        made.close()
