"""``python -m stack``: the commands behind the Makefile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stack import alertlog, brewreport, choose, compose, demo, lint, reload, taskreport
from stack.backend import OPTIONAL, SERVICES, ServiceStatus
from stack.cases import commands as case_commands
from stack.cases import engine as case_engine
from stack.errors import StackError
from stack.findings import events
from stack.images import build_images
from stack.packages.commands import app as package_app
from stack.settings import ROOT
from stack.testing import run_tests

app = typer.Typer(
    help="Run the stack, in containers or as local processes: the commands behind the Makefile.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

app.add_typer(package_app, name="package")

Services = Annotated[
    list[str] | None, typer.Argument(help=f"Which services: {', '.join(SERVICES)}. All by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _checked(services: list[str] | None, known: tuple[str, ...] = SERVICES) -> list[str]:
    for service in services or []:
        if service not in known:
            raise StackError(f"no service {service!r}", f"choose from {', '.join(known)}")
    return services or []


@app.command()
def up(services: Services = None) -> None:
    """Start the stack with the simulator sending, and wait until all of it is healthy."""
    wanted = _checked(services) or list(SERVICES)
    stack = choose.live(choose.choose_backend(console))
    with console.status("starting"):
        stack.up(wanted)
    table = Table(title=f"The stack is up ({stack.backend})", title_justify="left")
    table.add_column("service")
    table.add_column("address")
    for service, url in stack.addresses.urls().items():
        if service in wanted:
            table.add_row(service, url)
    Console().print(table)


@app.command()
def down() -> None:
    """Stop the stack and keep its data. Engines kept warm for cases stop as well."""
    case_engine.stop_all()
    try:
        stack = choose.running_live()
    except StackError:
        console.print("Nothing to stop: the stack is not running.")
        return
    stack.down()
    console.print(f"Stopped ({stack.backend}). The data is kept; `make clean` deletes it.")


@app.command()
def clean() -> None:
    """Stop the stack and delete its data, on both backends. Built engines and images stay."""
    case_engine.stop_all()
    for backend in choose.BACKENDS:
        if backend == "compose" and compose.docker_engine_missing():
            continue
        choose.live(backend).remove()
    console.print("Stopped, data deleted.")


@app.command()
def ps(as_json: Json = False) -> None:
    """Show what runs. Exits with 1 when a service is not healthy."""
    stack = choose.running_live()
    found: list[ServiceStatus] = stack.ps()
    urls = stack.addresses.urls()
    if as_json:
        rows = [{**s.__dict__, "url": urls[s.service]} for s in found]
        print(json.dumps({"backend": stack.backend, "services": rows}, indent=2))
    else:
        table = Table(title=f"{stack.name} ({stack.backend})", title_justify="left")
        for column in ("service", "state", "health", "address"):
            table.add_column(column)
        for s in found:
            health = "healthy" if s.healthy else "not healthy"
            table.add_row(s.service, s.state, health, urls[s.service])
        Console().print(table)
    if not all(s.healthy for s in found):
        raise typer.Exit(1)


@app.command()
def logs(
    services: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Which services: {', '.join((*SERVICES, *OPTIONAL))}. All that run by default."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
) -> None:
    """Show the end of the services' logs."""
    wanted = _checked(services, (*SERVICES, *OPTIONAL))
    stack = choose.running_live()
    started = [status.service for status in stack.ps()]
    for service in wanted:
        if service not in started:
            how = f"`COMPOSE_PROFILES={service} make up`" if service in OPTIONAL else "`make up`"
            raise StackError(f"the service {service} is not running", f"start it with {how}")
    raise typer.Exit(stack.follow_logs(wanted or started, follow))


@app.command()
def inject(
    field: Annotated[str, typer.Argument(help="Which temperature: hotend, bed or air.")],
    seconds: Annotated[float, typer.Option(help="For how long.")] = 30,
) -> None:
    """Make the live printer go wrong now."""
    url = choose.running_live().addresses.urls()["simulator"]
    command = [
        sys.executable,
        "-m",
        "simulator",
        "inject",
        f"{field}:{seconds:g}",
        "--control",
        url,
    ]
    raise typer.Exit(subprocess.call(command, cwd=ROOT))


@app.command("alerts")
def alerts_command(
    last: Annotated[int, typer.Option("-n", help="How many events, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest alert events of every alert log."""
    stack = choose.running_live()
    found = [event for name in stack.alert_logs() for event in events(stack.alert_log(name))]
    found = sorted(found, key=lambda event: event["at"])[-last:] if last > 0 else []
    if as_json:
        keys = ("time", "id", "level", "message", "duration")
        print(json.dumps([{k: e[k] for k in keys} for e in found], indent=2))
        return
    table = Table(title=None if found else "no alerts yet", title_justify="left")
    for column in ("time", "id", "level", "message"):
        table.add_column(column)
    for event in found:
        time = event["at"].isoformat(sep=" ", timespec="seconds")
        table.add_row(time, event["id"], event["level"], event["message"])
    Console().print(table)


@app.command("demo")
def demo_command(
    seed: Annotated[int, typer.Option(help="Of the data: the same seed gives the same bytes.")] = 1,
    start: Annotated[
        str, typer.Option(help="Time of the first point, in UTC, or `now`.")
    ] = "2016-01-01T00:00:00Z",
    task: Annotated[
        str, typer.Option(help="A name in kapacitor/examples, or the path of a .tick.")
    ] = "print_temps",
    as_json: Json = False,
) -> None:
    """Run the main job: a day of printer data through the engines, three anomalies found.

    Exits with 1 when an expected anomaly is missing or a point was lost. Results: out/demo.
    """
    summary = demo.run(console, seed, _time(start), task)
    if as_json:
        print(summary.json(), end="")
    else:
        Console().print(demo.table(summary))
        out = demo.OUT.relative_to(ROOT)
        print(f"Report:  {out}/report.html\nSummary: {out}/summary.json")
    if not summary.passed:
        console.print("[bold]The demo failed:[/bold] an expected anomaly or a point is missing.")
        raise typer.Exit(1)


def _time(text: str) -> datetime:
    """Return a time in whole seconds, UTC where no offset is given."""
    if text == "now":
        return datetime.now(UTC).replace(microsecond=0)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise StackError(
            f"--start {text}: not a time", "use one such as 2016-01-01T00:00:00Z, or now"
        ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).replace(microsecond=0)


@app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test_command(context: typer.Context) -> None:
    """Run every test on every backend that this machine offers; arguments go to pytest."""
    raise typer.Exit(run_tests(console, context.args))


@app.command()
def images() -> None:
    """Build every image on this machine, for sites with no registry; print the lines for .env."""
    variables = build_images(console)
    console.print("Put these lines into .env, or into the environment:")
    for name, value in variables.items():
        print(f"{name}={value}")


@app.command()
def backends(as_json: Json = False) -> None:
    """Say which backends this machine offers. Exits with 1 when it offers none."""
    found = choose.offers(console)
    if as_json:
        print(json.dumps([o.__dict__ for o in found], indent=2))
    else:
        for offer in found:
            print(f"{offer.backend}: {offer.problem or 'can be used'}")
    if all(o.problem for o in found):
        raise typer.Exit(1)


def _client(name: str) -> None:
    passed = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    @app.command(name, context_settings=passed, help=f"Run {name}'s own client on the stack.")
    def command(context: typer.Context) -> None:
        raise typer.Exit(choose.running_live().client(name, context.args).returncode)


app.command("cases")(case_commands.cases)
app.command("accept")(case_commands.accept)
app.command("reload")(reload.command)
app.command("lint")(lint.command)
app.command("alert-log")(alertlog.command)
app.command("report")(taskreport.command)
app.command("brew-report")(brewreport.command)

for _name in ("kapacitor", "influx"):
    _client(_name)


def main() -> None:
    """Run a command; an error the user can act on is shown without a traceback."""
    # A plain `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="python -m stack")
    except StackError as error:
        if error.details:
            print(error.details, file=sys.stderr)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
