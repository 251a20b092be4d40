"""What UDFs report of themselves, on the graph of their task."""

from page.tasklist import draw
from page.tasks import add_reports, parse_dot, reports

GRAPH = "stream0 -> from1;\nfrom1 -> ours2;\nfrom1 -> ours3;\n"
GOOD = {"quarantined": 0, "failed": 0, "restarts": None, "busy": 0.5, "seconds": 40.0}


def test_reports_stand_at_the_node_they_are_about() -> None:
    graph = parse_dot(GRAPH, {"ours"})
    add_reports(
        graph,
        [
            {"node": "ours2", "kind": "typed", **GOOD, "quarantined": 7},
            {"node": "ours2", "kind": "supervisor", "restarts": 2, "quarantined": 1, "seconds": 80},
            {"node": "ours3", "kind": "handler", **GOOD},
            {"node": "ours9", "kind": "handler", **GOOD},
        ],
    )
    found = graph.nodes["ours2"].reported
    assert found == {"passed over": 8, "errors": 0, "restarts": 2, "busy": 0.0125}
    assert graph.nodes["from1"].reported == {}
    picture = draw(graph, {})
    assert "passed over 8 · restarts 2<" in picture
    assert "busy 1.2%<" in picture
    assert picture.count('class="wrong"') == 1


def test_a_task_is_asked_for_by_its_name_whatever_that_is() -> None:
    assert "task = 'it\\'s \\\\ mine'" in reports("it's \\ mine")
