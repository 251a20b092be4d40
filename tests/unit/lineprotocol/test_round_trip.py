"""What is written is read back, for points nobody thought of."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineprotocol import PRECISIONS, LineError, Point, Unsigned, format_point, parse_line

# Everything UTF-8 can hold and half of what it cannot; a quarter of the names are made of the
# characters that have a meaning.
_ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_AWKWARD = st.text(st.sampled_from('\\, ="#\t\r0i\udcff'), min_size=1, max_size=8)
_NAMES = st.one_of(_ANY, _AWKWARD).filter(lambda name: "\n" not in name and name[-1] != "\\")
_MEASUREMENTS = _NAMES.filter(lambda name: name[0] not in "#\t\0")
_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1).map(Unsigned),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    _AWKWARD,
)
_POINTS = st.builds(
    Point,
    _MEASUREMENTS,
    st.dictionaries(_NAMES, _NAMES, max_size=4),
    st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4),
    st.none() | st.integers(-(2**63), 2**63 - 1),
)


@settings(max_examples=400)
@given(_POINTS)
def test_a_point_comes_back_as_it_was(point: Point) -> None:
    line = format_point(point)
    again = parse_line(line)
    assert again == point
    assert list(again.tags) == list(point.tags)
    assert list(again.fields) == list(point.fields)
    assert [type(value) for value in again.fields.values()] == [
        type(value) for value in point.fields.values()
    ]
    assert format_point(again) == line


@given(st.sampled_from(sorted(PRECISIONS)), st.integers(-100_000, 100_000))
def test_a_time_comes_back_in_every_precision(precision: str, units: int) -> None:
    point = Point("m", {}, {"f": 1.0}, units * PRECISIONS[precision])
    assert format_point(point, precision) == f"m f=1.0 {units}".encode()
    assert parse_line(format_point(point, precision), precision) == point


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text('m,t= f1"\\\ni#', max_size=30).map(str.encode))
def test_any_bytes_are_a_point_or_a_line_error(line: bytes) -> None:
    try:
        point = parse_line(line)
    except LineError as error:
        assert 1 <= error.column <= len(line) + 1
    else:
        assert parse_line(format_point(point)) == point


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (Point("m", {}, {}), "no fields"),
        (Point("", {}, {"f": 1}), "empty measurement"),
        (Point("#m", {}, {"f": 1}), "begin with '#'"),
        (Point("m\\", {}, {"f": 1}), "backslash"),
        (Point("m", {"": "v"}, {"f": 1}), "empty tag key"),
        (Point("m", {"t": ""}, {"f": 1}), "empty tag value"),
        (Point("m", {"t": "a\nb"}, {"f": 1}), "newline"),
        (Point("m", {}, {"": 1}), "empty field key"),
        (Point("m", {}, {"f": float("nan")}), "nan"),
        (Point("m", {}, {"f": float("-inf")}), "-inf"),
        (Point("m", {}, {"f": 2**63}), "out of the range"),
        (Point("m", {}, {"f": Unsigned(2**64)}), "out of the range"),
        (Point("m", {}, {"f": Unsigned(-1)}), "out of the range"),
        (Point("m", {}, {"f": None}), "NoneType"),  # type: ignore[dict-item]
        (Point("m", {}, {"f": 1}, 2**63), "time"),
    ],
)
def test_what_line_protocol_cannot_hold_is_refused(point: Point, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        format_point(point)


def test_an_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(LineError("why", 3)))  # noqa: S301
    assert (error.reason, error.column, str(error)) == ("why", 3, "why (column 3)")
