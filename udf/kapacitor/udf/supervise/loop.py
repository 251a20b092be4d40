"""The pipes, the process and the clock around the supervisor's core."""

import contextlib
import fcntl
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO, cast

from kapacitor.udf import stats, udf_pb2
from kapacitor.udf.framing import FrameError, encode_varint
from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.core import Core
from kapacitor.udf.supervise.rules import GiveUp, Refused

logger = logging.getLogger("kapacitor.udf.supervise")

# Bytes asked for in one read. What is read is kept for long, in blocks: of many sizes, they
# would leave holes in the heap that nothing fits into.
_BLOCK = 1 << 17
_PIPE_SIZE = 1 << 20
_TICK = 0.1  # seconds between two looks at the clock
_KEEPALIVE = 0.25  # seconds between unasked signs of life, while Kapacitor has to wait
_MOST_OUTPUT = 4 << 20  # bytes that may wait for Kapacitor
_LONGEST_PAUSE = 5.0
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, where the system has a way to say so; fewer switches, same data."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


class Loop:
    """Supervise one program until the input ends or it is given up.

    One thread does it all: it waits for whichever pipe is ready, so nothing can be said out
    of turn, and a stuck program holds up nobody but itself.

    Parameters
    ----------
    core : Core
    argv : sequence of str
        Command line of the program.
    hang_timeout : float
        Seconds without any progress, while there is something to do, after which the program
        is killed; 0 for never.
    source, sink : int
        Descriptors to Kapacitor.
    """

    def __init__(
        self,
        core: Core,
        argv: Sequence[str],
        *,
        hang_timeout: float = 60.0,
        source: int = 0,
        sink: int = 1,
    ) -> None:
        self.core = core
        self._argv = list(argv)
        self._hang_timeout = hang_timeout
        self._source, self._sink = source, sink
        self._reporter: stats.Reporter | None = None
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._in: IO[bytes] | None = None  # of the program; None once it is closed
        self._out: IO[bytes] | None = None
        self._status = 0
        self._asked_at = 0.0
        self._keepalive_at = 0.0
        self._confirmed_at = 0.0
        self._snapshots = 0
        self._room = bytearray(_BLOCK)
        self._progress = -1
        self._progress_at = 0.0

    def run(self) -> int:
        """Do it; return the exit status."""
        for descriptor in (self._source, self._sink):
            _widen(descriptor)
        os.set_blocking(self._sink, False)
        try:
            self._live()
            while not self._turn():
                pass
            self._flush()
        except GiveUp as error:
            logger.error("giving up: %s", error)
            body = udf_pb2.Response(
                error=udf_pb2.ErrorResponse(error=str(error))
            ).SerializeToString()
            self.core.to_kapacitor.append(encode_varint(len(body)) + body)
            with contextlib.suppress(OSError):
                self._flush()
            return self._status if 0 < self._status < 128 else 1
        except FrameError as error:
            logger.error("what Kapacitor sends is not the protocol: %s", error)
            return 1
        except BrokenPipeError:
            logger.info("Kapacitor closed its end of the pipe")
        finally:
            self._kill()
            with contextlib.suppress(OSError):
                os.set_blocking(self._sink, True)
            if self._reporter is not None:
                self._reporter.close()
        counts = self.core.counts
        if counts.deaths:
            logger.warning(
                "the program died %d times: %d results were said twice and dropped, "
                "%d pieces of input were passed over",
                counts.deaths,
                counts.dropped,
                counts.quarantined,
            )
        return self._status

    # -- one turn ------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Wait for something, handle it; True when all is done."""
        core = self.core
        self._write()
        poll = select.poll()
        reads_input = not core.ended and core.wants_input
        if reads_input:
            poll.register(self._source, select.POLLIN)
        out = -1
        if self._out is not None and core.to_kapacitor.size < _MOST_OUTPUT:
            out = self._out.fileno()
            poll.register(out, select.POLLIN)
        if self._in is not None and core.to_program.size:
            poll.register(self._in.fileno(), select.POLLOUT)
        if core.to_kapacitor.size:
            poll.register(self._sink, select.POLLOUT)
        ready = dict(poll.poll(_TICK * 1000))
        # Output first: what the program has said counts, whatever comes next.
        if out >= 0 and ready.get(out, 0) & _READABLE and self._read_program(out):
            return True
        if reads_input and ready.get(self._source, 0) & _READABLE:
            self._read_kapacitor()
        if self._process is not None and self._process.poll() is not None and not ready:
            # Dead, though someone holds its output open: a child of its own.
            return self._ended()
        self._look_at_the_clock(reads_input)
        return False

    def _write(self) -> None:
        core = self.core
        if self._in is not None and core.to_program.size:
            try:
                core.to_program.write_to(self._in.fileno())
                core.progress += 1
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self._close_input()  # its end is told by its output
        if core.to_kapacitor.size:
            with contextlib.suppress(BlockingIOError):
                core.to_kapacitor.write_to(self._sink)
        if core.close_input and self._in is not None:
            self._close_input()

    def _read(self, descriptor: int, size: int) -> bytes:
        """Read once; the bytes take no more memory than there are."""
        with memoryview(self._room)[:size] as room:
            count = os.readv(descriptor, [room])
        return bytes(memoryview(self._room)[:count])

    def _read_kapacitor(self) -> None:
        block = self._read(self._source, min(_BLOCK, self.core.rules.buffer // 8))
        if block:
            self.core.from_kapacitor(block)
        else:
            self.core.end_of_input()

    def _read_program(self, out: int) -> bool:
        try:
            block = self._read(out, _BLOCK)
        except OSError:
            block = b""
        if not block:
            return self._ended()
        try:
            self.core.from_program(block)
        except FrameError as error:
            self.core.error = f"its output is not the protocol: {error}"
        except Refused as error:
            logger.warning("the program does not restore its own snapshot: %s", error)
            self._kill()
            self.core.refused()
            self._live()
            return False
        if self.core.error is not None:
            self._kill()
            self._again("sent an error")
        return False

    def _look_at_the_clock(self, reads_input: bool) -> None:
        core = self.core
        now = time.monotonic()
        if self._reporter is None and core.options is not None:
            init = udf_pb2.Request.FromString(frames.body(core.options)).init
            program = next((word for word in self._argv if word.endswith(".py")), self._argv[0])
            self._reporter = stats.start("supervisor", init, self._totals, program)
        if now - self._confirmed_at >= _TICK:
            # A snapshot that came before the last look at the clock is older than any result
            # that could have been on its way with it.
            self._confirmed_at = now
            if core.counts.snapshots == self._snapshots:
                core.confirm()
            self._snapshots = core.counts.snapshots
        if core.progress != self._progress:
            self._progress, self._progress_at = core.progress, now
        if now - self._asked_at >= core.rules.snapshot_every:
            self._asked_at = now
            core.want_snapshot()
        if not reads_input and now - self._keepalive_at >= _KEEPALIVE:
            # Its keepalive requests lie unread in the pipe; any response calms Kapacitor.
            self._keepalive_at = now
            if core.initialized and not core.to_kapacitor.size:
                core.to_kapacitor.append(frames.KEEPALIVE_FRAME)
        silent = now - self._progress_at
        busy = core.owes or self._in is None
        if not busy:
            self._progress_at = now
        elif self._hang_timeout and silent > self._hang_timeout:
            self._kill()
            self._again(f"hung for {silent:.0f} s and was killed")

    def _totals(self) -> dict[str, float]:
        counts = self.core.counts
        return {
            "restarts": max(self._lives - 1, 0),
            "quarantined": counts.quarantined,
            "dropped": counts.dropped,
            "bytes_in": counts.in_bytes,
            "snapshots": counts.snapshots,
        }

    # -- lives ---------------------------------------------------------------------------

    def _live(self) -> None:
        """Start the program."""
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise GiveUp(f"{self._argv[0]} does not start: {error}") from error
        self._in = cast(IO[bytes], self._process.stdin)
        self._out = cast(IO[bytes], self._process.stdout)
        for pipe in (self._in, self._out):
            os.set_blocking(pipe.fileno(), False)
            _widen(pipe.fileno())
        self._lives += 1
        self._progress_at = time.monotonic()
        self.core.start()

    def _ended(self) -> bool:
        """Take note that the program's output has ended; True when all is done."""
        process = cast("subprocess.Popen[bytes]", self._process)
        try:
            # Output closed and yet alive: it has a moment to go by itself.
            self._status = process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._status = -signal.SIGKILL
        closed = self._in is None and self.core.close_input
        self._kill()
        if closed and self._status == 0:
            return True
        how = (
            f"was killed by signal {-self._status}"
            if self._status < 0
            else f"ended by itself with status {self._status}"
        )
        self._again(how)
        return False

    def _again(self, how: str) -> None:
        self.core.died(how)
        if self.core.deaths > 1:
            time.sleep(min(0.02 * 2**self.core.deaths, _LONGEST_PAUSE))
        self._live()

    def _kill(self) -> None:
        """End the program with everything it started, and take what it had said."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._close_input()
        if self._out is not None:
            self._drain(self._out)
            self._out.close()
            self._out = None

    def _drain(self, out: IO[bytes]) -> None:
        with contextlib.suppress(BlockingIOError, FrameError, Refused):
            while block := os.read(out.fileno(), _BLOCK):
                self.core.from_program(block)

    def _close_input(self) -> None:
        if self._in is not None:
            with contextlib.suppress(OSError):
                self._in.close()
            self._in = None

    def _flush(self) -> None:
        while self.core.to_kapacitor.size:
            poll = select.poll()
            poll.register(self._sink, select.POLLOUT)
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                self.core.to_kapacitor.write_to(self._sink)
