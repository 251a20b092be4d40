"""Stream UDFs: a point in, fields out; or all points that arrived together."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import encode_varint
from kapacitor.udf.typed.base import BATCH, STREAM, Feed, TypedUDF
from kapacitor.udf.typed.columns import (
    GOOD,
    MALFORMED,
    REASONS,
    Columns,
    Floats,
    Ints,
    number_of,
    point_of,
)
from kapacitor.udf.typed.health import Health
from kapacitor.udf.typed.results import Batch, Result, as_results, point_body


class Point:
    """One point of a stream.

    Attributes
    ----------
    time : int
        Nanoseconds since 1970 UTC.
    group : str
        Group; empty when the task does not group.
    value : float
        The field read, when it is one; ``point[field]`` when there are several.
    """

    __slots__ = ("_fields", "_frame", "_message", "_values", "group", "time", "value")

    def __init__(
        self, fields: tuple[str, ...], values: list[float], time: int, group: str, frame: bytes
    ) -> None:
        self.time = time
        self.group = group
        self.value = values[0] if values else float("nan")
        self._fields = fields
        self._values = values
        self._frame = frame
        self._message: udf_pb2.Point | None = None

    def __getitem__(self, field: str) -> float:
        """Return the value of one of the fields read."""
        try:
            return self._values[self._fields.index(field)]
        except ValueError:
            raise KeyError(f"{field!r} is not read; fields are {list(self._fields)}") from None

    @property
    def message(self) -> udf_pb2.Point:
        """The point as it was received, parsed when first asked for."""
        if self._message is None:
            self._message = udf_pb2.Point.FromString(point_body(self._frame))
        return self._message

    @property
    def name(self) -> str:
        """Measurement."""
        return self.message.name

    @property
    def tags(self) -> dict[str, str]:
        """All its tags."""
        return dict(self.message.tags)

    @property
    def fields(self) -> dict[str, float | int | str | bool]:
        """All its fields, read or not."""
        point = self.message
        fields: dict[str, float | int | str | bool] = dict(point.fieldsString)
        fields.update(point.fieldsInt)
        fields.update(point.fieldsDouble)
        fields.update(point.fieldsBool)
        return fields


class Points:
    """Points of one group that arrived together, in order.

    ``points[field]`` is the array of a field, shape (points,).

    Attributes
    ----------
    group : str
        Their group.
    times : ndarray of int64, shape (points,)
        Nanoseconds since 1970 UTC.
    """

    __slots__ = ("_fields", "_values", "group", "times")

    def __init__(self, fields: tuple[str, ...], values: Floats, times: Ints, group: str) -> None:
        self._fields = fields
        self._values = values
        self.times = times
        self.group = group

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, field: str) -> Floats:
        """Return a field of every point, shape (points,)."""
        try:
            column: Floats = self._values[self._fields.index(field)]
        except ValueError:
            raise KeyError(f"{field!r} is not read; fields are {list(self._fields)}") from None
        return column


class StreamUDF(TypedUDF):
    """A UDF that reads a stream. Subclass it, declare options, and define `point`.

    Define `points` instead where work on arrays is cheaper than point by point: it gets
    whatever has arrived together, which is one point when the stream is slow.

    Attributes
    ----------
    keep_fields : bool
        Emit a point's own fields along with the new ones.
    keep_incomplete : bool
        Handle points of which a field is missing or unusable as well, with NaN for it.
    """

    wants: ClassVar[str] = STREAM
    keep_fields: ClassVar[bool] = True
    keep_incomplete: ClassVar[bool] = False

    def point(self, point: Point, state: Any) -> Any:
        """Handle one point.

        Parameters
        ----------
        point : Point
            Its fields are good numbers.
        state : object
            What `new_state` returned for this group; change it in place.

        Returns
        -------
        dict, Result, Batch, sequence of these or None
            A dict of fields passes the point on with them; None drops it.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither point() nor points()")

    def points(self, points: Points, state: Any) -> Mapping[str, Any] | None:
        """Handle points of one group that arrived together.

        Parameters
        ----------
        points : Points
            In order; at least one.
        state : object
            What `new_state` returned for this group; change it in place.

        Returns
        -------
        dict of str to array_like or scalar, or None
            For each new field a value for every point; None drops them all.
        """
        raise NotImplementedError


class StreamFeed(Feed):
    """Decodes what arrived together and hands it to the UDF."""

    udf: StreamUDF

    def __init__(self, udf: StreamUDF, health: Health) -> None:
        super().__init__(udf, health)
        self._in_arrays = type(udf).points is not StreamUDF.points

    def alone(self, frame: bytes) -> bool:
        """Handle a good point without arrays, which on a slow stream cost more than all else."""
        if self._in_arrays:
            return False
        point = point_of(frame)
        if point is None:
            return False
        values = []
        for field in self.decoder.fields:
            value = number_of(point, field)
            if value is None or not math.isfinite(value):
                return False
            values.append(float(value))
        self.health.good(1)
        self._one(values, point.time, point.group, frame)
        return True

    def points(self, block: bytes, starts: Ints, ends: Ints, columns: Columns | None) -> None:
        """Decode points and handle those that can be used."""
        if columns is None:
            columns = self.decoder.decode(block, starts, ends)
        begins, tails = starts.tolist(), ends.tolist()
        good = (columns.status == GOOD).all(axis=0)
        if good.all():
            index = list(range(len(begins)))
        else:
            kept = good
            if self.udf.keep_incomplete:
                kept = (columns.status != MALFORMED).all(axis=0)
            for bad in np.flatnonzero(~good).tolist():
                frame = block[begins[bad] : tails[bad]]
                self._unusable(frame, columns.status[:, bad].tolist(), bool(kept[bad]))
            index = np.flatnonzero(kept).tolist()
        self.health.good(int(np.count_nonzero(good)))
        if self._in_arrays:
            self._arrays(columns, block, begins, tails, index)
        else:
            rows = columns.values.T.tolist()
            times = columns.times.tolist()
            for i in index:
                frame = block[begins[i] : tails[i]]
                self._one(rows[i], times[i], columns.groups[i], frame)

    def _unusable(self, frame: bytes, statuses: list[int], kept: bool) -> None:
        pairs = zip(self.decoder.fields, statuses, strict=True)
        reason = "; ".join(
            f"{field} {REASONS[status]}" for field, status in pairs if status != GOOD
        )
        if kept:
            self.health.incomplete(frame, reason)
        else:
            self.health.bad(frame, "", reason)

    def _one(self, values: list[float], time: int, group: str, frame: bytes) -> None:
        """Handle one point."""
        point = Point(self.decoder.fields, values, time, group, frame)
        try:
            returned = self.udf.point(point, self.groups.get(group))
            if type(returned) is dict and self.udf.keep_fields and self.udf.provides == STREAM:
                written = [self.writer.extended(point_body(frame), returned)]
            else:
                written = self._encode(returned, point)
        except Exception as error:
            self.health.raised(error, "point", group, time)
            return
        self.health.worked()
        for done in written:
            self.emit(done)

    def _encode(self, returned: Any, point: Point) -> list[bytes]:
        if self.udf.provides == BATCH:
            batches = [returned] if isinstance(returned, Batch) else list(returned or ())
            return [frame for batch in batches for frame in self._batch(batch, point)]
        written = []
        for result in as_results(returned):
            template = udf_pb2.Point()
            template.CopyFrom(point.message)
            if not self.udf.keep_fields:
                _clear_fields(template)
            written.append(self.writer.new(template, result, point.time))
        return written

    def _batch(self, batch: Any, point: Point) -> list[bytes]:
        if not isinstance(batch, Batch):
            raise TypeError(f"a UDF that provides batches returns a Batch, not a {type(batch)}")
        source = point.message
        tags = {name: source.tags[name] for name in source.dimensions if name in source.tags}
        template = udf_pb2.Point(group=source.group, tags=tags)
        frames = [
            self.writer.new(template, result, point.time) for result in as_results(batch.results)
        ]
        frames = [frame for frame in frames if frame]
        shared: dict[str, Any] = {"name": source.name, "group": source.group, "tags": tags}
        begin = udf_pb2.BeginBatch(size=len(frames), byName=source.byName, **shared)
        tmax = point.time if batch.tmax is None else batch.tmax
        end = udf_pb2.EndBatch(tmax=tmax, byName=source.byName, **shared)
        opening = udf_pb2.Response(begin=begin).SerializeToString()
        closing = udf_pb2.Response(end=end).SerializeToString()
        return [
            encode_varint(len(opening)) + opening,
            *frames,
            encode_varint(len(closing)) + closing,
        ]

    def _arrays(
        self, columns: Columns, block: bytes, begins: list[int], tails: list[int], index: list[int]
    ) -> None:
        """Handle points group by group, and emit them in the order they came."""
        members: dict[str, list[int]] = {}
        for i in index:
            members.setdefault(columns.groups[i], []).append(i)
        emitted: dict[int, bytes] = {}
        for group, chosen in members.items():
            whole = len(chosen) == len(begins)
            part = Points(
                self.decoder.fields,
                columns.values if whole else columns.values[:, chosen],
                columns.times if whole else columns.times[chosen],
                group,
            )
            try:
                returned = self.udf.points(part, self.groups.get(group))
                if returned is None:
                    written = []
                else:
                    bounds = [begins[i] for i in chosen], [tails[i] for i in chosen]
                    written = self._extend(returned, block, *bounds)
            except Exception as error:
                self.health.raised(error, "group of points", group, int(part.times[0]))
                continue
            self.health.worked()
            if len(members) == 1:
                self.emit_all(written)
            else:
                emitted.update(zip(chosen, written, strict=bool(written)))
        self.emit_all([emitted[i] for i in sorted(emitted)])

    def _extend(
        self, returned: Mapping[str, Any], block: bytes, begins: list[int], tails: list[int]
    ) -> list[bytes]:
        count = len(begins)
        columns = {}
        for name, column in returned.items():
            array = np.asarray(column)
            if array.ndim and len(array) != count:
                raise ValueError(f"{name} has {len(array)} values for {count} points")
            columns[name] = np.broadcast_to(array, (count,))
        if self.udf.keep_fields:
            return self.writer.extended_all(block, begins, tails, columns)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        written = []
        for begin, tail, row in zip(begins, tails, rows, strict=True):
            bare = udf_pb2.Point.FromString(point_body(block[begin:tail]))
            _clear_fields(bare)
            result = Result(dict(zip(columns, row, strict=True)))
            written.append(self.writer.new(bare, result, bare.time))
        return written


def _clear_fields(point: udf_pb2.Point) -> None:
    for kind in ("fieldsDouble", "fieldsInt", "fieldsString", "fieldsBool"):
        point.ClearField(kind)
