"""Tells a database what a UDF has done: a point of line protocol now and then, over HTTP.

Kapacitor counts what goes into a UDF and what comes out of it. It cannot see which points were
of no use, how long the handler worked, or that a supervisor has started the program again.

Every field counts since the report before, not since the start: several processes may report
under the same tags, one after the other (a program that was started again) or at once (a task
that runs while it is replayed), and a sum over any time is right all the same.

The other side may be slow, away or wrong. Then the counts are kept and told the next time; the
stream of data does not wait, as a thread of its own does the telling.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kapacitor.udf import udf_pb2

logger = logging.getLogger("kapacitor.udf")

URL: Final = "KAPACITOR_UDF_STATS_URL"
"""Environment variable: the address to write to, ``http://host:port/write?db=...``."""

EVERY: Final = "KAPACITOR_UDF_STATS_EVERY"
"""Environment variable: seconds between two reports."""

MEASUREMENT: Final = "kapacitor_udf"

_EVERY = 10.0
_TIMEOUT = 2.0  # seconds to connect, and for every answer
_LAST = 0.5  # seconds that the end of the program may wait for its last report
_LOG_EVERY = 300.0
_LONGEST_ANSWER = 1 << 16

Totals = Callable[[], Mapping[str, float]]


def start(kind: str, init: udf_pb2.InitRequest, totals: Totals, program: str = "") -> "Reporter":
    """Begin to report, if the environment says where to.

    Parameters
    ----------
    kind : str
        Of process: ``typed``, ``handler`` or ``supervisor``.
    init : udf_pb2.InitRequest
        Tells task and node.
    totals : callable
        Returns the counts since the start, by name. An `int` becomes an integer field, a
        `float` a float field.
    program : str
        Path of the program; by default of this one.

    Returns
    -------
    Reporter
        To be closed at the end. It does nothing when there is no address.
    """
    tags = {
        "task": init.taskID,
        "node": init.nodeID,
        "program": Path(program or sys.argv[0]).name,
        "kind": kind,
    }
    reporter = Reporter(os.environ.get(URL, ""), tags, totals)
    reporter.start()
    return reporter


class Reporter:
    """Reports from a thread of its own.

    Parameters
    ----------
    url : str
        Where to; empty for nowhere.
    tags : mapping of str to str
        Empty ones are left out.
    totals : callable
        As `start` takes it.
    """

    def __init__(self, url: str, tags: Mapping[str, str], totals: Totals) -> None:
        self._url = url
        self._tags = {name: value for name, value in tags.items() if value}
        self._totals = totals
        self._told: dict[str, float] = {}  # what the other side has been told of
        self._told_at = time.monotonic()
        self._works = True
        self._failed = 0
        self._logged = -_LOG_EVERY
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._url:
            self._thread.start()

    def close(self) -> None:
        """Report once more, and give up on that if it takes long."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_LAST)

    def _run(self) -> None:
        try:
            every = _interval()
            where = _Address(self._url)
        except ValueError as error:
            logger.error("no statistics are sent: %s", error)
            return
        # Imported here, as most UDFs run without; and now, as Kapacitor waits for the end.
        import socket  # noqa: F401

        import lineprotocol  # noqa: F401

        ended = False
        while not ended:
            ended = self._stopping.wait(every)
            if ended and not self._works:
                return  # nor would it now
            try:
                self._report(where)
            except (OSError, ValueError) as error:  # ValueError: a name that is none
                self._trouble(where, error)

    def _report(self, where: "_Address") -> None:
        from lineprotocol import Point, format_point

        now = time.monotonic()
        totals = self._totals()
        # A count that is read while it is written may fall for a moment.
        after = {name: max(value, self._told.get(name, 0)) for name, value in totals.items()}
        fields = {name: value - self._told.get(name, 0) for name, value in after.items()}
        point = Point(
            MEASUREMENT, self._tags, {**fields, "seconds": now - self._told_at}, time.time_ns()
        )
        where.post(format_point(point) + b"\n")
        self._told, self._told_at = after, now
        if not self._works:
            logger.info("statistics arrive at %s again", where)
        self._works, self._failed = True, 0

    def _trouble(self, where: "_Address", error: Exception) -> None:
        self._works = False
        self._failed += 1
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            logger.warning(
                "statistics do not arrive at %s (%d reports in a row): %s; they are told later",
                where,
                self._failed,
                error,
            )


class _Address:
    """Where to post to. Without credentials when it is printed.

    Parameters
    ----------
    url : str

    Raises
    ------
    ValueError
        If it is no address, or not of HTTP.
    """

    def __init__(self, url: str) -> None:
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError as error:
            raise ValueError(f"{URL} is no address: {error}") from None
        # An HTTP client with TLS would take longer to import than many a UDF works.
        if parts.scheme != "http" or not host or any(c <= " " for c in url):
            raise ValueError(f"{URL} is to be like http://host:port/write?db=name, without TLS")
        self._to = (host, port)
        name = parts.netloc.rpartition("@")[2]
        self._text = f"http://{name}{parts.path}"
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._head = f"POST {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n"

    def __str__(self) -> str:
        return self._text

    def post(self, body: bytes) -> None:
        """Send a body.

        Raises
        ------
        OSError
            If nobody answers, or the answer is no success.
        """
        import socket

        head = f"{self._head}Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(self._to, timeout=_TIMEOUT) as connection:
            connection.sendall(head.encode() + body)
            answer = b""
            while b"\n" not in answer and len(answer) < _LONGEST_ANSWER:
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
        status = answer.partition(b"\n")[0].decode("latin-1").strip()
        if not status:
            raise OSError("it hangs up without an answer")
        if not status.partition(" ")[2].startswith("2"):
            raise OSError(f"it answers {status!r}")


def _interval() -> float:
    text = os.environ.get(EVERY) or str(_EVERY)
    try:
        every = float(text)
    except ValueError:
        every = 0.0
    if not 0.0 < every < threading.TIMEOUT_MAX:
        raise ValueError(f"{EVERY} is {text!r}; it must be a number of seconds above 0")
    return every
