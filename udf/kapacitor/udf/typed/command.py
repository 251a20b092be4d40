"""The command line that every typed UDF has."""

import atexit
import contextlib
import gc
import inspect
import logging
import os
import signal
import sys
import threading
from typing import Any

from kapacitor.udf.streams import claim_input, claim_output
from kapacitor.udf.typed.base import TypedUDF
from kapacitor.udf.typed.runner import Runner

LOG_LEVELS = ("KAPACITOR_UDF_LOG", "KAPACITOR_LOGGING_LEVEL")
"""Environment variables: ``debug``, ``info`` (the default), ``warning`` or ``error``; the first
set holds."""


def describe(udf: type[TypedUDF]) -> dict[str, Any]:
    """Describe a UDF from its declarations.

    Parameters
    ----------
    udf : type
        A subclass of :class:`TypedUDF`.

    Returns
    -------
    dict
        With ``name``, ``doc``, ``wants``, ``provides``, ``version`` and ``options``.
    """
    options = []
    for name, option in udf.options().items():
        entry: dict[str, Any] = {"name": name, "type": option.type_name, "doc": option.doc}
        entry["bounds"] = option.bounds
        entry["required"] = option.required
        entry["default"] = None if option.required else option.default
        options.append(entry)
    return {
        "name": udf.__name__,
        "doc": inspect.cleandoc(udf.__doc__ or ""),
        "wants": udf.wants,
        "provides": udf.provides,
        "version": udf.version,
        "options": options,
    }


def _text(udf: type[TypedUDF]) -> str:
    about = describe(udf)
    lines = [f"{about['name']}: wants {about['wants']}, provides {about['provides']}", ""]
    lines += [about["doc"], "", "Options in the TICKscript:", ""]
    rows = [
        (
            f".{option['name']}({option['type']})",
            "required" if option["required"] else f"default {option['default']!r}",
            option["doc"] + (f"; {option['bounds']}" if option["bounds"] else ""),
        )
        for option in about["options"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    return "\n".join(lines)


def main(udf: type[TypedUDF], arguments: list[str] | None = None) -> int:
    """Run a typed UDF as a program.

    Parameters
    ----------
    udf : type
        A subclass of :class:`TypedUDF`.
    arguments : list of str, optional
        The command line.

    Returns
    -------
    int
        Exit code: 0, 1 after an error that Kapacitor was told of, 2 for a wrong command.
    """
    gc.freeze()  # the modules stay; the collector need not walk them again and again
    words = sys.argv[1:] if arguments is None else arguments
    arity: dict[str, int] = {}
    by_hand = sys.stdin is not None and sys.stdin.isatty()
    if (words or by_hand) and _command_line(udf, words, arity):
        return 0
    logging.basicConfig(
        level=next(
            (level for name in LOG_LEVELS if (level := os.environ.get(name))), "info"
        ).upper(),
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Ctrl-C reaches the whole group; Kapacitor ends its UDFs by closing their input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner = Runner(udf(), claim_input(0), claim_output(1), arity)
    show = f"{udf.__name__}: "
    signal.signal(
        signal.SIGUSR1, lambda *_: print(f"{show}{runner.statistics}", file=sys.stderr, flush=True)
    )
    code = runner.run()
    if arguments is None:
        _leave(code)
    return code


def _command_line(udf: type[TypedUDF], arguments: list[str], arity: dict[str, int]) -> bool:
    """Read the command line; True when all it asked for is done."""
    import argparse  # Kapacitor seldom gives arguments, and starts this once for each node
    import json

    parser = argparse.ArgumentParser(
        description=f"{_text(udf)}\n\nKapacitor starts this program and speaks to it on standard "
        "input and output.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--describe", action="store_true", help="print what it does, and exit")
    parser.add_argument("--json", action="store_true", help="with --describe: as JSON")
    parser.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="OPTION=N",
        help="take N values at once for an option marked '...'",
    )
    given = parser.parse_args(arguments)
    if given.describe:
        print(json.dumps(describe(udf), default=str) if given.json else _text(udf))
        return True
    for text in given.values:
        name, _, number = text.partition("=")
        option = udf.options().get(name)
        if option is None or not option.many or not number.isdecimal() or int(number) < 1:
            many = [name for name, option in udf.options().items() if option.many]
            parser.error(f"--values {text}: want OPTION=N with OPTION one of {many}, N 1 or more")
        arity[name] = int(number)
    if sys.stdin is not None and sys.stdin.isatty():
        parser.error("Kapacitor starts this program; by hand, try --describe")
    return False


def _leave(code: int) -> None:
    """End the process, unless a thread of the author's is still at work.

    All is sent by now. Taking numpy and protobuf apart object by object takes some 15 ms,
    for which Kapacitor would wait at the end of every task and replay.
    """
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)
