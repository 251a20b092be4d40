"""``python -m stack lint``: what can be said about TICKscripts before they run.

A running Kapacitor judges every script and formats it; what it cannot see are names in double
quotes that no data has, which compare with nothing and never match.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from lineprotocol import LineError, parse_line
from stack.api import Kapacitor
from stack.cases import data, script
from stack.cases.case import CASES, Case, CaseError, names, read
from stack.cases.engine import Engine, choose_warm, engine
from stack.errors import StackError
from stack.settings import ROOT

KAPACITOR = ROOT / "kapacitor"
ERROR, WARNING = "error", "warning"
#: A comment with this, on the line or the one above, says that a comparison is meant as it is.
ALLOWED = "lint: allow"
#: Lines of a case's input that are looked at for names.
SAMPLE = 5000
#: The id of what is defined to be judged.
JUDGED = "lint"


@dataclass(frozen=True)
class Finding:
    """Something to look at in a file."""

    file: str
    line: int
    column: int
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.level}: {self.message}"


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="TICKscripts. By default all in kapacitor/ and tests/tasks/."),
    ] = None,
    fix: Annotated[bool, typer.Option(help="Write the scripts as Kapacitor formats them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check TICKscripts: valid to a running Kapacitor, formatted, no name where text was meant.

    Exits with 1 when there are errors; warnings alone exit with 0.
    """
    console = Console(stderr=True, highlight=False)
    chosen = [file.resolve() for file in files or []] or scripts()
    for file in chosen:
        if not file.is_file():
            raise StackError(f"no file {file}")
    found = quotes(chosen)
    backend = choose_warm(console)
    with console.status("asking Kapacitor"), engine(backend, 1, keep=True) as warm:
        found += judge(warm, chosen, fix)
        if not files:
            found += judge_load_folder(warm.kapacitor)
    found.sort(key=lambda finding: (finding.file, finding.line, finding.column))
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(finding)
    errors = sum(finding.level == ERROR for finding in found)
    console.print(f"{len(chosen)} TICKscripts: {errors} errors, {len(found) - errors} warnings")
    sys.exit(1 if errors else 0)


def scripts() -> list[Path]:
    """Return every TICKscript of the repository."""
    return sorted([*KAPACITOR.rglob("*.tick"), *CASES.rglob("*.tick")])


# -- what Kapacitor says ------------------------------------------------------------------------


def judge(warm: Engine, files: list[Path], fix: bool = False) -> list[Finding]:
    """Return what a running Kapacitor refuses, and where scripts are not as it formats them.

    Parameters
    ----------
    warm : Engine
        An engine of its own; what is defined on it is deleted.
    files : list of Path
        TICKscripts.
    fix : bool
        Write what is formatted otherwise, instead of reporting it.
    """
    warm.reset()
    found = []
    for file in files:
        text = file.read_text()
        try:
            formatted = _formatted(warm.kapacitor, text)
        except StackError as error:
            found.append(_refusal(file, text, error))
            continue
        if formatted != text and fix:
            file.write_text(formatted)
        elif formatted != text:
            found.append(_unformatted(file, text, formatted))
    return found


def _formatted(kapacitor: Kapacitor, text: str) -> str:
    """Define a script, as a template so that its variables need no values, and as a task."""
    kind = script.kind(text)
    kapacitor.define_template(JUDGED, text, kind)
    try:
        made = kapacitor.template(JUDGED, formatted=True)
        if not any(v.get("value") is None for v in made["vars"].values()):
            # A template is not asked whether its functions exist: a task is.
            options: dict[str, Any] = {}
            if not script.dbrps(text):
                options["dbrps"] = [{"db": "lint", "rp": "autogen"}]
            kapacitor.define(JUDGED, text, kind, **options)
            kapacitor.delete_task(JUDGED)
        return str(made["script"])
    finally:
        kapacitor.delete_template(JUDGED)


def _refusal(file: Path, text: str, error: StackError) -> Finding:
    message = error.what.partition("): ")[2] or error.what
    place = re.search(r"line (\d+) char (\d+)", message)
    line, column = (int(place[1]), int(place[2])) if place else (1, 1)
    return Finding(_shown(file), min(line, text.count("\n") + 1), column, ERROR, message)


def _unformatted(file: Path, text: str, formatted: str) -> Finding:
    ours, theirs = text.splitlines(), formatted.splitlines()
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    _, start, _, first, end = next(o for o in matcher.get_opcodes() if o[0] != "equal")
    wanted = " / ".join(line.strip() for line in theirs[first:end][:3]) or "no line here"
    message = f"not as Kapacitor formats it ({wanted}): `python -m stack lint --fix` does it"
    return Finding(_shown(file), start + 1, 1, ERROR, message)


def judge_load_folder(kapacitor: Kapacitor) -> list[Finding]:
    """Return what Kapacitor refuses of the templates' tasks and the handlers in kapacitor/load."""
    found: list[Finding] = []
    load = KAPACITOR / "load"
    templates = sorted((load / "templates").glob("*.tick"))
    tasks = [
        f for f in sorted((load / "tasks").glob("*")) if f.suffix in (".yaml", ".yml", ".json")
    ]
    for file in templates:
        _try(found, file, kapacitor.define_template, file.stem, file.read_text(),
             script.kind(file.read_text()))  # fmt: skip
    for file in tasks:
        content = yaml.safe_load(file.read_text())
        options = {key: value for key, value in content.items() if key != "type"}
        _try(found, file, kapacitor.define, file.stem, **options)
    for file in sorted((load / "handlers").glob("*")):
        content = yaml.safe_load(file.read_text())
        _try(found, file, kapacitor.define_handler, content.get("topic", ""), content)
    return found


def _try(
    found: list[Finding], file: Path, act: Callable[..., Any], *values: Any, **options: Any
) -> None:
    try:
        act(*values, **options)
    except StackError as error:
        found.append(_refusal(file, file.read_text(), error))


# -- names in quotes ----------------------------------------------------------------------------


def quotes(files: list[Path]) -> list[Finding]:
    """Return comparisons with a double-quoted name that no task's data has.

    Known are the names in the data of all cases, and those that the script itself makes.
    """
    suspects = [(file, list(_comparisons(file))) for file in files]
    if not any(comparisons for _, comparisons in suspects):
        return []
    known = set(_data_names())
    found = []
    for file, comparisons in suspects:
        text = file.read_text()
        own = _made_names(text)
        for left, right in comparisons:
            unknown = [t for t in (right, left) if _plain(t) not in known | own]
            if unknown and not _allowed(text, unknown[0].start):
                line, column = _place(text, unknown[0].start)
                name = unknown[0].text
                message = (
                    f"no data has a tag or field {name}: text goes in single quotes, '{name[1:-1]}'"
                )
                found.append(Finding(_shown(file), line, column, WARNING, message))
    return found


def _comparisons(file: Path) -> Iterator[tuple[script.Token, script.Token]]:
    listed = list(script.tokens(file.read_text()))
    for left, operator, right in zip(listed, listed[1:], listed[2:], strict=False):
        names_both = left.kind == right.kind == "reference"
        if names_both and operator.text in ("==", "!="):
            yield left, right


def _plain(token: script.Token) -> str:
    # A join puts a prefix before the names of each side.
    return token.text[1:-1].rpartition(".")[2]


def _made_names(text: str) -> set[str]:
    """Return the names that a script may make: its strings, and its nodes' names (mean, last)."""
    listed = list(script.tokens(text))
    strings = {t.text.strip("'") for t in listed if t.kind == "string"}
    nodes = {token.text for before, token in pairwise(listed) if before.text == "|"}
    return strings | nodes


def _data_names() -> Iterator[str]:
    """Yield the tags and fields of every case's input."""
    simulated: set[str] = set()
    for name in names():
        try:
            case = read(CASES / name)
        except CaseError:
            continue
        commands = {given.simulator.partition(" ")[0] for given in case.inputs if given.simulator}
        if commands and commands <= simulated:
            continue
        simulated |= commands
        yield from _case_names(case)


def _case_names(case: Case) -> Iterator[str]:
    try:
        points = data.load(case)
    except StackError:
        return
    for each in points:
        for line in each.lines[:SAMPLE]:
            try:
                point = parse_line(line, each.precision)
            except LineError:
                continue
            yield from point.tags
            yield from point.fields


def _allowed(text: str, at: int) -> bool:
    lines = text.splitlines()
    number = text.count("\n", 0, at)
    return any(ALLOWED in line for line in lines[max(number - 1, 0) : number + 1])


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _shown(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
