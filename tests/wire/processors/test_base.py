"""The base of the processors over real pipes: bytes, delay, errors, signals."""

import contextlib
import select
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.wire.processors.programs import Program, through

pytestmark = pytest.mark.wire

AWKWARD = b"\n".join(
    [
        b"cpu,host=a usage=1 1",
        b"",
        b"# comment",
        rb'log,path=/a\ b,k\,\==v\= s="two' + b"\n" + rb'lines, \"quoted\" \\",i=-7i,u=7u,b=T 2',
        b"z,b=2,a=1 z=1e300,y=-.5,x=5.,w=18.80 1596602228666886000",
        b"not line protocol",
        b"m f=\xff\xfe 3",
        b"\x00\x01 binary",
        b"m f=1 4\r",
        'beer,name=K\u00f6lsch note="\U0001f37a" 5'.encode(),
        b'long,t=x s="' + b"y" * 3_000_000 + b'" 6',
        b"m f=NaN 7",
        b'open f="never closed',
        b"last f=1 8",
    ]
)

PICKY = """
from processors.base import Processor, main

class Picky(Processor):
    def process(self, line):
        if line.name == "drop":
            return ()
        if line.name == "boom":
            raise RuntimeError("out of order")
        if line.name == "late":
            return (1 / 0 for _ in range(1))
        if line.name == "nan":
            line.point.fields["f"] = float("nan")
            return (line.point,)
        if line.name == "double":
            line.point.fields["f"] *= 2
            return line, line.point
        return None

main(Picky())
"""


@pytest.fixture
def picky(tmp_path: Path) -> str:
    script = tmp_path / "picky.py"
    script.write_text(PICKY)
    return str(script)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_example_gives_back_every_byte(end: bytes) -> None:
    out, log = through(AWKWARD + end, "-m", "processors.example")
    assert out == AWKWARD + end
    assert "14 lines in, 14 out" in log or "13 lines in, 13 out" in log


def test_typed_points_leave_the_process_with_their_types(picky: str) -> None:
    line = rb'double,b=2,a=x\ y f=1.5,i=-7i,u=7u,s="a \"b\" \\",t=T,x=1e-7 1596602228666886001'
    out, _ = through(line + b"\n", picky)
    doubled = (
        rb'double,b=2,a=x\ y f=3.0,i=-7i,u=7u,s="a \"b\" \\",t=true,x=1e-07 1596602228666886001'
    )
    assert out == line + b"\n" + doubled + b"\n"


def test_nothing_an_author_does_stops_the_stream(picky: str) -> None:
    data = b"a f=1 1\ndrop f=1 2\nboom f=1 3\nlate f=1 4\nnan f=1 5\ngarbage\n\nb f=1 6\n"
    out, log = through(data, picky)
    assert out == b"a f=1 1\nboom f=1 3\nlate f=1 4\ngarbage\n\nb f=1 6\n"
    assert "W! 1 lines the processor failed on" in log
    assert "RuntimeError: out of order" in log
    assert "1 points that line protocol cannot hold" in log
    assert "8 lines in, 6 out" in log
    assert "2 lines the processor failed on" in log.splitlines()[-1]
    assert all(line.startswith(("I! ", "W! ")) for line in log.splitlines())


def test_each_line_comes_back_before_the_next_is_sent() -> None:
    with Program("-m", "processors.example") as process:
        for n in range(200):
            process.stdin.write(b"m f=%d %d\n" % (n, n))
            assert select.select([process.stdout], [], [], 10)[0], "a line was held back"
            assert process.stdout.read(1000) == b"m f=%d %d\n" % (n, n)
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_what_is_on_its_way(number: int) -> None:
    with Program("-m", "processors.example") as process:
        process.stdin.write(b"m f=1 1\n")
        assert process.stdout.read(100) == b"m f=1 1\n"
        process.send_signal(number)
        process.stdin.write(b"m f=2 2\n")
        started = time.monotonic()
        out = process.stdout.read()
        assert process.wait(10) == 0
        assert out == b"m f=2 2\n"
        assert time.monotonic() - started < 4
        assert b"2 lines in, 2 out" in process.stderr.read()


def test_a_signal_during_a_busy_stream_loses_nothing() -> None:
    sent = b"".join(b"m f=%d %d\n" % (n, n) for n in range(50_000))
    with Program("-m", "processors.example") as process:

        def feed() -> None:  # the pipe fills, so somebody else has to read
            for start in range(0, len(sent), 4096):
                if start == 4096 * 50:
                    process.send_signal(signal.SIGTERM)
                view = memoryview(sent)[start : start + 4096]
                while view:
                    view = view[process.stdin.write(view) :]

        feeder = threading.Thread(target=feed)
        feeder.start()
        chunks = []
        while chunk := process.stdout.read(1 << 16):
            chunks.append(chunk)
        feeder.join()
        assert b"".join(chunks) == sent
        assert process.wait(10) == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with Program("-m", "processors.example") as process:
        process.stdin.write(b"m f=1 1\n")
        assert process.stdout.read(100) == b"m f=1 1\n"
        ended = threading.Event()

        def feed() -> None:  # it never idles, so the first signal alone takes its full grace
            with contextlib.suppress(BrokenPipeError):
                while not ended.wait(0.05):
                    process.stdin.write(b"m f=2 2\n")

        feeder = threading.Thread(target=feed)
        feeder.start()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        took = time.monotonic() - started
        ended.set()
        feeder.join()
        assert code == 128 + signal.SIGTERM
        assert took < 3


def test_it_ends_when_nobody_reads() -> None:
    with Program("-m", "processors.example") as process:
        process.stdout.close()
        process.stdin.write(b"m f=1 1\n")
        assert process.wait(10) == 1
        assert b"E! nobody reads the output" in process.stderr.read()
