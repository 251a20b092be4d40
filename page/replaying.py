"""The page of the replays: choose a recording and a task, see the result beside the earlier one."""

from __future__ import annotations

import functools
from html import escape

from nicegui import ui

from page.alerts import Alert
from page.engines import EngineError
from page.hub import Hub
from page.live import level
from page.replays import Result, pairs
from page.shell import Visitor, button, html, select

RECORD_SECONDS = 60.0


def replaying(hub: Hub, who: Visitor) -> None:
    """Draw the choice, the progress and the comparison."""
    chosen = {"recording": "", "task": ""}
    known: dict[str, list[str]] = {"recordings": [], "tasks": []}

    def choose(name: str, value: str) -> None:
        chosen[name] = value

    async def start() -> None:
        if not (chosen["recording"] and chosen["task"]):
            ui.notify("Choose a recording and a task.", type="warning")
            return
        try:
            await hub.replays.start(chosen["recording"], chosen["task"])
        except EngineError as error:
            ui.notify(str(error), type="warning", multi_line=True)
        show()

    async def record() -> None:
        try:
            name = await hub.replays.record(chosen["task"], RECORD_SECONDS)
            ui.notify(f"Recording {name} for {RECORD_SECONDS:.0f} s.")
        except EngineError as error:
            ui.notify(str(error), type="warning", multi_line=True)
        await look()

    with ui.element("section").classes("card"):
        html("Replay", "h1")
        html(
            "A recording goes through a task again, with the recorded times and as fast as it can. "
            "What the task writes, such as alert logs and scores, it writes again.",
            "p", "quiet",
        )  # fmt: skip
        with ui.element("div").classes("head"):
            place = ui.element("span")
            go = button("▶ Replay", start, "strong").props("data-replay")
            note = button(f"● Record {RECORD_SECONDS:.0f} s of the task", record).props(
                "data-record"
            )
            if hub.settings.read_only:
                go.props("disabled")
                note.props("disabled")
        said = html("", "p", "small quiet")
    with ui.element("section").classes("card"):
        shown = html("", classes="scroll").props('tabindex="0" role="region" aria-label="Result"')

    async def look() -> None:
        try:
            found = await hub.replays.recordings()
        except EngineError as error:
            said.set_content(escape(str(error)))
            return
        tasks = [] if isinstance(hub.tasks, EngineError) else hub.tasks
        recordings = [r["id"] for r in found if r["status"] == "finished"]
        names = [str(task["id"]) for task in tasks]
        running = sum(r["status"] == "running" for r in found)
        said.set_content(
            f"{len(recordings)} recording{'' if len(recordings) == 1 else 's'} to choose from"
            + (f", {running} being made" if running else "") + "."
        )  # fmt: skip
        if known == {"recordings": recordings, "tasks": names}:
            return
        known.update(recordings=recordings, tasks=names)
        for name, values in (("recording", recordings), ("task", names)):
            if chosen[name] not in values:
                chosen[name] = next(iter(values), "")
        # The task that a recording was made of, where its name tells.
        place.clear()
        with place:
            for name, values in (("recording", recordings), ("task", names)):
                select(
                    name.capitalize(), {v: v for v in values} or {"": "none yet"}, chosen[name],
                    functools.partial(choose, name),
                )  # fmt: skip

    def show() -> None:
        results = hub.replays.results
        if not results:
            shown.set_content('<p class="quiet">No replay so far.</p>')
            return
        newest = results[0]
        shown.set_content(_result(who, newest, hub.replays.earlier(newest)))

    show()
    ui.timer(0.01, look, once=True)
    ui.timer(1.0, look)
    ui.timer(0.3, show)


def _result(who: Visitor, result: Result, earlier: Result | None) -> str:
    share = round(100 * result.progress)
    words = f"{share} %" if result.status == "running" else result.status
    parts = [
        f"<h2>{escape(result.title)}: {escape(words)}</h2>",
        f'<div class="progress" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{share}" data-status="{result.status}">'
        f'<i style="width: {share}%"></i></div>',
    ]
    if result.error:
        parts.append(f'<p class="note">{escape(result.error)}</p>')
    if result.status != "finished":
        return "".join(parts)
    columns = [("This one", result)]
    if earlier is not None:
        columns.append((f"The earlier one, through {earlier.task}", earlier))
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in columns)
    rows = [
        ("Started", [who.stamp(r.started) for _, r in columns]),
        ("Took", [f"{r.seconds:.1f} s" for _, r in columns]),
        ("Points", [f"{r.points:,}" for _, r in columns]),
        ("Alerts", [str(len(r.alerts)) for _, r in columns]),
    ]
    for one, other in pairs(result.alerts, earlier.alerts if earlier else []):
        at = one or other
        assert at is not None  # noqa: S101 - a pair is of one at least
        cells = [_cell(who, one)]
        if earlier is not None:
            cells.append(_cell(who, other))
            if (one is None) != (other is None):
                cells = [f"<strong>{cell}</strong>" for cell in cells]
        rows.append((f"{at.id} {who.clock(at.began)}", cells))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    parts.append(
        f"<table data-result><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
    if earlier is None:
        parts.append('<p class="small quiet">Replay it again to see both side by side.</p>')
    return "".join(parts)


def _cell(who: Visitor, alert: Alert | None) -> str:
    if alert is None:
        return "– no alert"
    end = "not over" if alert.ended is None else f"until {who.stamp(alert.ended)}"
    return f"{level(alert)} {end}"
