"""A UDF program as a child process: start it, send requests, receive responses."""

import collections
import contextlib
import os
import queue
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from google.protobuf.message import DecodeError

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import FrameError, FrameReader, encode_varint

_STDERR_LINES = 30


class ProgramError(RuntimeError):
    """The program ended, hung, or wrote bytes that are not the protocol."""


class ProgramSilent(ProgramError):  # noqa: N818 - says what happened, as a timeout does
    """The program owes a response and has sent nothing for the length of the timeout."""


def command(program: str, arguments: Sequence[str] = ()) -> list[str]:
    """Make the command line of a UDF program.

    Parameters
    ----------
    program : str
        A ``.py`` file, run by this very Python; or an executable file, or the name of one
        on the PATH; or all of that with arguments, quoted as in a shell.
    arguments : sequence of str
        More arguments.

    Raises
    ------
    ProgramError
        If there is no such program, or it may not be executed.
    """
    words = [program] if Path(program).exists() else shlex.split(program)
    if not words:
        raise ProgramError("the program is an empty string: name a .py file or an executable")
    path = Path(words[0])
    if path.suffix == ".py" and path.is_file():
        return [sys.executable, *words, *arguments]
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise ProgramError(f"{path} is not executable: chmod +x it, or name it .py")
        return [str(path.absolute()), *words[1:], *arguments]
    if "/" not in words[0]:
        for folder in os.get_exec_path():
            if os.access(Path(folder) / words[0], os.X_OK):
                return [*words, *arguments]
    raise ProgramError(f"there is no program {words[0]!r}, neither a file nor on the PATH")


def frame(message: udf_pb2.Request | udf_pb2.Response) -> bytes:
    r"""Serialize a message with its length before it, as a varint.

    Examples
    --------
    >>> frame(udf_pb2.Request(info=udf_pb2.InfoRequest()))
    b'\x02\n\x00'
    """
    body = message.SerializeToString()
    return encode_varint(len(body)) + body


class Program:
    """One life of a UDF program.

    Input is written without ever blocking for longer than the timeout; output is read by a
    thread, so a program that writes much before it reads cannot lock up with its driver.

    Parameters
    ----------
    argv : sequence of str
        Command line, as from `command`.
    timeout : float
        Seconds after which a program that takes no input, or owes a response, is hung.
    env : mapping of str to str, optional
        Added to the environment.
    stderr : {"keep", "show"}
        Keep what the program logs for error messages, or let it through.
    read_ahead : int
        Blocks of output, of at most 256 KiB, to hold before the program is made to wait;
        0 for no bound.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,
        env: Mapping[str, str] | None = None,
        stderr: str = "keep",
        read_ahead: int = 0,
    ) -> None:
        self.argv = list(argv)
        self.timeout = timeout
        self._log: IO[bytes] | None = None
        if stderr == "keep":
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program
        try:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"{argv[0]} does not start: {error}") from error
        self._stdin = cast(IO[bytes], self.process.stdin)
        self._stdout = cast(IO[bytes], self.process.stdout)
        self._in = self._stdin.fileno()
        os.set_blocking(self._in, False)
        self._frames = FrameReader(self._stdout.fileno())
        self._blocks: queue.Queue[list[bytes] | FrameError] = queue.Queue(read_ahead)
        self._ready: collections.deque[udf_pb2.Response] = collections.deque()
        self._ended = False
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def _read(self) -> None:
        reader = self._frames
        block: list[bytes] | FrameError = [b""]
        while block and not isinstance(block, FrameError):
            try:
                block = reader.read_frames()
            except FrameError as error:
                block = error
            except OSError:
                block = []
            while not self._closing.is_set():
                with contextlib.suppress(queue.Full):
                    self._blocks.put(block, timeout=0.1)
                    break

    # -- to the program ------------------------------------------------------------------

    def send(self, *requests: udf_pb2.Request) -> None:
        """Send requests, each in a frame of its own."""
        self.write(b"".join(map(frame, requests)))

    def write(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises
        ------
        ProgramError
            If the program ends or takes nothing for the length of the timeout.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._in, select.POLLOUT)
                if not poll.poll(self.timeout * 1000):
                    raise ProgramError(
                        self._explain(f"took no input for {self.timeout:g} s")
                    ) from None
            except OSError as error:
                raise ProgramError(self._explain(f"stopped reading: {error}")) from error

    def close_input(self) -> None:
        """Close the program's input, as Kapacitor does at the end of a task."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    # -- from the program ----------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> udf_pb2.Response | None:
        """Return the next response, None at the end of the output.

        Raises
        ------
        ProgramError
            If nothing comes within the timeout, or what comes is not the protocol.
        """
        wait = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + wait
        while not self._ready:
            if self._ended:
                return None
            try:
                block = self._blocks.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ProgramSilent(self._explain(self._silence(wait))) from None
            if isinstance(block, FrameError):
                self._ended = True
                raise ProgramError(self._explain(f"sent bytes that are not frames: {block}"))
            self._ended = not block
            for body in block:
                try:
                    self._ready.append(udf_pb2.Response.FromString(body))
                except DecodeError as error:
                    raise ProgramError(
                        self._explain(
                            f"sent a frame that is no response ({error}); is something printed "
                            f"to stdout? It begins with {body[:40]!r}"
                        )
                    ) from error
        return self._ready.popleft()

    def _silence(self, seconds: float) -> str:
        if not self._frames.pending:
            return f"sent nothing for {seconds:g} s"
        return (
            f"has sent {self._frames.pending} bytes in {seconds:g} s that are not a whole frame; "
            "is something printed to stdout?"
        )

    def expect(self, kind: str, timeout: float | None = None) -> udf_pb2.Response:
        """Return the next response, which has to be of this kind; keepalives are passed over."""
        while True:
            response = self.receive(timeout)
            if response is None:
                raise ProgramError(self._explain(f"ended instead of answering {kind}"))
            got = response.WhichOneof("message")
            if got == kind:
                return response
            if got == "error":
                raise ProgramError(self._explain(f"sent an error: {response.error.error}"))
            if got != "keepalive":
                raise ProgramError(self._explain(f"sent {got} instead of {kind}"))

    def drain(self) -> list[udf_pb2.Response]:
        """Return every response up to the end of the output."""
        responses = []
        while (response := self.receive()) is not None:
            responses.append(response)
        return responses

    # -- the protocol's opening ----------------------------------------------------------

    def info(self) -> udf_pb2.InfoResponse:
        """Ask what the program wants, provides, and which options it has."""
        self.send(udf_pb2.Request(info=udf_pb2.InfoRequest()))
        return self.expect("info").info

    def init(self, options: Iterable[udf_pb2.Option], task: str = "run") -> udf_pb2.InitResponse:
        """Start the program on its options."""
        self.send(
            udf_pb2.Request(
                init=udf_pb2.InitRequest(options=list(options), taskID=task, nodeID="udf")
            )
        )
        return self.expect("init").init

    # -- the end -------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program to end and return its exit status.

        Raises
        ------
        ProgramError
            If it does not end in time.
        """
        wait = self.timeout if timeout is None else timeout
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            raise ProgramError(
                self._explain(f"still runs {wait:g} s after its input ended")
            ) from None

    def kill(self) -> None:
        """End the program, whatever it is doing, with everything it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._closing.set()
        self.close_input()
        self._reader.join(self.timeout)
        self._stdout.close()
        if self._log is not None:
            self._log.close()

    def stderr(self) -> str:
        """Return the last lines that the program has logged."""
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 100_000))
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_STDERR_LINES:])

    def _explain(self, what: str) -> str:
        status = self.process.poll()
        if status is None and "stopped reading" in what:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.5)
        text = f"the program {what}"
        if status is not None:
            text += f" (it has ended with status {status})"
        log = self.stderr()
        return f"{text}\nits last log lines:\n{log}" if log else text
