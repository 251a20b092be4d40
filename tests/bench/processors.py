"""The processors of Telegraf beside its own Starlark processor and a program that copies bytes.

    python -m tests.bench.processors

Three tables of one run: lines a second through the real Telegraf and the processors' own time on
one core, the delay of a single point through the real Telegraf, where all of it but that with no
processor is added, and memory over many lines. About four minutes on two idle cores. A program
that exits as soon as its input ends, as the copier does, may lose its last lines in Telegraf: see
`lineprotocol.let_go`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
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
#: Every point goes through at once: the delay is not that of a batch.
ONE_BY_ONE = """
[agent]
  flush_interval = "1s"
  metric_batch_size = 1
  metric_buffer_limit = 10000000
  omit_hostname = true
  quiet = true
  skip_processors_after_aggregators = true
[[inputs.execd]]
  command = ["cat", "{lines}"]
  signal = "none"
  data_format = "influx"
[[outputs.file]]
  files = ["stdout"]
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


def configured(chain: list[tuple[str, ...]] | str) -> str:
    """Return the configuration of a chain of processors."""
    if isinstance(chain, str):
        return chain
    return "".join(processor(*command, order=order) for order, command in enumerate(chain, 1))


def through_telegraf(
    folder: Path, lines: Path, chain: list[tuple[str, ...]] | str
) -> tuple[float, int]:
    """Send all lines through the real Telegraf; return the seconds and the lines lost."""
    out = folder / "out.lp"
    out.unlink(missing_ok=True)
    config = folder / "telegraf.conf"
    config.write_text(AGENT.format(lines=lines, out=out) + configured(chain))
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


def delays(
    folder: Path, chain: list[tuple[str, ...]] | str, hours: float, count: int
) -> list[float]:
    """Return the seconds that points take one by one through the real Telegraf, after hours."""
    lines = folder / "pipe"
    lines.unlink(missing_ok=True)
    os.mkfifo(lines)
    config = folder / "telegraf.conf"
    config.write_text(ONE_BY_ONE.format(lines=lines) + configured(chain))
    seconds = round(hours * 3600)
    data = brew_lines(seconds + count // 2 + 1)
    learned, singles = data[: 2 * seconds], data[2 * seconds :][:count]
    command = [binary(), "--config", str(config)]
    with (
        subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as telegraf,
        lines.open("wb", buffering=0) as pipe,
    ):
        assert telegraf.stdout is not None
        came = iter(telegraf.stdout)
        feeding = threading.Thread(target=pipe.write, args=(b"".join(learned),))
        feeding.start()
        wait_for(came, learned[-1])
        feeding.join()
        found = []
        for line in singles:
            # A moment of rest, as between the points of a device, lets all that waits fall asleep.
            time.sleep(0.001)
            began = time.perf_counter()
            pipe.write(line)
            wait_for(came, line)
            found.append(time.perf_counter() - began)
        telegraf.terminate()
        telegraf.stdout.read()
    return found


def wait_for(came: Iterator[bytes], line: bytes) -> None:
    """Read until the point of this line has come, however its value is written."""
    key, stamp = line.split(b" ", 1)[0] + b" ", line[line.rindex(b" ") :]
    if not any(each.startswith(key) and each.endswith(stamp) for each in came):
        raise SystemExit("telegraf ended before all points had come")


def memory(chain: list[tuple[str, ...]], count: int) -> list[tuple[float, float]]:
    """Return each program's MiB resident after a tenth of the lines, and after all of them."""
    started: list[subprocess.Popen[bytes]] = []
    for command in chain:
        last = len(started) == len(chain) - 1
        started.append(
            subprocess.Popen(
                command, stdin=started[-1].stdout if started else subprocess.PIPE,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, **PATHS},
            )
        )  # fmt: skip
    for process in started[:-1]:
        assert process.stdout is not None
        process.stdout.close()
    first = started[0].stdin
    assert first is not None
    watched = [psutil.Process(process.pid) for process in started]
    seen: list[list[float]] = []
    written = 0
    for block in endless():
        first.write(block)
        written += block.count(b"\n")
        if written >= count or (not seen and written >= count // 10):
            seen.append([each.memory_info().rss / 2**20 for each in watched])
        if written >= count:
            break
    first.close()
    for process in started:
        process.wait(600)
    return list(zip(*seen, strict=True))


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
    singles: Annotated[int, typer.Option(help="Lines one at a time, for the delay.")] = 2000,
    learned: Annotated[
        float,
        typer.Option(min=0.01, help="Hours of data before them: first forecasts come after six."),
    ] = 8.0,
    many: Annotated[int, typer.Option(help="Lines for the memory; 0 leaves it out.")] = 10_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the processors beside Starlark and a byte copier, in one run."""
    err = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    results: dict[str, Any] = {"throughput": {}, "delay": {}, "memory": {}}
    with (
        Progress(*columns, console=err, transient=True) as progress,
        tempfile.TemporaryDirectory() as temporary,
    ):
        task = progress.add_task("making the data", total=None)
        folder = Path(temporary)
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
        quantiles: dict[str, list[list[float]]] = {title: [] for title in CHAINS}
        for number in range(rounds):
            for title, chain in CHAINS.items():
                progress.update(task, description=f"{title}, point by point, round {number + 1}")
                found = delays(folder, chain, learned, singles)
                quantiles[title].append(statistics.quantiles(found, n=100))
        for title, each in quantiles.items():
            p50, p99 = (statistics.median(cuts[at] for cuts in each) for at in (49, 98))
            results["delay"][title] = {"p50": p50 * 1e6, "p99": p99 * 1e6}
        for title in ("example", "forecast and residual") if many else ():
            progress.update(task, description=f"{title}, {many:,} lines")
            chain = CHAINS[title]
            assert not isinstance(chain, str)
            names = title.split(" and ")
            for name, (tenth, end) in zip(names, memory(chain, many), strict=True):
                results["memory"][name] = {"a tenth": tenth, "all": end}
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
    table = Table(title="Delay of one point through Telegraf, µs")
    for column in ("processor", "p50", "p99", "added, p50", "added, p99"):
        table.add_column(column)
    floor = results["delay"]["no processor"]
    for title, row in results["delay"].items():
        added = [f"{row[p] - floor[p]:.0f}" if row is not floor else "" for p in ("p50", "p99")]
        table.add_row(title, f"{row['p50']:.0f}", f"{row['p99']:.0f}", *added)
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
