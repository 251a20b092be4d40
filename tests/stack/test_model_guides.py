"""docs/models.md and docs/packages.md: their commands and the package they show, on a stack."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import modelfile
from stack.api import InfluxDB, wait_for
from stack.isolated import project_name
from stack.settings import ROOT, Addresses
from tests.documents import commands, fences

pytestmark = pytest.mark.stack

MODELS = ROOT / "docs" / "models.md"
PACKAGES = ROOT / "docs" / "packages.md"
#: Not run here, and why.
ELSEWHERE = {
    ".venv/bin/python packages/turbine/train.py": "takes minutes and writes the model that git has",
}


def shown(name: str) -> str:
    """Return what docs/packages.md shows of a file of the package: the block after its name."""
    _, named, after = PACKAGES.read_text().partition(f"\n**{name}.**")
    assert named, name
    return fences(after)[0].content


class Shell:
    """Runs commands of the documents on a stack of their own."""

    def __init__(self, folder: Path) -> None:
        addresses = Addresses.free()
        self.urls = addresses.urls()
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        (settings,) = fences(MODELS.read_text(), "ini")
        env = dict(line.split("=", 1) for line in settings.content.splitlines())
        assert env == {
            "COMPOSE_PROFILES": "mqtt", "MQTT_PASSWORD_FILE": "./secrets/mqtt_password",
        }  # fmt: skip
        self.env = {
            **os.environ,
            **addresses.variables(),
            "COMPOSE_PROJECT_NAME": project_name("models-guide"),
            "COMPOSE_PROFILES": "mqtt,json",
            "MQTT_PASSWORD_FILE": str(self.secrets / "mqtt_password"),
            "TELEGRAF_URL": self.urls["telegraf"],
        }
        self._replaced = {
            "-p 1883": f"-p {addresses.mqtt}",
            "http://127.0.0.1:8188": f"http://127.0.0.1:{addresses.json}",
            "> secrets/": f"> {self.secrets}/",
        }

    def here(self, command: str) -> str:
        for theirs, ours in self._replaced.items():
            command = command.replace(theirs, ours)
        return command

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self.here(command)], cwd=ROOT, env=self.env, capture_output=True,
            text=True, stdin=subprocess.DEVNULL, check=False, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, command: str, output: Path) -> Iterator[None]:
        """Run a command that goes on until Ctrl-C."""
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(command)}"], cwd=ROOT, env=self.env,
                stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield
                assert process.poll() is None, output.read_text()
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(20)


@pytest.fixture(scope="module")
def shell(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    made = Shell(tmp_path_factory.mktemp("guide"))
    made.env["STACK"] = backend
    yield made
    made.run("make clean")


def pump(folder: Path) -> Path:
    """Make the package that docs/packages.md shows."""
    for name in ("package.toml", "requirements.txt", "udf/pump.py", "tasks/pump.tick"):
        file = folder / "pump" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(shown(name))
    (folder / "pump" / "models").mkdir()
    speed = np.linspace(0, 50, 200)[:, None]
    flow = 2 * speed[:, 0] + 1 + np.random.default_rng(1).normal(0, 0.2, 200)
    model = LinearRegression().fit(speed, flow)
    code = shown("models/").replace('"pump/', f'"{folder}/pump/')
    exec(code, {"model": model, "modelfile": modelfile})  # noqa: S102
    return folder / "pump"


def test_the_guides(once: None, shell: Shell, tmp_path: Path) -> None:
    # One test: what they show happens one after the other, on one stack.
    *install, removal = commands(PACKAGES.read_text())
    assert removal.startswith("make remove")
    left = [command for command in commands(MODELS.read_text()) if command not in ELSEWHERE]

    def take(start: str) -> str:
        found = next(command for command in left if command.startswith(start))
        left.remove(found)
        return found

    shell.run(take("printf"))
    shell.run("make up")
    for command in install:
        shell.run(command)
    influxdb = InfluxDB(shell.urls["influxdb"])
    wait_for("the subscription", lambda: influxdb.subscriptions("turbine"))
    assert shutil.which("mosquitto_sub"), "install Mosquitto's clients (mosquitto-clients)"
    heard = tmp_path / "alerts.txt"
    with shell.running(take("mosquitto_sub"), heard):
        shell.run(take(".venv/bin/python -m simulator turbine  "))
        wait_for("an alert", lambda: "alerts/turbine wt02 is CRITICAL" in heard.read_text(), 60)
    shell.run(take(".venv/bin/python -m simulator turbine --schedule calm"))
    assert (ROOT / "out" / "week.lp").stat().st_size > 1e6
    live = tmp_path / "live.txt"

    recent = "SELECT power FROM turbine WHERE time > now() - 1m LIMIT 1"
    with shell.running(take(".venv/bin/python -m simulator turbine --live"), live):
        wait_for("a live point", lambda: influxdb.query(recent, "turbine"), 30)
    device = "SELECT power FROM turbine WHERE device = 'wt05'"
    for start in ("mosquitto_pub", "curl"):
        shell.run(take(start))
        wait_for("the device's point", lambda: influxdb.query(device, "turbine"), 20)
        influxdb.query("DROP SERIES FROM turbine WHERE device = 'wt05'", "turbine")
    assert left == []

    assert "nothing wrong" in shell.run(f"make check PACKAGE={pump(tmp_path)}")
    shell.run(f"make deploy PACKAGE={tmp_path / 'pump'}")
    listed = shell.run("make packages")
    assert "@pump" in listed
    assert "@turbine" in listed
    influxdb.write("telegraf", "pump speed=10,flow=5 1451606400", "s")
    logs = ".venv/bin/python -m stack alert-log"
    wait_for("the leak", lambda: "pump.log" in shell.run(logs), 30)
    assert '"CRITICAL"' in shell.run(f"{logs} pump.log")
    shell.run(removal)
    assert "turbine" not in shell.run("make packages")
