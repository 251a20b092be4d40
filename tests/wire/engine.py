"""A real kapacitord of one's own, for tests that hold our tools against it."""

import contextlib
import gzip
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from stack.engines import ENGINES, ensure_engines, installed

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_WORK_SECONDS = 60.0


def find_kapacitord() -> Path:
    """Return kapacitord at the stack's version, built now if it is not here.

    Raises
    ------
    StackError
        If it cannot be built, with what to install.
    """
    ensure_engines(Console(stderr=True))
    engine = next(engine for engine in ENGINES if engine.name == "kapacitor")
    folder = installed(engine)
    if folder is None:
        raise FileNotFoundError(f"kapacitord {engine.version} was built and is not there")
    return folder / "kapacitord"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Function:
    """A UDF as declared in kapacitor.conf."""

    prog: str
    args: list[str]
    timeout: str = "10s"
    env: Mapping[str, str] = field(default_factory=dict)

    def section(self, name: str) -> str:
        lines = [
            f"[udf.functions.{name}]",
            f"prog = {json.dumps(self.prog)}",
            f"args = {json.dumps(self.args)}",
            f"timeout = {json.dumps(self.timeout)}",
            f"[udf.functions.{name}.env]",
            *(f"{key} = {json.dumps(value)}" for key, value in self.env.items()),
        ]
        return "\n".join(lines) + "\n"


class Kapacitor:
    """The HTTP API of a running kapacitord, as far as the tests need it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = f"{url}/kapacitor/v1"
        self.folder = folder
        self.log = folder / "kapacitord.log"
        self._session = requests.Session()

    def call(self, method: str, path: str, **keywords: Any) -> Any:
        answer = self._session.request(method, f"{self.url}{path}", timeout=60, **keywords)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def define(self, task: str, script: str, database: str = "bench", rp: str = "default") -> None:
        self.call(
            "POST",
            "/tasks",
            json={
                "id": task,
                "type": "stream",
                "dbrps": [{"db": database, "rp": rp}],
                "script": script,
                "status": "disabled",
            },
        )

    def enable(self, task: str) -> None:
        self.call("PATCH", f"/tasks/{task}", json={"status": "enabled"})

    def write(self, lines: bytes, precision: str = "ns", database: str = "bench") -> None:
        params = {"db": database, "rp": "default", "precision": precision}
        self.call("POST", "/write", params=params, data=lines)

    def record(self, recording: str, task: str, lines: list[bytes]) -> None:
        """Record points, in line protocol with times in ns, the last one the latest.

        A recording stops when a point past its end arrives, so the last line is sent once
        more with a later time. It also starts a moment after the call that starts it has
        returned, and misses what comes before; so what it holds is counted.
        """
        body, _, last = lines[-1].rpartition(b" ")
        stop = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(last) // 10**9 + 1))
        after = b"%s %d" % (body, int(last) + 10**10)
        for _ in range(10):
            options = {"id": recording, "task": task, "stop": stop}
            self.call("POST", "/recordings/stream", json=options)
            self.write(b"\n".join(lines))
            self.write(after)
            self._until(f"/recordings/{recording}", again=lambda: self.write(after))
            stored = gzip.decompress((self.folder / "replay" / f"{recording}.srpl").read_bytes())
            # three lines a point: database, retention policy, the point
            if stored.count(b"\n") == 3 * len(lines):
                return
            self.call("DELETE", f"/recordings/{recording}")
        raise RuntimeError(f"no recording of {len(lines)} points is complete\n{self.tail()}")

    def replay(self, recording: str, task: str, replay: str) -> float:
        """Replay as fast as it goes, with the recorded times; return the seconds it took."""
        start = time.monotonic()
        self.call(
            "POST",
            "/replays",
            json={
                "id": replay,
                "task": task,
                "recording": recording,
                "recording-time": True,
                "clock": "fast",
            },
        )
        self._until(f"/replays/{replay}")
        return time.monotonic() - start

    def _until(self, path: str, again: Callable[[], None] = lambda: None) -> None:
        deadline = time.monotonic() + _WORK_SECONDS
        while time.monotonic() < deadline:
            state = self.call("GET", path)
            if state["status"] == "finished":
                return
            if state["status"] == "failed":
                raise RuntimeError(f"{path} failed: {state['error']}\n{self.tail()}")
            again()
            time.sleep(0.01)
        raise TimeoutError(f"{path} has not finished in {_WORK_SECONDS:g} s\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def kapacitord(folder: Path, functions: Mapping[str, Function]) -> Iterator[Kapacitor]:
    """Run kapacitord with its state in a folder, ready when the block begins."""
    program = find_kapacitord()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "kapacitor.conf"
    config.write_text(
        f"""
hostname = "localhost"
data_dir = "{folder}"
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[replay]
dir = "{folder}/replay"
[storage]
boltdb = "{folder}/kapacitor.db"
[load]
enabled = false
[[influxdb]]
enabled = false
[logging]
file = "STDERR"
level = "INFO"
[stats]
enabled = false
[reporting]
enabled = false
"""
        + "".join(function.section(name) for name, function in functions.items())
    )
    with (folder / "kapacitord.log").open("wb") as out:
        process = subprocess.Popen(
            [str(program), "-config", str(config)],
            stdout=out,
            stderr=out,
            env={**os.environ, "KAPACITOR_HTTP_LOG_ENABLED": "false"},
        )
        engine = Kapacitor(f"http://127.0.0.1:{port}", folder)
        try:
            _wait_ready(engine, process)
            yield engine
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(engine: Kapacitor, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"kapacitord ended with {process.returncode}\n{engine.tail()}")
        with contextlib.suppress(requests.ConnectionError):
            engine.call("GET", "/ping")
            return
        time.sleep(0.05)
    raise TimeoutError(f"kapacitord is not ready after {_START_SECONDS:g} s\n{engine.tail()}")


def alert_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of an alert log."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alert_points(path: Path) -> list[dict[str, Any]]:
    """Return the points that an alert log holds: name, tags, time text and fields of each."""
    points = []
    for event in alert_log(path):
        for series in event["data"]["series"]:
            columns = series["columns"]
            for values in series["values"]:
                fields = dict(zip(columns, values, strict=True))
                points.append(
                    {
                        "name": series["name"],
                        "tags": series.get("tags") or {},
                        "time": fields.pop("time"),
                        "fields": fields,
                    }
                )
    return points
