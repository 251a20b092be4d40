"""One case on one engine: define, record, replay, collect."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stack.cases import data, script
from stack.cases.case import Case, CaseError, Task, nanoseconds, rfc3339
from stack.cases.compare import differences
from stack.cases.data import Points
from stack.cases.engine import Engine
from stack.cases.script import Source
from stack.errors import StackError

POLL_SECONDS = 0.005
#: How long after a replay what goes on in the background may take to show up.
SETTLE_SECONDS = 2.0
#: A measurement whose one point ends a recording; it is past the end, so not recorded.
END = "end_of_recording"

Outcome = dict[str, Any]


class Run:
    """One run of a case.

    Parameters
    ----------
    case
        What to run.
    engine
        Where; nothing else may run on it.
    """

    def __init__(self, case: Case, engine: Engine) -> None:
        self.case = case
        self.engine = engine
        self.kapacitor = engine.kapacitor
        self.points: list[Points] = []
        #: The graph of each task in DOT, once it has run.
        self.graphs: dict[str, str] = {}
        self.id = uuid.uuid4().hex[:12]
        self.deadline = time.monotonic() + case.timeout
        self.log = f"case-{self.id}.log"
        #: The parts that are collected: all of them for a case that expects nothing yet.
        self.parts = case.expected if case.expected is not None else {}

    def outcome(self) -> Outcome:
        """Run the case and return what came out, by part.

        Raises
        ------
        StackError
            When the case cannot run to its end: a script that Kapacitor refuses, data that
            InfluxDB or Kapacitor refuses, a UDF that dies, a replay that takes too long.
        """
        batches = data.batches(self.case) if self.case.recorded else b""
        self.points = [] if batches else data.load(self.case)
        self._check_databases()
        self.engine.reset()
        self._make_databases()
        for task in self.case.tasks:
            self._define(task)
        handlers = self._define_handlers()
        live = self.case.live > 0 or self.case.http
        if live:
            return self._live(handlers)
        if self.case.kind == "stream":
            recordings = [self._record_stream()]
        elif batches:
            recordings = [self._record_given(task, batches) for task in self.case.tasks]
        else:
            self._write_batch_input()
            recordings = [self._record_batch(task) for task in self.case.tasks]
        for at, task in enumerate(self.case.tasks):
            self._replay(task, recordings[min(at, len(recordings) - 1)])
        return self._settled(handlers, SETTLE_SECONDS)

    def errors(self) -> list[str]:
        """Return what Kapacitor has logged as an error of this run, each message once."""
        found = []
        for line in self.engine.stack.log("kapacitor").splitlines():
            if self.id not in line or "lvl=error" not in line:
                continue
            node = re.search(r"node=(\S+)", line)
            text = re.search(r'(?:err|error)=("(?:[^"\\]|\\.)*"|\S+)', line)
            if text:
                said = text[1].strip('"').replace('\\"', '"')
                found.append(f"Kapacitor, {node[1] if node else 'task'}: {said}")
        return list(dict.fromkeys(found))[:5]

    def _check_databases(self) -> None:
        """Refuse input that no task would see."""
        given = {points.source for points in self.points}
        for task in self.case.tasks:
            if self.case.kind == "stream" and task.dbrps and not given & set(task.dbrps):
                raise CaseError(
                    f"the input belongs to {_listed(given)}, the task {task.name} reads "
                    f"{_listed(task.dbrps)}",
                    'name the database: input = {"DATABASE.POLICY" = "FILE"} in case.toml',
                )

    # -- definitions --------------------------------------------------------------------------

    def _make_databases(self) -> None:
        wanted = {Source(name, "autogen") for name in self.case.databases}
        for task in self.case.tasks:
            wanted |= {*task.dbrps, *task.sources}
        wanted |= {points.source for points in self.points}
        influxdb = self.engine.influxdb
        for name in sorted({source.database for source in wanted}):
            influxdb.query(f'CREATE DATABASE "{name}"')
            known = {row["name"] for row in influxdb.query(f'SHOW RETENTION POLICIES ON "{name}"')}
            for policy in sorted({s.policy for s in wanted if s.database == name} - known):
                influxdb.query(
                    f'CREATE RETENTION POLICY "{policy}" ON "{name}" DURATION INF REPLICATION 1'
                )

    def _define(self, task: Task) -> None:
        own = self.engine.located(task.script, self.case)
        heard = script.listen(own, lambda _: self.engine.log_path(self.log))
        try:
            self._define_as(task, heard)
        except StackError:
            # Once more as it was written: line and column in the message are the user's.
            try:
                self._define_as(task, own)
            except StackError as error:
                raise CaseError(f"{_shown(task)}: {_reason(error)}") from None
            raise

    def _define_as(self, task: Task, text: str) -> None:
        options: dict[str, Any] = {}
        if not script.dbrps(text):
            belongs = task.dbrps or sorted({points.source for points in self.points} or {data.ANY})
            options["dbrps"] = [{"db": s.database, "rp": s.policy} for s in belongs]
        if task.template:
            if task.template not in self.kapacitor.templates():
                made = self.kapacitor.define_template(task.template, text, task.kind)
                types = made["vars"]
            else:
                types = self.kapacitor.template(task.template)["vars"]
            variables = _typed(task, types)
            options |= {"template-id": task.template, "vars": variables}
            self.kapacitor.define(task.name, kind=task.kind, **options)
            return
        if task.vars:
            options["vars"] = _typed(task, self._declared(task, text))
        self.kapacitor.define(task.name, text, task.kind, **options)

    def _declared(self, task: Task, text: str) -> Mapping[str, Any]:
        """Return the variables of a script that is no template, as Kapacitor lists them."""
        name = f"{task.name}_variables"
        made = self.kapacitor.define_template(name, text, task.kind)
        self.kapacitor.delete_template(name)
        found: Mapping[str, Any] = made["vars"]
        return found

    def _define_handlers(self) -> dict[str, str]:
        """Define the case's handlers; return the log of each that writes one."""
        logs = {}
        for handler in self.case.handlers:
            handler = dict(handler)
            if handler["kind"] == "log":
                name = f"case-{self.id}-{handler['id']}.log"
                handler["options"] = {
                    **(handler.get("options") or {}),
                    "path": self.engine.log_path(name),
                }
                logs[handler["id"]] = name
            try:
                self.kapacitor.define_handler(handler["topic"], handler)
            except StackError as error:
                raise CaseError(f"handler {handler['id']}: {_reason(error)}") from None
        return logs

    # -- recordings and replays ---------------------------------------------------------------

    def _record_stream(self) -> str:
        """Record the input as it is, whatever the tasks make of it."""
        recorder, recording = f"recorder-{self.id}", f"recording-{self.id}"
        belongs = sorted({points.source for points in self.points})
        dbrps = [{"db": s.database, "rp": s.policy} for s in belongs]
        self.kapacitor.define(recorder, "stream|from()", dbrps=dbrps)
        last = data.span(self.points)[1]
        self.kapacitor.record_stream(recording, recorder, rfc3339(last + 1))
        # The answer comes before the recording has begun; its edge shows that it has.
        self._wait("the recording to begin", lambda: self._edges(recording))
        self._write()
        end = f"{END} value=1 {last + 10**9}".encode()
        self.kapacitor.write(belongs[-1].database, belongs[-1].policy, end)
        self._ended(f"recording {recording}", lambda: self.kapacitor.recording(recording))
        self.kapacitor.delete_task(recorder)
        return recording

    def _edges(self, task: str) -> list[dict[str, Any]]:
        return [e for e in self.kapacitor.statistics("edges") if e["tags"]["task"] == task]

    def _write(self) -> None:
        for points in self.points:
            for chunk in points.chunks():
                self._send(
                    self.kapacitor.write,
                    points.source.database, points.source.policy, chunk, points.precision[:1]
                    if points.precision in ("ns", "us") else points.precision,
                )  # fmt: skip

    def _write_batch_input(self) -> None:
        for points in self.points:
            for chunk in points.chunks():
                self._send(
                    self.engine.influxdb.write,
                    points.source.database,
                    chunk,
                    points.precision,
                    points.source.policy,
                )

    def _send(self, write: Callable[..., None], *arguments: Any) -> None:
        try:
            write(*arguments)
        except StackError as error:
            data.check(self.case)
            raise CaseError(f"the input is refused: {_reason(error)}") from None

    def _record_batch(self, task: Task) -> str:
        recording = f"recording-{self.id}-{task.name}"
        first, last = data.span(self.points)
        # The query for a period runs at its end, so the last one may run after the last point.
        start = self.case.start or rfc3339(first)
        stop = self.case.stop or rfc3339(last + 1 + script.longest_every(task.script))
        self.kapacitor.record_batch(recording, task.name, _zulu(start), _zulu(stop))
        self._ended(f"recording {recording}", lambda: self.kapacitor.recording(recording))
        return recording

    def _record_given(self, task: Task, batches: bytes) -> str:
        """Put a recording from elsewhere in the place of one that holds nothing."""
        recording = f"recording-{self.id}-{task.name}"
        moment = rfc3339(0)
        self.kapacitor.record_batch(recording, task.name, moment, moment)
        self._ended(f"recording {recording}", lambda: self.kapacitor.recording(recording))
        self.engine.write_recording(f"{recording}.brpl", batches)
        return recording

    def _replay(self, task: Task, recording: str) -> None:
        replay = f"replay-{self.id}-{task.name}"
        self.kapacitor.start_replay(replay, task.name, recording, self.case.clock)
        self._ended(f"the replay of task {task.name}", lambda: self.kapacitor.find_replay(replay))
        self.graphs[task.name] = self.kapacitor.task(task.name)["dot"]
        self.kapacitor.delete_replay(replay)

    def _live(self, handlers: Mapping[str, str]) -> Outcome:
        """Enable the tasks, write the points and look at what they show while they run."""
        for task in self.case.tasks:
            self.kapacitor.enable(task.name)
        self._write()
        found = self._settled(handlers, self.case.live or SETTLE_SECONDS)
        for task in self.case.tasks:
            self.graphs[task.name] = self.kapacitor.task(task.name)["dot"]
        return found

    # -- what came out ------------------------------------------------------------------------

    def _settled(self, handlers: Mapping[str, str], patience: float) -> Outcome:
        """Collect until it is as expected, or `patience` seconds have passed.

        A replay has given its alerts when it is finished; topics, InfluxDB and live tasks work on.
        """
        deadline = time.monotonic() + patience
        running = bool(self.case.live or self.case.http)
        late = running or bool(handlers) or self._writes_points()
        found = self._collect(handlers)
        while late and time.monotonic() < deadline:
            if running:
                self._check_alive()
            expected = self.case.expected
            if expected is not None and not differences(expected, found, self.case.tolerance):
                break
            time.sleep(0.05)
            found = self._collect(handlers)
        return found

    def _check_alive(self) -> None:
        for task in self.case.tasks:
            if error := self.kapacitor.task(task.name).get("error"):
                raise CaseError(f"task {task.name} stopped: {error}")

    def _writes_points(self) -> bool:
        return any("influxDBOut" in task.script for task in self.case.tasks)

    def _collect(self, handlers: Mapping[str, str]) -> Outcome:
        found: Outcome = {}
        has_alerts = any(
            script.listen(task.script, lambda _: "") != task.script for task in self.case.tasks
        )
        if has_alerts or "alerts" in self.parts:
            found["alerts"] = self._alerts(self.log)
        if self._writes_points() or "points" in self.parts:
            found["points"] = self._points()
        if self.case.http:
            task = self.case.tasks[0].name
            found["http"] = {
                endpoint: _rows(self.kapacitor.http_out(task, endpoint))
                for endpoint in self.case.http
            }
        if handlers:
            found["handlers"] = {name: self._alerts(log) for name, log in handlers.items()}
        return found

    def _alerts(self, log: str) -> list[dict[str, Any]]:
        text = self.engine.stack.alert_log(log)
        events = [_event(json.loads(line)) for line in text.splitlines() if line.endswith("}")]
        return sorted(events, key=lambda e: (nanoseconds(e["time"]) or 0, e["id"]))

    def _points(self) -> list[dict[str, Any]]:
        """Return every point that was written and is no input."""
        influxdb = self.engine.influxdb
        inputs = set()
        if self.case.kind == "batch":
            inputs = {
                (points.source, _measurement(line))
                for points in self.points
                for line in points.lines
            }
        found = []
        for row in influxdb.query("SHOW DATABASES"):
            database = row["name"]
            for policy in influxdb.query(f'SHOW RETENTION POLICIES ON "{database}"'):
                source = Source(database, policy["name"])
                series = influxdb.series(
                    f'SELECT * FROM "{source.database}"."{source.policy}"./.*/ GROUP BY *', database
                )
                for rows in series:
                    if (source, rows["name"].encode()) in inputs:
                        continue
                    found += [
                        {
                            "database": source.database,
                            "policy": source.policy,
                            "measurement": entry["name"],
                            **{k: v for k, v in entry.items() if k != "name"},
                        }
                        for entry in _rows([rows])
                    ]
        keys = ("database", "policy", "measurement")
        return sorted(
            found,
            key=lambda e: (
                *(e[k] for k in keys),
                nanoseconds(e["time"]),
                sorted(e["tags"].items()),
            ),
        )

    # -- waiting ------------------------------------------------------------------------------

    def _wait(self, what: str, ready: Callable[[], Any]) -> Any:
        while True:
            if result := ready():
                return result
            if time.monotonic() > self.deadline:
                raise CaseError(
                    f"{what}: not within the {self.case.timeout:g} s of this case",
                    "a UDF that does not answer, or much data? `timeout` in case.toml allows more",
                )
            time.sleep(POLL_SECONDS)

    def _ended(self, what: str, job: Callable[[], Mapping[str, Any]]) -> None:
        def ended() -> bool:
            found = job()
            if found["status"] == "failed":
                raise CaseError(f"{what} failed: {found.get('error') or 'no reason given'}")
            return bool(found["status"] == "finished")

        self._wait(what, ended)


def _typed(task: Task, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables as Kapacitor takes them: values given plainly get the declared type."""
    found = {}
    for name, value in task.vars.items():
        if isinstance(value, dict) and "type" in value:
            found[name] = value
        elif name in declared:
            kind = declared[name]["type"]
            if kind == "list" and isinstance(value, list):
                value = [{"type": "string", "value": item} for item in value]
            found[name] = {"type": kind, "value": value}
        else:
            known = ", ".join(sorted(declared)) or "none"
            raise CaseError(f"{_shown(task)} has no variable {name}", f"it has: {known}")
    return found


def _listed(sources: Iterable[Source]) -> str:
    return ", ".join(str(source) for source in sorted(sources))


def _shown(task: Task) -> str:
    return f"{task.file.parent.name}/{task.file.name}"


def _reason(error: StackError) -> str:
    """Return what Kapacitor or InfluxDB said, without the request it said it to."""
    return error.what.partition("): ")[2] or error.what


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an alert with the point it is about: the one of its time, or the last."""
    series = (event.get("data") or {}).get("series") or []
    rows = _rows(series)
    at = nanoseconds(event["time"])
    row = next((r for r in rows if nanoseconds(r["time"]) == at), rows[-1] if rows else {})
    kept = {k: v for k, v in event.items() if k != "data"}
    return {**kept, "tags": row.get("tags", {}), "fields": row.get("fields", {})}


def _rows(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of InfluxDB's series as entries: name, time, tags, fields that are set."""
    found = []
    for each in series:
        for values in each.get("values") or []:
            row = dict(zip(each["columns"], values, strict=True))
            moment = row.pop("time", None)
            if isinstance(moment, int):
                moment = rfc3339(moment)
            fields = {k: v for k, v in row.items() if v is not None}
            found.append(
                {"name": each["name"], "time": moment, "tags": each.get("tags") or {}}
                | {"fields": fields}
            )
    return found


def _measurement(line: bytes) -> bytes:
    name = line.replace(b"\\,", b"\0").replace(b"\\ ", b"\1").partition(b" ")[0].partition(b",")[0]
    return name.replace(b"\0", b",").replace(b"\1", b" ")


def _zulu(text: str) -> str:
    """Return a time as Kapacitor reads it: with a zone."""
    moment = nanoseconds(text.replace(" ", "T"))
    if moment is None:
        raise CaseError(f"{text!r} is not a time such as 2016-01-01T00:00:00Z")
    return rfc3339(moment)
