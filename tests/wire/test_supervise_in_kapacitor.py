"""Twenty replays through the real Kapacitor, the UDF killed in each: twenty identical logs."""

import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.wire.engine import ROOT, Function, Kapacitor, kapacitord

START = 1_451_606_400
TTEST = [sys.executable, str(ROOT / "udf/ttest.py")]
ENV = {"PYTHONPATH": str(ROOT / "udf")}
SUPERVISE = ["-m", "kapacitor.udf.supervise", "--snapshot-every", "50ms", "--"]
REPLAYS = 20

pytestmark = [pytest.mark.wire, pytest.mark.stack]


def lines() -> list[bytes]:
    """Six hours at one point a second, with the hot end wrong for five minutes."""
    rng = random.Random(5)
    found = []
    for second in range(6 * 3600):
        sigma, shift = (3.0, -1.5) if 3600 <= second < 3900 else (0.5, 0.0)
        hotend = rng.gauss(220 + shift, sigma)
        found.append(b"temperatures hotend=%f %d" % (hotend, (START + second) * 10**9))
    return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kapacitor")
    functions = {
        "plain": Function(TTEST[0], TTEST[1:], env=ENV),
        "supervised": Function(sys.executable, [*SUPERVISE, *TTEST], env=ENV),
    }
    with kapacitord(folder, functions) as engine:
        for name in functions:
            engine.define(
                name,
                "stream|from().measurement('temperatures')|window().period(1m).every(1m)"
                f"@{name}().field('hotend').size(3600).alpha(0.001)"
                "|alert().id('hotend').details('')"
                '.crit(lambda: "pvalue" < 0.001).info(lambda: TRUE)'
                f".log('{folder}/{name}.log')",
            )
        engine.record("six_hours", "plain", lines())
        yield engine, folder


class Killer:
    """Kills the program under a supervisor, at random moments, until told to stop."""

    def __init__(self, seed: int, seconds: float) -> None:
        self._random = random.Random(seed)
        self._seconds = seconds
        self._stop = threading.Event()
        self.kills = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        killed: set[int] = set()
        while not self._stop.is_set():
            for process in _programs():
                # at most thrice, so that it gets through; each somewhere else in its life
                if self.kills < 3 and process.pid not in killed:
                    self._stop.wait(self._random.random() * self._seconds)
                    try:
                        process.kill()
                    except psutil.NoSuchProcess:
                        continue
                    killed.add(process.pid)
                    self.kills += 1
            time.sleep(0.005)


def _programs() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
            parent = process.parent()
            supervised = parent is not None and "kapacitor.udf.supervise" in parent.cmdline()
        except psutil.Error:
            continue
        if supervised and words[1:2] == TTEST[1:]:
            found.append(process)
    return found


def test_twenty_replays_with_kills_give_one_log(engine: tuple[Kapacitor, Path]) -> None:
    kapacitor, folder = engine
    kapacitor.replay("six_hours", "plain", "reference")
    reference = (folder / "plain.log").read_text()
    assert reference.count("\n") == 6 * 60 - 1
    assert reference.count('"level":"CRITICAL"') >= 5
    log = folder / "supervised.log"
    begin = time.monotonic()
    kapacitor.replay("six_hours", "supervised", "alive")
    # Half of an undisturbed replay: the first death falls into it, and two more may follow.
    seconds = (time.monotonic() - begin) / 2
    assert log.read_text() == reference
    kills = 0
    for number in range(REPLAYS):
        log.unlink(missing_ok=True)
        with Killer(number, seconds) as killer:
            kapacitor.replay("six_hours", "supervised", f"killed_{number}")
        kills += killer.kills
        assert log.read_text() == reference, f"replay {number}, {killer.kills} kills"
    assert kills >= REPLAYS
