"""Everything about a package that can be found out before anything is touched."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from stack.api import Kapacitor, wait_for
from stack.backend import Stack
from stack.cases.engine import VARIABLES, Engine
from stack.cases.walk import run_one
from stack.errors import StackError
from stack.isolated import isolated
from stack.packages.contents import REQUIREMENTS, Call, Package, read
from stack.packages.host import Host
from stack.packages.problem import Problem, Refused
from stack.packages.source import MANIFEST, opened
from stack.settings import ROOT

#: The SDK's checks that a package has to pass; those under load take minutes with a large model.
PROTOCOL = ("info", "options", "results", "snapshot and restore")
#: The longest that a started task is watched for a UDF that does not take its options after all.
MAX_WATCH = 10.0


@contextmanager
def checked(path: Path, stack: Stack, console: Console) -> Iterator[Package]:
    """Give a package in which nothing wrong was found; its candidate is on the stack's host.

    Raises
    ------
    Refused
        With all that is wrong.
    """
    host = Host(stack)
    with opened(path) as folder:
        package = read(folder)
        try:
            _check(package, host, console)
            if package.problems:
                raise Refused(sorted(set(package.problems)))
            yield package
        finally:
            if package.name:
                host.call("forget", package.name)


def _check(package: Package, host: Host, console: Console) -> None:
    others = [p for p in host.call("list")["packages"] if p["name"] != package.name]
    own = declared_by_stack()
    _names(package, others, own)
    known = dict.fromkeys(own) | {f: None for p in others for f in p["functions"]}
    runs = bool(package.name) and not any(
        problem.file == MANIFEST or problem.file.startswith((REQUIREMENTS, "udf/"))
        for problem in package.problems
    )
    answers: dict[str, Any] = {}
    if runs:
        host.put(package)
        with console.status("making the package's environment"):
            made = host.call("environment", package.name)
        if "error" in made:
            package.report(
                REQUIREMENTS, made["error"], "correct the versions there; pip says what is wrong"
            )
            runs = False
    if runs:
        with console.status("checking the UDFs against Kapacitor's protocol"):
            answer = host.call("protocol", package.name, json.dumps(_given(package)))
        answers = answer["functions"]
        slowest = max(found["seconds"] for found in answers.values())
        package.seconds = min(1 + 1.5 * slowest, MAX_WATCH)
        for name, found in answers.items():
            program = package.functions[name]["program"]
            for problem in found["problems"]:
                package.report(program, f"@{name}: {_short(problem)}", _remedy(problem))
    _calls(package, {n: a["options"] for n, a in answers.items()}, known)
    if runs and not any(answer["problems"] for answer in answers.values()):
        with console.status("trying the tasks in a Kapacitor of their own"):
            _trial(package, host)


def declared_by_stack() -> dict[str, Any]:
    """Return the functions that kapacitor.conf declares."""
    content = tomllib.loads((ROOT / "kapacitor" / "kapacitor.conf").read_text())
    functions: dict[str, Any] = content.get("udf", {}).get("functions", {})
    return functions


def _names(package: Package, others: list[dict[str, Any]], own: dict[str, Any]) -> None:
    """Check that what the package calls its own is nobody else's."""
    for name in package.functions:
        owners = [f"the package {p['name']}" for p in others if name in p["functions"]]
        owners += ["kapacitor/kapacitor.conf"] if name in own else []
        for owner in owners:
            package.report(
                MANIFEST, f"functions.{name}: {owner} declares it already", "choose another name"
            )
    loaded = {file.stem for file in (ROOT / "kapacitor" / "load" / "tasks").glob("*.tick")}
    for task in package.tasks:
        owners = [f"the package {p['name']}" for p in others if task in p["tasks"]]
        owners += ["kapacitor/load"] if task in loaded else []
        for owner in owners:
            package.report(
                f"tasks/{task}.tick", f"{owner} has a task {task!r} already", "rename the file"
            )


def _given(package: Package) -> dict[str, dict[str, Any]]:
    """Return what the store needs to check each function, with options as the tasks give them."""
    given = {}
    for name, function in package.functions.items():
        calls = [c for found in package.calls.values() for c in found if c.function == name]
        options = [
            f"{option}={','.join(values)}"
            for option, values in (calls[0].options if calls else ())
            if all(map(_literal, values))
        ]
        fields = [v for c in calls[:1] for o, values in c.options for v in values if o == "field"]
        given[name] = {
            "program": function["program"],
            "arguments": function.get("arguments", []),
            "environment": function.get("environment", {}),
            "options": options,
            "fields": fields,
            # Without a task that calls it, nothing says what its options would be.
            "checks": PROTOCOL if calls or len(package.functions) == 1 else PROTOCOL[:1],
        }
    return given


def _literal(text: str) -> bool:
    """Tell whether an argument is a value, and not the name of a variable or an expression."""
    return bool(re.fullmatch(r"-?\d.*|TRUE|FALSE|[^\s()+*/\"]*", text))


def _calls(package: Package, declared: dict[str, dict[str, int]], known: dict[str, None]) -> None:
    """Check what the tasks call against what the functions declare."""
    for task, calls in package.calls.items():
        for call in calls:
            where = f"tasks/{task}.tick:{call.line}"
            if call.function not in package.functions and call.function not in known:
                names = ", ".join([*package.functions, *known]) or "none"
                package.report(
                    where,
                    f"@{call.function} is no function of this package or stack",
                    f"declare it in {MANIFEST}, or call one of: {names}",
                )
            elif call.function in declared:
                _options(package, where, call, declared[call.function])


def _options(package: Package, where: str, call: Call, declared: dict[str, int]) -> None:
    for option, values in call.options:
        if option not in declared:
            package.report(
                where,
                f"@{call.function} has no option {option!r}",
                f"it has: {', '.join(sorted(declared)) or 'none'}",
            )
        elif len(values) != declared[option]:
            package.report(
                where,
                f"@{call.function}: .{option}() is given {len(values)} values, and declares "
                f"{declared[option]}",
                "give as many as it declares; an option may be called several times",
            )


def _short(text: str) -> str:
    """Return the end of a program's words: the last lines tell what a traceback came to."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines if len(lines) <= 3 else [lines[0], "...", lines[-1]])


def _remedy(problem: str) -> str:
    if "ModuleNotFoundError" in problem or "No module named" in problem:
        return f"add what it imports to {REQUIREMENTS}, with its version"
    return "correct the program; `python -m kapacitor.udf.check` shows the same by itself"


def _trial(package: Package, host: Host) -> None:
    """Define and start the package's tasks in an isolated stack, then run its cases there."""
    wrong = {problem.file.partition(":")[0] for problem in package.problems}
    with isolated(host.stack.backend, "package-check") as stack:
        # What the live one was given, such as a name for images, and no data but that of the cases.
        stack.variables |= {**host.stack.variables, **VARIABLES, "COMPOSE_PROFILES": ""}
        there = Host(stack)
        there.put(package)
        there.adopt(package.name, host)
        answer = there.call("install", package.name)
        if "error" in answer:
            raise StackError(f"the package cannot be tried: {answer['error']}")
        stack.up(("influxdb", "kapacitor"))
        kapacitor = Kapacitor(stack.addresses.urls()["kapacitor"])
        for task in package.tasks:
            file = f"tasks/{task}.tick"
            if file in wrong:
                continue
            try:
                start(kapacitor, task, stack.tickscript(package.folder / file), package.seconds)
            except StackError as error:
                package.report(file, f"Kapacitor refuses it: {_reason(error)}", "correct it there")
                continue
            kapacitor.delete_task(task)
        if package.problems:
            return
        engine = Engine(stack)
        for folder in package.cases:
            result = run_one(folder, engine)
            if not result.good:
                package.report(
                    folder.relative_to(package.folder),
                    f"the case {result.status}: {' | '.join(result.lines[:6])}",
                    "correct the task or what the case expects",
                )


def _reason(error: StackError) -> str:
    """Return Kapacitor's own words."""
    text = error.what.rpartition("): ")[2]
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text


def start(kapacitor: Kapacitor, task: str, script: str, seconds: float = 0.0) -> None:
    """Define a task, start it, and return when it executes and its UDFs have had time to begin.

    Parameters
    ----------
    seconds
        What its UDFs need to begin: Kapacitor says `executing` before they have their options.

    Raises
    ------
    StackError
        With Kapacitor's reason if it does not.
    """
    kapacitor.define(task, script, kind_of(script), enabled=False)
    kapacitor.enable(task)

    def executes() -> bool:
        found = kapacitor.task(task)
        if found["error"]:
            raise StackError(f"the task {task} does not run: {found['error']}")
        return bool(found["executing"])

    wait_for(f"task {task} to execute", executes, 30)
    ready = time.monotonic() + seconds
    while time.monotonic() < ready:
        executes()
        time.sleep(0.1)


def kind_of(script: str) -> str:
    """Return `stream` or `batch`, whichever a TICKscript begins with."""
    return "batch" if re.search(r"^\s*(var\s+\w+\s*=\s*)?batch\b", script, re.M) else "stream"


def problems_table(problems: list[Problem]) -> str:
    """Return problems as text, one after the other."""
    return "\n".join(map(str, problems))
