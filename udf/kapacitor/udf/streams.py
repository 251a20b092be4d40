"""The process's own standard input and output, kept for the protocol alone.

Kapacitor speaks to a UDF over its standard input and output. One ``print`` in a
handler, or one C library that writes a banner, would corrupt the stream; one child
process that reads its inherited input would eat from it. So the agent moves both to
descriptors of its own: after that, file descriptor 1 is standard error (what is
printed lands in Kapacitor's log) and file descriptor 0 is empty.
"""

import contextlib
import fcntl
import io
import os
import sys
from typing import Any

PIPE_BYTES = 256 * 1024
"""Size asked for the pipe that Kapacitor writes to; Linux gives 64 KiB by itself."""

_claimed: dict[int, io.FileIO] = {}


def claim_input(stream: Any) -> Any:
    """Return what to read the protocol from.

    Parameters
    ----------
    stream : int or file-like
        Where the agent was told to read.

    Returns
    -------
    int or file-like
        A private copy of standard input if ``stream`` was that, else ``stream``.
    """
    if _descriptor(stream) != 0:
        return stream
    if 0 not in _claimed:
        _claimed[0] = io.FileIO(os.dup(0), "rb")
        with contextlib.suppress(OSError):
            # Room for a whole window: Kapacitor writes on while the last one is worked on.
            fcntl.fcntl(_claimed[0], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with open(os.devnull, "rb") as empty:  # noqa: PTH123 - a descriptor, not a path
            os.dup2(empty.fileno(), 0)
    return _claimed[0]


def claim_output(stream: Any) -> Any:
    """Return what to write the protocol to.

    Parameters
    ----------
    stream : int or file-like
        Where the agent was told to write.

    Returns
    -------
    int or file-like
        A private copy of standard output if ``stream`` was that, else ``stream``.
    """
    if _descriptor(stream) != 1:
        return stream
    if 1 not in _claimed:
        _claimed[1] = io.FileIO(os.dup(1), "wb")
        os.dup2(2, 1)
        if sys.stdout is not None:
            # A person reads the log as it comes, not in blocks of 8 KiB.
            with contextlib.suppress(AttributeError, ValueError):
                sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return _claimed[1]


def _descriptor(stream: Any) -> int | None:
    if isinstance(stream, int):
        return stream
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
