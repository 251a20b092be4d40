"""Replays of recordings: started, followed, and their alerts compared with those before.

The alert nodes of a replay have topics of their own, named after the replay. A handler on each
sends every event here, so that no change of level is missed however fast the replay goes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field

from page.alerts import Alert, Alerts
from page.engines import EngineError, Engines, Row, now_ns
from page.settings import Settings
from page.tasks import parse_dot

HANDLER = "page"

KEPT = 50
"""Results that are remembered."""

LATE = 0.5
"""Seconds that the last events may take from Kapacitor to the page."""

LONGEST = 3600.0
"""Seconds after which a replay is given up."""


@dataclass
class Result:
    """One replay, or what happened live in its place.

    Attributes
    ----------
    id, task, recording
        What was replayed through what.
    started
        Wall clock, ns since 1970 UTC.
    status
        `running`, `finished` or `failed`.
    progress
        From 0 to 1.
    error
        Why it failed.
    seconds
        How long it took.
    points
        Points that went into the task.
    alerts
        In the order of their beginnings.
    """

    id: str
    task: str
    recording: str
    started: int
    status: str = "running"
    progress: float = 0.0
    error: str = ""
    seconds: float = 0.0
    points: int = 0
    alerts: list[Alert] = field(default_factory=list)

    @property
    def title(self) -> str:
        """How the page calls it."""
        return f"{self.recording} through {self.task}"


class Replays:
    """Starts replays and remembers what came of them.

    Parameters
    ----------
    engines, settings
        Whom to ask, and where they find the page.
    """

    def __init__(self, engines: Engines, settings: Settings) -> None:
        self._engines = engines
        self._settings = settings
        self._listening: dict[str, tuple[str, Alerts]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self.results: list[Result] = []

    async def recordings(self) -> list[Row]:
        """Return the recordings, the newest first."""
        found = await self._engines.kapacitor.api("GET", "/recordings", params={"limit": 1000})
        listed: list[Row] = found["recordings"]
        return sorted(listed, key=lambda recording: str(recording["date"]), reverse=True)

    async def record(self, task: str, seconds: float) -> str:
        """Record what reaches a task from now on; return the recording's id.

        Raises
        ------
        EngineError
            When Kapacitor refuses, or the page is read-only.
        """
        self._check()
        name = f"{task}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        stop = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        body = {"id": name, "task": task, "stop": stop}
        await self._engines.kapacitor.api("POST", "/recordings/stream", json=body)
        return name

    async def start(self, recording: str, task: str) -> Result:
        """Replay a recording through a task, as fast as it goes, with the recorded times.

        Raises
        ------
        EngineError
            When Kapacitor refuses, or the page is read-only.
        """
        self._check()
        kapacitor = self._engines.kapacitor
        name, token = f"page-{secrets.token_hex(4)}", secrets.token_hex(16)
        described = await kapacitor.task(task)
        nodes = parse_dot(described.get("dot") or "").nodes.values()
        topics = [f"{name}:{task}:{node.name}" for node in nodes if node.kind == "alert"]
        self._listening[name] = (token, Alerts(self._engines, keep=False))
        url = f"{self._settings.url}/replays/{name}/{token}"
        handler = {"id": HANDLER, "kind": "post", "options": {"url": url}}
        try:
            for topic in topics:
                await kapacitor.api("POST", f"/alerts/topics/{topic}/handlers", json=handler)
            body = {"id": name, "task": task, "recording": recording, "clock": "fast",
                    "recording-time": True}  # fmt: skip
            await kapacitor.api("POST", "/replays", json=body)
        except EngineError:
            await self._clean(name, topics)
            raise
        result = Result(name, task, recording, now_ns())
        self.results = [result, *self.results][:KEPT]
        job = asyncio.create_task(self._follow(result, topics))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return result

    def receive(self, name: str, token: str, event: Row) -> bool:
        """Take in an event of a running replay; return whether it was expected."""
        expected = self._listening.get(name)
        if expected is None or not secrets.compare_digest(expected[0], token):
            return False
        duration = f"{int(event.get('duration') or 0)}ns"
        expected[1].see("replay", event | {"duration": duration}, None)
        return True

    def earlier(self, result: Result) -> Result | None:
        """Return the finished replay of the same recording before this one."""
        at = self.results.index(result)
        for other in self.results[at + 1 :]:
            if other.recording == result.recording and other.status == "finished":
                return other
        return None

    def _check(self) -> None:
        if self._settings.read_only:
            raise EngineError("this page only shows: it was started read-only")

    async def _follow(self, result: Result, topics: list[str]) -> None:
        started = time.monotonic()
        try:
            while result.status == "running":
                await asyncio.sleep(0.2)
                found = await self._engines.kapacitor.api("GET", f"/replays/{result.id}")
                result.progress = float(found.get("progress") or 0.0)
                result.seconds = time.monotonic() - started
                nodes = (found.get("stats") or {}).get("node-stats") or {}
                result.points = max((int(n.get("collected", 0)) for n in nodes.values()), default=0)
                if found["status"] != "running":
                    await asyncio.sleep(LATE)
                    found = await self._engines.kapacitor.api("GET", f"/replays/{result.id}")
                    nodes = (found.get("stats") or {}).get("node-stats") or {}
                    result.points = max(
                        [result.points, *(int(n.get("collected", 0)) for n in nodes.values())]
                    )
                    result.alerts = self._listening[result.id][1].newest()[::-1]
                    result.error = found.get("error") or ""
                    result.status = found["status"]
                elif result.seconds > LONGEST:
                    raise EngineError("it took more than an hour")
        except EngineError as error:
            result.status, result.error = "failed", str(error)
        finally:
            await self._clean(result.id, topics)

    async def _clean(self, name: str, topics: list[str]) -> None:
        """Take away what a replay needed in Kapacitor."""
        self._listening.pop(name, None)
        for topic in topics:
            for path in (f"/alerts/topics/{topic}/handlers/{HANDLER}", f"/alerts/topics/{topic}"):
                try:
                    await self._engines.kapacitor.api("DELETE", path)
                except EngineError:
                    continue


def pairs(one: list[Alert], other: list[Alert]) -> list[tuple[Alert | None, Alert | None]]:
    """Put the alerts of two results side by side, those of the same id and time together."""
    left = {(a.id, a.began): a for a in one}
    right = {(a.id, a.began): a for a in other}
    keys = sorted(left.keys() | right.keys(), key=lambda key: (key[1], key[0]))
    return [(left.get(key), right.get(key)) for key in keys]
