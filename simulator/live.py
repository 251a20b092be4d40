"""Sends a source's points as time passes, for ever, through restarts of the other side."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import numpy as np

from simulator.control import serve
from simulator.errors import UNREACHABLE, SimulatorError
from simulator.job import Job, console, report
from simulator.source import PRECISIONS, SECOND, Chunk, iso
from simulator.writer import FIRST_WAIT, LONGEST_WAIT, AwayError, BusyError, Writer, redacted

TICK = 0.2
"""Seconds between two looks at the clock."""

GAP = 60 * SECOND
"""A clock that is off by more (a suspended machine, a corrected clock) is followed at once."""

PATIENCE = 30.0
"""Seconds that the other side may take to be reached for the first time."""

HEALTHY = 15.0
"""Seconds without a success after which the simulator calls itself unhealthy."""


@dataclass(slots=True)
class Status:
    """What a live simulator has done so far; written by its loop, read by its health endpoint."""

    started: float
    interval: float
    made: int = 0
    sent: int = 0
    buffered: int = 0
    lost: int = 0
    last_success: float | None = None
    last_error: str = ""

    @property
    def healthy(self) -> bool:
        """Whether points got through lately."""
        if self.last_success is None:
            return False
        return time.monotonic() - self.last_success < max(HEALTHY, 3 * self.interval)

    def summary(self) -> dict[str, object]:
        """Return the figures as plain values."""
        ago = None if self.last_success is None else time.monotonic() - self.last_success
        last = None if ago is None else iso(time.time_ns() - round(ago * SECOND))
        return {
            "status": "ok" if self.healthy else "failing",
            "points": self.sent,
            "made": self.made,
            "buffered": self.buffered,
            "lost": self.lost,
            "last_success": last,
            "last_error": self.last_error,
        }


class Feed:
    """The queue between the points that become due and the writer.

    Chunks wait here while the other side is away, in order and up to a number of points; beyond
    it the oldest are let go and counted.

    Parameters
    ----------
    writer : Writer
        Where the points go.
    limit : int
        Points to keep at most.
    request : int
        Points to join into one request while catching up.
    status : Status
        Kept up to date.
    """

    def __init__(self, writer: Writer, limit: int, request: int, status: Status) -> None:
        self._writer = writer
        self._limit = limit
        self._request = request
        self._status = status
        self._waiting: deque[Chunk] = deque()
        self._pause = FIRST_WAIT
        self._retry_at = 0.0

    def put(self, chunk: Chunk) -> None:
        """Queue a chunk, making room for it if need be."""
        self._waiting.append(chunk)
        self._status.made += chunk.points
        self._status.buffered += chunk.points
        while self._status.buffered > self._limit and len(self._waiting) > 1:
            gone = self._waiting.popleft()
            self._status.buffered -= gone.points
            self._status.lost += gone.points

    def flush(self) -> None:
        """Send what is queued, unless the last failure asks to wait a little longer.

        Raises
        ------
        SimulatorError
            If the data is refused, or the other side could not be reached from the start.
        """
        status = self._status
        while self._waiting and time.monotonic() >= self._retry_at:
            count = points = 0
            for chunk in self._waiting:
                if count and points + chunk.points > self._request:
                    break
                count, points = count + 1, points + chunk.points
            body = b"".join(self._waiting[i].lines for i in range(count))
            try:
                self._writer.try_once(body, points)
            except (AwayError, BusyError) as error:
                self._later(error)
                return
            for _ in range(count):
                self._waiting.popleft()
            status.sent += points
            status.buffered -= points
            status.last_success = time.monotonic()
            if status.last_error:
                console.print("sending again", highlight=False)
            status.last_error = ""
            self._pause = FIRST_WAIT

    def _later(self, error: SimulatorError) -> None:
        status = self._status
        if status.last_success is None and time.monotonic() - status.started > PATIENCE:
            raise SimulatorError(f"gave up after {PATIENCE:g} s: {error}", UNREACHABLE) from None
        if not status.last_error:
            console.print(f"waiting: {error}", highlight=False, markup=False, soft_wrap=True)
        status.last_error = str(error)
        asked = error.wait if isinstance(error, BusyError) else 0.0
        self._retry_at = time.monotonic() + max(self._pause, asked)
        self._pause = min(2 * self._pause, LONGEST_WAIT)


def run_live(job: Job) -> None:
    """Send the job's points as they become due, until SIGINT, SIGTERM or the job's end.

    Points are stamped with the moment they are due: `speed` times as many a second as the source
    makes by itself.

    Raises
    ------
    SimulatorError
        If the options do not fit, the control address is taken, the data is refused, or the other
        side is away from the start.
    """
    if job.output is not None:
        raise SimulatorError("--live sends and does not write files: leave out --output")
    step = round(job.source.interval * SECOND / (job.speed or 1.0))
    unit = PRECISIONS[job.precision]
    if step < unit:
        raise SimulatorError(
            f"--speed {job.speed:g}: points {step / 1e6:g} ms apart would share a timestamp in "
            f"units of 1 {job.precision}: choose a finer --precision or a lower --speed"
        )
    status = Status(started=time.monotonic(), interval=step / SECOND)
    feed = Feed(Writer(job.target, timeout=5.0), job.buffer, job.chunk, status)
    stop = threading.Event()
    previous = {s: signal.signal(s, _setter(stop)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serve(job.control, status.summary, job.source.injections):
            due = time.time_ns() // unit * unit
            job.begin_injections(due)
            rate = 1e9 / step * job.source.series
            console.print(
                f"sending {rate:g} points a second to {redacted(job.target)}; "
                f"health and injections at http://{job.control}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            _loop(job, feed, step, due, stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if status.buffered:
        console.print(f"{status.buffered:,} points could not be sent", highlight=False)
    report(
        {"url": redacted(job.target), **status.summary(), "seconds": _since(status)}, job.as_json
    )


def _loop(job: Job, feed: Feed, step: int, due: int, stop: threading.Event) -> None:
    """Queue and flush what is due, tick by tick."""
    end = None if job.duration is None else due + round(job.duration * SECOND)
    while not stop.is_set():
        now = time.time_ns()
        if abs(now - due) > max(GAP, 2 * step):
            console.print(f"the clock moved by {(now - due) / SECOND:.0f} s: going on from now")
            due = now
        until = now if end is None else min(now, end - 1)
        count = max(0, (until - due) // step + 1)
        for first in range(0, count, job.chunk):
            indices = np.arange(first, min(first + job.chunk, count), dtype=np.int64)
            feed.put(job.source.take(due + indices * step, job.precision))
        due += count * step
        feed.flush()
        if end is not None and due >= end:
            return
        stop.wait(TICK)
    feed.flush()


def _since(status: Status) -> float:
    return round(time.monotonic() - status.started, 3)


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    return handle
