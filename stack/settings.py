"""Where things are, and the variables of ``.env.example``."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from stack.errors import StackError

ROOT = Path(__file__).resolve().parent.parent
#: Everything the commands make: engines, state of the native path, caches. Ignored by git.
STATE = ROOT / ".stack"
#: The compose project and the native instance that `make up` runs.
LIVE = "tick-anomaly-stack"

#: Variable of .env -> default, for the ports of the stack.
PORTS = {
    "INFLUXDB_PORT": 8086,
    "KAPACITOR_PORT": 9092,
    "TELEGRAF_PORT": 8186,
    "SIMULATOR_PORT": 8187,
    "PAGE_PORT": 8090,
    "JSON_PORT": 8188,
    "GRAFANA_PORT": 3000,
    "MQTT_PORT": 1883,
    "BREW_PORT": 8189,
}


def environment() -> dict[str, str]:
    """Return the process environment over the variables of ``.env``, as compose reads them."""
    from_file = {k: v for k, v in dotenv_values(ROOT / ".env").items() if v is not None}
    return {**from_file, **os.environ}


@dataclass(frozen=True)
class Addresses:
    """Where the services of one running stack listen.

    Attributes
    ----------
    bind
        The address the ports are published on.
    influxdb, kapacitor, telegraf, simulator, page, json, grafana, mqtt, brew
        TCP ports; `json` is Telegraf's second one, `brew` tells the health of the one with the
        brew's models. From `json` on they are used where asked for.
    """

    bind: str
    influxdb: int
    kapacitor: int
    telegraf: int
    simulator: int
    page: int
    json: int
    grafana: int
    mqtt: int
    brew: int

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Addresses:
        """Read the ports that ``.env`` or the environment sets; raise `StackError` on a bad one."""
        ports = {}
        for name, default in PORTS.items():
            text = env.get(name) or str(default)
            if not text.isdigit() or not 0 < int(text) < 65536:
                raise StackError(f"{name}={text} is not a port", "use a number from 1 to 65535")
            ports[name.removesuffix("_PORT").lower()] = int(text)
        return cls(bind=env.get("BIND_ADDRESS") or "127.0.0.1", **ports)

    @classmethod
    def free(cls) -> Addresses:
        """Pick loopback ports that nothing listens on."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        return cls("127.0.0.1", *ports)

    def with_ports(self, ports: Mapping[str, int]) -> Addresses:
        """Return a copy with other ports for the services named."""
        changes: dict[str, Any] = dict(ports)
        return replace(self, **changes)

    @property
    def host(self) -> str:
        """The address to connect to: a wildcard bind address is reached over loopback."""
        return "127.0.0.1" if self.bind in ("0.0.0.0", "::", "") else self.bind  # noqa: S104

    def variables(self) -> dict[str, str]:
        """Return the same as environment variables, by the names of ``.env.example``."""
        ports = {name: str(getattr(self, name.removesuffix("_PORT").lower())) for name in PORTS}
        return {"BIND_ADDRESS": self.bind, **ports}

    def urls(self) -> dict[str, str]:
        """Return the base URL of each service by its name."""
        return {
            service: f"http://{self.host}:{getattr(self, service)}"
            for service in (
                "influxdb",
                "kapacitor",
                "telegraf",
                "simulator",
                "page",
                "grafana",
                "brew",
            )
        } | {"mqtt": f"mqtt://{self.host}:{self.mqtt}"}
