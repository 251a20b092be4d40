"""The running stack, once a session and backend, for the tests marked `stack`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from rich.console import Console

from stack.api import InfluxDB, Kapacitor
from stack.backend import ENGINES_ONLY, Stack
from stack.choose import offers
from stack.compose import ANY_PORTS, ComposeStack
from stack.isolated import isolated, keep_logs, project_name
from stack.settings import ROOT
from stack.testing import VARIABLE

LOG_LINES = 40

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    """Let the programs under test be interrupted, also where the shell runs the tests with `&`.

    Such a run ignores SIGINT, and so would all that it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _backends() -> list[str]:
    named = os.environ.get(VARIABLE)
    if named is not None:
        return named.split(",")
    found = [o for o in offers(Console(stderr=True)) if not o.problem]
    return [o.backend for o in found]


@pytest.fixture
def once(backend: str) -> None:
    """Skip a test of what is the same on both backends, and takes long, on all but the last."""
    last = _backends()[-1]
    if backend != last:
        pytest.skip(f"the same program on both backends: tested on {last}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `backend`, itself or through `stack`, on each that works here."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", _backends(), scope="session")


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    """The stack's own file, and what differs for tests."""
    return [str(ROOT / "docker-compose.yml"), str(ROOT / "tests/stack/compose.test.yml")]


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return project_name("test")


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Remove what a killed run has left, then start."""
    return [
        "down --volumes --remove-orphans",
        f"up --detach --no-build --wait {' '.join(ENGINES_ONLY)}",
    ]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down --volumes --remove-orphans"]


@pytest.fixture(scope="session")
def stack(backend: str, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The engines of the stack, without the simulator, in an instance of their own."""
    failed = request.session.testsfailed
    if backend == "native":
        with isolated(backend, "test") as running:
            running.variables["KAPACITOR_TASK_SNAPSHOT_INTERVAL"] = "1s"
            running.up(ENGINES_ONLY)
            yield running
            _show_logs(running, request, failed)
        return
    with pytest.MonkeyPatch.context() as patch:
        # For the start only: other tests and their commands have ports of their own.
        for name, value in ANY_PORTS.variables().items():
            patch.setenv(name, value)
        request.getfixturevalue("docker_services")
    running = ComposeStack(project_name("test"), ANY_PORTS)
    running.find_ports(ENGINES_ONLY)
    yield running
    _show_logs(running, request, failed)


def _show_logs(running: Stack, request: pytest.FixtureRequest, failed_before: int) -> None:
    """Keep the logs of a stack on which a test failed, and show their ends."""
    if request.session.testsfailed == failed_before:
        return
    folder: Path = keep_logs(running)
    for service in ENGINES_ONLY:
        lines = running.log(service).splitlines()[-LOG_LINES:]
        print(f"\n-- the end of {service}'s log on {running.backend} (all: {folder})")
        print("\n".join(lines))


@pytest.fixture
def influxdb(stack: Stack) -> InfluxDB:
    return InfluxDB(stack.addresses.urls()["influxdb"])


@pytest.fixture
def kapacitor(stack: Stack) -> Kapacitor:
    return Kapacitor(stack.addresses.urls()["kapacitor"])
