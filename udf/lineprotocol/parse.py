"""From one line to a typed point.

A delimiter with a backslash before it belongs to the name or value it stands in; any other
backslash stands for itself. That is how InfluxDB reads measurements and tags, and it makes
every name but one that ends in a backslash survive a round trip.
"""

import re
from math import isinf
from typing import NoReturn

from lineprotocol.errors import LineError
from lineprotocol.point import PRECISIONS, FieldValue, Point, Unsigned

# Possessive quantifiers: a line is read once from left to right, never retried, so a hostile
# line costs time in proportion to its length.
_NAME = re.compile(rb"(?:\\[, ]|[^, \n])*+")
_TAG_PART = re.compile(rb"(?:\\[,= ]|[^,= \n])*+")
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_BARE = re.compile(rb'[^, \n"]*+')
_FLOAT = re.compile(rb"-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?\Z")
_INTEGER = re.compile(rb"-?[0-9]++\Z")
_UNESCAPE_NAME = re.compile(rb"\\([, ])")
_UNESCAPE_TAG = re.compile(rb"\\([,= ])")
_UNESCAPE_STRING = re.compile(rb'\\(["\\])')

_BOOLEANS = {
    **dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), True),
    **dict.fromkeys((b"f", b"F", b"false", b"False", b"FALSE"), False),
}
_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _unescape(raw: bytes, pattern: re.Pattern[bytes]) -> str:
    return _text(pattern.sub(rb"\1", raw) if b"\\" in raw else raw)


def parse_line(line: bytes, precision: str = "ns") -> Point:
    r"""Parse one line of line protocol.

    Parameters
    ----------
    line : bytes
        One line, with or without its line end. A comment or an empty line is an error here:
        `Line.blank` and `split_lines` tell them apart.
    precision : str
        The unit of the timestamp, a key of `PRECISIONS`.

    Returns
    -------
    Point
        With its time in nanoseconds, or None if the line has no timestamp.

    Raises
    ------
    LineError
        With the reason and the column, if the line is not line protocol.

    Examples
    --------
    >>> parse_line(rb'brew\ room,beer=haze\ v5 temp=18.8,valve=2i,on=t,note="a \"b\"" 1')
    ... # doctest: +NORMALIZE_WHITESPACE
    Point(name='brew room', tags={'beer': 'haze v5'},
          fields={'temp': 18.8, 'valve': 2, 'on': True, 'note': 'a "b"'}, time=1)
    """
    unit = PRECISIONS.get(precision)
    if unit is None:
        raise LineError(f"unknown precision {precision!r}; one of {', '.join(PRECISIONS)}")
    # Most lines have neither an escape nor a string and split at their delimiters as they are.
    if b"\\" not in line and b'"' not in line and b"\n" not in line:
        parts = line.split(b" ")
        count = len(parts)
        if count == 3 or count == 2:
            try:
                return _plain(parts, unit)
            except (ValueError, IndexError):
                pass  # read it again with care, for the reason and the column
    return _careful(line, unit)


def _plain(parts: list[bytes], unit: int) -> Point:
    name, *pairs = parts[0].split(b",")
    tags: dict[str, str] = {}
    for pair in pairs:
        key, value = pair.split(b"=")
        if not key or not value:
            raise ValueError
        tags[_text(key)] = _text(value)
    if not name or name[0] in b"#\t\0" or len(tags) != len(pairs):
        raise ValueError
    fields: dict[str, FieldValue] = {}
    for pair in parts[1].split(b","):
        key, value = pair.split(b"=")
        if not key:
            raise ValueError
        fields[_text(key)] = parse_value(value)
    if len(parts) == 2:
        return Point(_text(name), tags, fields, None)
    stamp = parts[2]
    if not _INTEGER.match(stamp):
        raise ValueError
    time = int(stamp) * unit
    if not _INT_MIN <= time <= _INT_MAX:
        raise ValueError
    return Point(_text(name), tags, fields, time)


def parse_value(raw: bytes) -> FieldValue:
    """Parse the value of one field.

    Parameters
    ----------
    raw : bytes
        As it stands in the line, a string with its quotes.

    Returns
    -------
    int, float, str, bool or Unsigned

    Raises
    ------
    LineError
        If it is none of them, or out of the range of its type.

    Examples
    --------
    >>> [parse_value(raw) for raw in (b"1", b"1e3", b"1i", b"1u", b"T", b'"1"')]
    [1.0, 1000.0, 1, Unsigned(1), True, '1']
    """
    if _FLOAT.match(raw):
        number = float(raw)
        if isinf(number):
            raise LineError("a float beyond what 64 bits hold")
        return number
    suffix = raw[-1:]
    if (suffix == b"i" or suffix == b"u") and _INTEGER.match(raw[:-1]):
        digits = raw[:-1]
        # Nothing in range has more digits than this but leading zeros; Python refuses
        # to convert thousands of digits at once.
        if len(digits.lstrip(b"-0")) > 20:
            raise LineError("an integer beyond what 64 bits hold")
        whole = int(digits[:1] + digits[1:].lstrip(b"0") if len(digits) > 40 else digits)
        if suffix == b"i":
            if not _INT_MIN <= whole <= _INT_MAX:
                raise LineError("an integer beyond what 64 bits hold")
            return whole
        if digits[:1] == b"-" or whole > _UINT_MAX:
            raise LineError("an unsigned integer below zero or beyond what 64 bits hold")
        return Unsigned(whole)
    boolean = _BOOLEANS.get(raw)
    if boolean is not None:
        return boolean
    if raw[:1] == b'"':
        string = _STRING.fullmatch(raw)
        if string is None:
            raise LineError("a string without its closing quote")
        return _unescape(string[1], _UNESCAPE_STRING)
    if not raw:
        raise LineError("a field without a value")
    raise LineError("a value that is no number, integer, boolean or string in double quotes")


def parse_key(key: bytes) -> tuple[str, dict[str, str]]:
    r"""Parse a series key: the measurement and the tags.

    Examples
    --------
    >>> parse_key(rb"temperature,brew=haze\ v5")
    ('temperature', {'brew': 'haze v5'})
    """
    name, tags, end = _key(key, 0)
    if end != len(key):
        _fail(key, end, "a space or a line end in a series key")
    return name, tags


def _fail(line: bytes, at: int, reason: str) -> NoReturn:
    shown = "the end of the line" if at >= len(line) else repr(_text(line[at : at + 1]))
    raise LineError(f"{reason}, at {shown}", at + 1)


def _key(line: bytes, at: int) -> tuple[str, dict[str, str], int]:
    match = _NAME.match(line, at)
    name = match[0] if match else b""
    if not name:
        _fail(line, at, "a point without a measurement")
    at += len(name)
    tags: dict[str, str] = {}
    while line[at : at + 1] == b",":
        at += 1
        start = at
        match = _TAG_PART.match(line, at)
        key = match[0] if match else b""
        at += len(key)
        if not key:
            _fail(line, at, "a tag without a key")
        if line[at : at + 1] != b"=":
            _fail(line, at, "a tag without a value")
        at += 1
        match = _TAG_PART.match(line, at)
        value = match[0] if match else b""
        at += len(value)
        if not value:
            _fail(line, at, "a tag without a value")
        if line[at : at + 1] == b"=":
            _fail(line, at, "a second '=' in a tag; write it as '\\='")
        text = _unescape(key, _UNESCAPE_TAG)
        if text in tags:
            raise LineError(f"the tag {text!r} twice", start + 1)
        tags[text] = _unescape(value, _UNESCAPE_TAG)
    return _unescape(name, _UNESCAPE_NAME), tags, at


def _skip(line: bytes, at: int) -> int:
    while line[at : at + 1] == b" ":
        at += 1
    return at


def _careful(line: bytes, unit: int) -> Point:
    if line.endswith(b"\n"):
        line = line[:-1]
    if line.endswith(b"\r"):
        line = line[:-1]
    at = len(line) - len(line.lstrip(b" \t\0"))
    if line[at : at + 1] == b"#":
        _fail(line, at, "a comment, not a point")
    name, tags, at = _key(line, at)
    start = at
    at = _skip(line, at)
    if at == start or at == len(line):
        _fail(line, at, "a point without fields")
    fields: dict[str, FieldValue] = {}
    while True:
        match = _TAG_PART.match(line, at)
        key = match[0] if match else b""
        if not key:
            _fail(line, at, "a field without a key")
        at += len(key)
        if line[at : at + 1] != b"=":
            _fail(line, at, "a field without a value")
        at += 1
        match = _STRING.match(line, at) if line[at : at + 1] == b'"' else _BARE.match(line, at)
        if match is None:
            _fail(line, at, "a string without its closing quote")
        try:
            value = parse_value(match[0])
        except LineError as error:
            raise LineError(f"{error.reason}: {_text(match[0][:40])!r}", at + 1) from None
        fields[_unescape(key, _UNESCAPE_TAG)] = value
        at = match.end()
        if line[at : at + 1] != b",":
            break
        at += 1
    if at == len(line):
        return Point(name, tags, fields, None)
    if line[at : at + 1] != b" ":
        _fail(line, at, "a field that does not end where its value ends")
    at = _skip(line, at)
    stamp = line[at:].rstrip(b" ")
    if not stamp:
        return Point(name, tags, fields, None)
    if not _INTEGER.match(stamp):
        _fail(line, at, "a timestamp that is not a whole number")
    # 20 characters hold every 64-bit time with its sign.
    time = int(stamp) * unit if len(stamp) <= 20 else _INT_MAX + 1
    if not _INT_MIN <= time <= _INT_MAX:
        raise LineError("a timestamp beyond what 64 bits of nanoseconds hold", at + 1)
    return Point(name, tags, fields, time)


class Line:
    """One line, parsed only when somebody looks inside.

    Parameters
    ----------
    raw : bytes
        The line as it came, without its newline.
    precision : str
        The unit of its timestamp.

    Attributes
    ----------
    raw : bytes
        Never changed: whoever hands the line on hands on exactly these bytes.

    Raises
    ------
    LineError
        On the first look at `point`, `name`, `tags`, `fields` or `time`, if `raw` is not
        line protocol.

    Examples
    --------
    >>> line = Line(b"temperature,brew=bv_1 temperature=18.80 1")
    >>> line.fields, line.raw
    ({'temperature': 18.8}, b'temperature,brew=bv_1 temperature=18.80 1')
    """

    __slots__ = ("_point", "precision", "raw")

    def __init__(self, raw: bytes, precision: str = "ns") -> None:
        self.raw = raw
        self.precision = precision
        self._point: Point | None = None

    @property
    def blank(self) -> bool:
        """Whether this is an empty line or a comment, which hold no point."""
        stripped = self.raw.lstrip(b" \t\0\r\n")
        return not stripped or stripped[:1] == b"#"

    @property
    def point(self) -> Point:
        """The typed point; changing it does not change `raw`."""
        if self._point is None:
            self._point = parse_line(self.raw, self.precision)
        return self._point

    @property
    def name(self) -> str:
        """The measurement."""
        return self.point.name

    @property
    def tags(self) -> dict[str, str]:
        """The tags, in the order of the line."""
        return self.point.tags

    @property
    def fields(self) -> dict[str, FieldValue]:
        """The fields, in the order of the line."""
        return self.point.fields

    @property
    def time(self) -> int | None:
        """Nanoseconds since 1970, or None."""
        return self.point.time
