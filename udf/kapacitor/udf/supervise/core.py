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

import collections
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kapacitor.udf.framing import FrameError
from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.journal import KEPT_OUTPUTS, Journal
from kapacitor.udf.supervise.outbox import Outbox

if TYPE_CHECKING:
    from kapacitor.udf import udf_pb2

logger = logging.getLogger("kapacitor.udf.supervise")

_PARTS = 64  # pieces that suspicious input is cut into
_STILLBORN = 10  # deaths in a row before a program could be given its input again
_DEATHS_TO_ACQUIT = 3  # without snapshot requests, before they are taken up again
_DEATHS_TO_CONFIRM = 2  # of a single unit on its own, before it is taken out


class OnPoison(enum.StrEnum):
    """What to do with input on which the program dies again and again."""

    give_up = "give-up"
    quarantine = "quarantine"


class OnLost(enum.StrEnum):
    """What to do when a program died whose state cannot be brought back."""

    give_up = "give-up"
    restart = "restart"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user chose.

    Parameters
    ----------
    buffer : int
        Bytes of input to keep.
    snapshot_every : float
        Seconds between the supervisor's own snapshot requests.
    deaths : int
        Deaths on the same input, after which `on_poison` is carried out.
    quarantine_file : Path, optional
        Where input that was taken out is written.
    """

    buffer: int = 32 << 20
    snapshot_every: float = 5.0
    deaths: int = 5
    on_poison: OnPoison = OnPoison.give_up
    on_lost: OnLost = OnLost.give_up
    quarantine_file: Path | None = None


class GiveUp(Exception):  # noqa: N818 - a decision, not a mistake
    """The program is not started again; the message says why."""


@dataclass(slots=True)
class Owed:
    """A response that the program owes.

    Parameters
    ----------
    kind : int
        First byte of the response.
    then : callable
        Called with the response's frame.
    """

    kind: int
    then: Callable[[bytes], None]


@dataclass(slots=True)
class Counts:
    """What has happened, for the log."""

    deaths: int = 0
    dropped: int = 0
    snapshots: int = 0
    quarantined: int = 0
    in_bytes: int = 0


class Core:
    """The decisions of the supervisor.

    Bytes go in by :meth:`from_kapacitor` and :meth:`from_program`, and wait in `to_program`
    and `to_kapacitor` to be written. :meth:`died` prepares the next life, :meth:`start`
    begins it.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.counts = Counts()
        self.to_program = Outbox()
        self.to_kapacitor = Outbox()
        self.ended = False
        self.keepalive_owed = False
        self.progress = 0  # goes up when the program shows that it works
        self.error: str | None = None  # what the program said before it ended
        self._journal = Journal(rules.buffer)
        self._requests = frames.Splitter()
        self._responses = frames.Splitter()
        self._owed: collections.deque[Owed] = collections.deque()
        self._asked: list[tuple[int, bytes]] = []  # Kapacitor's, not answered: kind, frame
        self._init: bytes | None = None
        self._held = False  # a new life is being prepared; input only goes to the journal
        self._in_batch = False  # where the input is
        self._out_batch = False  # where the output is
        self._skipping = False  # the rest of a batch that was taken out
        self._drop = 0  # frames of data that Kapacitor has already
        self._expected: list[bytes] | None = None  # first of the frames to be dropped
        self._fence_due = False
        self._since_fence = 0
        self._snapshots_kill = False
        self._blame_after = 2  # deaths
        self._deaths_with = 0  # and a snapshot request not answered
        self._deaths_without = 0
        self._good_at_blame = 0
        self._restores = False  # has restored a snapshot once
        self._refuses = False  # has refused to
        self._unconfirmed = False  # the newest snapshot has only just come
        self._lost = False  # more input than the buffer, and no snapshot
        self._deaths = 0
        self._stillborn = 0
        self._good = 0  # goes up when the program gets further than any life before
        self._good_at_death = 0
        self._position = 0  # bytes of data that came in
        self._position_at_death = 0
        self._suspect_deaths = 0

    # -- what the loop asks --------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether more input may be read; False makes Kapacitor wait."""
        if self.to_program.size > self.rules.buffer // 8:
            return False
        journal = self._journal
        return journal.size <= self.rules.buffer or not (journal.waiting or self._held)

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
            self._drop -= min(_slipped(frame, self._expected), self._drop)
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

    def _progressed(self) -> None:
        self.progress += 1
        self._good += 1

    # -- death and life ------------------------------------------------------------------

    def died(self, how: str) -> None:
        """Prepare the next life of a program that has ended.

        Raises
        ------
        GiveUp
            If there is to be no next life.
        """
        self.counts.deaths += 1
        self._reset()
        logger.error("the program %s%s", how, f": {self.error}" if self.error else "")
        if self._init is None or self._held:
            # It never got to the input: none of it is to blame.
            self._stillborn += 1
            most = self.rules.deaths if self._init is None else _STILLBORN
            if self._stillborn >= most:
                raise GiveUp(f"the program has died {self._stillborn} times while it started")
            self.error = None
            return
        self._stillborn = 0
        self._deaths = self._deaths + 1 if self._good == self._good_at_death else 1
        self._judge_the_snapshots()
        if self._lost:
            self._start_over()
        elif self._deaths >= self.rules.deaths:
            self._poisoned()
        self._good_at_death = self._good
        self._position_at_death = self._position
        self.error = None

    def refused(self) -> None:
        """Prepare the next life of a program that did not restore its snapshot."""
        self._reset()

    def _reset(self) -> None:
        self._responses = frames.Splitter()  # half a frame died with the program
        self._owed.clear()
        self.to_program.clear()
        self.keepalive_owed = False
        current = self._journal.segments[self._journal.current]
        current.delivered += self._drop  # delivered by an earlier life, not said again by this
        self._drop = 0
        if self._expected is not None and not current.first_outputs:
            current.first_outputs = self._expected  # this life has not come to compare them
        self._expected = None

    @property
    def deaths(self) -> int:
        """Deaths since the program last got further than ever before."""
        return self._deaths + self._stillborn

    def _judge_the_snapshots(self) -> None:
        """Find out whether it is our asking for snapshots that kills the program.

        It is when the program says so; and it may be when no request has ever been answered.
        Then it lives without, and if it gets on, that was it; if it dies as before, it was not.
        """
        if self.counts.snapshots:
            return
        if self._snapshots_kill:
            self._deaths_without += 1
            if self._good > self._good_at_blame or self._deaths_without < _DEATHS_TO_ACQUIT:
                return
            self._snapshots_kill = False
            self._blame_after *= 6
            self._deaths_without = 0
        elif self._journal.waiting:
            self._deaths_with += 1
            said = self.error is not None and "snapshot" in self.error
            if said or self._deaths_with >= self._blame_after:
                self._deaths_with = 0
                self._blame_the_snapshots()

    def _blame_the_snapshots(self) -> None:
        """Ask a program no more that has never answered, and dies with the request at hand."""
        journal = self._journal
        logger.warning(
            "the program dies of its first snapshot request: it is not asked again, and is "
            "brought back by sending it all input since the beginning"
        )
        self._snapshots_kill = True
        self._good += 1  # not the input's fault
        self._good_at_blame = self._good
        self._deaths = 0
        while journal.waiting:
            journal.current += 1
            if journal.segments[journal.current].for_kapacitor:
                self.to_kapacitor.append(frames.EMPTY_SNAPSHOT)
            journal.merge(journal.current)

    def _start_over(self) -> None:
        if self.rules.on_lost is OnLost.give_up:
            raise GiveUp(
                "the program's state is lost: it answered no snapshot, and the input since its "
                "start is larger than the buffer (--buffer; --when-lost restart begins afresh)"
            )
        logger.error("the program begins afresh, without what it had learned")
        for segment in self._journal.segments:
            if segment.for_kapacitor:
                self.to_kapacitor.append(frames.EMPTY_SNAPSHOT)
        self._journal = Journal(self.rules.buffer)
        self._journal.newest.at = self._position
        self._lost = False
        self._skipping = self._in_batch
        self._deaths = 0

    def _poisoned(self) -> None:
        if self.rules.on_poison is OnPoison.give_up:
            raise GiveUp(f"the program has died {self._deaths} times on the same input")
        untellable = GiveUp(
            f"the program has died {self._deaths} times on the same input, and which point it is "
            "cannot be told, as the program answers no snapshot requests"
        )
        if self._snapshots_kill:
            if self._good > self._good_at_blame:
                raise untellable
            self._snapshots_kill = False  # it dies without them as well
        journal = self._journal
        index = journal.current
        suspect = frames.units(journal.segments[index].blocks)
        if not suspect and journal.waiting and not self.counts.snapshots:
            raise untellable
        if not suspect:
            raise GiveUp(f"the program has died {self._deaths} times with no input to blame")
        if len(suspect) > 1:
            self._suspect_deaths = 0
            size = -(-len(suspect) // _PARTS)
            parts = [suspect[at : at + size] for at in range(0, len(suspect), size)]
            if not self.counts.snapshots:
                # A request before all of them: is it the asking, after all?
                parts.insert(0, [])
            journal.replace(index, parts)
            logger.warning(
                "looking for the input that kills the program: %d units, %d at a time",
                len(suspect),
                size,
            )
            return
        self._suspect_deaths += 1
        if self._suspect_deaths < _DEATHS_TO_CONFIRM:
            return
        self._quarantine(index, suspect[0])

    def _quarantine(self, index: int, unit: bytes) -> None:
        from kapacitor.udf.supervise import quarantine

        why = f"the program died on it {self._deaths} times"
        if self.rules.quarantine_file is not None:
            what = quarantine.keep(self.rules.quarantine_file, unit, why)
        else:
            what = quarantine.describe(unit)[0]
        logger.error("passed over %s: %s", what, why)
        journal = self._journal
        journal.clear(index)
        if index == len(journal.segments) - 1 and self._in_batch:
            self._skipping = True
        self.counts.quarantined += 1
        self._suspect_deaths = 0
        self._deaths = 0
        self._good += 1

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


class Refused(Exception):  # noqa: N818 - what the program did
    """The program does not restore its own snapshot; it has to be started once more."""


def _slipped(found: bytes, expected: list[bytes]) -> int:
    """Return how many results were delivered late, after the snapshot that followed them.

    Parameters
    ----------
    found : bytes
        The first result of a life that began with the snapshot.
    expected : list of bytes
        The first results that were delivered after the snapshot.
    """
    if not expected or found == expected[0]:
        return 0
    from kapacitor.udf import udf_pb2

    def parse(frame: bytes) -> udf_pb2.Response:
        return udf_pb2.Response.FromString(frames.body(frame))

    # As messages: the order of a map's entries differs from life to life. And without values,
    # as those may be random: then what a result is about tells.
    for simplify in (lambda message: message, _about):
        message = simplify(parse(found))
        for index, frame in enumerate(expected):
            if simplify(parse(frame)) == message:
                return index
    if len(expected) == 1:
        return 1
    logger.warning("the program's results differ from life to life: they are told apart by count")
    return 0


def _about(message: "udf_pb2.Response") -> "udf_pb2.Response":
    if message.HasField("point"):
        for name in ("fieldsDouble", "fieldsInt", "fieldsString", "fieldsBool"):
            message.point.ClearField(name)
    return message


__all__ = ["Core", "Counts", "FrameError", "GiveUp", "OnLost", "OnPoison", "Refused", "Rules"]
