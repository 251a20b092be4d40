"""Command line options made from a detector's constructor, which declares them once."""

import argparse
import inspect
import re
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


def number(text: str) -> float:
    """Return a plain number, or a length of time in seconds.

    Examples
    --------
    >>> number("12.5"), number("10m"), number("1h30m")
    (12.5, 600.0, 5400.0)
    """
    if _LENGTH.fullmatch(text):
        return sum(float(value) * _UNITS[unit] for value, unit in _PART.findall(text))
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor a length of time such as 90s, 10m or 1h30m"
        ) from None


def add_arguments(parser: argparse.ArgumentParser, detector: type) -> list[str]:
    """Add an option for every argument of a detector's constructor; return their names.

    The help comes from the Parameters of the class's docstring.
    """
    helps = dict(
        re.findall(
            r"^(\w+) : [^\n]*\n((?:    [^\n]*\n)+)", inspect.getdoc(detector) or "", re.MULTILINE
        )
    )
    group = parser.add_argument_group(f"options of {detector.__name__}")
    names = []
    for name, parameter in inspect.signature(detector).parameters.items():
        default = parameter.default
        required = default is inspect.Parameter.empty
        text = " ".join(helps.get(name, "").split()).replace("%", "%%")
        shown = "" if required or default is None else f" [{default:g}]"
        whole = parameter.annotation in (int, "int")
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=int if whole else number,
            default=None if required else default,
            required=required,
            metavar="N" if whole else "X",
            help=text + shown,
        )
        names.append(name)
    return names


def chosen(arguments: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Return the values of these options."""
    return {name: getattr(arguments, name) for name in names}
