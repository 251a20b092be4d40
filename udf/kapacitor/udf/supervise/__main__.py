"""The command ``python -m kapacitor.udf.supervise``.

Kapacitor starts it once for every UDF node and waits for it, so it imports as little as it can
and reads its arguments with argparse.
"""

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

from kapacitor.udf.supervise.core import Core
from kapacitor.udf.supervise.loop import Loop
from kapacitor.udf.supervise.rules import OnLost, OnPoison, Rules

_DESCRIPTION = """\
Stand between Kapacitor and a UDF program of any language. When the program dies or hangs it is
started again: its last snapshot is restored, the input that came since is sent again, and what
it had already said is dropped. Kapacitor notices nothing.
"""
_EPILOG = """\
In kapacitor.conf: prog = "python3", args = ["-m", "kapacitor.udf.supervise", "--", "python3",
"/path/to/udf.py"]. Exact as long as the program, given the same snapshot and the same input,
gives the same number of results in the same order; what is random or comes from a clock may
differ for the input since the last snapshot. Exit status: the program's own at the end of
the input, 1 when it is given up, 2 for wrong usage.
"""


def _size(text: str) -> int:
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    number, factor = (text[:-3], units[text[-3:]]) if text[-3:] in units else (text, 1)
    try:
        size = int(number) * factor
    except ValueError:
        size = 0
    if size < 4096:
        raise argparse.ArgumentTypeError(f"{text!r}: write bytes, or 64KiB, 32MiB; 4KiB at least")
    return size


def _seconds(text: str) -> float:
    from kapacitor.udf.harness.durations import parse_duration

    try:
        return parse_duration(text) / 1e9
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of at least 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    found = argparse.ArgumentParser(
        "python -m kapacitor.udf.supervise", description=_DESCRIPTION, epilog=_EPILOG
    )
    add = found.add_argument
    add(
        "--snapshot-every",
        type=_seconds,
        default="5s",
        metavar="DURATION",
        help="time between the snapshots that are asked for besides Kapacitor's [5s]",
    )
    add(
        "--buffer",
        type=_size,
        default="32MiB",
        metavar="SIZE",
        help="input to keep; a snapshot is asked for before it is full [32MiB]",
    )
    add(
        "--hang-timeout",
        type=_seconds,
        default="60s",
        metavar="DURATION",
        help="time without progress after which the program is killed; 0s for never [60s]",
    )
    add(
        "--deaths",
        type=_count,
        default=5,
        metavar="N",
        help="deaths on the same input, after which the input is to blame [5]",
    )
    add(
        "--on-poison",
        choices=[str(value) for value in OnPoison],
        default=str(OnPoison.give_up),
        help="then stop the task with an error, or find the very point or batch and pass it over",
    )
    add(
        "--quarantine",
        type=Path,
        metavar="FILE",
        help="where input that is passed over is written, as line protocol",
    )
    add(
        "--when-lost",
        choices=[str(value) for value in OnLost],
        default=str(OnLost.give_up),
        help="what to do when the program answers no snapshots and more than the buffer has come",
    )
    add("program", nargs="+", metavar="PROGRAM ARGS", help="the UDF, after --")
    return found


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run the command."""
    arguments = parser().parse_args()
    logging.basicConfig(
        stream=sys.stderr, format="supervise: %(levelname)s: %(message)s", level=logging.INFO
    )
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    rules = Rules(
        buffer=arguments.buffer,
        snapshot_every=arguments.snapshot_every,
        deaths=arguments.deaths,
        on_poison=OnPoison(arguments.on_poison),
        on_lost=OnLost(arguments.when_lost),
        quarantine_file=arguments.quarantine,
    )
    return Loop(Core(rules), arguments.program, hang_timeout=arguments.hang_timeout).run()


if __name__ == "__main__":
    sys.exit(main())
