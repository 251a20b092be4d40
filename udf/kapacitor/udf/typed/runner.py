"""Runs a typed UDF over a connection until its input ends."""

import gc
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from kapacitor.udf import udf_pb2
from kapacitor.udf.connection import Connection, Statistics
from kapacitor.udf.framing import FrameError
from kapacitor.udf.typed.base import Feed, TypedUDF
from kapacitor.udf.typed.columns import Columns, Ints
from kapacitor.udf.typed.health import Health, Quarantine
from kapacitor.udf.typed.snapshot import SnapshotError
from kapacitor.udf.typed.stream import StreamFeed, StreamUDF
from kapacitor.udf.typed.window import WindowFeed, WindowUDF

logger = logging.getLogger("kapacitor.udf")

MANY = 256
"""Frames of a block from which on all of its points are decoded at once."""

_POINT = 0x8A  # first byte of a Request whose only field is a point


class Runner:
    """One life of a typed UDF.

    Parameters
    ----------
    udf : TypedUDF
        Not configured yet.
    stream_in, stream_out : int or file-like
        As :class:`~kapacitor.udf.framing.FrameReader` and ``FrameWriter`` take them.
    arity : mapping of str to int, optional
        Number of values of options that take several.

    Attributes
    ----------
    statistics : Statistics
        What it has done so far.
    """

    def __init__(
        self,
        udf: TypedUDF,
        stream_in: Any,
        stream_out: Any,
        arity: Mapping[str, int] | None = None,
    ) -> None:
        self._udf = udf
        self._name = type(udf).__name__
        self._arity = arity or {}
        self._connection = Connection(stream_in, stream_out)
        self._health = Health(self._connection.statistics)
        self._feed: Feed | None = None

    @property
    def statistics(self) -> Statistics:
        """What it has done so far."""
        return self._connection.statistics

    def run(self) -> int:
        """Serve until the input ends; returns the program's exit code.

        0 when the input ended or Kapacitor went away, 1 when the stream was no stream of
        requests or the handler never worked; Kapacitor is told why.
        """
        self._connection.start()
        try:
            while True:
                block, (starts, ends) = self._connection.read_block()
                if not starts:
                    return 0
                if len(starts) > 1 or not self._alone(block[starts[0] : ends[0]]):
                    self._block(block, np.array(starts, np.int64), np.array(ends, np.int64))
                self._connection.patient = self._feed is not None and self._feed.patient
        except BrokenPipeError:
            logger.info("Kapacitor closed its end of the pipe")
            return 0
        except Exception as error:
            # Its own errors as well: Kapacitor shows the text, and a traceback helps nobody
            # who did not write the SDK unless it is a bug in it.
            known = isinstance(error, FrameError | RuntimeError | OSError | DecodeError)
            logger.error("%s: %s", self._name, error, exc_info=None if known else error)
            return self._give_up(str(error))
        finally:
            self._close()

    def _give_up(self, text: str) -> int:
        response = udf_pb2.Response()
        response.error.error = f"{self._name}: {text}"
        try:
            self._connection.send_last(response.SerializeToString())
        except OSError as error:
            logger.info("Kapacitor could not be told: %s", error)
        return 1

    def _close(self) -> None:
        try:
            self._connection.close()
        except OSError as error:
            logger.info("the last results could not be sent: %s", error)
        if self.statistics.points or self._feed is not None:
            logger.info("%s finished: %s", self._name, self.statistics)

    def _alone(self, frame: bytes) -> bool:
        feed = self._feed
        if feed is None or not frame or frame[0] != _POINT or not feed.alone(frame):
            return False
        self.statistics.points += 1
        self._emit(feed)
        return True

    def _block(self, block: bytes, starts: Ints, ends: Ints) -> None:
        """Handle the frames of a block in their order."""
        firsts = np.frombuffer(block, np.uint8)[np.minimum(starts, len(block) - 1)]
        points = firsts == _POINT
        # Many points are decoded at once, across the windows they belong to.
        decode = self._feed is not None and len(starts) >= MANY and self._feed.whole_blocks
        columns = None
        if decode and self._feed is not None:
            columns = self._feed.decoder.decode(block, starts[points], ends[points])
        done = decoded = 0
        for index in [*np.flatnonzero(~points).tolist(), len(starts)]:
            if index > done:
                part = None
                if columns is not None:
                    part = columns.part(decoded, decoded + index - done)
                    decoded += index - done
                self._points(block, starts[done:index], ends[done:index], part)
            if index < len(starts):
                self._request(block[starts[index] : ends[index]])
            done = index + 1

    def _points(self, block: bytes, starts: Ints, ends: Ints, columns: Columns | None) -> None:
        self.statistics.points += len(starts)
        if self._feed is None:
            self._health.tell("unexpected", "points came before the options")
            return
        self._feed.points(block, starts, ends, columns)
        self._emit(self._feed)

    def _emit(self, feed: Feed) -> None:
        if feed.output:
            self._connection.send_frames(feed.output, feed.written)
            feed.output, feed.written = bytearray(), 0

    def _send(self, response: udf_pb2.Response) -> None:
        self._connection.send(response.SerializeToString(), flush=True)

    def _request(self, frame: bytes) -> None:
        """Handle a frame that holds anything but a point."""
        request = udf_pb2.Request.FromString(frame)
        kind = request.WhichOneof("message")
        feed = self._feed
        if kind == "begin" and feed is not None:
            self.statistics.batches += 1
            feed.begin(request.begin)
        elif kind == "end" and feed is not None:
            feed.end(request.end)
            self._emit(feed)
        elif kind == "keepalive":
            self._connection.answer_keepalive(request.keepalive)
        elif kind == "info":
            self._send(udf_pb2.Response(info=self._udf.info(self._arity)))
        elif kind == "init":
            self._init(request.init)
        elif kind == "snapshot":
            self._snapshot()
        elif kind == "restore":
            self._restore(request.restore.snapshot)
        elif kind == "point" and feed is not None:
            # Written in an unusual form; the decoder sorts it out.
            self._points(frame, np.array([0]), np.array([len(frame)]), None)
        else:
            self._health.tell("unexpected", f"a request that means nothing here: {kind}")

    def _init(self, request: udf_pb2.InitRequest) -> None:
        response = udf_pb2.Response()
        problems = self._udf.configure(request.options)
        response.init.success = not problems
        if problems:
            response.init.error = "; ".join(problems)
            logger.error("%s: %s", self._name, response.init.error)
        else:
            self._feed = _feed_of(self._udf, self._health)
            self._health.quarantine = Quarantine(self._udf.quarantine)
            # What exists by now stays; the collector need not walk it again and again.
            gc.freeze()
            self._connection.report("typed", request)
        self._send(response)

    def _snapshot(self) -> None:
        response = udf_pb2.Response()
        response.snapshot.snapshot = b""
        if self._feed is not None:
            try:
                saved = self._feed.groups.save(self._name, self._udf.version)
                response.snapshot.snapshot = saved
                self.statistics.snapshots += 1
                self.statistics.snapshot_bytes += len(saved)
            except Exception as error:
                # Kapacitor waits for an answer. An older snapshot would be taken for the state
                # at this place in the stream; an empty one begins anew.
                logger.error("%s: no snapshot: %s", self._name, error)
        self._send(response)

    def _restore(self, snapshot: bytes) -> None:
        response = udf_pb2.Response()
        try:
            if self._feed is None:
                raise SnapshotError("a snapshot came before the options")
            self._feed.groups.load(snapshot, self._name, self._udf.version)
            response.restore.success = True
        except SnapshotError as error:
            response.restore.error = str(error)
            logger.error("%s: %s", self._name, error)
        self._send(response)


def _feed_of(udf: TypedUDF, health: Health) -> Feed:
    if isinstance(udf, WindowUDF):
        return WindowFeed(udf, health)
    if isinstance(udf, StreamUDF):
        return StreamFeed(udf, health)
    raise TypeError(f"{type(udf).__name__} is neither a WindowUDF nor a StreamUDF")
