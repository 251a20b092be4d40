"""The stack as containers under Docker Compose."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from stack.backend import ALERT_LOGS, SERVICES, ServiceStatus, Stack, cause, files_of, mended
from stack.errors import StackError
from stack.settings import LIVE, PORTS, ROOT, Addresses, environment

START_SECONDS = 180
#: Port 0 lets Docker pick one that is free.
ANY_PORTS = Addresses("127.0.0.1", *[0] * len(PORTS))
#: Service -> name of a port in `Addresses` -> the port in its container.
INSIDE = {
    "influxdb": {"influxdb": 8086},
    "kapacitor": {"kapacitor": 9092},
    "telegraf": {"telegraf": 8186, "json": 8188},
    "simulator": {"simulator": 8187},
    "page": {"page": 8090},
    "grafana": {"grafana": 3000},
    "mqtt": {"mqtt": 1883},
    "brew": {"brew": 8189},
}


def docker_engine_missing() -> str:
    """Return why no Docker engine can be used here, or an empty string."""
    if not shutil.which("docker"):
        return "no docker command"
    done = subprocess.run(
        ["docker", "info", "--format", "{{.ServerVersion}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not done.stdout.strip():
        return "the Docker engine does not answer"
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        return "no docker compose plugin"
    return ""


class ComposeStack(Stack):
    """One compose project of docker-compose.yml; with `ANY_PORTS`, at ports that Docker picks."""

    backend = "compose"

    def up(self, services: Sequence[str] = SERVICES) -> None:  # noqa: D102
        env = self.environment()
        services = self.with_optional(services)
        # `--wait` would wait its whole time for a container that keeps failing: look for ourselves.
        done = self._compose("up", "--detach", "--no-build", *services, env=env)
        if done.returncode != 0:
            error = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            try:
                for status in self.ps():
                    self._check_alive(status)
            finally:
                self._stop_after_failure()
            fix = "the cause is in the line above"
            if "address already in use" in error[0] or "port is already allocated" in error[0]:
                fix = f"stop what uses the port, or set another in .env ({', '.join(PORTS)})"
            raise StackError(f"docker compose up failed: {error[0]}", fix)
        try:
            self._wait_healthy(services)
        except BaseException:
            self._stop_after_failure()
            raise
        self.find_ports(services)

    def down(self) -> None:  # noqa: D102
        self._compose("down", "--remove-orphans", check=True)

    def remove(self) -> None:  # noqa: D102
        self._compose("down", "--remove-orphans", "--volumes", check=True)

    def stop(self, service: str) -> None:  # noqa: D102
        self._compose("stop", service, check=True)

    def start(self, service: str) -> None:  # noqa: D102
        self._compose("start", service, check=True)
        self._wait_healthy([service])
        self.find_ports([service])

    def kill(self, service: str) -> None:  # noqa: D102
        # Docker takes this for a stop by hand and leaves the container down until `start`.
        self._compose("kill", "--signal", "KILL", service, check=True)

    def hang_up(self, service: str) -> None:  # noqa: D102
        self._compose("kill", "--signal", "HUP", service, check=True)

    def ps(self) -> list[ServiceStatus]:  # noqa: D102
        done = self._compose("ps", "--all", "--format", "json")
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return [
            ServiceStatus(c["Service"], c["State"], c.get("Health") == "healthy") for c in found
        ]

    def follow_logs(self, services: Iterable[str], follow: bool) -> int:  # noqa: D102
        arguments = ["logs", "--tail", "100", *(["--follow"] if follow else []), *services]
        try:
            return subprocess.call(self._command(*arguments), cwd=ROOT)
        except KeyboardInterrupt:
            return 0

    def log(self, service: str) -> str:  # noqa: D102
        return self._compose("logs", "--no-color", "--no-log-prefix", service).stdout

    def tickscript(self, path: Path) -> str:  # noqa: D102
        return path.read_text()

    def alert_log(self, name: str) -> str:  # noqa: D102
        done = self._compose("exec", "-T", "kapacitor", "cat", f"{ALERT_LOGS}/{name}")
        return done.stdout if done.returncode == 0 else ""

    def alert_logs(self) -> list[str]:  # noqa: D102
        listed = self._compose("exec", "-T", "kapacitor", "ls", ALERT_LOGS)
        return [name for name in listed.stdout.split() if name.endswith(".log")]

    def client(  # noqa: D102
        self, program: str, arguments: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        service = {"kapacitor": "kapacitor", "influx": "influxdb"}[program]
        arguments, script = list(arguments), None
        if program == "kapacitor":
            arguments = mended(arguments)
            # A file on this side: the first is handed over as standard input, others are copied.
            for at in files_of(arguments):
                content = Path(arguments[at]).read_text()
                if script is None and arguments[at - 1] == "-tick":
                    script, arguments[at] = content, "/dev/stdin"
                else:
                    arguments[at] = self._copied(Path(arguments[at]).name, content)
        # A terminal is passed on, for `influx` without arguments.
        interactive = script is None and not capture and sys.stdin.isatty()
        command = ["exec", *([] if interactive else ["-T"]), service, program, *arguments]
        return subprocess.run(
            self._command(*command), cwd=ROOT, input=script, capture_output=capture, text=True,
            check=False,
        )  # fmt: skip

    def _copied(self, name: str, content: str) -> str:
        """Write a file into Kapacitor's container; return its path there."""
        path = f"/tmp/{name}"  # noqa: S108
        command = self._command("exec", "-T", "kapacitor", "sh", "-c", 'cat > "$0"', path)
        subprocess.run(command, cwd=ROOT, input=content, text=True, check=True)
        return path

    # -- docker compose -----------------------------------------------------------------------

    def _command(self, *arguments: str) -> list[str]:
        return ["docker", "compose", "--project-name", self.name, *arguments]

    def _compose(
        self, *arguments: str, check: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False,
            env=env or self.environment(),
        )  # fmt: skip
        if check and done.returncode != 0:
            raise StackError(
                f"docker compose {arguments[0]} failed: {done.stderr.strip()[-500:]}",
                "`make ps` shows what runs; `make down` stops it",
            )
        return done

    def _wait_healthy(self, services: Sequence[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            status = {s.service: s for s in self.ps()}
            if all(s in status and status[s].healthy for s in services):
                return
            for service in services:
                if service in status:
                    self._check_alive(status[service])
            if time.monotonic() > deadline:
                late = [s for s in services if s not in status or not status[s].healthy]
                self._fail(late[0], f"{', '.join(late)} not healthy after {START_SECONDS} s")
            time.sleep(0.2)

    def _check_alive(self, status: ServiceStatus) -> None:
        """Raise with the end of a service's log if it is down, or keeps going down."""
        if status.state in ("exited", "dead", "restarting"):
            self._fail(status.service, f"{status.service} does not start ({status.state})")

    def _fail(self, service: str, what: str) -> None:
        raise StackError(what, "its log says why, above", cause(self.log(service)))

    def _stop_after_failure(self) -> None:
        self._compose("down", "--remove-orphans")

    def find_ports(self, services: Sequence[str]) -> None:
        """Ask Docker for the ports it published."""
        found = {}
        for service in services:
            for name, inside in INSIDE[service].items():
                done = self._compose("port", service, str(inside), check=True)
                found[name] = int(done.stdout.strip().rpartition(":")[2])
        self.addresses = self.addresses.with_ports(found)


def ensure_images(console: Console) -> str:
    """Get or build every image of the compose file; return why that failed, or an empty string.

    Images that are there are used as they are; Docker's build cache makes a second build a matter
    of a second, and picks up changed Dockerfiles and requirements.
    """
    config = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if config.returncode != 0:
        return f"docker-compose.yml is refused: {config.stderr.strip()}"
    services = json.loads(config.stdout)["services"]
    pulled = {s["image"] for s in services.values() if "build" not in s}
    bases = {
        image
        for s in services.values()
        for name, image in s.get("build", {}).get("args", {}).items()
        if name.endswith("_IMAGE")
    }
    for image in sorted(pulled | bases):
        if has_image(image):
            continue
        console.print(f"Pulling {image} ...")
        done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"image {image} is not here and cannot be pulled ({reason[:200]})"
    started = time.monotonic()
    with console.status("building the images"):
        done = subprocess.run(["docker", "compose", "build", "--quiet"], cwd=ROOT, text=True,
                              capture_output=True, check=False)  # fmt: skip
    if done.returncode != 0:
        return f"docker compose build failed:\n{done.stderr[-2000:]}"
    if time.monotonic() - started > 5:
        console.print(f"Built the images in {time.monotonic() - started:.0f} s.")
    return ""


def has_image(image: str) -> bool:
    """Tell whether the Docker engine holds an image."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return done.returncode == 0


def live() -> ComposeStack:
    """Return the project that `docker compose up` and `make up` run."""
    env = environment()
    return ComposeStack(env.get("COMPOSE_PROJECT_NAME") or LIVE, Addresses.of(env))
