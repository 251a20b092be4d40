"""Input that kills the program, kept as line protocol for someone to look at."""

from pathlib import Path

from google.protobuf.message import DecodeError

from kapacitor.udf import udf_pb2
from kapacitor.udf.supervise.frames import body, split
from lineprotocol import FieldValue, LineError, Point, format_point


def describe(unit: bytes) -> tuple[str, list[str]]:
    """Decode a unit of input.

    Parameters
    ----------
    unit : bytes
        Frames of one batch or of one point.

    Returns
    -------
    what : str
        One line that names it.
    lines : list of str
        Its points as line protocol; what cannot be decoded is given as hexadecimal digits in
        a comment.
    """
    name = group = ""
    lines: list[str] = []
    points = 0
    for _, frame in split(unit):
        try:
            request = udf_pb2.Request.FromString(body(frame))
        except DecodeError:
            lines.append(f"# undecodable: {frame.hex()}")
            continue
        kind = request.WhichOneof("message")
        if kind == "begin":
            name, group = request.begin.name, request.begin.group
        elif kind == "point":
            points += 1
            name = request.point.name or name
            group = request.point.group or group
            lines.append(_line(request.point, name))
    return f"{points} point(s) of {name!r}, group {group!r}", lines


def _line(point: udf_pb2.Point, name: str) -> str:
    fields: dict[str, FieldValue] = {}
    for values in (point.fieldsDouble, point.fieldsInt, point.fieldsString, point.fieldsBool):
        fields.update(sorted(values.items()))
    try:
        line = format_point(Point(name, dict(sorted(point.tags.items())), fields, point.time))
    except LineError as error:
        return f"# {error}: time {point.time}, fields {fields!r}"
    return line.decode(errors="replace")


def keep(path: Path, unit: bytes, why: str) -> str:
    """Append a unit to the quarantine file; return what it was, in one line."""
    what, lines = describe(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"# {what}: {why}\n")
        file.writelines(line + "\n" for line in lines)
    return what
