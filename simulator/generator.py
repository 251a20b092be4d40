"""The command of a generator: the options that all of them share, and what is done with them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from simulator.errors import SimulatorError
from simulator.job import Job
from simulator.options import (
    CONTROL,
    FIRST_DAY,
    Json,
    Service,
    Unit,
    parse_injections,
    target,
    times,
)
from simulator.run import run
from simulator.source import Anomaly, Source

S = TypeVar("S", bound=Source)


def generator(
    make: Callable[..., S],
    *,
    database: str,
    length: str,
    first: str = FIRST_DAY,
    points: int = 5000,
    faults: Callable[[S, int], list[Anomaly]] | None = None,
) -> Callable[..., None]:
    """Return the command of a generator.

    Parameters
    ----------
    make : callable
        Makes the source from ``seed``, ``live`` and options of its own; its docstring is the
        command's help.
    database : str
        Default of ``--db``.
    length : str
        Length of the generator's whole series, such as ``24h``.
    first : str
        Default of ``--start``.
    points : int
        Default of ``--chunk``.
    faults : callable, optional
        Tells when the faults of a source come, for data that begins at a time in ns; with it the
        command has ``--truth``.
    """

    def command(
        seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
        start: Annotated[
            str,
            typer.Option(
                help="Time of the first point: ISO 8601, 'now' or 'now-1h'. Live data is from now "
                "on."
            ),
        ] = first,
        duration: Annotated[
            str | None,
            typer.Option(
                help="Length of the data, such as 24h2s, 90m or 3600. Live, for ever if not given."
            ),
        ] = None,
        truth: Annotated[
            Path | None, typer.Option(help="Write the times of the faults to this file, as JSON.")
        ] = None,
        output: Annotated[
            str | None,
            typer.Option("--output", "-o", help="Write to a file ('-': stdout), send nothing."),
        ] = None,
        to: Annotated[
            Service,
            typer.Option(
                help="Send to this service, at TELEGRAF_URL, INFLUXDB_URL or KAPACITOR_URL if set."
            ),
        ] = Service.telegraf,
        url: Annotated[
            str | None,
            typer.Option(help="Send to any endpoint that takes line protocol, instead of --to."),
        ] = None,
        db: Annotated[str, typer.Option(help="Database the points belong to.")] = database,
        rp: Annotated[
            str | None,
            typer.Option(
                help="Retention policy. By default the database's; for kapacitor autogen."
            ),
        ] = None,
        precision: Annotated[
            Unit | None, typer.Option(help="Unit of the timestamps. By default s; live, ms.")
        ] = None,
        chunk: Annotated[
            int, typer.Option(min=1, max=1_000_000, help="Points in one request.")
        ] = points,
        live: Annotated[
            bool,
            typer.Option(
                "--live", help="Send for ever, each point at the time it is stamped with."
            ),
        ] = False,
        speed: Annotated[
            float, typer.Option(min=0.001, help="Live: multiple of real time.")
        ] = 30.0,
        inject: Annotated[
            list[str] | None,
            typer.Option(
                metavar="FIELD:SECONDS[@AT]",
                help="Start an anomaly now, that is at the beginning, or AT seconds later. "
                "Repeatable.",
            ),
        ] = None,
        buffer: Annotated[
            int,
            typer.Option(
                min=1, help="Live: points kept while the other side is away; then the oldest go."
            ),
        ] = 100_000,
        control: Annotated[
            str,
            typer.Option(metavar="HOST:PORT", help="Live: where health and injections are served."),
        ] = CONTROL,
        as_json: Json = False,
        **own: Any,
    ) -> None:
        source = make(seed=seed, live=live, **own)
        unit = precision or (Unit.ms if live else Unit.s)
        begin, seconds = times(live, start, duration, length)
        if truth is not None and faults is not None:
            try:
                truth.write_text(json.dumps([asdict(a) for a in faults(source, begin)]) + "\n")
            except OSError as error:
                raise SimulatorError(f"--truth {truth}: {error.strerror}") from None
        run(
            Job(
                source=source,
                target=target(to, url, db, rp, unit),
                output=output,
                start=begin,
                duration=seconds,
                precision=unit,
                chunk=chunk,
                speed=speed if live else None,
                inject=parse_injections(inject or []),
                buffer=buffer,
                control=control,
                as_json=as_json,
            )
        )

    # typer reads a command's options from its signature: the shared ones around those of `make`.
    asked = inspect.signature(make, eval_str=True).parameters.values()
    own_options = [option for option in asked if option.name not in ("seed", "live")]
    shared = dict(inspect.signature(command, eval_str=True).parameters)
    del shared["own"]
    if faults is None:
        del shared["truth"]
    time, rest = list(shared.values())[:3], list(shared.values())[3:]
    command.__doc__ = make.__doc__
    command.__signature__ = inspect.Signature([*time, *own_options, *rest])  # type: ignore[attr-defined]
    return command
