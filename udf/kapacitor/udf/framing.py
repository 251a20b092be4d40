r"""Frames on a byte stream: a length as a varint, then that many bytes.

The lowest layer of the SDK. It knows nothing of protobuf, and it works on anything
bytes can be read from or written to: a pipe, a socket, a file, ``io.BytesIO``.

A varint holds seven bits a byte, least significant first; the top bit says that
more follow. Lengths below 128 take one byte, below 16384 two.

Examples
--------
>>> import io
>>> stream = io.BytesIO()
>>> writer = FrameWriter(stream)
>>> writer.write(b"point")
>>> writer.write(b"")
>>> writer.flush()
>>> stream.getvalue()
b'\x05point\x00'
>>> list(FrameReader(io.BytesIO(stream.getvalue())))
[b'point', b'']
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

MAX_FRAME: Final = 256 * 1024 * 1024
"""Longest frame accepted unless told otherwise, in bytes.

A point has some hundred bytes; only snapshots grow large. A longer length is taken
for a stream that lost its step."""

BLOCK: Final = 256 * 1024
"""Bytes asked for in one read."""

_VARINT_BYTES: Final = 10  # what 64 bits need


class FrameError(ValueError):
    """The bytes are not frames. The message says where and what to look at."""


class TruncatedFrame(FrameError):  # noqa: N818 - says what happened, as EOFError does
    """The stream ended inside a frame: whoever wrote it died half-way."""


def encode_varint(number: int) -> bytes:
    """Encode a length.

    Parameters
    ----------
    number : int
        Zero or more, below 2**64.

    Returns
    -------
    bytes
        One to ten bytes.

    Raises
    ------
    ValueError
        When the number does not fit.

    Examples
    --------
    >>> [encode_varint(n).hex() for n in (0, 127, 128, 16383, 16384)]
    ['00', '7f', '8001', 'ff7f', '808001']
    """
    if 0 <= number < 0x80:
        return bytes((number,))
    if not 0 <= number < 1 << 64:
        raise ValueError(f"a varint holds 0 to 2**64-1, not {number}")
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def decode_varint(data: bytes | bytearray | memoryview, position: int = 0) -> tuple[int, int]:
    """Decode a varint.

    Parameters
    ----------
    data : bytes-like
        Where to look.
    position : int
        Index of its first byte.

    Returns
    -------
    tuple of int
        The number, and the index of the first byte after it.

    Raises
    ------
    IndexError
        When the data ends before the varint does.
    FrameError
        When it is longer than ten bytes or does not fit 64 bits.

    Examples
    --------
    >>> decode_varint(bytes.fromhex("ff7f2a"))
    (16383, 2)
    """
    number = shift = 0
    for index in range(position, position + _VARINT_BYTES):
        byte = data[index]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, index + 1
        shift += 7
    raise FrameError("a varint of more than 64 bits")


class FrameReader:
    """Reads frames in large blocks, never a byte a call.

    Parameters
    ----------
    stream : int or file-like
        A file descriptor, or an object with ``readinto1``, ``readinto``, ``recv_into``,
        ``read1`` or ``read``. An object with nothing but ``read`` may block until it has
        all the bytes asked for, so from such a one exactly the bytes needed are read.
    max_frame : int
        A longer frame is refused, in bytes.
    block : int
        Bytes asked for in one read.

    Attributes
    ----------
    offset : int
        Bytes of the stream that came before the next frame.

    Notes
    -----
    Memory follows what has arrived, never what a length promises: a frame that claims
    200 MB and sends ten bytes costs ten bytes.
    """

    def __init__(self, stream: Any, *, max_frame: int = MAX_FRAME, block: int = BLOCK) -> None:
        self._read_into = _reader_of(stream)
        self._read_exactly: Callable[[int], bytes] | None = None
        if self._read_into is None:
            self._read_exactly = stream.read
        self._max_frame = max_frame
        self._block = block
        self._buffer = bytearray(block)
        self._start = 0  # first byte not handed out
        self._end = 0  # first byte not received
        self.offset = 0

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the frames until the stream ends."""
        while frames := self.read_frames():
            yield from frames

    @property
    def pending(self) -> int:
        """Bytes received and not yet handed out."""
        return self._end - self._start

    def read_frame(self) -> bytes | None:
        """Read one frame; None when the stream has ended between two frames.

        Raises
        ------
        FrameError
            When the length cannot be one.
        TruncatedFrame
            When the stream ends inside the frame.
        """
        while True:
            span = self._next(self._start)
            if span is not None:
                frame = bytes(memoryview(self._buffer)[span[0] : span[1]])
                self._advance(span[1])
                return frame
            if not self.fill():
                return None

    def read_frames(self) -> list[bytes]:
        """Read the frames that have arrived, waiting for the first one.

        Returns
        -------
        list of bytes
            At least one frame, or an empty list when the stream has ended between two.

        Raises
        ------
        FrameError
            When a length cannot be one. Frames before it are handed out first.
        TruncatedFrame
            When the stream ends inside a frame.
        """
        block, bounds = self.read_block()
        starts, ends = bounds
        return [block[start:end] for start, end in zip(starts, ends, strict=True)]

    def read_block(self) -> tuple[bytes, tuple[list[int], list[int]]]:
        """Read the frames that have arrived as one block, waiting for the first one.

        The form for callers that decode many frames at once.

        Returns
        -------
        block : bytes
            Whole frames, with their lengths between them; empty when the stream ended.
        bounds : tuple of list of int
            Where each frame starts and where it ends in the block.

        Raises
        ------
        FrameError, TruncatedFrame
            As :meth:`read_frames`.
        """
        while True:
            taken = self.take_block()
            if taken[0] or not self.fill():
                return taken

    def take_block(self) -> tuple[bytes, tuple[list[int], list[int]]]:
        """Hand out the whole frames already received, without reading; see :meth:`read_block`."""
        starts: list[int] = []
        ends: list[int] = []
        if self._next(self._start) is None:
            return b"", (starts, ends)  # not copied again and again while a long one arrives
        start = self._start
        block = bytes(memoryview(self._buffer)[start : self._end])
        add_start, add_end = starts.append, ends.append
        position, size, longest = 0, len(block), self._max_frame
        before, reach = 0, 32
        # The walk costs more than anything else here, so the common lengths of one and
        # two bytes are taken apart in line.
        while position < size:
            length = block[position]
            body = position + 1
            if length >= 0x80:
                if body < size and block[body] < 0x80:
                    length += (block[body] << 7) - 0x80
                    body += 1
                else:
                    try:
                        length, body = decode_varint(block, position)
                    except (IndexError, FrameError):
                        break  # not all there, or refused when its turn comes
            tail = body + length
            if tail > size or length > longest:
                break
            add_start(body)
            add_end(tail)
            step = tail - position
            if step == before and tail < size:
                # Two alike, so perhaps many: the lengths that stand one step after the
                # other are compared at once. Each proves the place of the next.
                tried = count = min((size - position) // step, reach)
                for place in range(position, body):
                    lengths = block[place : position + count * step : step]
                    count = len(lengths) - len(lengths.lstrip(block[place : place + 1]))
                if count > 1:
                    starts.extend(range(body + step, body + count * step, step))
                    ends.extend(range(tail + step, tail + count * step, step))
                    tail = position + count * step
                reach = reach * 8 if count == tried else 32
            before = step
            position = tail
        self._advance(start + position)
        return block[:position], (starts, ends)

    def peek_frames(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Look at frames received and not handed out, leaving them where they are.

        Parameters
        ----------
        after : int
            Offset in the stream (as :attr:`offset` counts) to begin at; it must be the
            end of a frame seen earlier.

        Yields
        ------
        tuple of int and bytes
            Offset of the end of the frame, and its first 32 bytes.
        """
        base = self.offset - self._start
        position = max(after - base, self._start)
        while True:
            try:
                span = self._next(position)
            except FrameError:
                return
            if span is None:
                return
            position = span[1]
            yield base + position, bytes(self._buffer[span[0] : min(position, span[0] + 32)])

    def fill(self) -> bool:
        """Read once, as much as has arrived; False when the stream has ended.

        Raises
        ------
        TruncatedFrame
            When the stream ended inside a frame.
        """
        if self._read_exactly is not None:
            count = self._fill_exactly(self._read_exactly)
        else:
            count = self._fill_block()
        if count:
            return True
        if self._start == self._end:
            return False
        raise TruncatedFrame(
            f"the stream ended inside a frame: {self.pending} bytes of it after "
            f"{self.offset} bytes; the writer stopped half-way"
        )

    def _fill_block(self) -> int:
        if len(self._buffer) - self._end < self._block // 2:
            self._make_room()
        view = memoryview(self._buffer)[self._end :]
        assert self._read_into is not None  # noqa: S101 - told apart in fill
        count: int | None
        try:
            count = self._read_into(view)
        finally:
            view.release()
        if count is None:
            raise FrameError("the stream is non-blocking and has no data; give a blocking one")
        self._end += count
        return count

    def _fill_exactly(self, read: Callable[[int], bytes]) -> int:
        missing = 1
        span = self._promised(self._start)
        if span is not None:
            missing = min(span[1] - self._end, self._block)
        data = read(missing)
        if len(self._buffer) - self._end < len(data):
            self._make_room()
        self._buffer[self._end : self._end + len(data)] = data
        self._end += len(data)
        return len(data)

    def _make_room(self) -> None:
        """Move what is pending to the front of a buffer with a block free behind it."""
        pending = self.pending
        size = max(self._block, len(self._buffer))
        if size - pending < self._block // 2:
            size = 2 * pending + self._block
        elif size > 2 * self._block and pending < self._block:
            size = 2 * self._block
        buffer = bytearray(size)
        buffer[:pending] = memoryview(self._buffer)[self._start : self._end]
        self._buffer = buffer
        self._start, self._end = 0, pending

    def _advance(self, position: int) -> None:
        self.offset += position - self._start
        self._start = position
        if position == self._end:
            self._start = self._end = 0
            if len(self._buffer) > 2 * self._block:
                self._buffer = bytearray(self._block)  # a long frame has passed

    def _promised(self, position: int) -> tuple[int, int] | None:
        """Bounds of the frame at a position, arrived or not; None without its length."""
        try:
            limit = min(self._end, position + _VARINT_BYTES)
            length, body = decode_varint(memoryview(self._buffer)[:limit], position)
        except IndexError:
            if self._end - position < _VARINT_BYTES:
                return None
            self._refuse(1 << 64, position)
        except FrameError:
            self._refuse(1 << 64, position)
        if length > self._max_frame:
            self._refuse(length, position)
        return body, body + length

    def _next(self, position: int) -> tuple[int, int] | None:
        """Bounds of the frame at a position, or None when it has not all arrived."""
        span = self._promised(position)
        return span if span is not None and span[1] <= self._end else None

    def _refuse(self, length: int, position: int) -> None:
        head = bytes(self._buffer[position : min(position + 16, self._end)])
        size = str(length) if length < 1 << 64 else "more than 64 bits"
        raise FrameError(
            f"a frame length of {size} at byte {self.offset + position - self._start} "
            f"(at most {self._max_frame} is accepted): these are not frames, or the stream "
            f"lost its step. The bytes there: {head.hex(' ')}"
        )


class FrameWriter:
    """Gathers frames and writes them in one go.

    Parameters
    ----------
    stream : int or file-like
        A file descriptor, or an object with ``write``, and ``flush`` if it buffers.
    limit : int
        Bytes gathered before they are written without being asked.
    """

    def __init__(self, stream: Any, *, limit: int = BLOCK) -> None:
        self._write = _writer_of(stream)
        self._flush = getattr(stream, "flush", None)
        self._limit = limit
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes gathered and not yet written."""
        return len(self._buffer)

    def write(self, frame: bytes) -> None:
        """Add one frame; it is written at the latest by :meth:`flush`."""
        size = len(frame)
        buffer = self._buffer
        if size < 0x80:
            buffer.append(size)
        elif size < 0x4000:
            buffer.append(size & 0x7F | 0x80)
            buffer.append(size >> 7)
        else:
            buffer += encode_varint(size)
        buffer += frame
        if len(buffer) >= self._limit:
            self._drain()

    def write_frames(self, frames: bytes | bytearray) -> None:
        """Add frames that carry their lengths already."""
        self._buffer += frames
        if len(self._buffer) >= self._limit:
            self._drain()

    def flush(self) -> None:
        """Write everything gathered and flush the stream."""
        if self._buffer:
            self._drain()
        if self._flush is not None:
            self._flush()

    def _drain(self) -> None:
        # Taken out first: after a failed write (a closed pipe) nothing is sent twice.
        buffer, self._buffer = self._buffer, bytearray()
        self._write(buffer)


def _reader_of(stream: Any) -> Callable[[memoryview], int | None] | None:
    """Find how to read what has arrived, without waiting for more."""
    if isinstance(stream, int):
        return lambda view: os.readv(stream, [view])
    for name in ("readinto1", "recv_into"):
        if method := getattr(stream, name, None):
            return method  # type: ignore[no-any-return]
    read1 = getattr(stream, "read1", None)
    if read1 is None:
        # A raw file's readinto returns what there is; without it, nobody knows.
        return getattr(stream, "readinto", None)

    def read_into(view: memoryview) -> int:
        data = read1(len(view))
        view[: len(data)] = data
        return len(data)

    return read_into


def _writer_of(stream: Any) -> Callable[[bytearray], None]:
    if isinstance(stream, int):

        def write(data: bytearray) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(stream, view) :]

        return write
    if sendall := getattr(stream, "sendall", None):
        return sendall  # type: ignore[no-any-return]

    def write_all(data: bytearray) -> None:
        # Raw files may take less than they are given; buffered ones take all.
        view = memoryview(data)
        while view:
            count = stream.write(view)
            if count is None or count >= len(view):
                return
            view = view[count:]

    return write_all
