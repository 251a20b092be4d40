"""States are bounded, and come back whole or not at all."""

import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapacitor.udf.typed.snapshot import MAGIC, Groups, SnapshotError, pack, unpack


class Counter:
    """An object with a state of its own."""

    def __init__(self):
        self.count = 0
        self.values = np.zeros(0)

    def state(self):
        return {"count": self.count, "values": self.values}

    def restore(self, state):
        if state["count"] < 0:
            raise ValueError("count must not be negative")
        self.count = state["count"]
        self.values = state["values"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(deadline=None)
@given(plain)
def test_plain_values_come_back(state):
    assert same(unpack(json.loads(json.dumps(pack(state))), None), state)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8, np.bool_, np.float32])
def test_arrays_come_back_writable(dtype):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    back = unpack(json.loads(json.dumps(pack({"a": array[:, ::2]}))), None)["a"]
    assert back.dtype == array.dtype
    assert (back == array[:, ::2]).all()
    back[0, 0] = 1


def test_numbers_of_numpy_are_plain_numbers():
    assert pack([np.float64(1.5), np.int64(2), np.bool_(True)]) == [1.5, 2, True]


@pytest.mark.parametrize("state", [object(), {1: 2}, np.array([object()]), {"a": {1, 2}}])
def test_what_cannot_be_saved_is_told(state):
    with pytest.raises(TypeError):
        pack(state)


def test_objects_are_filled_in():
    groups = Groups(lambda: {"a": Counter(), "b": [Counter(), 1]}, 10)
    state = groups.get("g")
    state["a"].count, state["a"].values = 7, np.array([1.0, 2.0])
    state["b"][1] = 5
    data = groups.save("T", 1)

    restored = Groups(lambda: {"a": Counter(), "b": [Counter(), 1]}, 10)
    restored.load(data, "T", 1)
    back = restored.get("g")
    assert (back["a"].count, back["a"].values.tolist(), back["b"][1]) == (7, [1.0, 2.0], 5)
    assert restored.save("T", 1) == data


def test_the_group_unseen_for_longest_is_forgotten():
    groups = Groups(lambda: [0], 3)
    for name in "abcadae":
        groups.get(name)[0] += 1
    assert groups.forgotten == 2
    assert len(groups) == 3
    assert groups.get("a") == [3]  # never the oldest
    assert groups.get("b") == [0]  # forgotten, so new


def test_a_restore_keeps_the_order_of_forgetting_and_the_bound():
    groups = Groups(lambda: [0], 3)
    for name in "abc":
        groups.get(name)[0] = ord(name)
    small = Groups(lambda: [0], 2)
    small.load(groups.save("T", 1), "T", 1)
    assert (small.get("b"), small.get("c"), small.get("a")) == ([98], [99], [0])


def saved(**changes):
    groups = Groups(Counter, 5)
    groups.get("g").count = 3
    data = groups.save("T", 2)
    document = json.loads(zlib.decompress(data[len(MAGIC) + 1 :]))
    document.update(changes)
    return data[: len(MAGIC) + 1] + zlib.compress(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x04 a pickle", "not made by this SDK"),
        (b"{}", "not made by this SDK"),
        (MAGIC, "form is not version 1"),
        (MAGIC + b"\x02" + zlib.compress(b"{}"), "form is not version 1"),
        (MAGIC + b"\x01garbage", "damaged"),
        (MAGIC + b"\x01" + zlib.compress(b"[]"), "damaged"),
        (saved()[:-5], "damaged"),
        (saved(udf="Other"), "of the UDF 'Other', not of 'T'"),
        (saved(version=1), "version 1, T has version 2"),
        (saved(version=3), "version 3, T has version 2"),
        (saved(groups=[["g", {"count": -1, "values": 0}]]), "count must not be negative"),
        (saved(groups=[["g", {}]]), "does not fit the options"),
    ],
)
def test_a_foreign_or_damaged_snapshot_changes_nothing(data, words):
    groups = Groups(Counter, 5)
    groups.get("mine").count = 9
    with pytest.raises(SnapshotError, match="To start afresh") as caught:
        groups.load(data, "T", 2)
    assert words in str(caught.value)
    assert groups.get("mine").count == 9


def test_an_empty_snapshot_is_no_state():
    groups = Groups(Counter, 5)
    groups.get("g").count = 9
    groups.load(b"", "T", 1)
    assert groups.get("g").count == 0


def test_other_fields_do_not_take_over_a_history():
    groups = Groups(lambda: {"hotend": Counter()}, 5)
    groups.get("")
    other = Groups(lambda: {"bed": Counter()}, 5)
    with pytest.raises(SnapshotError, match=r"hotend.*wanted.*bed"):
        other.load(groups.save("T", 1), "T", 1)
