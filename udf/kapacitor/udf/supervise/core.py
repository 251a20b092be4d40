"""What the supervisor does with each byte, free of processes, pipes and clocks.

The idea: a program that handles requests in order answers a snapshot request after all output
of the input before it, and before any output of the input after it. So a snapshot is a mark in
both streams at once. The input after the last mark is kept, and the frames of data that came
out since are counted. When the program dies, a new one gets the snapshot and the input after
it, and as many frames as were delivered already are dropped from what it says.

Two things are looked at besides. Agents that write results and answers from two threads (the
Go agent) may send the answer before the last result; so the first results after a mark are
kept, and when the program is brought back, its first result tells whether one slipped by. And
an end of a batch is never passed on without its begin: kapacitord itself would crash on it.
"""

import logging

from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.compare import slipped
from kapacitor.udf.supervise.journal import KEPT_OUTPUTS
from kapacitor.udf.supervise.lives import Lives

logger = logging.getLogger("kapacitor.udf.supervise")


class Core(Lives):
    """The decisions of the supervisor.

    Bytes go in by :meth:`from_kapacitor` and :meth:`from_program`, and wait in `to_program`
    and `to_kapacitor` to be written. :meth:`died` prepares the next life, :meth:`start`
    begins it.
    """

    # -- what the loop asks --------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether more input may be read; False makes Kapacitor wait."""
        if self.to_program.size > self.rules.buffer // 8:
            return False
        journal = self._journal
        return journal.size <= self.rules.buffer or not (journal.waiting or self._held)

    @property
    def options(self) -> bytes | None:
        """The frame in which Kapacitor has sent the options; None before that."""
        return self._init

    @property
    def initialized(self) -> bool:
        """Whether Kapacitor has sent the options."""
        return self._init is not None

    @property
    def close_input(self) -> bool:
        """Whether the program has been given all there is."""
        return self.ended and not self._held and not self.to_program.size

    @property
    def owes(self) -> bool:
        """Whether the program has something to do, or to answer."""
        return bool(
            self._owed or self._journal.waiting or self.to_program.size or self.keepalive_owed
        )

    # -- from Kapacitor ------------------------------------------------------------------

    def from_kapacitor(self, block: bytes) -> None:
        """Take input.

        Raises
        ------
        FrameError
            If it is not the protocol.
        """
        self.counts.in_bytes += len(block)
        if self._fence_due and not self._in_batch:
            self._fence()
        data, runs = self._requests.feed(block)
        start = 0  # of the data that has not been passed on
        stop = 0
        for kind, begin, end, _ in runs:
            if kind >= frames.BEGIN or kind == frames.NOTHING:
                if self._skipping:
                    if start < begin:
                        self._pass(data[start:begin])
                    start = end
                    self._skipping = kind != frames.END
                    self._in_batch = self._skipping
                elif kind == frames.BEGIN:
                    self._in_batch = True
                elif kind == frames.END:
                    self._in_batch = False
                    if self._fence_due:
                        self._pass(data[start:end])
                        start = end
                        self._fence()
            else:
                if start < begin:
                    self._pass(data[start:begin])
                start = end
                self._manage(kind, data[begin:end])
            stop = end
        if start < stop:
            self._pass(data if start == 0 and stop == len(data) else data[start:stop])
        if self._since_fence > self.rules.buffer // 4:
            self.want_snapshot()

    def _pass(self, block: bytes) -> None:
        self._since_fence += len(block)
        self._position += len(block)
        if not self._lost:
            self._journal.append(block)
            if self._journal.size > self.rules.buffer:
                self._overrun()
        if not self._held:
            self.to_program.append(block)

    def _manage(self, kind: int, frame: bytes) -> None:
        if kind == frames.KEEPALIVE:
            # Answered at once, however busy the program is: its own hanging is our affair.
            self.to_kapacitor.append(frame)
            if not self.keepalive_owed and not self._held:
                self.keepalive_owed = True
                self.to_program.append(frame)
        elif kind == frames.SNAPSHOT:
            if self._snapshots_kill:
                self.to_kapacitor.append(frames.EMPTY_SNAPSHOT)
            else:
                self._fence(for_kapacitor=True)
        elif kind == frames.RESTORE:
            self._journal.newest.restore = frame
            self._ask(kind, frame)
        else:
            if kind == frames.INIT:
                self._init = frame
            self._ask(kind, frame)

    def end_of_input(self) -> None:
        """Take note that Kapacitor has closed the input."""
        if self._requests.pending:
            logger.warning(
                "the input ended inside a frame, %d bytes into it", self._requests.pending
            )
        self.ended = True

    # -- snapshots -----------------------------------------------------------------------

    def want_snapshot(self) -> None:
        """Ask for a snapshot where the input allows, unless one is on its way."""
        if self._journal.waiting or not self._since_fence:
            return
        if self._snapshots_kill:
            # Not to learn its state, but whether it still gets through its input.
            if not (self._held or self.keepalive_owed):
                self._since_fence = 0
                self.keepalive_owed = True
                self.to_program.append(frames.KEEPALIVE_FRAME)
            return
        if self._in_batch:
            self._fence_due = True
        else:
            self._fence()

    def _fence(self, *, for_kapacitor: bool = False) -> None:
        self._fence_due = False
        self._since_fence = 0
        self._journal.cut(at=self._position, for_kapacitor=for_kapacitor, clean=not self._in_batch)
        if not self._held:
            self.to_program.append(frames.SNAPSHOT_REQUEST)

    def _snapshot(self, frame: bytes) -> None:
        journal = self._journal
        if not journal.waiting:
            logger.warning("the program sent a snapshot that nobody had asked for")
            return
        restore = frames.restore_request(frame) if len(frame) > len(frames.EMPTY_SNAPSHOT) else None
        # An empty one may say that there is no state, or that nobody wrote the method. Either
        # way it marks the place, but it is nothing to start again from.
        self.confirm()  # the one before
        segment = journal.advance(restore)
        self.counts.snapshots += 1
        self.progress += 1
        if segment.at >= self._position_at_death:
            self._good += 1
        if segment.for_kapacitor:
            segment.for_kapacitor = False
            self.to_kapacitor.append(frame)
        if not segment.clean:
            journal.merge(journal.current)
            return
        self._unconfirmed = True
        if journal.size > journal.limit:
            self.confirm()

    def confirm(self) -> None:
        """Take the newest snapshot for good: whatever was to come before it has come.

        Agents with two writers may send it a moment before the last result of the input that
        it covers. Killed in that moment, they are brought back from the snapshot before.
        """
        if not self._unconfirmed:
            return
        self._unconfirmed = False
        journal = self._journal
        known = journal.segments[journal.current].known
        if self._lost and known:
            logger.info("a snapshot has come: the program can be brought back again")
            self._lost = False
        if known and self._restores:
            journal.forget_before(journal.current)
        else:
            # Until the program has shown that it restores, what fits is kept.
            journal.compact()
            journal.trim()

    def _overrun(self) -> None:
        journal = self._journal
        self.confirm()
        journal.trim()
        if journal.size <= self.rules.buffer or self._held:
            return
        if self._snapshots_kill or (self._in_batch and not journal.waiting):
            self._lost = True
            for index in range(len(journal.segments)):
                journal.clear(index)
            journal.from_beginning = False
            logger.warning(
                "the input since the last snapshot is larger than the buffer of %d bytes: until "
                "the next snapshot the program cannot be brought back as it was; give more with "
                "--buffer",
                self.rules.buffer,
            )

    # -- from the program ----------------------------------------------------------------

    def from_program(self, block: bytes) -> None:
        """Take output.

        Raises
        ------
        FrameError
            If it is not the protocol.
        """
        if self.error is not None:
            return
        data, runs = self._responses.feed(block)
        start = stop = 0
        for kind, begin, end, count in runs:
            if kind >= frames.BEGIN:
                if self._drop or self._keeps_first:
                    if start < begin:
                        self.to_kapacitor.append(data[start:begin])
                    start = end
                    for one, frame in frames.split(data[begin:end]):
                        self._one(one, frame)
                elif kind == frames.END and not self._out_batch:
                    if start < begin:
                        self.to_kapacitor.append(data[start:begin])
                    start = end
                    self._end_without_begin()
                else:
                    if kind != frames.POINT:
                        self._out_batch = kind == frames.BEGIN
                    self._journal.segments[self._journal.current].delivered += count
            else:
                if start < begin:
                    self._deliver(data[start:begin])
                start = end
                self._answered(kind, data[begin:end])
                if self.error is not None:
                    return
            stop = end
        if start < stop:
            self._deliver(data if start == 0 and stop == len(data) else data[start:stop])

    @property
    def _keeps_first(self) -> bool:
        journal = self._journal
        return len(journal.segments[journal.current].first_outputs) < KEPT_OUTPUTS

    def _deliver(self, block: bytes) -> None:
        self.to_kapacitor.append(block)
        self._progressed()

    def _one(self, kind: int, frame: bytes) -> None:
        """Take a single frame of data: drop, keep or deliver it."""
        segment = self._journal.segments[self._journal.current]
        if self._expected is not None:
            self._drop -= min(slipped(frame, self._expected), self._drop)
            self._expected = None
        if len(segment.first_outputs) < KEPT_OUTPUTS:
            segment.first_outputs.append(frame)
        if self._drop:
            self._drop -= 1
            segment.delivered += 1
            self.counts.dropped += 1
            self.progress += 1
            return
        if kind == frames.END and not self._out_batch:
            self._end_without_begin()
            return
        if kind != frames.POINT:
            self._out_batch = kind == frames.BEGIN
        segment.delivered += 1
        self._deliver(frame)

    def _end_without_begin(self) -> None:
        logger.error(
            "dropped the end of a batch that the program had not begun: kapacitord would have "
            "crashed on it"
        )

    def _answered(self, kind: int, frame: bytes) -> None:
        if kind == frames.KEEPALIVE:
            self.keepalive_owed = False
        elif kind == frames.SNAPSHOT:
            self._snapshot(frame)
        elif kind == frames.ERROR:
            from kapacitor.udf import udf_pb2

            self.error = udf_pb2.Response.FromString(frames.body(frame)).error.error
        elif self._owed and self._owed[0].kind == kind:
            self._owed.popleft().then(frame)
        else:
            logger.warning("the program sent an answer that nobody had asked for (%#x)", kind)
