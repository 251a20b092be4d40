"""Walking through cases: several engines at once, and a result for each, whatever it is."""

from __future__ import annotations

import queue
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stack.cases.case import CASES, EXPECTED, Case, CaseError, read
from stack.cases.compare import differences, formatted
from stack.cases.engine import Engine, engine
from stack.cases.run import Outcome, Run
from stack.errors import StackError

PASSED, DIFFERS, FAILED, ACCEPTED = "passed", "differs", "failed", "accepted"


@dataclass(frozen=True)
class Result:
    """What became of a case.

    Attributes
    ----------
    case
        Its name.
    status
        `passed`, `differs` (something else came out), `failed` (it did not run to its end) or
        `accepted` (what came out is the expectation now).
    lines
        What to print about it.
    seconds
        How long it took on a warm engine.
    description
        What the case says it shows.
    """

    case: str
    status: str
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0
    description: str = ""

    @property
    def good(self) -> bool:
        """Whether nobody has to look at it."""
        return self.status in (PASSED, ACCEPTED)


def walk(
    names: Sequence[str],
    backend: str,
    engines: int,
    keep: bool,
    done: Callable[[Result], None],
    accept: bool = False,
    folder: Path = CASES,
) -> list[Result]:
    """Run cases and return their results, in the order of the names.

    Parameters
    ----------
    names : sequence of str
        Which cases.
    backend : str
        `compose` or `native`.
    engines : int
        How many engines share the work; each runs one case at a time.
    keep : bool
        Leave the engines warm.
    done : callable
        Is given every result as it comes.
    accept : bool
        Write what comes out as the expectation, instead of comparing.
    folder : Path
        Where the cases are.

    Raises
    ------
    StackError
        When an engine does not start.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    results: dict[str, Result] = {}
    problems: list[BaseException] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        try:
            with ExitStack() as held:
                warm: Engine | None = None
                while not problems:
                    try:
                        name = waiting.get_nowait()
                    except queue.Empty:
                        return
                    if warm is None:
                        warm = held.enter_context(engine(backend, number, keep))
                    result = run_one(folder / name, warm, accept)
                    with lock:
                        results[name] = result
                        done(result)
        except BaseException as error:
            problems.append(error)

    workers = [
        threading.Thread(target=work, args=(number,), daemon=True)
        for number in range(1, min(engines, len(names)) + 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if problems:
        raise problems[0]
    return [results[name] for name in names]


def run_one(folder: Path, warm: Engine, accept: bool = False) -> Result:
    """Run the case of a folder on an engine that runs, and say what became of it."""
    begin = time.monotonic()
    description = ""
    job = None
    try:
        case = read(folder)
        description = case.description
        if case.expected is None and not accept:
            raise CaseError(
                f"case {case.name} does not say what is expected",
                f"write {EXPECTED}, or `make accept CASE={case.name}` and review it",
            )
        warm.revive()
        # What is to be accepted is waited for as if nothing were expected.
        job = Run(replace(case, expected=None) if accept else case, warm)
        outcome = job.outcome()
        if accept:
            status, lines = _accept(case, outcome)
        else:
            lines = differences(case.expected or {}, outcome, case.tolerance)
            status = DIFFERS if lines else PASSED
        if lines:
            lines += job.errors()
    except StackError as error:
        status, lines = FAILED, str(error).splitlines()
        if job is not None:
            lines += job.errors()
            if not warm.kapacitor.answers():
                lines.insert(0, f"Kapacitor itself ended while this case ran. {warm.end()}")
    except Exception as error:
        # The other cases go on, whatever this is.
        status, lines = FAILED, [f"{type(error).__name__}: {error}"]
    return Result(folder.name, status, lines, round(time.monotonic() - begin, 3), description)


def _accept(case: Case, outcome: Outcome) -> tuple[str, list[str]]:
    """Write what came out as the expectation, naming only what the case asks about."""
    kept = {part: _chosen(case, part, content) for part, content in outcome.items()}
    asked = case.expect or tuple(case.expected or kept)
    kept = {part: content for part, content in kept.items() if part in asked} or kept
    if not kept:
        raise CaseError(
            f"case {case.name}: nothing came out that could be expected",
            "the TICKscript needs an alert or influxDBOut node, or set `http` in case.toml",
        )
    text = formatted(kept)
    file = case.folder / EXPECTED
    if file.exists() and file.read_text() == text:
        return ACCEPTED, [f"{EXPECTED} says so already"]
    file.write_text(text)
    counts = ", ".join(
        f"{len(content)} {part}"
        if isinstance(content, list)
        else ", ".join(f"{len(entries)} {part} {name}" for name, entries in content.items())
        for part, content in kept.items()
    )
    return ACCEPTED, [f"{EXPECTED} written: {counts}; review it before you commit it"]


def _chosen(case: Case, part: str, content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _chosen(case, part, entries) for name, entries in content.items()}
    keys = ("time", "id", "level", "message", "fields")
    found = []
    for entry in content:
        kept = dict(entry)
        if part in ("alerts", "handlers"):
            kept = {k: entry[k] for k in keys if k in entry}
        if part == "alerts" and (case.live or case.http):
            # Of a live task it may be the time of day.
            kept.pop("time", None)
        if case.fields is not None and "fields" in kept:
            kept["fields"] = {k: v for k, v in kept["fields"].items() if k in case.fields}
            if not kept["fields"]:
                del kept["fields"]
        found.append(kept)
    return found


def junit(results: Sequence[Result], file: Path) -> None:
    """Write the results as JUnit XML, for the CI of whoever uses it."""
    suite = ET.Element(
        "testsuite",
        name="tasks",
        tests=str(len(results)),
        failures=str(sum(r.status == DIFFERS for r in results)),
        errors=str(sum(r.status == FAILED for r in results)),
        time=f"{sum(r.seconds for r in results):.3f}",
    )
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname="tasks", name=result.case, time=f"{result.seconds:.3f}"
        )
        if not result.good:
            kind = "failure" if result.status == DIFFERS else "error"
            text = "\n".join(result.lines)
            ET.SubElement(case, kind, message=result.lines[0]).text = text
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(file, encoding="unicode", xml_declaration=True)
