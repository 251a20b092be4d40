"""The command ``python -m kapacitor.udf.new``."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kapacitor.udf.new.generate import NewError, plan

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Kind(StrEnum):
    """What the new UDF reads."""

    window = "window"
    stream = "stream"


@app.command(
    help="Write a new UDF that works as it is: the program, its TICKscript, its declaration in "
    "kapacitor.conf, a case for the replay of its TICKscript, and a test.",
    epilog="Exit status: 0 written, 2 wrong usage or something of that name is there.",
)
def main(
    name: Annotated[str, typer.Argument(help="Such as vibration or belt_wear.")],
    kind: Annotated[Kind, typer.Option(help="Windows of points, or point by point.")] = Kind.window,
    root: Annotated[Path, typer.Option(help="The repository.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="The files as JSON.")] = False,
) -> None:
    """Run the command."""
    try:
        planned = plan(name, kind.value, root)
    except NewError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    planned.write()
    files = [str(path.relative_to(root)) for path in planned.files]
    config = str(planned.config.relative_to(root))
    if as_json:
        print(json.dumps({"written": files, "changed": [config]}))
        return
    for path in files:
        print(f"wrote    {path}")
    print(f"changed  {config}")
    print(f"Try it:  pytest tests/wire/test_udf_{name}.py")


if __name__ == "__main__":
    app(prog_name="python -m kapacitor.udf.new")
