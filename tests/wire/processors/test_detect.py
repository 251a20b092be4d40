"""Any detector class in a processor: the scores are those of the class itself."""

import numpy as np
import pytest

from detectors.forecast_residual import ForecastResidual
from detectors.welch import Welch
from lineprotocol import parse_line
from tests.wire.processors.programs import Program, through

pytestmark = pytest.mark.wire

SECOND = 10**9
START = 1_451_606_400 * SECOND


def test_a_detector_of_windows_scores_each_series_by_itself() -> None:
    random = np.random.default_rng(4)
    values = {name: random.normal(220, 0.5, 3600).round(3).tolist() for name in ("a", "b")}
    values["b"][1800:2100] = random.normal(218, 3, 300).round(3).tolist()
    lines = [
        f"temperatures,p={name} hotend={values[name][n]} {START + n * SECOND}"
        for n in range(3600)
        for name in ("a", "b")
    ]
    words = "--measurement", "temperatures", "--field", "hotend", "--period", "5m"
    more = "--size", "3600", "--alpha", "0.001"
    data = "\n".join(lines).encode() + b"\n"
    out, _ = through(data, "-m", "processors.detect", "welch:Welch", *words, *more)
    scored = [p for p in map(parse_line, out.splitlines()) if p.name == "temperatures_scores"]
    for name in ("a", "b"):
        welch = Welch(size=3600, alpha=0.001)
        expected = [welch.update(np.array(values[name][n : n + 300])) for n in range(0, 3300, 300)]
        got = [point for point in scored if point.tags == {"p": name}]
        assert [point.fields for point in got] == expected
        assert [point.time for point in got] == [START + n * SECOND for n in range(300, 3301, 300)]
    flagged = {p.tags["p"] for p in scored if float(p.fields["pvalue"]) < 0.001}
    assert flagged == {"b"}


def test_a_detector_of_streams_scores_every_value() -> None:
    values = [20 + (n % 9) / 10 for n in range(500)]
    lines = "".join(f"t f={v} {START + n * SECOND}\n" for n, v in enumerate(values)).encode()
    words = "--measurement", "t", "--field", "f", "--output", "judged"
    name = "forecast_residual:ForecastResidual"
    out, _ = through(lines, "-m", "processors.detect", name, *words)
    detector = ForecastResidual()
    expected = [detector.update(v, START + n * SECOND) for n, v in enumerate(values)]
    got = [p.fields for p in map(parse_line, out.splitlines()) if p.name == "judged"]
    assert got == expected


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("welch:Welch", "--size", "10", "--alpha", "7"), "alpha"),
        (("welch:Nothing",), "no detector 'welch:Nothing'"),
        (("base:Scores",), "is no detector"),
        (("welch:Welch", "--size", "10"), "--alpha"),
    ],
)
def test_wrong_words_are_said(words: tuple[str, ...], reason: str) -> None:
    names = "--measurement", "t", "--field", "f"
    with Program("-m", "processors.detect", *words, *names) as process:
        _, log = process.communicate(b"", timeout=60)
    assert process.returncode == 2
    assert reason in log.decode()
    assert "Traceback" not in log.decode()
