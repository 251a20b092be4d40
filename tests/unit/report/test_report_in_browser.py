"""The report as a browser shows it: headless Chromium draws it from disk, with no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from simulator.printer import DAILY, Printer
from stack.findings import Alert, Finding
from stack.report import ReportData, Score, Series, write_report

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)
SECOND = 10**9
START = datetime(2016, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NOT RUN: no Chromium on the PATH to open the report in; on Debian: "
    "apt-get install chromium",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    times = 1451606400 * SECOND + np.arange(86_402) * SECOND
    values = Printer(1).values(times)
    ends = times[300::300]
    pvalues = np.random.default_rng(1).uniform(0.001, 1, 288)
    pvalues[12] = 0.0
    path = tmp_path_factory.mktemp("report") / "report.html"
    begin = START + timedelta(hours=1)
    found = begin + timedelta(minutes=5)
    data = ReportData(
        "A day of printing",
        [Series(f, times, values[:, i], "°C") for i, f in enumerate(DAILY.fields)],
        [Score(f, ends, pvalues) for f in DAILY.fields],
        alerts=[Alert("hotend", "CRITICAL", found, found, 1, "<b>hotend</b> is CRITICAL")],
        findings=[Finding("hotend", begin, found, found, True)],
        hops={"telegraf": 86_402},
    )
    write_report(data, path)
    return path


def chromium(report: Path, profile: Path, *arguments: str) -> tuple[str, str]:
    """Open the report; return the page as it is after its scripts, and Chromium's log."""
    assert CHROMIUM is not None
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    result = subprocess.run(
        [
            CHROMIUM, "--headless", *root, "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1366,768",
            "--virtual-time-budget=10000", *arguments, report.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return result.stdout, result.stderr


def test_it_draws_everything_in_dark_too_without_a_word_on_the_console(
    report: Path, tmp_path: Path
) -> None:
    page, log = chromium(report, tmp_path, "--dump-dom", "--blink-settings=preferredColorScheme=0")
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []
    assert 'data-drawn="true"' in page
    drawn = re.findall(r'class="trace scatter', page)
    # Values and both kinds of scores for each of three fields, an alert, the shading's legend.
    assert len(drawn) == 3 * 3 + 1 + 1
    # Every series is a line of many points, every score a mark.
    assert sum(path.count("L") > 1000 for path in re.findall(r' d="(M[^"]+)"', page)) >= 3
    assert len(re.findall(r'<path class="point"', page)) >= 3 * 288
    assert "expected anomaly" in page
    # Text in the figure takes the colour that the page has in the dark.
    assert "fill: rgb(228, 231, 236)" in page


def test_a_screenshot_shows_lines_marks_and_shading(report: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    chromium(report, tmp_path / "profile", f"--screenshot={picture}")
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    # An empty page of this size packs to some 10 kB, the drawn one to some 100.
    assert len(content) > 40_000
