"""A point that comes alone takes a shorter way: what it gives is what it gives in company."""

import io
import math
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import encode_varint
from kapacitor.udf.typed import Field, Fields, Point, StreamUDF
from kapacitor.udf.typed.runner import Runner
from tests.wire import talk


class Sum(StreamUDF):
    """Adds two fields up, and counts the points of a group."""

    field = Fields()
    keep_incomplete: ClassVar[bool] = False

    def new_state(self) -> list[int]:
        return [0]

    def point(self, point: Point, state: list[int]) -> dict[str, float]:
        state[0] += 1
        if state[0] == 3:
            raise ValueError("the third point of every group is one too many")
        return {"sum": point["a"] + point["b"], "number": state[0]}


class Incomplete(Sum):
    """The same, for points of which one field is missing as well."""

    keep_incomplete: ClassVar[bool] = True


class Nothing(StreamUDF):
    """Reads no field."""

    def point(self, point: Point, state: Any) -> dict[str, float]:
        return {"seen": 1.0}


class Unread(StreamUDF):
    """Drops the points below zero."""

    field = Field()

    def point(self, point: Point, state: Any) -> dict[str, float] | None:
        return {"root": math.sqrt(point.value)} if point.value >= 0 else None


class Reads(io.RawIOBase):
    """Gives one of its pieces for each read."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces[::-1]

    def readinto1(self, view: Any) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.pop()
        view[: len(piece)] = piece
        return len(piece)


def results(udf: type[StreamUDF], pieces: list[bytes]) -> tuple[bytes, str]:
    out = io.BytesIO()
    runner = Runner(udf(), Reads(pieces), out)
    assert runner.run() == 0
    counts = str(runner.statistics).partition(" busy")[0]
    return out.getvalue(), counts


def frame(request: udf_pb2.Request) -> bytes:
    body = request.SerializeToString()
    return encode_varint(len(body)) + body


values = st.one_of(
    st.floats(-10, 10),
    st.sampled_from([math.nan, math.inf, -0.0, 1e300]),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(max_size=3),
)
points = st.builds(
    lambda time, group, fields: frame(talk.point(time, group, **fields)),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(["", "host=a", "host=b"]),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3),
)
#: A frame that begins as a point's and is none, or breaks off inside.
broken = st.sampled_from([b"\x03\x8a\x01\x05", b"\x05\x8a\x01\x00\x1a\x00", b"\x03\x8a\x01\x00"])


@given(st.lists(st.one_of(points, points, points, broken), max_size=12))
def test_alone_as_in_company(frames: list[bytes]) -> None:
    choices: dict[type[StreamUDF], dict[str, object]] = {
        Sum: {"field": ("a", "b")}, Incomplete: {"field": ("a", "b")}, Nothing: {},
        Unread: {"field": "a"},
    }  # fmt: skip
    for udf, options in choices.items():
        chosen = [
            option
            for name, given_ in options.items()
            for value in (given_ if isinstance(given_, tuple) else (given_,))
            for option in talk.options(**{name: value})
        ]
        init = frame(udf_pb2.Request(init=udf_pb2.InitRequest(taskID="t", options=chosen)))
        alone = results(udf, [init, *frames])
        assert alone == results(udf, [init, b"".join(frames)] if frames else [init])
