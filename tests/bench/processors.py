"""The processors of Telegraf beside its own Starlark processor and a program that copies bytes.

    python -m tests.bench.processors

Three tables of one run: lines a second through the real Telegraf and the processors' own time on
one core, the delay added to a single point, and memory over many lines. A program that exits as
soon as its input ends, as the copier does, may lose its last lines in Telegraf: see
`lineprotocol.let_go`.
"""

from __future__ import annotations

import json
import os
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.brew import Brew
from simulator.source import SECOND, chunks
from tests.telegraf.real import ROOT, binary, environment, processor

START = 1_596_602_228 * SECOND
PYTHON = sys.executable
SERIES = ("--measurement", "temperature", "--field", "temperature")
COPIER = (PYTHON, str(ROOT / "tests/bench/copier.py"))
PATHS = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("udf", "telegraf"))}

STARLARK = """
[[processors.starlark]]
  source = "def apply(metric):\\n  return metric"
"""
AGENT = """
[agent]
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 10000000
  omit_hostname = true
  quiet = true
  skip_processors_after_aggregators = true
[[inputs.file]]
  files = ["{lines}"]
  data_format = "influx"
[[outputs.file]]
  files = ["{out}"]
  data_format = "influx"
"""


def module(name: str, *more: str) -> tuple[str, ...]:
    """Return the command of a processor."""
    return (PYTHON, "-m", f"processors.{name}", *more)


CHAINS: dict[str, list[tuple[str, ...]] | str] = {
    "no processor": "",
    "Starlark pass-through": STARLARK,
    "byte copier": [COPIER],
    "example": [module("example")],
    "forecast": [module("forecast", *SERIES)],
    "forecast and residual": [module("forecast", *SERIES), module("residual", *SERIES)],
}


def through_telegraf(
    folder: Path, lines: Path, chain: list[tuple[str, ...]] | str
) -> tuple[float, int]:
    """Send all lines through the real Telegraf; return the seconds and the lines lost."""
    out = folder / "out.lp"
    out.unlink(missing_ok=True)
    parts = (
        chain
        if isinstance(chain, str)
        else "".join(processor(*command, order=order) for order, command in enumerate(chain, 1))
    )
    config = folder / "telegraf.conf"
    config.write_text(AGENT.format(lines=lines, out=out) + parts)
    began = time.monotonic()
    done = subprocess.run(
        [binary(), "--once", "--config", str(config)],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"telegraf failed:\n{done.stderr}")
    came = sum(line.startswith(b"temperature,") for line in out.open("rb"))
    with lines.open("rb") as file:
        sent = sum(1 for _ in file)
    return seconds, sent - came


def on_one_core(lines: Path, chain: list[tuple[str, ...]]) -> float:
    """Return the seconds of processor time that the programs of a chain take for all lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with lines.open("rb") as file:
        source: Any = file
        started = []
        for number, command in enumerate(chain):
            last = number == len(chain) - 1
            process = subprocess.Popen(
                command, stdin=source, env={**os.environ, **PATHS}, stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
            )  # fmt: skip
            if source is not file:
                source.close()
            source = process.stdout
            started.append(process)
        for process in started:
            process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def delays(command: tuple[str, ...], count: int) -> list[float]:
    """Return the seconds from writing one line to having it back, one line at a time."""
    found = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, **PATHS}, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for line in brew_lines(count // 2 + 1)[:count]:
            began = time.perf_counter()
            process.stdin.write(line)
            select.select([process.stdout], [], [], 60)
            process.stdout.read(1 << 16)
            found.append(time.perf_counter() - began)
        process.stdin.close()
        process.wait(60)
    return found[100:]  # the first come while the interpreter still starts


def memory(command: tuple[str, ...], count: int) -> tuple[float, float]:
    """Return MiB resident after the first tenth of the lines, and after all of them."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **PATHS},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        seen: list[int] = []
        watched = psutil.Process(process.pid)
        written = 0
        for block in endless():
            process.stdin.write(block)
            written += block.count(b"\n")
            if not seen and written >= count // 10:
                seen.append(watched.memory_info().rss)
            if written >= count:
                break
        process.stdin.flush()
        seen.append(watched.memory_info().rss)
        process.stdin.close()
        process.wait(600)
    return seen[0] / 2**20, seen[1] / 2**20


def endless() -> Iterator[bytes]:
    """Yield two calm days over and over, the times going on."""
    day = [line.rsplit(b" ", 1)[0] for line in brew_lines(2 * 86_400)]
    for start in range(START, 2**62, 2 * 86_400 * SECOND):
        for first in range(0, len(day), 2000):
            yield b"".join(
                b"%b %d\n" % (text, start + (first + n) // 2 * SECOND)
                for n, text in enumerate(day[first : first + 2000])
            )


def brew_lines(seconds: int) -> list[bytes]:
    """Return two brews' lines, with nanoseconds."""
    made = chunks(Brew(seed=1, schedule=()), START, seconds, 3600, "ns")
    return b"".join(chunk.lines for chunk in made).splitlines(keepends=True)


def main(
    points: Annotated[int, typer.Option(help="Lines through Telegraf.")] = 300_000,
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.")] = 3,
    singles: Annotated[int, typer.Option(help="Lines one at a time, for the delay.")] = 5000,
    many: Annotated[int, typer.Option(help="Lines for the memory; 0 leaves it out.")] = 10_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the processors beside Starlark and a byte copier, in one run."""
    err = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    results: dict[str, Any] = {"throughput": {}, "delay": {}, "memory": {}}
    with (
        Progress(*columns, console=err, transient=True) as progress,
        tempfile.TemporaryDirectory() as name,
    ):
        task = progress.add_task("making the data", total=None)
        folder = Path(name)
        lines = folder / "in.lp"
        lines.write_bytes(b"".join(brew_lines(points // 2)))
        measured: dict[str, list[tuple[float, int]]] = {title: [] for title in CHAINS}
        for number in range(rounds):
            for title, chain in CHAINS.items():
                progress.update(task, description=f"{title}, round {number + 1}")
                measured[title].append(through_telegraf(folder, lines, chain))
        for title, chain in CHAINS.items():
            seconds = statistics.median(seconds for seconds, _ in measured[title])
            lost = max(lost for _, lost in measured[title])
            row = {"seconds": seconds, "lines a second": points / seconds, "lost": lost}
            if not isinstance(chain, str):
                progress.update(task, description=f"{title}, on one core")
                alone = min(on_one_core(lines, chain) for _ in range(rounds))
                row["lines a second on one core"] = points / alone
            results["throughput"][title] = row
        for title, chain in CHAINS.items():
            if isinstance(chain, str) or len(chain) > 1:
                continue
            progress.update(task, description=f"{title}, one line at a time")
            found = delays(chain[0], singles)
            cuts = statistics.quantiles(found, n=100)
            results["delay"][title] = {"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}
        for title in ("example", "forecast", "residual") if many else ():
            progress.update(task, description=f"{title}, {many:,} lines")
            more = SERIES if title != "example" else ()
            first, last = memory(module(title, *more), many)
            results["memory"][title] = {"a tenth": first, "all": last}
    if as_json:
        print(json.dumps(results))
        return
    show(results, points, many)


def show(results: dict[str, Any], points: int, many: int) -> None:
    """Print the tables."""
    console = Console()
    table = Table(title=f"{points:,} lines through Telegraf")
    for column in (
        "processor",
        "seconds",
        "lines/s",
        "against the copier",
        "lost",
        "lines/s of a core",
    ):
        table.add_column(column)
    copier = results["throughput"]["byte copier"]["seconds"]
    for title, row in results["throughput"].items():
        alone = row.get("lines a second on one core")
        table.add_row(
            title, f"{row['seconds']:.2f}", f"{row['lines a second']:,.0f}",
            f"{row['seconds'] / copier:.2f}", f"{row['lost']:,}", f"{alone:,.0f}" if alone else "",
        )  # fmt: skip
    console.print(table)
    table = Table(title="Delay of one line, µs")
    for column in ("processor", "p50", "p99"):
        table.add_column(column)
    for title, row in results["delay"].items():
        table.add_row(title, f"{row['p50']:.0f}", f"{row['p99']:.0f}")
    console.print(table)
    if results["memory"]:
        table = Table(title=f"Memory over {many:,} lines, MiB")
        for column in ("processor", "after a tenth", "after all"):
            table.add_column(column)
        for title, row in results["memory"].items():
            table.add_row(title, f"{row['a tenth']:.1f}", f"{row['all']:.1f}")
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
