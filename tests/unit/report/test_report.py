"""The report's content: what is drawn and listed, and that hostile text stays text."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stack.findings import Alert, Finding
from stack.report import Band, ReportData, Score, Series, write_report
from stack.report.figure import FLOOR, MOST_POINTS, thin

START = datetime(2016, 1, 1, tzinfo=UTC)
START_NS = 1451606400 * 10**9


def series(name: str = "hotend", count: int = 86_402) -> Series:
    values = np.random.default_rng(1).normal(220, 0.5, count)
    return Series(name, START_NS + np.arange(count) * 10**9, values, "°C")


def scores(name: str = "hotend", pvalues: tuple[float, ...] = (1.0, 0.2, 0.0, 1e-30)) -> Score:
    return Score(name, START_NS + np.arange(1, len(pvalues) + 1) * 300 * 10**9, np.array(pvalues))


def alert(
    id: str = "hotend", level: str = "CRITICAL", message: str = "", recovered: bool = True
) -> Alert:
    end = START + timedelta(minutes=25) if recovered else None
    return Alert(id, level, START + timedelta(minutes=15), end, 2, message)


def finding(field: str = "hotend", found: datetime | None = START) -> Finding:
    begin = START + timedelta(minutes=10)
    return Finding(
        field, begin, begin + timedelta(minutes=5), found and begin + timedelta(300), True
    )


def page(tmp_path: Path, data: ReportData) -> str:
    path = tmp_path / "report.html"
    write_report(data, path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    return path.read_text("utf-8")


def traces(text: str) -> list[dict[str, Any]]:
    [found] = re.findall(
        r'<script type="application/json" id="figure-data">(.*?)</script>', text, re.S
    )
    data: list[dict[str, Any]] = json.loads(found)["data"]
    return data


def bdata(*values: float) -> str:
    return base64.b64encode(np.array(values).tobytes()).decode()


def test_every_field_has_its_values_scores_and_alerts(tmp_path: Path) -> None:
    data = ReportData(
        "Day",
        [series("hotend"), series("bed"), series("fan")],
        [scores("hotend"), scores("bed")],
        alerts=[alert(), alert(id="bed")],
        findings=[finding()],
    )
    names = [(trace["name"], trace["yaxis"]) for trace in traces(page(tmp_path, data))]
    assert names == [
        ("value", "y"), ("alert", "y"), ("p ≥ alpha", "y2"), ("p < alpha", "y2"),
        ("value", "y3"), ("alert", "y3"), ("p ≥ alpha", "y4"), ("p < alpha", "y4"),
        ("value", "y5"), ("expected anomaly", "y"),
    ]  # fmt: skip


def test_a_band_is_behind_the_values_and_a_limit_on_either_side(tmp_path: Path) -> None:
    times = START_NS + np.arange(3) * 10**9
    band = Band(times, np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    value = Series("beer", times, np.array([3.0, 4.0, 5.0]), "°C", band=band)
    score = Series("beer score", times, np.array([0.0, 900.0, -1.0]), limit=7.0)
    text = page(tmp_path, ReportData("Brew", [value, score]))
    made = traces(text)
    assert [(t["name"], t["yaxis"]) for t in made] == [
        ("forecast band", "y"), ("value", "y"), ("value", "y2"),
    ]  # fmt: skip
    assert made[0]["fill"] == "toself"
    assert made[0]["y"]["bdata"] == bdata(4.0, 5.0, 6.0, 3.0, 2.0, 1.0)
    [figure] = re.findall(r'id="figure-data">(.*?)</script>', text, re.S)
    layout = json.loads(figure)["layout"]
    assert [(s["yref"], s["y0"]) for s in layout["shapes"]] == [("y2", -7.0), ("y2", 7.0)]
    assert layout["yaxis2"]["range"] == [-21.0, 21.0]


def test_tables_show_found_missed_and_figures(tmp_path: Path) -> None:
    data = ReportData(
        "Day",
        [series()],
        findings=[finding(found=START), finding("bed", None)],
        false_alarms={"hotend": 1, "bed": 0},
        hops={"telegraf": 86_402, "kapacitor": 86_400},
        seconds={"replay": 3.14},
        facts={"seed": "7"},
        alerts=[alert(recovered=False)],
    )
    text = page(tmp_path, data)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
    assert "✗ missed" in text
    assert (
        "1 of 2 expected anomalies found · 1 false alarm · 86,402 points, not all arrived" in text
    )
    for cell in ("86,400", "3.1", "7", "never", "2", "2016-01-01 00:15:00"):
        assert cell in cells, cell


def test_p_values_of_0_are_drawn_at_the_floor_and_said_so(tmp_path: Path) -> None:
    text = page(tmp_path, ReportData("Day", [series()], [scores()]))
    assert "2 p-values below 1e-20, 0 among them" in text
    [low] = [trace for trace in traces(text) if trace["name"] == "p < alpha"]
    assert low["marker"]["symbol"] == ["triangle-down"] * 2
    assert low["text"] == ["0", "1e-30"]
    assert [trace["y"]["bdata"] for trace in (low,)] == [bdata(FLOOR, FLOOR)]
    text = page(tmp_path, ReportData("Day", [series()], [scores(pvalues=(1, 0.5))]))
    assert "0 among them" not in text


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = page(tmp_path, ReportData("Day", [series()], [scores()]))
    assert not re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=|<link\b|@import", text)
    assert len(text) < 5_800_000


def test_text_from_the_engines_stays_text(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><b>&"
    data = ReportData(
        hostile,
        [series(hostile)],
        [scores(hostile)],
        alerts=[alert(id=hostile, level=hostile, message=hostile)],
        findings=[finding(hostile)],
        facts={hostile: hostile},
        hops={hostile: 1},
        seconds={hostile: 1.0},
    )
    text = page(tmp_path, data)
    assert "alert(1)</script>" not in text
    # The scripts of the page itself and no other: plotly, the data, the page's own.
    tags = re.sub(r"<script>.*?</script>", "<s>", text, flags=re.S)
    assert len(re.findall(r"<script", tags)) == 1


@pytest.mark.parametrize(
    "data",
    [
        ReportData("one point", [series(count=1)]),
        ReportData("empty", [series(count=0)], [scores(pvalues=())],
                   alerts=[alert(recovered=False)]),
        ReportData("gaps", [Series("x", np.arange(9), np.full(9, np.nan))], alerts=[alert("x")]),
        ReportData("flat", [Series("x", np.arange(9), np.ones(9))],
                   alerts=[alert("x", recovered=False)]),
        ReportData("others", [series()], [scores("none")], alerts=[alert(id="other")],
                   findings=[finding("other")]),
    ],
    ids=lambda data: data.title,
)  # fmt: skip
def test_sparse_data_still_makes_a_page(tmp_path: Path, data: ReportData) -> None:
    assert traces(page(tmp_path, data))


def test_wrong_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one series"):
        write_report(ReportData("none", []), tmp_path / "report.html")
    with pytest.raises(ValueError, match=r"bed: \(3,\) times but \(2,\) values"):
        Series("bed", np.arange(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"band: \(3,\) times but \(2,\) values"):
        Band(np.arange(3), np.zeros(3), np.zeros(2))


@settings(max_examples=60)
@given(
    count=st.integers(0, 300),
    most=st.integers(2, 80),
    gaps=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 60)), max_size=4),
    seed=st.integers(0, 99),
)
def test_thinning_keeps_the_extremes_and_the_order(
    count: int, most: int, gaps: list[tuple[int, int]], seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=count).round(1)
    for begin, length in gaps:
        values[begin : begin + length] = np.nan
    times = np.arange(count, dtype=np.int64)
    kept_times, kept = thin(times, values, most)
    assert kept.size <= most
    assert np.array_equal(kept, values[kept_times], equal_nan=True)
    assert np.all(np.diff(kept_times) > 0)
    finite = values[np.isfinite(values)]
    if finite.size:
        assert (np.nanmin(kept), np.nanmax(kept)) == (finite.min(), finite.max())
    if count > most:
        edges = np.linspace(0, count, most // 2 + 1).astype(int)
        for begin, end in pairwise(edges):
            assert np.any((kept_times >= begin) & (kept_times < end))


def test_a_day_is_thinned_to_what_a_screen_can_show() -> None:
    made = series()
    _, kept = thin(made.times, made.values, MOST_POINTS)
    assert MOST_POINTS / 2 < kept.size <= MOST_POINTS
