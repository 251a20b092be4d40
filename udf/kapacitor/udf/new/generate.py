"""The files of a new UDF, from the templates beside this module."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TABLE = re.compile(r"^\s*\[+([^\]]+)\]+")
_START = 1_451_606_400  # 2016-01-01T00:00:00Z
_FAULT = range(420, 480)  # seconds


class NewError(ValueError):
    """A UDF that cannot be written; nothing has been changed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written.

    Parameters
    ----------
    files : dict of Path to str
        New files.
    config : Path
        kapacitor.conf.
    config_text : str
        Its text, with the new function.
    """

    files: dict[Path, str]
    config: Path
    config_text: str

    def write(self) -> None:
        """Write everything."""
        for path, text in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.config.write_text(self.config_text)


def plan(name: str, kind: str, root: Path) -> Plan:
    """Work out the files of a new UDF.

    Parameters
    ----------
    name : str
        Such as ``vibration`` or ``belt_wear``.
    kind : {"window", "stream"}
    root : Path
        The repository.

    Raises
    ------
    NewError
        If the name cannot be one, something of that name is there, or this is no repository
        of this kind.
    """
    if not _NAME.fullmatch(name):
        raise NewError(
            f"{name!r} is no name for a UDF: use small letters, digits and _, such as belt_wear"
        )
    config = root / "kapacitor" / "kapacitor.conf"
    if not config.is_file():
        raise NewError(f"there is no {config}: give the repository with --root")
    first, *rest = name.split("_")
    function = first + "".join(part.capitalize() for part in rest)
    names = {
        "name": name,
        "words": name.replace("_", " "),
        "class_": "".join(part.capitalize() for part in name.split("_")),
        "function": function,
        # A window is stamped with its end, and counted from the first window's.
        "fault_minute": "7",
        "window_arguments": ', "--window", "30s"' if kind == "window" else "",
    }
    case = root / "tests" / "tasks" / name
    files = {
        root / "udf" / f"{name}.py": _fill(f"{kind}.py", names),
        root / "kapacitor" / "examples" / f"{name}.tick": _fill(f"{kind}.tick", names),
        case / "case.toml": _fill("case.toml", names),
        case / "input.lp": _data(name),
        case / "expected.json": _expected(name, kind),
        root / "tests" / "wire" / f"test_udf_{name}.py": _fill("test.py", names),
    }
    there = [str(path.relative_to(root)) for path in files if path.exists()]
    text = config.read_text()
    if f"[udf.functions.{function}]" in text:
        there.append(f"[udf.functions.{function}] in {config.relative_to(root)}")
    if there:
        raise NewError(f"already there: {', '.join(there)}")
    return Plan(files, config, _declare(text, _fill("function.conf", names)))


def _fill(template: str, names: dict[str, str]) -> str:
    return Template((_TEMPLATES / f"{template}.txt").read_text()).substitute(names)


def _declare(config: str, section: str) -> str:
    """Put a section after the last one of its kind, or at the end."""
    lines = config.splitlines(keepends=True)
    tables = [
        (number, match.group(1).strip())
        for number, line in enumerate(lines)
        if (match := _TABLE.match(line))
    ]
    last = max((i for i, (_, table) in enumerate(tables) if table.startswith("udf")), default=None)
    at = len(lines)
    if last is not None and last + 1 < len(tables):
        at = tables[last + 1][0]
        # What stands right above a table, comments and all, belongs to it.
        while at > 0 and lines[at - 1].lstrip().startswith("#"):
            at -= 1
    before, after = "".join(lines[:at]), "".join(lines[at:])
    return before.rstrip("\n") + "\n" + section + ("\n" + after if after else "")


def _data(name: str) -> str:
    lines = []
    for second in range(600):
        for host, shift in (("a", 0.0), ("b", 2.0 if second in _FAULT else 0.0)):
            # Uneven and yet the same each time: three waves that never meet.
            wave = sum(math.sin(second * step) for step in (0.37, 1.13, 2.71)) / 10
            value = 5 + wave + shift
            lines.append(f"{name},host={host} value={value:.4f} {(_START + second) * 10**9}")
    return "\n".join(lines) + "\n"


def _expected(name: str, kind: str) -> str:
    # A window is judged at its end, by the first point past it.
    begin, end = (450, 510) if kind == "window" else (_FAULT.start, _FAULT.stop)
    alerts = [
        {
            "time": f"2016-01-01T00:{second // 60:02d}:{second % 60:02d}Z",
            "id": f"{name}/b",
            "level": level,
            "message": f"{name}/b is {level}",
        }
        for second, level in ((begin, "CRITICAL"), (end, "OK"))
    ]
    return json.dumps({"alerts": alerts}, indent=2) + "\n"
