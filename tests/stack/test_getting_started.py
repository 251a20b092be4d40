"""docs/getting-started.md, block by block, on a stack of its own: what it shows is what comes."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from stack.isolated import project_name
from stack.settings import ROOT, Addresses
from tests.documents import fences

pytestmark = pytest.mark.stack

GUIDE = ROOT / "docs" / "getting-started.md"
#: Blocks that only look can be run again until what they show has arrived.
LOOKING = ("curl", "influx", "alert-log", "kapacitor show", "kapacitor list")
PATIENCE = 60.0


@dataclass(frozen=True)
class Block:
    """Commands of the guide, the line they begin at, and what the guide says they print."""

    line: int
    commands: str
    output: str | None


def blocks() -> list[Block]:
    found = []
    shown = fences(GUIDE.read_text())
    for block, after in pairwise([*shown, None]):
        if block is not None and block.language == "sh":
            output = after.content if after and after.language == "text" else None
            found.append(Block(block.line, block.content, output))
    return found


def shows(output: str, printed: str) -> bool:
    """Tell if lines are as the guide shows them: `...` are any lines, `…` is any text.

    How many spaces there are between words does not matter.
    """
    found = [" ".join(line.split()) for line in printed.splitlines()]
    parts: list[list[re.Pattern[str]]] = [[]]
    for line in output.splitlines():
        if line.strip() == "...":
            parts.append([])
            continue
        text = re.escape(" ".join(line.split())).replace("\\ …\\ ", "\\ (?:.*\\ )?")
        parts[-1].append(re.compile(text.replace("…", ".*")))

    def fits(part: list[re.Pattern[str]], at: int) -> bool:
        lines = found[at : at + len(part)]
        pairs = zip(part, lines, strict=False)
        return len(lines) == len(part) and all(p.fullmatch(line) for p, line in pairs)

    at = len(parts[0])
    if not fits(parts[0], 0):
        return False
    for part in parts[1:]:
        while not fits(part, at):
            at += 1
            if at > len(found):
                return False
        at += len(part)
    # What comes after the last line shown would have been shown, or stood for by `...`.
    return not parts[-1] or at == len(found)


class Terminal:
    """A shell that goes on from block to block, at the ports of a stack of its own."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.state = folder / "state"
        self.state.write_text("")
        addresses = Addresses.free()
        self.urls = addresses.urls()
        self.env = {
            **os.environ,
            **addresses.variables(),
            "STACK": backend,
            "COMPOSE_PROJECT_NAME": project_name("guide"),
            "TELEGRAF_INTERVAL": "1s",
            "TELEGRAF_URL": self.urls["telegraf"],
            "INFLUXDB_URL": self.urls["influxdb"],
        }

    def here(self, text: str) -> str:
        """Return text of the guide with the addresses of this stack, and with less waiting."""
        text = text.replace("-duration 15s", "-duration 3s").replace("timeout 20", "timeout 5")
        text = text.replace("http://localhost:8086", self.urls["influxdb"])
        inside = self.env["STACK"] == "compose"
        return (
            text
            if inside
            else text.replace(":9092", ":" + self.urls["kapacitor"].rpartition(":")[2])
        )

    def run(self, commands: str) -> tuple[int, str]:
        """Run commands as if they were typed; return the last exit status and all they print."""
        script = (
            f"set -a; . {self.state}; set -e\n{self.here(commands)}\nexport -p > {self.state}\n"
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def terminal(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    made = Terminal(backend, tmp_path_factory.mktemp("guide"))
    yield made
    made.run("make clean")


def test_the_guide(terminal: Terminal) -> None:
    # One test: every block needs those before it, and the first of them an empty stack.
    terminal.run("make clean")
    for block in blocks():
        output = terminal.here(block.output) if block.output is not None else None
        may_repeat = all(line.startswith(LOOKING) for line in block.commands.splitlines())
        deadline = time.monotonic() + (PATIENCE if may_repeat else 0)
        while True:
            status, printed = terminal.run(block.commands)
            good = status == 0 and (output is None or shows(output, printed))
            if good or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert good, (
            f"{GUIDE.name}:{block.line} exits with {status}\n{block.commands}\nprints\n{printed}\n"
            f"which is not\n{block.output}"
        )
        if "alert-log cpu_alert.log | grep cpu-total" in block.commands:
            # Artificial load has raised the live alert.
            assert int(printed.split()[-1]) > 0


def test_shows_tells_what_is_there_from_what_is_not() -> None:
    assert shows("a … d\n...\ne\n", "a  b c  d\nx\ny\ne\n")
    assert shows("a … d\n", "a d\n")
    assert not shows("a\n", "a\nb\n")
    assert not shows("a\n...\nc\n", "a\nb\n")
    assert shows("...\nb\n", "a\nb\n")
    assert shows("a\n...\n", "a\nb\nb\n")


def test_the_guide_covers_what_it_should() -> None:
    commands = "\n".join(block.commands for block in blocks())
    for word in (
        "define", "list tasks", "show", "enable", "record stream", "list recordings", "replay",
        "-real-clock", "-rec-time", "-no-reload", "record batch", "make reload",
    ):  # fmt: skip
        assert word in commands
