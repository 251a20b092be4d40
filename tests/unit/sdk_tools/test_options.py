"""Options given as text."""

import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.durations import format_duration, parse_duration
from kapacitor.udf.harness.options import OptionError, parse_options

B, N, D, S, T = (udf_pb2.BOOL, udf_pb2.INT, udf_pb2.DOUBLE, udf_pb2.STRING, udf_pb2.DURATION)
DECLARED = {
    "on": udf_pb2.OptionInfo(valueTypes=[B]),
    "size": udf_pb2.OptionInfo(valueTypes=[N]),
    "alpha": udf_pb2.OptionInfo(valueTypes=[D]),
    "field": udf_pb2.OptionInfo(valueTypes=[S]),
    "age": udf_pb2.OptionInfo(valueTypes=[T]),
    "pair": udf_pb2.OptionInfo(valueTypes=[S, N]),
    "flag": udf_pb2.OptionInfo(),
}


def test_every_type() -> None:
    given = ["on=True", "size=-3", "alpha=1e-3", "field=a,b=c", "age=1h30m", 'pair="x,y",4', "flag"]
    options = parse_options(DECLARED, given)
    assert [option.name for option in options] == list(DECLARED)
    values = [value for option in options for value in option.values]
    on, size, alpha, field, age, name, number = values
    assert (on.boolValue, size.intValue, alpha.doubleValue) == (True, -3, 0.001)
    assert (field.stringValue, age.durationValue) == ("a,b=c", 5_400 * 10**9)
    assert (name.stringValue, number.intValue) == ("x,y", 4)
    assert [value.type for value in values] == [B, N, D, S, T, S, N]


def test_all_mistakes_are_told_at_once() -> None:
    given = [
        "on=2",
        "size=1.5",
        "alpha=x",
        "age=5",
        "pair=a",
        "flag=1",
        "nope=1",
        f"size={1 << 63}",
    ]
    with pytest.raises(OptionError) as caught:
        parse_options(DECLARED, given)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(given)
    assert "it has: age, alpha, field" in str(caught.value)


def test_an_option_given_twice_is_sent_twice() -> None:
    assert len(parse_options(DECLARED, ["field=a", "field=b"])) == 2


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "1.5h", "5mm", "9999999w"])
def test_texts_that_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["10s", "5m", "1w", "7ms", "250us", "3ns", "36h"])
def test_durations_there_and_back(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)
