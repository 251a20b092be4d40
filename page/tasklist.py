"""The page of the tasks: how each is, what to do, and its graph with statistics."""

from __future__ import annotations

import time
from contextlib import suppress
from html import escape
from typing import Any
from urllib.parse import quote

from nicegui import ui

from page import tasks
from page.engines import EngineError, Row
from page.hub import Hub
from page.path import udfs
from page.shell import Visitor, html
from page.tasks import Graph, Node

WIDTH, HEIGHT, ACROSS, DOWN = 178, 62, 46, 14
"""Of a node's box, and the space between boxes."""

MARKS = {"ok": "✓", "wrong": "!", "off": "–"}


def task_list(hub: Hub, who: Visitor, wanted: str) -> None:
    """Draw the tasks, and the graph of the one that is wanted or of the first."""
    del who
    with ui.element("section").classes("card"):
        html("Tasks", "h1")
        listed = html("", classes="scroll").props('tabindex="0" role="region" aria-label="Tasks"')
    with ui.element("section").classes("card"):
        title = html("", "h2")
        graph = html("", classes="scroll").props('tabindex="0" role="region" aria-label="Graph"')
        with ui.element("details"):
            html("TICKscript", "summary")
            script = html("", "pre", "small scroll").props('tabindex="0"')
    before: dict[str, tuple[float, dict[tuple[str, str], int]]] = {}

    async def show() -> None:
        if isinstance(hub.tasks, EngineError):
            listed.set_content(f'<p class="note">{escape(str(hub.tasks))}</p>')
            return
        names = [str(task["id"]) for task in hub.tasks]
        name = wanted if wanted in names else next(iter(names), "")
        listed.set_content(_table(hub.tasks, name))
        if not name:
            title.set_content("No task yet")
            return
        try:
            task = await hub.engines.kapacitor.task(name)
        except EngineError as error:
            graph.set_content(f'<p class="note">{escape(str(error))}</p>')
            return
        title.set_content(escape(name))
        script.set_content(escape(task.get("script") or ""))
        found = tasks.parse_dot(task.get("dot") or "", udfs([task]))
        # The database is there once Kapacitor's statistics have come; until then nothing is said.
        with suppress(EngineError):
            tasks.add_reports(found, await hub.engines.influxdb.query(tasks.reports(name), "stack"))
        now = time.monotonic()
        counts = {(parent, child): count for parent, child, count in found.edges}
        last, earlier = before.get(name, (now, counts))
        rates = {
            edge: (count - earlier.get(edge, count)) / (now - last) if now - last > 0.5 else None
            for edge, count in counts.items()
        }
        if now - last > 4 or name not in before:
            before[name] = (now, counts)
        graph.set_content(draw(found, rates))

    ui.timer(0.01, show, once=True)
    ui.timer(2.0, show)


def _table(found: list[Row], name: str) -> str:
    heads = ("State", "Task", "Type", "Data", "Points a second", "Errors")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(_row(task, task["id"] == name) for task in found)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(task: Row, here: bool) -> str:
    health, word = tasks.state(task)
    name = escape(str(task["id"]))
    stats: dict[str, Any] = task.get("stats") or {}
    rate = (stats.get("task-stats") or {}).get("throughput", 0.0)
    errors = sum(int(node.get("errors", 0)) for node in (stats.get("node-stats") or {}).values())
    dbrps = ", ".join(escape(f"{d['db']}.{d['rp']}") for d in task.get("dbrps") or [])
    said = ""
    if task.get("error"):
        said = f"<strong>{escape(str(task['error']))}</strong><br>"
    help_ = escape(tasks.advice(task))
    told = f'<tr><td></td><td colspan="5" class="note">{said}{help_}</td></tr>' if help_ else ""
    current = ' aria-current="true"' if here else ""
    return (
        f'<tr data-task="{name}"><td class="state {health}">{MARKS[health]} {word}</td>'
        f'<td><a href="/tasks?id={quote(str(task["id"]))}"{current}>{name}</a></td>'
        f"<td>{escape(str(task['type']))}</td><td>{dbrps}</td>"
        f"<td>{rate:,.1f}</td><td>{errors or 'none'}</td></tr>{told}"
    )


def draw(graph: Graph, rates: dict[tuple[str, str], float | None]) -> str:
    """Return a task's graph as SVG, from left to right.

    Parameters
    ----------
    graph
        As Kapacitor drew it.
    rates
        Messages a second along each edge; None where that is not known yet.
    """
    if not graph.nodes:
        return '<p class="quiet">It has no graph while it is not running.</p>'
    columns = 1 + max(node.depth for node in graph.nodes.values())
    rows = 1 + max(node.row for node in graph.nodes.values())
    width, height = columns * (WIDTH + ACROSS), rows * (HEIGHT + DOWN) + 8
    parts = [_edge(graph, edge, rates.get(edge[:2])) for edge in graph.edges]
    parts += [_node(graph, node) for node in graph.nodes.values()]
    words = escape(", ".join(f"{a} to {b}" for a, b, _ in graph.edges))
    return (
        f'<svg class="graph" role="img" aria-label="{words}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _place(node: Node) -> tuple[int, int]:
    return 4 + node.depth * (WIDTH + ACROSS), 4 + node.row * (HEIGHT + DOWN)


def _edge(graph: Graph, edge: tuple[str, str, int], rate: float | None) -> str:
    parent, child, _count = edge
    x, y = _place(graph.nodes[parent])
    to_x, to_y = _place(graph.nodes[child])
    x, y, to_y = x + WIDTH, y + HEIGHT // 2, to_y + HEIGHT // 2
    middle = (x + to_x) // 2
    text = ""
    if rate is not None:
        text = (
            f'<text class="sub" x="{to_x - 4}" y="{to_y - 5}" text-anchor="end">'
            f"{rate:,.1f}/s</text>"
            if rate >= 1
            else f"{rate:.2f}/s</text>"
        )
    return (
        f'<path d="M{x},{y} C{middle},{y} {middle},{to_y} {to_x - 2},{to_y}"/>'
        f'<path d="M{to_x - 7},{to_y - 4} L{to_x - 1},{to_y} L{to_x - 7},{to_y + 4}"/>{text}'
    )


def _node(graph: Graph, node: Node) -> str:
    x, y = _place(node)
    come = sum(count for _, child, count in graph.edges if child == node.name)
    kind = "wrong" if node.errors or node.reported.get("restarts") else "udf" if node.udf else ""
    lines = []
    if come:
        lines.append(f"{come:,} in")
    for name, word in (
        ("points_written", "points written"),
        ("alerts_triggered", "alert events"),
    ):
        if node.attributes.get(name, "0") != "0":
            lines.append(f"{int(node.attributes[name]):,} {word}")
    lines.append(f"{node.errors} errors" if node.errors
                 else f"{node.attributes.get('avg_exec_time_ns', '0s')} each")  # fmt: skip
    own = [
        f"{name} {count:,.0f}" for name, count in node.reported.items() if count and name != "busy"
    ]
    if not own and "busy" in node.reported:
        own = [f"busy {node.reported['busy']:.1%}"]
    said = "".join(f"{name}: {value}\n" for name, value in sorted(node.attributes.items()))
    said += "".join(f"last hour, {name}: {value:g}\n" for name, value in node.reported.items())
    title = escape(f"@{node.name}" if node.udf else node.name)
    sub = escape(" · ".join(lines[:2]))
    third = escape(" · ".join(own or lines[2:]))
    return (
        f'<g><title>{escape(said)}</title><rect class="{kind}" x="{x}" y="{y}" rx="7" '
        f'width="{WIDTH}" height="{HEIGHT}"/>'
        f'<text x="{x + 10}" y="{y + 20}" font-weight="600">{title}</text>'
        f'<text class="sub" x="{x + 10}" y="{y + 37}">{sub}</text>'
        f'<text class="sub" x="{x + 10}" y="{y + 52}">{third}</text></g>'
    )
