"""Decode the wanted fields of many points at once, into arrays.

Parsing a point with protobuf makes an object of it, with maps for its tags and fields;
a window that is read by one field throws nearly all of that away. Here all frames of a
block are walked side by side instead: one cursor a frame, and each step moves every
cursor over one entry of its point with a handful of array operations.

It has to be as strict as a full parse: an entry counts only where an entry can stand,
so the same bytes inside a string fool nobody. What is walked is the canonical form, in
which Kapacitor writes. A frame that leaves it anywhere, even where protobuf would still
accept it (another order, a default left out, a length padded), is *in doubt* and parsed
by protobuf itself.

The layout of a point's entries, with the tag byte before each:

========================  ===================================================
time ``08``               varint
strings ``12 .. 32``      length, bytes: name, database, policy, group, dimension
tag ``3a``                length, ``0a`` length key, ``12`` length value
field, double ``42``      length, ``0a`` length key, ``11`` eight bytes
field, int ``4a``         length, ``0a`` length key, ``10`` varint
field, string ``52``      length, ``0a`` length key, ``12`` length value
by name ``58``            varint
field, bool ``62``        length, ``0a`` length key, ``10`` varint
========================  ===================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from kapacitor.udf import udf_pb2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]

MISSING: Final = 0
"""The point has no such field."""
GOOD: Final = 1
"""The field is a finite number."""
NOT_FINITE: Final = 2
"""The field is NaN or infinite."""
WRONG_TYPE: Final = 3
"""The field is a string or a bool."""
MALFORMED: Final = 4
"""The frame is no point at all."""

REASONS: Final = {
    MISSING: "is missing",
    NOT_FINITE: "is not a finite number",
    WRONG_TYPE: "is not a number",
    MALFORMED: "cannot be read: the frame is no point",
}
"""What each status but `GOOD` means, in words."""

FEW = 12
"""Frames below which protobuf is the quicker way."""

_TOP_BITS = np.uint64(0x8080808080808080)
_LOW_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONE = np.uint64(1)
_STRINGS = (0x12, 0x1A, 0x22, 0x2A, 0x32)
_ALL = slice(None)
# What to keep of the first eight bytes at a key of each size.
_KEY_MASKS = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(256)], np.uint64)


@dataclass(slots=True)
class Columns:
    """Decoded points.

    Attributes
    ----------
    times : ndarray of int64, shape (points,)
        Nanoseconds since 1970 UTC.
    values : ndarray of float64, shape (fields, points)
        NaN where the status is not `GOOD`.
    status : ndarray of uint8, shape (fields, points)
        One of `MISSING`, `GOOD`, `NOT_FINITE`, `WRONG_TYPE`, `MALFORMED`.
    groups : list of str
        Group of each point; empty unless asked for.
    """

    times: Ints
    values: Floats
    status: Flags
    groups: list[str]

    def part(self, begin: int, end: int) -> "Columns":
        """Return the points from one index to another."""
        chosen = slice(begin, end)
        return Columns(
            self.times[chosen],
            self.values[:, chosen],
            self.status[:, chosen],
            self.groups[chosen],
        )


def point_of(frame: bytes) -> udf_pb2.Point | None:
    """Return the point of a frame, parsed with protobuf; None if it holds none."""
    try:
        request = udf_pb2.Request.FromString(frame)
    except DecodeError:
        return None
    return request.point if request.WhichOneof("message") == "point" else None


def number_of(point: udf_pb2.Point, field: str) -> float | int | None:
    """Return a field that is a number; of two with the same name, the float."""
    value: float | None = point.fieldsDouble.get(field)
    return point.fieldsInt.get(field) if value is None else value


class Decoder:
    """Decodes the named fields of points.

    Parameters
    ----------
    fields : sequence of str
        Wanted fields, in the order of the rows of the result.
    groups : bool
        Whether the points' groups are wanted as well.
    """

    def __init__(self, fields: Sequence[str], *, groups: bool = False) -> None:
        self.fields = tuple(fields)
        self._groups = groups
        self._keys = [_Key(field) for field in fields]
        # Behind the block, so that wherever a wrong size leads is still in reach.
        self._pad = bytes(600 + max((key.size for key in self._keys), default=0))

    def decode(
        self, block: bytes, starts: Sequence[int] | Ints, ends: Sequence[int] | Ints
    ) -> Columns:
        """Decode frames that hold one point each.

        Parameters
        ----------
        block : bytes
            Where the frames are.
        starts, ends : sequence of int
            First byte of each frame, and the one after its last, in the block; a frame
            begins with the tag of the point in its request.

        Returns
        -------
        Columns
            In the order of the frames. Nothing raises: what cannot be read is `MALFORMED`.
        """
        count = len(starts)
        shape = (len(self.fields), count)
        columns = Columns(
            np.zeros(count, np.int64), np.full(shape, np.nan), np.zeros(shape, np.uint8), []
        )
        if count < FEW:
            groups: list[str] = [""] * count
            for index in range(count):
                self._parse(block[starts[index] : ends[index]], index, columns, groups)
            columns.groups = groups if self._groups else []
            return columns
        walk = _Walk(block, np.asarray(starts, np.int64), np.asarray(ends, np.int64), self._pad)
        walk.run(self._keys, columns)
        doubtful = np.flatnonzero(walk.doubt)
        groups = walk.groups() if self._groups else [""] * count
        for index in doubtful.tolist():
            columns.times[index] = 0
            columns.values[:, index] = np.nan
            columns.status[:, index] = MISSING
            groups[index] = ""
            self._parse(block[starts[index] : ends[index]], index, columns, groups)
        columns.groups = groups if self._groups else []
        not_finite = (columns.status == GOOD) & ~np.isfinite(columns.values)
        if not_finite.any():
            columns.status[not_finite] = NOT_FINITE
            columns.values[not_finite] = np.nan
        return columns

    def _parse(self, frame: bytes, index: int, columns: Columns, groups: list[str]) -> None:
        """Decode one frame with protobuf."""
        point = point_of(frame)
        if point is None:
            columns.status[:, index] = MALFORMED
            return
        columns.times[index] = point.time
        groups[index] = point.group
        for row, field in enumerate(self.fields):
            value = number_of(point, field)
            if value is not None:
                good = np.isfinite(value)
                columns.status[row, index] = GOOD if good else NOT_FINITE
                columns.values[row, index] = value if good else np.nan
            elif field in point.fieldsString or field in point.fieldsBool:
                columns.status[row, index] = WRONG_TYPE


class _Key:
    """A field's name as eight-byte words to compare with."""

    def __init__(self, field: str) -> None:
        name = field.encode()
        self.size = len(name)
        self.first = np.uint64(int.from_bytes(name[:8], "little"))
        self.rest: list[tuple[int, np.uint64, np.uint64]] = []
        for offset in range(8, len(name), 8):
            part = name[offset : offset + 8]
            mask = (1 << 8 * len(part)) - 1
            self.rest.append((offset, np.uint64(mask), np.uint64(int.from_bytes(part, "little"))))


class _Walk:
    """The cursors of all frames of a block.

    A set of frames is given as their index, or as ``_ALL``, with which nothing needs to be
    picked out of the arrays.
    """

    def __init__(self, block: bytes, starts: Ints, ends: Ints, pad: bytes) -> None:
        self.block = block
        padded = block + pad
        size = len(padded) - 7
        self.bytes = np.frombuffer(padded, np.uint8)
        # The eight bytes at every offset, overlapping, without a copy.
        self.words: _Words = np.ndarray((size,), "<u8", padded, strides=(1,))
        self.heads: Ints = np.ndarray((size,), "<i8", padded, strides=(1,))
        self.doubles: Floats = np.ndarray((size,), "<f8", padded, strides=(1,))
        self.doubt = np.zeros(len(starts), np.bool_)
        self.ends = ends
        self.cursor = self._enter(starts)
        self.group_spans: tuple[Ints, Ints] = (self.cursor.copy(), np.zeros(len(starts), np.int64))
        self._high: npt.NDArray[np.int32] | None = None

    def _enter(self, starts: Ints) -> Ints:
        """Pass the head of each point: its tag in the request, and its length."""
        head = self.heads[starts]
        length = (head >> 16) & 0xFF
        body = starts + 3
        good = (head & 0x80FFFF) == 0x018A
        if not good.all():
            long = (head & 0x8080FFFF) == 0x0080018A
            length = np.where(long, (length & 0x7F) | (((head >> 24) & 0xFF) << 7), length)
            body += long
            good |= long
        self.doubt |= ~good | (body + length != self.ends)
        return body

    def run(self, keys: list[_Key], columns: Columns) -> None:
        """Move every cursor to the end of its frame."""
        active: Any = _ALL
        if self.doubt.any() or (self.cursor >= self.ends).any():
            active = np.flatnonzero(~self.doubt & (self.cursor < self.ends))
        while active is _ALL or active.size:
            position = self.cursor[active]
            tags = self.bytes[position]
            first = int(tags[0])
            if (tags == first).all():
                self._step(first, active, position, keys, columns)
            else:
                for tag in np.flatnonzero(np.bincount(tags)).tolist():
                    chosen = tags == tag
                    index = _those(active, chosen)
                    self._step(tag, index, position[chosen], keys, columns)
            left = self.ends[active] - self.cursor[active]
            going = (left > 0) & ~self.doubt[active]
            if going.all():
                continue
            self.doubt[_those(active, left < 0)] = True
            active = _those(active, going)

    def _step(
        self, tag: int, index: Any, position: Ints, keys: list[_Key], columns: Columns
    ) -> None:
        """Pass the entry at the cursor of each frame given; all have the same tag."""
        if tag in (0x42, 0x4A, 0x62, 0x52, 0x3A):
            self._entry(tag, index, position, keys, columns)
        elif tag == 0x08:
            value, size = self._varint(position + 1)
            columns.times[index] = value
            self._pass(index, position + 1 + size, size > 0)
        elif tag in _STRINGS:
            length = self.bytes[position + 1].astype(np.int64)
            begin = position + 2
            good = (length < 0x80) & self._ascii(begin, begin + length)
            if tag == 0x2A:
                self.group_spans[0][index] = begin
                self.group_spans[1][index] = length
            self._pass(index, begin + length, good)
        elif tag == 0x58:
            self._pass(index, position + 2, self.bytes[position + 1] <= 1)
        else:
            self.doubt[index] = True

    def _pass(self, index: Any, position: Ints, good: npt.NDArray[np.bool_]) -> None:
        self.cursor[index] = position
        if not good.all():
            self.doubt[_those(index, ~good)] = True

    def _entry(
        self, tag: int, index: Any, position: Ints, keys: list[_Key], columns: Columns
    ) -> None:
        """Pass an entry of a map: a tag, or a field of one of the four types.

        Its head is the tag, its size, 0a and the size of its key, both below 128. Whatever
        is read behind a head that is wrong lies within the block's padding, and counts for
        nothing: the frame is in doubt.
        """
        head = self.heads[position]
        size = (head >> 8) & 0xFF
        key_size = (head >> 24) & 0xFF
        key = position + 4
        tail = key + key_size
        first = self.words[key] & _KEY_MASKS[key_size]
        good = (head & 0x80FF8000) == 0x000A0000
        good &= self._is_ascii(first, key, key_size)
        value: Any = None
        if tag == 0x42:
            good &= (size - key_size == 11) & (self.bytes[tail] == 0x11)
            value = self.doubles[tail + 1]
        elif tag in (0x4A, 0x62):
            number, width = self._varint(tail + 1)
            good &= (self.bytes[tail] == 0x10) & (size - key_size == 3 + width) & (width > 0)
            if tag == 0x62:
                good &= (number == 0) | (number == 1)
            else:
                value = number
        else:
            text = self.bytes[tail + 1].astype(np.int64)
            good &= (self.bytes[tail] == 0x12) & (size - key_size == 4 + text)
            good &= self._ascii(tail + 2, tail + 2 + text)
        if tag != 0x3A:
            for row, wanted in enumerate(keys):
                same = (first == wanted.first) & (key_size == wanted.size)
                for offset, mask, word in wanted.rest:
                    same &= (self.words[key + offset] & mask) == word
                self._keep(tag, row, index, same, value, columns)
        self._pass(index, position + 2 + size, good)

    def _keep(
        self,
        tag: int,
        row: int,
        index: Any,
        same: npt.NDArray[np.bool_],
        value: Any,
        columns: Columns,
    ) -> None:
        """Note a wanted field where the entry is it."""
        if same.all():
            chosen = index
        else:
            chosen = _those(index, same)
            if not chosen.size:
                return
            value = None if value is None else value[same]
        status = columns.status[row]
        if value is None:
            # A number of the same name wins over a string or a bool, as in a full parse.
            where = np.arange(len(status))[chosen] if chosen is _ALL else chosen
            status[where[status[where] != GOOD]] = WRONG_TYPE
            return
        if tag == 0x4A:
            # The same name as double and as int: rare enough for protobuf.
            self.doubt[chosen] |= status[chosen] == GOOD
        columns.values[row, chosen] = value
        status[chosen] = GOOD

    def _varint(self, position: Ints) -> tuple[Ints, Ints]:
        """Decode the varints at some positions; a size of 0 says that it is not one."""
        word = self.words[position]
        stops = ~word & _TOP_BITS
        ninth = self.words[position + 8] if not stops.all() else None
        if ninth is None:
            keep = stops ^ (stops - _ONE)
            return _squeeze(word & keep).view(np.int64), _bytes_of(keep)
        if not stops.any() and not (ninth & np.uint64(0x80)).any():
            # Nine bytes, as the times of this century have.
            value = _squeeze(word) | (ninth & np.uint64(0x7F)) << np.uint64(56)
            return value.view(np.int64), np.full(len(position), 9)
        keep = np.where(stops != 0, stops ^ (stops - _ONE), ~np.uint64(0))
        value = _squeeze(word & keep)
        size = _bytes_of(keep)
        long = stops == 0
        tenth = (ninth >> np.uint64(8)) & np.uint64(0xFF)
        value = np.where(long, value | (ninth & np.uint64(0x7F)) << np.uint64(56), value)
        longest = long & ((ninth & np.uint64(0x80)) != 0)
        value = np.where(longest, value | tenth << np.uint64(63), value)
        size = np.where(long, 9, size)
        size = np.where(longest, np.where(tenth <= 1, 10, 0), size)
        return value.view(np.int64), size

    def _is_ascii(self, first: _Words, key: Ints, size: Ints) -> npt.NDArray[np.bool_]:
        """Whether each key is plain ASCII; others need protobuf's check of UTF-8."""
        if (size > 8).any():
            return self._ascii(key, key + size)
        clean: npt.NDArray[np.bool_] = (first & _TOP_BITS) == 0
        return clean

    def _ascii(self, begin: Ints, end: Ints) -> npt.NDArray[np.bool_]:
        if self._high is None:
            self._high = np.zeros(len(self.bytes) + 1, np.int32)
            np.cumsum(self.bytes >> np.uint8(7), out=self._high[1:], dtype=np.int32)
        limit = len(self._high) - 1
        before, after = self._high[np.minimum(begin, limit)], self._high[np.minimum(end, limit)]
        return np.equal(before, after)

    def groups(self) -> list[str]:
        """Text of each point's group; doubtful frames get theirs elsewhere."""
        begins, sizes = self.group_spans
        block = self.block
        known: dict[bytes, str] = {}
        found: list[str] = []
        for begin, end in zip(begins.tolist(), (begins + sizes).tolist(), strict=True):
            raw = block[begin:end]
            text = known.get(raw)
            if text is None:
                text = known[raw] = raw.decode("ascii", "replace")
            found.append(text)
        return found


def _those(index: Any, chosen: npt.NDArray[np.bool_]) -> Ints:
    """Pick from a set of frames."""
    return np.flatnonzero(chosen) if index is _ALL else index[chosen]


def _bytes_of(keep: _Words) -> Ints:
    """Count the bytes of a mask that begins at the lowest bit."""
    top = keep & ~(keep >> _ONE)
    return np.frexp(top.astype(np.float64))[1].astype(np.int64) // 8


def _squeeze(word: _Words) -> _Words:
    """Drop the top bit of each of eight bytes and close the gaps."""
    word = word & _LOW_BITS
    word = (word & np.uint64(0x007F007F007F007F)) | ((word >> _ONE) & np.uint64(0x3F803F803F803F80))
    word = (word & np.uint64(0x00003FFF00003FFF)) | (
        (word >> np.uint64(2)) & np.uint64(0x0FFFC0000FFFC000)
    )
    return (word & np.uint64(0x0FFFFFFF)) | ((word >> np.uint64(4)) & np.uint64(0x00FFFFFFF0000000))
