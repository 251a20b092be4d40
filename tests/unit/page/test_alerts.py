"""Alerts from the states that Kapacitor tells, in whatever order the page sees them."""

import csv
import io
import json
from typing import Any

import pytest

from lineprotocol import parse_line
from page.alerts import Alerts
from page.engines import Engines
from page.history import as_csv, as_json, chosen
from page.settings import Settings, SettingsError
from page.tasks import advice, parse_dot, state
from page.views import View, ViewError, load_view, load_views

NOW = 1_451_606_500 * 10**9
TOPIC = "main:print_temps:alert4"


def event(second: int, level: str, duration: int, **more: Any) -> dict[str, Any]:
    time = f"2016-01-01T00:0{second // 60}:{second % 60:02}Z"
    return {"id": "hotend", "time": time, "duration": f"{duration}s", "level": level,
            "message": f"hotend is {level}", "details": "", **more}  # fmt: skip


@pytest.fixture
def alerts() -> Alerts:
    return Alerts(Engines(Settings.of({})), keep=False)


def test_an_alert_begins_worsens_and_recovers(alerts: Alerts) -> None:
    alerts.see(TOPIC, event(10, "WARNING", 0), NOW)
    alerts.see(TOPIC, event(20, "CRITICAL", 10), NOW)
    assert alerts.open == 1
    alerts.see(TOPIC, event(30, "WARNING", 20), NOW)
    alerts.see(TOPIC, event(40, "OK", 30), NOW + 5)
    (alert,) = alerts.newest()
    row = alert.as_row()
    assert (row["level"], row["message"]) == ("CRITICAL", "hotend is CRITICAL")
    assert (row["began"], row["ended"]) == ("2016-01-01T00:00:10.000Z", "2016-01-01T00:00:40.000Z")
    assert (row["task"], alerts.open) == ("print_temps", 0)


def test_a_recovery_alone_tells_of_its_alert(alerts: Alerts) -> None:
    """The page was away, or looked too late, while it lasted."""
    alerts.see(TOPIC, event(40, "OK", 30), None)
    (alert,) = alerts.newest()
    assert (alert.level, alert.delay) == ("", None)
    assert alert.ended is not None
    assert (alert.ended - alert.began) / 1e9 == 30


def test_an_alert_whose_recovery_was_not_seen_ends_with_the_next(alerts: Alerts) -> None:
    alerts.see(TOPIC, event(10, "CRITICAL", 0), NOW)
    alerts.see(TOPIC, event(50, "CRITICAL", 0), NOW)
    newer, older = alerts.newest()
    assert (older.ended, newer.ended) == (newer.began, None)
    assert alerts.open == 1


def test_a_state_that_never_was_bad_is_no_alert(alerts: Alerts) -> None:
    alerts.see(TOPIC, event(10, "OK", 0), NOW)
    assert alerts.newest() == []


def test_the_same_event_in_two_topics_is_one_alert(alerts: Alerts) -> None:
    details = json.dumps({"TaskName": "print_temps"}).replace('"', "&#34;")
    alerts.see(TOPIC, event(10, "CRITICAL", 0), NOW)
    alerts.see("watch", event(10, "CRITICAL", 0, details=details), NOW)
    assert len(alerts.newest()) == 1


def test_what_is_kept_can_be_read_again(alerts: Alerts) -> None:
    hostile = 'a "b", c=d\\ e'
    alerts.see("t opic,=", event(10, "CRITICAL", 0, id=hostile, message=hostile + "\n"), NOW)
    (alert,) = alerts.newest()
    point = parse_line(alert.line().replace("\n", "\\n").encode())
    assert point.tags["id"] == hostile
    assert point.time == alert.began
    assert point.fields["level"] == "CRITICAL"


def test_filters_and_exports(alerts: Alerts) -> None:
    for second, name in ((10, "hotend"), (20, "bed, heated"), (30, "air")):
        alerts.see(TOPIC, event(second, "CRITICAL", 0, id=name), NOW)
    alerts.see(TOPIC, event(40, "OK", 30, id="hotend"), NOW)
    found = alerts.newest()
    assert [a.id for a in found] == ["air", "bed, heated", "hotend"]
    assert [a.id for a in chosen(found, "BED,", "", False)] == ["bed, heated"]
    assert [a.id for a in chosen(found, "", "CRITICAL", True)] == ["air", "bed, heated"]
    assert chosen(found, "", "INFO", False) == []
    assert [r["id"] for r in csv.DictReader(io.StringIO(as_csv(found)))] == [a.id for a in found]
    assert [row["id"] for row in json.loads(as_json(found))] == [a.id for a in found]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("write error: broken pipe", "kapacitor enable t"),
        ("keepalive timedout, last keepalive received was: 10s", "longer timeout"),
        ("something nobody has seen", "make logs"),
    ],
)
def test_errors_come_with_what_to_do(error: str, words: str) -> None:
    task = {"id": "t", "status": "enabled", "executing": False, "error": error}
    assert state(task) == ("wrong", "stopped")
    assert words in advice(task)


def test_a_task_that_runs_or_is_disabled_needs_no_advice() -> None:
    assert advice({"id": "t", "status": "enabled", "executing": True, "error": ""}) == ""
    assert advice({"id": "t", "status": "disabled", "executing": False, "error": ""}) == ""


def test_graphs_of_running_and_of_stopped_tasks() -> None:
    stopped = parse_dot("digraph t {\nstream0 -> from1;\nfrom1 -> ours2;\nfrom1 -> alert3;\n}")
    assert set(stopped.nodes) == {"stream0", "from1", "ours2", "alert3"}
    running = parse_dot(
        'digraph t {\ngraph [throughput="1 points/s"];\n'
        'from1 [errors="2" ];\nfrom1 -> ours2 [processed="12"];\n}',
        {"ours"},
    )
    assert running.edges == [("from1", "ours2", 12)]
    assert running.nodes["from1"].errors == 2
    assert running.nodes["ours2"].udf
    assert not running.nodes["from1"].udf


def test_every_view_of_the_repository_can_be_read() -> None:
    assert list(load_views()) == ["printer", "turbine", "brew"]


def test_an_alert_belongs_to_the_series_that_is_shown() -> None:
    panel = load_views()["brew"].panels[0]
    assert panel.owns("brew_haze_v5")
    assert panel.owns("brew_haze_v5", "haze_v5")
    assert not panel.owns("brew_bv_1", "haze_v5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('title = "x"\n', "panels"),
        ('title = "x"\ndatabase = "d"\nmeasurement = "m"\npanels = [{fild = "a"}]\n', "fild"),
        ('title = "x"\ndatabase = "d"\nmeasurement = "m"\nrange = "5"\npanels = [{field = "a"}]\n',
         "30s"),
        ("title = ", "Invalid"),
    ],
)  # fmt: skip
def test_a_broken_view_is_named(text: str, words: str, tmp_path: Any) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(ViewError, match=rf"broken\.toml: .*{words}"):
        load_view(file)


def test_a_view_of_ones_own(tmp_path: Any) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('title = "x"\ndatabase = "d"\nmeasurement = "m"\npanels = [{field = "a"}]\n')
    assert isinstance(load_view(file), View)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGE_LISTEN", "8080"),
        ("PAGE_LISTEN", "127.0.0.1:0"),
        ("INFLUXDB_URL", "influxdb:8086"),
        ("PAGE_READ_ONLY", "maybe"),
        ("PAGE_PASSWORD_FILE", "/does/not/exist"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.of({name: value})
