"""What a UDF returns, and how it is written."""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import encode_varint

Value = float | int | str | bool
"""What a field can hold; numpy's numbers are taken as well."""


@dataclass(slots=True)
class Result:
    """One point to emit, where a dict of fields does not say enough.

    Parameters
    ----------
    fields : mapping of str to float, int, str or bool
        At least one; a float that is not finite is left out.
    time : int, optional
        Nanoseconds since 1970 UTC; by default the window's newest time, or the point's.
    tags : mapping of str to str
        Added to the group's tags.
    """

    fields: Mapping[str, Any]
    time: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """Points to emit as one batch, by a stream UDF that provides batches.

    Parameters
    ----------
    results : sequence of Result or dict
        The batch's points, in order of time.
    tmax : int, optional
        Nanoseconds since 1970 UTC; by default the time of the point that completed it.
    """

    results: list[Any]
    tmax: int | None = None


def as_results(returned: Any) -> list[Result]:
    """Turn what a handler returned into results.

    Raises
    ------
    TypeError
        If it is neither None, a dict, a `Result`, nor a sequence of these.
    """
    if returned is None:
        return []
    if isinstance(returned, Result):
        return [returned]
    if isinstance(returned, Mapping):
        return [Result(returned)]
    if isinstance(returned, Iterable) and not isinstance(returned, str | bytes):
        return [result for item in returned for result in as_results(item)]
    raise TypeError(
        f"a UDF returns a dict of fields, a Result, a list of these or None, "
        f"not a {type(returned).__name__}"
    )


def by_field(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Name the scores of several fields apart.

    Parameters
    ----------
    scores : mapping of str to mapping of str to float
        Scores of each field.

    Returns
    -------
    dict of str to float
        Of one field its scores as they are, of several ``<score>_<field>``.

    Examples
    --------
    >>> by_field({"bed": {"t": 1.0}})
    {'t': 1.0}
    >>> by_field({"bed": {"t": 1.0}, "air": {"t": 2.0}})
    {'t_bed': 1.0, 't_air': 2.0}
    """
    if len(scores) == 1:
        return {score: value for part in scores.values() for score, value in part.items()}
    return {
        f"{score}_{field}": value for field, part in scores.items() for score, value in part.items()
    }


class PointWriter:
    """Writes points as frames, and counts the values it had to leave out."""

    def __init__(self) -> None:
        self.left_out = 0
        self._prefixes: dict[str, bytes] = {}
        self._rivals: dict[str, bytes] = {}

    def new(self, template: udf_pb2.Point, result: Result, time: int) -> bytes:
        """Write a point with the template's name, group and tags, and a result's fields.

        Returns
        -------
        bytes
            The frame of the response; empty when no field is left.
        """
        point = udf_pb2.Point()
        point.CopyFrom(template)
        point.time = time if result.time is None else int(result.time)
        for key, text in result.tags.items():
            point.tags[key] = text
        if not self.set_fields(point, result.fields):
            return b""
        return frame_of(point.SerializeToString())

    def extended(self, body: bytes, fields: Mapping[str, Any], extra: bytes = b"") -> bytes:
        """Write a received point again, with fields added or replaced.

        Parameters
        ----------
        body : bytes
            The point as it was received.
        fields : mapping of str to value
            What to add.
        extra : bytes
            Entries of a point to append as they are.

        Returns
        -------
        bytes
            The frame of the response.
        """
        added = bytearray()
        for name, value in fields.items():
            # numpy's float64 is a float.
            if not isinstance(value, float) or self._rival(name) in body:
                return self._rewritten(body, fields, extra)
            if not math.isfinite(value):
                self.left_out += 1
                continue
            added += self._prefix(name)
            added += struct.pack("<d", value)
        # Entries may follow in any order, and the last one of a name holds: appending
        # is as good as parsing, changing and serializing.
        return frame_of(body + added + extra)

    def extended_all(
        self, block: bytes, starts: list[int], ends: list[int], columns: Mapping[str, Any]
    ) -> list[bytes]:
        """Write received points again, with fields added or replaced.

        Parameters
        ----------
        block : bytes
            Where their frames are.
        starts, ends : list of int
            First byte of each frame, and the one after its last.
        columns : mapping of str to ndarray, shape (points,)
            What to add.

        Returns
        -------
        list of bytes
            The frames of the responses.
        """
        plain = all(
            column.dtype == np.float64
            and np.isfinite(column).all()
            and self._rival(name) not in block
            for name, column in columns.items()
        )
        if not plain:
            lists = [column.tolist() for column in columns.values()]
            names = list(columns)
            return [
                self.extended(
                    point_body(block[start:end]),
                    {name: column[row] for name, column in zip(names, lists, strict=True)},
                )
                for row, (start, end) in enumerate(zip(starts, ends, strict=True))
            ]
        added = self._entries(columns, len(starts))
        width = len(added) // max(len(starts), 1)
        heads: dict[int, bytes] = {}
        frames = []
        offset = 0
        for start, end in zip(starts, ends, strict=True):
            size = block[start + 2]
            if size < 0x80 and start + 3 + size == end:
                body = block[start + 3 : end]
            else:
                body = point_body(block[start:end])
            size = len(body) + width
            head = heads.get(size)
            if head is None:
                inner = b"\x8a\x01" + encode_varint(size)
                head = heads[size] = encode_varint(len(inner) + size) + inner
            frames.append(head + body + added[offset : offset + width])
            offset += width
        return frames

    def _entries(self, columns: Mapping[str, Any], count: int) -> bytes:
        """Serialize the added fields of all points, one point after the other."""
        prefixes = [self._prefix(name) for name in columns]
        table = np.empty((count, sum(len(prefix) + 8 for prefix in prefixes)), np.uint8)
        at = 0
        for prefix, column in zip(prefixes, columns.values(), strict=True):
            table[:, at : at + len(prefix)] = np.frombuffer(prefix, np.uint8)
            at += len(prefix)
            numbers = np.ascontiguousarray(column, "<f8")
            table[:, at : at + 8] = numbers.view(np.uint8).reshape(count, 8)
            at += 8
        return table.tobytes()

    def _prefix(self, name: str) -> bytes:
        """Return the entry of a double field, up to its value."""
        prefix = self._prefixes.get(name)
        if prefix is None:
            key = name.encode()
            entry = b"\x0a" + encode_varint(len(key)) + key
            prefix = b"\x42" + encode_varint(len(entry) + 9) + entry + b"\x11"
            self._prefixes[name] = prefix
            self._rivals[name] = entry + b"\x10"
        return prefix

    def _rival(self, name: str) -> bytes:
        """Return what a bool field of that name holds; it would win over a double."""
        if name not in self._rivals:
            self._prefix(name)
        return self._rivals[name]

    def _rewritten(self, body: bytes, fields: Mapping[str, Any], extra: bytes) -> bytes:
        point = udf_pb2.Point.FromString(body)
        self.set_fields(point, fields)
        return frame_of(point.SerializeToString() + extra)

    def set_fields(self, point: udf_pb2.Point, fields: Mapping[str, Any]) -> int:
        """Set fields on a point, each in the map of its type and in no other.

        Raises
        ------
        TypeError
            Naming the field, if a value is of another type.
        """
        count = 0
        for name, value in fields.items():
            maps: dict[type, Any] = {
                bool: point.fieldsBool,
                int: point.fieldsInt,
                float: point.fieldsDouble,
                str: point.fieldsString,
            }
            if isinstance(value, np.generic):
                value = value.item()
            kind = type(value) if type(value) in maps else _base(value, maps)
            if kind is None:
                raise TypeError(
                    f"field {name!r} is a {type(value).__name__}; "
                    "a field holds a float, an int, a str or a bool"
                )
            if kind is float and not math.isfinite(value):
                self.left_out += 1
                continue
            for other in maps.values():
                other.pop(name, None)
            maps[kind][name] = value
            count += 1
        return count


def _base(value: Any, maps: Mapping[type, Any]) -> type | None:
    return next((kind for kind in maps if isinstance(value, kind)), None)


def frame_of(body: bytes | bytearray) -> bytes:
    """Frame the response that holds a serialized point."""
    head = b"\x8a\x01" + encode_varint(len(body))
    return b"".join((encode_varint(len(head) + len(body)), head, body))


def point_body(frame: bytes) -> bytes:
    """Return the serialized point inside the frame of a request."""
    if len(frame) > 3 and frame[:2] == b"\x8a\x01":
        if frame[2] < 0x80 and len(frame) == 3 + frame[2]:
            return frame[3:]
        if frame[3] < 0x80 and len(frame) == 4 + (frame[2] & 0x7F | frame[3] << 7):
            return frame[4:]
    return udf_pb2.Request.FromString(frame).point.SerializeToString()
