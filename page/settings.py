"""What the page reads from its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A variable that cannot be used; the message names it and says what to put there."""


@dataclass(frozen=True)
class Settings:
    """Addresses and switches of one page.

    Attributes
    ----------
    host, port
        Where the page listens.
    influxdb, kapacitor, telegraf, simulator
        Base URLs. A user and password in them are sent along.
    url
        Where the engines reach the page.
    read_only
        Show everything, change nothing: for a display on a wall.
    username, password
        What a visitor has to give; no password, no question.
    """

    host: str
    port: int
    influxdb: str
    kapacitor: str
    telegraf: str
    simulator: str
    url: str
    read_only: bool = False
    username: str = "stack"
    password: str = ""

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment.

        Raises
        ------
        SettingsError
            When a variable cannot be used.
        """
        host, _, port = (env.get("PAGE_LISTEN") or "0.0.0.0:8090").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise SettingsError(
                f"PAGE_LISTEN={env['PAGE_LISTEN']}: use HOST:PORT, such as 127.0.0.1:8080"
            )
        urls = {}
        for name, default in (
            ("influxdb", 8086),
            ("kapacitor", 9092),
            ("telegraf", 8186),
            ("simulator", 8187),
        ):
            variable = f"{name.upper()}_URL"
            url = (env.get(variable) or f"http://{name}:{default}").rstrip("/")
            if not url.startswith(("http://", "https://")):
                raise SettingsError(f"{variable}={url}: use a URL such as http://{name}:{default}")
            urls[name] = url
        return cls(
            host=host,
            port=int(port),
            url=(env.get("PAGE_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
            read_only=_switch(env, "PAGE_READ_ONLY"),
            username=env.get("PAGE_USERNAME") or "stack",
            password=_password(env),
            **urls,
        )


def _switch(env: Mapping[str, str], name: str) -> bool:
    text = (env.get(name) or "false").lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise SettingsError(f"{name}={text}: use true or false")
    return text in ("true", "1", "yes")


def _password(env: Mapping[str, str]) -> str:
    name = env.get("PAGE_PASSWORD_FILE")
    if not name:
        return ""
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"PAGE_PASSWORD_FILE={name} cannot be read: {error}") from None
