"""The points of a case, in the order in which they are recorded."""

from __future__ import annotations

import gzip
import io
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lineprotocol import LineError, LineSplitter, parse_line
from stack.cases.case import PRECISIONS, Case, CaseError, Input, nanoseconds
from stack.cases.script import Source
from stack.settings import ROOT, environment

#: Points in one request.
CHUNK = 5000
#: Where points belong when neither case nor script says.
ANY = Source("case", "autogen")
#: Times before this (ns) are a sign of the wrong unit.
EARLIEST = 10**17


@dataclass(frozen=True)
class Points:
    """Successive lines of one database, with times in `precision`."""

    source: Source
    lines: list[bytes]
    precision: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the lines in pieces that fit a request."""
        for at in range(0, len(self.lines), CHUNK):
            yield b"\n".join(self.lines[at : at + CHUNK])


def load(case: Case) -> list[Points]:
    """Return the points of every input of a case.

    Raises
    ------
    CaseError
        Naming input and line, when there are none or they are not line protocol.
    """
    found = []
    for data in case.inputs:
        found += _load(case, data)
    if not any(points.lines for points in found):
        names = ", ".join(_shown(data) for data in case.inputs)
        raise CaseError(f"the input is empty: no points in {names}")
    begin = nanoseconds(case.begin)
    return _moved(found, begin) if begin is not None else found


def _moved(points: list[Points], begin: int) -> list[Points]:
    """Return points moved in time, so that the first of them is at `begin` (ns)."""
    later = begin - span(points)[0]
    moved = []
    for each in points:
        unit = PRECISIONS[each.precision]
        parts = (line.rpartition(b" ") for line in each.lines)
        lines = [b"%s %d" % (head, int(time) * unit + later) for head, _, time in parts]
        moved.append(Points(each.source, lines, "ns"))
    return moved


def batches(case: Case) -> bytes:
    """Return the batch recording of a case as Kapacitor stores it: a zip, a file for each query.

    Raises
    ------
    CaseError
        When a file is empty; what is no batch in it Kapacitor finds.
    """
    files = [data.file for data in case.inputs if data.file is not None]
    if len(files) == 1 and files[0].read_bytes()[:2] == b"PK":
        return files[0].read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for at, file in enumerate(files):
            if not _content(file).strip():
                raise CaseError(f"the input is empty: no batches in {file}")
            made.writestr(str(at), _content(file))
    return archive.getvalue()


def check(case: Case) -> None:
    """Raise a `CaseError` with file and line for the first line that is not line protocol."""
    for data in case.inputs:
        if data.file is not None and data.file.suffix != ".srpl":
            for number, line in enumerate(_content(data.file).splitlines(), start=1):
                if line.strip() and not line.startswith(b"#"):
                    _explain(line.strip(), f"{_shown(data)}:{number}", case.precision)


def span(points: list[Points]) -> tuple[int, int]:
    """Return the times of the earliest and the latest point, in ns since 1970."""
    times = [
        int(line.rpartition(b" ")[2]) * PRECISIONS[p.precision] for p in points for line in p.lines
    ]
    return min(times), max(times)


def _load(case: Case, data: Input) -> list[Points]:
    source = data.source or next(iter(case.tasks[0].dbrps), ANY)
    if data.file is not None:
        content = _content(data.file)
        if data.file.suffix == ".srpl":
            return _stream_recording(content, data, case.precision)
    else:
        content = _simulate(data.simulator)
    return [Points(source, _lines(content, data, case.precision), case.precision)]


def _lines(content: bytes, data: Input, precision: str) -> list[bytes]:
    """Return the lines that hold points, each with a time that makes sense."""
    found = []
    splitter = LineSplitter()
    for number, text in enumerate([*splitter.feed(content), splitter.close()], start=1):
        line = text.strip()
        if not line or line.startswith(b"#"):
            continue
        stamp = line.rpartition(b" ")[2]
        plausible = stamp.isdigit() and int(stamp) * PRECISIONS[precision] >= EARLIEST
        if not plausible:
            _explain(line, f"{_shown(data)}:{number}", precision)
        found.append(line)
    return found


def _explain(line: bytes, where: str, precision: str) -> None:
    """Raise the reason why a line's time is not what was expected, if there is one."""
    try:
        point = parse_line(line, precision)
    except LineError as error:
        raise CaseError(f"{where}: {error}") from None
    if point.time is None:
        raise CaseError(f"{where}: the point has no time", "a recorded point needs one")
    if 0 < point.time < EARLIEST:
        raise CaseError(
            f"{where}: a time in 1973 or before, read in {precision}",
            'set precision = "s" (or ms, us) in case.toml if the times are not in nanoseconds',
        )


def _stream_recording(content: bytes, data: Input, precision: str) -> list[Points]:
    """Read a stream recording of Kapacitor's: database, policy and point on a line each."""
    lines = content.splitlines()
    if len(lines) % 3:
        raise CaseError(f"{_shown(data)}: not a stream recording: three lines a point")
    found: list[Points] = []
    for at in range(0, len(lines), 3):
        source = Source(lines[at].decode(), lines[at + 1].decode())
        if not found or found[-1].source != source:
            found.append(Points(source, [], precision))
        found[-1].lines.append(lines[at + 2])
    return found


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise CaseError(f"{file}: {error}") from None
    return content


def _simulate(command: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *shlex.split(command), "--output", "-"],
        cwd=ROOT, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise CaseError(f"simulator {command!r} failed: {reason}")
    return done.stdout


def _shown(data: Input) -> str:
    if data.file is not None and data.file.is_relative_to(ROOT):
        return str(data.file.relative_to(ROOT))
    return str(data)
