"""Messages for Telegraf's log, which is where standard error goes.

Telegraf reads a level from the first letters of a line and calls any other line an error.
It also stops reading at a line of 64 KiB, after which the program would block, so messages
are kept to one short line.
"""

import sys
from time import monotonic

_LONGEST = 1000


def log(level: str, message: str) -> None:
    """Write one message.

    Parameters
    ----------
    level : {"E", "W", "I", "D"}
        Error, warning, information or debug.
    message : str
        Cut after 1000 characters; line ends are escaped.
    """
    text = message.replace("\r", "\\r").replace("\n", "\\n")[:_LONGEST]
    sys.stderr.write(f"{level}! {text}\n")
    sys.stderr.flush()


class Counted:
    """Something that may happen with every line: counted always, logged now and then.

    Parameters
    ----------
    what : str
        The thing in the plural, for example ``"lines that are not line protocol"``.
    every : float
        Seconds between two messages, so that a stream of bad lines does not fill the log.
    """

    def __init__(self, what: str, every: float = 60.0) -> None:
        self.what = what
        self.every = every
        self.count = 0
        self._quiet_until = -every

    def add(self, example: str) -> None:
        """Count one, and log it with its example unless that was done a short while ago."""
        self.count += 1
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + self.every
            log("W", f"{self.count} {self.what} so far; the last: {example}")
