"""A stream of bytes in blocks of any size becomes the same lines."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineprotocol import LineSplitter, split_lines

LINES = [
    b"cpu,host=a value=1 1",
    b"",
    b'# a comment with an odd quote "',
    b'log,host=a message="one\ntwo",level=3i 2',
    b'log,host=a"b value=1 3',
    rb'log,host=a\ b message="say \"hi\"' + b"\n" + rb'and \\" 4',
    b'log a="x",b="\n\n",c="y\n" 5',
    b'broken value="x"y 6',
    b'quote"in"name,t=" f"=1 7',
    b'log message="ends in backslash\\\\" 8',
    b'log message="a\\\nb" 9',
    b"windows value=1 10\r",
    'unicode,t=\u00fc s="\u2603\n" 11'.encode(),
    b"last value=1 12",
]
STREAM = b"\n".join(LINES) + b"\n"


@pytest.mark.parametrize("size", [*range(1, 40), len(STREAM)])
def test_lines_do_not_depend_on_the_blocks(size: int) -> None:
    splitter = LineSplitter()
    lines = []
    for start in range(0, len(STREAM), size):
        lines += splitter.feed(STREAM[start : start + size])
    assert lines == LINES
    assert splitter.close() == b""


def test_every_split_into_two_blocks() -> None:
    for at in range(len(STREAM) + 1):
        splitter = LineSplitter()
        assert splitter.feed(STREAM[:at]) + splitter.feed(STREAM[at:]) == LINES


@given(st.lists(st.text('a,= f1"\\\n#', max_size=15).map(str.encode), max_size=8))
def test_no_byte_is_lost_or_added(blocks: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for block in blocks for line in splitter.feed(block)]
    rest = splitter.close()
    assert b"\n".join([*lines, rest]) == b"".join(blocks)


def test_a_string_that_never_closes_is_given_up() -> None:
    splitter = LineSplitter(max_open=1000)
    lines = splitter.feed(b'm f="never closed\n')
    lines += [line for n in range(1000) for line in splitter.feed(b"cpu value=1 %d\n" % n)]
    assert lines[0].startswith(b'm f="never closed\ncpu value=1 0\n')
    assert len(lines[0]) < 1100
    assert lines[-1] == b"cpu value=1 999"
    assert len(lines) > 900


@pytest.mark.parametrize("long", [b'm f="' + b"x\n" * 500_000 + b'" 1', b"m f=" + b"1" * 3_000_000])
def test_long_lines_cost_time_in_proportion(long: bytes) -> None:
    splitter = LineSplitter()
    started = time.process_time()
    lines = []
    for start in range(0, len(long), 4096):
        lines += splitter.feed(long[start : start + 4096])
    lines += splitter.feed(b"\n")
    assert lines == [long]
    # A splitter that starts over with every block takes minutes.
    assert time.process_time() - started < 5


def test_only_lines_that_hold_points_are_yielded() -> None:
    wanted = [line for line in LINES if line and not line.startswith(b"#")]
    assert list(split_lines([STREAM[:100], STREAM[100:-1]])) == wanted


def test_a_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="max_open"):
        LineSplitter(max_open=0)
