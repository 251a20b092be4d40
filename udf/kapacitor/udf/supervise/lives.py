"""A new life: the program is told its options, its state, and what came since."""

import logging

from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.judge import Judge
from kapacitor.udf.supervise.rules import GiveUp, Owed, Refused

logger = logging.getLogger("kapacitor.udf.supervise")


class Lives(Judge):
    """How a life begins."""

    def start(self) -> None:
        """Begin a life: what the program has to be told before it gets new input."""
        journal = self._journal
        if self._init is None:
            for kind, frame in list(self._asked):
                self._resend(kind, frame)
            return
        self._held = True
        # From here on the segments before it may go, as the buffer fills, and it may not.
        journal.current = self._base()
        for kind, frame in list(self._asked):
            if kind == frames.INFO:
                self._resend(kind, frame)

        def ready(response: bytes) -> None:
            if self._report(frames.RESTORE, response):
                self._restores = True
            self._replay()

        def initialized(response: bytes) -> None:
            self._report(frames.INIT, response)
            restore = journal.segments[journal.current].restore
            if restore is None:
                self._replay()
                return
            self._owed.append(Owed(frames.RESTORE, ready))
            self.to_program.append(restore)

        self._owed.append(Owed(frames.INIT, initialized))
        self.to_program.append(self._init)

    def _base(self) -> int:
        """Choose the segment to begin again from, and drop what is before it."""
        journal = self._journal
        base = journal.current
        if self._unconfirmed:
            self._unconfirmed = False
            base -= 1
        if not self._refuses:
            while base and not journal.segments[base].known:
                base -= 1
        else:
            base = 0
        first = journal.segments[base]
        if self._refuses and not journal.from_beginning:
            first.restore = None
        if not first.known or (self._refuses and not journal.from_beginning):
            logger.warning(
                "the program makes no snapshots that it can restore: it is brought back by the "
                "last %d bytes of input only",
                journal.size,
            )
        if self._restores and not self._refuses:
            journal.forget_before(base)
            base = 0
        return base

    def _resend(self, kind: int, frame: bytes) -> None:
        self._asked.remove((kind, frame))
        held, self._held = self._held, False
        self._ask(kind, frame)
        self._held = held

    def _report(self, kind: int, response: bytes) -> bool:
        """Take an answer in a later life; Kapacitor gets it if it still waits for it."""
        from kapacitor.udf import udf_pb2

        message = udf_pb2.Response.FromString(frames.body(response))
        answer = message.init if kind == frames.INIT else message.restore
        waiting = next((ask for ask in self._asked if ask[0] == kind), None)
        if waiting is not None:
            self._asked.remove(waiting)
            self.to_kapacitor.append(response)
        elif not answer.success:
            if kind == frames.RESTORE and not self._refuses:
                self._refuses = True
                raise Refused(answer.error)
            raise GiveUp(f"the program does not start again: {answer.error}")
        return bool(answer.success)

    def _replay(self) -> None:
        """Send again what came since the state that the program has now."""
        journal = self._journal
        self._held = False
        self._since_fence = journal.newest.size
        again = journal.segments[journal.current :]
        if again[0].restore is not None:
            self._expected = again[0].first_outputs or None
        self._drop = sum(segment.delivered for segment in again)
        logger.warning(
            "the program is back: %d bytes are sent again, %d results are dropped",
            sum(segment.size for segment in again),
            self._drop,
        )
        for index, segment in enumerate(again):
            # Counted anew, as this life says them.
            segment.delivered, segment.first_outputs = 0, []
            if index:
                self.to_program.append(frames.SNAPSHOT_REQUEST)
            self.to_program.extend(segment.blocks)

    def _ask(self, kind: int, frame: bytes) -> None:
        """Pass on a request whose answer Kapacitor waits for."""
        self._asked.append((kind, frame))
        if self._held:
            return

        def answered(response: bytes) -> None:
            self._asked.remove((kind, frame))
            self._progressed()
            self.to_kapacitor.append(response)

        self._owed.append(Owed(kind, answered))
        self.to_program.append(frame)

    def _progressed(self) -> None:
        self.progress += 1
        self._good += 1
