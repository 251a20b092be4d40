"""Bytes that wait to be written."""

import collections
import os
from collections.abc import Iterable

_BLOCKS = 64  # blocks handed to one write


class Outbox:
    """A queue of blocks, written without copying them together.

    Attributes
    ----------
    size : int
        Bytes that wait.
    """

    __slots__ = ("_blocks", "size")

    def __init__(self) -> None:
        self._blocks: collections.deque[bytes | memoryview] = collections.deque()
        self.size = 0

    def append(self, block: bytes) -> None:
        """Add a block."""
        self._blocks.append(block)
        self.size += len(block)

    def extend(self, blocks: Iterable[bytes]) -> None:
        """Add blocks."""
        for block in blocks:
            self.append(block)

    def clear(self) -> None:
        """Forget what waits."""
        self._blocks.clear()
        self.size = 0

    def take(self) -> bytes:
        """Remove and return everything that waits."""
        data = b"".join(self._blocks)
        self.clear()
        return data

    def write_to(self, descriptor: int) -> int:
        """Write once, as much as the descriptor takes; return the number of bytes.

        Raises
        ------
        BlockingIOError
            If a non-blocking descriptor takes nothing.
        """
        blocks = self._blocks
        if len(blocks) == 1:
            written = os.write(descriptor, blocks[0])
        else:
            written = os.writev(
                descriptor, [blocks[index] for index in range(min(len(blocks), _BLOCKS))]
            )
        self.size -= written
        left = written
        while left:
            first = len(blocks[0])
            if left < first:
                blocks[0] = memoryview(blocks[0])[left:]
                break
            blocks.popleft()
            left -= first
        return written
