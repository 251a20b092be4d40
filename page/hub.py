"""One look at the engines for all visitors: what the page knows, kept up to date."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from page import path, signals
from page.alerts import Alerts, nanoseconds
from page.chart import Shade
from page.engines import EngineError, Engines, Row, now_ns, quoted
from page.path import Hop, Path
from page.replays import Replays
from page.settings import Settings
from page.views import Panel, View, load_views

logger = logging.getLogger("page")

ALERTS_EVERY = 0.2
PATH_EVERY = 1.0
TASKS_EVERY = 2.0

SHADES = 500
"""Anomalies that are remembered."""

TASK_PANELS = 4
"""Fields that are shown of a task without a view."""

SECOND = 10**9


@dataclass
class Press:
    """Somebody broke the printer.

    Attributes
    ----------
    field
        Which field.
    at
        When, ns since 1970 UTC.
    after
        Seconds until the alert was on the page; None as long as it is not.
    """

    field: str
    at: int
    after: float | None = None


class Hub:
    """What the page knows of the stack.

    Parameters
    ----------
    settings
        Where the engines are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines = Engines(settings)
        self.views = load_views()
        self.alerts = Alerts(self.engines, keep=not settings.read_only)
        self.replays = Replays(self.engines, settings)
        self.hops: list[Hop] = []
        self.tasks: list[Row] | EngineError = EngineError("not asked yet")
        self.scripts: dict[str, str] = {}
        self.breakable: list[str] = []
        self.running: dict[str, tuple[int, int]] = {}
        self.shades: list[Shade] = []
        self.presses: dict[str, Press] = {}
        self._path = Path()
        self._jobs: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look; to be called in the event loop."""
        self._jobs = [
            asyncio.create_task(self._every(seconds, look))
            for seconds, look in (
                (ALERTS_EVERY, self._look_at_alerts),
                (TASKS_EVERY, self._look_at_tasks),
                (PATH_EVERY, self._look_at_path),
                (PATH_EVERY, self._look_at_anomalies),
            )
        ]

    async def stop(self) -> None:
        """Stop looking."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.engines.close()

    def threshold(self, panel: Panel) -> float:
        """Return the threshold of a panel's score as its task has it."""
        if panel.score is None:
            return 0.0
        return signals.threshold(panel.score, self.scripts.get(panel.score.task, ""))

    def panel(self, name: str) -> Panel | None:
        """Return the panel of a field that the simulator can break."""
        for view in self.views.values():
            for panel in view.panels:
                if panel.anomaly == name:
                    return panel
        return None

    def view_of(self, alert: str) -> View | None:
        """Return the view in which an alert is marked."""
        for view in self.views.values():
            if any(panel.owns(alert) for panel in view.panels):
                return view
        return None

    async def view_of_task(self, name: str) -> View | None:
        """Return a view of the data that a task without one of its own reads."""
        try:
            task = await self.engines.kapacitor.task(name)
            found = re.search(r"\.measurement\('([^']+)'\)", task.get("script") or "")
            if found is None or not task.get("dbrps"):
                return None
            measurement, database = found[1], task["dbrps"][0]["db"]
            keys = await self.engines.influxdb.query(
                f"SHOW FIELD KEYS FROM {quoted(measurement)}", database
            )
        except EngineError:
            return None
        script = task["script"]
        names = [k["fieldKey"] for k in keys if k["fieldType"] in ("float", "integer")]
        used = [n for n in names if re.search(rf"\b{re.escape(n)}\b", script)] or names
        panels = tuple(Panel(field=n, alerts=".*") for n in used[:TASK_PANELS])
        if not panels:
            return None
        return View(f"task:{name}", f"Data of {name}", database, measurement, panels)

    async def press(self, name: str, seconds: float) -> None:
        """Break a field of the simulator's; raise `EngineError` if that fails."""
        self._check()
        at = now_ns()
        await self.engines.simulator.begin(name, seconds)
        self.presses[name] = Press(name, at)
        await self._look_at_anomalies()

    async def release(self, name: str) -> None:
        """End the anomaly of a field; raise `EngineError` if that fails."""
        self._check()
        await self.engines.simulator.end(name)
        await self._look_at_anomalies()

    def _check(self) -> None:
        if self.settings.read_only:
            raise EngineError("this page only shows: it was started read-only")

    # -- looking ------------------------------------------------------------------------------

    async def _every(self, seconds: float, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await look()
            except EngineError:
                pass  # The path says which engine does not answer.
            except Exception:
                logger.exception("a look at the stack failed")
            took = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(0.05, seconds - took))

    async def _look_at_alerts(self) -> None:
        try:
            await self.alerts.look()
        except EngineError:
            self.alerts.lost_sight()
            raise
        for press in self.presses.values():
            if press.after is None:
                self._find(press)

    def _find(self, press: Press) -> None:
        """See whether the alert of an anomaly has come."""
        panel = self.panel(press.field)
        if panel is None:
            return
        for alert in self.alerts.newest():
            if alert.began < press.at - 3600 * SECOND:
                return
            if panel.owns(alert.id) and alert.noticed and alert.noticed > press.at:
                press.after = (alert.noticed - press.at) / SECOND
                return

    async def _look_at_tasks(self) -> None:
        try:
            tasks = await self.engines.kapacitor.tasks()
        except EngineError as error:
            self.tasks = error
            raise
        self.scripts = {str(task["id"]): task.get("script") or "" for task in tasks}
        self.tasks = sorted(tasks, key=lambda task: str(task["id"]))

    async def _look_at_path(self) -> None:
        sample = await path.look(self.engines, self.tasks)
        if not isinstance(sample.influxdb, EngineError) and self.views:
            view = next(iter(self.views.values()))
            try:
                sample.newest, sample.newest_score = await signals.newest(self.engines, view)
            except EngineError:
                logger.debug("no newest point", exc_info=True)
        delays = (alert.delay for alert in self.alerts.newest())
        delay = next((seconds for seconds in delays if seconds is not None), None)
        self.hops = self._path.observe(sample, self.alerts.open, delay)

    async def _look_at_anomalies(self) -> None:
        try:
            found = await self.engines.simulator.anomalies()
        except EngineError:
            self.breakable, self.running = [], {}
            raise
        self.breakable = list(found["fields"])
        self.running = {
            a["field"]: (nanoseconds(a["start"]), nanoseconds(a["end"]))
            for a in found.get("running", [])
        }
        now = now_ns()
        ended = {s.field for s in self.shades} - set(self.running)
        kept = [
            Shade(s.field, s.start, now) if s.field in ended and s.end > now else s
            for s in self.shades
        ]
        for name, (start, end) in self.running.items():
            kept = [s for s in kept if (s.field, s.start) != (name, start)]
            kept.append(Shade(name, start, end))
        self.shades = kept[-SHADES:]
