"""Options: declared once, checked all together."""

import pytest

from kapacitor.udf import udf_pb2
from kapacitor.udf.typed import Duration, Field, Fields, Option, StreamUDF, WindowUDF
from kapacitor.udf.typed.command import describe

KINDS = {
    bool: (udf_pb2.BOOL, "boolValue"),
    int: (udf_pb2.INT, "intValue"),
    float: (udf_pb2.DOUBLE, "doubleValue"),
    str: (udf_pb2.STRING, "stringValue"),
    Duration: (udf_pb2.DURATION, "durationValue"),
}


def option(name, *values):
    made = udf_pb2.Option(name=name)
    for value in values:
        number, where = KINDS[type(value)]
        made.values.add(type=number, **{where: value})
    return made


class Everything(WindowUDF):
    """Has an option of each kind."""

    field = Fields(doc="fields")
    other = Field("temp", doc="one more field")
    size = Option(int, minimum=2, maximum=10, doc="a size")
    alpha = Option(float, 0.5, above=0, below=1, doc="a level")
    mode = Option(str, "fast", choices=("fast", "slow"), doc="a mode")
    every = Option(Duration, Duration(60 * 10**9), minimum=1, doc="a time")
    strict = Option(bool, False, doc="a switch")


def test_info_follows_the_declarations():
    info = Everything.info({"field": 3})
    assert (info.wants, info.provides) == (udf_pb2.BATCH, udf_pb2.STREAM)
    types = {name: list(option.valueTypes) for name, option in info.options.items()}
    assert types == {
        "field": [udf_pb2.STRING] * 3,
        "other": [udf_pb2.STRING],
        "size": [udf_pb2.INT],
        "alpha": [udf_pb2.DOUBLE],
        "mode": [udf_pb2.STRING],
        "every": [udf_pb2.DURATION],
        "strict": [udf_pb2.BOOL],
        "maxGroups": [udf_pb2.INT],
        "quarantine": [udf_pb2.STRING],
    }


def test_values_become_attributes():
    udf = Everything()
    given = [
        option("field", "a", "b"),
        option("field", "c"),
        option("size", 5),
        option("alpha", 1e-3),
        option("mode", "slow"),
        option("every", Duration(5)),
        option("strict", True),
    ]
    assert udf.configure(given) == []
    assert udf.field == ("a", "b", "c")
    assert udf.fields == ("a", "b", "c", "temp")
    assert (udf.size, udf.alpha, udf.mode, udf.every, udf.strict) == (5, 1e-3, "slow", 5, True)
    assert type(udf.every) is Duration


def test_defaults_hold():
    udf = Everything()
    assert udf.configure([option("field", "a"), option("size", 5)]) == []
    assert (udf.alpha, udf.mode, udf.every, udf.strict) == (0.5, "fast", 60 * 10**9, False)


def test_a_whole_number_is_a_double_too():
    udf = Everything()
    given = [option("field", "a"), option("size", 5), option("alpha", 1)]
    assert udf.configure(given) == ["alpha: must be above 0, below 1, not 1.0"]


def test_all_mistakes_are_told_at_once():
    problems = Everything().configure(
        [
            option("feild", "a"),
            option("other", ""),
            option("size", 11),
            option("alpha", float("nan")),
            option("mode", "medium"),
            option("every", 5),
            option("strict"),
            option("maxGroups", 1, 2),
        ]
    )
    text = "; ".join(problems)
    for words in (
        "feild: no such option; there are alpha, every, field",
        "field: must be set (fields)",
        "other: must name a field",
        "size: must be at least 2, at most 10, not 11",
        "alpha: must be a number, not NaN",
        "mode: must be one of 'fast', 'slow', not 'medium'",
        "every: must be a duration, not the int 5",
        "strict: needs a value",
        "maxGroups: takes one value, not 2",
    ):
        assert words in text
    assert len(problems) == 9


def test_fields_are_told_twice_only_by_mistake():
    udf = Everything()
    assert udf.configure([option("field", "a", "b", "a"), option("size", 5)]) == [
        "field: must name each field once; twice: a"
    ]


def test_what_a_detector_refuses_is_part_of_the_answer():
    class Picky(StreamUDF):
        low = Option(int, doc="low")
        high = Option(int, doc="high")

        def check(self):
            if self.low > self.high:
                raise ValueError("low must not be above high")

    assert Picky().configure([option("low", 2), option("high", 1)]) == [
        "low must not be above high"
    ]
    assert Picky().configure([option("low", 1), option("high", 2)]) == []


def test_an_option_of_another_type_is_refused_where_it_is_declared():
    with pytest.raises(TypeError, match="bool, int, float, str or Duration"):
        Option(list, doc="no")


def test_an_option_is_unknown_before_the_start():
    with pytest.raises(AttributeError, match="size is known once"):
        Everything().size  # noqa: B018


def test_describe_tells_it_all():
    about = describe(Everything)
    assert (about["name"], about["wants"], about["provides"]) == ("Everything", "batch", "stream")
    size = next(entry for entry in about["options"] if entry["name"] == "size")
    assert size == {
        "name": "size",
        "type": "int",
        "doc": "a size",
        "bounds": "at least 2, at most 10",
        "required": True,
        "default": None,
    }
