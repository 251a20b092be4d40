"""From a point to one line."""

import re
from math import isfinite

from lineprotocol.errors import LineError
from lineprotocol.point import PRECISIONS, FieldValue, Point, Unsigned

_NAME_SPECIAL = re.compile(r"([, ])")
_TAG_SPECIAL = re.compile(r"([,= ])")
_STRING_SPECIAL = re.compile(r'(["\\])')
_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


def format_value(value: FieldValue) -> str:
    r"""Write the value of one field.

    Raises
    ------
    LineError
        If line protocol has no form for it: a float that is not finite, an integer out of
        range, or another type.

    Examples
    --------
    >>> [format_value(v) for v in (1, Unsigned(1), 1.0, True, 'a "b"')]
    ['1i', '1u', '1.0', 'true', '"a \\"b\\""']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not isfinite(value):
            raise LineError(f"{value} has no form in line protocol")
        return float.__repr__(value)
    if isinstance(value, Unsigned):
        if not 0 <= value <= _UINT_MAX:
            raise LineError(f"{int(value)} is out of the range of unsigned 64-bit integers")
        return f"{int(value)}u"
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise LineError(f"{value} is out of the range of 64-bit integers")
        return f"{int(value)}i"
    if isinstance(value, str):
        return f'"{_STRING_SPECIAL.sub(_BACKSLASHED, value)}"'
    raise LineError(f"a field cannot hold a {type(value).__name__}")


_BACKSLASHED = r"\\\1"


def _name(text: str, special: re.Pattern[str], what: str) -> str:
    if not text:
        raise LineError(f"an empty {what}")
    if "\n" in text:
        raise LineError(f"a newline in the {what} {text!r}; only string fields can hold one")
    if text[-1] == "\\":
        raise LineError(f"the {what} {text!r} ends in a backslash, which would escape what follows")
    return special.sub(_BACKSLASHED, text)


def format_point(point: Point, precision: str = "ns") -> bytes:
    r"""Write a point as one line, without a newline at its end.

    Parameters
    ----------
    point : Point
        Tags and fields are written in their order.
    precision : str
        The unit of the timestamp, a key of `PRECISIONS`; what it cannot hold is cut off.

    Returns
    -------
    bytes
        `parse_line` of it gives back an equal point.

    Raises
    ------
    LineError
        If line protocol cannot hold the point.

    Examples
    --------
    >>> format_point(Point("m", {"t": "a b"}, {"f": 1.5, "n": 2}, 1_500_000_000), "ms")
    b'm,t=a\\ b f=1.5,n=2i 1500'
    """
    unit = PRECISIONS.get(precision)
    if unit is None:
        raise LineError(f"unknown precision {precision!r}; one of {', '.join(PRECISIONS)}")
    if not point.fields:
        raise LineError(f"the point of {point.name!r} has no fields")
    name = _name(point.name, _NAME_SPECIAL, "measurement")
    if name[0] in "#\t\0":
        raise LineError(f"a measurement cannot begin with {name[0]!r}")
    head = [name]
    for key, value in point.tags.items():
        tag = _name(key, _TAG_SPECIAL, "tag key"), _name(value, _TAG_SPECIAL, "tag value")
        head.append(f"{tag[0]}={tag[1]}")
    pairs = [
        f"{_name(key, _TAG_SPECIAL, 'field key')}={format_value(value)}"
        for key, value in point.fields.items()
    ]
    text = f"{','.join(head)} {','.join(pairs)}"
    if point.time is not None:
        if not _INT_MIN <= point.time <= _INT_MAX:
            raise LineError(f"the time {point.time} is beyond what 64 bits of nanoseconds hold")
        text = f"{text} {point.time // unit}"
    return text.encode("utf-8", "surrogateescape")
