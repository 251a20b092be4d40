"""The end of a stream that somebody else reads."""

import contextlib
import fcntl
import os
import struct
import termios
from time import monotonic, sleep


def let_go(target: int, patience: float = 4.0) -> None:
    """Close an output once all that was written to it has been read.

    A program started by Go's ``os/exec``, as Telegraf's execd plugins start theirs, must not just
    exit: when it does, its pipe is closed on the reading side as well, with whatever is still
    in it. So wait until the pipe is empty, and close it, which lets the reader see the end, while
    there is still something to do before the exit.

    Parameters
    ----------
    target : int
        File descriptor; what is no pipe is closed at once. It stays valid, for the interpreter
        flushes it again, but what is written to it goes nowhere.
    patience : float
        Seconds after which a reader that does not read is left alone.
    """
    end = monotonic() + patience
    with contextlib.suppress(OSError):  # what does not know this request is not a pipe
        while monotonic() < end:
            answer = fcntl.ioctl(target, termios.FIONREAD, b"\0" * 4)
            if struct.unpack("i", answer)[0] == 0:
                break
            sleep(0.001)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, target)
    os.close(nowhere)
