"""What a program does with points over its pipes, with no engine in the way."""

import resource
import time
from dataclasses import dataclass

import psutil

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import Program, frame
from tests.bench.agents import Contender

FIELDS = ("hotend", "bed", "air")
_WINDOW = 300
_START = 1_451_606_400 * 10**9


@dataclass(frozen=True, slots=True)
class Measured:
    """One pass of points through a program."""

    points: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Points a second."""
        return self.points / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """Processor seconds for a million points."""
        return self.cpu_seconds / self.points * 1e6


def _point(number: int) -> udf_pb2.Point:
    point = udf_pb2.Point(time=_START + number * 10**9)
    for index, name in enumerate(FIELDS):
        # Values that differ and yet cost nothing to make.
        point.fieldsDouble[name] = 100.0 * index + (number * (7 + index) % 101) / 10
    return point


def windows(points: int) -> bytes:
    """Return frames of windows of 300 points, three fields each, as Kapacitor sends them."""
    block = bytearray()
    for first in range(0, points, _WINDOW):
        begin = udf_pb2.Request(begin=udf_pb2.BeginBatch(name="temperatures", size=_WINDOW))
        end = udf_pb2.EndBatch(name="temperatures", tmax=_START + (first + _WINDOW) * 10**9)
        block += frame(begin)
        for number in range(first, first + _WINDOW):
            block += frame(udf_pb2.Request(point=_point(number)))
        block += frame(udf_pb2.Request(end=end))
    return bytes(block)


def stream(points: int) -> bytes:
    """Return frames of a stream of points."""
    block = bytearray()
    for number in range(points):
        point = _point(number)
        point.name, point.database, point.retentionPolicy = "temperatures", "printer", "autogen"
        block += frame(udf_pb2.Request(point=point))
    return bytes(block)


def options(fields: tuple[str, ...] = FIELDS[:1]) -> list[udf_pb2.Option]:
    """Return the t-test's options."""
    text, number, double = udf_pb2.STRING, udf_pb2.INT, udf_pb2.DOUBLE
    values = [udf_pb2.OptionValue(type=text, stringValue=name) for name in fields]
    size = udf_pb2.OptionValue(type=number, intValue=3600)
    alpha = udf_pb2.OptionValue(type=double, doubleValue=0.001)
    return [
        udf_pb2.Option(name="field", values=values),
        udf_pb2.Option(name="size", values=[size]),
        udf_pb2.Option(name="alpha", values=[alpha]),
    ]


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: psutil.Process) -> float:
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


def measure(
    command: list[str],
    contender: Contender,
    given: list[udf_pb2.Option],
    block: bytes,
    points: int,
) -> Measured:
    """Send a block through a program and wait for its end; its start is not counted."""
    before = _cpu_of_children()
    with Program(command, env=contender.env, timeout=300) as program:
        answer = program.init(given)
        if not answer.success:
            raise RuntimeError(f"{contender.name} refuses its options: {answer.error}")
        started = _cpu_of(psutil.Process(program.process.pid))
        # The clock's reader is not to cost what it measures: frames are split, never parsed.
        start = time.perf_counter()
        program.write(block)
        program.close_input()
        program.process.wait(300)
        seconds = time.perf_counter() - start
        if program.process.returncode:
            raise RuntimeError(f"{contender.name} ended badly: {program.stderr()}")
    return Measured(points, seconds, max(_cpu_of_children() - before - started, 1e-6))


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a program early and late in a long stream."""

    points_early: int
    early: int
    points_late: int
    late: int

    @property
    def growth(self) -> float:
        """How much more there is in the end; 0.05 is five per cent."""
        return self.late / self.early - 1


def memory(contender: Contender, early: int, late: int) -> Memory:
    """Send a long stream of windows to the t-test and look at its memory on the way."""
    block = windows(30_000)
    with Program(contender.ttest, env=contender.env, timeout=300, read_ahead=16) as program:
        program.init(options())
        process = psutil.Process(program.process.pid)
        sizes = {}
        sent = 0
        while sent < late:
            program.write(block)
            sent += 30_000
            for at in (early, late):
                if sent >= at and at not in sizes:
                    _settle(program)
                    sizes[at] = sum(
                        one.memory_info().rss
                        for one in (process, *process.children(recursive=True))
                    )
            _take(program)
    return Memory(early, sizes[early], late, sizes[late])


def _settle(program: Program) -> None:
    """Wait until all that was sent has been worked off."""
    program.send(udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest()))
    while True:
        response = program.receive()
        if response is None:
            raise RuntimeError(f"the program ended: {program.stderr()}")
        if response.WhichOneof("message") == "snapshot":
            return


def _take(program: Program) -> None:
    """Take the results that have come, so that nobody waits for us."""
    from kapacitor.udf.harness.program import ProgramSilent

    try:
        while program.receive(timeout=0) is not None:
            pass
    except ProgramSilent:
        return
