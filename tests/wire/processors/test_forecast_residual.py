"""The forecast and residual processors over pipes: lines added, gaps told, state kept."""

import math
from pathlib import Path

import pytest

from lineprotocol import Point, parse_line
from tests.wire.processors.programs import Program, through

pytestmark = pytest.mark.wire

SECOND = 10**9
START = 1_596_602_228 * SECOND
SERIES = ("--measurement", "t", "--field", "f")
# A cycle of ten minutes, a value every five seconds: forecasts after an hour.
FAST = ("--horizon", "2m", "--learn", "40m", "--settle", "10m", "--span", "4m", "--slack", "30s")


def wave(first: int, last: int, tags: bytes = b",k=v") -> list[bytes]:
    return [
        b"t%b f=%.3f %d"
        % (tags, 20 + math.sin(n * math.pi / 60) + 0.02 * (n * 7919 % 13), START + n * 5 * SECOND)
        for n in range(first, last)
    ]


def interleaved(count: int) -> list[bytes]:
    pairs = zip(wave(0, count, b",k=a"), wave(0, count, b",k=b"), strict=True)
    return [line for pair in pairs for line in pair]


def forecast(lines: list[bytes], *more: str) -> list[bytes]:
    data = b"\n".join(lines) + b"\n"
    out, _ = through(data, "-m", "processors.forecast", *SERIES, *FAST, *more)
    return out.splitlines()


def residual(lines: list[bytes], *more: str) -> list[bytes]:
    data = b"\n".join(lines) + b"\n"
    out, _ = through(data, "-m", "processors.residual", *SERIES, *more)
    return out.splitlines()


def of(lines: list[bytes], name: str) -> list[Point]:
    return [p for p in map(parse_line, lines) if p.name == name]


def test_forecasts_are_for_later_and_between_their_bounds() -> None:
    lines = wave(0, 2000)
    out = forecast(lines)
    assert [line for line in out if line.startswith(b"t,")] == lines
    made = of(out, "t_forecast")
    assert len(made) > 150
    known = [float(line.split()[1][2:]) for line in lines]
    errors = []
    for at, line in enumerate(out):
        if line.startswith(b"t_forecast"):
            point, latest = parse_line(line), parse_line(out[at - 1]).time
            assert point.tags == {"k": "v"}
            assert point.time is not None
            assert latest is not None
            assert 120 * SECOND <= point.time - latest <= 180 * SECOND
            f, low, up = (float(point.fields[n]) for n in ("forecast", "lower", "upper"))
            assert low < f < up
            nearest = round((point.time - START) / (5 * SECOND))
            if nearest < len(known):
                errors.append(abs(known[nearest] - f))
    assert len(errors) > 150
    assert sum(errors) / len(errors) < 0.15


def test_an_anomaly_is_flagged_and_the_rest_is_not() -> None:
    lines = wave(0, 3000)
    lines[2500] = lines[2500].replace(b" f=", b" f=3")  # 20 becomes 320
    judged = of(residual(forecast(lines)), "t_residual")
    assert len(judged) > 1500
    flagged = [p for p in judged if p.fields["anomaly"] == 1]
    assert [p.time for p in flagged] == [START + 2500 * 5 * SECOND]
    assert all(type(p.fields["anomaly"]) is int for p in judged)
    assert type(judged[0].fields["residual"]) is float


def test_a_gap_is_told_as_soon_as_another_series_shows_the_time() -> None:
    lines = interleaved(100)
    lines = [line for n, line in enumerate(lines) if not (80 <= n < 160 and n % 2)]
    out = residual(lines)
    told = of(out, "t_residual")
    assert [(p.tags["k"], p.fields["silence"], p.fields["anomaly"]) for p in told] == [
        ("b", 60.0, 1),
        ("b", 205.0, 1),
    ]
    last = START + 39 * 5 * SECOND
    assert [p.time for p in told] == [last + 60 * SECOND, last + 205 * SECOND]
    # The first came with the point of the other series that was the first past the minute.
    before = out[
        out.index(
            b"t_residual,k=b residual=0,score=0,bias=0,anomaly=1i,silence=60 %d"
            % (last + 60 * SECOND)
        )
        - 1
    ]
    assert before.startswith(b"t,k=a")
    assert parse_line(before).time == last + 65 * SECOND


def test_one_wild_time_makes_no_series_silent() -> None:
    lines = interleaved(50)
    lines.insert(60, b"t,k=c f=1 %d" % (START + 10**18))
    assert of(residual(lines), "t_residual") == []


def test_a_restart_changes_nothing_that_comes_out(tmp_path: Path) -> None:
    lines = wave(0, 2600)
    whole = residual(forecast(lines))
    parts = []
    for first, last in ((0, 1501), (1501, 1502), (1502, 2600)):
        made = forecast(lines[first:last], "--state", str(tmp_path / "f"))
        parts += residual(made, "--state", str(tmp_path / "r"))
    assert parts == whole


def test_other_options_do_not_take_a_state_that_does_not_fit(tmp_path: Path) -> None:
    forecast(wave(0, 10), "--state", str(tmp_path / "f"))
    data = b"\n".join(wave(10, 20)) + b"\n"
    state = "--state", str(tmp_path / "f")
    _, log = through(data, "-m", "processors.forecast", *SERIES, *state)
    assert "W! the state of t,k=v is not used: state: of another horizon" in log


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        (("--horizon", "-5"), ["horizon must be a number of seconds above 0"]),
        (("--neighbours", "0", "--coverage", "2"), ["neighbours must be", "coverage must be"]),
        (("--horizon", "soon"), ["'soon' is neither a number nor a length of time"]),
    ],
)
def test_wrong_options_end_it_with_what_is_wrong(
    words: tuple[str, ...], reasons: list[str]
) -> None:
    with Program("-m", "processors.forecast", *SERIES, *words) as process:
        out, log = process.communicate(b"", timeout=60)
    assert process.returncode == 2
    assert out == b""
    for reason in reasons:
        assert reason in log.decode()


@pytest.mark.parametrize("name", ["example", "forecast", "residual"])
def test_lines_of_others_come_back_byte_for_byte(name: str) -> None:
    from tests.wire.processors.test_base import AWKWARD

    words = () if name == "example" else SERIES
    out, _ = through(AWKWARD + b"\n", "-m", f"processors.{name}", *words)
    assert out == AWKWARD + b"\n"
