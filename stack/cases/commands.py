"""``python -m stack cases`` and ``python -m stack accept``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stack.cases.case import CASES, names
from stack.cases.engine import choose_warm
from stack.cases.walk import ACCEPTED, DIFFERS, FAILED, PASSED, Result, junit, walk
from stack.errors import StackError

console = Console(stderr=True, highlight=False)
WORKERS = min(2, os.cpu_count() or 1)
#: The style of a result's name.
STYLES = {PASSED: "green", ACCEPTED: "green", DIFFERS: "red", FAILED: "red"}

Names = Annotated[
    list[str] | None, typer.Argument(help="Names of cases, or the beginning of names. All if none.")
]
Folder = Annotated[Path, typer.Option(help="Where the cases are.")]
Engines = Annotated[
    int, typer.Option("--engines", "-j", min=1, max=16, help="Engines that share the cases.")
]


def cases(
    case: Names = None,
    folder: Folder = CASES,
    engines: Engines = WORKERS,
    keep: Annotated[
        bool, typer.Option(help="Keep the engines warm for the next time; `make down` stops them.")
    ] = True,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write the results as JUnit XML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the cases.")] = False,
) -> None:
    """Test TICKscripts: record and replay the input of cases, compare what comes out.

    Exits with 1 when a case fails. tests/tasks/README.md tells how to write one.
    """
    wanted = _wanted(case or [], folder)
    if list_only:
        print(json.dumps(wanted) if as_json else "\n".join(wanted))
        return
    begin = time.monotonic()
    results = _walk(wanted, folder, engines, keep, accept=False)
    if junit_file:
        junit(results, junit_file)
    if as_json:
        print(json.dumps([asdict(r) for r in results], indent=2, ensure_ascii=False))
    bad = [r for r in results if not r.good]
    console.print(
        f"{len(results) - len(bad)} passed, {len(bad)} failed"
        f" in {time.monotonic() - begin:.1f} s"
        + (f": {', '.join(r.case for r in bad)}" if bad else "")
    )
    if bad:
        raise typer.Exit(1)


def accept(
    case: Annotated[list[str], typer.Argument(help="Names of cases.")],
    folder: Folder = CASES,
    keep: Annotated[bool, typer.Option(help="Keep the engine warm for the next time.")] = True,
) -> None:
    """Write what comes out of cases as what is expected of them, for review.

    The parts and fields that a case already asks about stay the ones it asks about.
    """
    wanted = _wanted(case, folder)
    results = _walk(wanted, folder, 1, keep, accept=True)
    if not all(r.good for r in results):
        raise typer.Exit(1)


def _wanted(asked: list[str], folder: Path) -> list[str]:
    if not folder.is_dir():
        raise StackError(f"no folder {folder}", "name one that holds a folder for each case")
    known = names(folder)
    if not known:
        raise StackError(f"no cases in {folder}", "a case is a folder with a TICKscript in it")
    found: list[str] = []
    for name in asked:
        name = name.rstrip("/").rpartition("/")[2]
        hits = [name] if name in known else [k for k in known if k.startswith(name)]
        if not hits:
            raise StackError(f"no case {name!r} in {folder}", f"choose from: {', '.join(known)}")
        found += hits
    return list(dict.fromkeys(found)) or known


def _walk(wanted: list[str], folder: Path, engines: int, keep: bool, accept: bool) -> list[Result]:
    backend = choose_warm(console)
    with console.status(f"running {len(wanted)} cases"):
        return walk(wanted, backend, engines, keep, _show, accept, folder.resolve())


def _show(result: Result) -> None:
    style = STYLES[result.status]
    console.print(f"[{style}]{result.status:8}[/{style}] {result.case} ({result.seconds:.2f} s)")
    for line in result.lines:
        console.print(f"  {escape(line)}", soft_wrap=True)
