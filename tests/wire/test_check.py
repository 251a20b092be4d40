"""`check` passes good programs and names each fault of a bad one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.engine import ROOT

LEDGER = ROOT / "tests/wire/programs/ledger.py"

pytestmark = pytest.mark.wire


def check(program: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kapacitor.udf.check", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "udf"), "COLUMNS": "200", "NO_COLOR": "1"},
        check=False,
    )


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (LEDGER, ["-o", "field=f"]),
        (LEDGER, ["-o", "field=f", "--", "--wants", "stream"]),
        (ROOT / "udf/ttest.py", ["-o", "field=f", "-o", "size=200", "-o", "alpha=0.01"]),
    ],
)
def test_good_programs_pass(program: Path, arguments: list[str]) -> None:
    done = check(program, "--json", *arguments)
    found = outcomes(done)
    assert {name: o["detail"] for name, o in found.items() if o["outcome"] == "failed"} == {}
    assert done.returncode == 0
    assert len(found) == 17


@pytest.mark.parametrize(
    ("fault", "name", "words"),
    [
        (["--mix-groups"], "groups apart", "the results of a group among others"),
        (["--forget-restore"], "snapshot and restore", "results after a restore"),
        (["--snapshots", "empty"], "snapshot and restore", "its snapshot is empty"),
        (["--snapshots", "refuse"], "snapshot and restore", "not restore its own snapshot"),
        (["--snapshots", "die"], "snapshot and restore", "instead of making a snapshot"),
        (["--exit-status", "7"], "end of input", "status 7"),
        (["--sleep-at-end"], "end of input", "sent nothing"),
        (["--hold"], "results at once", "do not come"),
        (["--no-keepalive"], "keepalive under load", "sent nothing"),
        (["--silent-refusal"], "missing options", "without a word of why"),
        (["--need-points"], "empty windows", "ended"),
        (["--need-field"], "missing fields", "ended"),
    ],
)
def test_each_fault_is_found(fault: list[str], name: str, words: str) -> None:
    arguments = ("-o", "field=f", "--json", "--timeout", "2s", "--only", name, "--", *fault)
    done = check(LEDGER, *arguments)
    assert done.returncode == 1, done.stderr
    (one,) = outcomes(done).values()
    assert one["outcome"] == "failed"
    assert words in one["detail"]
    assert one["meaning"]


def test_a_program_that_is_no_udf(tmp_path: Path) -> None:
    script = tmp_path / "prints"
    script.write_text("#!/bin/sh\necho hello, this is a program that prints things\ncat >&2\n")
    script.chmod(0o755)
    done = check(script, "--timeout", "1s")
    assert done.returncode == 1
    assert "is something printed to stdout?" in " ".join(done.stdout.split())
    assert "It means: kapacitord asks every UDF for this when it starts" in done.stdout


def test_a_table_for_people() -> None:
    done = check(LEDGER, "-o", "field=f", "--only", "info", "--only", "empty windows")
    assert done.returncode == 0
    assert "wants batch, provides stream; field(string)" in done.stdout
    assert "2 passed, 0 failed, 0 skipped" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "filed=f"], "no such option"),
        (["--only", "nothing"], "there is no check nothing; there are: info"),
        (["--timeout", "5"], "is not a duration"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = check(LEDGER, *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
