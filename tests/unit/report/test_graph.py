import xml.etree.ElementTree as ET

from stack.report.graph import draw, edges

DOT = """digraph task {
graph [throughput="0.00 points/s"];

stream0 [avg_exec_time_ns="0s" errors="0" working_cardinality="0" ];
stream0 -> from1 [processed="3"];
stream0 -> from2 [processed="3"];
from1 -> join4 [processed="3"];
from2 -> join4 [processed="3"];
join4 -> tTest5 [processed="1"];
}"""


def test_every_edge_is_read() -> None:
    assert edges(DOT) == [
        ("stream0", "from1"), ("stream0", "from2"), ("from1", "join4"), ("from2", "join4"),
        ("join4", "tTest5"),
    ]  # fmt: skip


def test_the_drawing_has_each_node_once_right_of_what_leads_to_it() -> None:
    svg = ET.fromstring(draw(DOT))  # noqa: S314
    texts = {t.text: float(t.get("x")) for t in svg.iter("text")}
    assert set(texts) == {"stream0", "from1", "from2", "join4", "tTest5"}
    assert all(texts[parent] < texts[child] for parent, child in edges(DOT))
    boxes = {(r.get("x"), r.get("y")) for r in svg.iter("rect")}
    assert len(boxes) == 5


def test_a_task_without_nodes_has_no_drawing() -> None:
    assert draw("digraph task {\n}") == ""
