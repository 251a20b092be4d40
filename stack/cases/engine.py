"""The engines that cases run on: started once, kept warm, one case at a time on each."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import ALERT_LOGS, REPOSITORY, Stack
from stack.cases.case import Case, CaseError
from stack.choose import BACKENDS, choose_backend
from stack.compose import ANY_PORTS, ComposeStack, docker_engine_missing
from stack.isolated import keep_logs, project_name
from stack.native import NativeStack
from stack.settings import ROOT, STATE, Addresses

SERVICES = ("influxdb", "kapacitor")
#: A case alone decides which tasks run and what reaches them, and its alerts go nowhere: every
#: address but InfluxDB's is behind a proxy that is not there.
VARIABLES = {
    "KAPACITOR_LOAD_ENABLED": "false",
    "KAPACITOR_INFLUXDB_0_DISABLE_SUBSCRIPTIONS": "true",
    "ALERT_PROXY": "http://127.0.0.1:9",
    # Cases may bring the engines' own statistics as data.
    "INFLUXDB_MONITOR_STORE_ENABLED": "false",
    "KAPACITOR_STATS_ENABLED": "false",
}
#: An engine that was started with other contents of these files is started anew.
CONFIGURATION = (
    "kapacitor/kapacitor.conf",
    "kapacitor/start",
    "influxdb/influxdb.conf",
    "docker-compose.yml",
    "native/process-compose.yaml",
)


#: What is left running, so that the objects that started it live as long as this process.
_kept: list[Stack] = []


class Engine:
    """One InfluxDB and one Kapacitor that nobody else uses.

    Parameters
    ----------
    stack
        What runs them.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._connect()

    def _connect(self) -> None:
        urls = self.stack.addresses.urls()
        self.influxdb = InfluxDB(urls["influxdb"])
        self.kapacitor = Kapacitor(urls["kapacitor"])

    def start(self) -> bool:
        """Start the engines unless they run with the present configuration; tell if they did."""
        mark = self._mark
        wanted = _fingerprint()
        if mark.exists() and mark.read_text() == wanted and self._runs():
            self._connect()
            return True
        mark.unlink(missing_ok=True)
        self.stack.remove()
        self.stack.up(SERVICES)
        mark.write_text(wanted)
        self._connect()
        return False

    @property
    def _mark(self) -> Path:
        """Holds what the engine was started with."""
        return STATE / f"{self.stack.name}-{self.stack.backend}.configuration"

    @property
    def warm(self) -> bool:
        """Whether it runs."""
        return self._mark.exists() and self._runs()

    def _runs(self) -> bool:
        healthy = {s.service for s in self.stack.ps() if s.healthy}
        if not healthy.issuperset(SERVICES):
            return False
        if isinstance(self.stack, ComposeStack):
            self.stack.find_ports(SERVICES)
        elif isinstance(self.stack, NativeStack):
            file = self.stack.state / "addresses.json"
            self.stack.addresses = Addresses(**json.loads(file.read_text()))
        return True

    def revive(self) -> None:
        """Wait until Kapacitor answers: a case may have ended it, and its supervisor restarts it.

        Raises
        ------
        StackError
            When it does not come back.
        """
        if self.kapacitor.answers():
            return
        self.stack.start("kapacitor")
        self._connect()
        # Its supervisor may not have noticed yet that it has ended.
        wait_for("Kapacitor to come back", self.kapacitor.answers)

    def end(self) -> str:
        """Return why Kapacitor has ended, in its own words, if its log says so."""
        panics = [n for n in self.stack.log("kapacitor").splitlines() if n.startswith("panic:")]
        return panics[-1] if panics else ""

    def log_path(self, name: str) -> str:
        """Return where Kapacitor writes the alert log of this name."""
        if isinstance(self.stack, NativeStack):
            return str(self.stack.alerts / name)
        return f"{ALERT_LOGS}/{name}"

    def located(self, script: str, case: Case) -> str:
        """Return a script with the repository's files where this Kapacitor can read them.

        A script names them below /stack, as a container sees them; that of a case may name
        files of its folder.
        """
        if isinstance(self.stack, NativeStack):
            script = script.replace(f"{ALERT_LOGS}/", f"{self.stack.alerts}/")
            return script.replace(f"{REPOSITORY}/", f"{ROOT}/")
        own = f"{REPOSITORY}/{case.folder.relative_to(ROOT)}" if _in_repository(case) else ""
        if own and own in script:
            there = f"{ALERT_LOGS}/{case.name}"
            done = subprocess.run(
                ["docker", "compose", "--project-name", self.stack.name, "cp",
                 str(case.folder), f"kapacitor:{there}"],
                cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise CaseError(f"cannot copy {case.folder}: {done.stderr.strip()}")
            script = script.replace(own, there)
        return script

    def write_recording(self, name: str, content: bytes) -> None:
        """Write a file into Kapacitor's folder of recordings."""
        if isinstance(self.stack, NativeStack):
            (self.stack.state / "kapacitor" / "replay" / name).write_bytes(content)
            return
        path = f"/var/lib/kapacitor/replay/{name}"
        command = ["docker", "compose", "--project-name", self.stack.name, "exec", "-T"]
        done = subprocess.run(
            [*command, "kapacitor", "sh", "-c", 'cat > "$0"', path],
            cwd=ROOT, input=content, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CaseError(f"cannot write {path}: {done.stderr.decode(errors='replace').strip()}")

    def reset(self) -> None:
        """Delete what an earlier case defined and wrote."""
        for task in self.kapacitor.tasks():
            self.kapacitor.delete_task(task["id"])
        for template in self.kapacitor.templates():
            self.kapacitor.delete_template(template)
        for topic in self.kapacitor.topics():
            for handler in self.kapacitor.handlers(topic):
                self.kapacitor.delete_handler(topic, handler["id"])
            self.kapacitor.delete_topic(topic)
        for row in self.influxdb.query("SHOW DATABASES"):
            self.influxdb.query(f'DROP DATABASE "{row["name"]}"')


def _in_repository(case: Case) -> bool:
    return case.folder.is_relative_to(ROOT)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in CONFIGURATION:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _stack(backend: str, number: int) -> Stack:
    if backend == "native":
        return NativeStack(f"cases-{number}", Addresses.free(), VARIABLES)
    return ComposeStack(project_name(f"cases-{number}"), ANY_PORTS, VARIABLES)


def choose_warm(console: Console) -> str:
    """Return the backend whose engine is warm, or else the one that `choose_backend` chooses.

    That asks for images and engines first, which takes longer than a case.

    Raises
    ------
    StackError
        When no backend can be used.
    """
    asked = os.environ.get("STACK", "")
    for backend in BACKENDS:
        if asked in ("", backend) and Engine(_stack(backend, 1)).warm:
            console.print(f"Backend: {backend} (its engines are warm).")
            return backend
    return choose_backend(console)


@contextmanager
def engine(backend: str, number: int, keep: bool) -> Iterator[Engine]:
    """Give a started engine, alone; stop it at the end unless it is to be kept warm.

    Parameters
    ----------
    backend : str
        `compose` or `native`.
    number : int
        Which one, from 1 on; while another command uses it, this waits.
    keep : bool
        Leave it running for the next command.

    Raises
    ------
    StackError
        When it does not start.
    """
    STATE.mkdir(exist_ok=True)
    with _lock_file(backend, number).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Engine(_stack(backend, number))
        try:
            made.start()
            yield made
        except BaseException:
            keep_logs(made.stack)
            raise
        finally:
            if keep:
                _kept.append(made.stack)
            else:
                made.stack.remove()


def stop_all() -> None:
    """Stop every engine that is only kept warm, on both backends, and delete its data."""
    for backend in BACKENDS:
        if backend == "compose" and docker_engine_missing():
            continue
        for file in sorted(STATE.glob(f"cases-*-{backend}.lock")):
            number = int(file.name.split("-")[1])
            with file.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Cases are running on it: it is not only kept warm.
                    continue
                _stack(backend, number).remove()
                file.unlink()


def _lock_file(backend: str, number: int) -> Path:
    return STATE / f"cases-{number}-{backend}.lock"
