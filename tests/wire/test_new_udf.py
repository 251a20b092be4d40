"""A generated UDF passes everything as it is generated."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.wire.engine import ROOT, Function, alert_log, kapacitord

pytestmark = [pytest.mark.wire, pytest.mark.stack]


def new(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kapacitor.udf.new", *arguments, "--root", str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "udf")},
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("udf", "kapacitor"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "kind"), [("vibration", "window"), ("belt_wear", "stream")])
def test_all_of_it_passes_as_generated(repository: Path, name: str, kind: str) -> None:
    done = new(repository, name, "--kind", kind, "--json")
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)["written"]
    assert len(written) == 6

    # its own test, and the house's style
    environment = {**os.environ, "PYTHONPATH": str(repository / "udf")}
    program, test = f"udf/{name}.py", f"tests/wire/test_udf_{name}.py"
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", test],
        ["ruff", "check", program, test],
        ["ruff", "format", "--check", program, test],
        ["mypy", "--cache-dir", str(repository / ".mypy"), program],
    ):
        checked = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=repository, capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr
    body = (repository / program).read_text().partition("class ")[2].partition("\n\n\n")[0]
    assert len(body.splitlines()) < 25

    # its declaration and its TICKscript, in the real Kapacitor
    config = tomllib.loads((repository / "kapacitor/kapacitor.conf").read_text())
    before = tomllib.loads((ROOT / "kapacitor/kapacitor.conf").read_text())
    functions = config["udf"]["functions"]
    (added,) = set(functions) - set(before["udf"]["functions"])
    assert functions[added]["args"] == ["-u", program]
    function = Function(
        sys.executable, ["-u", str(repository / program)], env={"PYTHONPATH": str(ROOT / "udf")}
    )
    log = repository / "alerts.log"
    script = (repository / f"kapacitor/examples/{name}.tick").read_text()
    script = script.replace('dbrp "telegraf"."autogen"', "")
    script = script.replace(f"/var/log/kapacitor/{name}.log", str(log))
    case = repository / "tests/tasks" / name
    with kapacitord(repository / "state", {added: function}) as engine:
        engine.define(name, script)
        engine.record("case", name, (case / "input.lp").read_bytes().splitlines())
        engine.replay("case", name, "replay")
    found = [
        {key: event[key] for key in ("time", "id", "level", "message")} for event in alert_log(log)
    ]
    assert found == json.loads((case / "expected.json").read_text())["alerts"]


def test_what_is_there_is_left_alone(repository: Path) -> None:
    assert new(repository, "vibration").returncode == 0
    before = {p: p.read_bytes() for p in repository.rglob("*") if p.is_file()}
    again = new(repository, "vibration", "--kind", "stream")
    assert again.returncode == 2
    assert "already there: udf/vibration.py" in again.stderr
    assert {p: p.read_bytes() for p in repository.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["Vibration", "belt-wear", "9lives", "a/b", "x_"])
def test_names_that_cannot_be(repository: Path, name: str) -> None:
    done = new(repository, name)
    assert (done.returncode, "is no name for a UDF" in done.stderr) == (2, True)


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    done = new(tmp_path, "vibration")
    assert (done.returncode, "give the repository with --root" in done.stderr) == (2, True)


def test_the_declaration_goes_between_the_others(repository: Path) -> None:
    config = repository / "kapacitor/kapacitor.conf"
    config.write_text(config.read_text() + "\n# Something else.\n[smtp]\n  enabled = false\n")
    assert new(repository, "vibration").returncode == 0
    text = config.read_text()
    assert text.index("[udf.functions.vibration]") < text.index("# Something else.")
    assert text.index("[udf.functions.tTest]") < text.index("[udf.functions.vibration]")
    assert tomllib.loads(text)["smtp"] == {"enabled": False}
