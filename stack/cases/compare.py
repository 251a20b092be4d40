"""Holding what came out against what was expected, and saying how they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kapacitor.udf.harness.durations import parse_duration
from stack.cases.case import nanoseconds

Entry = Mapping[str, Any]
#: Beyond this many entries they are compared one by one in order, which is quick but less helpful.
ALIGNED = 400
#: Differences shown of one part.
SHOWN = 20


def differences(
    expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: float
) -> list[str]:
    """Return what to print about the parts of the expectation that did not come true.

    An entry of the expectation may leave out whatever does not matter; what it names has to be
    there, and no entry may come that is not expected.

    Examples
    --------
    >>> expected = {"alerts": [{"id": "cpu", "level": "CRITICAL"}]}
    >>> came = {"alerts": [{"id": "cpu", "level": "WARNING", "time": "2016-01-01T00:00:00Z"}]}
    >>> for line in differences(expected, came, 0):
    ...     print(line)
    alerts: 1 expected, 1 came
      differs     2016-01-01T00:00:00Z cpu WARNING: level is "WARNING", expected "CRITICAL"
    """
    found = []
    for part, wanted in expected.items():
        came = actual.get(part)
        if isinstance(wanted, dict):
            for name, entries in wanted.items():
                title = f"{part} {name}"
                found += _part(title, entries, (came or {}).get(name) or [], tolerance)
        else:
            found += _part(part, wanted, came or [], tolerance)
    return found


def _part(
    title: str, expected: Sequence[Entry], actual: Sequence[Entry], tolerance: float
) -> list[str]:
    lines = []
    missing: list[Entry] = []
    surplus: list[Entry] = []

    def flush() -> None:
        # What is missing and what came instead are most likely the same event, changed.
        for wanted, came in zip(missing, surplus, strict=False):
            lines.append(f"  differs     {_name(came)}: {_how(wanted, came, tolerance)}")
        lines.extend(f"  missing     {_name(entry)}" for entry in missing[len(surplus) :])
        lines.extend(f"  unexpected  {_name(entry)}" for entry in surplus[len(missing) :])
        missing.clear()
        surplus.clear()

    for wanted, came in _aligned(expected, actual, tolerance):
        if wanted is not None and came is not None:
            flush()
        elif wanted is not None:
            missing.append(wanted)
        elif came is not None:
            surplus.append(came)
    flush()
    if not lines:
        return []
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"  ... and {len(lines) - SHOWN} more"]
    return [f"{title}: {len(expected)} expected, {len(actual)} came", *lines]


def _aligned(
    expected: Sequence[Entry], actual: Sequence[Entry], tolerance: float
) -> list[tuple[Entry | None, Entry | None]]:
    """Pair what matches, in order, leaving as little as possible on either side alone."""
    rows, columns = len(expected), len(actual)
    start = 0
    while start < min(rows, columns) and _same(expected[start], actual[start], tolerance):
        start += 1
    pairs: list[tuple[Entry | None, Entry | None]] = [
        *zip(expected[:start], actual[:start], strict=True)
    ]
    expected, actual = expected[start:], actual[start:]
    rows, columns = len(expected), len(actual)
    if max(rows, columns) > ALIGNED:
        alone: list[tuple[Entry | None, Entry | None]] = []
        for wanted, came in zip(expected, actual, strict=False):
            if _same(wanted, came, tolerance):
                alone.append((wanted, came))
            else:
                alone += [(wanted, None), (None, came)]
        alone += [(wanted, None) for wanted in expected[columns:]]
        return pairs + alone + [(None, came) for came in actual[rows:]]
    same = [[_same(w, c, tolerance) for c in actual] for w in expected]
    longest = [[0] * (columns + 1) for _ in range(rows + 1)]
    for r in range(rows - 1, -1, -1):
        for c in range(columns - 1, -1, -1):
            longest[r][c] = (
                1 + longest[r + 1][c + 1]
                if same[r][c]
                else max(longest[r + 1][c], longest[r][c + 1])
            )
    r = c = 0
    while r < rows or c < columns:
        if r < rows and c < columns and same[r][c]:
            pairs.append((expected[r], actual[c]))
            r, c = r + 1, c + 1
        elif c == columns or (r < rows and longest[r + 1][c] >= longest[r][c + 1]):
            pairs.append((expected[r], None))
            r += 1
        else:
            pairs.append((None, actual[c]))
            c += 1
    return pairs


def _same(wanted: Entry, came: Entry, tolerance: float) -> bool:
    return not _differing(wanted, came, tolerance)


def _differing(wanted: Entry, came: Entry, tolerance: float) -> list[tuple[str, Any, Any]]:
    """Return (name, came, expected) for every value that is not as expected."""
    found = []
    for key, value in wanted.items():
        if key in ("fields", "tags") and isinstance(value, dict):
            inner = came.get(key) or {}
            for name, item in value.items():
                if not _equal(name, item, inner.get(name), tolerance):
                    found.append((f"{key[:-1]} {name}", inner.get(name), item))
        elif not _equal(key, value, came.get(key), tolerance):
            found.append((key, came.get(key), value))
    return found


def _equal(key: str, wanted: Any, came: Any, tolerance: float) -> bool:
    if key == "time" and nanoseconds(wanted) is not None:
        return nanoseconds(wanted) == nanoseconds(came)
    if key == "duration" and isinstance(wanted, str):
        return bool(parse_duration(wanted) == came)
    if key in ("level", "previousLevel"):
        return str(wanted).upper() == str(came).upper()
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (wanted, came))
    if numbers:
        return bool(abs(wanted - came) <= tolerance * max(abs(wanted), abs(came)))
    return type(wanted) is type(came) and wanted == came


def _how(wanted: Entry, came: Entry, tolerance: float) -> str:
    return "; ".join(
        f"{name} is {_json(is_)}, expected {_json(expected)}"
        for name, is_, expected in _differing(wanted, came, tolerance)
    )


def _name(entry: Entry) -> str:
    """Return the part of an entry by which a reader knows it."""
    keys = ("time", "id", "level", "database", "policy", "measurement", "name")
    parts = [str(entry[k]) for k in keys if k in entry]
    if entry.get("tags") and "id" not in entry:
        parts.append(",".join(f"{k}={v}" for k, v in entry["tags"].items()))
    if "fields" in entry and "level" not in entry:
        parts.append(_json(entry["fields"]))
    return " ".join(parts) or _json(entry)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def formatted(expected: Mapping[str, Any]) -> str:
    """Return an expectation as JSON with one entry a line, so that a review can read it.

    Examples
    --------
    >>> print(formatted({"alerts": [{"id": "a"}, {"id": "b"}], "http": {"top": []}}), end="")
    {
      "alerts": [
        {"id": "a"},
        {"id": "b"}
      ],
      "http": {
        "top": []
      }
    }
    """

    def entries(items: Sequence[Entry], indent: str) -> str:
        if not items:
            return "[]"
        lines = ",\n".join(f"{indent}  {_json(item)}" for item in items)
        return f"[\n{lines}\n{indent}]"

    parts = []
    for part, content in expected.items():
        if isinstance(content, dict):
            inner = ",\n".join(
                f"    {_json(name)}: {entries(items, '    ')}" for name, items in content.items()
            )
            parts.append(f"  {_json(part)}: {{\n{inner}\n  }}")
        else:
            parts.append(f"  {_json(part)}: {entries(content, '  ')}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
