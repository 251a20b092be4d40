"""Options of a UDF from text, by the types that the program itself declares."""

import csv
from collections.abc import Mapping, Sequence

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.durations import parse_duration

_TRUE_FALSE = {"true": True, "false": False}


class OptionError(ValueError):
    """Options that the program does not take; the message lists all that is wrong."""


def describe(types: Sequence[int]) -> str:
    """Name the arguments of an option, as its ``valueTypes`` give them.

    Examples
    --------
    >>> describe([udf_pb2.STRING, udf_pb2.INT])
    'string, int'
    """
    return ", ".join(udf_pb2.ValueType.Name(kind).lower() for kind in types) or "no value"


def _value(kind: int, text: str) -> udf_pb2.OptionValue:
    value = udf_pb2.OptionValue()
    value.type = kind  # type: ignore[assignment]
    if kind == udf_pb2.BOOL:
        if text.lower() not in _TRUE_FALSE:
            raise ValueError(f"{text!r} is not a bool: write true or false")
        value.boolValue = _TRUE_FALSE[text.lower()]
    elif kind == udf_pb2.INT:
        try:
            value.intValue = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not an int of 64 bits") from None
    elif kind == udf_pb2.DOUBLE:
        try:
            value.doubleValue = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a double") from None
    elif kind == udf_pb2.DURATION:
        value.durationValue = parse_duration(text)
    else:
        value.stringValue = text
    return value


def parse_options(
    declared: Mapping[str, udf_pb2.OptionInfo], given: Sequence[str]
) -> list[udf_pb2.Option]:
    """Turn ``name=value`` texts into the options of an init request.

    An option with several arguments takes them separated by commas, quoted as in CSV where
    a comma belongs to the value. An option that is given twice is sent twice, as Kapacitor
    does for a property that a TICKscript sets twice.

    Parameters
    ----------
    declared : mapping of str to OptionInfo
        From the program's info response.
    given : sequence of str
        ``name=value``, or the name alone for an option without arguments.

    Raises
    ------
    OptionError
        Naming every option that is unknown or has the wrong number or type of values.
    """
    options: list[udf_pb2.Option] = []
    wrong: list[str] = []
    for text in given:
        name, equals, rest = text.partition("=")
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            wrong.append(f"{name!r}: the program has no such option, it has: {known}")
            continue
        types = list(declared[name].valueTypes)
        if len(types) == 1:
            texts = [rest] if equals else []
        else:
            texts = next(csv.reader([rest]), []) if equals else []
        if len(texts) != len(types):
            wrong.append(f"{name!r}: takes {describe(types)}, got {len(texts)} value(s)")
            continue
        option = udf_pb2.Option(name=name)
        for kind, value in zip(types, texts, strict=True):
            try:
                option.values.append(_value(kind, value))
            except ValueError as error:
                wrong.append(f"{name!r}: {error}")
        options.append(option)
    if wrong:
        raise OptionError("\n".join(wrong))
    return options
