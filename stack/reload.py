"""Loading kapacitor/load again into the Kapacitor that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from stack import choose
from stack.api import Kapacitor, wait_for
from stack.backend import Stack
from stack.errors import StackError

SECONDS = 30.0


def command() -> None:
    """Load kapacitor/load again: its tasks, templates and handlers, without a restart.

    Tasks whose files are gone are deleted; tasks defined by hand stay. Exits with 1 and
    Kapacitor's reason when a file is refused: those after it keep their former content.
    """
    stack = choose.running_live()
    tasks = reload(stack)
    table = Table(title=f"Loaded from {stack.load_folder} ({stack.backend})", title_justify="left")
    for column in ("task", "type", "status", "error"):
        table.add_column(column)
    for task in tasks:
        table.add_row(task["id"], task["type"], task["status"], task["error"])
    console = Console()
    console.print(table)
    names = ", ".join(sorted(f"{topic}/{name}" for topic, name in _handlers(stack)))
    console.print(f"Handlers: {names or 'none'}.")


def reload(stack: Stack) -> list[dict[str, Any]]:
    """Make a running stack's Kapacitor load its folder again; return the tasks of that folder.

    Raises
    ------
    StackError
        With Kapacitor's reason when it refuses a file.
    """
    kapacitor = Kapacitor(stack.addresses.urls()["kapacitor"])
    names = _tasks(stack.load_folder)
    handlers = _handlers(stack)
    failures, logged = _failures(kapacitor), len(stack.log("kapacitor"))
    before = {task["id"]: task["modified"] for task in kapacitor.tasks("modified")}
    stack.hang_up("kapacitor")

    def loaded() -> bool:
        if _failures(kapacitor) > failures:
            reason = _reason(stack.log("kapacitor")[logged:])
            raise StackError(
                f"Kapacitor does not load kapacitor/load: {reason}", "correct the file"
            )
        now = {task["id"]: task["modified"] for task in kapacitor.tasks("modified")}
        anew = all(name in now and now[name] != before.get(name) for name in names)
        return anew and all(
            _defined(kapacitor, topic, name) == content
            for (topic, name), content in handlers.items()
        )

    wait_for(f"{stack.load_folder} to be loaded", loaded, SECONDS)
    found = [task for task in kapacitor.tasks() if task["id"] in names]
    return sorted(found, key=lambda task: str(task["id"]))


def _failures(kapacitor: Kapacitor) -> int:
    return sum(int(entry["values"].get("errors", 0)) for entry in kapacitor.statistics("load"))


def _reason(log: str) -> str:
    said = [line for line in log.splitlines() if "lvl=error" in line and "load" in line]
    return said[-1].partition("err=")[2].strip('"').replace('\\"', '"') if said else "see its log"


def _tasks(folder: Path) -> set[str]:
    """Return the ids of the tasks that a load folder defines."""
    suffixes = {".tick", ".yaml", ".yml", ".json"}
    return {f.stem for f in (folder / "tasks").glob("*") if f.suffix in suffixes}


#: What a handler consists of, apart from its names.
CONTENT = ("kind", "match", "options")


def _handlers(stack: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the handlers that the load folder defines, by topic and id."""
    found = {}
    for file in (stack.load_folder / "handlers").glob("*"):
        if file.suffix in (".yaml", ".yml", ".json"):
            try:
                content = yaml.safe_load(stack.tickscript(file))
                found[content["topic"], content["id"]] = _content(content)
            except (yaml.YAMLError, KeyError, TypeError, AttributeError):
                # Kapacitor says what is wrong with it.
                continue
    return found


def _defined(kapacitor: Kapacitor, topic: str, name: str) -> dict[str, Any] | None:
    handlers = kapacitor.handlers(topic) if topic in kapacitor.topics() else []
    return next((_content(h) for h in handlers if h["id"] == name), None)


def _content(handler: dict[str, Any]) -> dict[str, Any]:
    return {key: handler.get(key) or None for key in CONTENT}
