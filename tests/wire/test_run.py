"""The command `run`, as its users call it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from tests.wire.engine import ROOT

LEDGER = ROOT / "tests/wire/programs/ledger.py"
WINDOW = ("--option", "field=f", "--window", "1m", "--group-by", "host")

pytestmark = pytest.mark.wire


def run(*arguments: object, program: object = LEDGER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kapacitor.udf.run", str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "udf"), "COLUMNS": "160", "NO_COLOR": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 400 points in three formats."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"time": i, "host": "ab"[i % 2], "f": i / 4, "note": "n,1" if i % 3 else None}
        for i in range(400)
    ]
    lines = [
        f"m,host={r['host']} f={r['f']}" + (',note="n,1"' if r["note"] else "") + f" {r['time']}"
        for r in rows
    ]
    found = {kind: folder / f"m.{kind}" for kind in ("lp", "csv", "parquet")}
    found["lp"].write_text("\n".join(lines) + "\n")
    table = pa.Table.from_pylist(rows)
    pyarrow.csv.write_csv(table, found["csv"])
    pyarrow.parquet.write_table(table, found["parquet"])
    return found


def results(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_three_formats_one_result(files: dict[str, Path]) -> None:
    found = {
        kind: results(run("-d", path, "--precision", "s", "--json", *WINDOW))
        for kind, path in files.items()
    }
    assert found["lp"] == found["csv"] == found["parquet"]
    assert found["lp"]["points_in"] == 400
    assert found["lp"]["windows_in"] == len(found["lp"]["points"]) == 12
    assert found["lp"]["points"][0]["fields"]["points"] == 30


def test_expected_results_decide_the_exit_status(files: dict[str, Path], tmp_path: Path) -> None:
    arguments = ("-d", files["lp"], "--precision", "s", *WINDOW)
    first = run(*arguments)
    good = tmp_path / "good.lp"
    good.write_text(first.stdout)
    assert run(*arguments, "--expect", good).returncode == 0

    lines = first.stdout.splitlines()
    bad = tmp_path / "bad.lp"
    bad.write_text("\n".join([*lines[:3], lines[3].replace(",n=60", ",n=61"), *lines[4:]]))
    assert bad.read_text() != first.stdout
    differs = run(*arguments, "--expect", bad)
    assert differs.returncode == 1
    assert f"-{lines[3].replace(',n=60', ',n=61')}" in differs.stderr
    assert f"+{lines[3]}" in differs.stderr
    assert lines[8] not in differs.stderr


def test_csv_and_table_name_the_fields(files: dict[str, Path]) -> None:
    arguments = ("-d", files["lp"], "--precision", "s", *WINDOW)
    as_csv = run(*arguments, "--format", "csv").stdout.splitlines()
    assert as_csv[0].startswith("time,name,host,first,")
    assert len(as_csv) == 13
    assert "1970-01-01T00:01:00Z" in run(*arguments, "--format", "table").stdout


def test_a_bad_line_is_named_and_left_out(files: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "bad.lp"
    lines = files["lp"].read_text().splitlines()
    data.write_text("\n".join([*lines[:10], "m,host=a f=", "m f=1", *lines[10:]]))
    done = run("-d", data, "--precision", "s", "--json", *WINDOW)
    answer = results(done)
    assert answer["left_out"] == 2
    assert answer["points_in"] == 400
    assert "bad.lp:11:" in done.stderr
    assert "bad.lp:12: the point has no time" in done.stderr


def test_a_wrong_precision_is_noticed(files: dict[str, Path]) -> None:
    done = run("-d", files["lp"], *WINDOW)
    assert done.returncode == 0
    assert "400 points, 0 windows in" in done.stderr
    assert "from 1970-01-01T00:00:00.000000000 to 1970-01-01T00:00:00.000000399 UTC" in done.stderr
    assert "--precision is another" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--option", "filed=f", "--window", "1m"), "no such option"),
        (("--option", "field=f", "--window", "5x"), "is not a duration"),
        (("--option", "field=f"), "wants windows"),
        (("--option", "field=f", "--every", "1m"), "need --window"),
        (("--option", "field=f", "--window", "1m", "--window-count", "3"), "either a period"),
        (
            (
                "--window",
                "1m",
            ),
            "refuses its options: give field once",
        ),
        (("--option", "field=f", "--window", "1m", "--precision", "y"), "precision 'y' is none"),
        (("--option", "field=f", "--window", "1m", "--expect", "nowhere"), "no file nowhere"),
    ],
)
def test_wrong_usage_is_one_clear_error(
    files: dict[str, Path], arguments: tuple[str, ...], words: str
) -> None:
    done = run("-d", files["lp"], *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_missing_files_and_programs(files: dict[str, Path], tmp_path: Path) -> None:
    assert "no file" in run("-d", tmp_path / "none.lp", *WINDOW).stderr
    gone = run("-d", files["lp"], *WINDOW, program=tmp_path / "none")
    assert (gone.returncode, "there is no program" in gone.stderr) == (2, True)
    table = run("-d", files["csv"], *WINDOW, "--time-column", "when")
    assert (table.returncode, "has no column when" in table.stderr) == (2, True)


@pytest.mark.parametrize(
    ("misbehaviour", "words"),
    [
        (("--kill-on", "50"), "-9"),
        (("--error-on", "50"), "cannot bear 50"),
        (("--exit-status", "7"), "status 7"),
        (("--hang-on", "50"), "sent nothing"),
    ],
)
def test_a_program_that_fails_is_told(
    files: dict[str, Path], misbehaviour: tuple[str, ...], words: str
) -> None:
    arguments = ("-d", files["lp"], "--precision", "s", "--timeout", "1s", *WINDOW)
    done = run(*arguments, "--", *misbehaviour)
    assert done.returncode == 3
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_prints_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    script = tmp_path / "prints"
    script.write_text("#!/bin/sh\necho Starting agent\ncat >/dev/null\n")
    script.chmod(0o755)
    done = run("-d", files["lp"], "--timeout", "1s", *WINDOW, program=script)
    assert done.returncode == 3
    assert "15 bytes in 1 s that are not a whole frame" in " ".join(done.stderr.split())


def test_stream_from_standard_input(files: dict[str, Path]) -> None:
    with files["lp"].open() as data:
        done = subprocess.run(
            [sys.executable, "-m", "kapacitor.udf.run", str(LEDGER), "-d", "-", "--precision",
             "s", "--option", "field=f", "--json", "--group-by", "*", "--", "--wants", "stream"],
            stdin=data, capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT / "udf")}, check=False,
        )  # fmt: skip
    points = results(done)["points"]
    assert len(points) == 400
    assert points[-1]["fields"]["n"] == 200
