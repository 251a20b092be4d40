"""The machine or container of one Kapacitor, where its packages are kept.

What happens there is ``kapacitor/package_store.py``; here it is called, on either backend.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stack.backend import Stack
from stack.compose import ComposeStack
from stack.errors import StackError
from stack.native import NativeStack
from stack.packages.contents import LOCK, Package
from stack.settings import ROOT

IMAGE = "tick-anomaly-stack/kapacitor:1.8.6"
PROGRAM = "kapacitor/package_store.py"
DATA = "/var/lib/kapacitor"
#: How pip is told about the network, where it has to be.
PIP_VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY", "HTTP_PROXY",
    "NO_PROXY",
)  # fmt: skip


class Host:
    """Where the packages of an instance of the stack are; Kapacitor need not run.

    Parameters
    ----------
    stack
        The instance.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def put(self, package: Package) -> None:
        """Copy the files of a package there, as a candidate."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for name in package.installed_files():
                entry = tarfile.TarInfo(str(name))
                data = (package.folder / name).read_bytes()
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))
        self.call("put", package.name, content=content.getvalue())

    def call(self, command: str, *arguments: str, content: bytes = b"") -> dict[str, Any]:
        """Carry out a command of the store; its answer may hold an `error`.

        Raises
        ------
        StackError
            If it cannot be carried out at all.
        """
        done = subprocess.run(
            self._command([command, *arguments]), cwd=ROOT, input=content, capture_output=True,
            check=False, env={**os.environ, "STACK_UDF_LOCK": str(LOCK)},
        )  # fmt: skip
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise StackError(
                f"the packages of {self.stack.name} ({self.stack.backend}) cannot be reached",
                "the cause is in the lines above",
                done.stderr.decode(errors="replace")[-2000:],
            ) from None
        return answer

    def adopt(self, name: str, other: Host) -> None:
        """Take over the environments that another instance has made for a package."""
        if isinstance(other.stack, NativeStack):
            self.call("adopt", name, str(_native_root(other.stack)))
            return
        volume = f"{_volume(other.stack)}:/from:ro"
        done = subprocess.run(
            self._command(["adopt", name, "/from/packages"], ("--volume", volume)),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise StackError("the environment cannot be copied", "", done.stderr[-2000:])

    def _command(self, arguments: list[str], more: Sequence[str] = ()) -> list[str]:
        if isinstance(self.stack, NativeStack):
            return [sys.executable, PROGRAM, str(_native_root(self.stack)), *arguments]
        return [*_container(self.stack, more), PROGRAM, f"{DATA}/packages", *arguments]


def _native_root(stack: NativeStack) -> Path:
    return stack.state / "kapacitor" / "packages"


def _volume(stack: Stack) -> str:
    """Return the volume of Kapacitor's state, made as compose would make it if it is not there."""
    name = f"{stack.name}_kapacitor-data"
    labels = {
        "com.docker.compose.project": stack.name,
        "com.docker.compose.volume": "kapacitor-data",
    }
    marks = [
        argument for key, value in labels.items() for argument in ("--label", f"{key}={value}")
    ]
    # Creating one that is there changes nothing.
    subprocess.run(["docker", "volume", "create", *marks, name], check=True, capture_output=True)
    return name


def _container(stack: Stack, more: Sequence[str]) -> list[str]:
    """Return the command that runs Kapacitor's image for a moment, as hardened as Kapacitor."""
    if not isinstance(stack, ComposeStack):
        raise TypeError(f"{type(stack).__name__} has no containers")
    env = stack.environment()
    network = env.get("BUILD_NETWORK") or "default"
    command = [
        "docker", "run", "--rm", "--interactive", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges:true", "--memory", "2g",
        "--tmpfs", "/tmp",  # noqa: S108 - a folder of the container
        "--pids-limit", "512", "--network", "bridge" if network == "default" else network,
        "--volume", f"{_volume(stack)}:{DATA}",
        "--volume", f"{ROOT}/kapacitor:/stack/kapacitor:ro",
        "--volume", f"{ROOT}/udf:/stack/udf:ro",
        *more,
    ]  # fmt: skip
    if (bundle := env.get("CA_BUNDLE")) and bundle != "/dev/null":
        command += [
            "--volume",
            f"{Path(bundle).resolve()}:/run/ca.pem:ro",
            "--env",
            "PIP_CERT=/run/ca.pem",
        ]
    for name in PIP_VARIABLES:
        if name in os.environ:
            command += ["--env", name]
    return [*command, IMAGE, "python3"]
