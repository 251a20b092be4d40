"""The agents that are compared: Kapacitor's own in Python and Go, and the SDK's."""

import fcntl
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent
_MIRROR = ROOT / "tests/wire/programs/mirror.py"
_HANDLER = _HERE / "programs/ttest_handler.py"
_SUPERVISE = ["-m", "kapacitor.udf.supervise", "--"]


class BenchError(RuntimeError):
    """Something to compare with cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An agent with a program for each kind of work.

    Parameters
    ----------
    name : str
    ttest, ttest_three, mirror : list of str
        Command lines: the t-test of one field, of three fields, and a mirror.
    env : mapping of str to str
        What their environment needs.
    """

    name: str
    ttest: list[str]
    ttest_three: list[str]
    mirror: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


def kapacitor_module() -> Path:
    """Return the folder of Kapacitor's Go module, at the version that the stack builds.

    Raises
    ------
    BenchError
        If there is no Go, or the module cannot be fetched.
    """
    if shutil.which("go") is None:
        raise BenchError("there is no go on the PATH: install Go, the engines need it too")
    found = subprocess.run(
        ["go", "mod", "download", "-json", "github.com/influxdata/kapacitor"],
        cwd=_HERE / "goagent",
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise BenchError(f"Kapacitor's Go module cannot be fetched: {found.stdout}{found.stderr}")
    return Path(json.loads(found.stdout)["Dir"])


def stock_python() -> tuple[Path, Path]:
    """Return a Python with what Kapacitor's agent pins, and the agent's folder.

    The environment is made once, under ``.stack/venvs``, with the numpy and scipy of the
    repository's own.
    """
    agent = kapacitor_module() / "udf/agent/py"
    pinned = re.findall(r"protobuf==[\w.]+", (agent / "setup.py").read_text())
    if not pinned:
        raise BenchError(f"{agent / 'setup.py'} pins no protobuf any more: see what it needs")
    venv = ROOT / ".stack/venvs/stock-agent"
    python = venv / "bin/python"
    ready = venv / "ready"
    import numpy
    import scipy  # type: ignore[import-untyped]

    wanted = [pinned[0], f"numpy=={numpy.__version__}", f"scipy=={scipy.__version__}"]
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / "stock-agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once make it once
        if not ready.is_file() or ready.read_text() != " ".join(wanted):
            print(f"making {venv.relative_to(ROOT)} with {', '.join(wanted)}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, *wanted], check=True)
            ready.write_text(" ".join(wanted))
    return python, agent


def go_agent() -> Path:
    """Build the Go agent's program, unless it is built; return it."""
    program = ROOT / ".stack/bin/goagent"
    program.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=_HERE / "goagent",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the Go agent does not build: {done.stderr}")
    return program


def contenders() -> list[Contender]:
    """Return all agents, the stock one first: ratios are to it."""
    python, agent = stock_python()
    go = str(go_agent())
    # Compiled once, like what is installed, whatever the shell says of __pycache__.
    compiled = {
        "PYTHONPYCACHEPREFIX": str(ROOT / ".stack/pycache"),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    ours = {"PYTHONPATH": str(ROOT / "udf"), **compiled}
    handler, mirror = str(_HANDLER), str(_MIRROR)
    typed, typed_mirror = str(ROOT / "udf/ttest.py"), str(_HERE / "programs/mirror_typed.py")
    three = ["--values", "field=3"]
    me = sys.executable
    return [
        Contender(
            "stock Python",
            # -u, as Kapacitor's own documentation asks for
            [str(python), "-u", handler],
            [str(python), "-u", handler, "--fields", "3"],
            [str(python), "-u", mirror],
            {"PYTHONPATH": str(agent), **compiled},
        ),
        Contender("stock Go", [go], [go, "-fields", "3"], [go, "-mirror"]),
        Contender(
            "SDK, same script",
            [me, "-u", handler],
            [me, "-u", handler, "--fields", "3"],
            [me, "-u", mirror],
            ours,
        ),
        Contender("SDK, typed", [me, typed], [me, typed, *three], [me, typed_mirror], ours),
        Contender(
            "SDK, supervised",
            [me, *_SUPERVISE, me, typed],
            [me, *_SUPERVISE, me, typed, *three],
            [me, *_SUPERVISE, me, typed_mirror],
            ours,
        ),
    ]
