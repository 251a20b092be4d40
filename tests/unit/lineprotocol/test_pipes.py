"""An output is closed when it has been read, and not before."""

import os
import threading
import time
from pathlib import Path

import pytest

from lineprotocol import let_go


def test_it_waits_until_the_reader_has_read_all() -> None:
    read, write = os.pipe()
    os.write(write, b"x" * 1000)
    gone = threading.Event()

    def go() -> None:
        let_go(write)
        gone.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert not gone.wait(0.1)
    assert os.read(read, 2000) == b"x" * 1000
    assert os.read(read, 1) == b""  # the end, although the descriptor is still open
    thread.join(5)
    assert gone.is_set()
    os.write(write, b"nowhere")
    os.close(write)
    os.close(read)


def test_a_reader_that_does_not_read_is_left_alone() -> None:
    read, write = os.pipe()
    os.write(write, b"x")
    began = time.monotonic()
    let_go(write, patience=0.1)
    assert 0.1 <= time.monotonic() - began < 2
    assert os.read(read, 2) == b"x"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("path", ["file", "/dev/null"])
def test_what_is_no_pipe_is_closed_at_once(tmp_path: Path, path: str) -> None:
    target = os.open(tmp_path / path, os.O_WRONLY | os.O_CREAT)
    began = time.monotonic()
    let_go(target)
    assert time.monotonic() - began < 1
    os.close(target)
