"""What is in a package, and everything about it that can be checked without running any of it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import modelfile
from stack.cases import script as tickscript
from stack.packages.problem import Problem
from stack.packages.source import MANIFEST, files
from stack.settings import ROOT

SCHEMA = ROOT / "packages" / "package.schema.json"
#: What is installed; the rest of the folder stays where it is.
INSTALLED = ("udf", "models", "tasks")
REQUIREMENTS = "requirements.txt"
LOCK = ROOT / "requirements" / "udf.txt"


@dataclass(frozen=True)
class Call:
    """A UDF called by a TICKscript.

    Attributes
    ----------
    function
        The name after the @.
    options
        Each option with the text of its arguments.
    line
        Where, counted from 1.
    """

    function: str
    options: tuple[tuple[str, tuple[str, ...]], ...]
    line: int


@dataclass
class Package:
    """A package as it was read; `problems` says what could not be.

    Attributes
    ----------
    folder
        Where it is.
    manifest
        The content of package.toml, empty if it cannot be used.
    tasks
        The TICKscripts by the name of their task.
    calls
        What each of them calls.
    problems
        What is wrong with it.
    seconds
        What its UDFs were seen to need to begin, with some more.
    """

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Its name in the stack."""
        return str(self.manifest.get("name", ""))

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        """Its UDFs, by name."""
        found: dict[str, dict[str, Any]] = self.manifest.get("functions", {})
        return found

    @property
    def cases(self) -> list[Path]:
        """The folders of its task cases."""
        return sorted(path for path in self.folder.glob("tests/*") if path.is_dir())

    def report(self, file: str | Path, what: str, fix: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(str(file), what, fix))

    def installed_files(self) -> list[Path]:
        """Return the files that belong into the stack."""
        return [
            name
            for name in files(self.folder)
            if name.parts[0] in INSTALLED or str(name) in (MANIFEST, REQUIREMENTS)
        ]


def read(folder: Path) -> Package:
    """Read a package and check all that can be seen without running it."""
    package = Package(folder)
    _manifest(package)
    _programs(package)
    _requirements(package)
    _models(package)
    _tasks(package)
    return package


def _manifest(package: Package) -> None:
    file = package.folder / MANIFEST
    if not file.exists():
        package.report(
            MANIFEST, "is missing", "write one; packages/turbine/package.toml is an example"
        )
        return
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        package.report(MANIFEST, f"is no TOML: {error}", "correct it there")
        return
    problems = list(schema().iter_errors(content))
    for wrong in sorted(problems, key=lambda e: [str(part) for part in e.absolute_path]):
        where = ".".join(map(str, wrong.absolute_path)) or "the file"
        package.report(
            MANIFEST, f"{where}: {wrong.message}", f"{_meaning(wrong)} (packages/{SCHEMA.name})"
        )
    if not problems:
        package.manifest = content
    elif isinstance(content.get("functions"), dict):
        # Enough to go on with what does not depend on the rest.
        functions = {k: v for k, v in content["functions"].items() if isinstance(v, dict)}
        package.manifest = {"functions": functions}


@cache
def schema() -> jsonschema.Draft202012Validator:
    """Return the validator of package.toml."""
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def _meaning(error: jsonschema.ValidationError) -> str:
    """Say what the schema wants at the place of an error."""
    part = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties":
        known = ", ".join(part.get("properties", {}))
        return f"leave it out; known here: {known}"
    if error.validator == "required":
        return f"add it; needed here: {', '.join(part['required'])}"
    said = str(part.get("description", "write what the schema asks for"))
    return said[0].lower() + said[1:].rstrip(".")


def _programs(package: Package) -> None:
    for name, function in package.functions.items():
        program = str(function.get("program", ""))
        file = package.folder / program
        if program.startswith("udf/") and not file.is_file():
            package.report(
                MANIFEST, f"functions.{name}: there is no {program}", "correct program, or add it"
            )
    for file in sorted(package.folder.glob("udf/**/*.py")):
        shown = file.relative_to(package.folder)
        try:
            compile(file.read_bytes(), str(shown), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            package.report(
                f"{shown}:{line}" if line else shown,
                f"is no Python: {getattr(error, 'msg', None) or error}",
                "correct it there",
            )


def _requirements(package: Package) -> None:
    file = package.folder / REQUIREMENTS
    if not file.exists():
        return
    image = image_versions()
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = re.sub(r"(^|\s)#.*$", "", line).strip().rstrip("\\").strip()
        where = f"{REQUIREMENTS}:{number}"
        if not text or text.startswith("--hash="):
            continue
        if text.startswith("-"):
            package.report(
                where,
                f"{text.split()[0]}: options of pip are not taken from a package",
                "leave only NAME==VERSION lines; the index is the machine's own",
            )
            continue
        try:
            requirement = Requirement(text.split(" --hash=")[0])
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            package.report(where, f"{text!r} is no requirement: {reason}", "write NAME==VERSION")
            continue
        name = canonicalize_name(requirement.name)
        pinned = [s for s in requirement.specifier if s.operator == "==" and "*" not in s.version]
        if requirement.url or not pinned:
            package.report(
                where,
                f"{requirement.name} has no exact version",
                f"pin it: {requirement.name}==VERSION, so that it is the same tomorrow",
            )
        elif name in image and not requirement.specifier.contains(image[name], prereleases=True):
            package.report(
                where,
                f"{text} conflicts with the image, which has {requirement.name} {image[name]}",
                f"write {requirement.name}=={image[name]}, or leave the line out",
            )


@cache
def image_versions() -> dict[str, str]:
    """Return what the lock of the image has for the Python that runs here, by canonical name."""
    found: dict[str, str] = {}
    for line in LOCK.read_text().splitlines():
        if line[:1] in ("#", " ", ""):
            continue
        requirement = Requirement(line.rstrip("\\ "))
        if requirement.marker is None or requirement.marker.evaluate():
            (version,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = version.version
    return found


def _models(package: Package) -> None:
    cards = set(package.folder.glob("models/**/*.json"))
    for file in sorted(package.folder.glob("models/**/*")):
        if not file.is_file() or file in cards or file.name.startswith("."):
            continue
        try:
            card = modelfile.verify(file, libraries=False)
        except modelfile.ModelError as error:
            # The message names the file by its whole path, and ends in what to do.
            text = str(error).replace(f"{package.folder}/", "")
            where, _, what = text.partition(": ")
            what, _, fix = what.rpartition("; ")
            fix = fix if what else "make the file and its card with modelfile.save"
            package.report(where, what or fix, fix)
            continue
        _pinned(package, file, card.libraries)


def _pinned(package: Package, file: Path, libraries: dict[str, str]) -> None:
    """Compare the versions a model was made with to those that its package asks for."""
    wanted = package.folder / REQUIREMENTS
    lines = wanted.read_text(encoding="utf-8").splitlines() if wanted.exists() else []
    pins = dict(image_versions())
    for line in lines:
        if found := re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*==\s*([^\s;#\\]+)", line):
            pins[canonicalize_name(found[1])] = found[2]
    shown = file.relative_to(package.folder)
    for library, version in libraries.items():
        pinned = pins.get(canonicalize_name(library))
        if pinned != version:
            has = f"has {library} {pinned}" if pinned else f"does not have {library}"
            package.report(
                REQUIREMENTS,
                f"{shown} was made with {library} {version}, and the package {has}",
                f"write {library}=={version}, or train the model again",
            )


def _tasks(package: Package) -> None:
    scripts = sorted(package.folder.glob("tasks/*.tick"))
    if not scripts:
        package.report("tasks/", "holds no .tick file", "add the task that uses the UDF")
    for file in scripts:
        shown = file.relative_to(package.folder)
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            package.report(shown, "is no UTF-8 text", "save it as UTF-8")
            continue
        package.tasks[file.stem] = text
        if not tickscript.dbrps(text):
            package.report(
                shown,
                "does not say which data it reads",
                'begin it with a line such as dbrp "telegraf"."autogen"',
            )
        package.calls[file.stem] = calls(text)


def calls(script: str) -> list[Call]:
    """Return the UDFs that a TICKscript calls, with their options.

    Examples
    --------
    >>> calls("stream|from()@pump().field('flow').limit(2.5)|alert()")
    [Call(function='pump', options=(('field', ('flow',)), ('limit', ('2.5',))), line=1)]
    """
    listed = list(tickscript.tokens(script))
    found = []
    at = 0
    while at < len(listed):
        if listed[at].text != "@" or at + 1 >= len(listed):
            at += 1
            continue
        name, line = listed[at + 1].text, script.count("\n", 0, listed[at].start) + 1
        options: list[tuple[str, tuple[str, ...]]] = []
        at += 2
        at, _ = _arguments(script, listed, at)
        while at + 1 < len(listed) and listed[at].text == ".":
            option = listed[at + 1].text
            at, values = _arguments(script, listed, at + 2)
            options.append((option, values))
        found.append(Call(name, tuple(options), line))
    return found


def _arguments(script: str, listed: list[tickscript.Token], at: int) -> tuple[int, tuple[str, ...]]:
    """Return the place behind the parentheses at `at`, and the arguments in them as text."""
    if at >= len(listed) or listed[at].text != "(":
        return at, ()
    depth, begin, values = 0, listed[at].end, []
    for place in range(at, len(listed)):
        token = listed[place]
        depth += (token.text == "(") - (token.text == ")")
        ends = depth == 0
        if ends or (token.text == "," and depth == 1):
            text = script[begin : token.start].strip()
            if text:
                values.append(text[1:-1] if text[0] == text[-1] == "'" else text)
            begin = token.end
        if ends:
            return place + 1, tuple(values)
    return len(listed), tuple(values)
