"""Results of a UDF: as points, written in four forms, compared with what was expected."""

import csv
import difflib
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Column, Table

from kapacitor.udf import udf_pb2
from lineprotocol import FieldValue, LineError, Point, format_point, parse_line


def _fields(point: udf_pb2.Point) -> dict[str, FieldValue]:
    fields: dict[str, FieldValue] = {}
    for values in (point.fieldsDouble, point.fieldsInt, point.fieldsString, point.fieldsBool):
        fields.update(sorted(values.items()))
    return fields


class Results:
    """Gather the points of responses; the points of a batch take the batch's name.

    Examples
    --------
    >>> results = Results()
    >>> results.add(udf_pb2.Response(point=udf_pb2.Point(name="m", time=3, fieldsInt={"n": 2})))
    Point(name='m', tags={}, fields={'n': 2}, time=3)
    """

    def __init__(self) -> None:
        self._name: str | None = None
        self.batches = 0

    def add(self, response: udf_pb2.Response) -> Point | None:
        """Take a response, return its point if it is one.

        Raises
        ------
        ValueError
            For an end of a batch that has not begun: kapacitord itself crashes on it.
        """
        kind = response.WhichOneof("message")
        if kind == "begin":
            self._name = response.begin.name
            self.batches += 1
        elif kind == "end":
            if self._name is None:
                raise ValueError("the program ended a batch that it had not begun")
            self._name = None
        elif kind == "point":
            point = response.point
            name = point.name or self._name or ""
            return Point(name, dict(sorted(point.tags.items())), _fields(point), point.time)
        return None


def _stamp(point: Point) -> str:
    seconds, rest = divmod(point.time or 0, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def as_json(point: Point) -> dict[str, object]:
    """Return a point as an object for JSON; values that JSON lacks become null."""
    return {
        "time": point.time,
        "name": point.name,
        "tags": point.tags,
        "fields": {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in point.fields.items()
        },
    }


def as_line(point: Point) -> str:
    """Return a point as line protocol; one that it cannot hold (NaN) as a comment."""
    try:
        return format_point(point).decode(errors="replace")
    except LineError as error:
        return f"# {error}: {json.dumps(as_json(point))}"


def as_csv(points: Sequence[Point]) -> str:
    """Return points as CSV: time in nanoseconds, name, then every tag and every field."""
    tags = sorted({key for point in points for key in point.tags})
    fields = sorted({key for point in points for key in point.fields})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["time", "name", *tags, *fields])
    for point in points:
        writer.writerow(
            [
                point.time,
                point.name,
                *(point.tags.get(key, "") for key in tags),
                *(point.fields.get(key, "") for key in fields),
            ]
        )
    return out.getvalue()


def as_table(points: Sequence[Point]) -> Table:
    """Return points as a table for people."""
    tags = sorted({key for point in points for key in point.tags})
    fields = sorted({key for point in points for key in point.fields})
    table = Table(Column("time", no_wrap=True), "name", *tags, *fields)
    for point in points:
        row = [_stamp(point), point.name, *(point.tags.get(key, "") for key in tags)]
        for key in fields:
            value = point.fields.get(key, "")
            row.append(f"{value:.6g}" if isinstance(value, float) else str(value))
        table.add_row(*row)
    return table


def read_expected(path: Path) -> list[Point]:
    """Read the points that a run should give, from line protocol or from ``--json``.

    Raises
    ------
    ValueError
        If the file is missing or not of that form.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path} to compare with")
    text = path.read_text()
    if text.lstrip().startswith("{"):
        found = json.loads(text)["points"]
        return [Point(p["name"], p["tags"], p["fields"], p["time"]) for p in found]
    points = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                points.append(parse_line(line.encode()))
            except LineError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
    return points


def _same(a: FieldValue | None, b: FieldValue | None, tolerance: float) -> bool:
    numbers = (int, float)
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, numbers):
        return type(a) is type(b) and a == b
    if not isinstance(b, numbers):
        return False
    return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def same_point(a: Point, b: Point, tolerance: float) -> bool:
    """Tell whether two points are the same, numbers within a tolerance.

    Parameters
    ----------
    a, b : Point
    tolerance : float
        Both relative and absolute.
    """
    return (
        a.name == b.name
        and a.time == b.time
        and a.tags == b.tags
        and a.fields.keys() == b.fields.keys()
        and all(_same(a.fields[key], b.fields[key], tolerance) for key in a.fields)
    )


def differences(
    expected: Sequence[Point], found: Sequence[Point], tolerance: float
) -> Iterator[str]:
    """Yield a unified diff of two sequences of points, empty if they are the same.

    Numbers within the tolerance count as equal and are shown as they were expected.
    """
    left = [as_line(point) for point in expected]
    index: dict[tuple[str, int | None], list[int]] = {}
    for number, point in enumerate(expected):
        index.setdefault((point.name, point.time), []).append(number)
    right = []
    for point in found:
        candidates = index.get((point.name, point.time), [])
        twin = next((n for n in candidates if same_point(expected[n], point, tolerance)), None)
        right.append(as_line(point) if twin is None else left[twin])
    yield from difflib.unified_diff(left, right, "expected", "found", lineterm="", n=1)


def lines(points: Iterable[Point]) -> str:
    """Return points as line protocol, a line each."""
    return "".join(as_line(point) + "\n" for point in points)
