"""The stack as local processes under process-compose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from stack.backend import (
    ALERT_LOGS,
    OPTIONAL,
    REPOSITORY,
    SERVICES,
    ServiceStatus,
    Stack,
    cause,
    files_of,
    mended,
)
from stack.engines import ensure_engines, path_with_engines
from stack.errors import StackError
from stack.settings import LIVE, PORTS, ROOT, STATE, Addresses, environment

START_SECONDS = 120
STOP_SECONDS = 60
#: The longest path a Unix socket can have on Linux and macOS, with a byte to spare.
SOCKET_PATH_LIMIT = 100


class NativeStack(Stack):
    """One instance as local processes; its state is the folder .stack/instances/<name>."""

    backend = "native"

    def __init__(
        self, name: str, addresses: Addresses, variables: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, addresses, variables)
        self.state = STATE / "instances" / name
        self.alerts = self.state / "alerts"
        #: process-compose, if this object started it; it outlives a command that does not stop it.
        self._supervisor: subprocess.Popen[bytes] | None = None

    # -- life ---------------------------------------------------------------------------------

    def up(self, services: Sequence[str] = SERVICES) -> None:  # noqa: D102
        ensure_engines(Console(stderr=True))
        services = self.with_optional(services)
        if "grafana" in services:
            raise StackError(
                "Grafana runs in containers only",
                "take it out of COMPOSE_PROFILES and use the live page, or use STACK=compose",
            )
        if self._answers():
            for service in services:
                self.start(service)
            return
        self._check_ports(services)
        for folder in ("logs", "kapacitor", "influxdb", "brew"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self.alerts.mkdir(exist_ok=True)
        self._write_load_folder()
        (self.state / "addresses.json").write_text(json.dumps(self.addresses.__dict__))
        wanted = [*services, "databases"]
        with (self.state / "logs" / "process-compose.out").open("wb") as out:
            supervisor = self._supervisor = subprocess.Popen(
                [
                    *self._program(), "up", "--config", "native/process-compose.yaml",
                    "--tui=false", "--disable-dotenv", "--keep-project", "--ordered-shutdown",
                    "--log-file", str(self.state / "logs" / "process-compose.log"), *wanted,
                ],
                cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_healthy(services, supervisor)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:  # noqa: D102
        if self._answers():
            self._pc("down", check=False)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline and self._answers():
                time.sleep(0.05)
        self._end_leftovers()
        if self._supervisor is not None:
            self._supervisor.wait()
            self._supervisor = None

    def remove(self) -> None:  # noqa: D102
        self.down()
        shutil.rmtree(self.state, ignore_errors=True)

    def stop(self, service: str) -> None:  # noqa: D102
        self._pc("process", "stop", service)

    def start(self, service: str) -> None:  # noqa: D102
        status = {s.service: s for s in self.ps()}.get(service)
        # One that was killed is on its way back by itself.
        if status is None or status.state not in ("running", "restarting"):
            self._pc("process", "start", service)
        self._wait_healthy([service])

    def kill(self, service: str) -> None:  # noqa: D102
        self._signal(service, signal.SIGKILL)

    def hang_up(self, service: str) -> None:  # noqa: D102
        self._write_load_folder()
        self._signal(service, signal.SIGHUP)

    def _signal(self, service: str, number: signal.Signals) -> None:
        for process in self._list():
            if process["name"] == service and process["pid"]:
                os.kill(process["pid"], number)

    # -- looking ------------------------------------------------------------------------------

    def ps(self) -> list[ServiceStatus]:  # noqa: D102
        if not self._answers():
            return []
        return [
            ServiceStatus(p["name"], p["status"].lower(), p["is_ready"] == "Ready")
            for p in self._list()
            if p["name"] in (*SERVICES, *OPTIONAL) and p["status"] not in ("Disabled", "Foreground")
        ]

    def follow_logs(self, services: Iterable[str], follow: bool) -> int:  # noqa: D102
        files = [self.state / "logs" / f"{s}.log" for s in services or SERVICES]
        files = [f for f in files if f.exists()]
        if not files:
            raise StackError("no logs: the stack has not run here", "start it with `make up`")
        try:
            return subprocess.call(["tail", "-n", "100", *(["-F"] if follow else []), *files])
        except KeyboardInterrupt:
            return 0

    def log(self, service: str) -> str:  # noqa: D102
        file = self.state / "logs" / f"{service}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def alert_log(self, name: str) -> str:  # noqa: D102
        file = self.alerts / name
        return file.read_text() if file.exists() else ""

    def alert_logs(self) -> list[str]:  # noqa: D102
        return sorted(file.name for file in self.alerts.glob("*.log"))

    def tickscript(self, path: Path) -> str:  # noqa: D102
        # The two folders that a container has elsewhere: the alert logs and the repository.
        text = path.read_text().replace(f"{ALERT_LOGS}/", f"{self.alerts}/")
        return text.replace(f"{REPOSITORY}/", f"{ROOT}/")

    def client(  # noqa: D102
        self, program: str, arguments: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        env = self._environment() | {"KAPACITOR_URL": self.addresses.urls()["kapacitor"]}
        arguments = list(arguments)
        if program == "influx":
            where = ["-host", self.addresses.host, "-port", str(self.addresses.influxdb)]
            arguments = [*where, *arguments]
        else:
            arguments = mended(arguments)
        with tempfile.TemporaryDirectory() as folder:
            for at in files_of(arguments) if program == "kapacitor" else ():
                mapped = Path(folder) / Path(arguments[at]).name
                mapped.write_text(self.tickscript(Path(arguments[at])))
                arguments[at] = str(mapped)
            command = [program, *arguments]
            return subprocess.run(command, env=env, capture_output=capture, text=True, check=False)

    # -- process-compose ----------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        path = self.state / "process-compose.sock"
        if len(str(path)) <= SOCKET_PATH_LIMIT:
            return path
        key = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"stack-{os.getuid()}-{key}.sock"

    def _program(self) -> list[str]:
        return ["process-compose", "--use-uds", "--unix-socket", str(self._socket)]

    def _environment(self) -> dict[str, str]:
        env = self.environment()
        return env | {
            "PATH": path_with_engines(env),
            "STACK_STATE": str(self.state),
            "CONNECT_ADDRESS": self.addresses.host,
            "SECRETS": env.get("SECRETS") or "./secrets",
            "MQTT_USERNAME": env.get("MQTT_USERNAME") or "stack",
            "OPENBLAS_NUM_THREADS": "1",
            # Compiled modules are kept, or every UDF process would compile the SDK anew.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(STATE / "pycache"),
        }

    def _answers(self) -> bool:
        """Tell whether this instance's process-compose is there."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _pc(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self._program(), *arguments], cwd=ROOT, env=self._environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise StackError(
                f"process-compose {' '.join(arguments)} failed: {done.stderr.strip()[-500:]}",
                "`make ps` shows what runs; `make down` stops it",
            )
        return done.stdout

    def _list(self) -> list[dict[str, Any]]:
        text = self._pc("process", "list", "--output", "json", check=False)
        try:
            processes: list[dict[str, Any]] = json.loads(text)
        except json.JSONDecodeError:
            return []
        return processes

    def _wait_healthy(
        self, services: Sequence[str], supervisor: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Poll until all `services` are ready; fail early when one keeps dying."""
        deadline = time.monotonic() + START_SECONDS
        # A service that was killed on purpose earlier has restarts behind it that mean nothing now.
        before = {} if supervisor else {p["name"]: p.get("restarts", 0) for p in self._list()}
        while True:
            processes = {p["name"]: p for p in self._list()} if self._answers() else {}
            if all(processes.get(s, {}).get("is_ready") == "Ready" for s in services):
                return
            for name, process in processes.items():
                died = (
                    process.get("restarts", 0) - before.get(name, 0) >= 2
                    or process["status"] == "Error"
                )
                failed = (
                    name == "databases"
                    and process["status"] == "Completed"
                    and (process.get("exit_code", 0) != 0)
                )
                if died or failed:
                    self._fail(name, f"{name} does not start")
            if supervisor is not None and supervisor.poll() is not None:
                out = (self.state / "logs" / "process-compose.out").read_text(errors="replace")
                raise StackError(
                    "process-compose stopped while the stack was starting",
                    "the cause is in the lines above",
                    "\n".join(out.splitlines()[-20:]),
                )
            if time.monotonic() > deadline:
                late = [s for s in services if processes.get(s, {}).get("is_ready") != "Ready"]
                self._fail(late[0], f"{', '.join(late)} not healthy after {START_SECONDS} s")
            time.sleep(0.1)

    def _fail(self, service: str, what: str) -> None:
        file = (self.state / "logs" / f"{service}.log").relative_to(ROOT)
        raise StackError(
            what, f"its log says why, above; all of it is {file}", cause(self.log(service))
        )

    def _check_ports(self, services: Sequence[str]) -> None:
        """Refuse to start on a port that is taken, and name who has it."""
        for variable in PORTS:
            service = variable.removesuffix("_PORT").lower()
            port = getattr(self.addresses, service)
            if service not in services:
                continue
            try:
                socket.create_server((self.addresses.bind, port)).close()
            except OSError as error:
                raise StackError(
                    f"port {port} for {service} cannot be used: "
                    f"{error.strerror or error}{_owner(port)}",
                    f"stop what uses it, or set {variable} in .env to another port",
                ) from None

    def _end_leftovers(self) -> None:
        """End processes of this instance whose process-compose was itself killed."""
        mark = str(self.state)
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STACK_STATE") == mark and process.pid != os.getpid():
                    left.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess, OSError):
                continue
        for process in left:
            _quietly(process.terminate)
        _, alive = psutil.wait_procs(left, timeout=15)
        for process in alive:
            _quietly(process.kill)
        self._socket.unlink(missing_ok=True)

    def _write_load_folder(self) -> None:
        """Copy the load folder with the alert logs' folder as it is here.

        File by file: Kapacitor may be reading the copy.
        """
        source, target = self.load_folder, self.state / "load"
        for folder in ("tasks", "templates", "handlers"):
            (target / folder).mkdir(parents=True, exist_ok=True)
        files = {file.relative_to(source): file for file in source.rglob("*") if file.is_file()}
        for name, file in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(self.tickscript(file))
        for copy in [c for c in target.rglob("*") if c.is_file()]:
            if copy.relative_to(target) not in files:
                copy.unlink()


def _quietly(act: Any) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        act()


def _owner(port: int) -> str:
    """Return " (taken by NAME, process N)" where the system tells."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and getattr(connection.laddr, "port", None) == port:
                name = psutil.Process(connection.pid).name()
                return f" (taken by {name}, process {connection.pid})"
    return ""


def live() -> NativeStack:
    """Return the instance of `make up`, at the ports it was started with or those of `.env`."""
    env = environment()
    stack = NativeStack(env.get("COMPOSE_PROJECT_NAME") or LIVE, Addresses.of(env))
    file = stack.state / "addresses.json"
    if file.exists() and stack._answers():
        # A port that is new since then has the value of now.
        stack.addresses = stack.addresses.with_ports(json.loads(file.read_text()))
    return stack
