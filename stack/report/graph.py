"""A task's graph as Kapacitor describes it in DOT, drawn as SVG without Graphviz."""

from __future__ import annotations

import re
from html import escape

WIDTH, HEIGHT = 132, 34
ACROSS, DOWN = 36, 18
MARGIN = 6


def edges(dot: str) -> list[tuple[str, str]]:
    r"""Return the edges of a graph in DOT, in its order.

    Examples
    --------
    >>> edges('digraph x {\nstream0 -> from1 [processed="3"];\nfrom1 [errors="0" ];\n}')
    [('stream0', 'from1')]
    """
    return re.findall(r"^\s*(\w+)\s*->\s*(\w+)", dot, re.MULTILINE)


def draw(dot: str) -> str:
    """Return a task's graph as SVG, from left to right.

    Parameters
    ----------
    dot : str
        Kapacitor's description. What its nodes have counted is left out: of a replay Kapacitor
        counts only until the last point has gone in, not until it has gone through.
    """
    found = edges(dot)
    depths: dict[str, int] = {}
    for parent, child in found:
        depths.setdefault(parent, 0)
        depths.setdefault(child, 0)
    # Every node stands right of all that lead to it. A pipeline has no circles.
    for _ in depths:
        for parent, child in found:
            depths[child] = max(depths[child], depths[parent] + 1)
    places: dict[str, tuple[int, int]] = {}
    rows: dict[int, int] = {}
    for node in sorted(depths, key=lambda name: (depths[name], _number(name))):
        row = rows.get(depths[node], 0)
        rows[depths[node]] = row + 1
        places[node] = (
            MARGIN + depths[node] * (WIDTH + ACROSS),
            MARGIN + row * (HEIGHT + DOWN),
        )
    if not places:
        return ""
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + MARGIN
    parts = [_arrow(places[parent], places[child]) for parent, child in found]
    parts += [_box(node, place) for node, place in places.items()]
    words = escape(", ".join(f"{parent} to {child}" for parent, child in found))
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {width} {height}" width="{width}"'
        f' style="max-width:100%;height:auto" fill="none" stroke="currentColor">'
        f"{''.join(parts)}</svg>"
    )


def _number(node: str) -> int:
    return int(re.sub(r"\D", "", node) or 0)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + WIDTH, start[1] + HEIGHT // 2
    to_x, to_y = end[0], end[1] + HEIGHT // 2
    middle = (x + to_x) // 2
    return (
        f'<path d="M{x},{y} C{middle},{y} {middle},{to_y} {to_x},{to_y}"/>'
        f'<path d="M{to_x - 6},{to_y - 4} L{to_x},{to_y} L{to_x - 6},{to_y + 4}"/>'
    )


def _box(node: str, place: tuple[int, int]) -> str:
    x, y = place
    text = 'stroke="none" fill="currentColor" font-family="inherit" text-anchor="middle"'
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 5}" font-size="13" {text}>'
        f"{escape(node)}</text>"
    )
