"""Throw-away environments, made once and kept under a git-ignored folder."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".stack" / "venvs"


def environment(name: str, *requirements: str) -> str:
    """Return the Python of an environment that has the requirements, and all we have besides.

    Fails the test, with pip's own words, when they cannot be installed.
    """
    folder = FOLDER / name
    python = folder / "bin" / "python"
    done = folder / "complete.txt"
    wanted = "\n".join([*requirements, sys.version])
    if done.is_file() and done.read_text() == wanted:
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, *requirements]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            pytest.fail(f"{' '.join(command)}\nended with {ran.returncode}:\n{ran.stderr}")
    # Ours comes after its own, so that numpy and the test tools need not be installed again.
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done.write_text(wanted)
    return str(python)
