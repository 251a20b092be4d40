import json

from hypothesis import given
from hypothesis import strategies as st

from stack.cases.case import nanoseconds
from stack.cases.compare import differences, formatted

EVENT = {
    "time": "2016-01-01T00:00:10Z", "id": "cpu", "level": "CRITICAL",
    "tags": {"host": "a"}, "fields": {"idle": 12.5},
}  # fmt: skip


def said(expected: list[dict], came: list[dict], tolerance: float = 1e-9) -> list[str]:
    return differences({"alerts": expected}, {"alerts": came}, tolerance)


def test_what_an_entry_leaves_out_does_not_matter() -> None:
    assert said([{"id": "cpu"}], [EVENT]) == []
    assert said([{"fields": {"idle": 12.5}, "tags": {}}], [EVENT]) == []
    assert said([{}], [EVENT]) == []


def test_an_entry_too_many_or_too_few_is_named() -> None:
    later = {**EVENT, "time": "2016-01-01T00:00:20Z"}
    assert said([EVENT], [EVENT, later]) == [
        "alerts: 1 expected, 2 came",
        "  unexpected  2016-01-01T00:00:20Z cpu CRITICAL",
    ]
    assert said([EVENT, later], [later]) == [
        "alerts: 2 expected, 1 came",
        "  missing     2016-01-01T00:00:10Z cpu CRITICAL",
    ]
    assert said([], []) == []


def test_a_changed_entry_says_what_is_other_than_expected() -> None:
    changed = {**EVENT, "level": "OK", "fields": {"idle": 99.0}}
    (_, line) = said([EVENT], [changed])
    assert line == (
        '  differs     2016-01-01T00:00:10Z cpu OK: level is "OK", expected "CRITICAL";'
        " field idle is 99.0, expected 12.5"
    )


def test_a_field_that_is_missing_differs() -> None:
    (_, line) = said([{"id": "cpu", "fields": {"used": 1}}], [EVENT])
    assert "field used is null, expected 1" in line


def test_numbers_times_and_levels_are_compared_as_what_they_are() -> None:
    assert said([{"time": "2016-01-01T01:00:10.000+01:00", "level": "critical"}], [EVENT]) == []
    assert said([{"time": 1451606410000000000}], [EVENT]) == []
    assert said([{"fields": {"idle": 12.6}}], [EVENT], tolerance=0.01) == []
    assert said([{"fields": {"idle": 12.6}}], [EVENT], tolerance=0.001) != []
    # True is no 1, and text is no number.
    assert said([{"ok": True}], [{"ok": 1}]) != []
    assert said([{"n": "1"}], [{"n": 1}]) != []
    assert said([{"duration": "1m"}], [{"duration": 60_000_000_000}]) == []


def test_parts_with_names_are_compared_by_name() -> None:
    expected = {"handlers": {"pager": [EVENT], "none": []}}
    assert differences(expected, {"handlers": {"pager": [EVENT]}}, 0) == []
    (title, _) = differences(expected, {"handlers": {"pager": []}}, 0)
    assert title == "handlers pager: 1 expected, 0 came"


def test_many_entries_are_compared_too() -> None:
    many = [{"id": str(n)} for n in range(1000)]
    other = [*many[:500], {"id": "x"}, *many[501:]]
    assert said(many, many) == []
    assert said(many, other)[1] == '  differs     x: id is "x", expected "500"'
    assert said(many, many[:900])[-1] == "  ... and 80 more"


entries = st.lists(st.fixed_dictionaries({"id": st.sampled_from("abc")}), max_size=8)


@given(entries, entries)
def test_differences_are_empty_only_for_the_same(expected: list, came: list) -> None:
    assert (said(expected, came) == []) == (expected == came)


def test_a_written_expectation_is_json_with_an_entry_a_line() -> None:
    content = {"alerts": [EVENT, EVENT], "http": {"top": [{"time": "x"}]}, "points": []}
    text = formatted(content)
    assert json.loads(text) == content
    assert sum('"id"' in line for line in text.splitlines()) == 2


def test_times() -> None:
    assert nanoseconds("2016-01-01T00:00:00.000000001Z") == 1451606400_000000001
    assert nanoseconds("2016-01-01 00:00:00") == 1451606400_000000000
    assert nanoseconds(None) is None
    assert nanoseconds(True) is None
