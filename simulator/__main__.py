"""``python -m simulator``: one command a generator or tool, each from its own module."""

from __future__ import annotations

import sys

import typer

from simulator import brew, fleet, inject, metric_replayer, printer, restamp, turbine
from simulator.errors import SimulatorError

app = typer.Typer(
    help="Seeded data generators and replay tools for the stack.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("printer")(printer.command)
app.command("fleet")(fleet.command)
app.command("turbine")(turbine.command)
app.command("brew")(brew.command)
app.command("restamp")(restamp.command)
app.command("metric-replayer")(metric_replayer.command)
app.command("inject")(inject.command)


def main() -> None:
    """Run a command; an error the user can act on is one line, without a traceback."""
    try:
        app(prog_name="python -m simulator")
    except SimulatorError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
