"""Every command of the README, run in its order on each backend."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from stack.isolated import project_name
from stack.settings import ROOT, Addresses
from tests.documents import commands

pytestmark = pytest.mark.stack

COMMANDS = commands((ROOT / "README.md").read_text())
#: Not run here, and why.
ELSEWHERE = {
    "make test": "runs this test",
    "make images": "run by .ci/run, which tests with the images it makes",
}


@pytest.fixture(scope="module")
def environment(backend: str) -> Iterator[dict[str, str]]:
    """Keep the live stack of this test apart from one that the user has running."""
    apart = Addresses.free().variables() | {"COMPOSE_PROJECT_NAME": project_name("readme")}
    variables = os.environ | apart | {"STACK": backend}
    yield variables
    subprocess.run(["make", "clean"], cwd=ROOT, env=variables, capture_output=True, check=False)


def test_the_readme_has_commands() -> None:
    assert "make demo" in COMMANDS
    assert set(COMMANDS) >= set(ELSEWHERE)


def test_commands_work_as_printed(backend: str, environment: dict[str, str]) -> None:
    for command in COMMANDS:
        if command in ELSEWHERE:
            continue
        if command.startswith("docker") and backend != "compose":
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command == "make demo":
            assert "out/demo/report.html" in done.stdout
        if command == "make ps":
            assert environment["KAPACITOR_PORT"] in done.stdout
        if "kapacitor.udf.run" in command:
            assert "pvalue" in done.stdout


def test_paths_and_links_exist() -> None:
    """What the documents point to is there."""
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "udf/README.md"]:
        text = document.read_text()
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
    table = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "README.md").read_text(), re.M)
    for cell in table:
        for path in re.findall(r"`([^`]+)`", cell):
            assert (ROOT / path).exists(), path
