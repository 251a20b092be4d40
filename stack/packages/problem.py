"""What is wrong with a package: in which file, what, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    file
        In the package, or the package itself.
    what
        What is wrong with it.
    fix
        What to do about it.
    """

    file: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}\n  fix: {self.fix}"


class Refused(Exception):  # noqa: N818 - says what happened
    """A package that is not installed.

    Parameters
    ----------
    problems
        All that is wrong with it.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
