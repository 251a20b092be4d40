"""Drives a source: into a file, to an endpoint, or live."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from simulator.errors import SimulatorError
from simulator.job import Job, progress, report
from simulator.live import run_live
from simulator.source import Chunk, chunks
from simulator.writer import Writer, redacted


def run(job: Job) -> None:
    """Do the job; the process's exit code is that of the `SimulatorError`, if one is raised."""
    if job.speed is not None:
        run_live(job)
        return
    job.begin_injections(job.start)
    times = round((job.duration or 0) / job.source.interval)
    if times < 1:
        raise SimulatorError(f"--duration: shorter than the {job.source.interval:g} s of one point")
    made = chunks(job.source, job.start, times, job.chunk, job.precision)
    if job.output is not None:
        write(made, job.output, times * job.source.series, job.as_json)
    else:
        send(made, Writer(job.target), times * job.source.series, job.as_json)


def write(made: Iterator[Chunk], output: str, total: int, as_json: bool) -> None:
    """Write chunks to a file, which appears under its name only when it is whole.

    Parameters
    ----------
    made : iterator of Chunk
        What to write.
    output : str
        Path, or ``-`` for standard output.
    total : int
        Points expected, for the progress.
    as_json : bool
        Print a summary as JSON; on standard error if the data goes to standard output.
    """
    begin = time.monotonic()
    if output == "-":
        try:
            points = _copy(made, sys.stdout.buffer, total)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader has had enough, as `head` does. Python would complain at exit as well.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    else:
        path = Path(output)
        # A pipe or a device is written to as it is; only a file can be put in place when whole.
        special = path.exists() and not path.is_file()
        part = path if special else path.with_name(path.name + ".part")
        try:
            with part.open("wb") as file:
                points = _copy(made, file, total)
            if not special:
                part.replace(path)
        except OSError as error:
            raise SimulatorError(f"--output {output}: {error.strerror or error}") from None
        finally:
            if not special:
                part.unlink(missing_ok=True)
    summary = {"output": output, "points": points, "seconds": round(time.monotonic() - begin, 3)}
    report(summary, as_json, to_stderr=output == "-")


def _copy(made: Iterator[Chunk], file: BinaryIO, total: int) -> int:
    points = 0
    with progress() as bar:
        task = bar.add_task("writing", total=total)
        for chunk in made:
            file.write(chunk.lines)
            points += chunk.points
            bar.advance(task, chunk.points)
    return points


def send(made: Iterator[Chunk], writer: Writer, total: int | None, as_json: bool) -> None:
    """Send chunks in order and say what was done.

    Parameters
    ----------
    made : iterator of Chunk
        What to send.
    writer : Writer
        Where to.
    total : int or None
        Points expected, for the progress, if known.
    as_json : bool
        Print a summary as JSON on standard output.
    """
    begin = time.monotonic()
    with progress() as bar:
        task = bar.add_task("sending", total=total)
        for chunk in made:
            writer.send(chunk.lines, chunk.points, lambda why: bar.console.print(f"waiting: {why}"))
            bar.advance(task, chunk.points)
    seconds = round(time.monotonic() - begin, 3)
    report({"url": redacted(writer.url), **asdict(writer.sent), "seconds": seconds}, as_json)
