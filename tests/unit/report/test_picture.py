"""A report's picture has the whole page on it."""

import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stack.errors import StackError
from stack.report import ReportData, Series, write_report
from stack.report.picture import WIDTH, browser, write_picture

SECOND = 10**9


def test_it_is_as_long_as_the_page(tmp_path: Path) -> None:
    if browser() is None:
        pytest.skip("NOT RUN: no Chromium on the PATH; on Debian: apt-get install chromium")
    times = 1451606400 * SECOND + np.arange(1000) * SECOND
    heights = []
    for count in (1, 4):
        series = [Series(f"f{i}", times, np.sin(times / 1e11 + i)) for i in range(count)]
        page, picture = tmp_path / "report.html", tmp_path / f"{count}.png"
        write_report(ReportData("A title", series, facts={"from": str(datetime.now(UTC))}), page)
        write_picture(page, picture)
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert width == WIDTH
        heights.append(height)
        # A blank picture of this size packs to a few kB.
        assert len(content) > 15_000
    assert heights[1] > heights[0] + 200
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["1.png", "4.png"]


def test_a_page_that_draws_nothing_is_an_error(tmp_path: Path) -> None:
    if browser() is None:
        pytest.skip("NOT RUN: no Chromium on the PATH; on Debian: apt-get install chromium")
    page = tmp_path / "empty.html"
    page.write_text("<p>nothing</p>")
    with pytest.raises(StackError, match="did not draw"):
        write_picture(page, tmp_path / "empty.png")
