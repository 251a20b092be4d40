"""Find frames and their kinds in blocks of bytes, without decoding what is in them.

The supervisor handles every byte of a task twice, so it looks at nothing but each frame's
length and the first byte of its body, which tells the kind. Points of one series mostly have
one size; a run of equal heads at equal distances is then found by comparing whole columns of
bytes, many frames a step. That is no guess: when the head at a position gives the length, and
the head one length further on is the same, the next frame begins there and ends as far on
again.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from kapacitor.udf.framing import MAX_FRAME, FrameError, decode_varint

# The first byte of a body is the key of its one field: number * 8 + 2 (a message). Requests
# and responses use the same numbers.
INFO: Final = 0x0A
INIT: Final = 0x12
KEEPALIVE: Final = 0x1A
SNAPSHOT: Final = 0x22
RESTORE: Final = 0x2A
ERROR: Final = 0x32
BEGIN: Final = 0x82
POINT: Final = 0x8A
END: Final = 0x92
NOTHING: Final = 0x00

SNAPSHOT_REQUEST: Final = bytes((2, SNAPSHOT, 0))
EMPTY_SNAPSHOT: Final = SNAPSHOT_REQUEST  # a response without a snapshot looks the same
KEEPALIVE_FRAME: Final = bytes((2, KEEPALIVE, 0))

_FIRST_STEP: Final = 16
_LARGEST_STEP: Final = 4096


class Run(NamedTuple):
    """Frames of one kind that follow each other: ``data[start:end]``, `frames` of them."""

    kind: int
    start: int
    end: int
    frames: int


def scan(data: bytes, at: int = 0) -> tuple[list[Run], int]:
    r"""Find the whole frames in a block.

    Parameters
    ----------
    data : bytes
    at : int
        Where the first frame begins.

    Returns
    -------
    runs : list of Run
        In order, without gaps. Points that follow each other are one run; every other frame
        is a run of its own.
    at : int
        Where the first frame begins that is not all there.

    Raises
    ------
    FrameError
        If a length cannot be one.

    Examples
    --------
    >>> scan(b"\x02\x0a\x00" + 3 * b"\x03\x8a\x01\x00" + b"\x05\x8a")
    ([Run(kind=10, start=0, end=3, frames=1), Run(kind=138, start=3, end=15, frames=3)], 15)
    """
    runs: list[Run] = []
    size = len(data)
    points_from = -1  # start of the run of points at hand
    points = 0
    while at < size:
        length = data[at]
        body = at + 1
        if length >= 0x80:
            if body < size and data[body] < 0x80:
                length += (data[body] << 7) - 0x80
                body += 1
            else:
                try:
                    length, body = decode_varint(data, at)
                except IndexError:
                    break
                if length > MAX_FRAME:
                    raise FrameError(f"a frame length of {length}: the stream lost its step")
        end = body + length
        if end > size:
            break
        if length and data[body] == POINT:
            if points_from < 0:
                points_from = at
            points += 1
            head = data[at : body + 1]
            if data.startswith(head, end):
                count, end = _equal_heads(data, at, end - at, head)
                points += count - 1
            at = end
            continue
        if points:
            runs.append(Run(POINT, points_from, at, points))
            points_from, points = -1, 0
        runs.append(Run(data[body] if length else NOTHING, at, end, 1))
        at = end
    if points:
        runs.append(Run(POINT, points_from, at, points))
    return runs, at


def _equal_heads(data: bytes, at: int, stride: int, head: bytes) -> tuple[int, int]:
    """Count the frames from `at` on that begin with `head`, each `stride` bytes long."""
    room = (len(data) - at) // stride
    count, step = 0, _FIRST_STEP
    while count < room:
        step = min(step, room - count)
        start = at + count * stride
        stop = start + step * stride
        equal = step
        for offset, byte in enumerate(head):
            column = data[start + offset : stop : stride]
            equal = min(equal, step - len(column.lstrip(bytes((byte,)))))
        count += equal
        if equal < step:
            break
        step = min(4 * step, _LARGEST_STEP)
    return count, at + count * stride


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    r"""Yield each frame of a block, with its kind; the block holds whole frames.

    Examples
    --------
    >>> [kind for kind, frame in split(b"\x01\x8a\x00")]
    [138, 0]
    """
    at, size = 0, len(data)
    while at < size:
        length, body = decode_varint(data, at)
        end = body + length
        yield (data[body] if length else NOTHING), data[at:end]
        at = end


def units(blocks: list[bytes]) -> list[bytes]:
    """Split input into the units that a program handles: a batch, or a point outside of one.

    The last one may be a batch that has not ended yet.
    """
    found: list[bytes] = []
    batch: list[bytes] = []
    for kind, frame in split(b"".join(blocks)):
        if kind == BEGIN:
            if batch:
                found.append(b"".join(batch))
            batch = [frame]
        elif batch:
            batch.append(frame)
            if kind == END:
                found.append(b"".join(batch))
                batch = []
        else:
            found.append(frame)
    if batch:
        found.append(b"".join(batch))
    return found


def restore_request(snapshot_response: bytes) -> bytes:
    r"""Turn the frame of a snapshot response into the request that restores it.

    Both messages hold the snapshot's bytes as their first field, so the frames differ in
    nothing but the kind.

    Examples
    --------
    >>> restore_request(b"\x05\x22\x03\x0a\x01S")
    b'\x05*\x03\n\x01S'
    """
    _, body = decode_varint(snapshot_response)
    return snapshot_response[:body] + bytes((RESTORE,)) + snapshot_response[body + 1 :]


def body(frame: bytes) -> bytes:
    """Return a frame's body, without its length."""
    return frame[decode_varint(frame)[1] :]


class Splitter:
    """Gathers blocks until they hold whole frames; the rest waits for the next block."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0  # size at which the frame that waits is whole

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not all there."""
        return self._size

    def feed(self, block: bytes) -> tuple[bytes, list[Run]]:
        """Take a block; return bytes and the runs of whole frames in them."""
        if self._size:
            self._parts.append(block)
            self._size += len(block)
            if self._size < self._needed:
                return b"", []
            block = b"".join(self._parts)
        runs, at = scan(block)
        rest = block[at:] if at else block
        self._parts = [rest] if rest else []
        self._size = len(rest)
        if rest:
            try:
                length, body = decode_varint(rest)
            except IndexError:
                self._needed = 0
            else:
                self._needed = body + length
        return block, runs
