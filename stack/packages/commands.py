"""``python -m stack package ...``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stack import choose
from stack.backend import Stack
from stack.errors import StackError
from stack.packages.check import checked
from stack.packages.deploy import Deployment
from stack.packages.problem import Refused

app = typer.Typer(
    help="Check, deploy, list and remove packages of UDFs, models and tasks.",
    no_args_is_help=True,
)
console = Console(stderr=True, highlight=False)

PackagePath = Annotated[Path, typer.Argument(help="A folder with a package.toml, or an archive.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Say what is wrong with a package, all of it, and exit with 1."""
    try:
        yield
    except Refused as refused:
        if as_json:
            print(json.dumps({"problems": [asdict(p) for p in refused.problems]}, indent=2))
        else:
            for problem in refused.problems:
                print(problem, file=sys.stderr)
            count = len(refused.problems)
            console.print(f"Refused: {count} problem{'s' if count > 1 else ''}; nothing changed.")
        raise typer.Exit(1) from None


def _stack() -> Stack:
    """Return the stack that runs, or the one that would."""
    try:
        return choose.running_live()
    except StackError:
        return choose.live(choose.choose_backend(console))


@app.command()
def check(path: PackagePath, as_json: Json = False) -> None:
    """Say everything that is wrong with a package; nothing of the stack is touched.

    Exits with 1 when there is something.
    """
    with _told(as_json), checked(path, _stack(), console) as package:
        if as_json:
            print(json.dumps({"problems": []}))
        else:
            print(f"{package.name} {package.manifest['version']}: nothing wrong.")


@app.command()
def deploy(path: PackagePath, as_json: Json = False) -> None:
    """Check a package and install it into the running stack.

    Exits with 1 when it is refused or does not run; then everything is as it was.
    """
    deployment = Deployment(choose.running_live(), console)
    with _told(as_json):
        installed = deployment.deploy(path)
        if as_json:
            print(json.dumps(asdict(installed), indent=2))
        else:
            tasks = ", ".join(f"{name} {state}" for name, state in installed.tasks.items())
            print(f"{installed.name} {installed.version} is installed: {tasks}.")


@app.command("list")
def list_packages(as_json: Json = False) -> None:
    """List the installed packages and what their tasks do."""
    found = Deployment(choose.running_live(), console).list()
    if as_json:
        print(json.dumps([asdict(package) for package in found], indent=2))
        return
    table = Table(title="Installed packages", title_justify="left")
    for column in ("package", "version", "functions", "tasks", "for"):
        table.add_column(column)
    for package in found:
        tasks = "\n".join(f"{name}: {state}" for name, state in package.tasks.items())
        functions = "\n".join(f"@{name}" for name in package.functions)
        table.add_row(package.name, package.version, functions, tasks, package.description)
    Console().print(table)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `make packages` lists it.")],
) -> None:
    """Stop a package's tasks and take it out of the running stack."""
    Deployment(choose.running_live(), console).remove(name)
    print(f"{name} is removed.")
