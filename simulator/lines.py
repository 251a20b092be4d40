"""Files of line protocol, plain or gzipped, as lines with their times."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from simulator.errors import SimulatorError
from simulator.source import PRECISIONS

BLOCK = 1 << 18
_STAMPED = re.compile(rb"(.*[^ =]) +(-?[0-9]{1,19}) *\r?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stamped:
    """One line.

    Attributes
    ----------
    text : bytes
        Everything before the timestamp, or all of a comment or empty line.
    time : int or None
        ns since 1970 UTC; None for a comment or an empty line.
    """

    text: bytes
    time: int | None


def _find_package() -> None:
    """Make `lineprotocol` importable: its source root is udf/, which the generators do without."""
    root = str(Path(__file__).resolve().parents[1] / "udf")
    if root not in sys.path:
        sys.path.append(root)


def finish(target: int) -> None:
    """Close an output once its reader has read all of it."""
    _find_package()
    from lineprotocol import let_go

    let_go(target)


@contextmanager
def opened(name: str, *, again: bool = False) -> Iterator[IO[bytes]]:
    """Open a file for reading, ``-`` for standard input, unpacked if it is gzipped.

    Parameters
    ----------
    again : bool
        Whether it must be possible to go back to its beginning: what cannot, such as a pipe, is
        first written to a temporary file, so that memory stays constant.

    Raises
    ------
    SimulatorError
        If it cannot be read.
    """
    try:
        raw = cast(BufferedReader, sys.stdin.buffer) if name == "-" else Path(name).open("rb")  # noqa: SIM115
        with raw:
            file: IO[bytes] = raw
            if raw.peek(2)[:2] == b"\x1f\x8b":
                file = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
            if not again or raw.seekable():
                yield file
                return
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(file, spool, BLOCK)
                spool.seek(0)
                yield spool
    except (OSError, EOFError) as error:  # a gzip file that was cut ends in an EOFError
        shown = "standard input" if name == "-" else name
        raise SimulatorError(f"{shown}: {getattr(error, 'strerror', None) or error}") from None


def stamped(file: IO[bytes], name: str, precision: str) -> Iterator[Stamped]:
    r"""Yield the lines of an open file from where it stands.

    Raises
    ------
    SimulatorError
        If a line has no timestamp, with its number and what is wrong with it.

    Examples
    --------
    >>> import io
    >>> list(stamped(io.BytesIO(b"m f=1 2\n"), "example", "s"))
    [Stamped(text=b'm f=1', time=2000000000)]
    """
    # The package's source root is udf/, which the generators do without.
    root = str(Path(__file__).resolve().parents[1] / "udf")
    if root not in sys.path:
        sys.path.append(root)

    _find_package()
    from lineprotocol import LineError, LineSplitter, parse_line

    unit = PRECISIONS[precision]
    splitter = LineSplitter()
    number = 1

    def lines() -> Iterator[bytes]:
        while block := file.read(BLOCK):
            yield from splitter.feed(block)
        if rest := splitter.close():
            yield rest

    for line in lines():
        matched = _STAMPED.fullmatch(line)
        if matched and b"=" in matched[1]:
            yield Stamped(matched[1], int(matched[2]) * unit)
        elif not (stripped := line.strip()) or stripped[:1] == b"#":
            yield Stamped(line, None)
        else:
            shown = "standard input" if name == "-" else name
            try:
                parse_line(line)
                why = "no timestamp"
            except LineError as error:
                why = str(error)
            raise SimulatorError(f"{shown}, line {number}: {why}: {line[:80]!r}")
        number += 1 + line.count(b"\n")
