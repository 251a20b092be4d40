"""One conversation with Kapacitor: blocks of frames in, frames out, never silent.

Two threads use a connection. The *loop* takes blocks of frames and handles them. The
*attendant* wakes some times a second, and while the loop is busy it does what must not
wait: it sends results that were gathered, and it answers keepalives, reading ahead of
the loop to find them. What it reads ahead is bounded; when the bound is reached it lets
Kapacitor feel the pressure of a full pipe, and sends a keepalive unasked at every
wake-up (Kapacitor takes any response as a sign of life), because the request it ought
to answer may be stuck in Kapacitor itself.
"""

import logging
import select
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from kapacitor.udf import stats, udf_pb2
from kapacitor.udf.framing import FrameError, FrameReader, FrameWriter

logger = logging.getLogger("kapacitor.udf")

TICK: Final = 0.05
"""Seconds between the attendant's wake-ups."""

READ_AHEAD: Final = 1024 * 1024
"""Bytes read ahead of a busy handler before Kapacitor has to wait."""

FLUSH_AFTER: Final = 0.001
"""Seconds that a response sent with ``flush`` may wait for company."""

# Reading in step with a writer of small pieces; see Connection._fill.
_QUICK = 0.0005  # seconds: a read that waited less found a writer at work
_SMALL = 16 * 1024  # bytes: a read that got more needs no company
_STREAK = 16  # quick small reads in a row that make a burst
_NAP = 0.0003  # seconds to let more arrive in a burst
_LONG_NAP = 0.001  # the same while nothing can be emitted anyway

_LONG_BUSY = 10.0

Block = tuple[bytes, tuple[list[int], list[int]]]


@dataclass(slots=True)
class Statistics:
    """What an agent has done so far.

    Attributes
    ----------
    points : int
        Points received.
    responses : int
        Messages sent.
    bytes_in : int
        Bytes of the frames received.
    failed : int
        Requests whose handler raised and which were skipped.
    quarantined : int
        Points set aside because they could not be used.
    incomplete : int
        Points handled although a field of theirs could not be used.
    batches : int
        Batches begun, which a window is.
    snapshots, snapshot_bytes : int
        Snapshots made, and their size taken together.
    busy : float
        Seconds spent on anything but waiting for input.
    started : float
        When, on the monotonic clock.
    """

    points: int = 0
    responses: int = 0
    bytes_in: int = 0
    failed: int = 0
    quarantined: int = 0
    incomplete: int = 0
    batches: int = 0
    snapshots: int = 0
    snapshot_bytes: int = 0
    busy: float = 0.0
    started: float = 0.0

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.started
        return (
            f"points={self.points} responses={self.responses} bytes_in={self.bytes_in} "
            f"failed={self.failed} quarantined={self.quarantined} "
            f"incomplete={self.incomplete} "
            f"busy={self.busy:.3f}s elapsed={elapsed:.3f}s"
        )


class Connection:
    """A framed, bounded, always answering conversation with Kapacitor.

    Parameters
    ----------
    stream_in, stream_out : int or file-like
        As :class:`~kapacitor.udf.framing.FrameReader` and ``FrameWriter`` take them.

    Attributes
    ----------
    statistics : Statistics
        What has passed.
    patient : bool
        Set by the loop while nothing can be emitted before much more has arrived.
    """

    def __init__(self, stream_in: Any, stream_out: Any) -> None:
        self.statistics = Statistics(started=time.monotonic())
        self._reader = FrameReader(stream_in)
        self._writer = FrameWriter(stream_out, limit=64 * 1024)
        self._poll = _poller(stream_in)
        self.patient = False
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._streak = 0
        self._flushed = 0.0

        self._busy_since: float | None = None
        self._warned = _LONG_BUSY
        self._block: Block = (b"", ([], []))
        self._block_offset = 0
        self._reporter: stats.Reporter | None = None
        # Keepalives are told apart by their number in the stream.
        self._met = 0  # passed by the loop
        self._met_before_block = 0
        self._answered = 0
        self._scanned = (0, 0)  # the attendant's offset in the stream, keepalives before it

        self._stopping = threading.Event()
        self._attendant = threading.Thread(target=self._attend, name="attendant", daemon=True)

    def start(self) -> None:
        """Start the attendant."""
        self._attendant.start()

    def report(self, kind: str, init: udf_pb2.InitRequest) -> None:
        """Begin to send the statistics where the environment says, see `stats`; once."""
        if self._reporter is None:
            self._reporter = stats.start(kind, init, self._totals)

    def _totals(self) -> dict[str, float]:
        # In this order: a block that ends meanwhile is left out for now, not counted twice.
        counts, since = asdict(self.statistics), self._busy_since
        del counts["started"]
        if since is not None:
            counts["busy"] += time.monotonic() - since
        return counts

    def close(self) -> None:
        """Send what is gathered and stop the attendant; the streams stay open.

        Raises
        ------
        OSError
            When the other side is gone; the attendant is stopped all the same.
        """
        self._stop()
        try:
            with self._writing:
                self._writer.flush()
        finally:
            if self._reporter is not None:
                self._reporter.close()

    def _stop(self) -> None:
        self._stopping.set()
        if self._attendant.ident is not None and self._attendant is not threading.current_thread():
            self._attendant.join()

    def read_block(self) -> Block:
        """Take what has arrived, waiting for at least one frame; empty at the end.

        Everything gathered is sent before waiting, so nothing is held back from an
        idle stream.

        Raises
        ------
        FrameError
            When the input is not frames or ends inside one.
        """
        now = time.monotonic()
        if self._busy_since is not None:
            self.statistics.busy += now - self._busy_since
            self._busy_since = None
            self._warned = _LONG_BUSY
        with self._reading:
            offset = self._reader.offset
            taken = self._reader.take_block()
            if not taken[0]:
                self.flush()
                while not taken[0] and self._fill():
                    taken = self._reader.take_block()
            self._block, self._block_offset = taken, offset
            self._met_before_block = self._met
        self._busy_since = time.monotonic()
        self.statistics.bytes_in += len(taken[0])
        return taken

    def _fill(self) -> bool:
        """Read once; in the middle of a burst, after letting some more arrive.

        Kapacitor writes two small pieces a point. A reader that waits for each is woken for
        each, which costs both sides more than the point itself. A slow stream never waits.
        """
        if self._poll is not None and self._streak >= (2 if self.patient else _STREAK):
            time.sleep(_LONG_NAP if self.patient else _NAP)
        began, before = time.monotonic(), self._reader.pending
        more = self._reader.fill()
        quick = time.monotonic() - began < _QUICK and self._reader.pending - before < _SMALL
        self._streak = self._streak + 1 if quick else 0
        return more

    def send(self, message: bytes, *, flush: bool = False) -> None:
        """Send one serialized response.

        Parameters
        ----------
        message : bytes
            The response.
        flush : bool
            Send it now. Of a quick series only the first is sent on its own; the rest
            follow together, at the latest a millisecond after, or when the input is idle.
        """
        with self._writing:
            self.statistics.responses += 1
            self._writer.write(message)
            if flush:
                now = time.monotonic()
                if self._busy_since is None or now - self._flushed > FLUSH_AFTER:
                    self._flushed = now
                    self._writer.flush()

    def send_last(self, message: bytes) -> None:
        """Send a response after which there is none, not even a keepalive."""
        self._stop()
        self.send(message, flush=True)
        self.flush()

    def send_frames(self, frames: bytes | bytearray, count: int) -> None:
        """Send responses that carry their lengths already."""
        with self._writing:
            self.statistics.responses += count
            self._writer.write_frames(frames)

    def flush(self) -> None:
        """Send everything gathered."""
        with self._writing:
            if self._writer.pending:
                self._flushed = time.monotonic()
                self._writer.flush()

    def answer_keepalive(self, request: udf_pb2.KeepaliveRequest) -> None:
        """Answer the keepalive that the loop met, unless the attendant already has."""
        with self._writing:
            self._met += 1
            if self._answered >= self._met:
                return
            self._answered = self._met
            self._answer(request.time)

    def _answer(self, nanoseconds: int) -> None:
        response = udf_pb2.Response()
        response.keepalive.time = nanoseconds
        self._writer.write(response.SerializeToString())
        self._writer.flush()

    def _attend(self) -> None:
        while not self._stopping.wait(TICK):
            try:
                if self._writer.pending:
                    self.flush()
                since = self._busy_since
                busy = 0.0 if since is None else time.monotonic() - since
                if busy > TICK:
                    self._keep_alive()
                    if busy > self._warned:
                        logger.warning("the handler has been busy for %.0f s", busy)
                        self._warned *= 2
            except OSError as error:
                # The loop meets the same error at its next read or write and ends there.
                logger.debug("attendant: %s", error)
                return

    def _keep_alive(self) -> None:
        """Answer the keepalives that wait behind the loop's block of work."""
        if not self._reading.acquire(blocking=False):
            return  # the loop is reading: it is not busy any more
        try:
            full = self._read_ahead()
            requests = self._find_keepalives()
        finally:
            self._reading.release()
        with self._writing:
            for number, nanoseconds in requests:
                if number > max(self._answered, self._met):
                    self._answered = number
                    self._answer(nanoseconds)
            if full and not requests:
                self._answer(time.time_ns())

    def _read_ahead(self) -> bool:
        """Read what has arrived; True when a keepalive could be stuck behind it."""
        if self._poll is None:
            return True
        while self._reader.pending < READ_AHEAD:
            if not self._poll.poll(0):
                return False
            try:
                if not self._reader.fill():
                    return False
            except FrameError:
                return False  # the loop meets it in its turn
        return True

    def _find_keepalives(self) -> list[tuple[int, int]]:
        """Return number and time of the keepalives the attendant has not looked at yet."""
        offset, number = self._scanned
        if offset < self._block_offset:
            offset, number = self._block_offset, self._met_before_block
        found = []
        block, (starts, ends) = self._block
        if offset < self._block_offset + len(block):
            for start, end in zip(starts, ends, strict=True):
                if block[start : start + 1] == b"\x1a" and start + self._block_offset >= offset:
                    found.append(block[start:end])
            offset = self._block_offset + len(block)
        for end, frame in self._reader.peek_frames(offset):
            if frame[:1] == b"\x1a":
                found.append(frame)
            offset = end
        requests = []
        for frame in found:
            request = udf_pb2.Request.FromString(frame)
            number += 1
            requests.append((number, request.keepalive.time))
        self._scanned = offset, number
        return requests


def _poller(stream: Any) -> "select.poll | None":
    try:
        descriptor = stream if isinstance(stream, int) else stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll
