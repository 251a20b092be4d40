"""Send points or windows to a program and take what it answers."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import encode_varint
from kapacitor.udf.harness.program import Program, ProgramError, ProgramSilent
from kapacitor.udf.run.windows import Group, Grouping, Window
from lineprotocol import Point, Unsigned

_BLOCK = 1 << 16


@dataclass(slots=True)
class Sent:
    """What went into the program."""

    points: int = 0
    windows: int = 0
    earliest: int = 2**63 - 1
    latest: int = -(2**63)


def _fill(message: udf_pb2.Point, point: Point, group: str) -> None:
    message.time = point.time or 0
    message.group = group
    message.tags.update(point.tags)
    for key, value in point.fields.items():
        # bool before int, of which it is a kind
        if isinstance(value, bool):
            message.fieldsBool[key] = value
        elif isinstance(value, float):
            message.fieldsDouble[key] = value
        elif isinstance(value, str):
            message.fieldsString[key] = value
        elif isinstance(value, Unsigned) and value >= 1 << 63:
            message.fieldsDouble[key] = float(value)  # the protocol has no unsigned integers
        else:
            message.fieldsInt[key] = value


def point_request(
    point: Point,
    group: Group,
    dimensions: list[str],
    database: str = "",
    retention_policy: str = "",
) -> udf_pb2.Request:
    """Make the message of a point in a stream."""
    request = udf_pb2.Request()
    message = request.point
    message.name = point.name
    message.database = database
    message.retentionPolicy = retention_policy
    message.dimensions.extend(dimensions)
    message.byName = group.by_name
    _fill(message, point, group.id)
    return request


def window_requests(window: Window) -> Iterator[udf_pb2.Request]:
    """Make the messages of a window: begin, its points, end."""
    group = window.group
    begin = udf_pb2.Request()
    begin.begin.name = group.name
    begin.begin.group = group.id
    begin.begin.tags.update(group.tags)
    begin.begin.size = len(window.points)
    begin.begin.byName = group.by_name
    yield begin
    for point in window.points:
        request = udf_pb2.Request()
        request.point.SetInParent()
        # As Kapacitor does, a point of a batch leaves its name to the batch.
        _fill(request.point, point, group.id)
        yield request
    end = udf_pb2.Request()
    end.end.name = group.name
    end.end.group = group.id
    end.end.tmax = window.tmax
    end.end.tags.update(group.tags)
    yield end


class Session:
    """One pass of data through a program: a thread feeds, the caller takes the responses.

    Parameters
    ----------
    program : Program
        Started and initialized.
    requests : iterator of Request
        What to send.
    """

    def __init__(self, program: Program, requests: Iterator[udf_pb2.Request]) -> None:
        self._program = program
        self._requests = requests
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def _feed(self) -> None:
        try:
            block = bytearray()
            for request in self._requests:
                body = request.SerializeToString()
                block += encode_varint(len(body)) + body
                if len(block) >= _BLOCK:
                    self._program.write(bytes(block))
                    block.clear()
            self._program.write(bytes(block))
        except (ProgramError, ValueError) as error:
            self._error = error
        finally:
            self._program.close_input()

    def responses(self) -> Iterator[udf_pb2.Response]:
        """Yield what the program answers, until it closes its output.

        Raises
        ------
        ProgramError
            If it sends an error, ends early or with a bad status, or hangs.
        ValueError
            If the data cannot be read.
        """
        self._thread.start()
        while True:
            # While data is still being read and sent, silence is not a hang: many windows
            # may go by without a result. The feeder has a timeout of its own.
            waiting = 0.2 if self._thread.is_alive() else None
            try:
                response = self._program.receive(waiting)
            except ProgramSilent:
                if waiting:
                    continue
                raise
            if response is None:
                break
            if response.WhichOneof("message") == "error":
                raise ProgramError(f"the program sent an error: {response.error.error}")
            yield response
        self._thread.join()
        status = self._program.wait()
        if self._error is not None:
            raise self._error
        if status != 0:
            raise ProgramError(f"the program ended with status {status}")


def stream_requests(
    points: Iterator[Point],
    grouping: Grouping,
    sent: Sent,
    database: str = "",
    retention_policy: str = "",
) -> Iterator[udf_pb2.Request]:
    """Make the messages of a stream of points, counting them."""
    for point in points:
        sent.points += 1
        yield point_request(
            point, grouping.of(point), grouping.dimensions(point), database, retention_policy
        )


def batch_requests(windows: Iterator[Window], sent: Sent) -> Iterator[udf_pb2.Request]:
    """Make the messages of windows, counting them."""
    for window in windows:
        sent.windows += 1
        yield from window_requests(window)
