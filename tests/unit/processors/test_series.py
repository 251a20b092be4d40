"""Following series: which values are taken, what is counted, what is kept and forgotten."""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.series import Series, SeriesProcessor, arguments
from processors.state import StateError, load, save


class Sum:
    """Learns the sum of what it saw."""

    def __init__(self) -> None:
        self.total = np.zeros(1)

    def state(self) -> dict[str, Any]:
        return {"version": 1, "total": self.total}

    def restore(self, state: dict[str, Any]) -> None:
        if state["version"] != 1:
            raise ValueError("state: another version")
        self.total = state["total"]


class Taken(SeriesProcessor[Sum]):
    def take(self, series: Series[Sum], value: float, time: int, out: list[bytes]) -> None:
        if value == 666:
            raise RuntimeError("out of order")
        series.detector.total += value
        series.last = time
        out.append(b"taken%b value=%d %d" % (series.tags, value, time))


def options(*words: str) -> argparse.Namespace:
    return arguments("test").parse_args(["--measurement", "a b", "--field", "t,1", *words])


def run(processor: Taken, *lines: bytes) -> list[bytes]:
    out = processor.process_lines(list(lines))
    assert [line for line in out if not line.startswith(b"taken")] == list(lines)
    return [line for line in out if line.startswith(b"taken")]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        (rb"a\ b,k=v t\,1=5 7", b"taken,k=v value=5 7"),
        (rb"a\ b t\,1=5 7", b"taken value=5 7"),
        (rb"a\ b,k=v x=1,t\,1=5i,y=2 -7", b"taken,k=v value=5 -7"),
        (rb"a\ b,k=v t\,1=5u,s=true 7", b"taken,k=v value=5 7"),
        (rb"a\ b,k=v t\,1=.5e1 7", b"taken,k=v value=5 7"),
        (rb"a\ b,k=v,q=\,\ x t\,1=5 7", rb"taken,k=v,q=\,\ x value=5 7"),
        (rb'a\ b,k=v s="t\\,1=9 9",t\,1=5 7', b"taken,k=v value=5 7"),
        (rb'a\ b,k=v s="x, t\\,1=9 9",t\,1=5 7' + b"\r", b"taken,k=v value=5 7"),
        (rb'a\ b,k=v t\,1=5,s="x" 7', b"taken,k=v value=5 7"),
        (b"a\\ b,k=v t\\,1=5  7", b"taken,k=v value=5 7"),
    ],
)
def test_the_value_is_found_wherever_it_stands(line: bytes, taken: bytes) -> None:
    assert run(Taken(Sum, options()), line) == [taken]


@pytest.mark.parametrize(
    ("line", "bad", "broken"),
    [
        (rb'a\ b t\,1="5" 7', 1, 0),
        (rb"a\ b t\,1=true 7", 1, 0),
        (rb"a\ b other=5 7", 0, 0),
        (rb"a\ b xt\,1=5 7", 0, 0),
        (rb"a\ bc t\,1=5 7", 0, 0),
        (rb"other t\,1=5 7", 0, 0),
        (rb"a\ b t\,1=NaN 7", 0, 1),
        (rb"a\ b,k t\,1=5 7", 0, 1),
        (rb"a\ b t\,1=5 99999999999999999999", 0, 1),
        (b"# a comment", 0, 0),
        (b"", 0, 0),
    ],
)
def test_other_values_are_counted_or_none_of_its_business(
    line: bytes, bad: int, broken: int
) -> None:
    processor = Taken(Sum, options())
    assert run(processor, line) == []
    assert (processor.bad.count, processor.not_understood.count) == (bad, broken)


def test_a_point_without_a_time_is_of_now() -> None:
    before = time.time_ns()
    (taken,) = run(Taken(Sum, options()), rb"a\ b t\,1=5")
    assert before <= int(taken.rsplit(b" ", 1)[1]) <= time.time_ns()


def test_the_order_of_tags_makes_no_other_series() -> None:
    processor = Taken(Sum, options())
    run(processor, rb"a\ b,x=1,y=2 t\,1=5 7", rb"a\ b,y=2,x=1 t\,1=6 8", rb"a\ b,y=3 t\,1=1 9")
    assert sorted(s.detector.total[0] for s in processor.series.values()) == [1, 11]


def test_a_detector_that_fails_stops_nothing() -> None:
    processor = Taken(Sum, options())
    assert len(run(processor, rb"a\ b t\,1=666 7", rb"a\ b t\,1=1 8")) == 1
    assert processor.failed.count == 1


def test_series_beyond_the_limit_pass_by_and_are_counted() -> None:
    processor = Taken(Sum, options("--series", "2"))
    lines = [rb"a\ b,k=%d t\,1=5 7" % n for n in range(5)] * 2
    assert len(run(processor, *lines)) == 4
    assert processor.too_many.count == 6
    assert len(processor.found) == 2


def test_vanished_series_are_forgotten_and_their_places_free() -> None:
    processor = Taken(Sum, options("--series", "2", "--forget", "50"))
    run(processor, rb"a\ b,k=1 t\,1=5 7", rb"a\ b,k=2 t\,1=5 7")
    processor.idle()
    assert len(processor.series) == 2
    for series in processor.series.values():
        series.seen -= 60
    processor._housekeeping -= 60
    run(processor, rb"a\ b,k=2 t\,1=5 7")
    processor.idle()
    assert list(processor.series) == [b"a\\ b,k=2"]
    assert list(processor.found) == [b"a\\ b,k=2"]
    assert run(processor, rb"a\ b,k=3 t\,1=5 7") == [b"taken,k=3 value=5 7"]


def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    words = "--state", str(tmp_path / "state")
    first = Taken(Sum, options(*words))
    run(first, rb"a\ b,k=1 t\,1=5 7", rb"a\ b,k=2 t\,1=6 8", rb"a\ b,k=1 t\,1=1 9")
    first.close()
    again = Taken(Sum, options(*words))
    assert {k: (s.detector.total[0], s.last) for k, s in again.series.items()} == {
        b"a\\ b,k=1": (6, 9),
        b"a\\ b,k=2": (6, 8),
    }
    run(again, rb"a\ b,k=1 t\,1=1 10")
    assert again.series[b"a\\ b,k=1"].detector.total[0] == 7


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "folder"])
def test_a_state_that_is_not_whole_is_said_and_not_used(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    save(path, {"a": {"x": np.arange(100, dtype=np.float64), "y": 1}})
    good = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": good[:-5],
                "flipped": good[:-50] + bytes([good[-50] ^ 1]) + good[-49:],
                "foreign": b"\x80\x04\x95 pickled",
                "empty": b"",
            }[damage]
        )
        with pytest.raises(StateError):
            load(path)
    processor = Taken(Sum, options("--state", str(path)))
    assert not processor.series
    assert "W! the state" in capsys.readouterr().err


def test_a_state_of_another_version_or_measurement_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    good = {"version": 1, "total": np.ones(1), "last time": 5}
    save(path, {"a\\ b,k=1": good, "a\\ b,k=2": {**good, "version": 2}, "c,k=1": good})
    processor = Taken(Sum, options("--state", str(path)))
    assert list(processor.series) == [b"a\\ b,k=1"]
    log = capsys.readouterr().err
    assert "another version" in log
    assert "restored 1 series, 2 did not fit" in log


def test_a_state_that_cannot_be_saved_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Taken(Sum, options("--state", str(tmp_path / "no/such/state"))).close()
    assert "E! the state was not saved" in capsys.readouterr().err
