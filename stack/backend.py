"""What the two ways to run the stack have in common."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.settings import ROOT, Addresses, environment

SERVICES = ("influxdb", "kapacitor", "telegraf", "simulator", "page")
#: Started with the others when COMPOSE_PROFILES names them.
OPTIONAL = ("mqtt", "grafana", "brew")
#: The services of a stack that somebody else feeds: the demo, the tests.
ENGINES_ONLY = ("influxdb", "kapacitor", "telegraf")
#: Where TICKscripts write their alert logs, as Kapacitor in a container sees it.
ALERT_LOGS = "/var/log/kapacitor"
#: Where the repository's folders are in the containers.
REPOSITORY = "/stack"


#: What the lines of a log that tell of a failure look like, in any of the engines.
_TELLING = re.compile(r"lvl=error|level=error|E! |[Ee]rror[: ]|^run: |panic")


def cause(log: str) -> str:
    """Return the lines of a log that tell why a service failed, or its last lines."""
    lines = log.splitlines()
    return "\n".join([line for line in lines if _TELLING.search(line)][-8:] or lines[-15:])


#: Arguments of `kapacitor` that are followed by a file of the user's.
FILE_FLAGS = ("-tick", "-vars", "-file")


def mended(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a `kapacitor` command as its own client takes them.

    It counts the arguments of `define` in pairs, so a lone `-no-reload` is refused as a missing
    task id; given twice it does what it says.

    Examples
    --------
    >>> mended(["define", "cpu", "-tick", "cpu.tick", "-no-reload"])[-2:]
    ['-no-reload', '-no-reload']
    """
    lone = list(arguments[:1]) == ["define"] and arguments.count("-no-reload") == 1
    return [*arguments, *(["-no-reload"] if lone else [])]


def files_of(arguments: Sequence[str]) -> list[int]:
    """Return which arguments of a `kapacitor` command are files of the user's that exist."""
    handler = list(arguments[:1]) == ["define-topic-handler"]
    return [
        at
        for at, argument in enumerate(arguments)
        if at and (arguments[at - 1] in FILE_FLAGS or handler) and Path(argument).is_file()
    ]


@dataclass(frozen=True)
class ServiceStatus:
    """One service as its supervisor sees it.

    Attributes
    ----------
    service
        Its name in docker-compose.yml.
    state
        `running`, `exited`, `restarting` and the like.
    healthy
        Whether its health check passes.
    """

    service: str
    state: str
    healthy: bool


class Stack(ABC):
    """One instance of the stack: its own state, its own ports, started and stopped as a whole.

    Parameters
    ----------
    name
        Tells instances apart; the compose project or the folder of the native state.
    addresses
        Where its services listen.
    variables
        Over `.env` and the environment, for what this instance does differently.
    """

    #: `compose` or `native`.
    backend: str

    def __init__(
        self, name: str, addresses: Addresses, variables: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.addresses = addresses
        self.variables = dict(variables or {})

    def environment(self) -> dict[str, str]:
        """Return the variables that the services of this instance are started with."""
        return environment() | self.addresses.variables() | self.variables

    def with_optional(self, services: Sequence[str]) -> list[str]:
        """Return `services` and those that COMPOSE_PROFILES adds."""
        profiles = self.environment().get("COMPOSE_PROFILES", "").split(",")
        return [*services, *(s for s in OPTIONAL if s in profiles and s not in services)]

    @property
    def load_folder(self) -> Path:
        """The folder of tasks, templates and handlers that Kapacitor loads."""
        return ROOT / (self.environment().get("LOAD_DIR") or "kapacitor/load")

    @abstractmethod
    def up(self, services: Sequence[str] = SERVICES) -> None:
        """Start `services` and return when all are healthy; raise `StackError` with logs if not."""

    @abstractmethod
    def down(self) -> None:
        """Stop everything and keep the state. Does nothing when nothing runs."""

    @abstractmethod
    def remove(self) -> None:
        """Stop everything and delete the state."""

    @abstractmethod
    def ps(self) -> list[ServiceStatus]:
        """Return the status of every service that was started."""

    @abstractmethod
    def follow_logs(self, services: Iterable[str], follow: bool) -> int:
        """Print logs to the terminal; return the exit status."""

    @abstractmethod
    def log(self, service: str) -> str:
        """Return what `service` has logged."""

    @abstractmethod
    def stop(self, service: str) -> None:
        """Stop one service."""

    @abstractmethod
    def start(self, service: str) -> None:
        """Start one stopped service and wait until it is healthy."""

    @abstractmethod
    def kill(self, service: str) -> None:
        """Kill one service without warning (SIGKILL); `start` waits until it is back."""

    @abstractmethod
    def hang_up(self, service: str) -> None:
        """Send SIGHUP to one service: kapacitord loads its load folder again."""

    @abstractmethod
    def tickscript(self, path: Path) -> str:
        """Return the text of a TICKscript with its paths as this instance's Kapacitor sees them."""

    @abstractmethod
    def alert_log(self, name: str) -> str:
        """Return the content of an alert log, empty if it was never written."""

    @abstractmethod
    def alert_logs(self) -> list[str]:
        """Return the names of the alert logs that have been written."""

    @abstractmethod
    def client(
        self, program: str, arguments: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the engines' own client, `kapacitor` or `influx`, against this instance.

        A file given after ``-tick`` is read on this side, its paths as in `tickscript`.
        """
