"""The one error of this package that reaches a user."""

from __future__ import annotations


class StackError(Exception):
    """Something a user can act on.

    Parameters
    ----------
    what
        What was wrong and where, in one line.
    fix
        What to do about it.
    details
        Lines that show the cause (the end of a log), printed before the message.
    """

    def __init__(self, what: str, fix: str = "", details: str = "") -> None:
        super().__init__(what if not fix else f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix
        self.details = details
