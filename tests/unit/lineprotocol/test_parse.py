"""Lines to points: types, escapes, times, and what is refused with which words."""

import pytest

from lineprotocol import PRECISIONS, Line, LineError, Point, Unsigned, parse_key, parse_line


def one(raw: bytes) -> object:
    return parse_line(b"m f=" + raw + b" 1").fields["f"]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"1", 1.0),
        (b"1.", 1.0),
        (b".5", 0.5),
        (b"-.5", -0.5),
        (b"-0", -0.0),
        (b"1e3", 1000.0),
        (b"1E+3", 1000.0),
        (b"1.5e-7", 1.5e-7),
        (b"007", 7.0),
        (b"1.7976931348623157e308", 1.7976931348623157e308),
        (b"0.1000000000000000055511151231257827", 0.1),
        (b"0i", 0),
        (b"-9223372036854775808i", -(2**63)),
        (b"9223372036854775807i", 2**63 - 1),
        (b"0u", Unsigned(0)),
        (b"18446744073709551615u", Unsigned(2**64 - 1)),
        *[(raw, True) for raw in (b"t", b"T", b"true", b"True", b"TRUE")],
        *[(raw, False) for raw in (b"f", b"F", b"false", b"False", b"FALSE")],
        (b'""', ""),
        (b'"a b,c=d"', "a b,c=d"),
        (rb'"a \"b\" \\ \n \,"', r'a "b" \ \n \,'),
        ('"\u00e9\U0001f37a"'.encode(), "\u00e9\U0001f37a"),
        (b'"one\ntwo"', "one\ntwo"),
        (b'"# no comment"', "# no comment"),
    ],
)
def test_every_type_keeps_its_value_and_its_type(raw: bytes, value: object) -> None:
    got = one(raw)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b"m f=1", Point("m", {}, {"f": 1.0}, None)),
        (b"m f=1\r\n", Point("m", {}, {"f": 1.0}, None)),
        (b"  m   f=1   -7  ", Point("m", {}, {"f": 1.0}, -7)),
        (b"m,b=2,a=1 z=1,y=2 1", Point("m", {"b": "2", "a": "1"}, {"z": 1.0, "y": 2.0}, 1)),
        (rb"a\,b\ c\=d f=1 1", Point(r"a,b c\=d", {}, {"f": 1.0}, 1)),
        (rb"m,k\,\ \==v\,\ \= f\,\ \==1 1", Point("m", {"k, =": "v, ="}, {"f, =": 1.0}, 1)),
        (rb"m\x,k\y=v\z f\n=1 1", Point(r"m\x", {r"k\y": r"v\z"}, {r"f\n": 1.0}, 1)),
        (b'm,host="a" f=1 1', Point("m", {"host": '"a"'}, {"f": 1.0}, 1)),
        (b'm"x,t=a"b f"=1 1', Point('m"x', {"t": 'a"b'}, {'f"': 1.0}, 1)),
        (b"m=1 f=1 1", Point("m=1", {}, {"f": 1.0}, 1)),
        (b"m,t=\xff f=1 1", Point("m", {"t": "\udcff"}, {"f": 1.0}, 1)),
        (b"m f=1,f=2 1", Point("m", {}, {"f": 2.0}, 1)),
        (b"m f=1 9223372036854775807", Point("m", {}, {"f": 1.0}, 2**63 - 1)),
    ],
)
def test_points_of_awkward_lines(line: bytes, point: Point) -> None:
    got = parse_line(line)
    assert got == point
    assert list(got.tags.items()) == list(point.tags.items())
    assert list(got.fields.items()) == list(point.fields.items())


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"", "without a measurement", 1),
        (b"# comment", "a comment", 1),
        (b",t=v f=1", "without a measurement", 1),
        (b"m", "without fields", 2),
        (b"m ", "without fields", 3),
        (b"m,t=v", "without fields", 6),
        (b"m, f=1", "tag without a key", 3),
        (b"m,t f=1", "tag without a value", 4),
        (b"m,t= f=1", "tag without a value", 5),
        (b"m,t=a=b f=1", "second '='", 6),
        (b"m,t=a,t=b f=1", "'t' twice", 7),
        (b"m f", "field without a value", 4),
        (b"m f=", "field without a value", 5),
        (b"m =1", "field without a key", 3),
        (b"m f=1,", "field without a key", 7),
        (b"m f=,g=1", "field without a value", 5),
        (b"m f=abc", "no number, integer, boolean or string", 5),
        (b"m f=NaN 1", "no number", 5),
        (b"m f=+1 1", "no number", 5),
        (b"m f=1x 1", "no number", 5),
        (b"m f=1_0 1", "no number", 5),
        (b"m f=0x1p3 1", "no number", 5),
        (b"m f=1e999 1", "float beyond", 5),
        (b"m f=9223372036854775808i 1", "integer beyond", 5),
        (b"m f=" + b"9" * 6000 + b"i 1", "integer beyond", 5),
        (b"m f=18446744073709551616u 1", "beyond", 5),
        (b"m f=-1u 1", "below zero", 5),
        (b'm f="abc 1', "without its closing quote", 5),
        (b'm f="a"b 1', "does not end where its value ends", 8),
        (b"m f=1 abc", "not a whole number", 7),
        (b"m f=1 1.5", "not a whole number", 7),
        (b"m f=1 1 2", "not a whole number", 7),
        (b"m f=1 9223372036854775808", "timestamp beyond", 7),
        (b"m f=1 " + b"1" * 6000, "timestamp beyond", 7),
    ],
)
def test_a_bad_line_says_what_and_where(line: bytes, reason: str, column: int) -> None:
    with pytest.raises(LineError, match="column") as caught:
        parse_line(line)
    assert reason in caught.value.reason
    assert caught.value.column == column


@pytest.mark.parametrize(("precision", "unit"), PRECISIONS.items())
def test_times_come_out_in_nanoseconds(precision: str, unit: int) -> None:
    assert parse_line(b"m f=1 400000", precision).time == 400_000 * unit


def test_a_precision_that_does_not_exist_is_named() -> None:
    with pytest.raises(LineError, match=r"'d'.*ns.*h"):
        parse_line(b"m f=1 1", "d")


def test_a_line_is_parsed_only_when_looked_into() -> None:
    broken = Line(b"not line protocol")
    assert broken.raw == b"not line protocol"
    with pytest.raises(LineError):
        _ = broken.fields
    assert Line(b"  # x").blank
    assert Line(b"\r").blank
    assert not Line(b"m f=1").blank
    assert parse_key(rb"a\ b,c=d") == ("a b", {"c": "d"})
    with pytest.raises(LineError):
        parse_key(b"a b")
