"""The live page in a real browser, before the real engines, on every backend."""

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import ENGINES_ONLY, Stack
from stack.isolated import isolated
from stack.settings import ROOT
from tests.stack.browser import Watched, chromium

pytestmark = pytest.mark.stack

#: Where the pictures go: UPDATE_IMAGES=1 renews those that the README shows.
IMAGES = ROOT / ("docs/images" if os.environ.get("UPDATE_IMAGES") else "out/images")
WINDOW = 10.0
SECOND = 10**9


@pytest.fixture(scope="module")
def live(backend: str) -> Iterator[Stack]:
    """A stack of its own with the simulator and the page."""
    with isolated(backend, "page") as running:
        started = time.monotonic()
        running.up([*ENGINES_ONLY, "simulator", "page"])
        url = running.addresses.urls()["page"]
        wait_for("moving data", lambda: moving(url), 60)
        print(f"\n{backend}: data moves on the page {time.monotonic() - started:.1f} s after `up`")
        yield running


@pytest.fixture(scope="module")
def url(live: Stack) -> str:
    return live.addresses.urls()["page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="light")
    page = Watched(context.new_page())
    yield page
    context.close()


def hops(url: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = requests.get(f"{url}/health", timeout=5).json()["hops"]
    return found


def moving(url: str) -> bool:
    try:
        found = hops(url)
        return found["kapacitor"]["health"] == "ok" and found["kapacitor"]["total"] > 0
    except (requests.RequestException, ValueError, KeyError):
        return False


def chart(page: Page, script: str) -> Any:
    return page.evaluate(
        "(script) => { const e = document.querySelector('[data-chart]');"
        "const chart = getElement(+e.id.slice(1)).chart;"
        "return new Function('chart', script)(chart) }",
        script,
    )


def points(page: Page, series: str) -> int:
    found: int = chart(
        page,
        f"return chart.getOption().series.find(s => s.id === '{series}').data.length",
    )
    return found


def axe(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} {[n['html'] for n in v['nodes']][:2]}" for v in found]


def test_it_loads_soon_and_its_data_moves(url: str, watched: Watched) -> None:
    watched.open(url)
    # Again, now that nothing else is being opened: the time that a visitor waits.
    started = time.monotonic()
    page = watched.page
    page.goto(url)
    expect(page.locator("[data-chart] canvas").first).to_be_visible()
    assert time.monotonic() - started < 2.0
    total = page.locator("[data-hop=kapacitor] .facts")
    before = total.inner_text()
    expect(total).not_to_have_text(before, timeout=3000)
    page.wait_for_function("document.querySelectorAll('.hop.ok').length === 6", timeout=10_000)
    wait_for("a line", lambda: points(page, "value0") > 20, 10)
    with page.expect_download() as download:
        page.locator("[data-exports]").get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "time,hotend,bed,air"
    assert len(lines) > 100, "every point, not the thinned ones"
    first = chart(page, "return chart.getOption().xAxis[0].max")
    page.wait_for_timeout(2500)
    assert chart(page, "return chart.getOption().xAxis[0].max") > first + 1000
    assert watched.errors() == []


def test_it_asks_no_other_machine(url: str, watched: Watched) -> None:
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.open(url)
    assert len(asked) > 5
    assert [u for u in asked if not u.startswith((url, "data:", "blob:"))] == []


@pytest.mark.parametrize(
    ("place", "theme"),
    [
        ("/view/printer", "light"),
        ("/view/printer", "dark"),
        ("/view/turbine", "light"),
        ("/view/brew", "dark"),
        ("/alerts", "light"),
        ("/tasks", "dark"),
        ("/replay", "light"),
    ],
)
def test_it_can_be_used_by_everybody(
    once: None, url: str, browser: Browser, place: str, theme: str
) -> None:
    context = browser.new_context(
        viewport={"width": 683, "height": 768}, color_scheme="dark" if theme == "dark" else "light"
    )
    watched = Watched(context.new_page())
    page = watched.open(url + place)
    page.wait_for_timeout(500)
    assert axe(page) == []
    assert watched.errors() == []
    assert ("body--dark" in (page.get_attribute("body", "class") or "")) is (theme == "dark")
    # On half a screen nothing has to be scrolled sideways.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_a_broken_hot_end_leads_to_an_alert_that_recovers(
    url: str, watched: Watched, backend: str
) -> None:
    page = watched.open(url)
    # The first faults of the schedule are over, and the detector has some history.
    wait_for("ten windows", lambda: points(page, "score0") >= 4, 90)
    wait_for("a calm hot end", lambda: _calm(url), 90)
    # By keyboard alone.
    page.locator("[data-break=hotend]").focus()
    page.keyboard.press("Enter")
    pressed = time.monotonic()
    told = page.locator("[data-noticed=hotend]")
    expect(told).to_contain_text("noticed after", timeout=30_000)
    seconds = float(re.search(r"noticed after ([\d.]+) s", told.inner_text()).group(1))  # type: ignore[union-attr]
    print(f"\n{backend}: noticed {seconds:.1f} s after the press")
    # The window in which it was pressed ends within WINDOW. Pressed in its last half second, too
    # few of its points are wrong, and the next window tells: a window and under a second, and a
    # second more for a machine that runs tests.
    assert seconds < WINDOW + 2
    assert time.monotonic() - pressed < WINDOW + 5
    alert = page.locator("[data-alert=live_hotend]").first
    expect(alert).to_contain_text("CRITICAL")
    wait_for("the alert as a mark", lambda: points(page, "alert0") > 0, 5)
    wait_for("the anomaly shaded", lambda: chart(
        page, "return chart.getOption().series.find(s => s.id === 'shade0').markArea.data.length"
    ) > 0, 5)  # fmt: skip
    if backend == "native":
        page.wait_for_timeout(9000)
        page.get_by_role("button", name="2m", exact=True).click()
        page.set_viewport_size({"width": 1366, "height": 890})
        page.wait_for_timeout(1500)
        IMAGES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=IMAGES / "page.png")
    page.locator("[data-break=hotend]").click()
    latest = page.locator("section.latest li").filter(has_text="live_hotend").first
    expect(latest).to_contain_text("until", timeout=60_000)
    assert watched.errors() == []
    export = requests.get(f"{url}/export/alerts.json", params={"text": "live_hotend"}, timeout=5)
    newest = export.json()[0]
    assert newest["ended"] > newest["began"]
    assert 0 < newest["seconds_from_write"] < 2.5


def _calm(url: str) -> bool:
    found = requests.get(f"{url}/export/alerts.json", params={"open": "open"}, timeout=5).json()
    return "live_hotend" not in {a["id"] for a in found}


def test_alerts_are_filtered_followed_and_exported(
    url: str, watched: Watched, tmp_path: Path
) -> None:
    page = watched.open(f"{url}/alerts")
    rows = page.locator("tr[data-alert]")
    expect(rows.first).to_be_visible(timeout=60_000)
    page.get_by_label("Filter").fill("no such alert")
    expect(rows).to_have_count(0)
    page.get_by_label("Filter").fill("HOTEND")
    expect(page.locator("tr[data-alert=live_hotend]").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "alerts.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "alerts.csv").read_text())))
    assert {row["id"] for row in table} == {"live_hotend"}
    assert table[0]["level"] == "CRITICAL"
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    download.value.save_as(tmp_path / "alerts.json")
    assert len(json.loads((tmp_path / "alerts.json").read_text())) == len(table)
    rows.first.get_by_role("link").click()
    page.wait_for_url("**/view/printer?from=*")
    wait_for("the data around it", lambda: points(page, "value0") > 100, 10)
    assert points(page, "alert0") > 0
    assert watched.errors() == []


def test_tasks_are_shown_with_what_to_do(
    live: Stack, url: str, watched: Watched, backend: str
) -> None:
    kapacitor = Kapacitor(live.addresses.urls()["kapacitor"])
    kapacitor.define("idle", 'dbrp "printer"."autogen"\nstream|from()|log()')
    page = watched.open(f"{url}/tasks?id=print_temps_live")
    expect(page.locator("tr[data-task=print_temps_live]")).to_contain_text("running")
    expect(page.locator("tr[data-task=idle]")).to_contain_text("disabled", timeout=5000)
    graph = page.locator("svg.graph")
    expect(graph).to_contain_text("@tTestMulti3")
    expect(graph).to_contain_text("alert4")
    assert graph.locator("rect.udf").count() == 1
    if backend == "native":
        IMAGES.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(4500)
        page.screenshot(path=IMAGES / "page-tasks.png")
    expect(graph).to_contain_text(re.compile(r"[1-9][\d,]* in"))
    kapacitor.delete_task("idle")
    assert watched.errors() == []


def test_a_recording_is_replayed_beside_the_earlier_time(
    live: Stack, url: str, watched: Watched
) -> None:
    kapacitor = Kapacitor(live.addresses.urls()["kapacitor"])
    kapacitor.define("blunt", """dbrp "printer"."autogen"
stream
    |from()
        .measurement('replayed')
    |alert()
        .id('{{ .Name }}')
        .crit(lambda: "value" > 9.0)
        .log('/tmp/replayed.log')
""")  # fmt: skip
    kapacitor.define("any", """dbrp "printer"."autogen"
stream|from().measurement('replayed')|log().level('DEBUG')
""", enabled=True)  # fmt: skip
    base = 1_700_000_000
    kapacitor.record_stream("page-test", "any", "2023-11-14T22:13:33Z")
    # A short alert at every third point: however fast the replay goes, none is missed.
    lines = [f"replayed value={10 if i in (1, 4, 7, 10) else 1} {base + i}" for i in range(15)]
    kapacitor.write("printer", "autogen", "\n".join(lines).encode(), "s")
    kapacitor.wait_recorded("page-test", 20)
    page = watched.open(f"{url}/replay")
    page.get_by_label("Recording").select_option("page-test", timeout=10_000)
    page.get_by_label("Task").select_option("blunt", timeout=10_000)
    for wanted in (2, 3):
        page.locator("[data-replay]").click()
        heads = page.locator("table[data-result] thead th, table[data-result] thead td")
        expect(heads).to_have_count(wanted, timeout=20_000)
    rows = page.locator("table[data-result] tbody tr").filter(has_text="replayed")
    assert rows.count() == 4
    for row in rows.all():
        assert row.inner_text().count("CRITICAL") == 2
        assert row.inner_text().count("until") == 2
    for task in ("blunt", "any"):
        kapacitor.delete_task(task)
    assert watched.errors() == []


def test_a_day_at_one_hertz_stays_smooth(
    once: None, live: Stack, url: str, watched: Watched
) -> None:
    """Three fields of 86,400 points: drawn soon, and moved at more than 16 frames a second."""
    influxdb = InfluxDB(live.addresses.urls()["influxdb"])
    end = int(time.time()) - 3600
    for first in range(end - 86_400, end, 14_400):
        influxdb.write("printer", "\n".join(
            f"temperatures hotend={220 + i % 7},bed={90 + i % 5},air={70 + i % 3} {i}"
            for i in range(first, first + 14_400)
        ), "s")  # fmt: skip
    page = watched.open(f"{url}/view/printer?from={end - 86_400}000000000&to={end}000000000")
    wait_for("the day", lambda: points(page, "value0") > 1000, 20)
    count = points(page, "value0")
    assert count < 4000, "it is thinned on the server"
    took = chart(
        page,
        """
        const t = performance.now(); const o = chart.getOption(); chart.setOption(o);
        chart.getZr().flush(); return performance.now() - t""",
    )
    assert took < 1000
    frames = page.evaluate("""async () => {
        const e = document.querySelector('[data-chart]');
        const chart = getElement(+e.id.slice(1)).chart;
        const z = chart.getOption().dataZoom[0];
        const width = z.endValue - z.startValue, took = [];
        for (let i = 0; i < 40; i++) {
            const shift = width * 0.2 * Math.sin(i / 4), t = performance.now();
            chart.dispatchAction({type: 'dataZoom', startValue: z.startValue + shift,
                                  endValue: z.endValue + shift});
            chart.getZr().flush();
            took.push(performance.now() - t);
            await new Promise(requestAnimationFrame);
        }
        return took.sort((a, b) => a - b)
    }""")
    print(f"\nfirst paint {took:.0f} ms, frame {frames[20]:.0f} ms, slowest {frames[-1]:.0f} ms")
    assert frames[20] < 60
    assert watched.errors() == []


@pytest.mark.parametrize("service", ["simulator", "telegraf", "influxdb", "kapacitor"])
def test_a_stopped_engine_is_shown_and_comes_back(
    live: Stack, url: str, browser: Browser, service: str, backend: str
) -> None:
    # On half of a laptop's screen, in the dark.
    watched = Watched(browser.new_page(viewport={"width": 683, "height": 768}, color_scheme="dark"))
    page = watched.open(url)
    hop = page.locator(f"[data-hop={service}]")
    expect(hop).to_have_attribute("data-health", "ok", timeout=30_000)
    name = hop.locator(".name span").first.inner_text()
    live.stop(service)
    try:
        expect(hop).to_have_attribute("data-health", "wrong", timeout=5000)
        expect(hop.locator(".why")).to_contain_text("does not answer")
        expect(page.get_by_role("status")).to_contain_text(f"! {name}")
        if backend == "native" and service == "kapacitor":
            IMAGES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=IMAGES / "page-stopped.png")
    finally:
        live.start(service)
    expect(hop).to_have_attribute("data-health", "ok", timeout=20_000)
    page.close()


def test_a_stopped_flow_is_shown(once: None, live: Stack, url: str, browser: Browser) -> None:
    """InfluxDB answers and has no place for the points: the page names the hop that gets none."""
    page = Watched(browser.new_page()).open(url)
    hop = page.locator("[data-hop=influxdb]")
    expect(hop).to_have_attribute("data-health", "ok", timeout=90_000)
    influxdb = InfluxDB(live.addresses.urls()["influxdb"])
    influxdb.query("DROP DATABASE printer")
    try:
        expect(hop).to_have_attribute("data-health", "wrong", timeout=7000)
        expect(hop.locator(".why")).to_contain_text("is sending")
    finally:
        influxdb.query("CREATE DATABASE printer")
    expect(hop.locator(".why")).not_to_contain_text("nothing has arrived", timeout=30_000)
    page.close()
