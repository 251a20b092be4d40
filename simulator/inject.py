"""Starts, stops and lists anomalies in a live simulator that is running."""

from __future__ import annotations

import json
from typing import Annotated, Any

import requests
import typer
from rich.console import Console
from rich.table import Table

from simulator import options
from simulator.errors import REFUSED, UNREACHABLE, SimulatorError


def command(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[FIELD:SECONDS]", help="The anomaly to start now."),
    ] = None,
    stop: Annotated[
        str | None, typer.Option(metavar="FIELD", help="End the field's anomaly now.")
    ] = None,
    control: Annotated[
        str,
        typer.Option(envvar="SIMULATOR_URL", help="Address of the live simulator's control."),
    ] = f"http://{options.CONTROL}",
    as_json: options.Json = False,
) -> None:
    """Start or stop an anomaly in a running live simulator; alone, list what is running."""
    url = control.rstrip("/") + "/anomalies"
    if what:
        ((field, seconds, offset),) = options.parse_injections([what])
        if offset:
            raise SimulatorError("an anomaly in a running simulator starts now: leave out @AT")
        _ask("POST", url, {"field": field, "seconds": seconds})
    if stop:
        _ask("DELETE", f"{url}/{stop}")
    listing = _ask("GET", url)
    if as_json:
        print(json.dumps(listing))
        return
    table = Table("field", "since", "until", title=None if listing["running"] else "none running")
    for anomaly in listing["running"]:
        table.add_row(anomaly["field"], anomaly["start"], anomaly["end"])
    Console().print(table)


def _ask(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    try:
        answer = requests.request(method, url, json=body, timeout=5)
        said = answer.json()
    except requests.ConnectionError:
        raise SimulatorError(
            f"no live simulator answers at {url}: start one with `python -m simulator printer "
            f"--live`, or give its address with --control or SIMULATOR_URL",
            UNREACHABLE,
        ) from None
    except (requests.RequestException, ValueError) as error:
        raise SimulatorError(f"{url} is not a live simulator: {error}", UNREACHABLE) from None
    if not answer.ok:
        raise SimulatorError(f"{said.get('error', said)}", REFUSED)
    return said
