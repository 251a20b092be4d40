"""The input since the last snapshots, kept to be sent again."""

from dataclasses import dataclass, field

KEPT_OUTPUTS = 4


@dataclass(slots=True)
class Segment:
    """Input from one snapshot request to the next, and how much came out of it.

    Parameters
    ----------
    restore : bytes, optional
        Request that puts the program into the state at the segment's beginning; None for a
        program that has just been initialized.
    known : bool
        Whether that state is known: at the very beginning, or once the snapshot has come.
    for_kapacitor : bool
        Whether Kapacitor waits for the snapshot, too.
    at : int
        Bytes of input that came before the segment.
    clean : bool
        Whether the segment begins between batches. A snapshot in the middle of a batch need
        not hold the batch's points, so it is no place to start again from.
    """

    restore: bytes | None = None
    known: bool = False
    for_kapacitor: bool = False
    clean: bool = True
    at: int = 0
    blocks: list[bytes] = field(default_factory=list)
    size: int = 0
    delivered: int = 0  # frames of data that went to Kapacitor
    first_outputs: list[bytes] = field(default_factory=list)

    def append(self, block: bytes) -> None:
        """Add input."""
        self.blocks.append(block)
        self.size += len(block)


class Journal:
    """Segments of input, oldest first; the last one is still growing.

    Parameters
    ----------
    limit : int
        Bytes of input to keep. What is older than a snapshot that could be restored from goes
        first; more than the limit is kept only while a snapshot is being waited for.

    Attributes
    ----------
    segments : list of Segment
    current : int
        Index of the segment that the program's output belongs to: the program has answered
        the snapshot request at its beginning, but not the next one.
    from_beginning : bool
        Whether the first segment is the first there was, so that a program can be brought
        back without any snapshot.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.segments = [Segment(known=True)]
        self.current = 0
        self.size = 0
        self.from_beginning = True

    @property
    def newest(self) -> Segment:
        """The segment that takes input."""
        return self.segments[-1]

    @property
    def waiting(self) -> int:
        """Number of snapshot requests not answered yet."""
        return len(self.segments) - 1 - self.current

    def append(self, block: bytes) -> None:
        """Add input."""
        self.segments[-1].append(block)
        self.size += len(block)

    def cut(self, *, at: int, for_kapacitor: bool, clean: bool) -> None:
        """Begin a segment, where a snapshot request goes."""
        self.segments.append(Segment(for_kapacitor=for_kapacitor, clean=clean, at=at))

    def advance(self, restore: bytes | None) -> Segment:
        """Take the answer to the oldest snapshot request; return the segment it opens."""
        self.current += 1
        segment = self.segments[self.current]
        segment.restore = restore
        segment.known = restore is not None
        return segment

    def merge(self, index: int) -> None:
        """Undo the cut before a segment: it is no place to start again from."""
        segment = self.segments.pop(index)
        if index <= self.current:
            self.current -= 1
        before = self.segments[index - 1]
        before.blocks.extend(segment.blocks)
        before.size += segment.size
        before.delivered += segment.delivered

    def compact(self) -> None:
        """Keep few old segments and none of their snapshots: only the newest is restored."""
        for segment in self.segments[1 : self.current]:
            segment.restore, segment.known = None, False
        index = self.current - 1
        while index >= 1:
            if self.segments[index].size + self.segments[index - 1].size > self.limit // 8:
                break
            self.merge(index)
            index -= 1

    def forget_before(self, index: int) -> None:
        """Drop the segments before an index."""
        for segment in self.segments[:index]:
            self.size -= segment.size
        del self.segments[:index]
        self.current -= index
        if index:
            self.from_beginning = False

    def trim(self) -> bool:
        """Drop the oldest answered segments until the limit holds; True if any went."""
        index = 0
        size = self.size
        while size > self.limit and index < self.current:
            size -= self.segments[index].size
            index += 1
        self.forget_before(index)
        return index > 0

    def replace(self, index: int, parts: list[list[bytes]]) -> None:
        """Cut one segment into several, with snapshot requests of our own between them."""
        old = self.segments[index]
        first = Segment(old.restore, old.known, old.for_kapacitor, old.clean, old.at)
        first.delivered, first.first_outputs = old.delivered, old.first_outputs
        new = [first, *(Segment() for _ in parts[1:])]
        at = old.at
        for segment, blocks in zip(new, parts, strict=True):
            segment.at = at
            for block in blocks:
                segment.append(block)
            at += segment.size
        self.segments[index : index + 1] = new

    def clear(self, index: int) -> None:
        """Drop the input of one segment."""
        segment = self.segments[index]
        self.size -= segment.size
        segment.blocks, segment.size, segment.delivered = [], 0, 0
        segment.first_outputs = []
