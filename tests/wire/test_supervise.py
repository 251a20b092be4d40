"""The supervisor, killed children and all, over real pipes."""

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.options import parse_options
from kapacitor.udf.harness.program import Program, frame
from kapacitor.udf.run.session import point_request, window_requests
from kapacitor.udf.run.windows import Grouping, WindowRule, Windows
from lineprotocol import Point
from tests.wire.engine import ROOT

LEDGER = [sys.executable, str(ROOT / "tests/wire/programs/ledger.py")]
SUPERVISE = [sys.executable, "-m", "kapacitor.udf.supervise"]
ENV = {"PYTHONPATH": str(ROOT / "udf")}
DECLARED = {"field": udf_pb2.OptionInfo(valueTypes=[udf_pb2.STRING])}

# how a point holds the value 1234 of field f
FIELD_1234 = b"\n\x01f\x11" + struct.pack("<d", 1234.0)

pytestmark = pytest.mark.wire


def points(count: int, seed: int = 1) -> Iterator[Point]:
    rng = random.Random(seed)
    for number in range(count):
        tags = {"host": rng.choice("abc")}
        text = {"note": "x" * rng.randrange(300)} if rng.random() < 0.1 else {}
        yield Point("m", tags, {"f": float(number), **text}, number * 10**9)


def requests(count: int, wants: str) -> list[bytes]:
    """Frames of input, one item a point or a window."""
    grouping = Grouping(("host",))
    if wants == "stream":
        return [frame(point_request(p, grouping.of(p), ["host"])) for p in points(count)]
    windows = Windows(WindowRule(period=30 * 10**9, every=30 * 10**9), grouping)
    return [
        b"".join(frame(request) for request in window_requests(window))
        for window in windows.cut(points(count))
    ]


def start(rules: list[str], arguments: list[str], *, supervised: bool = True) -> Program:
    argv = [*LEDGER, *arguments]
    if supervised:
        argv = [*SUPERVISE, *rules, "--", *argv]
    program = Program(argv, env=ENV, timeout=20)
    answer = program.init(parse_options(DECLARED, ["field=f"]))
    assert answer.success
    return program


def data(responses: list[udf_pb2.Response]) -> list[udf_pb2.Response]:
    return [r for r in responses if r.WhichOneof("message") in ("begin", "point", "end")]


def finish(program: Program) -> list[udf_pb2.Response]:
    program.close_input()
    responses = program.drain()
    assert program.wait() == 0, program.stderr()
    return responses


def plain(blocks: list[bytes], arguments: list[str]) -> list[udf_pb2.Response]:
    """What the program answers when nothing happens to it."""
    with start([], arguments, supervised=False) as program:
        program.write(b"".join(blocks))
        return data(finish(program))


def child_of(program: Program) -> psutil.Process | None:
    try:
        children = psutil.Process(program.process.pid).children()
    except psutil.NoSuchProcess:
        return None
    return children[0] if children else None


def wait_for_child(program: Program) -> psutil.Process:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        child = child_of(program)
        if child is not None:
            return child
        time.sleep(0.005)
    raise TimeoutError(program.stderr())


KINDS = {
    "windows": ["--wants", "batch"],
    "windows and their points": ["--wants", "batch", "--mirror"],
    "stream": ["--wants", "stream"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_while_nothing_happens(kind: str) -> None:
    arguments = KINDS[kind]
    blocks = requests(3000, arguments[1])
    with start(["--snapshot-every", "10ms"], arguments) as program:
        program.write(b"".join(blocks))
        assert data(finish(program)) == plain(blocks, arguments)


@pytest.mark.parametrize("snapshots", ["yes", "empty", "die", "refuse"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(kind: str, snapshots: str, seed: int) -> None:
    """Whatever the program can do with snapshots, Kapacitor gets each result once, in order."""
    rng = random.Random(f"{kind} {snapshots} {seed}")
    arguments = [*KINDS[kind], "--snapshots", snapshots]
    blocks = requests(3000, arguments[1])
    rules = ["--snapshot-every", rng.choice(["1ms", "20ms", "5s"]), "--deaths", "1000"]
    if rng.random() < 0.5 and snapshots == "yes":
        rules += ["--buffer", "64KiB"]
    kills = 0
    with start(rules, arguments) as program:
        stream = b"".join(blocks)
        at = 0
        while at < len(stream):
            size = rng.randrange(1, len(stream) // 8)
            program.write(stream[at : at + size])
            at += size
            if kills < 5 and rng.random() < 0.7:
                time.sleep(rng.random() * 0.02)  # a moment chosen at random, not a wait
                child = child_of(program)
                if child is not None:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                        kills += 1
        assert data(finish(program)) == plain(blocks, arguments), program.stderr()
    assert kills


@pytest.mark.parametrize("way", ["--kill-on", "--error-on", "--hang-on"])
def test_dying_once_is_not_noticed(way: str, tmp_path: Path) -> None:
    arguments = ["--wants", "batch", way, "700", "--once", str(tmp_path / "once")]
    blocks = requests(2000, "batch")
    with start(["--hang-timeout", "500ms"], arguments) as program:
        program.write(b"".join(blocks))
        found = data(finish(program))
    assert (tmp_path / "once").exists()
    assert found == plain(blocks, ["--wants", "batch"])


@pytest.mark.parametrize("way", ["--kill-on", "--error-on"])
@pytest.mark.parametrize("snapshots", ["yes", "empty"])
@pytest.mark.parametrize("wants", ["batch", "stream"])
def test_poison_is_found_and_passed_over(
    way: str, snapshots: str, wants: str, tmp_path: Path
) -> None:
    blocks = requests(3000, wants)
    poison = tmp_path / "poison.lp"
    rules = ["--on-poison", "quarantine", "--quarantine", str(poison), "--deaths", "2"]
    arguments = ["--wants", wants, "--snapshots", snapshots]
    with start(rules, [*arguments, way, "1234"]) as program:
        program.write(b"".join(blocks))
        found = data(finish(program))
        log = program.stderr()
    kept = poison.read_text().splitlines()
    assert kept[0].startswith(f"# {len(kept) - 1} point(s) of 'm', group 'host=")
    assert sum(" f=1234" in line or ",f=1234" in line for line in kept) == 1
    assert len(kept) == 2 if wants == "stream" else len(kept) > 2
    assert "passed over" in log

    # the same as if that one unit had never come
    unit = next(index for index, block in enumerate(blocks) if FIELD_1234 in block)
    assert found == plain(blocks[:unit] + blocks[unit + 1 :], arguments)


def test_poison_ends_the_task_with_an_error_when_so_asked() -> None:
    blocks = requests(2000, "batch")
    with start(["--on-poison", "give-up"], ["--wants", "batch", "--kill-on", "700"]) as program:
        program.write(b"".join(blocks))
        responses = program.drain()
        assert program.wait() != 0
        assert "died 5 times on the same input" in responses[-1].error.error
    good = data(responses)
    assert good == plain(blocks, ["--wants", "batch"])[: len(good)]


def test_a_hanging_program_is_given_up_in_the_end() -> None:
    rules = ["--hang-timeout", "200ms", "--deaths", "2", "--snapshot-every", "50ms"]
    with start(rules, ["--wants", "stream", "--hang-on", "5"]) as program:
        program.write(b"".join(requests(50, "stream")))
        error = program.drain()[-1].error.error
        assert "2 times on the same input" in error
        assert "hung" in program.stderr()


def test_keepalives_are_answered_while_the_program_is_stopped() -> None:
    with start(["--hang-timeout", "0s"], ["--wants", "stream"]) as program:
        child = wait_for_child(program)
        child.send_signal(signal.SIGSTOP)
        for stamp in (1, 2, 3):
            program.send(udf_pb2.Request(keepalive=udf_pb2.KeepaliveRequest(time=stamp)))
            answer = program.receive(timeout=2)
            assert answer is not None and answer.keepalive.time == stamp
        child.send_signal(signal.SIGCONT)
        finish(program)


def test_kapacitors_own_snapshot_and_restore_go_through() -> None:
    blocks = requests(1000, "stream")
    with start([], ["--wants", "stream"]) as program:
        program.write(b"".join(blocks[:500]))
        program.send(udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest()))
        first = [program.receive() for _ in range(500)]
        snapshot = program.expect("snapshot").snapshot.snapshot
        finish(program)
    with start([], ["--wants", "stream"]) as program:
        restore = udf_pb2.RestoreRequest(snapshot=snapshot)
        program.send(udf_pb2.Request(restore=restore))
        assert program.expect("restore").restore.success
        program.write(b"".join(blocks[500:700]))
        second = [program.receive() for _ in range(200)]
        wait_for_child(program).kill()
        program.write(b"".join(blocks[700:]))
        second += data(finish(program))
    assert [*first, *second] == plain(blocks, ["--wants", "stream"])


def test_a_snapshot_that_kapacitor_waits_for_comes_in_spite_of_a_death() -> None:
    blocks = requests(600, "stream")
    with start([], ["--wants", "stream"]) as program:
        child = wait_for_child(program)
        child.send_signal(signal.SIGSTOP)
        program.write(b"".join(blocks))
        program.send(udf_pb2.Request(snapshot=udf_pb2.SnapshotRequest()))
        child.kill()
        found = [program.receive() for _ in range(600)]
        assert found == plain(blocks, ["--wants", "stream"])
        assert b"host=a" in program.expect("snapshot").snapshot.snapshot
        finish(program)


def test_memory_is_bounded_by_the_buffer(tmp_path: Path) -> None:
    """Sixteen buffers of input go through, and the supervisor holds no more than a few."""
    blocks = b"".join(requests(8000, "batch"))
    with start(["--buffer", "256KiB"], ["--wants", "batch"]) as program:
        process = psutil.Process(program.process.pid)
        program.write(blocks)
        before = process.memory_info().rss
        rounds = 16 * (256 << 10) // len(blocks) + 1
        for _ in range(rounds):
            program.write(blocks)
        assert process.memory_info().rss - before < 6 << 20
        wait_for_child(program).kill()
        program.write(blocks)
        found = data(finish(program))
        log = program.stderr()
    assert "is back" in log
    assert len(found) == (rounds + 2) * len(plain([blocks], ["--wants", "batch"]))


def test_a_state_that_cannot_be_brought_back_is_told() -> None:
    """No snapshots at all, and more input than the buffer."""
    blocks = requests(4000, "stream")
    arguments = ["--wants", "stream", "--snapshots", "die"]
    for choice in ("give-up", "restart"):
        rules = ["--buffer", "64KiB", "--snapshot-every", "1ms", "--when-lost", choice]
        with start(rules, arguments) as program:
            program.write(b"".join(blocks[:3000]))
            last = None
            while last is None or last.point.time != 2999 * 10**9:
                last = program.receive()
            wait_for_child(program).kill()
            if choice == "give-up":
                assert "state is lost" in program.drain()[-1].error.error
                assert program.wait() == 1
            else:
                deadline = time.monotonic() + 20
                while "begins afresh" not in program.stderr():
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                program.write(b"".join(blocks[3000:]))
                found = data(finish(program))
                assert found == plain(blocks[3000:], ["--wants", "stream"])


def test_a_program_that_cannot_start_is_one_clear_error() -> None:
    with Program([*SUPERVISE, "--", "/nowhere/udf"], env=ENV, timeout=10) as program:
        assert "does not start" in program.drain()[-1].error.error
        assert program.wait() == 1


def test_hostile_input_ends_with_a_clear_error() -> None:
    with start([], ["--wants", "stream"]) as program:
        program.write(b"\xff" * 9 + b"\x01")
        program.drain()
        assert program.wait() == 1
        assert "not the protocol" in program.stderr()


def test_info_and_the_end_of_input_take_the_programs_own_way() -> None:
    argv = [*SUPERVISE, "--", *LEDGER, "--wants", "stream"]
    with Program(argv, env=ENV, timeout=10) as program:
        info = program.info()
        assert info.wants == udf_pb2.STREAM
        assert list(info.options) == ["field"]
        assert finish(program) == []


def test_usage() -> None:
    environment = {**os.environ, **ENV}
    helped = subprocess.run(
        [*SUPERVISE, "--help"], capture_output=True, text=True, env=environment, check=True
    )
    assert "--quarantine FILE" in helped.stdout
    for wrong in (["--buffer", "1"], ["--deaths", "0"], ["--snapshot-every", "5"], []):
        done = subprocess.run(
            [*SUPERVISE, *wrong, "--", *(["x"] if wrong else [])],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
