"""The engines at their exact versions: found on PATH or built from their Go modules.

`native/engines/<name>/go.mod` pins each module with the hashes of everything below it; the build is
an ordinary ``go install``. InfluxDB and Kapacitor also need libflux, a Rust library, which their
build makes by itself through the `pkg-config` program built first.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stack.errors import StackError
from stack.settings import ROOT, STATE

BIN = STATE / "bin"
LOGS = STATE / "logs"

#: Telegraf's plugins that are built in; a full build takes ten times as long. Add what you use.
TELEGRAF_PLUGINS = [
    "inputs.cpu",
    "inputs.disk",
    "inputs.exec",
    "inputs.execd",
    "inputs.file",
    "inputs.http_listener_v2",
    "inputs.influxdb_listener",
    "inputs.internal",
    "inputs.mem",
    "inputs.mqtt_consumer",
    "inputs.system",
    "inputs.tail",
    "outputs.discard",
    "outputs.execd",
    "outputs.file",
    "outputs.health",
    "outputs.http",
    "outputs.influxdb",
    "outputs.influxdb_v2",
    "outputs.mqtt",
    "processors.converter",
    "processors.execd",
    "processors.rename",
    "processors.starlark",
    "secretstores.docker",
    "parsers.csv",
    "parsers.influx",
    "parsers.json",
    "parsers.json_v2",
    "parsers.value",
    "serializers.influx",
    "serializers.json",
]


@dataclass(frozen=True)
class Engine:
    """One Go module that gives programs of the stack.

    Attributes
    ----------
    name
        The folder below native/engines.
    version
        Without the leading v.
    programs
        What it builds; the first answers `asks` with a line that contains the version.
    linked
        Go variables that carry the version, set at link time.
    seconds, gigabytes
        What a first build took on 2 cores, and what it left in Go's caches: users are told.
    """

    name: str
    version: str
    programs: tuple[str, ...]
    asks: tuple[str, ...]
    linked: tuple[str, ...]
    seconds: int
    gigabytes: float
    tags: tuple[str, ...] = ()
    needs_rust: bool = False


ENGINES = (
    Engine(
        name="influxdb",
        version="1.12.4",
        programs=("influxd", "influx"),
        asks=("version",),
        linked=("main.version",),
        seconds=200,
        gigabytes=2.0,
        needs_rust=True,
    ),
    Engine(
        name="kapacitor",
        version="1.8.6",
        programs=("kapacitord", "kapacitor", "tickfmt"),
        asks=("version",),
        linked=("main.version",),
        seconds=255,
        gigabytes=2.0,
        needs_rust=True,
    ),
    Engine(
        name="telegraf",
        version="1.39.2",
        programs=("telegraf",),
        asks=("--version",),
        linked=("github.com/influxdata/telegraf/internal.Version",),
        seconds=120,
        gigabytes=4.0,
        tags=("custom", *TELEGRAF_PLUGINS),
    ),
    Engine(
        name="process-compose",
        version="1.85.0",
        programs=("process-compose",),
        asks=("version",),
        linked=("github.com/f1bonacc1/process-compose/src/config.Version",),
        seconds=35,
        gigabytes=0.5,
    ),
    # A program of our own around the module of this version; in containers it is Mosquitto.
    Engine(
        name="mqtt-broker",
        version="2.7.9",
        programs=("mqtt-broker",),
        asks=("-version",),
        linked=("main.version",),
        seconds=10,
        gigabytes=0.1,
    ),
)


def version_of(program: str | Path, asks: tuple[str, ...]) -> str:
    """Return the first x.y.z a program prints when asked, or an empty string."""
    try:
        done = subprocess.run(
            [program, *asks], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return found.group() if found else ""


def installed(engine: Engine) -> Path | None:
    """Return the folder that has every program of `engine` as it is wanted, or None.

    What was built here must be of the same modules and plugins as a build would be now; on PATH the
    exact version is enough.
    """
    first = shutil.which(engine.programs[0])
    for folder in dict.fromkeys([BIN] + ([Path(first).parent] if first else [])):
        if folder == BIN and not _is_current(engine):
            continue
        # tickfmt is a tool of the tests that no package ships: asked for where it is used.
        needed = [p for p in engine.programs if p != "tickfmt" or folder == BIN]
        if all((folder / p).exists() for p in needed) and (
            version_of(folder / engine.programs[0], engine.asks) == engine.version
        ):
            return folder
    return None


def _is_current(engine: Engine) -> bool:
    stamp = BIN / f"{engine.name}.stamp"
    return stamp.exists() and stamp.read_text() == _stamp(engine)


def _stamp(engine: Engine) -> str:
    """Return all that a build depends on, as one hash: modules, sources, version, plugins."""
    folder = ROOT / "native" / "engines" / engine.name
    files = sorted(f for f in folder.iterdir() if f.suffix in (".mod", ".sum", ".go"))
    built_from = b"".join(f.read_bytes() for f in files) + repr(engine).encode()
    return hashlib.sha256(built_from).hexdigest()


def path_with_engines(env: dict[str, str]) -> str:
    """Return a PATH on which the virtual environment's Python and the engines come first."""
    folders = [str(ROOT / ".venv" / "bin"), str(BIN)]
    return os.pathsep.join([*folders, env.get("PATH", os.defpath)])


def missing_toolchains() -> list[str]:
    """Return what must be installed before the engines can be built, a line each."""
    lines = []
    go = shutil.which("go")
    if not go:
        lines.append("Go 1.26 or newer (https://go.dev/dl)")
    else:
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
        number = re.match(r"go(\d+)\.(\d+)", said.stdout.strip())
        older = number and (int(number[1]), int(number[2])) < (1, 26)
        switches = subprocess.run(
            [go, "env", "GOTOOLCHAIN"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if older and switches == "local":
            lines.append(f"Go 1.26 or newer: this is {said.stdout.strip()} (https://go.dev/dl)")
    if not shutil.which("cargo"):
        lines.append("Rust with cargo (https://rustup.rs)")
    if not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")):
        lines.append("a C compiler (apt-get install build-essential)")
    if not shutil.which("pkg-config"):
        lines.append("pkg-config (apt-get install pkg-config)")
    return lines


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one build at a time work in this checkout; the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_engines(console: Console) -> None:
    """Build every engine that is neither here nor on PATH; say beforehand what that takes.

    Raises
    ------
    StackError
        When a toolchain or disk space is missing, or a build fails (with the end of its log).
    """
    with _lock(STATE / "build.lock"):
        wanted = [e for e in ENGINES if not installed(e)]
        if not wanted:
            return
        if lines := missing_toolchains():
            raise StackError(
                "the engines cannot be built here; missing: " + "; ".join(lines),
                "install what is named, or a Docker engine that can pull images",
            )
        minutes = sum(e.seconds for e in wanted) / 60
        need = sum(e.gigabytes for e in wanted)
        free = shutil.disk_usage(STATE).free / 1e9
        names = ", ".join(f"{e.name} {e.version}" for e in wanted)
        console.print(
            f"Building {names} from their Go modules, once.\n"
            f"About {math.ceil(minutes)} min on 2 cores for the first build on a machine, less with"
            f" warm caches; up to {need:.1f} GB in the caches of Go and Rust ({free:.0f} GB free)."
        )
        if free < need:
            raise StackError(
                f"building needs {need:.0f} GB of disk and {free:.0f} GB are free in {STATE}",
                "free some space; `go clean -cache -modcache` empties Go's caches",
            )
        started = time.monotonic()
        for engine in wanted:
            _build(engine, console)
        console.print(f"Engines built in {time.monotonic() - started:.0f} s.")


def _build(engine: Engine, console: Console) -> None:
    env = {**os.environ, "GOBIN": str(BIN), "CGO_ENABLED": "1", "GOFLAGS": "-mod=readonly"}
    BIN.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    if engine.needs_rust:
        env |= _libflux_environment(console)
    flags = " ".join(["-s", "-w", *(f"-X {name}={engine.version}" for name in engine.linked)])
    command = ["go", "install", "-ldflags", flags]
    if engine.tags:
        command += ["-tags", ",".join(engine.tags)]
    _go(engine.name, [*command, "tool"], env, engine.seconds, console)
    (BIN / f"{engine.name}.stamp").write_text(_stamp(engine))
    if installed(engine) is None:
        raise StackError(
            f"the built {engine.programs[0]} does not answer as version {engine.version}",
            f"look at {LOGS / f'build-{engine.name}.log'}, then remove {BIN} and try again",
        )


def _libflux_environment(console: Console) -> dict[str, str]:
    """Return the variables with which the build of InfluxDB and Kapacitor makes libflux."""
    if not (BIN / "pkg-config").exists():
        _go("pkg-config", ["go", "install", "tool"], {**os.environ, "GOBIN": str(BIN)}, 20, console)
    # libflux turns warnings into errors, and newer compilers warn of more.
    wrapper = BIN / "rustc-allowing-warnings"
    wrapper.write_text('#!/bin/sh\nexec "$@" --cap-lints warn\n')
    wrapper.chmod(0o755)
    env = {"PKG_CONFIG": str(BIN / "pkg-config"), "RUSTC_WRAPPER": str(wrapper)}
    # It also pins an old toolchain by name; any recent one that is installed does.
    if shutil.which("rustup") and "RUSTUP_TOOLCHAIN" not in os.environ:
        shown = subprocess.run(
            ["rustup", "show", "active-toolchain"],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        if shown.returncode == 0 and shown.stdout.split():
            env["RUSTUP_TOOLCHAIN"] = shown.stdout.split()[0]
    return env


def _go(name: str, command: list[str], env: dict[str, str], seconds: int, console: Console) -> None:
    """Run one go command in native/engines/<name>, showing progress, its output in a log."""
    log = LOGS / f"build-{name}.log"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    started = time.monotonic()
    with log.open("wb") as out:
        build = subprocess.Popen(
            command, cwd=ROOT / "native" / "engines" / name, env=env, stdout=out, stderr=out
        )
        try:
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task(f"building {name} (about {seconds} s)")
                quiet = 0.0
                while build.poll() is None:
                    time.sleep(0.2)
                    progress.refresh()
                    elapsed = time.monotonic() - started
                    # Logs of CI have no cursor: a line now and then shows that it goes on.
                    if not console.is_terminal and elapsed - quiet >= 30:
                        quiet = elapsed
                        console.print(f"  building {name}: {elapsed:.0f} of about {seconds} s")
                progress.remove_task(task)
        finally:
            if build.poll() is None:
                build.terminate()
                build.wait()
    if build.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()
        raise StackError(
            f"building {name} failed ({' '.join(command[:2])} in native/engines/{name})",
            f"the whole log is {log.relative_to(ROOT)}",
            "\n".join(lines[-20:]),
        )
    console.print(f"  built {name} in {time.monotonic() - started:.0f} s")
