"""The engines' HTTP interfaces, as far as the page looks at them.

References
----------
https://docs.influxdata.com/influxdb/v1/tools/api/
https://docs.influxdata.com/kapacitor/v1/working/api/
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import httpx

from page.settings import Settings

PATIENCE = 2.0
"""Seconds that an engine has for an answer before it counts as stopped."""


class EngineError(Exception):
    """An engine does not answer, or refuses; the message says why."""


class Engine:
    """One engine's HTTP interface.

    Parameters
    ----------
    name
        As people call it.
    url
        Its base.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False)

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request; raise `EngineError` when there is no good answer."""
        try:
            response = await self.http.request(method, path, **arguments)
        except httpx.ConnectError:
            raise EngineError(f"{self.name} does not answer: nothing listens there") from None
        except httpx.TimeoutException:
            raise EngineError(f"{self.name} does not answer in time") from None
        except httpx.HTTPError as error:
            raise EngineError(f"{self.name}: {error or type(error).__name__}") from None
        if response.status_code in (401, 403):
            raise EngineError(f"{self.name} wants a user and a password, or other ones")
        if response.status_code >= 400:
            raise EngineError(f"{self.name}: {_reason(response)}")
        return response

    async def json(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request and return what the answer's JSON holds."""
        response = await self.call(method, path, **arguments)
        try:
            return response.json() if response.content else None
        except ValueError:
            raise EngineError(f"{self.name} answers something that is not JSON") from None


def _reason(response: httpx.Response) -> str:
    try:
        content = response.json()
        return str(content.get("error") or content.get("last_error") or content)[:400]
    except (ValueError, AttributeError):
        return response.text.strip()[:400] or f"status {response.status_code}"


Row = dict[str, Any]


class InfluxDB(Engine):
    """Queries, writes and counters."""

    async def query(self, statement: str, database: str = "", patience: float = 15) -> list[Row]:
        """Return the rows of one statement with their tags; times are ns since 1970 UTC."""
        parameters = {"q": statement, "db": database, "epoch": "ns"}
        content = await self.json("GET", "/query", params=parameters, timeout=patience)
        rows: list[Row] = []
        for result in content["results"]:
            if "error" in result:
                raise EngineError(f"InfluxDB: {result['error']}")
            for series in result.get("series", []):
                tags = series.get("tags", {})
                columns = series["columns"]
                rows += (
                    tags | dict(zip(columns, values, strict=True))
                    for values in series.get("values", [])
                )
        return rows

    async def write(self, database: str, lines: str) -> None:
        """Write line protocol with times in ns."""
        await self.call("POST", "/write", params={"db": database}, content=lines.encode())

    async def counters(self) -> list[Row]:
        """Return InfluxDB's own counters: entries with name, tags and values."""
        content = await self.json("GET", "/debug/vars")
        return [v for v in content.values() if isinstance(v, dict) and "values" in v]


class Kapacitor(Engine):
    """Tasks, topics, recordings, replays and counters."""

    BASE = "/kapacitor/v1"

    async def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request below /kapacitor/v1."""
        return await self.json(method, self.BASE + path, **arguments)

    async def counters(self) -> list[Row]:
        """Return Kapacitor's own counters: entries with name, tags and values."""
        content = await self.api("GET", "/debug/vars")
        return list(content["kapacitor"].values())

    async def topics(self) -> dict[str, int]:
        """Return the alert topics, each with the number of events it has collected."""
        found = await self.api("GET", "/alerts/topics")
        return {topic["id"]: int(topic["collected"]) for topic in found["topics"]}

    async def events(self, topic: str) -> list[Row]:
        """Return the latest event of each alert id of a topic."""
        found = await self.api("GET", f"/alerts/topics/{topic}/events")
        return [{"id": e["id"], **e["state"]} for e in found["events"]]

    async def tasks(self) -> list[Row]:
        """Return every task with its state and statistics."""
        fields = ["id", "type", "status", "executing", "error", "stats", "dbrps", "script"]
        found = await self.api("GET", "/tasks", params={"fields": fields, "limit": 1000})
        return cast(list[Row], found["tasks"])

    async def task(self, task: str) -> Row:
        """Return one task with its script and its graph."""
        return cast(Row, await self.api("GET", f"/tasks/{task}", params={"dot-view": "attributes"}))


class Simulator(Engine):
    """Health and anomalies of the live simulator."""

    async def health(self) -> Row:
        """Return the figures, of a failing simulator too."""
        try:
            response = await self.http.get("/health")
            return cast(Row, response.json())
        except (httpx.HTTPError, ValueError):
            # Says in words what is wrong.
            return cast(Row, await self.json("GET", "/health"))

    async def anomalies(self) -> Row:
        """Return the fields that can misbehave, and the anomalies that run."""
        return cast(Row, await self.json("GET", "/anomalies"))

    async def begin(self, field: str, seconds: float) -> None:
        """Begin an anomaly."""
        await self.call("POST", "/anomalies", json={"field": field, "seconds": seconds})

    async def end(self, field: str) -> None:
        """End an anomaly."""
        await self.call("DELETE", f"/anomalies/{field}")


class Engines:
    """All engines of one stack."""

    def __init__(self, settings: Settings) -> None:
        self.influxdb = InfluxDB("InfluxDB", settings.influxdb)
        self.kapacitor = Kapacitor("Kapacitor", settings.kapacitor)
        self.telegraf = Engine("Telegraf", settings.telegraf)
        self.simulator = Simulator("The simulator", settings.simulator)

    async def close(self) -> None:
        """Close all connections."""
        every = (self.influxdb, self.kapacitor, self.telegraf, self.simulator)
        await asyncio.gather(*(engine.http.aclose() for engine in every))


def quoted(name: str) -> str:
    r"""Return an identifier of InfluxQL.

    Examples
    --------
    >>> print(quoted('a "b"'))
    "a \"b\""
    """
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def now_ns() -> int:
    """Return the time, ns since 1970 UTC."""
    return time.time_ns()
