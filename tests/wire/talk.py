"""Requests for UDF programs, as Kapacitor makes them."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import Program

ROOT = Path(__file__).resolve().parents[2]
UDF = ROOT / "udf"

_KINDS = {
    bool: (udf_pb2.BOOL, "boolValue"),
    int: (udf_pb2.INT, "intValue"),
    float: (udf_pb2.DOUBLE, "doubleValue"),
    str: (udf_pb2.STRING, "stringValue"),
}


def options(**given: object) -> list[udf_pb2.Option]:
    """Options by name; a tuple gives several values."""
    made = []
    for name, values in given.items():
        option = udf_pb2.Option(name=name)
        for value in values if isinstance(values, tuple) else (values,):
            number, where = _KINDS[type(value)]
            option.values.add(type=number, **{where: value})
        made.append(option)
    return made


def point(time: int = 0, group: str = "", /, **fields: object) -> udf_pb2.Request:
    """A point with fields of the type of their values."""
    made = udf_pb2.Point(time=time, group=group)
    maps = {
        float: made.fieldsDouble,
        int: made.fieldsInt,
        str: made.fieldsString,
        bool: made.fieldsBool,
    }
    for name, value in fields.items():
        maps[type(value)][name] = value
    return udf_pb2.Request(point=made)


def begin(name: str = "temperatures", group: str = "", **tags: str) -> udf_pb2.Request:
    """The begin of a window."""
    return udf_pb2.Request(begin=udf_pb2.BeginBatch(name=name, group=group, tags=tags))


def end(tmax: int = 0, name: str = "temperatures", group: str = "", **tags: str) -> udf_pb2.Request:
    """The end of a window."""
    return udf_pb2.Request(end=udf_pb2.EndBatch(name=name, group=group, tags=tags, tmax=tmax))


def window(
    values: Iterable[float], tmax: int = 0, field: str = "hotend", group: str = "", **tags: str
) -> list[udf_pb2.Request]:
    """A whole window of one field."""
    return [
        begin(group=group, **tags),
        *(point(time, group, **{field: float(value)}) for time, value in enumerate(values)),
        end(tmax, group=group, **tags),
    ]


def keepalive(time: int = 0) -> udf_pb2.Request:
    """A keepalive."""
    return udf_pb2.Request(keepalive=udf_pb2.KeepaliveRequest(time=time))


def snapshot() -> udf_pb2.Request:
    """A request for a snapshot."""
    return udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest())


def restore(data: bytes) -> udf_pb2.Request:
    """A request to restore a snapshot."""
    return udf_pb2.Request(restore=udf_pb2.RestoreRequest(snapshot=data))


def start(
    program: Path | str,
    arguments: Sequence[str] = (),
    *,
    path: Path = UDF,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    folder: Path | None = None,
) -> Program:
    """Start a program: one of the repository's, or the text of one.

    The text is given to Python itself; with a folder, written there first.
    """
    words = [python, str(program)]
    if isinstance(program, str):
        program = textwrap.dedent(program)
        words = [python, "-c", program]
        if folder is not None:
            (folder / "program.py").write_text(program)
            words = [python, str(folder / "program.py")]
    return Program([*words, *arguments], env={"PYTHONPATH": str(path), **(env or {})})


def module_cache() -> Path | None:
    """Where the engines' Go modules lie, if Go is installed."""
    try:
        out = subprocess.run(
            ["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    folder = Path(os.fsdecode(out.strip()))
    return folder if folder.is_dir() else None
