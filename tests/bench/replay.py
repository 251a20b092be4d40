"""The same agents through the real Kapacitor: replays, and the way from a write to an alert."""

import json
import random
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.agents import Contender
from tests.wire.engine import Function, Kapacitor

START = 1_451_606_400
POINTS = 86_402  # a day at one point a second
_SOURCE = "stream|from().measurement('temperatures')"
_WINDOW = "|window().period(5m).every(5m)"
_OPTIONS = ".size(3600).alpha(0.001)"


def slug(name: str) -> str:
    """Return a name that Kapacitor takes."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def functions(contenders: Sequence[Contender]) -> dict[str, Function]:
    """Declare every program of every contender."""
    found = {}
    for one in contenders:
        for kind, argv in (("one", one.ttest), ("three", one.ttest_three), ("mirror", one.mirror)):
            found[f"{slug(one.name)}_{kind}"] = Function(argv[0], argv[1:], "60s", one.env)
    return found


def day() -> list[bytes]:
    """Make a day of three temperatures."""
    rng = random.Random(1)
    return [
        b"temperatures hotend=%f,bed=%f,air=%f %d"
        % (rng.gauss(220, 0.5), rng.gauss(90, 1), rng.gauss(70, 3), (START + i) * 10**9)
        for i in range(POINTS)
    ]


def scripts(contender: Contender, folder: Path) -> dict[str, str]:
    """Return the tasks of a contender by the name of the workload."""
    name = slug(contender.name)

    def alert(field: str) -> str:
        log = folder / f"{name}_{field}.log"
        score = "pvalue" if field != "multi" else "pvalue_hotend"
        return f"|alert().id('{field}').crit(lambda: \"{score}\" < 0.001).log('{log}')"

    three = "\n".join(
        f"windows@{name}_one().field('{field}'){_OPTIONS}{alert(field)}"
        for field in ("hotend", "bed", "air")
    )
    return {
        "print_temps": f"var windows = {_SOURCE}{_WINDOW}\n{three}",
        "print_temps_multi": (
            f"{_SOURCE}{_WINDOW}@{name}_three().field('hotend', 'bed', 'air'){_OPTIONS}"
            f"{alert('multi')}"
        ),
        "mirror": f"{_SOURCE}@{name}_mirror(){_WINDOW}",
    }


FLOOR = f"{_SOURCE}{_WINDOW}|count('hotend')"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One replay: how long it took, and what the UDFs' processes used."""

    seconds: float
    cpu_seconds: float


class _Watch:
    """Adds up the processor time of processes that come and go below kapacitord."""

    def __init__(self, engine: psutil.Process) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._used: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for one in self._engine.children(recursive=True):
                try:
                    times = one.cpu_times()
                except psutil.Error:
                    continue
                self._used[one.pid] = times.user + times.system

    @property
    def seconds(self) -> float:
        return sum(self._used.values())


def replay(engine: Kapacitor, task: str, name: str) -> Replayed:
    """Replay the recorded day through a task."""
    process = next(p for p in psutil.Process().children() if p.name().startswith("kapacitord"))
    with _Watch(process) as watch:
        seconds = engine.replay("day", task, name)
    return Replayed(seconds, watch.seconds)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a write to its alert."""

    p50: float
    p99: float


class _Sink:
    """Takes alerts over TCP and notes when each came, by the value it tells of."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._server.getsockname()[1]
        self.came: dict[tuple[str, int], float] = {}
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            now = time.perf_counter()
            with connection:
                data = b""
                while block := connection.recv(65536):
                    data += block
            event = json.loads(data)
            series = event["data"]["series"][0]
            value = series["values"][0][series["columns"].index("n")]
            with self._arrived:
                self.came[event["id"], int(value)] = now
                self._arrived.notify_all()

    def wait(self, key: tuple[str, int]) -> float:
        with self._arrived:
            if not self._arrived.wait_for(lambda: key in self.came, timeout=30):
                raise TimeoutError(f"no alert {key} in 30 s")
            return self.came[key]

    def close(self) -> None:
        self._server.close()


def latency(engine: Kapacitor, names: Sequence[str], rounds: int) -> dict[str, Latency]:
    """Write single points and time their alerts, the tasks in turn.

    Parameters
    ----------
    engine : Kapacitor
    names : sequence of str
        UDFs by name; an empty one is a task without a UDF.
    rounds : int
        Points for each.
    """
    sink = _Sink()
    for name in names:
        udf = f"@{name}()" if name else ""
        task = f"latency_{name or 'none'}"
        engine.define(
            task,
            f"stream|from().measurement('{task}'){udf}"
            f"|alert().id('{task}').crit(lambda: TRUE).tcp('127.0.0.1:{sink.port}')",
        )
        engine.enable(task)
    took: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 20):
        for name in names:
            task = f"latency_{name or 'none'}"
            start = time.perf_counter()
            engine.write(b"%s n=%di %d" % (task.encode(), number, time.time_ns()))
            end = sink.wait((task, number))
            if number >= 20:  # the first ones pay for starts and connections
                took[name].append((end - start) * 1000)
    sink.close()
    for name in names:
        engine.call("PATCH", f"/tasks/latency_{name or 'none'}", json={"status": "disabled"})
    return {
        name: Latency(statistics.median(values), statistics.quantiles(values, n=100)[98])
        for name, values in took.items()
    }
