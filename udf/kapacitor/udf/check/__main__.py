"""The command ``python -m kapacitor.udf.check``."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kapacitor.udf import udf_pb2
from kapacitor.udf.check.cases import CHECKS, Check
from kapacitor.udf.check.context import Context, Failed, Skipped
from kapacitor.udf.harness.durations import parse_duration
from kapacitor.udf.harness.options import OptionError, parse_options
from kapacitor.udf.harness.program import ProgramError, command

FAILED, USAGE = 1, 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_err = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check went."""

    name: str
    outcome: str
    detail: str
    meaning: str
    seconds: float


def _carry_out(check: Check, context: Context) -> Outcome:
    start = time.monotonic()
    try:
        outcome, detail = "passed", check.run(context)
    except Skipped as reason:
        outcome, detail = "skipped", str(reason)
    except (Failed, ProgramError) as reason:
        outcome, detail = "failed", str(reason)
    meaning = check.meaning if outcome == "failed" else ""
    return Outcome(check.name, outcome, detail, meaning, round(time.monotonic() - start, 3))


@app.command(
    help="Check a UDF program of any language against Kapacitor's protocol. Give it the options "
    "it needs; the checks make their own data. Arguments of the program come after --.",
    epilog="Exit status: 0 all checks passed or do not apply, 1 at least one failed, 2 wrong "
    "usage.",
)
def main(
    program: Annotated[str, typer.Argument(help="A .py file or any executable.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its own arguments.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, repeatable.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="Field of the points, repeatable. [default: the texts given as options]"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Carry out this check alone, repeatable.")
    ] = None,
    timeout: Annotated[
        str, typer.Option(help="What the program has for each answer; as in kapacitor.conf.")
    ] = "10s",
    seed: Annotated[int, typer.Option(help="Of the data.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Outcomes as JSON.")] = False,
) -> None:
    """Run the command."""
    names = [check.name for check in CHECKS]
    try:
        argv = command(program, arguments or [])
        limit = parse_duration(timeout) / 1e9
        unknown = [name for name in only or [] if name not in names]
        if unknown:
            raise ValueError(
                f"there is no check {', '.join(unknown)}; there are: {', '.join(names)}"
            )
    except (ProgramError, ValueError) as error:
        raise _stop(error) from error
    context = Context(argv, option or [], field or ["value"], limit, seed)

    outcomes: list[Outcome] = []
    first = _carry_out(CHECKS[0], context)
    if first.outcome == "passed":
        try:
            with context.open() as child:
                context.info = child.info()
            parsed = parse_options(context.info.options, context.given)
        except (OptionError, ProgramError) as error:
            raise _stop(error) from error
        if not field:
            texts = [
                value.stringValue
                for given in parsed
                for value in given.values
                if value.type == udf_pb2.STRING and value.stringValue
            ]
            context.fields = texts or ["value"]
        wanted = [check for check in CHECKS[1:] if not only or check.name in only]
        with _err.status("checking") as status:
            for check in wanted:
                status.update(f"checking: {check.name}")
                outcomes.append(_carry_out(check, context))
    if not only or CHECKS[0].name in only or first.outcome != "passed":
        outcomes.insert(0, first)

    failed = sum(outcome.outcome == "failed" for outcome in outcomes)
    if as_json:
        print(json.dumps({"failed": failed, "checks": [asdict(one) for one in outcomes]}))
    else:
        _print(outcomes)
    raise typer.Exit(FAILED if failed else 0)


def _stop(error: object) -> typer.Exit:
    _err.print("[bold red]error:[/]", end=" ")
    _err.print(str(error), markup=False, highlight=False)
    return typer.Exit(USAGE)


def _short(text: str) -> str:
    lines = text.splitlines()
    # Of a traceback, what was said first and what came of it.
    return "\n".join(lines if len(lines) <= 6 else [*lines[:2], "...", *lines[-2:]])


def _print(outcomes: list[Outcome]) -> None:
    console = Console()
    table = Table("check", "outcome", "what was seen", "seconds")
    styles = {"passed": "green", "failed": "bold red", "skipped": "dim"}
    for one in outcomes:
        detail = _short(one.detail).replace("[", r"\[")
        if one.meaning:
            detail += f"\n[italic]It means: {one.meaning}[/]"
        style = styles[one.outcome]
        table.add_row(one.name, f"[{style}]{one.outcome}[/]", detail, f"{one.seconds:.2f}")
    console.print(table)
    counts = {name: sum(o.outcome == name for o in outcomes) for name in styles}
    console.print(", ".join(f"{count} {name}" for name, count in counts.items()), highlight=False)


if __name__ == "__main__":
    app(prog_name="python -m kapacitor.udf.check")
