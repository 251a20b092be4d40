"""What docker-compose.yml promises: variables explained, versions exact, containers hardened."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.engines import ENGINES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
#: Set by compose for itself, and by anybody who runs two checkouts.
COMPOSE_OWN = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}


def test_every_variable_is_in_the_example_and_no_other() -> None:
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", TEXT))
    for service in SERVICES.values():
        # A name without a value is passed on where it is set.
        environment = service.get("environment", {})
        read |= {name for name in environment if isinstance(environment, list) and "=" not in name}
    explained = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.M))
    assert read - COMPOSE_OWN == explained - COMPOSE_OWN


def test_the_example_shows_the_defaults() -> None:
    example = dict(
        re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.M)
    )
    for name, default in re.findall(r"\$\{([A-Z][A-Z0-9_]*):-([^}]*)\}", TEXT):
        assert name in COMPOSE_OWN or example[name] == default, name


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service.get("privileged") is None
    for port in service.get("ports", []):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_at_exact_versions(name: str) -> None:
    service = SERVICES[name]
    defaults = re.findall(r":-([^}]+)\}", service["image"]) or [service["image"]]
    arguments = service.get("build", {}).get("args", {}).values()
    for value in arguments:
        defaults += re.findall(r":-([^}]+)\}", value)
    for image in defaults:
        tag = image.rpartition(":")[2]
        assert re.search(r"\d", tag), f"{image} has no version"
        assert tag != "latest"


def test_images_and_modules_are_of_the_same_versions() -> None:
    for engine in ENGINES:
        modules = (ROOT / "native/engines" / engine.name / "go.mod").read_text()
        others = {
            "process-compose": "f1bonacc1/process-compose",
            "mqtt-broker": "mochi-mqtt/server/v2",
        }
        module = others.get(engine.name, f"influxdata/{engine.name}")
        assert f"github.com/{module} v{engine.version}\n" in modules.replace(" // indirect", "")
        if engine.name in SERVICES:
            assert f"{engine.name}:{engine.version}" in TEXT


def test_lock_files_name_no_index() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"index-url|find-links|https?://", text), lock.name
