"""Frames: awkward sizes, every split, truncated and hostile streams."""

import io
import itertools
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapacitor.udf.framing import (
    FrameError,
    FrameReader,
    FrameWriter,
    TruncatedFrame,
    decode_varint,
    encode_varint,
)

AWKWARD = [0, 1, 127, 128, 129, 16383, 16384, 16385]


def encode(frames):
    stream = io.BytesIO()
    writer = FrameWriter(stream)
    for frame in frames:
        writer.write(frame)
    writer.flush()
    return stream.getvalue()


class Pieces(io.RawIOBase):
    """A stream whose reads return the given pieces, as a pipe's may."""

    def __init__(self, pieces):
        self.pieces = [piece for piece in pieces if piece]
        self.reads = 0

    def readable(self):
        return True

    def readinto(self, view):
        self.reads += 1
        if not self.pieces:
            return 0
        piece = self.pieces[0]
        count = min(len(view), len(piece))
        view[:count] = piece[:count]
        self.pieces[0] = piece[count:]
        if not self.pieces[0]:
            del self.pieces[0]
        return count


class OnlyRead:
    """A stream with nothing but a read that waits for all the bytes asked for."""

    def __init__(self, data, whole=False):
        self.whole = whole
        self.stream = io.BytesIO(data)
        self.left = len(data)

    def read(self, count):
        if self.whole:
            assert count <= max(self.left, 1), "asked for bytes that may never come"
        data = self.stream.read(count)
        self.left -= len(data)
        return data


@given(st.integers(0, 2**64 - 1))
def test_varint_round_trip(number):
    data = encode_varint(number)
    assert decode_varint(b"x" + data + b"y", 1) == (number, 1 + len(data))
    assert len(data) == max(1, -(-number.bit_length() // 7))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_varint_refuses_what_does_not_fit(number):
    with pytest.raises(ValueError, match="varint"):
        encode_varint(number)


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from(AWKWARD).map(bytes))))
def test_what_is_written_is_read(frames):
    data = encode(frames)
    assert list(FrameReader(io.BytesIO(data))) == frames
    assert list(FrameReader(OnlyRead(data, whole=True))) == frames
    reader = FrameReader(Pieces([data]), block=64)
    one_by_one = iter(reader.read_frame, None)
    assert list(one_by_one) == frames
    assert reader.offset == len(data)


@pytest.mark.parametrize("size", AWKWARD)
def test_split_at_every_byte(size):
    frames = [b"before", os.urandom(size), b"after"]
    data = encode(frames)
    # Every byte near an edge; the inside of a long frame is all alike.
    cuts = [cut for cut in range(len(data) + 1) if cut < 150 or len(data) - cut < 150]
    for cut in cuts:
        assert list(FrameReader(Pieces([data[:cut], data[cut:]]))) == frames


@given(st.lists(st.binary(max_size=200), min_size=1), st.data())
def test_any_pieces_give_the_same_frames(frames, draw):
    data = encode(frames)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=20)))
    edges = [0, *cuts, len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert list(FrameReader(Pieces(pieces), block=32)) == frames


@given(st.lists(st.binary(max_size=200), min_size=1), st.data())
def test_a_cut_stream_is_told_from_an_ended_one(frames, draw):
    data = encode(frames)
    cut = draw.draw(st.integers(0, len(data)))
    ends = {len(encode(frames[:count])): count for count in range(len(frames) + 1)}
    for stream in (io.BytesIO(data[:cut]), OnlyRead(data[:cut])):
        reader = FrameReader(stream)
        got = []
        if cut in ends:
            assert list(reader) == frames[: ends[cut]]
            continue
        with pytest.raises(TruncatedFrame, match="inside a frame"):
            got.extend(reader)
        assert reader.offset == max(end for end in ends if end < cut)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (encode_varint(2**63), "9223372036854775808"),
        (encode_varint(2**64 - 1), "18446744073709551615"),
        (b"\xff" * 10, "more than 64 bits"),
        (b"\x80" * 40, "more than 64 bits"),
        (encode_varint(2**28 + 1), "268435457"),
    ],
)
@pytest.mark.parametrize("make", [io.BytesIO, OnlyRead, lambda data: Pieces([data])])
def test_hostile_lengths_are_refused(head, words, make):
    good = [b"one", b"two" * 100]
    data = encode(good) + head + b"\x00" * 40
    reader = FrameReader(make(data))
    got = []
    with pytest.raises(FrameError, match=words) as caught:
        while frames := reader.read_frames():
            got += frames
    assert got == good
    assert f"at byte {len(encode(good))}" in str(caught.value)


def test_a_promised_length_costs_nothing():
    reader = FrameReader(io.BytesIO(encode_varint(200 * 2**20) + b"only this"))
    with pytest.raises(TruncatedFrame):
        reader.read_frames()
    assert len(reader._buffer) < 2**20


def test_a_limit_is_an_argument():
    data = encode([bytes(100)])
    assert len(FrameReader(io.BytesIO(data), max_frame=100).read_frame()) == 100
    with pytest.raises(FrameError, match="at most 99"):
        FrameReader(io.BytesIO(data), max_frame=99).read_frame()


def test_a_long_frame_takes_few_reads_and_gives_its_memory_back():
    big = os.urandom(5_000_000)
    data = encode([big] + [bytes(1000)] * 2000)
    stream = Pieces([data])
    reader = FrameReader(stream)
    assert reader.read_frame() == big
    assert stream.reads < 20
    assert sum(1 for _ in reader) == 2000
    assert len(reader._buffer) < 2**20


def test_a_pipe_is_read_in_blocks_as_the_data_arrives():
    reading, writing = os.pipe()
    frames = [bytes([65 + index % 26]) * (index % 300) for index in range(5000)]

    def write():
        writer = FrameWriter(writing)
        for frame in frames:
            writer.write(frame)
            if len(frame) == 0:
                writer.flush()
        writer.flush()
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert list(FrameReader(reading)) == frames
    finally:
        thread.join()
        os.close(reading)


def test_a_non_blocking_stream_is_refused_with_a_reason():
    class Empty(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, view):
            return None

    with pytest.raises(FrameError, match="non-blocking"):
        FrameReader(Empty()).read_frame()


def test_a_writer_hands_on_in_blocks():
    class Counting(io.BytesIO):
        calls = 0

        def write(self, data):
            self.calls += 1
            return super().write(data)

    stream = Counting()
    writer = FrameWriter(stream, limit=1000)
    for _ in range(100):
        writer.write(b"x" * 99)
    assert stream.calls == 10
    assert writer.pending == 0
    writer.write(b"y")
    assert writer.pending == 2
    writer.flush()
    assert stream.getvalue().endswith(b"\x01y")


def test_a_raw_file_that_takes_little_gets_all():
    class Reluctant(io.RawIOBase):
        got = b""

        def writable(self):
            return True

        def write(self, data):
            self.got += bytes(data[:3])
            return min(3, len(data))

    stream = Reluctant()
    writer = FrameWriter(stream)
    writer.write(b"0123456789")
    writer.flush()
    assert stream.got == b"\x0a0123456789"
