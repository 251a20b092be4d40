"""The one error the commands end with, and the exit codes it carries."""

from __future__ import annotations

BAD_USAGE = 2
UNREACHABLE = 3
REFUSED = 4


class SimulatorError(Exception):
    """A failure the user can act on: the message says what, where and how to fix it.

    Parameters
    ----------
    message : str
        Shown as it is, without a traceback.
    code : int
        The exit code: 2 wrong usage, 3 the other side is away, 4 it refuses the data.
    """

    def __init__(self, message: str, code: int = BAD_USAGE) -> None:
        super().__init__(message)
        self.code = code
