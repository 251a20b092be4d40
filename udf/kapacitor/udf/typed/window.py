"""Window UDFs: arrays in, fields out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import encode_varint
from kapacitor.udf.typed.base import BATCH, Feed, TypedUDF
from kapacitor.udf.typed.columns import GOOD, REASONS, Columns, Flags, Floats, Ints
from kapacitor.udf.typed.health import Health
from kapacitor.udf.typed.results import Result, as_results, point_body

DECODE_BYTES = 512 * 1024
"""Bytes of an open window that are gathered before they are decoded."""


class Window:
    """The points of one window of one group.

    ``window[field]`` is the array of a field's good values, in order of time; points
    without a usable value are left out of it.

    Attributes
    ----------
    name : str
        Measurement.
    group : str
        Group; empty when the task does not group.
    tags : dict of str to str
        The group's tags.
    tmax : int
        The window's newest time, in nanoseconds since 1970 UTC.
    times : ndarray of int64, shape (points,)
        Time of each point, usable or not.
    """

    __slots__ = (
        "_fields", "_frames", "_status", "_values", "by_name", "group", "name", "tags", "times",
        "tmax",
    )  # fmt: skip

    def __init__(
        self,
        fields: Sequence[str],
        times: Ints,
        values: Floats,
        status: Flags,
        frames: Sequence[bytes] = (),
    ) -> None:
        self.name = self.group = ""
        self.tags: dict[str, str] = {}
        self.by_name = False
        self.tmax = 0
        self.times = times
        self._fields = {field: row for row, field in enumerate(fields)}
        self._values = values
        self._status = status
        self._frames = frames

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, field: str) -> Floats:
        """Return the good values of a field, shape (usable points,)."""
        row = self._row(field)
        good = self._status[row] == GOOD
        values: Floats = self._values[row]
        return values if good.all() else values[good]

    def column(self, field: str) -> Floats:
        """Return a field of every point, shape (points,), with NaN for what is unusable."""
        column: Floats = self._values[self._row(field)]
        return column

    def times_of(self, field: str) -> Ints:
        """Return the times that belong to ``window[field]``."""
        times: Ints = self.times[self._status[self._row(field)] == GOOD]
        return times

    def add_fields(self, **columns: Any) -> "Annotated":
        """Pass the window's points on with fields added; return this from the UDF.

        Parameters
        ----------
        **columns : array_like or scalar
            For each new field a value for every point, in the order of `times`. Where it is
            NaN, the point goes on without the field.

        Raises
        ------
        ValueError
            If a column has another length than the window, or the UDF does not keep points.
        """
        if len(self._frames) != len(self):
            raise ValueError("set keep_points = True on the UDF to pass its points on")
        arrays = {}
        for name, column in columns.items():
            array = np.asarray(column)
            if array.ndim and len(array) != len(self):
                raise ValueError(f"{name} has {len(array)} values for {len(self)} points")
            arrays[name] = np.broadcast_to(array, (len(self),)).tolist()
        return Annotated(self._frames, arrays)

    def _row(self, field: str) -> int:
        try:
            return self._fields[field]
        except KeyError:
            raise KeyError(f"{field!r} is not read; fields are {list(self._fields)}") from None


@dataclass(slots=True)
class Annotated:
    """A window's points with added fields; made by `Window.add_fields`."""

    frames: Sequence[bytes]
    columns: Mapping[str, list[Any]]


class WindowUDF(TypedUDF):
    """A UDF that reads windows. Subclass it, declare options, and define `window`.

    Attributes
    ----------
    keep_points : bool
        Keep the window's points as they came, for `Window.add_fields`.
    """

    wants: ClassVar[str] = BATCH
    keep_points: ClassVar[bool] = False

    def window(self, window: Window, state: Any) -> Any:
        """Handle one window.

        Parameters
        ----------
        window : Window
            Its points; there may be none.
        state : object
            What `new_state` returned for this group; change it in place.

        Returns
        -------
        dict, Result, sequence of these, Annotated or None
            A dict of fields makes one point at the window's tmax.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no window()")


class WindowFeed(Feed):
    """Gathers the points of a window and hands them on when it ends."""

    udf: WindowUDF

    def __init__(self, udf: WindowUDF, health: Health) -> None:
        super().__init__(udf, health)
        self._begin: udf_pb2.BeginBatch | None = None
        self._forget()

    def _forget(self) -> None:
        self._blocks: list[bytes] = []
        self._bounds: list[tuple[Ints, Ints]] = []
        self._size = 0
        self._columns: list[Columns] = []
        self._frames: list[bytes] = []

    @property
    def patient(self) -> bool:
        """Whether a window is open: nothing is emitted before its end."""
        return self._begin is not None

    def begin(self, begin: udf_pb2.BeginBatch) -> None:
        """Open a window."""
        if self._begin is not None:
            self.health.tell("unexpected", f"a window of {self._begin.name!r} was never ended")
        self._begin = begin
        self._forget()

    @property
    def whole_blocks(self) -> bool:
        """Whether it takes points that were decoded along with others."""
        return True

    def points(self, block: bytes, starts: Ints, ends: Ints, columns: Columns | None) -> None:
        """Keep points for the window's end."""
        if self._begin is None:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self.health.bad(block[start:end], "", "it came outside of a window")
            return
        if columns is not None:
            self._decode()
            self._take(columns, block, starts, ends)
            return
        # Only the bytes of these points, so that small reads do not hold on to large blocks.
        first, last = int(starts[0]), int(ends[-1])
        self._blocks.append(block[first:last])
        self._bounds.append((starts + (self._size - first), ends + (self._size - first)))
        self._size += last - first
        if self._size >= DECODE_BYTES:
            self._decode()

    def _decode(self) -> None:
        """Decode what has been gathered."""
        if not self._blocks:
            return
        block = b"".join(self._blocks)
        starts = np.concatenate([part for part, _ in self._bounds])
        ends = np.concatenate([part for _, part in self._bounds])
        self._blocks, self._bounds, self._size = [], [], 0
        self._take(self.decoder.decode(block, starts, ends), block, starts, ends)

    def _take(self, columns: Columns, block: bytes, starts: Ints, ends: Ints) -> None:
        """Add decoded points to the window, and set aside those that cannot be used."""
        self._columns.append(columns)
        if self.udf.keep_points:
            pairs = zip(starts.tolist(), ends.tolist(), strict=True)
            self._frames += [block[a:b] for a, b in pairs]
        if (columns.status == GOOD).all():
            self.health.good(len(starts))
            return
        bad = np.flatnonzero((columns.status != GOOD).any(axis=0))
        self.health.good(len(starts) - len(bad))
        name = self._begin.name if self._begin is not None else ""
        for index in bad.tolist():
            statuses = zip(self.decoder.fields, columns.status[:, index].tolist(), strict=True)
            reason = "; ".join(
                f"{field} {REASONS[status]}" for field, status in statuses if status != GOOD
            )
            self.health.bad(block[starts[index] : ends[index]], name, reason)

    def end(self, end: udf_pb2.EndBatch) -> None:
        """Hand the window to the UDF and write what it returns."""
        if self._begin is None:
            self.health.tell("unexpected", f"the end of a window of {end.name!r} with no begin")
            return
        self._decode()
        window = self._window(end)
        self._begin = None
        self._forget()
        try:
            returned = self.udf.window(window, self.groups.get(end.group))
            frames, wanted = self._frames_of(returned, window)
        except Exception as error:
            self.health.raised(error, "window", end.group, end.tmax)
            return
        self.health.worked()
        if wanted and self.udf.provides == BATCH:
            self._emit_batch(frames, end, window)
        else:
            for frame in frames:
                self.emit(frame)

    def _window(self, end: udf_pb2.EndBatch) -> Window:
        parts = self._columns or [self.decoder.decode(b"", [], [])]
        if len(parts) == 1:
            times, values, status = parts[0].times, parts[0].values, parts[0].status
        else:
            times = np.concatenate([part.times for part in parts])
            values = np.concatenate([part.values for part in parts], axis=1)
            status = np.concatenate([part.status for part in parts], axis=1)
        window = Window(self.decoder.fields, times, values, status, self._frames)
        begin = self._begin
        window.name, window.group, window.tmax = end.name, end.group, end.tmax
        window.tags = dict(end.tags)
        window.by_name = end.byName or (begin is not None and begin.byName)
        return window

    def _frames_of(self, returned: Any, window: Window) -> tuple[list[bytes], bool]:
        """Encode what the UDF returned; also whether it returned anything."""
        batch = self.udf.provides == BATCH
        if isinstance(returned, Annotated):
            # A batch's points come without what a stream's points need to have.
            extra = b"" if batch else _stream_part(window)
            names = list(returned.columns)
            rows = zip(*returned.columns.values(), strict=True) if names else iter(())
            frames = [
                self.writer.extended(point_body(frame), dict(zip(names, row, strict=True)), extra)
                for frame, row in zip(returned.frames, rows, strict=True)
            ]
            return frames, True
        template = udf_pb2.Point(group=window.group, tags=window.tags)
        if not batch:
            template.name = window.name
            template.dimensions.extend(sorted(window.tags))
            template.byName = window.by_name
        results: list[Result] = as_results(returned)
        frames = [self.writer.new(template, result, window.tmax) for result in results]
        return [frame for frame in frames if frame], returned is not None

    def _emit_batch(self, frames: list[bytes], end: udf_pb2.EndBatch, window: Window) -> None:
        begin = udf_pb2.BeginBatch(
            name=end.name,
            group=end.group,
            tags=window.tags,
            size=len(frames),
            byName=window.by_name,
        )
        self.emit(_message(udf_pb2.Response(begin=begin)))
        for frame in frames:
            self.emit(frame)
        self.emit(_message(udf_pb2.Response(end=end)))


def _stream_part(window: Window) -> bytes:
    return udf_pb2.Point(
        name=window.name, dimensions=sorted(window.tags), byName=window.by_name
    ).SerializeToString()


def _message(response: udf_pb2.Response) -> bytes:
    body = response.SerializeToString()
    return encode_varint(len(body)) + body
