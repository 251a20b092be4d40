"""The path of the points, hop by hop: health, points a second, points in total, lag, losses."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from page.engines import EngineError, Engines, Row, now_ns

OWN_DATABASES = frozenset(("telegraf", "results", "_internal", "_kapacitor"))
"""Databases that the stack itself fills: their points are not on the path."""

FRESH = 2.5
"""Seconds after a point in which a hop counts as sending."""

SILENCE = 3.5
"""Seconds without a point after which a hop whose neighbour goes on has stopped."""

STALE = 5.0
"""Seconds after which the counters that Telegraf writes every second tell nothing any more."""

MEMORY = 60.0
"""Seconds for which a loss is shown as something wrong."""

WINDOW = 5.0
"""Seconds over which a rate is measured."""

SETTLING = 10.0
"""Seconds after the start of an engine in which what was held back catches up."""

T = TypeVar("T")


@dataclass(frozen=True)
class Hop:
    """One station on the path, as it is shown.

    Attributes
    ----------
    key, title
        Its name, for machines and for people.
    health
        `ok`, `wrong`, or `off` when it is not part of the stack.
    why
        What is wrong and what to do; else what it is doing.
    unit
        What is counted.
    rate
        Of those, a second; None when it is not known.
    total
        Of those, since the engine started; None when it is not known.
    lag
        Seconds that its newest point is behind; None when it is not known.
    away
        Whether it does not answer, which can be why others are wrong.
    """

    key: str
    title: str
    health: str
    why: str
    unit: str = "points"
    rate: float | None = None
    total: int | None = None
    lag: float | None = None
    away: bool = False


class Counter:
    """A growing number, looked at again and again; a restart of the engine makes it begin anew."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self.grown_at: float | None = None

    def see(self, total: int, now: float) -> None:
        """Note the number at a moment."""
        if self._seen and total < self._seen[-1][1]:
            self._seen.clear()
        elif self._seen and total > self._seen[-1][1]:
            self.grown_at = now
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:
            self._seen.popleft()

    @property
    def total(self) -> int | None:
        """The number as last seen."""
        return self._seen[-1][1] if self._seen else None

    @property
    def rate(self) -> float | None:
        """How much it grows a second."""
        if len(self._seen) < 2:
            return None
        (first, low), (last, high) = self._seen[0], self._seen[-1]
        return (high - low) / (last - first) if last > first else None

    def forget(self) -> None:
        """Begin anew: the engine is away."""
        self._seen.clear()


class Gap:
    """What one hop has passed on and the next has not received.

    Points under way come and go; a difference that stays above its lowest value was lost. The
    counters are read at different moments, so that less than three seconds of points do not count.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int, int]] = deque()
        self._least: int | None = None
        self._settled = 0.0
        self._rate = 0.0
        self.behind = 0

    def see(self, before: int, after: int, held: int, rate: float, now: float) -> int:
        """Compare two counters; return how many points were lost since the last look.

        Parameters
        ----------
        before, after
            Points that went into the one hop and into the next.
        held
            Points that the first has in its buffer.
        rate
            Points a second.
        now
            Seconds on the monotonic clock.
        """
        if self._seen:
            last, was_before, was_after, _ = self._seen[-1]
            if before < was_before or after < was_after or now - last > WINDOW:
                self.forget()
        if not self._seen:
            self._settled = now + SETTLING
        self._rate = max(rate, 0.98 * self._rate)
        difference = before - held - after
        self._seen.append((now, before, after, difference))
        while self._seen[0][0] < now - WINDOW:
            self._seen.popleft()
        if self._least is None or difference < self._least:
            self._least = difference
        self.behind = difference - self._least
        lowest = min(seen for _, _, _, seen in self._seen)
        lost = lowest - self._least
        if now < self._settled or lost <= max(10.0, 3 * self._rate):
            return 0
        self._least = lowest
        return lost

    def forget(self) -> None:
        """Begin anew: one of the two has restarted."""
        self._seen.clear()
        self._least = None
        self.behind = 0


@dataclass
class Sample:
    """What the engines answered in one look; an `EngineError` where one did not."""

    simulator: Row | EngineError
    telegraf: EngineError | None
    telegraf_counters: list[Row] | EngineError
    influxdb: list[Row] | EngineError
    kapacitor: list[Row] | EngineError
    tasks: list[Row] | EngineError
    newest: int | None = None
    newest_score: int | None = None


@dataclass
class Trouble:
    """Something that happened and is shown for a while."""

    text: str
    until: float


@dataclass
class Path:
    """Turns samples into hops, remembering what it needs from one to the next."""

    counters: dict[str, Counter] = field(default_factory=dict)
    gaps: dict[str, Gap] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    shards: dict[str, int] = field(default_factory=dict)
    held: int = 0
    troubles: dict[str, Trouble] = field(default_factory=dict)

    def observe(self, sample: Sample, open_alerts: int, delay: float | None) -> list[Hop]:
        """Return the hops as they are now.

        Parameters
        ----------
        sample
            What the engines answered.
        open_alerts
            How many alerts have not recovered.
        delay
            Seconds from the newest point of the latest alert to the page.
        """
        now = time.monotonic()
        hops = [
            self._simulator(sample, now),
            self._telegraf(sample, now),
            self._influxdb(sample, now),
            self._kapacitor(sample, now),
            self._udfs(sample, now),
        ]
        self._compare(hops, now)
        hops.append(self._alerts(sample, now, open_alerts, delay))
        return [self._with_trouble(hop, now) for hop in hops]

    # -- the hops -----------------------------------------------------------------------------

    def _simulator(self, sample: Sample, now: float) -> Hop:
        figures = sample.simulator
        if isinstance(figures, EngineError):
            self._counter("simulator").forget()
            why = f"{figures}. Data of your own goes to Telegraf in its place"
            return Hop("simulator", "Simulator", "wrong", why, away=True)
        self._drop("simulator", int(figures.get("lost", 0)), "{} points let go: Telegraf was away "
                   "for too long", now)  # fmt: skip
        held, error = int(figures.get("buffered", 0)), str(figures.get("last_error", ""))
        hop = self._hop("simulator", "Simulator", int(figures["points"]), now, why="sending")
        if error:
            return _wrong(hop, f"holds {held:,} points: {error}")
        if figures.get("status") != "ok":
            return _wrong(hop, "no point has got through for a while")
        return hop

    def _telegraf(self, sample: Sample, now: float) -> Hop:
        if sample.telegraf is not None:
            self._counter("telegraf").forget()
            return Hop("telegraf", "Telegraf", "wrong", str(sample.telegraf), away=True)
        if isinstance(sample.telegraf_counters, EngineError):
            self._counter("telegraf").forget()
            why = "keeps its points until InfluxDB is back; its counters are kept there too"
            return Hop("telegraf", "Telegraf", "ok", why)
        figures: Row = {}
        for row in sample.telegraf_counters:
            figures |= {k: v for k, v in row.items() if v is not None and k != "time"}
        if "gathered" not in figures:
            return Hop("telegraf", "Telegraf", "ok", "answers; no counters in InfluxDB yet")
        reported = max(int(row["time"]) for row in sample.telegraf_counters if "gathered" in row)
        age = (now_ns() - reported) / 1e9
        if age > STALE:
            self._counter("telegraf").forget()
            why = f"its counters have not reached InfluxDB for {age:.0f} s: are its writes refused?"
            return Hop("telegraf", "Telegraf", "wrong", why)
        for name, words in (
            ("dropped", "{} points dropped: the buffer was full"),
            ("rejected", "{} points refused by InfluxDB"),
        ):
            self._drop(f"telegraf {name}", int(figures.get(name, 0)), words, now)
        held = self.held = int(figures.get("held", 0))
        why = f"passing on; {held:,} in its buffer"
        return self._hop("telegraf", "Telegraf", int(figures["gathered"]), now, why=why)

    def _influxdb(self, sample: Sample, now: float) -> Hop:
        if isinstance(sample.influxdb, EngineError):
            self._counter("influxdb").forget()
            return Hop("influxdb", "InfluxDB", "wrong", str(sample.influxdb), away=True)
        failed = 0
        shards: dict[str, int] = {}
        for entry in sample.influxdb:
            tags, values = entry.get("tags") or {}, entry["values"]
            if entry["name"] == "shard" and tags.get("database") not in OWN_DATABASES:
                shards[tags["id"]] = int(values.get("writePointsOk", 0))
            elif entry["name"] == "subscriber" and tags.get("database") not in OWN_DATABASES:
                failed += int(values.get("writeFailures", 0))
            elif entry["name"] == "write":
                self._drop("influxdb", int(values.get("writeDrop", 0)), "{} points dropped", now)
        total = self._all_shards(shards)
        self._drop("influxdb subscriber", failed, "{} writes did not reach Kapacitor", now)
        lag = None if sample.newest is None else max(0.0, (now_ns() - sample.newest) / 1e9)
        return self._hop("influxdb", "InfluxDB", total, now, why="storing, and passing on", lag=lag)

    def _kapacitor(self, sample: Sample, now: float) -> Hop:
        if isinstance(sample.kapacitor, EngineError):
            self._counter("kapacitor").forget()
            return Hop("kapacitor", "Kapacitor", "wrong", str(sample.kapacitor), away=True)
        total = sum(
            int(entry["values"]["points_received"])
            for entry in sample.kapacitor
            if entry["name"] == "ingress"
            # Not what replays and recordings read.
            and entry["tags"].get("task_master") == "main"
            and entry["tags"]["database"] not in OWN_DATABASES
        )
        running = 0
        if not isinstance(sample.tasks, EngineError):
            running = sum(bool(task["executing"]) for task in sample.tasks)
        why = f"running {running} task{'' if running == 1 else 's'}"
        return self._hop("kapacitor", "Kapacitor", total, now, why=why)

    def _udfs(self, sample: Sample, now: float) -> Hop:
        if isinstance(sample.kapacitor, EngineError) or isinstance(sample.tasks, EngineError):
            self._counter("udfs").forget()
            return Hop("udfs", "UDFs", "wrong", "they run inside Kapacitor, which does not answer")
        functions = udfs(sample.tasks)
        nodes = {
            (e["tags"]["task"], e["tags"]["node"]): e["tags"]["kind"]
            for e in sample.kapacitor
            if e["name"] == "nodes" and e["tags"]["kind"] in functions
        }
        edges = [
            (e["tags"], int(e["values"]["collected"]))
            for e in sample.kapacitor
            if e["name"] == "edges" and (e["tags"]["task"], e["tags"]["child"]) in nodes
        ]
        kinds = {tags["type"] for tags, _ in edges}
        unit = "windows" if kinds == {"batch"} else "points" if kinds == {"stream"} else "messages"
        total = sum(count for _, count in edges)
        names = ", ".join(sorted(set(nodes.values())))
        lag = None
        if sample.newest_score is not None:
            lag = max(0.0, (now_ns() - sample.newest_score) / 1e9)
        stopped = [t for t in sample.tasks if t["status"] == "enabled" and not t["executing"]]
        if stopped:
            task = stopped[0]
            reason = task.get("error") or "no reason given"
            why = f"task {task['id']} has stopped: {reason}"
            return Hop("udfs", "UDFs", "wrong", why, unit, None, total, lag)
        if not nodes:
            return Hop("udfs", "UDFs", "off", "no running task uses one")
        return self._hop("udfs", "UDFs", total, now, why=names, unit=unit, lag=lag)

    def _alerts(self, sample: Sample, now: float, open_alerts: int, delay: float | None) -> Hop:
        if isinstance(sample.kapacitor, EngineError):
            self._counter("alerts").forget()
            return Hop("alerts", "Alerts", "wrong", "none can come while Kapacitor is away")
        total = sum(
            int(entry["values"]["alerts_triggered"])
            for entry in sample.kapacitor
            if entry["name"] == "nodes" and entry["tags"]["kind"] == "alert"
        )
        why = f"{open_alerts} open" if open_alerts else "none open"
        return self._hop("alerts", "Alerts", total, now, why=why, unit="events", lag=delay)

    def _all_shards(self, shards: dict[str, int]) -> int:
        """Return the points in all shards; InfluxDB leaves out those that nothing writes to."""
        if any(count < self.shards.get(shard, 0) for shard, count in shards.items()):
            self.shards.clear()
        self.shards |= shards
        return sum(self.shards.values())

    # -- what is common -----------------------------------------------------------------------

    def _counter(self, key: str) -> Counter:
        return self.counters.setdefault(key, Counter())

    def _hop(
        self,
        key: str,
        title: str,
        total: int,
        now: float,
        why: str,
        unit: str = "points",
        lag: float | None = None,
    ) -> Hop:
        counter = self._counter(key)
        counter.see(total, now)
        return Hop(key, title, "ok", why, unit, counter.rate, total, lag)

    def _drop(self, key: str, total: int, words: str, now: float) -> None:
        """Note a counter of losses; one that grows is shown at its hop for a while."""
        before = self.drops.get(key)
        self.drops[key] = total
        if before is not None and total > before:
            hop = key.split()[0]
            self.troubles[hop] = Trouble(words.format(f"{total - before:,}"), now + MEMORY)

    def _compare(self, hops: list[Hop], now: float) -> None:
        """Find what stopped or got lost between neighbours; changes `hops`."""
        for at in range(1, 4):
            before, after = hops[at - 1], hops[at]
            gap = self.gaps.setdefault(after.key, Gap())
            if before.total is None or after.total is None:
                gap.forget()
                continue
            held = self.held if before.key == "telegraf" else 0
            rate = max(before.rate or 0.0, after.rate or 0.0)
            lost = gap.see(before.total, after.total, held, rate, now)
            if lost:
                text = f"{lost:,} points from {before.title} were lost on the way"
                self.troubles[after.key] = Trouble(text, now + MEMORY)
            if before.rate and after.lag is None:
                hops[at] = after = _with(after, lag=gap.behind / before.rate)
        for at in range(1, 4):
            after = hops[at]
            came = self._counter(after.key).grown_at
            if after.health != "ok" or after.total is None or came is None:
                continue
            silent = now - came
            senders = [hop.title for hop in hops[:at] if self._sends(hop, now)]
            if senders and silent > SILENCE:
                text = f"nothing has arrived for {silent:.0f} s, though {senders[-1]} is sending"
                hops[at] = _wrong(after, text)

    def _sends(self, hop: Hop, now: float) -> bool:
        grown = self._counter(hop.key).grown_at
        return hop.total is not None and grown is not None and now - grown < FRESH

    def _with_trouble(self, hop: Hop, now: float) -> Hop:
        trouble = self.troubles.get(hop.key)
        if trouble is None or hop.health == "wrong":
            return hop
        if trouble.until < now:
            del self.troubles[hop.key]
            return hop
        return _wrong(hop, trouble.text)


def udfs(tasks: Iterable[Row]) -> set[str]:
    """Return the names of the UDFs that the scripts of tasks call."""
    return {name for task in tasks for name in re.findall(r"@(\w+)\s*\(", task.get("script") or "")}


async def look(engines: Engines, tasks: list[Row] | EngineError) -> Sample:
    """Ask every engine at once for its counters."""
    counters = (
        'SELECT last("metrics_gathered") AS gathered FROM internal_gather '
        "WHERE \"input\" = 'influxdb_listener' AND time > now() - 20s; "
        'SELECT last("metrics_dropped") AS dropped, last("metrics_rejected") AS rejected, '
        'last("buffer_size") AS held FROM internal_write '
        "WHERE \"output\" = 'influxdb' AND time > now() - 20s"
    )
    found = await asyncio.gather(
        _or_error(engines.simulator.health()),
        _or_error(engines.telegraf.call("GET", "/ping")),
        _or_error(engines.influxdb.query(counters, "telegraf", patience=2)),
        _or_error(engines.influxdb.counters()),
        _or_error(engines.kapacitor.counters()),
    )
    simulator, telegraf, telegraf_counters, influxdb, kapacitor = found
    return Sample(
        simulator=simulator,
        telegraf=telegraf if isinstance(telegraf, EngineError) else None,
        telegraf_counters=telegraf_counters,
        influxdb=influxdb,
        kapacitor=kapacitor,
        tasks=tasks,
    )


async def _or_error(call: Awaitable[T]) -> T | EngineError:
    try:
        return await call
    except EngineError as error:
        return error


def _with(hop: Hop, **changes: Any) -> Hop:
    values: Mapping[str, Any] = hop.__dict__ | changes
    return Hop(**values)


def _wrong(hop: Hop, why: str) -> Hop:
    return _with(hop, health="wrong", why=why)
