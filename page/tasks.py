"""Kapacitor's tasks: how they are, in words that help, and their graphs with statistics."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from page.engines import Row

ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"broken pipe|EOF|signal: killed|exit status",
        "The UDF's process ended. Kapacitor's log holds its last words; "
        "`kapacitor disable {id}` and `kapacitor enable {id}` start it again.",
    ),
    (
        r"keepalive|timed? ?out",
        "The UDF did not answer in time: its handler is too slow for the data, or hangs. Give it "
        "less to do, or a longer timeout in kapacitor.conf.",
    ),
    (
        r"no such (?:file|host)|connection refused|failed to connect",
        "Something the task needs cannot be reached: check its address and that it runs.",
    ),
    (
        r"permission denied|read-only file system",
        "A file cannot be written: alert logs belong in /var/log/kapacitor.",
    ),
    (
        r"mismatch(?:ed)? types|invalid|undefined|no field|missing",
        "The script and the data do not fit: compare the names and types of its fields with the "
        "measurement's.",
    ),
    (r"", "Kapacitor's log tells more: `make logs` shows it."),
)
"""What to do about an error, by a pattern in it; the first that fits."""


@dataclass
class Node:
    """One node of a task's graph.

    Attributes
    ----------
    name
        Kind and number, as Kapacitor writes them.
    attributes
        Its statistics.
    udf
        Whether it is a program of the user's.
    reported
        What that has said of itself, of the last hour; see `add_reports`.
    depth, row
        Where it stands: steps from the source, and its place among those.
    """

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    udf: bool = False
    reported: dict[str, float] = field(default_factory=dict)
    depth: int = 0
    row: int = 0

    @property
    def kind(self) -> str:
        """Return the name without the number."""
        return self.name.rstrip("0123456789")

    @property
    def errors(self) -> int:
        """Return how many errors it has counted."""
        return sum(
            int(value)
            for name, value in self.attributes.items()
            if name in ("errors", "write_errors") and value.isdigit()
        )


@dataclass
class Graph:
    """A task's nodes, and its edges with the messages that went along each."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str, int]] = field(default_factory=list)


def parse_dot(text: str, functions: Collection[str] = ()) -> Graph:
    r"""Read the graph that Kapacitor draws of a task; `functions` are the names of UDFs.

    Examples
    --------
    >>> graph = parse_dot('stream0 -> from1 [processed="12"];\nfrom1 [errors="0" ];')
    >>> graph.edges, graph.nodes["from1"].depth
    ([('stream0', 'from1', 12)], 1)
    """
    graph = Graph()
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(\w+)(?:\s*->\s*(\w+))?\s*(?:\[(.*)\])?;\s*", line)
        if match is None or match[1] == "graph":
            continue
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', match[3] or ""))
        node = graph.nodes.setdefault(match[1], Node(match[1]))
        if match[2]:
            graph.nodes.setdefault(match[2], Node(match[2]))
            graph.edges.append((match[1], match[2], int(attributes.get("processed", "0"))))
        else:
            node.attributes = attributes or node.attributes
    for node in graph.nodes.values():
        node.udf = node.kind in functions
    _place(graph)
    return graph


def _place(graph: Graph) -> None:
    """Give every node the longest way from a source as its depth, and a row of its own there."""
    for _ in graph.nodes:
        moved = False
        for parent, child, _count in graph.edges:
            wanted = graph.nodes[parent].depth + 1
            if graph.nodes[child].depth < wanted:
                graph.nodes[child].depth = wanted
                moved = True
        if not moved:
            break
    rows: dict[int, int] = {}

    def number(node: Node) -> int:
        return int(re.sub(r"\D", "", node.name) or 0)

    for node in sorted(graph.nodes.values(), key=lambda n: (n.depth, number(n))):
        node.row = rows.get(node.depth, 0)
        rows[node.depth] = node.row + 1


def reports(task: str) -> str:
    """Return the query for what a task's UDFs have reported in the last hour, database `stack`."""
    fields = ("points", "quarantined", "failed", "restarts", "busy", "seconds")
    sums = ", ".join(f'sum("{name}") AS "{name}"' for name in fields)
    name = task.replace("\\", "\\\\").replace("'", "\\'")
    return (
        f"SELECT {sums} FROM kapacitor_udf WHERE task = '{name}' AND time > now() - 1h "
        "GROUP BY node, kind"
    )


def add_reports(graph: Graph, rows: Iterable[Row]) -> None:
    """Hand what UDFs and their supervisors have reported to the nodes it is about.

    Adds `passed over`, `errors`, `restarts`, and `busy`, a share of the time.

    Examples
    --------
    >>> graph = parse_dot("from1 -> ours2;", {"ours"})
    >>> add_reports(graph, [{"node": "ours2", "kind": "typed", "busy": 1.0, "seconds": 4.0}])
    >>> graph.nodes["ours2"].reported["busy"]
    0.25
    """
    for row in rows:
        node = graph.nodes.get(row["node"])
        if node is None:
            continue
        said = node.reported
        for key, name in (("passed over", "quarantined"), ("errors", "failed")):
            said[key] = said.get(key, 0) + (row.get(name) or 0)
        said["restarts"] = said.get("restarts", 0) + (row.get("restarts") or 0)
        if row["kind"] != "supervisor" and row.get("seconds"):
            said["busy"] = (row.get("busy") or 0.0) / row["seconds"]


def state(task: Row) -> tuple[str, str]:
    """Return how a task is, as `ok`, `wrong` or `off`, and in a word."""
    if task["status"] != "enabled":
        return "off", "disabled"
    if task["executing"]:
        return ("wrong", "running, with an error") if task.get("error") else ("ok", "running")
    return "wrong", "stopped"


def advice(task: Row) -> str:
    """Return what to do about a task's error, or nothing."""
    error = task.get("error") or ""
    if not error and state(task)[0] != "wrong":
        return ""
    for pattern, words in ADVICE:
        if re.search(pattern, error, re.IGNORECASE):
            return words.format(id=task["id"])
    return ""
