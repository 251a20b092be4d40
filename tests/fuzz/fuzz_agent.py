"""Feed the SDK with broken conversations until the time is up.

Each case makes a conversation as Kapacitor would have it, breaks it (bytes changed, cut
out, doubled, put in, frames swapped, the end cut off, hostile lengths), and holds these:

- the frame reader gives back the unbroken frames before the break, however the bytes
  arrive in pieces, and then ends or says what is wrong;
- columns decoded at once are what a full parse of each frame gives;
- an agent, plain or typed, ends in time; what it writes are responses; when the input
  was broken the last one is an error with a reason.

A case that fails is written to a file, and its seed is printed: ``--seed`` runs it again.
"""

import argparse
import faulthandler
import io
import logging
import random
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "udf")]

from google.protobuf.message import DecodeError  # noqa: E402
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: E402

from control_chart import Chart  # noqa: E402
from kapacitor.udf import udf_pb2  # noqa: E402
from kapacitor.udf.agent import Agent, Handler  # noqa: E402
from kapacitor.udf.framing import FrameError, FrameReader, encode_varint  # noqa: E402
from kapacitor.udf.typed import Field, StreamUDF  # noqa: E402
from kapacitor.udf.typed.runner import Runner  # noqa: E402
from tests.unit.sdk.test_columns import check  # noqa: E402
from tests.wire import talk  # noqa: E402
from ttest import TTest  # noqa: E402

PATIENCE = 20
"""Seconds a case may take before it counts as hung."""

FOLDER = ROOT / "out" / "fuzz"


class Mirror(Handler):
    """Sends every message back, in the way of the stock agent's examples."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def info(self) -> Any:
        return udf_pb2.Response(info=udf_pb2.InfoResponse())

    def init(self, init_req: Any) -> Any:
        return udf_pb2.Response(init=udf_pb2.InitResponse(success=True))

    def snapshot(self) -> Any:
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse(snapshot=b"x"))

    def restore(self, restore_req: Any) -> Any:
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(success=True))

    def begin_batch(self, begin_req: Any) -> None:
        self._agent.write_response(udf_pb2.Response(begin=begin_req))

    def point(self, point: Any) -> None:
        self._agent.write_response(udf_pb2.Response(point=point), random.random() < 0.1)

    def end_batch(self, end_req: Any) -> None:
        self._agent.write_response(udf_pb2.Response(end=end_req))


class Halve(StreamUDF):
    """Halves a field."""

    field = Field()

    def points(self, points: Any, state: Any) -> Any:
        return {"half": points[self.field] / 2}


class Pieces(io.RawIOBase):
    """Gives its bytes in pieces of any size."""

    def __init__(self, data: bytes, rng: random.Random) -> None:
        self._data = memoryview(data)
        self._rng = rng
        self._largest = rng.choice([1, 3, 50, 5000, 1 << 20])

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        count = min(len(view), len(self._data), self._rng.randint(1, self._largest))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


class Kept(io.BytesIO):
    """Keeps what was written past its closing."""

    data = b""

    def close(self) -> None:
        self.data = self.getvalue()
        super().close()


def conversation(rng: random.Random) -> list[bytes]:
    """Make requests as Kapacitor sends them."""
    options = talk.options(field="hotend")
    if rng.random() < 0.5:
        options += talk.options(size=rng.choice([1, 50]), alpha=0.01)
    init = udf_pb2.InitRequest(options=options, taskID="t", nodeID="n")
    requests = [udf_pb2.Request(info=udf_pb2.InfoRequest()), udf_pb2.Request(init=init)]
    for _ in range(rng.randint(0, 4)):
        group = rng.choice(["", "host=a", "host=ß", "g" * 200])
        values = [rng.gauss(0, 1) for _ in range(rng.choice([0, 1, 5, 40]))]
        window = talk.window(values, rng.randint(-(2**63), 2**63 - 1), group=group)
        for request in window:
            if request.HasField("point") and rng.random() < 0.2:
                point = request.point
                point.fieldsString["note"] = rng.choice(["x", "\x42\x11\x0a\x06hotend", "ü" * 99])
                point.fieldsInt["n"] = rng.randint(-(2**63), 2**63 - 1)
                point.fieldsBool["hotend" if rng.random() < 0.1 else "b"] = True
        extra = [talk.keepalive(rng.getrandbits(62)), talk.snapshot(), talk.restore(b"junk")]
        at = rng.randint(0, len(window))
        requests += [*window[:at], rng.choice(extra), *window[at:]]
        requests += [talk.point(rng.getrandbits(60), group, hotend=rng.gauss(0, 1))]
    return [request.SerializeToString() for request in requests]


def hurt(frames: list[bytes], rng: random.Random) -> bytes:
    """Break a conversation in some way, or in none."""
    frames = list(frames)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        at = rng.randrange(len(frames))
        frame = bytearray(frames[at])
        way = rng.randrange(6)
        if way == 0 and frame:
            frame[rng.randrange(len(frame))] = rng.getrandbits(8)
        elif way == 1 and frame:
            cut = rng.randrange(len(frame))
            del frame[cut : cut + rng.randint(1, 8)]
        elif way == 2:
            put = rng.randint(0, len(frame))
            frame[put:put] = rng.randbytes(rng.randint(1, 8))
        elif way == 3:
            other = rng.randrange(len(frames))
            frames[at], frames[other] = frames[other], frames[at]
            continue
        elif way == 4:
            frame += rng.choice(frames)
        else:
            frame = bytearray(rng.randbytes(rng.choice([0, 1, 127, 128, 16383, 16384])))
        frames[at] = bytes(frame)
    data = bytearray(b"".join(encode_varint(len(frame)) + frame for frame in frames))
    way = rng.randrange(8)
    if way == 0:
        del data[rng.randint(0, len(data)) :]
    elif way == 1:
        data[rng.randrange(len(data))] = rng.getrandbits(8)
    elif way == 2:
        hostile = [2**63, 2**64 - 1, 2**32, 2**28 + 1]
        at = rng.randint(0, len(data))
        data[at:at] = rng.choice([encode_varint(rng.choice(hostile)), b"\xff" * 12, b"\x80" * 12])
    elif way == 3:
        data += struct.pack("<Q", rng.getrandbits(64))
    return bytes(data)


def plainly(data: bytes) -> tuple[list[bytes], str]:
    """Read frames in the most obvious way."""
    frames, position = [], 0
    while position < len(data):
        length = shift = 0
        for index in range(10):
            if position >= len(data):
                return frames, "cut"
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if index == 9:
                return frames, "hostile"
        if length > 2**28:
            return frames, "hostile"
        if position + length > len(data):
            return frames, "cut"
        frames.append(data[position : position + length])
        position += length
    return frames, "ended"


def framing(data: bytes, rng: random.Random) -> list[bytes]:
    """Hold the reader against the obvious way; returns the frames."""
    wanted, how = plainly(data)
    got: list[bytes] = []
    ended = "ended"
    reader = FrameReader(Pieces(data, rng), block=rng.choice([16, 100, 4096, 1 << 18]))
    try:
        while frames := reader.read_frames():
            got += frames
    except FrameError as error:
        ended = "cut" if "inside a frame" in str(error) else "hostile"
    assert got == wanted, "other frames than there are"
    assert ended == how, f"{ended} instead of {how}"
    return wanted


def responses(data: bytes) -> list[Any]:
    """Parse what an agent wrote."""
    return [udf_pb2.Response.FromString(frame) for frame in FrameReader(io.BytesIO(data))]


def parses(frame: bytes) -> bool:
    """Tell whether a frame is a request."""
    try:
        udf_pb2.Request.FromString(frame)
    except DecodeError:
        return False
    return True


def plain(data: bytes, frames: list[bytes], rng: random.Random) -> str:
    """Run the plain agent."""
    out = Kept()
    agent = Agent(Pieces(data, rng), out)
    agent.handler = Mirror(agent)
    agent.start()
    agent.wait()
    written = responses(out.data)
    broken = plainly(data)[1] != "ended" or not all(map(parses, frames))
    errors = [response.error.error for response in written if response.HasField("error")]
    assert len(errors) == broken, f"{errors} for a stream that is {'' if broken else 'un'}broken"
    assert all(errors), "an error without a reason"
    assert not errors or written[-1].HasField("error"), "something after the error"
    return "plain, refused" if broken else "plain"


def typed(data: bytes, rng: random.Random) -> str:
    """Run a typed UDF."""
    udf = rng.choice([TTest, Chart, Halve])
    out = Kept()
    code = Runner(udf(), Pieces(data, rng), out).run()
    written = responses(out.getvalue())
    errors = [response.error.error for response in written if response.HasField("error")]
    assert code == len(errors), f"exit code {code} with {errors}"
    assert all(errors), "an error without a reason"
    return f"{udf.__name__}, refused" if errors else udf.__name__


class Unexpected(logging.Handler):
    """Notes a traceback in the log: a bug, not a clear error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            self.found.append(logging.Formatter().format(record))


def case(seed: int, path: Path, log: Unexpected, counts: Counter[str]) -> None:
    """Run one case; its bytes are in the file while it runs."""
    rng = random.Random(seed)
    data = hurt(conversation(rng), rng)
    path.write_bytes(data)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    frames = framing(data, rng)
    points = [frame for frame in frames if frame[:2] == b"\x8a\x01"]
    check(points, ("hotend", "note", "n"))
    counts[plain(data, frames, rng)] += 1
    counts[typed(data, rng)] += 1
    faulthandler.cancel_dump_traceback_later()
    assert not log.found, log.found[0]


def main() -> int:
    """Run the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long (default 60)")
    parser.add_argument("--seed", type=int, help="run the case of this seed alone")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--out", default="case.bin", help="file in out/fuzz for the failing case")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / given.out
    log = Unexpected()
    logging.getLogger("kapacitor.udf").addHandler(log)
    logging.getLogger("kapacitor.udf").propagate = False
    sys.stderr.flush()
    counts: Counter[str] = Counter()
    seed = given.first if given.seed is None else given.seed
    deadline = time.monotonic() + given.seconds
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task("")
            while True:
                case(seed, path, log, counts)
                seed += 1
                if given.seed is not None or time.monotonic() >= deadline:
                    break
                if seed % 50 == 0:
                    progress.update(task, description=f"{seed - given.first} cases")
    except Exception as error:
        print(f"seed {seed} fails: {type(error).__name__}: {error}\nits bytes are in {path}")
        raise
    path.unlink()
    print(
        f"{seed - given.first} cases, all well: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
