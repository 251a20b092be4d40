"""The processor that the README shows works as it is printed there."""

import re
from pathlib import Path

import pytest

from tests.wire.processors.programs import ROOT, through

pytestmark = pytest.mark.wire

README = (ROOT / "telegraf/processors/README.md").read_text()


def test_the_processor_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code.count("\n") < 25
    script = tmp_path / "fahrenheit.py"
    script.write_text(code)
    data = b"temperature,brew=x temperature=20 1\nother f=1 2\ntemperature x=1 3\n"
    out, log = through(data, str(script))
    assert out == (
        b"temperature,brew=x temperature=20.0,fahrenheit=68.0 1\nother f=1 2\ntemperature x=1 3\n"
    )
    assert "KeyError: 'temperature'" in log


def test_the_options_that_the_readme_names_are_there() -> None:
    out, _ = through(b"", "-m", "processors.forecast", "--help")
    options = set(re.findall(r"--[a-z-]+", out.decode()))
    named = {"--measurement", "--field", "--state", "--learn", "--settle", "--span", "--interval"}
    assert named <= set(re.findall(r"--[a-z-]+", README))
    assert named <= options
