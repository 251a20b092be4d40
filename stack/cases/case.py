"""Reading a case: the folder that says what goes into a TICKscript and what must come out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from stack.cases import script as tickscript
from stack.cases.script import Source
from stack.errors import StackError
from stack.settings import ROOT

CASES = ROOT / "tests" / "tasks"
LOAD = ROOT / "kapacitor" / "load"
SETTINGS = "case.toml"
EXPECTED = "expected.json"
#: What an expectation can hold.
PARTS = ("alerts", "points", "http", "handlers")
EXAMPLE = "2016-01-01T00:00:00Z"
PRECISIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class CaseError(StackError):
    """A case that cannot be run as it is written, or that did not run to its end."""


@dataclass(frozen=True)
class Task:
    """One task of a case.

    Attributes
    ----------
    name
        Its id in Kapacitor.
    file
        Where the script is.
    script
        The text of the TICKscript, or of the template that the task is made from.
    template
        Id of that template, or empty.
    vars
        Values of variables as Kapacitor takes them, each with `type` and `value`; the type is
        left out where the script's own declaration gives it.
    dbrps
        The databases and retention policies whose points reach it; none are said if it is all
        the same to the script and the case.
    """

    name: str
    file: Path
    script: str
    template: str
    vars: Mapping[str, Any]
    dbrps: tuple[Source, ...]

    @property
    def kind(self) -> str:
        """Either `stream` or `batch`."""
        return tickscript.kind(self.script)

    @property
    def sources(self) -> list[Source]:
        """The databases that the nodes of the script name."""
        values = {
            name: value["value"] if isinstance(value, dict) else value
            for name, value in self.vars.items()
        }
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        return tickscript.sources(self.script, texts)


@dataclass(frozen=True)
class Input:
    """Data of a case: a file, or a command of the simulator, and where its points belong."""

    source: Source | None
    file: Path | None = None
    simulator: str = ""

    def __str__(self) -> str:
        return f"simulator {self.simulator!r}" if self.simulator else str(self.file)


@dataclass(frozen=True)
class Case:
    """What a folder of tests/tasks says; `tests/tasks/README.md` explains every setting.

    Attributes
    ----------
    expected
        What must come out, by part, or None when nobody has said so yet.
    """

    name: str
    folder: Path
    description: str
    tasks: tuple[Task, ...]
    inputs: tuple[Input, ...]
    precision: str
    begin: str
    start: str
    stop: str
    http: tuple[str, ...]
    handlers: tuple[Mapping[str, Any], ...]
    fields: tuple[str, ...] | None
    expect: tuple[str, ...]
    live: float
    clock: str
    tolerance: float
    timeout: float
    databases: tuple[str, ...]
    expected: Mapping[str, Any] | None = field(default=None)

    @property
    def kind(self) -> str:
        """Either `stream` or `batch`: one case holds tasks of one kind."""
        return self.tasks[0].kind

    @property
    def recorded(self) -> bool:
        """Whether the input is a batch recording, so that no query has to be run."""
        return all(d.file is not None and d.file.suffix == ".brpl" for d in self.inputs)


class _Settings:
    """The content of a case.toml, taken out key by key, so that what is left is a mistake."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.left: dict[str, Any] = {}
        if file.exists():
            try:
                self.left = tomllib.loads(file.read_text())
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise CaseError(f"{_shown(file)}: {error}") from None

    def take(self, key: str, kinds: type | tuple[type, ...], default: Any) -> Any:
        value = self.left.pop(key, default)
        accepted = kinds if isinstance(kinds, tuple) else (kinds,)
        if value is not default and (isinstance(value, bool) or not isinstance(value, accepted)):
            names = " or ".join(k.__name__ for k in accepted)
            raise CaseError(f"{_shown(self.file)}: {key} is {value!r}, it has to be {names}")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.take(key, (str, list), [])
        listed = [value] if isinstance(value, str) else value
        if not all(isinstance(v, str) for v in listed):
            raise CaseError(f"{_shown(self.file)}: {key} has to be text, or a list of texts")
        return listed

    def check_empty(self, known: str) -> None:
        if self.left:
            unknown = ", ".join(sorted(self.left))
            raise CaseError(f"{_shown(self.file)}: no such setting: {unknown}", f"known: {known}")


def names(folder: Path = CASES) -> list[str]:
    """Return the names of all cases: the folders that hold a script or settings."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and (any(path.glob("*.tick")) or (path / SETTINGS).exists())
    )


def read(folder: Path) -> Case:
    """Read a case.

    Raises
    ------
    CaseError
        Naming the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise CaseError(
            f"no case {folder.name!r}: {_shown(folder)} is no folder",
            f"choose from: {', '.join(names(folder.parent)) if folder.parent.is_dir() else ''}",
        )
    settings = _Settings(folder / SETTINGS)
    tasks = _tasks(folder, settings)
    case = Case(
        name=folder.name,
        folder=folder,
        description=settings.take("description", str, ""),
        tasks=tasks,
        inputs=_inputs(folder, settings),
        precision=settings.take("precision", str, "ns"),
        begin=str(settings.take("begin", (str, datetime), "")),
        start=str(settings.take("start", (str, datetime), "")),
        stop=str(settings.take("stop", (str, datetime), "")),
        http=tuple(settings.texts("http")),
        handlers=tuple(_handlers(folder, settings)),
        fields=tuple(settings.texts("fields")) if "fields" in settings.left else None,
        expect=tuple(settings.texts("expect")),
        live=float(settings.take("live", (int, float), 0)),
        clock=settings.take("clock", str, "fast"),
        tolerance=float(settings.take("tolerance", (int, float), 1e-9)),
        timeout=float(settings.take("timeout", (int, float), 60)),
        databases=tuple(settings.texts("databases")),
        expected=_expected(folder / EXPECTED),
    )
    settings.check_empty(
        "task, template, name, vars, dbrp, " + ", ".join(k for k in _KNOWN if k != "expected")
    )
    _check(case)
    return case


_KNOWN = (
    "description", "input", "simulator", "precision", "start", "stop", "http", "handlers",
    "fields", "live", "clock", "tolerance", "timeout", "databases",
)  # fmt: skip


def _check(case: Case) -> None:
    where = _shown(case.folder / SETTINGS)
    if case.precision not in PRECISIONS:
        raise CaseError(f"{where}: precision {case.precision!r} is none of {', '.join(PRECISIONS)}")
    for setting in ("begin", "start", "stop"):
        text = getattr(case, setting)
        if text and nanoseconds(text) is None:
            raise CaseError(f"{where}: {setting} {text!r} is not a time such as {EXAMPLE}")
    if unknown := set(case.expect) - set(PARTS):
        raise CaseError(f"{where}: expect {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    if case.clock not in ("fast", "real"):
        raise CaseError(f"{where}: clock {case.clock!r} is neither fast nor real")
    if len({t.kind for t in case.tasks}) > 1:
        raise CaseError(f"{where}: stream and batch tasks cannot share one recording: two cases")
    if case.http and case.kind == "batch":
        raise CaseError(
            f"{where}: http needs a stream task: a batch task shows its result only on schedule",
            "test its influxDBOut or alert",
        )
    if case.recorded and case.inputs and case.kind == "stream":
        raise CaseError(f"case {case.name}: a batch recording is no input for a stream task")
    if not case.inputs:
        raise CaseError(f"case {case.name} has no input", 'add input.lp, or simulator = "..."')


def _tasks(folder: Path, settings: _Settings) -> tuple[Task, ...]:
    files = [_find(folder, text) for text in settings.texts("task")]
    template = settings.take("template", str, "")
    name = settings.take("name", str, "")
    values = settings.take("vars", dict, {})
    declared = tuple(_source(settings.file, text) for text in settings.texts("dbrp"))
    if not files and not template:
        files = sorted(folder.glob("*.tick"))
        if not files:
            raise CaseError(
                f"case {folder.name} has no TICKscript",
                f'add a .tick file to {_shown(folder)}, or name one: task = "kapacitor/..."',
            )
    if template:
        files.append(_find(folder, template))
    if name and len(files) > 1:
        raise CaseError(f"{_shown(settings.file)}: name is for a case of one task")
    made = []
    for file in files:
        is_template = bool(template) and file == files[-1]
        task = _task(folder, file, name or _name(folder, file), declared, values, is_template)
        made.append(task)
    return tuple(made)


def _task(
    folder: Path,
    file: Path,
    name: str,
    declared: tuple[Source, ...],
    values: Mapping[str, Any],
    is_template: bool,
) -> Task:
    """Make a task from a TICKscript, a template, or a task definition of the load directory."""
    template = f"{name}_template" if is_template else ""
    if file.suffix in (".yaml", ".yml", ".json"):
        content = _mapping(file)
        template = content.get("template-id", "")
        if not template:
            raise CaseError(f"{_shown(file)}: no template-id, so it defines no task")
        values = {**(content.get("vars") or {}), **values}
        declared = declared or tuple(Source(d["db"], d["rp"]) for d in content.get("dbrps") or [])
        beside = file.parent.parent / "templates" / f"{template}.tick"
        file = next(
            (f for f in (folder / f"{template}.tick", beside) if f.exists()),
            LOAD / "templates" / f"{template}.tick",
        )
        if not file.exists():
            raise CaseError(f"no template {template}.tick beside the case or in kapacitor/load")
    text = _read_text(file)
    own = tuple(tickscript.dbrps(text))
    if not (own or declared):
        # Without either, points of any database would do: take those that the script reads.
        batch = tickscript.kind(text) == "batch"
        declared = tuple(tickscript.sources(text, node="query" if batch else "from"))
    return Task(name, file, text, template, values, own or declared)


def _name(folder: Path, file: Path) -> str:
    # `task.tick` is the usual name of a case's own script: the case's name says more.
    return folder.name if file.stem == "task" else file.stem


def _inputs(folder: Path, settings: _Settings) -> tuple[Input, ...]:
    value = settings.take("input", (str, dict), None)
    simulator = settings.take("simulator", (str, dict), None)
    found = []
    if isinstance(value, str):
        found.append(Input(None, _find(folder, value)))
    elif value is not None:
        for text, file in value.items():
            found.append(Input(_source(settings.file, text), _find(folder, str(file))))
    if isinstance(simulator, str):
        found.append(Input(None, simulator=simulator))
    elif simulator is not None:
        for text, command in simulator.items():
            found.append(Input(_source(settings.file, text), simulator=str(command)))
    if not found:
        found += [Input(None, f) for f in sorted(folder.glob("input.*"))]
    return tuple(found)


def _handlers(folder: Path, settings: _Settings) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for text in settings.texts("handlers"):
        file = _find(folder, text)
        content = _mapping(file)
        missing = [key for key in ("id", "topic", "kind") if not content.get(key)]
        if missing:
            raise CaseError(f"{_shown(file)}: a handler needs {', '.join(missing)}")
        found.append(content)
    return found


def _expected(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise CaseError(f"{_shown(file)}:{error.lineno}:{error.colno}: {error.msg}") from None
    if not isinstance(content, dict) or not content or set(content) - set(PARTS):
        raise CaseError(
            f"{_shown(file)}: has to be an object with one or more of {', '.join(PARTS)}",
            "`make accept CASE=...` writes one",
        )
    return content


def _find(folder: Path, text: str) -> Path:
    """Return the file of a setting: in the case's folder, or in the repository."""
    for base in (folder, ROOT):
        if (base / text).is_file():
            return base / text
    raise CaseError(f"case {folder.name}: no file {text} in its folder or in the repository")


def _source(file: Path, text: str) -> Source:
    database, _, policy = text.partition(".")
    if not database:
        raise CaseError(f"{_shown(file)}: {text!r} is not DATABASE.POLICY", "e.g. telegraf.autogen")
    return Source(database.strip('"'), policy.strip('"') or "autogen")


def _mapping(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(_read_text(file))
    except yaml.YAMLError as error:
        raise CaseError(f"{_shown(file)}: {error}") from None
    if not isinstance(content, dict):
        raise CaseError(f"{_shown(file)}: has to hold key: value lines")
    return content


def _read_text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{_shown(file)}: {error}") from None


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def rfc3339(nanoseconds: int) -> str:
    """Return a time in ns since 1970 as RFC 3339 in UTC, with as many digits as it needs.

    Examples
    --------
    >>> rfc3339(1451606400_000000000), rfc3339(1451606400_500000000)
    ('2016-01-01T00:00:00Z', '2016-01-01T00:00:00.5Z')
    """
    seconds, rest = divmod(nanoseconds, PRECISIONS["s"])
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?")


def nanoseconds(value: Any) -> int | None:
    """Return a time given as RFC 3339 or as a number of ns since 1970; None if it is neither.

    Examples
    --------
    >>> nanoseconds("1970-01-01T00:00:01.5Z"), nanoseconds(7), nanoseconds("soon")
    (1500000000, 7, None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    day, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in (None, 'Z') else zone}")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = since.days * 86_400 + since.seconds
    return whole * PRECISIONS["s"] + int((fraction or "0").ljust(9, "0"))
