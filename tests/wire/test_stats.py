"""What UDFs report of themselves, over real pipes and to a real HTTP listener."""

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import Program
from lineprotocol import Point, parse_line
from tests.wire import talk

pytestmark = pytest.mark.wire

TTEST = talk.UDF / "ttest.py"
OPTIONS = talk.options(field="hotend", size=600, alpha=0.001)
MIRROR = """
    from kapacitor.udf import udf_pb2
    from kapacitor.udf.agent import Agent, Handler

    class Mirror(Handler):
        def __init__(self, agent):
            self._agent = agent

        def info(self):
            response = udf_pb2.Response()
            response.info.wants = response.info.provides = udf_pb2.STREAM
            return response

        def init(self, request):
            response = udf_pb2.Response()
            response.init.success = True
            return response

        def snapshot(self):
            response = udf_pb2.Response()
            response.snapshot.snapshot = b"four"
            return response

        def point(self, point):
            if not point.fieldsDouble:
                raise ValueError("no number")
            self._agent.write_response(udf_pb2.Response(point=point))

    agent = Agent()
    agent.handler = Mirror(agent)
    agent.start()
    agent.wait()
"""


class Listener:
    """Takes writes as a database does; `status` is what it answers."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.paths: set[str] = set()
        self.status = 204
        listener = self

        class Taker(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.paths.add(self.path)
                if listener.status == 204:
                    listener.points += [parse_line(line) for line in body.splitlines()]
                self.send_response(listener.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/write?db=stack&rp=autogen"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sum(self, field: str, **tags: str) -> float:
        """A field of all points with these tags, added up."""
        return sum(
            point.fields.get(field, 0)  # type: ignore[misc]
            for point in list(self.points)
            if tags.items() <= point.tags.items()
        )


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def until(ready: Callable[[], Any], program: Program, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, program.stderr()
        time.sleep(0.01)


def env(url: str, every: str = "0.1") -> dict[str, str]:
    return {"KAPACITOR_UDF_STATS_URL": url, "KAPACITOR_UDF_STATS_EVERY": every}


def test_a_typed_udf_reports_what_it_did_and_what_was_of_no_use(listener: Listener) -> None:
    with talk.start(TTEST, env=env(listener.url)) as program:
        assert program.init(OPTIONS, task="printer one").success
        program.send(*talk.window(range(300)), talk.begin())
        program.send(*(talk.point(i, hotend="text") for i in range(7)), talk.end())
        until(lambda: listener.sum("points") == 307, program)
        assert listener.sum("quarantined") == 7
        # They are told once only, and an idle UDF shows that it is there.
        seen = len(listener.points)
        until(lambda: len(listener.points) > seen + 1, program)
        assert listener.sum("points") == 307
        program.send(talk.snapshot(), *talk.window(range(10)))
        snapshot = (
            program.expect("point") and program.expect("point") and program.expect("snapshot")
        )
        program.close_input()
        program.drain()
        assert program.wait() == 0
    assert listener.sum("points") == 317  # the last report comes at the end
    assert (listener.sum("batches"), listener.sum("responses")) == (3, 5)
    assert listener.sum("snapshot_bytes") == len(snapshot.snapshot.snapshot) > 0
    assert listener.sum("busy") > 0
    assert listener.paths == {"/write?db=stack&rp=autogen"}
    for point in listener.points:
        assert point.name == "kapacitor_udf"
        assert point.tags == {
            "task": "printer one", "node": "udf", "program": "ttest.py", "kind": "typed",
        }  # fmt: skip
        assert abs(point.time - time.time_ns()) < 60e9
        assert 0 <= point.fields["busy"] <= point.fields["seconds"] + 0.05


def test_a_program_shorter_than_an_interval_reports_at_its_end(listener: Listener) -> None:
    with talk.start(TTEST, env=env(listener.url, "")) as program:
        assert program.init(OPTIONS).success
        program.send(*talk.window(range(20)))
        program.close_input()
        program.drain()
        program.wait()
    (point,) = listener.points
    assert (point.fields["points"], point.fields["batches"]) == (20, 1)


def test_a_handler_of_the_stock_agents_kind_reports_too(listener: Listener) -> None:
    skip = {"KAPACITOR_UDF_ON_ERROR": "skip"}
    with talk.start(MIRROR, env={**env(listener.url), **skip}) as program:
        assert program.init([], task="t").success
        program.send(*(talk.point(i, value=1.0) for i in range(20)))
        program.send(*(talk.point(i, value="text") for i in range(3)), talk.snapshot())
        until(lambda: listener.sum("failed") == 3, program)
        until(lambda: listener.sum("snapshots") == 1, program)
    assert listener.sum("points", kind="handler", task="t") == 23
    assert listener.sum("snapshot_bytes") == 4


def test_a_program_that_was_killed_under_the_supervisor_shows_as_a_restart(
    listener: Listener,
) -> None:
    argv = [sys.executable, "-m", "kapacitor.udf.supervise", "--", sys.executable, str(TTEST)]
    with Program(argv, env={"PYTHONPATH": str(talk.UDF), **env(listener.url)}) as program:
        assert program.init(OPTIONS, task="shaky").success
        program.send(*talk.window(range(20)))
        program.expect("point")
        until(lambda: listener.sum("points", kind="typed") == 20, program)
        supervisor = {"kind": "supervisor", "task": "shaky", "program": "ttest.py"}
        until(lambda: listener.sum("bytes_in", **supervisor) > 0, program)
        assert listener.sum("restarts") == 0
        (child,) = psutil.Process(program.process.pid).children()
        child.send_signal(signal.SIGKILL)
        until(lambda: listener.sum("restarts", **supervisor) == 1, program)
        program.send(*talk.window(range(20), tmax=1))
        assert program.expect("point").point.time == 1
        program.close_input()
        program.drain()
        assert program.wait() == 0, program.stderr()
    assert listener.sum("restarts") == 1
    assert listener.sum("quarantined") == 0


def test_what_could_not_be_told_is_told_later(listener: Listener) -> None:
    listener.status = 503
    with talk.start(TTEST, env=env(listener.url)) as program:
        assert program.init(OPTIONS).success
        program.send(*talk.window(range(20)))
        until(lambda: "503" in program.stderr(), program)
        listener.status = 204
        until(lambda: listener.sum("points") == 20, program)
        log = program.stderr()
    assert log.count("do not arrive") == 1
    assert "/write" in log
    assert "db=" not in log  # where a password may be


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        yield f"http://u:secret@127.0.0.1:{server.getsockname()[1]}/write?p=secret"


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://u:secret@127.0.0.1:{port}/write?p=secret"


@pytest.mark.parametrize("there", [silent, nobody])
def test_the_stream_does_not_wait_for_the_other_side(there: Any) -> None:
    with there() as url, talk.start(TTEST, env=env(url, "0.01")) as program:
        assert program.init(OPTIONS).success
        process = psutil.Process(program.process.pid)
        longest = 0.0
        threads = set()
        for number in range(300):
            began = time.monotonic()
            program.send(*talk.window(range(20), tmax=number))
            assert program.expect("point").point.time == number
            longest = max(longest, time.monotonic() - began)
            threads.add(process.num_threads())
        began = time.monotonic()
        program.close_input()
        program.drain()
        assert program.wait() == 0
        # At most half a second for the last report, and the rest for a busy machine.
        assert time.monotonic() - began < 1.9
        log = program.stderr()
    assert longest < 1.5
    assert len(threads) == 1  # none for each report
    assert log.count("do not arrive") <= 1
    assert "secret" not in log


@pytest.mark.parametrize(
    ("url", "every", "reason"),
    [
        ("https://there/write", "1", "without TLS"),
        ("there:80", "1", "http://host:port"),
        ("http://there:nowhere/", "1", "no address"),
        ("http://there/a b", "1", "http://host:port"),
        ("http://there/", "soon", "KAPACITOR_UDF_STATS_EVERY is 'soon'"),
        ("http://there/", "0", "KAPACITOR_UDF_STATS_EVERY is '0'"),
        ("http://a..b/", "0.01", "do not arrive"),
    ],
)
def test_a_wrong_address_is_told_once_and_ends_nothing(url: str, every: str, reason: str) -> None:
    with talk.start(TTEST, env=env(url, every)) as program:
        assert program.init(OPTIONS).success
        until(lambda: reason in program.stderr(), program)
        program.send(*talk.window(range(20)))
        assert program.expect("point")
        program.close_input()
        program.drain()
        assert program.wait() == 0
        assert program.stderr().count(reason) == 1


def test_nothing_is_sent_before_the_options_or_without_an_address(listener: Listener) -> None:
    with talk.start(TTEST, env=env(listener.url, "0.01")) as program:
        assert program.info().wants == udf_pb2.BATCH
        program.close_input()
        program.wait()
    with talk.start(TTEST, env=env("", "0.01")) as program:
        assert program.init(OPTIONS).success
        program.send(*talk.window(range(20)))
        threads = {thread.id for thread in psutil.Process(program.process.pid).threads()}
        assert len(threads) == 2  # the loop and the attendant
        program.close_input()
        program.wait()
    assert listener.points == []
