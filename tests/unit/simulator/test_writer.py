"""The writer over a real connection: patience, refusals, and the reasons it passes on."""

import socket
import threading
import time

import pytest

from simulator.errors import REFUSED, UNREACHABLE, SimulatorError
from simulator.writer import Writer
from tests.unit.simulator.peer import Answer, Peer, peer

LINE = b"m v=1 1\n"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_busy_answers_are_retried_until_taken() -> None:
    reasons: list[str] = []
    busy = [Answer(503, b'{"error":"timeout"}'), Answer(429), Answer(500, b"hinted handoff")]
    with peer(*busy) as other:
        writer = Writer(other.url + "/write?db=d")
        writer.send(LINE, 1, reasons.append)
        assert other.lines == [LINE.strip()]
        assert other.bodies == [LINE] * 4
    assert [reason.split("answered ")[1][:3] for reason in reasons] == ["503", "429", "500"]
    assert "timeout" in reasons[0]
    assert (writer.sent.points, writer.sent.requests, writer.sent.retries) == (1, 4, 3)


def test_retry_after_is_heeded() -> None:
    with peer(Answer(429, headers={"Retry-After": "0.6"})) as other:
        begin = time.monotonic()
        Writer(other.url).send(LINE, 1, lambda _: None)
        assert time.monotonic() - begin >= 0.6


def test_a_service_that_stays_busy_is_given_up_with_its_reason() -> None:
    with (
        peer(*[Answer(503, b"buffer full")] * 50) as other,
        pytest.raises(SimulatorError, match=r"gave up after 0\.5 s.*buffer full") as caught,
    ):
        Writer(other.url, patience=0.5).send(LINE, 1, lambda _: None)
    assert caught.value.code == UNREACHABLE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(400, b'{"error":"unable to parse \'m v=\': missing field value"}'),
         "missing field value"),
        (Answer(404, b'{"error":"database not found: \\"d\\""}'), 'database not found: "d"'),
        (Answer(401, b"", {"X-Influxdb-Error": "unauthorized"}), "unauthorized"),
        (Answer(413, b"Request Entity Too Large\n"), "Request Entity Too Large"),
        (Answer(301, b"", {"Location": "http://127.0.0.1:1/"}), "301"),
    ],
)  # fmt: skip
def test_a_refusal_fails_at_once_with_the_reason(answer: Answer, reason: str) -> None:
    with peer(answer) as other:
        with pytest.raises(SimulatorError) as caught:
            Writer(other.url).send(LINE, 1, lambda _: None)
        assert len(other.bodies) == 1
    assert reason in str(caught.value)
    assert other.url in str(caught.value)
    assert caught.value.code == REFUSED


def test_a_service_that_is_away_fails_at_once_and_clearly() -> None:
    begin = time.monotonic()
    with pytest.raises(SimulatorError, match=r"Connection refused\. Is it running\?") as caught:
        Writer(f"http://127.0.0.1:{closed_port()}/write").send(LINE, 1, lambda _: None)
    assert time.monotonic() - begin < 2
    assert caught.value.code == UNREACHABLE


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(SimulatorError, match=r"no-such-host\.invalid"):
        Writer("http://no-such-host.invalid/write").send(LINE, 1, lambda _: None)


def test_a_silent_service_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SimulatorError, match=r"did not answer within 0\.2 s"):
            Writer(url, timeout=0.2, patience=0.3).send(LINE, 1, lambda _: None)


def test_a_service_that_restarts_is_waited_for() -> None:
    with peer() as first:
        writer = Writer(first.url)
        writer.send(LINE, 1, lambda _: None)
    started: list[Peer] = []
    waited = threading.Event()

    def start() -> None:
        waited.wait(10)
        started.append(Peer([], first.port))

    thread = threading.Thread(target=start)
    thread.start()
    try:
        writer.send(LINE, 1, lambda _: waited.set())
    finally:
        waited.set()
        thread.join()
        started[0].close()
    assert started[0].lines == [LINE.strip()]
    assert writer.sent.points == 2
