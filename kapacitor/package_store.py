"""Keeps the installed packages of one Kapacitor, on the machine or in the container where it runs.

Called by ``python -m stack package ...``, never by hand. It needs nothing but Python: it runs with
the image's interpreter, in a container of its own, also while Kapacitor is down. The folder,
``packages`` in Kapacitor's data folder, holds::

    installed/NAME/          a package's files, and what kapacitor/start adds to kapacitor.conf
    candidates/NAME/         files that are being checked
    previous/NAME/           what a deployment that is under way has replaced
    environments/NAME-HASH/  a virtual environment for one content of requirements.txt
    cache/                   pip's

Every command prints one JSON object; ``error`` in it is for the user.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

FUNCTIONS = "functions.toml"
MANIFEST = "package.toml"
#: What the environments of all packages hold: the SDK needs it.
LOCK = Path(os.environ.get("STACK_UDF_LOCK") or "/opt/requirements.txt")


class Store:
    """The packages folder of one Kapacitor.

    Parameters
    ----------
    root
        The folder; made when it is needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, name: str) -> Path:
        """Return where a package is kept."""
        return self.root / kind / name

    # -- commands -----------------------------------------------------------------------------

    def put(self, name: str) -> dict[str, Any]:
        """Unpack a tar of standard input as the candidate."""
        target = self.folder("candidates", name)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                file = target / entry.name
                if content is None or not file.resolve().is_relative_to(target.resolve()):
                    return {"error": f"{entry.name} is no file of a package"}
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.read())
        return {"folder": str(target)}

    def environment(self, name: str) -> dict[str, Any]:
        """Make the candidate's environment, unless one of the same content is there.

        A package that asks for nothing runs in the image's own, which no package can change.
        """
        file = self.folder("candidates", name) / "requirements.txt"
        wanted = file.read_text() if file.exists() else ""
        if not any(line.partition("#")[0].strip() for line in wanted.splitlines()):
            return {"python": sys.executable, "made": False}
        content = "\n".join([sys.version, LOCK.read_text(), wanted])
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        target = self.folder("environments", f"{name}-{key}")
        python = target / "bin" / "python"
        if (target / "complete").exists():
            return {"python": str(python), "made": False}
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
        problem = self._pip(python, "--require-hashes", "--requirement", str(LOCK))
        if not problem:
            pins = target / "image.txt"
            pins.write_text("".join(f"{pin}\n" for pin in _pins()))
            problem = self._pip(python, "--constraint", str(pins), "--requirement", str(file))
        if problem:
            shutil.rmtree(target, ignore_errors=True)
            return {"error": problem}
        (target / "complete").touch()
        return {"python": str(python), "made": True}

    def adopt(self, name: str, other: str) -> dict[str, Any]:
        """Copy a package's environments from another store, instead of making them again."""
        for source in Path(other).glob(f"environments/{name}-*"):
            target = self.root / "environments" / source.name
            if not target.exists():
                shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
        return {}

    def _pip(self, python: Path, *arguments: str) -> str:
        """Install into an environment; return pip's reason if that failed."""
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
                "--disable-pip-version-check", "--no-input",
                "--cache-dir", str(self.root / "cache"),
                *arguments,
            ],
            capture_output=True, text=True, check=False,
            env={**os.environ, "TMPDIR": str(self._temporary())},
        )  # fmt: skip
        if done.returncode == 0:
            return ""
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = [line for line in lines if "ERROR" in line] or lines[-3:]
        return "\n".join(line.replace("ERROR: ", "").strip() for line in told) or "pip failed"

    def _temporary(self) -> Path:
        # A container's /tmp is memory.
        folder = self.root / "cache" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def protocol(self, name: str, functions: str) -> dict[str, Any]:
        """Check the candidate's programs against Kapacitor's protocol.

        `functions` is JSON: for each function its program, arguments, variables, options and
        checks.
        """
        # The SDK's own checks, where the SDK is.
        sys.path.insert(0, str(Path("udf").absolute()))
        from kapacitor.udf.check.cases import CHECKS
        from kapacitor.udf.check.context import Context, Failed, Skipped
        from kapacitor.udf.harness.options import OptionError
        from kapacitor.udf.harness.program import ProgramError

        made = self.environment(name)
        if "error" in made:
            return made
        folder = self.folder("candidates", name)
        answer: dict[str, Any] = {}
        for function, given in json.loads(functions).items():
            variables = {"PYTHONPATH": str(Path("udf").absolute()), **given["environment"]}
            argv = [
                "env", *(f"{key}={value}" for key, value in variables.items()),
                made["python"], "-u", str(folder / given["program"]), *given["arguments"],
            ]  # fmt: skip
            context = Context(argv, given["options"], given["fields"] or ["value"], 60.0)
            problems: list[str] = []
            seconds = 0.0
            try:
                with context.open() as program:
                    context.info = program.info()
                # One that the program does not know is the task's mistake, and reported as such.
                declared = context.info.options
                context.given = [o for o in given["options"] if o.partition("=")[0] in declared]
            except ProgramError as error:
                problems.append(str(error))
            else:
                for check in CHECKS:
                    if check.name in given["checks"]:
                        began = time.monotonic()
                        try:
                            check.run(context)
                            if check.name == "options":
                                seconds = time.monotonic() - began
                        except Skipped:
                            continue
                        except (Failed, ProgramError, OptionError) as error:
                            problems.append(f"{check.name}: {error}. It means: {check.meaning}")
            answer[function] = {
                "problems": problems,
                "seconds": seconds,
                "options": {
                    option: len(info.valueTypes) for option, info in context.info.options.items()
                },
            }
        return {"functions": answer}

    def install(self, name: str) -> dict[str, Any]:
        """Put the candidate in the place of what is installed, which is kept until `settle`."""
        made = self.environment(name)
        if "error" in made:
            return made
        installed, previous = self.folder("installed", name), self.folder("previous", name)
        candidate = self.folder("candidates", name)
        before = self._declared(name)
        declared = _functions(candidate, installed, made["python"])
        (candidate / FUNCTIONS).write_text(declared)
        shutil.rmtree(previous, ignore_errors=True)
        previous.parent.mkdir(parents=True, exist_ok=True)
        installed.parent.mkdir(parents=True, exist_ok=True)
        if installed.exists():
            installed.rename(previous)
        else:
            # Says that a deployment is under way and nothing was there before it.
            previous.mkdir()
        candidate.rename(installed)
        return {"restart": declared != before}

    def remove(self, name: str) -> dict[str, Any]:
        """Take a package away; it is kept until `settle`."""
        installed, previous = self.folder("installed", name), self.folder("previous", name)
        if not installed.exists():
            return {"error": f"no package {name!r} is installed"}
        shutil.rmtree(previous, ignore_errors=True)
        previous.parent.mkdir(parents=True, exist_ok=True)
        installed.rename(previous)
        return {"restart": True}

    def restore(self, name: str) -> dict[str, Any]:
        """Undo `install` or `remove`."""
        installed, previous = self.folder("installed", name), self.folder("previous", name)
        before = self._declared(name)
        if previous.exists():
            shutil.rmtree(installed, ignore_errors=True)
            if (previous / MANIFEST).exists():
                previous.rename(installed)
            else:
                previous.rmdir()
        return {"restart": self._declared(name) != before}

    def settle(self, name: str) -> dict[str, Any]:
        """Forget what was there before, candidates, and environments that nothing uses."""
        for kind in ("previous", "candidates"):
            shutil.rmtree(self.folder(kind, name), ignore_errors=True)
        shutil.rmtree(self.root / "cache" / "tmp", ignore_errors=True)
        declared = self._declared(name)
        for environment in self.root.glob(f"environments/{name}-*"):
            # Of another package, `pump-2-` is no environment of `pump`.
            own = environment.name.rpartition("-")[0] == name
            if own and str(environment) not in declared:
                shutil.rmtree(environment, ignore_errors=True)
        return {}

    def forget(self, name: str) -> dict[str, Any]:
        """Drop the candidate."""
        shutil.rmtree(self.folder("candidates", name), ignore_errors=True)
        return {}

    def list(self) -> dict[str, Any]:
        """Return the installed packages, and the names of deployments that did not end."""
        found = []
        for folder in sorted(self.root.glob("installed/*")):
            manifest = tomllib.loads((folder / MANIFEST).read_text())
            tasks = {file.stem: file.read_text() for file in sorted(folder.glob("tasks/*.tick"))}
            found.append({**manifest, "name": folder.name, "tasks": tasks})
        unfinished = sorted(folder.name for folder in self.root.glob("previous/*"))
        return {"packages": found, "unfinished": unfinished}

    def _declared(self, name: str) -> str:
        file = self.folder("installed", name) / FUNCTIONS
        return file.read_text() if file.exists() else ""


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _pins() -> list[str]:
    """Return the versions of the image's own distributions, as requirements."""
    names = [line.split("==")[0] for line in LOCK.read_text().splitlines() if "==" in line]
    pins = []
    for name in dict.fromkeys(name.strip() for name in names):
        try:
            pins.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return pins


def _functions(package: Path, installed: Path, python: str) -> str:
    """Return the sections of kapacitor.conf for the functions of a package."""
    manifest = tomllib.loads((package / MANIFEST).read_text())
    lines = [f"# The functions of the package {manifest['name']}."]
    for name, function in sorted(manifest["functions"].items()):
        arguments = ["-u", str(installed / function["program"]), *function.get("arguments", [])]
        variables = {"PYTHONPATH": "udf", **function.get("environment", {})}
        lines += [
            f"[udf.functions.{name}]",
            # A string of JSON is one of TOML as well.
            f"  prog = {json.dumps(python)}",
            f"  args = {json.dumps(arguments)}",
            f"  timeout = {json.dumps(function.get('timeout', '10s'))}",
            f"  [udf.functions.{name}.env]",
            *(f"    {key} = {json.dumps(value)}" for key, value in sorted(variables.items())),
        ]
    return "\n".join(lines) + "\n"


def main(root: str, command: str, *arguments: str) -> None:
    """Carry out a command and print its answer."""
    store = Store(Path(root))
    commands: dict[str, Callable[..., dict[str, Any]]] = {
        "put": store.put, "environment": store.environment, "adopt": store.adopt,
        "protocol": store.protocol,
        "install": store.install, "remove": store.remove, "restore": store.restore,
        "settle": store.settle, "forget": store.forget, "list": store.list,
    }  # fmt: skip
    print(json.dumps(commands[command](*arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
