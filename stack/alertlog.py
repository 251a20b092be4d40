"""``python -m stack alert-log``: the alert logs as Kapacitor writes them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stack import choose
from stack.errors import StackError


def command(
    name: Annotated[
        str | None, typer.Argument(help="Name of a log, such as cpu_alert.log. Lists them if none.")
    ] = None,
) -> None:
    """Print an alert log of the running stack: one alert as JSON a line."""
    stack = choose.running_live()
    known = stack.alert_logs()
    if name is None:
        print("\n".join(known))
        return
    # As a TICKscript names it, with its folder.
    name = name.rpartition("/")[2]
    text = stack.alert_log(name)
    if not text and name not in known:
        raise StackError(
            f"no alert log {name}: nothing has alerted there yet",
            f"there are: {', '.join(known) or 'none'}",
        )
    sys.stdout.write(text)
