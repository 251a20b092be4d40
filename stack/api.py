"""The parts of InfluxDB's and Kapacitor's HTTP APIs that the commands and tests use.

References
----------
https://docs.influxdata.com/influxdb/v1/tools/api/
https://docs.influxdata.com/kapacitor/v1/working/api/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

from stack.errors import StackError


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 60.0, hint: str = "") -> Any:
    """Poll `ready` until it returns something true, and return that.

    Raises
    ------
    StackError
        After `seconds`, naming `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        if result := ready():
            return result
        if time.monotonic() > deadline:
            raise StackError(
                f"{what}: not within {seconds:.0f} s", hint or "`make logs` tells more"
            )
        time.sleep(0.05)


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code >= 400:
        try:
            reason = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            reason = response.text
        raise StackError(
            f"{response.request.method} {response.url} was refused "
            f"({response.status_code}): {str(reason).strip()[:1000]}"
        )
    return response


class InfluxDB:
    """Queries and writes to one InfluxDB 1.x.

    Parameters
    ----------
    url
        Such as http://127.0.0.1:8086.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def query(self, statement: str, database: str = "") -> list[dict[str, Any]]:
        """Return the rows of every series of one statement, a dict a row, with its name and tags.

        The name of the series (a measurement, or what SHOW lists by) is under `series`.

        Raises
        ------
        StackError
            When InfluxDB refuses the statement.
        """
        return [
            {"series": series.get("name", ""), **series.get("tags", {})}
            | dict(zip(series["columns"], row, strict=True))
            for series in self.series(statement, database)
            for row in series.get("values", [])
        ]

    def series(self, statement: str, database: str = "") -> list[dict[str, Any]]:
        """Return the series of one statement as InfluxDB lists them: name, tags, columns, values.

        Raises
        ------
        StackError
            When InfluxDB refuses the statement.
        """
        # A statement that changes something has to be posted.
        response = _checked(
            self.session.post(
                f"{self.url}/query",
                params={"q": statement, "db": database, "epoch": "ns"},
                timeout=60,
            )
        )
        results = response.json()["results"]
        for result in results:
            if "error" in result:
                raise StackError(f"InfluxDB refused {statement!r}: {result['error']}")
        return [series for result in results for series in result.get("series", [])]

    def count(self, database: str, measurement: str, field: str) -> int:
        """Return how many points of `measurement` have `field`."""
        rows = self.query(f'SELECT count("{field}") FROM "{measurement}"', database)
        return sum(row["count"] for row in rows)

    def write(
        self, database: str, lines: str | bytes, precision: str = "ns", policy: str = ""
    ) -> None:
        """Write line protocol; raise `StackError` with InfluxDB's reason if it refuses."""
        _checked(
            self.session.post(
                f"{self.url}/write",
                params={"db": database, "rp": policy, "precision": precision},
                data=lines.encode() if isinstance(lines, str) else lines,
                timeout=60,
            )
        )

    def subscriptions(self, database: str) -> list[dict[str, Any]]:
        """Return the subscriptions to a database: where InfluxDB sends what is written to it."""
        rows = self.query("SHOW SUBSCRIPTIONS")
        return [row for row in rows if row["series"] == database]

    def telegraf_received(self) -> int:
        """Return how many points Telegraf says its /write has taken since it started."""
        rows = self.query(
            'SELECT last("metrics_gathered") AS points FROM "internal_gather"'
            " WHERE \"input\" = 'influxdb_listener'",
            "telegraf",
        )
        return sum(int(row["points"]) for row in rows)

    def subscriber_statistics(self) -> dict[str, int]:
        """Return how many points went to subscribers, and how many writes to them failed."""
        rows = self.query("SHOW STATS FOR 'subscriber'")
        totals: dict[str, int] = {"pointsWritten": 0, "writeFailures": 0}
        for row in rows:
            # The rows with a destination say the same again, by subscription.
            if "destination" not in row:
                for name in totals:
                    totals[name] += int(row.get(name) or 0)
        return totals


class Kapacitor:
    """Tasks, recordings and replays of one Kapacitor.

    Parameters
    ----------
    url
        Such as http://127.0.0.1:9092.
    """

    def __init__(self, url: str) -> None:
        self.url = f"{url}/kapacitor/v1"
        self.session = requests.Session()

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        response = _checked(self._send(method, path, **arguments))
        return response.json() if response.content else None

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            return self.session.request(method, f"{self.url}{path}", timeout=60, **arguments)
        except requests.ConnectionError as error:
            raise StackError(f"Kapacitor does not answer at {self.url}: {error}") from None

    def answers(self) -> bool:
        """Tell whether Kapacitor is there."""
        try:
            return self.session.get(f"{self.url}/ping", timeout=10).ok
        except requests.RequestException:
            return False

    def define(
        self,
        task: str,
        script: str = "",
        kind: str = "stream",
        enabled: bool = False,
        **options: Any,
    ) -> None:
        """Define `task`, or define it anew; its databases come from the script's dbrp line.

        Parameters
        ----------
        task, script, kind, enabled
            Its id, TICKscript, type (stream or batch), and whether it runs.
        **options
            Whatever else the API takes: dbrps, vars, template-id.

        Raises
        ------
        StackError
            With Kapacitor's own message, which gives line and column, when the script is wrong.
        """
        known = self.session.get(f"{self.url}/tasks/{task}", timeout=60).status_code == 200
        status = "enabled" if enabled else "disabled"
        body = {"type": kind, "script": script, "status": status, **options}
        if known:
            self._call("PATCH", f"/tasks/{task}", json=body)
        else:
            self._call("POST", "/tasks", json={"id": task, **body})

    def enable(self, task: str) -> None:
        """Start a task that is defined."""
        self._call("PATCH", f"/tasks/{task}", json={"status": "enabled"})

    def disable(self, task: str) -> None:
        """Stop a task and keep its definition."""
        self._call("PATCH", f"/tasks/{task}", json={"status": "disabled"})

    def task(self, task: str) -> dict[str, Any]:
        """Return a task as Kapacitor describes it, statistics included."""
        found: dict[str, Any] = self._call("GET", f"/tasks/{task}")
        return found

    def tasks(self, *more: str) -> list[dict[str, Any]]:
        """Return every task's id, type, status and error, and `more` of its fields."""
        names = ["id", "type", "status", "executing", "error", *more]
        query = {"fields": names, "limit": 1000}
        found: list[dict[str, Any]] = self._call("GET", "/tasks", params=query)["tasks"]
        return found

    def delete_task(self, task: str) -> None:
        """Delete a task; one that is not there is no error."""
        self._call("DELETE", f"/tasks/{task}")

    def define_template(self, template: str, script: str, kind: str = "stream") -> dict[str, Any]:
        """Define a template; return it with the variables that it declares."""
        body = {"id": template, "type": kind, "script": script}
        made: dict[str, Any] = self._call("POST", "/templates", json=body)
        return made

    def template(self, template: str, formatted: bool = False) -> dict[str, Any]:
        """Return a template and its variables; its script as written, or formatted."""
        query = {"script-format": "formatted" if formatted else "raw"}
        found: dict[str, Any] = self._call("GET", f"/templates/{template}", params=query)
        return found

    def templates(self) -> list[str]:
        """Return the ids of the templates."""
        found = self._call("GET", "/templates", params={"fields": ["id"], "limit": 1000})
        return [template["id"] for template in found["templates"]]

    def delete_template(self, template: str) -> None:
        """Delete a template."""
        self._call("DELETE", f"/templates/{template}")

    def topics(self) -> list[str]:
        """Return the ids of the alert topics."""
        return [t["id"] for t in self._alerts("GET", "/topics")["topics"]]

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and the states of its alerts; its handlers stay."""
        self._alerts("DELETE", f"/topics/{topic}")

    def handlers(self, topic: str) -> list[dict[str, Any]]:
        """Return the handlers of a topic."""
        found: list[dict[str, Any]] = self._alerts("GET", f"/topics/{topic}/handlers")["handlers"]
        return found

    def define_handler(self, topic: str, handler: Mapping[str, Any]) -> None:
        """Add a handler to a topic; `handler` is the content of a handler file."""
        self._alerts("POST", f"/topics/{topic}/handlers", json=handler)

    def delete_handler(self, topic: str, handler: str) -> None:
        """Take a handler from a topic."""
        self._alerts("DELETE", f"/topics/{topic}/handlers/{handler}")

    def _alerts(self, method: str, path: str, **arguments: Any) -> Any:
        return self._call(method, f"/alerts{path}", **arguments)

    def write(self, database: str, policy: str, lines: bytes, precision: str = "ns") -> None:
        """Write points to Kapacitor itself; only its tasks and recordings see them."""
        query = {"db": database, "rp": policy, "precision": precision}
        self._call("POST", "/write", params=query, data=lines)

    def http_out(self, task: str, endpoint: str) -> list[dict[str, Any]]:
        """Return the series that a running task's httpOut node shows, none before the first."""
        response = self._send("GET", f"/tasks/{task}/{endpoint}")
        if response.status_code == 404:
            return []
        found: list[dict[str, Any]] = _checked(response).json().get("series") or []
        return found

    def statistics(self, name: str) -> list[dict[str, Any]]:
        """Return Kapacitor's own statistics of one name: entries with tags and values."""
        response = _checked(self._send("GET", "/debug/vars"))
        return [e for e in response.json()["kapacitor"].values() if e["name"] == name]

    def record_batch(self, recording: str, task: str, start: str, stop: str) -> None:
        """Start recording what the queries of a batch task give between two times (RFC 3339)."""
        body = {"id": recording, "task": task, "start": start, "stop": stop}
        self._call("POST", "/recordings/batch", json=body)

    def delete_recording(self, recording: str) -> None:
        """Delete a recording."""
        self._call("DELETE", f"/recordings/{recording}")

    def delete_replay(self, replay: str) -> None:
        """Delete a replay."""
        self._call("DELETE", f"/replays/{replay}")

    def record_stream(self, recording: str, task: str, stop: str) -> None:
        """Start recording what reaches `task`, until a point later than `stop` (RFC 3339) arrives.

        The stop is compared with the time of the data.
        """
        self._call("POST", "/recordings/stream", json={"id": recording, "task": task, "stop": stop})

    def recording(self, recording: str) -> dict[str, Any]:
        """Return a recording's size in bytes, status, progress and error."""
        found: dict[str, Any] = self._call("GET", f"/recordings/{recording}")
        return found

    def wait_recorded(self, recording: str, seconds: float) -> dict[str, Any]:
        """Wait until a recording has finished, and return it."""
        found: dict[str, Any] = wait_for(
            f"recording {recording} to finish",
            lambda: self._ended(self.recording(recording)),
            seconds,
            "a recording ends only when a point later than its stop time arrives",
        )
        return found

    def replay(self, replay: str, task: str, recording: str, seconds: float) -> dict[str, Any]:
        """Replay a recording with its recorded times, as fast as it goes, and wait for the end."""
        self.start_replay(replay, task, recording)
        found: dict[str, Any] = wait_for(
            f"replay {replay} to finish", lambda: self._ended(self.find_replay(replay)), seconds
        )
        return found

    def start_replay(self, replay: str, task: str, recording: str, clock: str = "fast") -> None:
        """Start replaying a recording with its recorded times, as fast as it goes.

        With the clock `real` it takes as long as the data did.
        """
        body = {"id": replay, "task": task, "recording": recording}
        self._call("POST", "/replays", json={**body, "recording-time": True, "clock": clock})

    def find_replay(self, replay: str) -> dict[str, Any]:
        """Return a replay's status, progress and error."""
        found: dict[str, Any] = self._call("GET", f"/replays/{replay}")
        return found

    @staticmethod
    def _ended(job: dict[str, Any]) -> dict[str, Any] | None:
        if job["status"] == "failed":
            raise StackError(f"{job['id']} failed: {job.get('error') or 'no reason given'}")
        return job if job["status"] == "finished" else None

    def points_received(self, database: str, measurement: str) -> int:
        """Return how many points of a measurement have come in since Kapacitor started."""
        return sum(
            int(entry["values"]["points_received"])
            for entry in self.statistics("ingress")
            if entry["tags"]["database"] == database and entry["tags"]["measurement"] == measurement
        )
