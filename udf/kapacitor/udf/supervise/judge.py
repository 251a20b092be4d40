"""Why a program died, and what to do about it before the next life."""

import collections
import logging

from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.journal import Journal
from kapacitor.udf.supervise.outbox import Outbox
from kapacitor.udf.supervise.rules import Counts, GiveUp, OnLost, OnPoison, Owed, Rules

logger = logging.getLogger("kapacitor.udf.supervise")

_PARTS = 64  # pieces that suspicious input is cut into
_STILLBORN = 10  # deaths in a row before a program could be given its input again
_DEATHS_TO_ACQUIT = 3  # without snapshot requests, before they are taken up again
_DEATHS_TO_CONFIRM = 2  # of a single unit on its own, before it is taken out


class Judge:
    """What the supervisor knows, and what it makes of a death.

    Parameters
    ----------
    rules : Rules

    Attributes
    ----------
    counts : Counts
    to_program, to_kapacitor : Outbox
        Bytes that wait to be written.
    ended : bool
        Whether Kapacitor has closed the input.
    keepalive_owed : bool
        Whether the program has a keepalive request to answer.
    progress : int
        Goes up when the program shows that it works.
    error : str or None
        What the program said before it ended.
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
