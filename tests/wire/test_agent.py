"""The drop-in agent over real pipes: what scripts written for the stock agent rely on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import FrameReader, FrameWriter, encode_varint
from kapacitor.udf.harness.program import ProgramSilent
from tests.wire import talk

pytestmark = pytest.mark.wire

# In the style of the oldest guides: bare imports, every method by hand, state in JSON.
MEAN = """
    import json, sys
    from {package}agent import Agent, Handler
    {imports}

    class MeanHandler(Handler):
        def __init__(self, agent):
            self._agent = agent
            self._field = ''
            self._sum, self._n = 0.0, 0

        def info(self):
            response = udf_pb2.Response()
            response.info.wants = udf_pb2.BATCH
            response.info.provides = udf_pb2.STREAM
            response.info.options['field'].valueTypes.append(udf_pb2.STRING)
            return response

        def init(self, init_req):
            for opt in init_req.options:
                if opt.name == 'field':
                    self._field = opt.values[0].stringValue
            response = udf_pb2.Response()
            response.init.success = self._field != ''
            response.init.error = '' if self._field else 'must supply a field name'
            return response

        def snapshot(self):
            response = udf_pb2.Response()
            response.snapshot.snapshot = json.dumps([self._sum, self._n]).encode()
            return response

        def restore(self, restore_req):
            response = udf_pb2.Response()
            try:
                self._sum, self._n = json.loads(restore_req.snapshot.decode())
                response.restore.success = True
            except Exception as e:
                response.restore.success = False
                response.restore.error = str(e)
            return response

        def begin_batch(self, begin_req):
            self._batch = []

        def point(self, point):
            self._batch.append(point)

        def end_batch(self, end_req):
            for point in self._batch:
                self._sum += point.fieldsDouble[self._field]
                self._n += 1
            response = udf_pb2.Response()
            response.point.time = end_req.tmax
            response.point.name = end_req.name
            response.point.group = end_req.group
            response.point.tags.update(end_req.tags)
            response.point.fieldsDouble['mean'] = self._sum / self._n
            self._agent.write_response(response)

    if __name__ == '__main__':
        a = Agent()
        h = MeanHandler(a)
        a.handler = h
        print('Starting', file=sys.stderr)
        a.start()
        a.wait()
        print('Finished', file=sys.stderr)
"""
PACKAGED = MEAN.format(package="kapacitor.udf.", imports="from kapacitor.udf import udf_pb2")
BARE = MEAN.format(package="", imports="import udf_pb2")

# In the style of the newer guides: one response made of the point itself.
MIRROR = """
    from kapacitor.udf.agent import Agent, Handler
    from kapacitor.udf import udf_pb2
    import os, sys, time

    class Mirror(Handler):
        def __init__(self, agent):
            self._agent = agent
        def info(self):
            response = udf_pb2.Response()
            response.info.wants = udf_pb2.STREAM
            response.info.provides = udf_pb2.STREAM
            return response
        def init(self, init_req):
            response = udf_pb2.Response()
            response.init.success = True
            return response
        def snapshot(self):
            response = udf_pb2.Response()
            response.snapshot.snapshot = b''
            return response
        def restore(self, restore_req):
            response = udf_pb2.Response()
            response.restore.success = False
            response.restore.error = 'not implemented'
            return response
        def point(self, point):
            {body}
            point.fieldsDouble["score"] = point.fieldsDouble.get("x", 0.0) * 2
            self._agent.write_response(udf_pb2.Response(point=point){flush})
        def begin_batch(self, begin_req):
            raise Exception("not supported")
        def end_batch(self, end_req):
            raise Exception("not supported")

    if __name__ == '__main__':
        agent = Agent()
        agent.handler = Mirror(agent)
        agent.start()
        agent.wait()
"""


def mirror(body="pass", flush=""):
    return MIRROR.format(body=body, flush=flush)


@pytest.mark.parametrize(
    ("script", "path"),
    [(PACKAGED, talk.UDF), (BARE, talk.UDF / "kapacitor" / "udf")],
    ids=["package", "bare"],
)
def test_a_script_of_the_guides_runs_unmodified(script, path, tmp_path):
    with talk.start(script, path=path, folder=tmp_path) as program:
        info = program.info()
        assert (info.wants, info.provides) == (udf_pb2.BATCH, udf_pb2.STREAM)
        assert list(info.options["field"].valueTypes) == [udf_pb2.STRING]
        assert program.init(talk.options(field="hotend")).success
        program.send(*talk.window([1, 2, 3], 9, host="a", group="host=a"), talk.snapshot())
        got = program.expect("point").point
        assert (got.time, got.name, got.group, dict(got.tags)) == (
            9, "temperatures", "host=a", {"host": "a"},
        )  # fmt: skip
        assert got.fieldsDouble["mean"] == 2.0
        assert json.loads(program.expect("snapshot").snapshot.snapshot) == [6.0, 3]
        program.send(talk.restore(b"[10.0, 1]"), *talk.window([2]))
        assert program.expect("restore").restore.success
        assert program.expect("point").point.fieldsDouble["mean"] == 6.0
        program.send(talk.restore(b"no json"))
        assert not program.expect("restore").restore.success
        program.close_input()
        assert program.drain() == []
        assert program.wait() == 0
        assert "Finished" in program.stderr()


def test_a_point_made_into_a_response_comes_back():
    with talk.start(mirror()) as program:
        program.send(*(talk.point(time, x=float(time)) for time in range(1000)))
        program.close_input()
        points = [response.point for response in program.drain()]
        assert [got.time for got in points] == list(range(1000))
        assert [got.fieldsDouble["score"] for got in points] == [2.0 * t for t in range(1000)]
        assert program.wait() == 0


@pytest.mark.parametrize("unbuffered", [[], ["-u"]], ids=["buffered", "-u"])
@pytest.mark.parametrize("flush", ["", ", True"], ids=["no flush", "flush"])
def test_nothing_is_held_back_when_the_input_is_idle(unbuffered, flush, tmp_path):
    (tmp_path / "mirror.py").write_text(textwrap.dedent(mirror(flush=flush)))
    words = [sys.executable, *unbuffered, str(tmp_path / "mirror.py")]
    with talk.Program(words, env={"PYTHONPATH": str(talk.UDF)}) as program:
        program.init([])
        for time_ in range(3):
            program.send(talk.point(time_))
            assert program.receive(timeout=5).point.time == time_


def test_nothing_is_held_back_while_the_handler_works_on():
    body = "time.sleep(30 if point.time else 0)"
    with talk.start(mirror(body)) as program:
        program.send(talk.point(0), talk.point(1))
        assert program.receive(timeout=5).point.time == 0


def test_keepalives_are_answered_while_the_handler_works():
    with talk.start(mirror("time.sleep(2)")) as program:
        program.init([])
        program.send(talk.point(1), talk.keepalive(11), talk.point(2), talk.keepalive(12))
        began = time.monotonic()
        assert [program.receive(timeout=1).keepalive.time for _ in range(2)] == [11, 12]
        program.send(talk.keepalive(13))
        assert program.receive(timeout=1).keepalive.time == 13
        assert time.monotonic() - began < 1.9
        assert [program.receive().point.time for _ in range(2)] == [1, 2]
        program.send(talk.keepalive(14))
        assert program.receive(timeout=1).keepalive.time == 14
        program.close_input()
        assert program.drain() == []  # none is answered twice


def test_a_quick_handler_answers_keepalives_in_order():
    with talk.start(mirror()) as program:
        for turn in range(50):
            program.send(talk.point(turn), talk.keepalive(turn))
        kinds = [program.receive().WhichOneof("message") for _ in range(100)]
        assert kinds == ["point", "keepalive"] * 50


def test_a_busy_handler_is_bounded_and_still_alive(tmp_path):
    """Behind a full pipe no keepalive gets through; the agent gives a sign of life unasked."""
    go = tmp_path / "go"
    with talk.start(f"""
        import os, time
        from kapacitor.udf.agent import Agent, Handler
        class Wait(Handler):
            def point(self, point):
                while not os.path.exists({str(go)!r}): time.sleep(0.01)
        agent = Agent(handler=Wait()); agent.start(); agent.wait()
    """) as program:
        data = talk.point(1, x=1.0).SerializeToString()
        frame = encode_varint(len(data)) + data
        wrote, descriptor = 0, program.process.stdin.fileno()
        block = frame * 1000
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                wrote += os.write(descriptor, block[wrote % len(block) :])
                quiet = time.monotonic()
            except BlockingIOError:
                if time.monotonic() - quiet > 1:
                    break
                time.sleep(0.02)
        assert wrote < 4 * 2**20, "the agent took in more than it may"
        assert program.receive(timeout=2).WhichOneof("message") == "keepalive"
        go.touch()
        rest = block[wrote % len(block) :]
        program.write(rest)
        program.close_input()
        assert all(r.WhichOneof("message") == "keepalive" for r in program.drain())
        assert program.wait() == 0


def test_what_is_printed_goes_to_the_log():
    body = (
        'print("from print"); sys.stdout.flush(); os.system("echo from a child"); '
        'os.write(1, b"from below\\n"); os.system("cat >&2")'
    )
    with talk.start(mirror(body)) as program:
        program.send(talk.point(1), talk.point(2))
        assert [program.receive().point.time for _ in range(2)] == [1, 2]
        program.close_input()
        assert program.drain() == []
        log = program.stderr()
        assert all(f"from {who}" in log for who in ("print", "a child", "below"))


@pytest.mark.parametrize("kind", ["info", "init", "snapshot", "restore", "begin", "point", "end"])
def test_a_handler_that_raises_ends_the_task_with_a_reason(kind):
    request = {
        "info": udf_pb2.Request(info=udf_pb2.InfoRequest()),
        "init": udf_pb2.Request(init=udf_pb2.InitRequest()),
        "snapshot": talk.snapshot(),
        "restore": talk.restore(b""),
        "begin": talk.begin(),
        "point": talk.point(),
        "end": talk.end(),
    }[kind]
    with talk.start("""
        from kapacitor.udf.agent import Agent, Handler
        class Raises(Handler):
            def fail(self, *args): raise KeyError("no such thing")
            info = init = snapshot = restore = begin_batch = point = end_batch = fail
        agent = Agent(handler=Raises()); agent.start(); agent.wait()
    """) as program:
        program.send(request, talk.keepalive())
        error = program.receive().error.error
        assert error == f"error processing request of type {kind}: 'no such thing'"
        assert program.drain() == []
        assert "KeyError" in program.stderr()


def test_a_forgotten_return_is_told():
    with talk.start("""
        from kapacitor.udf.agent import Agent, Handler
        agent = Agent(handler=Handler()); agent.start(); agent.wait()
    """) as program:
        program.send(udf_pb2.Request(info=udf_pb2.InfoRequest()))
        assert "did a handler forget its return" in program.receive().error.error


def test_one_variable_chooses_to_skip():
    body = 'if point.time % 3 == 0: raise ValueError("three")'
    with talk.start(mirror(body), env={"KAPACITOR_UDF_ON_ERROR": "skip"}) as program:
        program.send(*(talk.point(time) for time in range(9)), talk.begin(), talk.point(10))
        program.close_input()
        assert [r.point.time for r in program.drain()] == [1, 2, 4, 5, 7, 8, 10]
        log = program.stderr()
        assert "ValueError: three" in log
        assert log.count("skipped a request") == 1, "at a limited rate"
        assert program.wait() == 0


def test_a_snapshot_that_fails_is_answered_empty_and_not_with_an_older_one():
    script = """
        from kapacitor.udf import udf_pb2
        from kapacitor.udf.agent import Agent, Handler
        class Counts(Handler):
            count = 0
            def point(self, point): self.count += 1
            def snapshot(self):
                if self.count == 2: raise ValueError("two")
                response = udf_pb2.Response()
                response.snapshot.snapshot = str(self.count).encode()
                return response
            def restore(self, request):
                self.count = int(request.snapshot)  # raises for an empty one
                response = udf_pb2.Response()
                response.restore.success = True
                return response
        agent = Agent(handler=Counts()); agent.start(); agent.wait()
    """
    with talk.start(script, env={"KAPACITOR_UDF_ON_ERROR": "skip"}) as program:
        program.send(talk.restore(b""), talk.restore(b"0"))
        for _ in range(3):
            program.send(talk.point(1), talk.snapshot())
        program.close_input()
        restored, again, *rest = program.drain()
        assert restored.restore.success and again.restore.success
        assert [response.snapshot.snapshot for response in rest] == [b"1", b"", b"3"]
        assert "ValueError: two" in program.stderr()


def test_a_misspelt_choice_is_refused():
    with talk.start(mirror(), env={"KAPACITOR_UDF_ON_ERROR": "ignore"}) as program:
        assert program.drain() == []
        assert "must be 'stop' (the default) or 'skip'" in program.stderr()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode_varint(2**63) + b"x" * 20, "frame length of 9223372036854775808"),
        (b"\xff" * 30, "more than 64 bits"),
        (b"\x05ab", "ended inside a frame"),
        (b"\x85", "ended inside a frame"),
        (b"\x03\xff\xff\xff", "request of type"),
        (b"GET / HTTP/1.1\r\n\r\n", "error"),
    ],
)
def test_bytes_that_are_no_requests_end_with_a_reason(data, words):
    with talk.start(mirror()) as program:
        program.send(talk.point(1))
        program.write(data)
        program.close_input()
        first, *rest = program.drain()
        assert first.point.time == 1
        assert len(rest) == 1
        assert words in rest[0].error.error
        assert program.wait() == 0


def test_an_empty_request_is_passed_over():
    with talk.start(mirror()) as program:
        program.write(b"\x00")
        program.send(talk.point(1))
        assert program.receive().point.time == 1


def test_frames_split_at_every_byte():
    with talk.start(mirror()) as program:
        program.init([])
        data = b"".join(
            encode_varint(len(body)) + body
            for body in (
                talk.point(1, x=1.0).SerializeToString(),
                talk.point(2, note="n" * 200).SerializeToString(),
                talk.keepalive(3).SerializeToString(),
            )
        )
        for cut in range(0, len(data) + 1, 5):
            program.write(data[:cut])
            time.sleep(0.002)
            program.write(data[cut:])
            got = [program.receive() for _ in range(3)]
            assert [r.WhichOneof("message") for r in got] == ["point", "point", "keepalive"]
        for byte in data:
            program.write(bytes([byte]))
        assert [program.receive().point.time for _ in range(2)] == [1, 2]
        assert program.receive().keepalive.time == 3


def test_statistics_are_told_on_demand_and_at_the_end():
    script = "import logging; logging.basicConfig(level='INFO')\n" + textwrap.dedent(mirror())
    with talk.start(script) as program:
        program.send(talk.point(1))
        assert program.receive().point.time == 1
        os.kill(program.process.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while "points=1" not in program.stderr() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "points=1 responses=1" in program.stderr()
        program.close_input()
        assert program.wait() == 0
        assert "agent finished: points=1" in program.stderr()


def test_when_kapacitor_goes_away_the_agent_ends_quietly():
    reading, writing = os.pipe()
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(mirror())],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(talk.UDF)},
    )
    os.close(reading)
    os.close(writing)
    body = talk.point(1).SerializeToString()
    _, log = program.communicate(encode_varint(len(body)) + body, timeout=20)
    assert program.returncode == 0
    assert b"Traceback" not in log


SOCKET = """
    import sys
    from kapacitor.udf.agent import Agent, Handler, Server
    from kapacitor.udf import udf_pb2

    class Mirror(Handler):
        def __init__(self, agent):
            self._agent = agent
        def point(self, point):
            response = udf_pb2.Response()
            response.point.CopyFrom(point)
            self._agent.write_response(response, True)

    class accepter(object):
        _count = 0
        def accept(self, conn, addr):
            self._count += 1
            a = Agent(conn, conn)
            a.handler = Mirror(a)
            a.start()
            a.wait()

    server = Server(sys.argv[1], accepter())
    print("listening", file=sys.stderr, flush=True)
    server.serve()
"""


@contextlib.contextmanager
def connected(path):
    with socket.socket(socket.AF_UNIX) as sock:
        deadline = time.monotonic() + 10
        while True:
            try:
                sock.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        sock.settimeout(10)
        yield sock


def test_a_socket_serves_several_tasks(tmp_path):
    path = tmp_path / "mirror.sock"
    with talk.start(SOCKET, [str(path)], folder=tmp_path) as program:
        with connected(path) as one, connected(path) as two:
            for number, sock in ((1, one), (2, two), (3, one)):
                writer = FrameWriter(sock)
                writer.write(talk.point(number).SerializeToString())
                writer.flush()
                frame = FrameReader(sock).read_frame()
                assert udf_pb2.Response.FromString(frame).point.time == number
            # Kapacitor closes its writing side and waits for the end.
            one.shutdown(socket.SHUT_WR)
            assert one.recv(10) == b""
        program.process.send_signal(signal.SIGINT)
        assert program.wait() == 0
        assert not path.exists()


def test_a_socket_of_a_killed_server_is_taken_over(tmp_path):
    path = tmp_path / "mirror.sock"
    for _ in range(2):
        with talk.start(SOCKET, [str(path)], folder=tmp_path), connected(path):
            pass  # killed on leaving
        assert path.exists()
    with talk.start(SOCKET, [str(path)], folder=tmp_path), connected(path):
        with talk.start(SOCKET, [str(path)], folder=tmp_path) as second:
            assert second.wait() != 0
            assert "Address already in use" in second.stderr()
        with connected(path):
            pass  # the first one still serves


@pytest.mark.parametrize("example", ["moving_avg", "outliers"])
def test_the_engines_own_examples_run_unmodified(example):
    cache = talk.module_cache()
    found = sorted(cache.glob(f"github.com/influxdata/kapacitor@*/udf/agent/examples/{example}"))
    if not found:
        pytest.skip(f"no Kapacitor module in {cache}: its example {example}.py was NOT run")
    with talk.start(found[-1] / f"{example}.py") as program:
        info = program.info()
        if example == "moving_avg":
            assert info.wants == udf_pb2.STREAM
            assert program.init(talk.options(field="x", size=3)).success
            program.send(*(talk.point(time, "g", x=float(time)) for time in range(6)))
            got = [program.receive().point.fieldsDouble["avg"] for _ in range(6)]
            assert got == pytest.approx([0, 0.5, 1, 2, 3, 4])
            program.send(talk.snapshot())
            state = json.loads(program.expect("snapshot").snapshot.snapshot)
            assert state["g"]["window"] == [3.0, 4.0, 5.0]
        else:
            assert info.wants == info.provides == udf_pb2.BATCH
            assert program.init(talk.options(field="hotend", scale=1.5)).success
            program.send(*talk.window([*range(20), 500, -300], 99))
            program.close_input()
            opened, *points, closed = program.drain()
            assert opened.begin.size == 2
            assert sorted(r.point.fieldsDouble["hotend"] for r in points) == [-300, 500]
            assert closed.end.tmax == 99


def test_the_engines_own_socket_example_runs_unmodified(tmp_path):
    cache = talk.module_cache()
    found = sorted(cache.glob("github.com/influxdata/kapacitor@*/udf/agent/examples/mirror"))
    if not found:
        pytest.skip(f"no Kapacitor module in {cache}: its example mirror.py was NOT run")
    path = tmp_path / "mirror.sock"
    with talk.start(found[-1] / "mirror.py", [str(path)]), connected(path) as sock:
        writer = FrameWriter(sock)
        writer.write(udf_pb2.Request(info=udf_pb2.InfoRequest()).SerializeToString())
        writer.write(talk.point(7, x=1.0).SerializeToString())
        writer.flush()
        reader = FrameReader(sock)
        first = udf_pb2.Response.FromString(reader.read_frame())
        assert first.info.wants == udf_pb2.STREAM
        assert udf_pb2.Response.FromString(reader.read_frame()).point.time == 7


def test_silence_is_told_from_an_answer():
    """The harness itself would notice an agent that holds its results back."""
    with talk.start(mirror("time.sleep(30)")) as program:
        program.send(talk.point(1))
        with pytest.raises(ProgramSilent):
            program.receive(timeout=0.5)
