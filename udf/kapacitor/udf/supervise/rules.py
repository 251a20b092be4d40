"""What the user chose, and what the supervisor counts and raises."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class OnPoison(enum.StrEnum):
    """What to do with input on which the program dies again and again."""

    give_up = "give-up"
    quarantine = "quarantine"


class OnLost(enum.StrEnum):
    """What to do when a program died whose state cannot be brought back."""

    give_up = "give-up"
    restart = "restart"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user chose.

    Parameters
    ----------
    buffer : int
        Bytes of input to keep.
    snapshot_every : float
        Seconds between the supervisor's own snapshot requests.
    deaths : int
        Deaths on the same input, after which `on_poison` is carried out.
    quarantine_file : Path, optional
        Where input that was taken out is written.
    """

    buffer: int = 32 << 20
    snapshot_every: float = 5.0
    deaths: int = 5
    on_poison: OnPoison = OnPoison.give_up
    on_lost: OnLost = OnLost.give_up
    quarantine_file: Path | None = None


class GiveUp(Exception):  # noqa: N818 - a decision, not a mistake
    """The program is not started again; the message says why."""


@dataclass(slots=True)
class Owed:
    """A response that the program owes.

    Parameters
    ----------
    kind : int
        First byte of the response.
    then : callable
        Called with the response's frame.
    """

    kind: int
    then: Callable[[bytes], None]


@dataclass(slots=True)
class Counts:
    """What has happened, for the log."""

    deaths: int = 0
    dropped: int = 0
    snapshots: int = 0
    quarantined: int = 0
    in_bytes: int = 0


class Refused(Exception):  # noqa: N818 - what the program did
    """The program does not restore its own snapshot; it has to be started once more."""
