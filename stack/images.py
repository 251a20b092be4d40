"""Local images for sites with no registry: a Debian base, and engines built from modules."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from stack.compose import docker_engine_missing, has_image
from stack.engines import BIN, ENGINES, ensure_engines, installed
from stack.errors import StackError
from stack.settings import ROOT

_VERSIONS = {e.name: e.version for e in ENGINES}
#: The variables of docker-compose.yml that choose images -> the images made here.
IMAGES = {
    "PYTHON_BASE_IMAGE": "tick-anomaly-stack/python-base:local",
    "INFLUXDB_IMAGE": f"tick-anomaly-stack/influxdb:{_VERSIONS['influxdb']}",
    "KAPACITOR_BASE_IMAGE": f"tick-anomaly-stack/kapacitor-base:{_VERSIONS['kapacitor']}",
    "TELEGRAF_BASE_IMAGE": f"tick-anomaly-stack/telegraf-base:{_VERSIONS['telegraf']}",
    "MQTT_IMAGE": "tick-anomaly-stack/mosquitto:2.0-debian",
}


def build_images(console: Console) -> dict[str, str]:
    """Build what docker-compose.yml would pull; return the variables that make it use these.

    Raises
    ------
    StackError
        When no Docker engine answers, or a build fails.
    """
    if problem := docker_engine_missing():
        raise StackError(f"images cannot be built: {problem}", "install and start a Docker engine")
    ensure_engines(console)
    base = IMAGES["PYTHON_BASE_IMAGE"]
    if not has_image(base):
        with console.status("making the Python base image from this machine's package mirror"):
            _run([str(ROOT / "native" / "images" / "base"), base])
    for variable, engine in (
        ("INFLUXDB_IMAGE", "influxdb"),
        ("KAPACITOR_BASE_IMAGE", "kapacitor"),
        ("TELEGRAF_BASE_IMAGE", "telegraf"),
    ):
        with console.status(f"building {IMAGES[variable]}"):
            _build(engine, IMAGES[variable], base)
        console.print(f"  {variable}={IMAGES[variable]}")
    with console.status(f"building {IMAGES['MQTT_IMAGE']}"):
        _run(
            ["docker", "build", "--quiet", "--network", "host", "--tag", IMAGES["MQTT_IMAGE"],
             "--build-arg", f"PYTHON_BASE_IMAGE={base}",
             "--file", "native/images/mqtt.Dockerfile", "native/images"],
        )  # fmt: skip
    console.print(f"  MQTT_IMAGE={IMAGES['MQTT_IMAGE']}")
    # Where images cannot be pulled, a proxy often stands between the builds and the package index.
    bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return {**IMAGES, "BUILD_NETWORK": "host", "CA_BUNDLE": bundle or "/dev/null"}


def _build(engine: str, image: str, base: str) -> None:
    """Build one image from the programs of an engine and the Dockerfile in native/images."""
    (built,) = [e for e in ENGINES if e.name == engine]
    folder = installed(built) or BIN
    own = ROOT / "native" / "images" / f"{engine}.Dockerfile"
    dockerfile = own if own.exists() else own.with_name("engine.Dockerfile")
    with tempfile.TemporaryDirectory(dir=ROOT / ".stack") as context:
        for program in built.programs:
            if (folder / program).exists():
                _link_or_copy(folder / program, Path(context) / program)
        for extra in own.parent.glob(f"{engine}-*"):
            shutil.copy2(extra, context)
        argument = ["--build-arg", f"PYTHON_BASE_IMAGE={base}"] if own.exists() else []
        _run(
            ["docker", "build", "--quiet", "--tag", image, "--file", str(dockerfile), *argument,
             context],
        )  # fmt: skip


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise StackError(
            f"{' '.join(command[:3])} failed", "the cause is in the lines above",
            (done.stdout + done.stderr)[-3000:],
        )  # fmt: skip
