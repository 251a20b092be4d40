"""The agent: reads requests, calls a handler, writes its responses.

Names and behaviour are those that existing Kapacitor UDF scripts rely on, so that
they run here unchanged; what is new is below the surface: frames are read in blocks,
keepalives are answered while a handler works, results are not held back when the
input is idle, and what a handler prints goes to Kapacitor's log instead of into the
stream.

A handler that raises ends the task, as Kapacitor's users know it: the agent sends an
error response and stops. With ``KAPACITOR_UDF_ON_ERROR=skip`` in the environment a
point or batch whose handling raised is counted, logged and passed over instead.

For a UDF written anew, :mod:`kapacitor.udf.typed` needs less code and is faster.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import DecodeError

if not __package__:  # imported bare, with PYTHONPATH on this very folder
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from kapacitor.udf import udf_pb2
from kapacitor.udf.connection import Connection, Statistics
from kapacitor.udf.framing import FrameError
from kapacitor.udf.streams import claim_input, claim_output

logger = logging.getLogger("kapacitor.udf")

defaultIn: Any = getattr(sys.stdin, "buffer", None)  # noqa: N816 - the name scripts import
"""The process's standard input, as bytes."""

defaultOut: Any = getattr(sys.stdout, "buffer", None)  # noqa: N816 - the name scripts import
"""The process's standard output, as bytes."""

ON_ERROR = "KAPACITOR_UDF_ON_ERROR"
"""Environment variable: ``stop`` (the default) or ``skip``."""

LOG_EVERY = 5.0
"""Seconds between two log lines about skipped requests."""


class EOF(Exception):  # noqa: N818 - the name scripts import
    """The input has ended; for scripts that import the name, never raised by the agent."""


class Handler:
    """What a UDF does with each request; subclass it and fill in the methods.

    All methods are called from one thread. Those that answer a request return a
    ``udf_pb2.Response``; points and batches are written with
    :meth:`Agent.write_response`.
    """

    def info(self) -> Any:
        """Return a response whose ``info`` names the edges and the options."""

    def init(self, init_req: Any) -> Any:
        """Take the options; return a response with ``init.success`` or ``init.error``."""

    def snapshot(self) -> Any:
        """Return a response whose ``snapshot.snapshot`` holds the state as bytes."""

    def restore(self, restore_req: Any) -> Any:
        """Take a snapshot back; return a response with ``restore.success``."""

    def begin_batch(self, begin_req: Any) -> None:
        """Take the begin of a batch."""

    def point(self, point: Any) -> None:
        """Take a point, of the stream or of the open batch."""

    def end_batch(self, end_req: Any) -> None:
        """Take the end of a batch."""


class Agent:
    """Connects a handler to Kapacitor.

    Parameters
    ----------
    _in, out : file-like
        Where to read requests and to write responses; by default the process's own
        standard streams, which are then kept for the protocol alone.
    handler : Handler, optional
        May be set later, as ``agent.handler``, but before :meth:`start`.

    Attributes
    ----------
    handler : Handler
        Whose methods are called.
    statistics : Statistics
        What the agent has done so far; logged at the end, and on SIGUSR1.

    Raises
    ------
    ValueError
        When ``KAPACITOR_UDF_ON_ERROR`` holds something else than ``stop`` or ``skip``.
    """

    def __init__(
        self, _in: Any = defaultIn, out: Any = defaultOut, handler: Handler | None = None
    ) -> None:
        self._in = claim_input(_in)
        self._out = claim_output(out)
        self.handler = handler
        self._thread: threading.Thread | None = None
        self._connection = Connection(self._in, self._out)
        self._skip = _skip_errors()
        self._logged = -LOG_EVERY

    @property
    def statistics(self) -> Statistics:
        """What the agent has done so far."""
        return self._connection.statistics

    def start(self) -> None:
        """Start reading requests; returns at once."""
        _log_on_signal(self._connection.statistics)
        self._connection.start()
        self._thread = threading.Thread(target=self._run, name="agent")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the input ends or an error stops the agent, then close the streams."""
        if self._thread is not None:
            self._thread.join()
        for stream in (self._in, self._out):
            with contextlib.suppress(OSError):  # the other side went first
                stream.close()

    def write_response(self, response: Any, flush: bool = False) -> None:
        """Write a response; may be called from any thread.

        Parameters
        ----------
        response : udf_pb2.Response
            What to write.
        flush : bool
            Send it now; a quick series of these is sent together.

        Raises
        ------
        ValueError
            When the response is None.
        OSError
            When Kapacitor has closed its end.
        """
        if response is None:
            raise ValueError("cannot write a response of None: did a handler forget its return?")
        self._connection.send(response.SerializeToString(), flush=flush)

    def _run(self) -> None:
        try:
            self._read_loop()
        except BrokenPipeError:
            logger.info("Kapacitor closed its end of the pipe")
        finally:
            with contextlib.suppress(OSError):
                self._connection.close()
            logger.info("agent finished: %s", self.statistics)

    def _read_loop(self) -> None:
        parse_point = udf_pb2.Point.FromString
        statistics = self.statistics
        while True:
            try:
                block, (starts, ends) = self._connection.read_block()
            except (FrameError, OSError) as error:
                self._fail("unknown", error)
                return
            if not starts:
                return
            for start, end in zip(starts, ends, strict=True):
                kind = "point"
                try:
                    # A request that is nothing but a point is parsed without its wrapper.
                    if block[start : start + 2] == b"\x8a\x01" and end - start > 3:
                        body = start + 3
                        size = block[start + 2]
                        if size >= 0x80:
                            size += (block[body] << 7) - 0x80  # right if this is its last byte
                            body += 1
                        if body + size == end and (size < 0x80 or block[start + 3] < 0x80):
                            statistics.points += 1
                            self.handler.point(parse_point(block[body:end]))  # type: ignore[union-attr]
                            continue
                    kind = "unknown"
                    request = udf_pb2.Request.FromString(block[start:end])
                    kind = request.WhichOneof("message") or "unknown"
                    self._dispatch(kind, request)
                except BrokenPipeError:
                    raise
                except Exception as error:
                    if not self._pass_over(kind, error):
                        return

    def _dispatch(self, kind: str, request: udf_pb2.Request) -> None:
        handler: Any = self.handler
        if kind == "info":
            self.write_response(handler.info(), flush=True)
        elif kind == "init":
            self.write_response(handler.init(request.init), flush=True)
            self._connection.report("handler", request.init)
        elif kind == "keepalive":
            self._connection.answer_keepalive(request.keepalive)
        elif kind == "snapshot":
            response = handler.snapshot()
            self.write_response(response, flush=True)
            self.statistics.snapshots += 1
            self.statistics.snapshot_bytes += len(response.snapshot.snapshot)
        elif kind == "restore":
            if self._skip and not request.restore.snapshot:
                # The answer that stood in for a snapshot that failed: nothing to put back.
                response = udf_pb2.Response()
                response.restore.success = True
            else:
                response = handler.restore(request.restore)
            self.write_response(response, flush=True)
        elif kind == "begin":
            self.statistics.batches += 1
            handler.begin_batch(request.begin)
        elif kind == "point":
            self.statistics.points += 1
            handler.point(request.point)
        elif kind == "end":
            handler.end_batch(request.end)
        else:
            logger.error("received a request of no known kind: %s", request)

    def _pass_over(self, kind: str, error: Exception) -> bool:
        """Decide what an exception means; True to go on."""
        if not self._skip or kind not in ("begin", "point", "end", "snapshot"):
            if not isinstance(error, DecodeError):
                traceback.print_exc()  # the handler's; of bytes that are no request it says nothing
            self._fail(kind, error)
            return False
        self.statistics.failed += 1
        if kind == "snapshot":
            # Kapacitor waits for an answer. An older snapshot would be taken for the state at
            # this place in the stream; from an empty one the handler begins anew.
            response = udf_pb2.Response()
            response.snapshot.snapshot = b""
            self.write_response(response, flush=True)
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            logger.error(
                "skipped a request of type %s (%d so far): %s: %s",
                kind,
                self.statistics.failed,
                type(error).__name__,
                error,
                exc_info=error,
            )
        return True

    def _fail(self, kind: str, error: Exception) -> None:
        text = f"error processing request of type {kind}: {error}"
        logger.error(text)
        response = udf_pb2.Response()
        response.error.error = text
        with contextlib.suppress(OSError):
            self._connection.send_last(response.SerializeToString())


class Accepter(Protocol):
    """What :class:`Server` hands each connection to."""

    def accept(self, conn: Any, addr: Any) -> None:
        """Serve a connection, usually with ``Agent(conn, conn, handler)``."""


class Server:
    """Serves UDFs over a Unix socket, one agent for each connection.

    Parameters
    ----------
    socket_path : str
        Where to listen. A socket that nobody listens on any more is replaced.
    accepter : Accepter
        Its ``accept(conn, addr)`` is called in a thread of its own for each
        connection; ``conn`` is file-like, for reading and for writing.

    Raises
    ------
    OSError
        When the path is in use by a listening server or cannot be made.
    """

    def __init__(self, socket_path: str, accepter: Accepter) -> None:
        self._socket_path = socket_path
        self._accepter = accepter
        _remove_stale(socket_path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(socket_path)
        self._stopped = False

    def serve(self) -> None:
        """Accept connections until :meth:`stop` is called or the process is interrupted."""
        self._listener.listen(5)
        try:
            while True:
                conn, addr = self._listener.accept()
                thread = threading.Thread(target=self._accept, args=(conn, addr), daemon=True)
                thread.start()
        except KeyboardInterrupt:
            logger.info("interrupted, stopping")
        except OSError:
            if not self._stopped:
                raise
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop accepting and remove the socket; connections at work go on."""
        if self._stopped:
            return
        self._stopped = True
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits in accept.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            Path(self._socket_path).unlink()

    def _accept(self, conn: socket.socket, addr: Any) -> None:
        stream = conn.makefile(mode="rwb")
        try:
            self._accepter.accept(stream, addr)
        finally:
            # Kapacitor waits for the end of the stream when a task stops.
            with contextlib.suppress(OSError):
                stream.close()
            conn.close()


def _skip_errors() -> bool:
    choice = os.environ.get(ON_ERROR, "") or "stop"
    if choice not in ("stop", "skip"):
        raise ValueError(f"{ON_ERROR} is {choice!r}; it must be 'stop' (the default) or 'skip'")
    return choice == "skip"


def _log_on_signal(statistics: Statistics) -> None:
    """Log the statistics on SIGUSR1, unless the script has plans of its own for it."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL:
        return
    show: Callable[..., None] = lambda *_: print(f"agent: {statistics}", file=sys.stderr)  # noqa: E731
    signal.signal(signal.SIGUSR1, show)


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that was killed; one that answers stays."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
