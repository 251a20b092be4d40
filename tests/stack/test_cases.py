"""Every case of tests/tasks, and what the walker says about cases that are wrong."""

import json
import os
import shutil
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.cases.case import CASES, names
from stack.cases.engine import stop_all
from stack.cases.walk import ACCEPTED, DIFFERS, FAILED, PASSED, Result, junit, walk
from stack.isolated import project_name
from stack.settings import ROOT, STATE
from tests.documents import commands

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", autouse=True)
def engines_stopped_at_the_end() -> Iterator[None]:
    yield
    stop_all()


@pytest.fixture(scope="session")
def results(backend: str) -> dict[str, Result]:
    """All cases, run at once: they share the engines."""
    found = walk(names(), backend, engines=2, keep=True, done=lambda _: None)
    return {result.case: result for result in found}


@pytest.mark.parametrize("case", names())
def test_case(case: str, results: dict[str, Result]) -> None:
    result = results[case]
    assert result.status == PASSED, "\n".join([result.description, *result.lines])


def test_a_case_is_quick(results: dict[str, Result]) -> None:
    slow = sorted((r.seconds for r in results.values()), reverse=True)
    # Those with a UDF wait for three Python programs to start.
    assert slow[len(slow) // 2] < 3


def copy(case: str, folder: Path, name: str) -> Path:
    return Path(shutil.copytree(CASES / case, folder / name))


def test_each_kind_of_mistake_is_named_and_the_others_go_on(backend: str, tmp_path: Path) -> None:
    wrong = copy("cpu_alert", tmp_path, "wrong_level")
    expected = wrong / "expected.json"
    expected.write_text(expected.read_text().replace("CRITICAL", "WARNING", 1))
    mistake = copy("where_regex", tmp_path, "mistake") / "task.tick"
    mistake.write_text(mistake.read_text().replace("|where", "|were"))
    evaluation = copy("where_regex", tmp_path, "evaluation") / "task.tick"
    evaluation.write_text(evaluation.read_text().replace("< 50.0", "< 'fifty'"))
    (copy("where_regex", tmp_path, "empty") / "input.lp").write_text("# nothing yet\n")
    bad = copy("where_regex", tmp_path, "bad_line") / "input.lp"
    bad.write_text(bad.read_text() + "cpu,host=a usage_idle= 1451606400000000000\n")
    (copy("where_regex", tmp_path, "unsaid") / "expected.json").unlink()
    (copy("where_regex", tmp_path, "setting") / "case.toml").write_text('presicion = "s"\n')
    copy("where_regex", tmp_path, "right")

    found = walk(names(tmp_path), backend, 1, True, lambda _: None, folder=tmp_path)
    said = {r.case: (r.status, "\n".join(r.lines)) for r in found}
    assert said.pop("right") == (PASSED, "")
    for case, status, *texts in (
        ("wrong_level", DIFFERS, 'level is "CRITICAL", expected "WARNING"', "00:00:10Z"),
        ("mistake", FAILED, "mistake/task.tick", "line 6 char 6", '"were"'),
        ("evaluation", DIFFERS, "missing", "where2: mismatched type to binary operator"),
        ("empty", FAILED, "the input is empty", "empty/input.lp"),
        ("bad_line", FAILED, "bad_line/input.lp:7", "without a value"),
        ("unsaid", FAILED, "does not say what is expected", "make accept CASE=unsaid"),
        ("setting", FAILED, "setting/case.toml", "presicion"),
    ):
        assert said[case][0] == status, said[case]
        for text in texts:
            assert text in said[case][1]
    assert len(said) == 7

    file = tmp_path / "results.xml"
    junit(found, file)
    suite = ET.parse(file).getroot()[0]  # noqa: S314
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("8", "2", "5")


def kill_udf(backend: str, program: str, number: int = 1) -> None:
    """Kill the UDF `program` of a case engine as soon as it runs."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if backend == "native":
            mark = str(STATE / "instances" / f"cases-{number}")
            for process in psutil.process_iter():
                try:
                    ours = process.environ().get("STACK_STATE") == mark
                    if ours and any(program in word for word in process.cmdline()):
                        process.kill()
                        return
                except (psutil.Error, OSError):
                    continue
        else:
            code = (
                "import glob, os, sys\n"
                "for f in glob.glob('/proc/[0-9]*/cmdline'):\n"
                "    pid = int(f.split('/')[2])\n"
                f"    if pid != os.getpid() and {program!r}.encode() in open(f, 'rb').read():\n"
                "        os.kill(pid, 9); sys.exit()\n"
                "sys.exit(1)\n"
            )
            command = ["docker", "compose", "--project-name", project_name(f"cases-{number}")]
            done = subprocess.run(
                [*command, "exec", "-T", "kapacitor", "python3", "-c", code],
                cwd=ROOT, capture_output=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"no {program} to kill")


def test_a_udf_that_dies_fails_its_case_only(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "a_dying_udf"
    folder.mkdir()
    shutil.copy(ROOT / "kapacitor/examples/print_temps_multi.tick", folder / "task.tick")
    # In real time, so that there is time to kill it.
    (folder / "case.toml").write_text('precision = "s"\nclock = "real"\n')
    lines = [f"temperatures hotend=1,bed=2,air=3 {1451606400 + s}\n" for s in range(6)]
    (folder / "input.lp").write_text("".join(lines))
    (folder / "expected.json").write_text('{"alerts": []}')
    copy("where_regex", tmp_path, "right")

    killer = threading.Thread(target=kill_udf, args=(backend, "udf/ttest.py"))
    killer.start()
    found = walk(names(tmp_path), backend, 1, True, lambda _: None, folder=tmp_path)
    killer.join()
    said = {r.case: (r.status, "\n".join(r.lines)) for r in found}
    assert said["right"][0] == PASSED
    status, text = said["a_dying_udf"]
    assert status == FAILED
    assert "the replay of task a_dying_udf failed" in text
    assert "Kapacitor, tTestMulti" in text


def test_accept_writes_what_came_and_then_the_case_passes(backend: str, tmp_path: Path) -> None:
    folder = copy("cpu_alert", tmp_path, "new")
    before = json.loads((folder / "expected.json").read_text())
    (folder / "expected.json").unlink()
    (accepted,) = walk(["new"], backend, 1, True, lambda _: None, accept=True, folder=tmp_path)
    assert accepted.status == ACCEPTED
    assert "review it" in accepted.lines[0]
    assert json.loads((folder / "expected.json").read_text()) == before
    (result,) = walk(["new"], backend, 1, True, lambda _: None, folder=tmp_path)
    assert result.status == PASSED


def test_the_command_runs_one_case_against_a_warm_engine(backend: str, tmp_path: Path) -> None:
    env = {**os.environ, "STACK": backend}
    command = [".venv/bin/python", "-m", "stack", "cases", "where_regex", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["case"], result["status"]) == ("where_regex", PASSED)
    assert result["seconds"] < 3
    command[-2:] = ["nothing_like_it"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no case 'nothing_like_it'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_of_the_readme_work(backend: str) -> None:
    printed = commands((CASES / "README.md").read_text())
    everything, *others = [line.partition("#")[0].strip() for line in printed]
    assert everything == "make test-tasks", "the tests above do that"
    expected = CASES / "cpu_alert" / "expected.json"
    before = expected.read_bytes()
    try:
        for line in others:
            done = subprocess.run(
                line.split(), cwd=ROOT, env={**os.environ, "STACK": backend},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            assert "cpu_alert" in done.stderr
        assert expected.read_bytes() == before
    finally:
        expected.write_bytes(before)


def command(backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [".venv/bin/python", "-m", "stack", *arguments], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "STACK": backend}, check=False,
    )  # fmt: skip


def test_lint_finds_what_is_wrong_and_nothing_else(backend: str, tmp_path: Path) -> None:
    files = {
        "right": "stream\n    |from()\n        .measurement('cpu')\n    |alert()\n",
        "refused": "stream\n    |from()\n    |alrt()\n",
        "unformatted": "stream|from()\n",
        "quotes": 'stream\n    |from()\n        .where(lambda: "host" == "a")\n',
    }
    paths = []
    for name, script in files.items():
        path = tmp_path / f"{name}.tick"
        path.write_text(script)
        paths.append(str(path))
    done = command(backend, "lint", "--json", *paths)
    found = {Path(f["file"]).stem: f for f in json.loads(done.stdout)}
    assert done.returncode == 1
    assert set(found) == {"refused", "unformatted", "quotes"}
    assert (found["refused"]["line"], found["refused"]["level"]) == (3, "error")
    assert "alrt" in found["refused"]["message"]
    assert "not as Kapacitor formats it" in found["unformatted"]["message"]
    assert found["quotes"]["level"] == "warning"

    assert command(backend, "lint", "--fix", paths[2]).returncode == 0
    assert Path(paths[2]).read_text() == "stream\n    |from()\n"


def test_the_repository_has_no_lint_but_the_trap_that_a_case_shows(backend: str) -> None:
    done = command(backend, "lint", "--json")
    assert done.returncode == 0, done.stdout
    assert [f["file"] for f in json.loads(done.stdout)] == ["tests/tasks/quotes_double/task.tick"]


def test_a_report_of_any_task_has_its_graph_and_alerts(backend: str, tmp_path: Path) -> None:
    lines = [f"cpu,host=a,cpu=cpu0 usage_idle={90 - s % 3} {1451606400 + s}" for s in range(30)]
    (tmp_path / "given.lp").write_text(
        "\n".join([*lines, "cpu,host=a,cpu=cpu0 usage_idle=5 1451606500"])
    )
    page = tmp_path / "page.html"
    done = command(
        backend, "report", "cpu_sigma", "--input", str(tmp_path / "given.lp"),
        "--precision", "s", "--output", str(page),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "Graph of cpu_sigma" in text
    assert 'aria-label="stream0 to from1, from1 to alert2"' in text
    assert "<td>CRITICAL</td>" in text.replace("\n", "")
    refused = command(backend, "report", "no_such_task")
    assert refused.returncode == 1
    assert "no case for the task 'no_such_task'" in refused.stderr
