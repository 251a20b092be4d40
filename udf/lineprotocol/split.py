"""From a stream of bytes to lines, a block at a time."""

import re
from collections.abc import Iterable, Iterator

_PART = rb"(?:\\[,= ]|[^,= \n])++"
_INSIDE = rb'(?:[^"\\]|\\.)*+'
_VALUE = rb'(?:"' + _INSIDE + rb'"|[^," \n]++)'
_PAIR = _PART + rb"=" + _VALUE
# A string may hold newlines. These two tell whether a string is still open where a line ends:
# for a line from its beginning, and for a line that begins inside a string. A quote outside
# the value of a field means nothing, so counting quotes would not do.
_OPEN = re.compile(
    rb"[ \t\0]*+(?!#)(?:\\ |[^ \n])++ ++(?:"
    + _PAIR
    + rb",)*+"
    + _PART
    + rb'="'
    + _INSIDE
    # a backslash that ends the line escapes the newline that the join puts back
    + rb"\\?\Z",
    re.DOTALL,
)
_STILL_OPEN = re.compile(
    _INSIDE + rb'(?:"(?:,' + _PAIR + rb")*+," + _PART + rb'="' + _INSIDE + rb")?+\\?\Z", re.DOTALL
)


class LineSplitter:
    r"""Cut blocks of bytes into lines, whatever the blocks' and the lines' sizes.

    A newline inside a string field belongs to its line. Nothing is dropped or changed: the
    lines joined by newlines are the bytes that came.

    Parameters
    ----------
    max_open : int
        Bytes after which a string that never closes is given up and handed out as it is, so
        that one broken line cannot hold back the stream.

    Examples
    --------
    >>> splitter = LineSplitter()
    >>> splitter.feed(b'a f="one\ntwo" 1\nb f'), splitter.feed(b"=1 2\n"), splitter.close()
    ([b'a f="one\ntwo" 1'], [b'b f=1 2'], b'')
    """

    __slots__ = ("_open", "_open_size", "_parts", "max_open")

    def __init__(self, max_open: int = 16 * 1024 * 1024) -> None:
        if max_open < 1:
            raise ValueError(f"max_open must be at least 1 byte, got {max_open}")
        self.max_open = max_open
        self._parts: list[bytes] = []  # of the line that has not ended yet
        self._open: list[bytes] = []  # earlier lines of a string that is still open
        self._open_size = 0

    def feed(self, block: bytes) -> list[bytes]:
        """Take one block, return the lines that are complete, without their newlines."""
        lines = block.split(b"\n")
        rest = lines.pop()
        if not lines:
            self._parts.append(rest)
            return lines
        if self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        if self._open or b'"' in block or any(b'"' in line for line in lines[:1]):
            return self._join(lines)
        return lines

    def _join(self, lines: list[bytes]) -> list[bytes]:
        out: list[bytes] = []
        for line in lines:
            if self._open:
                self._open.append(line)
                self._open_size += len(line) + 1
                if _STILL_OPEN.match(line) and self._open_size <= self.max_open:
                    continue
                out.append(b"\n".join(self._open))
                self._open.clear()
            elif b'"' in line and _OPEN.match(line):
                self._open.append(line)
                self._open_size = len(line)
            else:
                out.append(line)
        return out

    def close(self) -> bytes:
        """Return what is left when the stream has ended: a line without a newline, or none."""
        rest = b"\n".join([*self._open, b"".join(self._parts)])
        self._parts.clear()
        self._open.clear()
        return rest


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the lines of a stream that hold points, without comments and empty lines.

    Parameters
    ----------
    blocks : iterable of bytes
        For example a file opened in binary mode.

    Examples
    --------
    >>> list(split_lines([b"# comment\n\na f=1", b" 1\r\nb f=2 2"]))
    [b'a f=1 1\r', b'b f=2 2']
    """
    splitter = LineSplitter()
    for block in blocks:
        for line in splitter.feed(block):
            if line.strip() and line.lstrip()[:1] != b"#":
                yield line
    line = splitter.close()
    if line.strip() and line.lstrip()[:1] != b"#":
        yield line
