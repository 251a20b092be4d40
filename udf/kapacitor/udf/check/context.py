"""What the checks share: the program, its options, and data that it can work on."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.options import parse_options
from kapacitor.udf.harness.program import Program, ProgramError, frame
from kapacitor.udf.run.session import point_request, window_requests
from kapacitor.udf.run.windows import Grouping, WindowRule, Windows
from lineprotocol import FieldValue, Point

SECOND = 10**9
_START = 1_451_606_400 * SECOND
_WINDOW_POINTS = 20


class Failed(Exception):  # noqa: N818 - an outcome
    """The program does not do what the check asks; the message says what it did."""


class Skipped(Exception):  # noqa: N818 - an outcome
    """The check says nothing about this program; the message says why."""


@dataclass(slots=True)
class Context:
    """A program under check.

    Parameters
    ----------
    argv : sequence of str
        Its command line.
    given : sequence of str
        Options as ``name=value``.
    fields : sequence of str
        Fields of the points it is given, all doubles.
    timeout : float
        Seconds it has for everything it owes.
    seed : int
        Of the data.
    """

    argv: Sequence[str]
    given: Sequence[str]
    fields: Sequence[str]
    timeout: float = 10.0
    seed: int = 1
    info: udf_pb2.InfoResponse = field(default_factory=udf_pb2.InfoResponse)
    repeatable: bool = True

    @property
    def batches(self) -> bool:
        """Whether the program wants windows."""
        return bool(self.info.wants == udf_pb2.BATCH)

    def open(self, timeout: float | None = None) -> Program:
        """Start the program, without a word said."""
        return Program(self.argv, timeout=timeout or self.timeout)

    def ready(self) -> Program:
        """Start the program on its options.

        Raises
        ------
        Failed
            If it refuses them.
        """
        program = self.open()
        try:
            answer = program.init(parse_options(self.info.options, self.given))
            if not answer.success:
                raise Failed(f"it refuses its options: {answer.error}")
        except BaseException:
            program.kill()
            raise
        return program

    def points(self, count: int, hosts: str = "ab", seed: int | None = None) -> list[Point]:
        """Make points a second apart, their values normal around 20, hosts in turn."""
        rng = random.Random(self.seed if seed is None else seed)
        found: list[Point] = []
        for number in range(count):
            values: dict[str, FieldValue] = {name: rng.gauss(20.0, 2.0) for name in self.fields}
            host = hosts[number % len(hosts)]
            found.append(Point("m", {"host": host}, values, _START + number * SECOND))
        return found

    def requests(self, points: Sequence[Point]) -> list[list[udf_pb2.Request]]:
        """Make what the program wants of points: windows, or the points; one list a unit."""
        return list(self._requests(points))

    def _requests(self, points: Sequence[Point]) -> Iterator[list[udf_pb2.Request]]:
        grouping = Grouping(("host",))
        if not self.batches:
            for point in points:
                yield [point_request(point, grouping.of(point), ["host"])]
            return
        rule = WindowRule(period_count=_WINDOW_POINTS, every_count=_WINDOW_POINTS)
        for window in Windows(rule, grouping).cut(iter(points)):
            yield list(window_requests(window))

    def run(self, units: Sequence[list[udf_pb2.Request]]) -> list[udf_pb2.Response]:
        """Give units to a new life of the program; return all it says, up to a clean end."""
        with self.ready() as program:
            program.write(serialize(units))
            return self.finish(program)

    def finish(self, program: Program) -> list[udf_pb2.Response]:
        """Close the input; return the data that is left.

        Raises
        ------
        Failed
            If the program errs or does not end well.
        """
        program.close_input()
        found = data(program.drain())
        status = program.wait()
        if status != 0:
            raise ProgramError(f"the program ended with status {status}\n{program.stderr()}")
        return found

    def alive(self, program: Program) -> list[udf_pb2.Response]:
        """Ask for a sign of life; return the data that came before it."""
        program.send(udf_pb2.Request(keepalive=udf_pb2.KeepaliveRequest(time=42)))
        found: list[udf_pb2.Response] = []
        while True:
            response = program.receive()
            if response is None:
                raise Failed(f"it ended by itself\n{program.stderr()}".strip())
            kind = response.WhichOneof("message")
            if kind == "keepalive" and response.keepalive.time == 42:
                return found
            if kind == "error":
                raise Failed(f"it sent an error: {response.error.error}")
            found.append(response)

    def snapshot(self, program: Program) -> tuple[list[udf_pb2.Response], bytes]:
        """Ask for a snapshot; return the data that came before it, and the snapshot."""
        program.send(udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest()))
        found: list[udf_pb2.Response] = []
        while True:
            response = program.receive()
            if response is None:
                raise Failed(f"it ended instead of making a snapshot\n{program.stderr()}".strip())
            kind = response.WhichOneof("message")
            if kind == "snapshot":
                return data(found), response.snapshot.snapshot
            if kind == "error":
                raise Failed(f"it answers a snapshot request with an error: {response.error.error}")
            found.append(response)


def serialize(units: Sequence[list[udf_pb2.Request]]) -> bytes:
    """Return the frames of all units."""
    return b"".join(frame(request) for unit in units for request in unit)


def data(responses: Sequence[udf_pb2.Response]) -> list[udf_pb2.Response]:
    """Return the results among responses, without the protocol's own traffic.

    Raises
    ------
    Failed
        If one of them is an error.
    """
    found = []
    for response in responses:
        kind = response.WhichOneof("message")
        if kind == "error":
            raise Failed(f"it sent an error: {response.error.error}")
        if kind in ("begin", "point", "end"):
            found.append(response)
    return found


def of_group(responses: Sequence[udf_pb2.Response], host: str) -> list[udf_pb2.Response]:
    """Return the results of one host, batches with all they hold."""
    found = []
    batch_host = None
    for response in responses:
        kind = response.WhichOneof("message")
        if kind == "begin":
            batch_host = response.begin.tags.get("host")
        mine = response.point.tags.get("host") if kind == "point" else None
        if (batch_host or mine) == host:
            found.append(response)
        if kind == "end":
            batch_host = None
    return found


def same(
    expected: Sequence[udf_pb2.Response], found: Sequence[udf_pb2.Response], what: str
) -> None:
    """Compare results; NaN equals NaN.

    Raises
    ------
    Failed
        With the first difference.
    """
    for number, (left, right) in enumerate(zip(expected, found, strict=False)):
        if left != right and str(left) != str(right):
            raise Failed(f"{what}: result {number} is\n{right}instead of\n{left}".rstrip())
    if len(expected) != len(found):
        raise Failed(f"{what}: {len(found)} results instead of {len(expected)}")
