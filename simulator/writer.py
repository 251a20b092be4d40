"""Sends line protocol over HTTP: patient with a busy service, clear about a refusal."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import requests

from simulator.errors import REFUSED, UNREACHABLE, SimulatorError

BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Answers after which the same data may well be taken later."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0


class AwayError(SimulatorError):
    """No answer at all: nothing listens there, or the connection broke."""


class BusyError(SimulatorError):
    """An answer that asks to come again later.

    Parameters
    ----------
    message : str
        What was answered.
    wait : float
        Seconds the service asked to wait; 0 if it did not say.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message, UNREACHABLE)
        self.wait = wait


@dataclass(slots=True)
class Sent:
    """What a writer has got through."""

    points: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0


class Writer:
    """Writes chunks to one endpoint, in order.

    Data the service may have taken before an answer was lost is sent again: the points carry
    their time, so InfluxDB keeps one of each.

    Parameters
    ----------
    url : str
        Where to POST, with database and precision in the query.
    timeout : float
        Seconds to wait for a connection, and for an answer.
    patience : float
        Seconds to go on trying one chunk that is not taken.
    """

    def __init__(self, url: str, timeout: float = 10.0, patience: float = 60.0) -> None:
        self.url = url
        self.timeout = timeout
        self.patience = patience
        self.sent = Sent()
        self._session = requests.Session()
        # Only the address given counts, never a proxy or a login of the environment.
        self._session.trust_env = False
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._name = redacted(url)

    def try_once(self, lines: bytes, points: int) -> None:
        """Send one chunk, once.

        Raises
        ------
        AwayError, BusyError
            If it is worth trying again.
        SimulatorError
            If the service refuses the data, with the reason it gave.
        """
        self.sent.requests += 1
        try:
            answer = self._session.post(
                self.url,
                data=lines,
                headers={"Content-Type": "text/plain; charset=utf-8"},
                timeout=self.timeout,
                allow_redirects=False,
            )
        except requests.Timeout:
            raise BusyError(f"{self._name} did not answer within {self.timeout:g} s") from None
        except requests.ConnectionError as error:
            raise AwayError(f"cannot reach {self._name}: {_cause(error)}", UNREACHABLE) from None
        except requests.RequestException as error:
            raise SimulatorError(f"cannot write to {self._name}: {error}") from None
        if answer.ok and answer.status_code < 300:
            self.sent.points += points
            self.sent.bytes += len(lines)
            return
        said = f"{self._name} answered {answer.status_code} {answer.reason}: {_reason(answer)}"
        if answer.status_code in BUSY:
            raise BusyError(said, _retry_after(answer))
        raise SimulatorError(f"the data was refused: {said}", REFUSED)

    def send(self, lines: bytes, points: int, waiting: Callable[[str], None]) -> None:
        """Send one chunk, trying again while the service is busy.

        A service that was never reached is away and fails at once; one that has answered before
        may be restarting and gets the same patience as a busy one.

        Parameters
        ----------
        lines : bytes
            Line protocol.
        points : int
            Number of lines.
        waiting : callable
            Told why, before each pause.

        Raises
        ------
        SimulatorError
            If it is away, stays busy or refuses the data.
        """
        deadline = time.monotonic() + self.patience
        pause = FIRST_WAIT
        while True:
            try:
                return self.try_once(lines, points)
            except AwayError as away:
                if not self.sent.points:
                    raise SimulatorError(
                        f"{away}. Is it running? `--to`, `--url` and the variables TELEGRAF_URL, "
                        "INFLUXDB_URL and KAPACITOR_URL choose another address",
                        UNREACHABLE,
                    ) from None
                problem: SimulatorError = away
                wait = 0.0
            except BusyError as busy:
                problem, wait = busy, busy.wait
            # Jitter keeps several senders that failed together from coming back together.
            wait = max(wait, pause * random.uniform(0.5, 1.0))
            if time.monotonic() + wait > deadline:
                raise SimulatorError(
                    f"gave up after {self.patience:g} s and {self.sent.points:,} points: {problem}",
                    UNREACHABLE,
                )
            waiting(str(problem))
            self.sent.retries += 1
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_WAIT)


def redacted(url: str) -> str:
    """Return an address without the password it may carry, for messages.

    Examples
    --------
    >>> redacted("http://me:secret@example.org/write?db=d&u=me&p=secret")
    'http://me:***@example.org/write?db=d&u=me&p=***'
    """
    parts = urlsplit(url)
    query = re.sub(r"(^|&)p=[^&]*", r"\1p=***", parts.query)
    place = re.sub(r":[^:@]*@", ":***@", parts.netloc)
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


def _cause(error: BaseException) -> str:
    """Return the innermost reason, such as ``Connection refused``, of a nest of exceptions."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if inner is None and seen.args and isinstance(seen.args[0], BaseException):
            inner = seen.args[0]
        seen = inner if isinstance(inner, BaseException) else None
    return str(error)


def _reason(answer: requests.Response) -> str:
    """Return what an answer says of itself: its JSON error, its header or its text."""
    try:
        said = json.loads(answer.content)
    except ValueError:
        said = None
    if isinstance(said, dict):
        for key in ("error", "message"):
            if isinstance(said.get(key), str):
                return str(said[key])
    header = answer.headers.get("X-Influxdb-Error")
    text = header or answer.content.decode("utf-8", "replace").strip() or "no reason given"
    return text if len(text) <= 500 else text[:500] + "…"


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds of a ``Retry-After`` header, at most a minute; 0 if there are none."""
    try:
        return min(max(float(answer.headers.get("Retry-After", 0)), 0.0), 60.0)
    except ValueError:
        return 0.0
