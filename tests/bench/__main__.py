"""The command ``python -m tests.bench``, behind ``make bench``."""

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stack.errors import StackError
from tests.bench import agents, replay, wire
from tests.wire.engine import ROOT, kapacitord

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_err = Console(stderr=True)
PARTS = ("wire", "kapacitor", "latency", "memory")


class Bench:
    """One run: every figure is measured beside the ones it is compared with, in turn."""

    def __init__(self, rounds: int, points: int, progress: Progress) -> None:
        self.rounds = rounds
        self.points = points
        self.contenders = agents.contenders()
        self.results: dict[str, Any] = {}
        self._progress = progress
        self._task = progress.add_task("")

    def say(self, text: str) -> None:
        """Show what is being measured."""
        self._progress.update(self._task, description=text)

    def wire(self) -> None:
        """Throughput and processor time over the pipes."""
        blocks = {
            "windows, one field": wire.windows(self.points),
            "windows, three fields": wire.windows(self.points),
            "mirror": wire.stream(self.points),
        }
        for load, block in blocks.items():
            found: dict[str, list[wire.Measured]] = {c.name: [] for c in self.contenders}
            for number in range(self.rounds):
                for one in self.contenders:
                    self.say(f"wire, {load}: {one.name}, round {number + 1}")
                    command, given = {
                        "windows, one field": (one.ttest, wire.options()),
                        "windows, three fields": (one.ttest_three, wire.options(wire.FIELDS)),
                        "mirror": (one.mirror, []),
                    }[load]
                    found[one.name].append(wire.measure(command, one, given, block, self.points))
            self.results.setdefault("wire", {})[load] = {
                name: {
                    "points_per_second": statistics.median(m.rate for m in measured),
                    "cpu_seconds_per_million": statistics.median(
                        m.cpu_per_million for m in measured
                    ),
                }
                for name, measured in found.items()
            }

    def kapacitor(self, wanted: set[str]) -> None:
        """Replays, and latency, through the real Kapacitor."""
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with kapacitord(folder, replay.functions(self.contenders)) as engine:
                if "kapacitor" in wanted:
                    self._replays(engine, folder)
                if "latency" in wanted:
                    names = [""] + [f"{replay.slug(c.name)}_mirror" for c in self.contenders]
                    self.say("latency from write to alert")
                    found = replay.latency(engine, names, 100 * self.rounds)
                    labels = ["no UDF", *(c.name for c in self.contenders)]
                    self.results["latency_ms"] = {
                        label: asdict(found[name])
                        for label, name in zip(labels, names, strict=True)
                    }
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _replays(self, engine: Any, folder: Path) -> None:
        self.say("recording a day of points")
        engine.define("floor", replay.FLOOR)
        engine.record("day", "floor", replay.day())
        tasks = {"floor": ("no UDF", "no UDF")}
        for one in self.contenders:
            for load, script in replay.scripts(one, folder).items():
                task = f"{replay.slug(one.name)}_{load}_task"
                engine.define(task, script)
                tasks[task] = (load, one.name)
        found: dict[str, dict[str, list[replay.Replayed]]] = {}
        for number in range(self.rounds):
            for task, (load, name) in tasks.items():
                self.say(f"replay, {load}: {name}, round {number + 1}")
                took = replay.replay(engine, task, f"{task}_{number}")
                found.setdefault(load, {}).setdefault(name, []).append(took)
        self.results["kapacitor"] = {
            load: {
                name: {
                    "seconds": statistics.median(r.seconds for r in replays),
                    "points_per_second": replay.POINTS
                    / statistics.median(r.seconds for r in replays),
                    "udf_cpu_seconds_per_million": statistics.median(r.cpu_seconds for r in replays)
                    / replay.POINTS
                    * 1e6,
                }
                for name, replays in by_name.items()
            }
            for load, by_name in found.items()
        }

    def memory(self, late: int) -> None:
        """Resident memory over a long stream."""
        for one in self.contenders:
            if one.name not in ("SDK, typed", "SDK, supervised"):
                continue
            self.say(f"memory over {late / 1e6:g} million points: {one.name}")
            found = wire.memory(one, min(1_000_000, late // 2), late)
            self.results.setdefault("memory", {})[one.name] = asdict(found) | {
                "growth": found.growth
            }


def _tables(results: dict[str, Any]) -> list[Table]:
    found = []
    for load, by_name in results.get("wire", {}).items():
        table = Table("agent", "points/s", "ratio", "CPU s/million", "ratio", title=f"Wire: {load}")
        base = by_name["stock Python"]
        for name, values in by_name.items():
            rate, cpu = values["points_per_second"], values["cpu_seconds_per_million"]
            table.add_row(
                name,
                f"{rate:,.0f}",
                f"{rate / base['points_per_second']:.2f}",
                f"{cpu:.2f}",
                f"{cpu / base['cpu_seconds_per_million']:.2f}",
            )
        found.append(table)
    for load, by_name in results.get("kapacitor", {}).items():
        table = Table(
            "agent", "seconds", "ratio", "points/s", "UDF CPU s/million", title=f"Replay: {load}"
        )
        base_seconds = by_name.get("stock Python", {}).get("seconds")
        for name, values in by_name.items():
            ratio = f"{values['seconds'] / base_seconds:.2f}" if base_seconds else ""
            table.add_row(
                name,
                f"{values['seconds']:.2f}",
                ratio,
                f"{values['points_per_second']:,.0f}",
                f"{values['udf_cpu_seconds_per_million']:.2f}",
            )
        found.append(table)
    if "latency_ms" in results:
        table = Table("agent", "p50 ms", "ratio", "p99 ms", "ratio", title="Write to alert")
        none = results["latency_ms"]["no UDF"]
        for name, values in results["latency_ms"].items():
            table.add_row(
                name,
                f"{values['p50']:.2f}",
                f"{values['p50'] / none['p50']:.2f}",
                f"{values['p99']:.2f}",
                f"{values['p99'] / none['p99']:.2f}",
            )
        found.append(table)
    if "memory" in results:
        table = Table("agent", "points", "MiB", "points", "MiB", "growth", title="Resident memory")
        for name, m in results["memory"].items():
            table.add_row(
                name,
                f"{m['points_early']:,}",
                f"{m['early'] / 2**20:.1f}",
                f"{m['points_late']:,}",
                f"{m['late'] / 2**20:.1f}",
                f"{m['growth']:+.1%}",
            )
        found.append(table)
    return found


@app.command(
    help="Measure the SDK's agents beside Kapacitor's own Python and Go agents, in one run: "
    "throughput and processor time over pipes and through the real Kapacitor, memory over a long "
    "stream, latency from a write to its alert. Ratios are to the stock Python agent."
)
def main(
    rounds: Annotated[int, typer.Option(min=1, help="Times each figure is measured.")] = 3,
    points: Annotated[int, typer.Option(min=600, help="Points of a pass over pipes.")] = 300_000,
    long: Annotated[int, typer.Option(min=60_000, help="Points of the long stream.")] = 20_000_000,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Only this one, repeatable: {', '.join(PARTS)}.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = ROOT / "out" / "bench",
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON, no tables.")] = False,
) -> None:
    """Run the command."""
    wanted = set(part or PARTS)
    if wanted - set(PARTS):
        _err.print(f"error: there is no part {', '.join(sorted(wanted - set(PARTS)))}")
        raise typer.Exit(2)
    points -= points % 300
    start = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=_err, transient=True) as progress:
            bench = Bench(rounds, points, progress)
            if "wire" in wanted:
                bench.wire()
            if wanted & {"kapacitor", "latency"}:
                bench.kapacitor(wanted)
            if "memory" in wanted:
                bench.memory(long)
    except (agents.BenchError, StackError) as error:
        _err.print(f"error: {error}", markup=False)
        raise typer.Exit(1) from error
    results = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "rounds": rounds,
        "points": points,
        "seconds": round(time.monotonic() - start, 1),
        **bench.results,
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "bench.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    if as_json:
        print(json.dumps(results))
        return
    console = Console()
    for table in _tables(results):
        console.print(table)
    console.print(f"kept in {path}", highlight=False, markup=False)


if __name__ == "__main__":
    app(prog_name="python -m tests.bench")
