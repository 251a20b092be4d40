"""Installing, removing and listing packages in a stack that runs."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from stack.api import Kapacitor
from stack.backend import Stack
from stack.errors import StackError
from stack.packages.check import checked, kind_of, start
from stack.packages.host import Host
from stack.packages.problem import Problem, Refused
from stack.settings import STATE


@dataclass(frozen=True)
class Installed:
    """A package in a stack.

    Attributes
    ----------
    name, version, description
        From its manifest.
    functions
        The UDFs it declares.
    tasks
        Its tasks, each with `executing`, `disabled`, `missing`, or Kapacitor's error.
    """

    name: str
    version: str
    description: str
    functions: list[str]
    tasks: dict[str, str] = field(default_factory=dict)


class Deployment:
    """What may change packages in one stack, alone.

    Parameters
    ----------
    stack
        It runs.
    console
        Where progress is shown.
    """

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.host = Host(stack)

    @property
    def kapacitor(self) -> Kapacitor:
        """Its Kapacitor, at the port it has now: Docker picks another at a restart."""
        return Kapacitor(self.stack.addresses.urls()["kapacitor"])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other deployments away, and undo one that was killed before it came to an end.

        Raises
        ------
        StackError
            When another one is under way.
        """
        STATE.mkdir(exist_ok=True)
        file = STATE / f"packages-{self.stack.name}-{self.stack.backend}.lock"
        with file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    "another deployment is under way here", "wait for its end"
                ) from None
            for name in self.host.call("list")["unfinished"]:
                self.console.print(f"Undoing an unfinished deployment of {name}.")
                self._undo(name, self._package(name), {})
            yield

    def deploy(self, path: Path) -> Installed:
        """Check a package and install it, or leave everything as it was.

        Raises
        ------
        Refused
            With all that is wrong with it.
        StackError
            When it does not run; what was there before does again.
        """
        with self.alone(), checked(path, self.stack, self.console) as package:
            scripts = {
                task: self.stack.tickscript(package.folder / f"tasks/{task}.tick")
                for task in package.tasks
            }
            before = self._package(package.name)
            earlier = before["tasks"] if before else {}
            known = {t["id"]: t for t in self.kapacitor.tasks("script", "status")}
            taken = sorted(set(scripts) & set(known) - set(earlier))
            if taken:
                raise Refused(
                    [
                        Problem(
                            f"tasks/{task}.tick", f"a task {task!r} runs already", "rename the file"
                        )
                        for task in taken
                    ]
                )
            kept = {task: known[task] for task in earlier if task in known}
            try:
                answer = self.host.call("install", package.name)
                if "error" in answer:
                    raise StackError(answer["error"])
                if answer["restart"]:
                    self._restart()
                with self.console.status("starting the tasks"):
                    for task, script in scripts.items():
                        start(self.kapacitor, task, script, package.seconds)
                for task in set(kept) - set(scripts):
                    self.kapacitor.delete_task(task)
            except BaseException as error:
                self.console.print("It does not run: putting back what was there before.")
                self._undo(package.name, {"tasks": scripts}, kept)
                if isinstance(error, StackError):
                    raise StackError(
                        f"{package.name} is not installed: {error.what}",
                        error.fix or "everything is as it was",
                        error.details,
                    ) from None
                raise
            self.host.call("settle", package.name)
        return next(p for p in self.list() if p.name == package.name)

    def remove(self, name: str) -> None:
        """Stop a package's tasks and take it out of the stack.

        Raises
        ------
        StackError
            When there is none of this name.
        """
        with self.alone():
            package = self._package(name)
            if package is None:
                names = ", ".join(p["name"] for p in self.host.call("list")["packages"])
                raise StackError(
                    f"no package {name!r} is installed", f"installed are: {names or 'none'}"
                )
            users = [
                task["id"]
                for task in self.kapacitor.tasks("script")
                if task["id"] not in package["tasks"]
                and any(f"@{function}(" in task["script"] for function in package["functions"])
            ]
            if users:
                raise StackError(
                    f"{name} is used by the task {', '.join(users)}",
                    "delete the task, or have it use another function",
                )
            for task in package["tasks"]:
                self.kapacitor.delete_task(task)
            self.host.call("remove", name)
            self._restart()
            self.host.call("settle", name)

    def list(self) -> list[Installed]:
        """Return the installed packages and what their tasks do."""
        tasks = {task["id"]: task for task in self.kapacitor.tasks()}
        return [
            Installed(
                package["name"], package["version"], package["description"],
                sorted(package["functions"]),
                {task: _state(tasks.get(task)) for task in package["tasks"]},
            )
            for package in self.host.call("list")["packages"]
        ]  # fmt: skip

    def _package(self, name: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self.host.call("list")["packages"]
        return next((package for package in found if package["name"] == name), None)

    def _restart(self) -> None:
        """Start Kapacitor anew: it reads which functions there are only then."""
        with self.console.status("restarting Kapacitor"):
            self.stack.stop("kapacitor")
            self.stack.start("kapacitor")

    def _undo(
        self, name: str, package: dict[str, Any] | None, tasks: dict[str, dict[str, Any]]
    ) -> None:
        """Put back the files and tasks that were there before a deployment.

        Parameters
        ----------
        name
            Of the package.
        package
            What is being taken away.
        tasks
            As they were, by name; empty to take the former package's own.
        """
        answer = self.host.call("restore", name)
        former = self._package(name)
        healthy = any(s.service == "kapacitor" and s.healthy for s in self.stack.ps())
        if answer["restart"] or not healthy:
            self._restart()
        if not tasks and former:
            tasks = {
                task: {"script": self._here(script), "status": "enabled"}
                for task, script in former["tasks"].items()
            }
        for task in (package or {"tasks": {}})["tasks"]:
            if task not in tasks:
                self.kapacitor.delete_task(task)
        for task, was in tasks.items():
            enabled = was["status"] == "enabled"
            self.kapacitor.define(task, was["script"], kind_of(was["script"]))
            if enabled:
                # Enabled before or not: it has to run the former program.
                self.kapacitor.disable(task)
                self.kapacitor.enable(task)
        self.host.call("settle", name)

    def _here(self, script: str) -> str:
        """Return a TICKscript with its paths as this stack's Kapacitor sees them."""
        with tempfile.NamedTemporaryFile("w", suffix=".tick") as file:
            file.write(script)
            file.flush()
            return self.stack.tickscript(Path(file.name))


def _state(task: dict[str, Any] | None) -> str:
    if task is None:
        return "missing"
    if task["error"]:
        return str(task["error"])
    return "executing" if task["executing"] else str(task["status"])
