"""Every command of the processors' README, as printed there, by section."""

import gzip
import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.api import InfluxDB
from stack.backend import Stack
from stack.isolated import project_name
from stack.settings import Addresses
from tests.documents import commands, fences
from tests.telegraf.real import DEADLINE, ROOT, binary, environment

pytestmark = pytest.mark.stack

README = (ROOT / "telegraf/processors/README.md").read_text()
#: Section -> its commands.
COMMANDS = {
    title: commands(text)
    for title, text in re.findall(r"^#+ (.*?)\n(.*?)(?=^#+ |\Z)", README, re.MULTILINE | re.DOTALL)
}
#: In the test the benchmarks are small.
FEW = "--points 2000 --rounds 1 --singles 50 --learned 0.1 --many 20000"
SMALLER = {"100-111": "100", "BENCH=processors ": f'BENCH=processors ARGS="{FEW}" '}


class Shell:
    """Runs command after command; what one exports is there for the next."""

    def __init__(self, folder: Path, replaced: dict[str, str], **variables: str) -> None:
        self.exported = folder / "exported"
        self.exported.touch()
        self.replaced = replaced
        self.env = environment(**variables)

    def _start(self, command: str, then: str) -> subprocess.Popen[str]:
        for text, other in self.replaced.items():
            command = command.replace(text, other)
        script = f"set -eo pipefail; . {self.exported}; {command}\n{then}"
        return subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """Run a command and return what it printed; it must succeed."""
        with self._start(command, f"export -p > {self.exported}") as process:
            out, log = process.communicate(timeout=300)
        assert process.returncode == 0, f"{command}\n{out}\n{log}"
        return out

    def until(self, command: str, holds: Callable[[], bool]) -> str:
        """Run a command that does not end by itself until something holds, then press Ctrl-C."""
        with self._start(f"exec {command}", "") as process:
            end = time.monotonic() + DEADLINE
            while not holds() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            held = holds()
            os.killpg(process.pid, signal.SIGINT)
            out, log = process.communicate(timeout=30)
        assert held, f"{command}\n{out}\n{log}"
        assert process.returncode == 0, f"{command}\n{log}"
        return out


def test_every_command_is_in_a_section_that_is_run() -> None:
    assert [title for title, commands in COMMANDS.items() if commands] == [
        "Configure",
        "The brew",
        "With the rest of the stack",
        "By hand",
        "How good it is",
    ]
    # Neither an indented block nor a word in a sentence holds another.
    assert not re.findall(r"^ {4}(?:\w+=|make|python|telegraf).*", README, re.MULTILINE)
    inline = re.findall(r"(?<!`)`((?:make|\S*python3?|telegraf) [^`]*)`", README)
    assert set(inline) <= {"make up", "make clean", "make logs ARGS=brew"}


def test_the_configuration_works_as_printed(tmp_path: Path) -> None:
    (block,) = fences(README, "toml")
    text = block.content.replace("/var/lib/telegraf", str(tmp_path))
    state = Path(tomllib.loads(text)["processors"]["execd"][0]["command"][-1])
    assert state.parent == tmp_path
    lines, out = tmp_path / "in.lp", tmp_path / "out.lp"
    lines.write_bytes(b"temperature,brew=b temperature=18.8,n=7u 1\n")
    (tmp_path / "telegraf.conf").write_text(
        f'[agent]\n  omit_hostname = true\n  precision = "1ns"\n{text}\n'
        f'[[inputs.file]]\n  files = ["{lines}"]\n'
        f'[[outputs.file]]\n  files = ["{out}"]\n  influx_uint_support = true\n'
    )
    done = subprocess.run(
        [binary(), "--once", "--config", str(tmp_path / "telegraf.conf")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == lines.read_bytes()
    assert state.exists()


def test_the_data_is_made_as_printed(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"out/brew": str(tmp_path / "brew")})
    for command in COMMANDS["The brew"]:
        shell.run(command)
    shipped = gzip.decompress((ROOT / "telegraf/data/temps.txt.gz").read_bytes())
    assert (tmp_path / "brew/temps.txt").read_bytes() == shipped


def test_the_options_and_the_benchmarks(tmp_path: Path) -> None:
    shell = Shell(tmp_path, SMALLER)
    (options,) = COMMANDS["Configure"]
    assert "--horizon" in shell.run(options)
    forecasts, processors = COMMANDS["How good it is"]
    assert "seasonal naive" in shell.run(forecasts)
    tables = shell.run(processors)
    for words in ("lines/s", "added, p99", "after a tenth", "Starlark"):
        assert words in tables


@pytest.fixture
def live(backend: str, tmp_path: Path) -> Iterator[Shell]:
    """A shell whose `make up` starts a stack of its own."""
    apart = Addresses.free().variables() | {"COMPOSE_PROJECT_NAME": project_name("brewing")}
    # As for a user who has not asked for opt-in services in .env.
    shell = Shell(tmp_path, {}, **apart, STACK=backend, COMPOSE_PROFILES="")
    yield shell
    subprocess.run(["make", "clean"], cwd=ROOT, env=shell.env, capture_output=True, check=False)


def test_with_the_rest_of_the_stack(live: Shell) -> None:
    for command in COMMANDS["With the rest of the stack"]:
        printed = live.run(command)
        if command == "make brew-report":
            assert "out/report/brew.html" in printed
        if command == "make logs ARGS=brew":
            assert "Loaded processors: execd (2x)" in printed
    # Another service that is opt-in, and was not asked for.
    with pytest.raises(AssertionError, match="the service mqtt is not running"):
        live.run("make logs ARGS=mqtt")
    with pytest.raises(AssertionError, match="no service 'databank'"):
        live.run("make logs ARGS=databank")


def test_by_hand(stack: Stack, tmp_path: Path) -> None:
    url = stack.addresses.urls()["influxdb"]
    influxdb = InfluxDB(url)
    # InfluxDB 1.x understands the writes of 2 and takes a database for their bucket.
    influxdb.query("CREATE DATABASE cloud")
    (tmp_path / "influx_token").write_text("a token")
    (tmp_path / "brew").mkdir()
    shell = Shell(
        tmp_path,
        {
            "out/brew": str(tmp_path / "brew"),
            "http://127.0.0.1:8086": url,
            "https://cloud2.influxdata.com": url,
            "./secrets": str(tmp_path),
        },
        INFLUX_BUCKET="cloud",
    )

    def arrives(database: str) -> Callable[[], bool]:
        before = influxdb.count(database, "temperature", "temperature")
        return lambda: influxdb.count(database, "temperature", "temperature") > before

    for command in COMMANDS["By hand"]:
        if command.startswith("telegraf "):
            shell.until(command, arrives("cloud" if "influxdb2" in command else "brew"))
        elif "--loop" in command:
            began = time.monotonic()
            out = shell.until(command, lambda start=began: time.monotonic() - start > 3)
            assert len(out.splitlines()) > 2
        else:
            out = shell.run(command)
            if command.startswith("head"):
                assert out.count("temperature,brew=") == 3
            elif "--test" in command:
                assert out.startswith("> temperature,brew=haze_v5 temperature=18.8 ")
            elif "--signal STDIN" in command:
                # Twice asked: the points of two times.
                assert len({line.split()[-1] for line in out.splitlines()}) == 2
    influxdb.query("DROP DATABASE cloud")
