"""The commands as a user runs them, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.simulator.peer import Answer, Peer, peer

ROOT = Path(__file__).parents[3]


def simulator(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def test_a_file_and_standard_output_hold_the_same_day(tmp_path: Path) -> None:
    file = tmp_path / "day.lp"
    result = simulator("printer", "--seed", "3", "--output", str(file), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["points"] == 86_402
    lines = file.read_bytes().splitlines()
    assert len(lines) == 86_402
    assert lines[0].endswith(b" 1451606400")
    assert lines[-1].endswith(b" 1451692801")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day.lp"]
    printed = simulator("printer", "--seed", "3", "--output", "-", "--json")
    assert printed.stdout.encode() == file.read_bytes()
    assert json.loads(printed.stderr)["points"] == 86_402


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["wc", "-l", pipe], stdout=subprocess.PIPE, text=True)
    result = simulator("printer", "--duration", "500", "--output", str(pipe))
    assert result.returncode == 0, result.stderr
    assert reader.communicate(timeout=20)[0].split()[0] == "500"
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_password_in_the_address_is_not_shown() -> None:
    with peer(Answer(401, b"unauthorized")) as other:
        url = other.url.replace("http://", "http://me:hush@") + "/write?u=me&p=hush"
        result = simulator("printer", "--url", url)
    assert result.returncode == 4
    assert "unauthorized" in result.stderr
    assert "hush" not in result.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m simulator printer -o - | head -2; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert len(result.stdout.splitlines()) == 2
    assert (result.returncode, result.stderr) == (0, "")


def test_sending_puts_every_point_through_once_and_in_order() -> None:
    with peer(Answer(503), Answer(204), Answer(429)) as other:
        result = simulator("printer", "--url", other.url, "--chunk", "7000", "--json")
        assert result.returncode == 0, result.stderr
        stamps = [int(line.rsplit(b" ", 1)[1]) for line in other.lines]
        assert stamps == list(range(1451606400, 1451692802))
        assert other.query() == {"db": "printer", "precision": "s"}
    summary = json.loads(result.stdout)
    assert summary["points"] == 86_402
    assert summary["retries"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--start", "noon"], 2, "--start 'noon'"),
        (["--duration", "long"], 2, "--duration 'long'"),
        (["--inject", "door:5"], 2, "no field 'door' here, one of: hotend, bed, air"),
        (["--schedule", "weekly"], 2, "--schedule 'weekly' is not one of: daily, brief"),
        (["--url", "nowhere"], 2, "--url: 'nowhere'"),
        (["--output", "/no/such/folder/x"], 2, "--output /no/such/folder/x: No such file"),
        (["--live", "--output", "x"], 2, "leave out --output"),
        (["--live", "--speed", "5000"], 2, "finer --precision"),
        (["--live", "--control", "here"], 2, "--control 'here' is not HOST:PORT"),
        (["--live", "--start", "2020-01-01"], 2, "leave out --start"),
        (["--url", "http://127.0.0.1:9/"], 3, "Connection refused. Is it running?"),
    ],
)
def test_wrong_input_is_one_clear_line(arguments: list[str], code: int, said: str) -> None:
    result = simulator("printer", *arguments)
    assert result.returncode == code
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_refusal_shows_the_services_reason() -> None:
    with peer(Answer(400, b'{"error":"field type conflict"}')) as other:
        result = simulator("printer", "--url", other.url)
    assert result.returncode == 4
    assert "field type conflict" in result.stderr


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Live:
    """A live simulator in a process of its own."""

    def __init__(self, url: str, port: int, *arguments: str) -> None:
        self.control = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "simulator", "printer", "--live", "--url", url, "--json",
             "--control", f"127.0.0.1:{port}", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def health(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, self.process.communicate()[1]
        try:
            answer = requests.get(self.control + "/health", timeout=5)
        except requests.ConnectionError:
            return None
        figures: dict[str, Any] = answer.json()
        assert answer.status_code == (200 if figures["status"] == "ok" else 503)
        return figures

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        figures: dict[str, Any] = until(lambda: (f := self.health()) and condition(f) and f)
        return figures

    def end(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, err
        summary: dict[str, Any] = json.loads(out)
        return summary


@pytest.fixture
def start(port: int) -> Iterator[Callable[..., Live]]:
    started: list[Live] = []

    def make(url: str, *arguments: str) -> Live:
        started.append(Live(url, port, *arguments))
        return started[-1]

    yield make
    for live in started:
        if live.process.poll() is None:
            live.process.kill()
        live.process.communicate()


def stamps(other: Peer) -> list[int]:
    return [int(line.rsplit(b" ", 1)[1]) for line in other.lines]


def test_live_points_are_stamped_now_evenly_and_reported(start: Callable[..., Live]) -> None:
    begin = time.time() * 1000
    with peer() as other:
        live = start(other.url, "--speed", "50")
        live.wait_for(lambda f: f["points"] >= 60)
        summary = live.end()
        times = stamps(other)
        end = time.time() * 1000
        assert other.query()["precision"] == "ms"
    assert begin - 1 <= times[0] <= times[-1] <= end
    assert {b - a for a, b in pairwise(times)} == {20}
    assert summary["points"] == len(times) == summary["made"]
    assert (summary["lost"], summary["buffered"], summary["status"]) == (0, 0, "ok")


def test_a_restart_of_the_other_side_loses_nothing(start: Callable[..., Live]) -> None:
    with peer(Answer(503)) as first:
        live = start(first.url, "--speed", "100")
        live.wait_for(lambda f: f["points"] > 20)
        before = stamps(first)
    figures = live.wait_for(lambda f: f["buffered"] > 50)
    assert "Connection refused" in figures["last_error"]
    with peer(port=first.port) as second:
        live.wait_for(lambda f: f["points"] > 200 and f["buffered"] < 50)
        live.end(signal.SIGINT)
        # What was on its way when the first one closed may have come twice, in order.
        times = sorted({*stamps(first), *stamps(second)})
    assert before
    assert {b - a for a, b in pairwise(times)} == {10}


def test_beyond_the_buffer_the_oldest_points_go_and_are_counted(
    start: Callable[..., Live], port: int
) -> None:
    with peer() as first:
        live = start(first.url, "--speed", "200", "--buffer", "100")
        live.wait_for(lambda f: f["points"] > 10)
    figures = live.wait_for(lambda f: f["lost"] > 100)
    assert figures["buffered"] <= 100
    with peer(port=first.port) as second:
        live.wait_for(lambda f: not f["last_error"])
        summary = live.end()
        assert stamps(second) == sorted(stamps(second))
    assert summary["made"] == summary["points"] + summary["lost"] + summary["buffered"]


def test_a_live_simulator_that_never_got_through_is_not_healthy(
    start: Callable[..., Live],
) -> None:
    with peer(*[Answer(503, b"starting")] * 1000) as other:
        live = start(other.url)
        figures = live.wait_for(lambda f: bool(f["last_error"]))
        assert figures["status"] != "ok"
        assert "starting" in figures["last_error"]
        live.end()


def test_a_live_run_can_have_an_end(start: Callable[..., Live]) -> None:
    with peer() as other:
        live = start(other.url, "--duration", "1", "--speed", "10")
        out, err = live.process.communicate(timeout=20)
        assert live.process.returncode == 0, err
        assert json.loads(out)["points"] == len(other.lines) == 10


def test_anomalies_are_injected_listed_and_stopped(start: Callable[..., Live]) -> None:
    with peer() as other:
        live = start(other.url, "--speed", "500", "--inject", "bed:60")
        live.wait_for(lambda f: f["points"] > 0)
        injected = simulator("inject", "hotend:60", "--control", live.control, "--json")
        assert injected.returncode == 0, injected.stderr
        fields = [a["field"] for a in json.loads(injected.stdout)["running"]]
        assert fields == ["hotend", "bed"]
        until(lambda: worst(other, b"hotend=") > 5)
        until(lambda: worst(other, b"bed=") > 6)
        assert worst(other, b"air=") < 20
        stopped = simulator("inject", "--stop", "hotend", "--control", live.control, "--json")
        assert [a["field"] for a in json.loads(stopped.stdout)["running"]] == ["bed"]
        assert "bed" in simulator("inject", "--control", live.control).stdout
        again = simulator("inject", "--stop", "hotend", "--control", live.control)
        assert again.returncode == 4
        assert "no anomaly is running in 'hotend'" in again.stderr
        wrong = simulator("inject", "door:5", "--control", live.control)
        assert wrong.returncode == 4
        assert "one of: hotend, bed, air" in wrong.stderr
        live.end()


def worst(other: Peer, field: bytes) -> float:
    """Return the largest distance from the target that was sent."""
    target = {b"hotend=": 220, b"bed=": 90, b"air=": 70}[field]
    values = [float(line.split(field)[1].split(b",")[0].split()[0]) for line in other.lines]
    return max(abs(value - target) for value in values)


def test_injecting_into_nothing_says_so(port: int) -> None:
    result = simulator("inject", "hotend:5", "--control", f"http://127.0.0.1:{port}")
    assert result.returncode == 3
    assert "no live simulator answers" in result.stderr


def test_a_taken_control_port_is_named(start: Callable[..., Live], port: int) -> None:
    with peer() as other:
        live = start(other.url)
        live.wait_for(lambda f: f["points"] > 0)
        second = simulator(
            "printer", "--live", "--url", other.url, "--control", f"127.0.0.1:{port}"
        )
        assert second.returncode == 2
        assert f"--control 127.0.0.1:{port}: Address already in use" in second.stderr
        live.end()
