"""The real Telegraf, with a configuration made for one test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0

AGENT = """
[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = 5000
  metric_buffer_limit = 1000000
  omit_hostname = true
  skip_processors_after_aggregators = true
[[outputs.file]]
  files = ["{out}"]
  data_format = "influx"
  influx_uint_support = true
"""


def binary() -> str:
    """Return the Telegraf to test with: the one built in the repository, or the one on PATH."""
    built = ROOT / ".stack/bin/telegraf"
    found = str(built) if built.exists() else shutil.which("telegraf")
    if found is None:
        pytest.fail("no telegraf in .stack/bin or on PATH: `make up` builds it")
    return found


def environment(**more: str) -> dict[str, str]:
    """Return an environment whose python3 is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **more}


def processor(*command: str, order: int = 1, restart_delay: str = "1s") -> str:
    """Return the configuration of an execd processor."""
    return f"""
[[processors.execd]]
  order = {order}
  command = {json.dumps(command)}
  environment = ["PYTHONPATH={ROOT / "udf"}:{ROOT / "telegraf"}"]
  restart_delay = "{restart_delay}"
  data_format = "influx"
  influx_uint_support = true
"""


def source(*command: str) -> str:
    """Return the configuration of an execd input."""
    # A list of JSON strings is one of TOML.
    return f'[[inputs.execd]]\n  command = {json.dumps(command)}\n  restart_delay = "60s"\n'


class Telegraf:
    """A running Telegraf; `with` stops it as a service manager would."""

    def __init__(self, folder: Path, *parts: str) -> None:
        self.out = folder / "out.lp"
        self.out.touch()
        self.log = folder / "telegraf.log"
        config = folder / "telegraf.conf"
        config.write_text(AGENT.format(out=self.out) + "\n".join(parts))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary(), "--config", str(config)], stderr=log, stdout=log, env=environment()
            )

    def __enter__(self) -> "Telegraf":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to stop and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()

    def lines(self) -> list[bytes]:
        """Return what has come out so far."""
        return self.out.read_bytes().splitlines(keepends=True)

    def messages(self) -> str:
        """Return the log."""
        return self.log.read_text()

    def until(self, what: str, holds: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Wait until something holds, or fail with the end of the log."""
        end = time.monotonic() + deadline
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                last = "\n".join(self.messages().splitlines()[-15:])
                pytest.fail(f"telegraf: not {what} after {deadline:g} s\n{last}")
            time.sleep(0.05)
