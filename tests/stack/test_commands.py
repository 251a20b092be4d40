"""What the commands say when something is wrong: the cause, the fix, nothing left running."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.settings import ROOT, Addresses

pytestmark = pytest.mark.stack


def stack_command(
    *arguments: str, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments],
        cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


def message(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a command that failed without a traceback."""
    assert done.returncode != 0
    assert not done.stderr.startswith("Traceback"), done.stderr
    assert "\nTraceback" not in done.stderr, done.stderr
    assert "error: " in done.stderr or "Error" in done.stderr, done.stderr
    return done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of the repository with the engines that are built, to break things in."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".stack", ".venv", "out", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    (copy / ".stack").mkdir()
    (copy / ".stack/bin").symlink_to(ROOT / ".stack/bin")
    yield copy
    for backend in ("native", "compose"):
        stack_command("clean", cwd=copy, STACK=backend, **isolation(copy))


def isolation(checkout: Path) -> dict[str, str]:
    """Return variables that keep a live stack of a checkout apart from the user's own."""
    ports = Addresses.free().variables()
    return {**ports, "COMPOSE_PROJECT_NAME": f"broken-{checkout.parent.name.strip('_')}".lower()}


def test_unknown_commands_options_and_services() -> None:
    assert "no service" in message(stack_command("up", "databank"))
    assert "--sede" in message(stack_command("demo", "--sede", "1"))
    assert "no TICKscript" in message(stack_command("demo", "--task", "print_tmps"))
    assert "not a time" in message(stack_command("demo", "--start", "yesterday"))
    assert "not a backend" in message(stack_command("demo", STACK="podman"))
    assert "is not a port" in message(stack_command("ps", INFLUXDB_PORT="http"))


def test_no_docker_and_no_go(checkout: Path) -> None:
    """With neither, the message names what to install; nothing is skipped silently."""
    (checkout / ".stack/bin").unlink()
    for command in ("demo", "test", "up"):
        said = message(stack_command(command, cwd=checkout, STACK="", PATH="/nowhere"))
        for remedy in ("Docker", "Go 1.26", "Rust", "C compiler"):
            assert remedy in said


def test_a_port_in_use_is_named_with_its_variable(backend: str, checkout: Path) -> None:
    variables = isolation(checkout)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        variables["KAPACITOR_PORT"] = str(taken.getsockname()[1])
        said = message(stack_command("up", cwd=checkout, STACK=backend, **variables))
    assert variables["KAPACITOR_PORT"] in said
    assert "KAPACITOR_PORT" in said
    assert "not running" in message(stack_command("ps", cwd=checkout, STACK=backend, **variables))


@pytest.mark.parametrize(
    ("path", "text", "cause"),
    [
        ("udf/ttest.py", "import no_such_module\n", "no_such_module"),
        ("kapacitor/load/tasks/broken.tick", "stream|form()\n", "broken.tick"),
    ],
    ids=["a UDF that does not import", "a TICKscript with a mistake"],
)
def test_kapacitor_that_cannot_start_says_why(
    backend: str, checkout: Path, path: str, text: str, cause: str
) -> None:
    (checkout / path).write_text(text)
    variables = isolation(checkout)
    said = message(stack_command("up", cwd=checkout, STACK=backend, **variables))
    assert "kapacitor does not start" in said
    assert cause in said
    assert "not running" in message(stack_command("ps", cwd=checkout, STACK=backend, **variables))


def test_up_ps_down_and_up_again_keep_the_data(backend: str, checkout: Path) -> None:
    variables = isolation(checkout) | {"STACK": backend}
    up = stack_command("up", cwd=checkout, **variables)
    assert up.returncode == 0, up.stderr
    assert variables["INFLUXDB_PORT"] in up.stdout
    assert stack_command("ps", cwd=checkout, **variables).returncode == 0
    write = ["influx", "-database", "printer", "-execute", "INSERT kept value=1"]
    assert stack_command(*write, cwd=checkout, **variables).returncode == 0
    assert stack_command("down", cwd=checkout, **variables).returncode == 0
    again = stack_command("down", cwd=checkout, **variables)
    assert again.returncode == 0
    assert "not running" in again.stderr
    assert stack_command("up", cwd=checkout, **variables).returncode == 0
    read = ["influx", "-database", "printer", "-execute", "SELECT * FROM kept"]
    assert "kept" in stack_command(*read, cwd=checkout, **variables).stdout
    assert stack_command("clean", cwd=checkout, **variables).returncode == 0


def test_the_simulator_names_a_wrong_address() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "printer", "--url", "http://127.0.0.1:9", "--duration",
         "10s"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "127.0.0.1:9" in message(done)
