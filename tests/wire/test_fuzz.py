"""A few seconds of the fuzzer; run `python tests/fuzz/fuzz_agent.py --seconds 600` for more."""

import subprocess
import sys

import pytest

from tests.wire import talk


@pytest.mark.wire
def test_a_few_seconds_of_broken_conversations():
    fuzzer = talk.ROOT / "tests" / "fuzz" / "fuzz_agent.py"
    ran = subprocess.run(
        [sys.executable, str(fuzzer), "--seconds", "5", "--out", "test-case.bin"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all well" in ran.stdout
