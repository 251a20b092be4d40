"""The parts of the supervisor that need no process."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import FrameError, encode_varint
from kapacitor.udf.harness.program import frame
from kapacitor.udf.supervise import frames, quarantine
from kapacitor.udf.supervise.journal import Journal
from kapacitor.udf.supervise.outbox import Outbox

KINDS = (frames.INFO, frames.KEEPALIVE, frames.SNAPSHOT, frames.BEGIN, frames.POINT, frames.END)
bodies = st.one_of(
    st.just(b""),
    st.tuples(st.sampled_from(KINDS), st.binary(max_size=40)).map(lambda b: bytes((b[0],)) + b[1]),
    # many points of equal size, with all kinds of bytes in them
    st.binary(min_size=5, max_size=5).map(lambda tail: bytes((frames.POINT, 1)) + tail),
    st.sampled_from((126, 127, 128, 16_383)).map(lambda n: bytes((frames.POINT,)) * n),
)


def simple(data: bytes) -> list[tuple[int, int, int]]:
    """What `scan` is to find, frame by frame."""
    return [(kind, len(one), 1) for kind, one in frames.split(data)]


def apart(runs: list[frames.Run], data: bytes) -> list[tuple[int, int, int]]:
    found = []
    for kind, start, end, count in runs:
        inside = list(frames.split(data[start:end]))
        assert len(inside) == count
        assert {one for one, _ in inside} == {kind}
        found += [(kind, len(one), 1) for _, one in inside]
    return found


@given(st.lists(bodies, max_size=60), st.data())
def test_runs_are_the_frames(found: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_varint(len(body)) + body for body in found)
    cut = data.draw(st.integers(0, len(stream)))
    runs, at = frames.scan(stream[:cut])
    assert apart(runs, stream) == simple(stream[:at])
    rest, end = frames.scan(stream, at)
    assert end == len(stream)
    assert apart(rest, stream) == simple(stream[at:])


@given(st.lists(bodies, max_size=30), st.randoms(use_true_random=False))
def test_blocks_of_any_size_give_the_same_frames(found: list[bytes], rng: random.Random) -> None:
    stream = b"".join(encode_varint(len(body)) + body for body in found)
    splitter = frames.Splitter()
    got = b""
    at = 0
    while at < len(stream):
        step = rng.randrange(1, 50)
        data, runs = splitter.feed(stream[at : at + step])
        got += b"".join(data[run.start : run.end] for run in runs)
        at += step
    assert got == stream
    assert splitter.pending == 0


def test_a_long_run_of_equal_sizes_is_one_run() -> None:
    point = udf_pb2.Request(point=udf_pb2.Point(time=1_451_606_400 * 10**9))
    stream = frame(point) * 10_000
    runs, at = frames.scan(stream + b"\x05")
    assert runs == [frames.Run(frames.POINT, 0, len(stream), 10_000)]
    assert at == len(stream)


@pytest.mark.parametrize("head", [encode_varint(1 << 63), b"\xff" * 10, encode_varint(1 << 31)])
def test_lengths_that_cannot_be(head: bytes) -> None:
    with pytest.raises(FrameError):
        frames.scan(b"\x01\x8a" + head + b"xx")


def test_a_snapshot_response_becomes_the_request_that_restores_it() -> None:
    for size in (1, 120, 130, 20_000):
        snapshot = os.urandom(size)
        answer = udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse(snapshot=snapshot))
        made = udf_pb2.Request.FromString(frames.body(frames.restore_request(frame(answer))))
        assert made.restore.snapshot == snapshot


def test_fixed_frames_are_what_protobuf_makes() -> None:
    ask = udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest())
    tell = udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse())
    alive = udf_pb2.Response(keepalive=udf_pb2.KeepaliveResponse())
    assert frame(ask) == frames.SNAPSHOT_REQUEST
    assert frame(tell) == frames.EMPTY_SNAPSHOT
    assert frame(alive) == frames.KEEPALIVE_FRAME
    # a keepalive is answered with its own bytes
    asked = frame(udf_pb2.Request(keepalive=udf_pb2.KeepaliveRequest(time=99)))
    assert frame(udf_pb2.Response(keepalive=udf_pb2.KeepaliveResponse(time=99))) == asked


def test_units_are_batches_and_single_points() -> None:
    begin = frame(udf_pb2.Request(begin=udf_pb2.BeginBatch(name="m")))
    point = frame(udf_pb2.Request(point=udf_pb2.Point(time=1)))
    end = frame(udf_pb2.Request(end=udf_pb2.EndBatch(name="m")))
    batch = begin + point + point + end
    assert frames.units([point + begin[:2], begin[2:] + point + point + end, begin + point]) == [
        point,
        batch,
        begin + point,
    ]


def test_an_outbox_loses_nothing_when_little_is_taken() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    rng = random.Random(4)
    box, expected, got = Outbox(), b"", b""
    for _ in range(300):
        block = rng.randbytes(rng.randrange(1, 5000))
        box.append(block)
        expected += block
        try:
            box.write_to(write)
        except BlockingIOError:
            got += os.read(read, rng.randrange(1, 70_000))
    while box.size:
        try:
            box.write_to(write)
        except BlockingIOError:
            got += os.read(read, 1 << 20)
    os.close(write)
    while block := os.read(read, 1 << 20):
        got += block
    os.close(read)
    assert got == expected


def test_a_journal_keeps_what_fits_and_never_what_is_not_answered() -> None:
    journal = Journal(limit=1000)
    for number in range(50):
        journal.append(bytes(90))
        journal.cut(at=90 * (number + 1), for_kapacitor=False, clean=True)
        journal.advance(b"state %d" % number)
        journal.compact()
        journal.trim()
        assert journal.size == sum(segment.size for segment in journal.segments) <= 1000
        assert sum(segment.restore is not None for segment in journal.segments[1:]) == 1
        assert journal.segments[journal.current].restore == b"state %d" % number
    assert not journal.from_beginning
    for _ in range(30):
        journal.append(bytes(90))
    journal.trim()
    assert journal.size == 2700


def test_the_quarantine_holds_line_protocol(tmp_path: Path) -> None:
    point = udf_pb2.Point(time=5, tags={"host": "a b"}, fieldsDouble={"f": 1.5})
    point.fieldsString["s"] = 'say "x"'
    unit = b"".join(
        frame(request)
        for request in (
            udf_pb2.Request(begin=udf_pb2.BeginBatch(name="m", group="host=a b")),
            udf_pb2.Request(point=point),
            udf_pb2.Request(end=udf_pb2.EndBatch(name="m")),
        )
    )
    path = tmp_path / "folder" / "bad.lp"
    assert quarantine.keep(path, unit, "it died") == "1 point(s) of 'm', group 'host=a b'"
    quarantine.keep(path, b"\x03\x8a\x05\xff", "it died")
    assert path.read_text().splitlines() == [
        "# 1 point(s) of 'm', group 'host=a b': it died",
        'm,host=a\\ b f=1.5,s="say \\"x\\"" 5',
        "# 0 point(s) of '', group '': it died",
        "# undecodable: 038a05ff",
    ]
