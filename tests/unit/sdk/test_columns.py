"""Decoding columns is exactly as strict as parsing every frame with protobuf."""

import io
import math
import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import FrameReader, encode_varint
from kapacitor.udf.typed.columns import (
    FEW,
    GOOD,
    MALFORMED,
    MISSING,
    NOT_FINITE,
    WRONG_TYPE,
    Decoder,
)

FIELDS = ("hotend", "bed", "a-name-of-more-than-eight-bytes", "Ω")


def expected(frame, fields):
    """What a full parse says of a frame."""
    nothing = (0, "", [(MALFORMED, math.nan)] * len(fields))
    try:
        request = udf_pb2.Request.FromString(frame)
    except DecodeError:
        return nothing
    if request.WhichOneof("message") != "point":
        return nothing
    point = request.point
    columns = []
    for field in fields:
        number = point.fieldsDouble.get(field, point.fieldsInt.get(field))
        if number is None:
            text = field in point.fieldsString or field in point.fieldsBool
            columns.append((WRONG_TYPE if text else MISSING, math.nan))
        elif math.isfinite(number):
            columns.append((GOOD, float(number)))
        else:
            columns.append((NOT_FINITE, math.nan))
    return point.time, point.group, columns


def check(frames, fields=FIELDS):
    """Decode the frames at once and hold every one against a full parse."""
    block = b"".join(encode_varint(len(frame)) + frame for frame in frames)
    read, (starts, ends) = FrameReader(io.BytesIO(block)).read_block()
    assert read == block
    columns = Decoder(fields, groups=True).decode(block, starts, ends)
    for index, frame in enumerate(frames):
        time, group, wanted = expected(frame, fields)
        got = [
            (int(columns.status[row, index]), float(columns.values[row, index]))
            for row in range(len(fields))
        ]
        assert (columns.times[index], columns.groups[index]) == (time, group), frame
        for (status, value), (wanted_status, wanted_value) in zip(got, wanted, strict=True):
            assert status == wanted_status, frame
            assert value == wanted_value or (math.isnan(value) and math.isnan(wanted_value))
    return columns


def frame_of(point):
    return udf_pb2.Request(point=point).SerializeToString()


def shuffled(point, rng):
    """The frame of a point with its entries in any order, as Go writes its maps."""
    body = point.SerializeToString()
    entries, position = [], 0
    while position < len(body):
        start = position
        if body[position] in (0x08, 0x58):
            position += 1
            while body[position] >= 0x80:
                position += 1
            position += 1
        else:
            length, shift, position = 0, 0, position + 1
            while True:
                byte = body[position]
                length |= (byte & 0x7F) << shift
                shift += 7
                position += 1
                if byte < 0x80:
                    break
            position += length
        entries.append(body[start:position])
    rng.shuffle(entries)
    body = b"".join(entries)
    return b"\x8a\x01" + encode_varint(len(body)) + body


names = st.sampled_from([*FIELDS, "hoten", "hotendd", "x", "", "é" * 40]) | st.text(max_size=20)
doubles = st.floats(width=64)
ints = st.integers(-(2**63), 2**63 - 1)


@st.composite
def points(draw):
    point = udf_pb2.Point(time=draw(ints))
    if draw(st.booleans()):
        point.name = draw(st.text(max_size=10))
        point.database = draw(st.sampled_from(["", "printer", "d" * 200]))
        point.retentionPolicy = draw(st.sampled_from(["", "autogen"]))
        point.byName = draw(st.booleans())
    if draw(st.booleans()):
        point.group = draw(st.sampled_from(["host=a", "host=b", "temperatures\nhost=ß"]))
        point.dimensions.extend(draw(st.lists(st.text(max_size=5), max_size=2)))
        point.tags.update(draw(st.dictionaries(names, st.text(max_size=20), max_size=3)))
    point.fieldsDouble.update(draw(st.dictionaries(names, doubles, max_size=4)))
    point.fieldsInt.update(draw(st.dictionaries(names, ints, max_size=2)))
    point.fieldsString.update(draw(st.dictionaries(names, st.text(max_size=30), max_size=2)))
    point.fieldsBool.update(draw(st.dictionaries(names, st.booleans(), max_size=2)))
    return point


@settings(max_examples=60, deadline=None)
@given(st.lists(points(), min_size=1, max_size=6), st.integers(0, 2**32))
def test_any_points_as_a_full_parse(some, seed):
    rng = random.Random(seed)
    check([shuffled(rng.choice(some), rng) for _ in range(FEW + 5)])
    check([frame_of(point) for point in some])


@settings(max_examples=60, deadline=None)
@given(points(), st.data())
def test_damaged_points_as_a_full_parse(point, data):
    frame = bytearray(frame_of(point))
    frames = [bytes(frame)] * FEW
    for _ in range(8):
        damaged = bytearray(frame)
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        # The first two bytes say that it is a point; others never come here.
        damaged[:2] = b"\x8a\x01"
        frames.append(bytes(damaged))
    check(frames)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=FEW, max_size=30))
@example([b""] * FEW)
@example([b"\x42"] * FEW)
@example([b"\x42\x7f\x0a\x7f"] * FEW)
def test_any_bytes_as_a_full_parse(bodies):
    check([b"\x8a\x01" + encode_varint(len(body)) + body for body in bodies])


def test_the_bytes_of_a_field_inside_a_string_fool_nobody():
    entry = udf_pb2.Point(fieldsDouble={"hotend": 666.0}).SerializeToString()
    trap = entry.decode("latin-1")
    frames = []
    for _ in range(FEW * 2):
        point = udf_pb2.Point(time=1, fieldsString={"note": trap, trap: "x"}, tags={"t": trap})
        point.name = trap
        frames.append(frame_of(point))
        frames.append(frame_of(udf_pb2.Point(time=1, fieldsDouble={"hotend": 1.0})))
    columns = check(frames, ("hotend",))
    assert (columns.status[0, ::2] == MISSING).all()
    assert (columns.values[0, 1::2] == 1.0).all()


def test_a_string_that_is_not_utf8_is_refused_as_protobuf_does():
    bad = bytearray(frame_of(udf_pb2.Point(time=1, fieldsDouble={"other": 1.0, "hotend": 2.0})))
    at = bad.index(b"other")
    bad[at] = 0xFF
    columns = check([bytes(bad)] * (FEW + 1), ("hotend",))
    assert (columns.status == MALFORMED).all()


@pytest.mark.parametrize(
    "body",
    [
        b"\x42\x0b\x11" + bytes(8) + b"\x0a\x00",  # value before key
        b"\x42\x08\x0a\x06hotend",  # no value: zero
        b"\x42\x00",  # neither
        b"\x42\x11\x0a\x06hotend\x11" + bytes(8),  # as Kapacitor writes it
        b"\x42\x91\x00\x0a\x06hotend\x11" + bytes(8),  # a padded length
        b"\x42\x13\x0a\x06hotend\x11" + bytes(8) + b"\x18\x01",  # an unknown part
        b"\x08\x81\x00",  # a padded time
        b"\x78\x01",  # an unknown number
        b"\x43\x44",  # a group, of old
        b"\x4a\x12\x0a\x06hotend\x10" + b"\xff" * 9 + b"\x01" + b"\x42",  # out of step
        b"\x4a\x13\x0a\x06hotend\x10" + b"\xff" * 9 + b"\x01",  # -1
        b"\x4a\x13\x0a\x06hotend\x10" + b"\xff" * 9 + b"\x03",  # an int of 65 bits
    ],
)
def test_forms_that_kapacitor_never_writes(body):
    frame = b"\x8a\x01" + encode_varint(len(body)) + body
    check([frame] * FEW, ("hotend",))
    check([frame], ("hotend",))


def test_a_number_of_the_same_name_wins_whatever_the_order():
    rng = random.Random(1)
    both = udf_pb2.Point(fieldsDouble={"hotend": 1.5}, fieldsInt={"hotend": 7})
    mixed = udf_pb2.Point(fieldsDouble={"hotend": 1.5}, fieldsString={"hotend": "x"})
    frames = [shuffled(point, rng) for point in (both, mixed) for _ in range(20)]
    assert (check(frames, ("hotend",)).values == 1.5).all()


def test_values_that_are_no_numbers():
    values = [1.0, math.nan, math.inf, -math.inf] * FEW
    frames = [frame_of(udf_pb2.Point(fieldsDouble={"hotend": value})) for value in values]
    columns = check(frames, ("hotend",))
    assert columns.status[0, :4].tolist() == [GOOD, NOT_FINITE, NOT_FINITE, NOT_FINITE]
    assert np.isnan(columns.values[0, 1:4]).all()


def test_no_points_and_no_fields():
    assert Decoder(("hotend",)).decode(b"", [], []).values.shape == (1, 0)
    columns = check([frame_of(udf_pb2.Point(time=5, group="g"))] * FEW, ())
    assert columns.values.shape == (0, FEW)


def test_times_of_every_length():
    times = [0, 1, 127, 128, 2**32, 2**56 - 1, 2**56, 2**62, 2**63 - 1, -1, -(2**63)] * 2
    frames = [frame_of(udf_pb2.Point(time=time)) for time in times]
    assert check(frames).times.tolist() == times
