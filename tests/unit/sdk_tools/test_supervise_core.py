"""The supervisor's decisions, against a program that dies wherever chance has it.

Thousands of lives a second: the program is an object here, which takes bytes as they come, may
be killed between any two of them, and may send half of its last frame.
"""

import random

import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import frame
from kapacitor.udf.supervise import frames
from kapacitor.udf.supervise.core import Core
from kapacitor.udf.supervise.rules import GiveUp, OnPoison, Refused, Rules

INIT = frame(udf_pb2.Request(init=udf_pb2.InitRequest(taskID="t")))


class Killed(Exception):  # noqa: N818 - what happened
    """The program meets what kills it."""


class Model:
    """A program that keeps the sum of what it has seen and tells it after each unit.

    Parameters
    ----------
    snapshots : {"yes", "empty", "refuse", "batch only"}
    mirror : bool
        Send each point back, too, in a batch of its own kind.
    slip : bool
        Say the last result before a snapshot after it, now and then, as agents with two
        writers do.
    poison : float, optional
        Value it dies of.
    """

    def __init__(
        self,
        rng: random.Random,
        snapshots: str,
        mirror: bool,
        slip: bool = False,
        poison: float | None = None,
    ) -> None:
        self._rng = rng
        self._snapshots, self._mirror, self._slip, self._poison = snapshots, mirror, slip, poison
        self._splitter = frames.Splitter()
        self._total = 0.0
        self._batch: list[float] | None = None
        self._said: list[bytes] = []

    def _say(self, response: udf_pb2.Response) -> None:
        self._said.append(frame(response))

    def _tell(self, stamp: int) -> None:
        point = udf_pb2.Point(time=stamp, name="sum", fieldsDouble={"total": self._total})
        point.fieldsDouble["again"] = self._total
        self._say(udf_pb2.Response(point=point))

    def feed(self, block: bytes) -> bytes:
        """Take input, return output; `Killed` leaves what was said before in `last`."""
        self._said = []
        data, runs = self._splitter.feed(block)
        for run in runs:
            for _, one in frames.split(data[run.start : run.end]):
                self._handle(udf_pb2.Request.FromString(frames.body(one)))
        return b"".join(self._said)

    @property
    def last(self) -> bytes:
        return b"".join(self._said)

    def _take(self, value: float) -> None:
        if value == self._poison:
            raise Killed
        self._total += value

    def _handle(self, request: udf_pb2.Request) -> None:
        kind = request.WhichOneof("message")
        response = udf_pb2.Response()
        if kind == "init":
            response.init.success = True
            self._say(response)
        elif kind == "keepalive":
            response.keepalive.time = request.keepalive.time
            self._say(response)
        elif kind == "snapshot":
            response.snapshot.SetInParent()
            if self._snapshots != "empty":
                response.snapshot.snapshot = repr(self._total).encode()
            late = self._said.pop() if self._slips() else b""
            self._say(response)
            if late:
                self._said.append(late)
        elif kind == "restore":
            response.restore.success = self._snapshots == "yes"
            if response.restore.success:
                self._total = float(request.restore.snapshot)
            else:
                response.restore.error = "no"
            self._say(response)
        elif kind == "begin":
            self._batch = []
        elif kind == "point":
            value = request.point.fieldsDouble["f"]
            if self._batch is not None:
                self._batch.append(value)
                return
            self._take(value)
            self._tell(request.point.time)
        elif kind == "end":
            values, self._batch = self._batch or [], None
            if self._mirror:
                self._say(udf_pb2.Response(begin=udf_pb2.BeginBatch(name="m", size=len(values))))
            for value in values:
                self._take(value)
                if self._mirror:
                    self._say(udf_pb2.Response(point=udf_pb2.Point(fieldsDouble={"f": value})))
            if self._mirror:
                self._say(udf_pb2.Response(end=udf_pb2.EndBatch(name="m", tmax=request.end.tmax)))
            else:
                self._tell(request.end.tmax)

    def _slips(self) -> bool:
        if not self._slip or not self._said or self._rng.random() < 0.5:
            return False
        return frames.body(self._said[-1])[0] == frames.POINT


def units(rng: random.Random, count: int, batches: bool) -> list[bytes]:
    found = []
    value = 0
    for number in range(count):
        block = b""
        if batches:
            block += frame(udf_pb2.Request(begin=udf_pb2.BeginBatch(name="m")))
        for _ in range(rng.randrange(0, 6) if batches else 1):
            value += 1
            point = udf_pb2.Point(time=number, fieldsDouble={"f": float(value)})
            if rng.random() < 0.3:
                point.fieldsString["note"] = "x" * rng.randrange(200)
            block += frame(udf_pb2.Request(point=point))
        if batches:
            block += frame(udf_pb2.Request(end=udf_pb2.EndBatch(name="m", tmax=number)))
        found.append(block)
    return found


class World:
    """Kapacitor on one side, lives of the model on the other, chance in between."""

    def __init__(self, rng: random.Random, rules: Rules, deadliness: float, **model: object):
        self.rng = rng
        self.core = Core(rules)
        self.model_options = model
        self.deadliness = deadliness
        self.kills_left = 10
        self.got = b""
        self.model = self._new()

    def _new(self) -> Model:
        model = Model(self.rng, **self.model_options)  # type: ignore[arg-type]
        self.core.start()
        return model

    def run(self, stream: bytes) -> list[bytes]:
        """Return the frames of data that Kapacitor got."""
        rng, core = self.rng, self.core
        core.from_kapacitor(INIT)
        at = 0
        idle = 0
        while idle < 3:
            step = rng.random()
            if at < len(stream) and core.wants_input and step < 0.4:
                size = rng.randrange(1, 3000)
                core.from_kapacitor(stream[at : at + size])
                at += size
            elif step < 0.5:
                core.want_snapshot()
            elif step < 0.55 and not core.to_program.size:
                core.confirm()  # time has gone by, and nothing was on its way
            elif core.to_program.size:
                self._work(core.to_program.take())
            else:
                if self._strikes():
                    self._die("was killed while it was idle", b"")
                idle = idle + 1 if at >= len(stream) and not core.to_program.size else 0
            self.got += core.to_kapacitor.take()
        return [one for kind, one in frames.split(self.got) if kind >= frames.BEGIN]

    def _strikes(self) -> bool:
        if self.kills_left and self.rng.random() < self.deadliness:
            self.kills_left -= 1
            return True
        return False

    def _work(self, block: bytes) -> None:
        rng = self.rng
        at = 0
        while at < len(block):
            piece = block[at : at + rng.randrange(1, 2000)]
            at += len(piece)
            try:
                said = self.model.feed(piece)
            except Killed:
                self._die("died", self.model.last)
                return
            if self._strikes():
                self._die("was killed", said[: rng.randrange(len(said) + 1)])
                return
            try:
                while said:
                    cut = rng.randrange(1, 500)
                    self.core.from_program(said[:cut])
                    said = said[cut:]
            except Refused:
                self.core.refused()
                self.model = self._new()
                return

    def _die(self, how: str, last: bytes) -> None:
        try:
            self.core.from_program(last)
        except Refused:
            self.core.refused()
        else:
            self.core.died(how)
        self.model = self._new()


def undisturbed(blocks: list[bytes], mirror: bool) -> list[bytes]:
    said = Model(random.Random(0), "yes", mirror).feed(b"".join(blocks))
    return [one for _, one in frames.split(said)]


@pytest.mark.parametrize("snapshots", ["yes", "empty", "refuse"])
@pytest.mark.parametrize("shape", ["stream", "batches", "mirror"])
def test_each_result_once_and_in_order(snapshots: str, shape: str) -> None:
    for seed in range(25):
        rng = random.Random(f"{snapshots} {shape} {seed}")
        blocks = units(rng, 300, shape != "stream")
        # A program that does not restore needs its whole past.
        small = snapshots == "yes" and rng.random() < 0.6
        rules = Rules(buffer=20_000 if small else 1 << 20, deaths=10_000)
        mirror = shape == "mirror"
        world = World(rng, rules, rng.choice([0, 0.05, 0.3]), snapshots=snapshots, mirror=mirror)
        assert world.run(b"".join(blocks)) == undisturbed(blocks, mirror), seed


@pytest.mark.parametrize("snapshots", ["yes", "empty", "refuse"])
@pytest.mark.parametrize("shape", ["stream", "batches"])
def test_kapacitor_gets_each_answer_it_asks_for(snapshots: str, shape: str) -> None:
    """Its requests come anywhere, also in the middle of a batch."""
    alive = frame(udf_pb2.Request(keepalive=udf_pb2.KeepaliveRequest(time=7)))
    for seed in range(25):
        rng = random.Random(f"asks {snapshots} {shape} {seed}")
        blocks = units(rng, 200, shape != "stream")
        asked = {frames.SNAPSHOT: 0, frames.KEEPALIVE: 0}
        stream = b""
        for kind, one in frames.split(b"".join(blocks)):
            stream += one
            assert kind >= frames.BEGIN
            for ask, request in (
                (frames.SNAPSHOT, frames.SNAPSHOT_REQUEST),
                (frames.KEEPALIVE, alive),
            ):
                if rng.random() < 0.02:
                    asked[ask] += 1
                    stream += request
        world = World(rng, Rules(deaths=10_000), 0.1, snapshots=snapshots, mirror=False)
        assert world.run(stream) == undisturbed(blocks, False), seed
        kinds = [kind for kind, _ in frames.split(world.got)]
        assert {ask: kinds.count(ask) for ask in asked} == asked, seed


@pytest.mark.parametrize("shape", ["stream", "batches"])
def test_results_that_slip_past_a_snapshot_are_not_lost_or_said_twice(shape: str) -> None:
    for seed in range(60):
        rng = random.Random(f"slip {shape} {seed}")
        blocks = units(rng, 300, shape != "stream")
        rules = Rules(buffer=1 << 20, deaths=10_000)
        world = World(rng, rules, 0.1, snapshots="yes", mirror=False, slip=True)
        found = world.run(b"".join(blocks))
        assert found == undisturbed(blocks, False), seed


@pytest.mark.parametrize("snapshots", ["yes", "empty"])
@pytest.mark.parametrize("shape", ["stream", "batches", "mirror"])
def test_one_unit_is_taken_out_and_no_other(snapshots: str, shape: str) -> None:
    for seed in range(25):
        rng = random.Random(f"poison {snapshots} {shape} {seed}")
        blocks = units(rng, 300, shape != "stream")
        poison = float(rng.randrange(1, 250))
        rules = Rules(buffer=1 << 20, deaths=2, on_poison=OnPoison.quarantine)
        mirror = shape == "mirror"
        options = {"snapshots": snapshots, "mirror": mirror, "poison": poison}
        world = World(rng, rules, 0.0, **options)
        found = world.run(b"".join(blocks))
        bad = frame(udf_pb2.Request(point=udf_pb2.Point(fieldsDouble={"f": poison})))[4:]
        (unit,) = [index for index, block in enumerate(blocks) if bad in block]
        assert world.core.counts.quarantined == 1
        if mirror:
            # What the unit said before it died has gone out: a begun batch, which Kapacitor
            # drops at the next begin.
            found = _without_stubs(found)
        assert found == undisturbed(blocks[:unit] + blocks[unit + 1 :], mirror), seed


def _without_stubs(found: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    batch: list[bytes] = []
    for one in found:
        kind = frames.body(one)[0]
        if kind == frames.BEGIN:
            batch = []
        batch.append(one)
        if kind == frames.END:
            kept += batch
    return kept


def test_giving_up_says_why() -> None:
    rng = random.Random(1)
    blocks = units(rng, 50, False)
    world = World(rng, Rules(deaths=3), 0.0, snapshots="yes", mirror=False, poison=20.0)
    with pytest.raises(GiveUp, match="died 3 times on the same input"):
        world.run(b"".join(blocks))


def test_the_end_of_a_batch_that_was_not_begun_is_held_back() -> None:
    core = Core(Rules())
    core.start()
    end = frame(udf_pb2.Response(end=udf_pb2.EndBatch(name="m")))
    point = frame(udf_pb2.Response(point=udf_pb2.Point(time=1)))
    for _ in range(10):
        core.from_program(end + point)
    assert core.to_kapacitor.take() == point * 10
