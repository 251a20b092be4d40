"""Brew data, restamp and the metric replayer: bytes, times, pace and who may stop it."""

import gzip
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineprotocol import parse_line

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "telegraf/data/temps.txt.gz"
SECOND = 10**9
LINES = [
    b"# comment",
    b"m,t=a\\ b f=1 10",
    b'm s="two',
    b'lines 5" 10',
    b"",
    b"m f=2 13",
    b"m f=3 20",
]
DATA = b"\n".join(LINES) + b"\n"


def simulator(*words: str, data: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run(
        [sys.executable, "-m", "simulator", *words],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        input=data,
        capture_output=True,
        timeout=120,
    )
    assert result.returncode == code, result.stderr.decode()
    return result


def times(data: bytes) -> list[int]:
    return [
        int(line.rsplit(b" ", 1)[1])
        for line in data.splitlines()
        if line and line[:1] != b"#" and not line.endswith(b'"two')
    ]


def test_the_sample_in_the_repository_is_what_the_simulator_makes() -> None:
    made = simulator("brew", "--output", "-").stdout
    assert gzip.decompress(SAMPLE.read_bytes()) == made
    assert SAMPLE.stat().st_size < 1_000_000


def test_brew_has_tenths_of_degrees_and_known_faults(tmp_path: Path) -> None:
    words = "brew", "--seed", "5", "--duration", "11h", "--truth", str(tmp_path / "truth.json")
    made = simulator(*words, "--output", "-").stdout
    assert made == simulator(*words, "--output", "-").stdout
    points = [parse_line(line, "s") for line in made.splitlines()]
    assert len(points) == 2 * 11 * 3600
    values = [float(str(p.fields["temperature"])) for p in points]
    assert all(round(value, 1) == value for value in values)
    haze = values[::2]
    assert max(haze[36_000:37_200]) > max(haze[:36_000]) + 0.3
    assert (
        b'"field": "haze_v5.door", "start": 1596638228000000000'
        in (tmp_path / "truth.json").read_bytes()
    )


def test_a_gap_is_a_gap_and_a_fault_can_be_injected() -> None:
    words = "brew", "--duration", "2m", "--schedule", "calm", "--output", "-"
    calm = simulator(*words).stdout
    bad = simulator(*words, "--inject", "bv_1.gap:30@60", "--inject", "haze_v5.spike:2@90").stdout
    assert len(calm.splitlines()) - len(bad.splitlines()) == 30
    both = zip([x for x in calm.splitlines() if b"haze" in x], bad.splitlines(), strict=False)
    assert any(a != b for a, b in both)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_restamp_ends_now_and_keeps_all_else(tmp_path: Path, packed: bool, piped: bool) -> None:
    data = gzip.compress(DATA) if packed else DATA
    file = tmp_path / "in.lp"
    file.write_bytes(data)
    before = time.time_ns()
    if piped:
        out = simulator("restamp", "-filename", "-", "--precision", "s", data=data).stdout
    else:
        out = simulator("restamp", str(file), "--precision", "s").stdout
    found = times(out)
    assert [found[-1] - t for t in found] == [10 * SECOND, 10 * SECOND, 7 * SECOND, 0]
    assert before <= found[-1] <= time.time_ns()
    for number, was in ((found[0], b"10"), (found[2], b"13"), (found[3], b"20")):
        out = out.replace(b" %d" % number, b" " + was)
    assert out == DATA


def test_restamp_starts_when_told_with_another_spacing(tmp_path: Path) -> None:
    out = simulator(
        "restamp", "--precision", "s", "--start", "2020-01-01", "--spacing", "500ms",
        "--to-precision", "ms", "-", data=DATA,
    ).stdout  # fmt: skip
    begin = 1_577_836_800_000
    assert times(out) == [begin, begin, begin + 500, begin + 1000]


def test_restamp_says_which_line_is_wrong() -> None:
    result = simulator("restamp", "-", data=b"m f=1 1\nm f=2\n", code=2)
    assert b"standard input, line 2: no timestamp" in result.stderr
    result = simulator("restamp", "-", data=b"m f=1 1\n\nm f= 2\n", code=2)
    assert b"line 3: a field without a value" in result.stderr
    result = simulator("restamp", "no-such-file", code=2)
    assert b"no-such-file: No such file" in result.stderr
    result = simulator("restamp", "-", data=gzip.compress(DATA)[:-9], code=2)
    assert b"standard input: " in result.stderr
    assert b"Traceback" not in result.stderr


def test_restamp_stops_quietly_when_the_reader_has_had_enough() -> None:
    script = f"{sys.executable} -m simulator restamp {SAMPLE} --precision s | head -n 3"
    result = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=60)
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == b""


class Replayer(subprocess.Popen[bytes]):
    def __init__(self, file: Path, *words: str) -> None:
        super().__init__(
            [sys.executable, "-m", "simulator", "metric-replayer", str(file), *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def more(self, wait: float = 20.0) -> bytes:
        assert self.stdout is not None
        ready = select.select([self.stdout], [], [], wait)[0]
        return self.stdout.read(1 << 16) if ready else b""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.lp"
    path.write_bytes(DATA)
    return path


def test_the_replayer_keeps_the_pace_of_the_data(file: Path) -> None:
    with Replayer(file, "--precision", "s", "--speed", "10") as replayer:
        assert times(replayer.more()) == [10 * SECOND] * 2
        began = time.monotonic()
        assert times(replayer.more()) == [13 * SECOND]
        assert 0.2 < time.monotonic() - began < 1.5
        assert times(replayer.more()) == [20 * SECOND]
        assert 0.8 < time.monotonic() - began < 3
        # Once: then it waits to be stopped, as an input of Telegraf must.
        assert replayer.more(0.3) == b""
        assert replayer.poll() is None
        replayer.communicate(timeout=10)
    assert replayer.returncode == 0


def test_the_replayer_answers_a_line_of_telegraf_each_time(file: Path) -> None:
    with Replayer(file, "--precision", "s", "--signal", "STDIN", "--loop") as replayer:
        assert replayer.stdin is not None
        assert replayer.more(0.8) == b""
        for expected in ([10, 10], [13], [20], [27, 27], [30], [37], [44, 44]):
            replayer.stdin.write(b"\n")
            assert times(replayer.more()) == [n * SECOND for n in expected]


def test_the_replayer_answers_a_signal(file: Path) -> None:
    with Replayer(file, "--precision", "s", "--signal", "SIGUSR1", "--stamp", "now") as replayer:
        status = Path(f"/proc/{replayer.pid}/status")
        mask, end = 1 << (signal.SIGUSR1 - 1), time.monotonic() + 20
        while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) & mask:
            assert time.monotonic() < end, "it does not listen to the signal"
            time.sleep(0.02)
        before = time.time_ns()
        replayer.send_signal(signal.SIGUSR1)
        first, second = times(replayer.more())
        assert before <= first == second <= time.time_ns()
        replayer.terminate()
        assert replayer.wait(10) == 0


def test_the_replayer_can_end_the_data_now(file: Path) -> None:
    words = "--precision", "s", "--stamp", "ending-now", "--speed", "1000000"
    with Replayer(file, *words) as replayer:
        found: list[int] = []
        while len(found) < 4:
            found += times(replayer.more())
        assert abs(found[-1] - time.time_ns()) < 20 * SECOND
        assert found[-1] - found[0] == 10 * SECOND
        replayer.communicate(timeout=10)


def test_an_interrupted_replay_goes_on_where_it_was(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "place.json"
    words = "--precision", "s", "--signal", "STDIN", "--stamp", "ending-now", "--resume", str(place)
    found = []
    # The data has three different times, so that the fourth start is a new replay.
    for start in range(4):
        with Replayer(file, *words) as replayer:
            out, _ = replayer.communicate(b"\n\n" if start == 2 else b"\n", timeout=20)
            found.append(times(out))
        assert replayer.returncode == 0
        assert place.exists() is (start != 2)
    first, second, third, anew = found
    assert second == [first[0] + 3 * SECOND]
    assert third == [first[0] + 10 * SECOND]
    assert len(anew) == 2
    assert anew[0] > first[0]
    file.write_bytes(DATA + DATA.splitlines()[-1].replace(b"20", b"30") + b"\n")
    with Replayer(file, *words) as replayer:
        assert len(times(replayer.communicate(b"\n", timeout=20)[0])) == 2  # another file


def test_a_killed_replay_repeats_a_second_at_most(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "place.json"
    words = "--precision", "s", "--speed", "2", "--resume", str(place)
    with Replayer(file, *words) as replayer:
        assert times(replayer.more()) == [10 * SECOND] * 2
        assert times(replayer.more()) == [13 * SECOND]  # a second and a half later
        end = time.monotonic() + 20
        while not place.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        replayer.kill()
    with Replayer(file, *words) as replayer:
        assert times(replayer.more()) == [20 * SECOND]
        replayer.communicate(timeout=10)
    place.write_text("{")
    with Replayer(file, *words) as replayer:
        assert times(replayer.more()) == [10 * SECOND] * 2
        replayer.communicate(timeout=10)


def test_a_replay_whose_place_cannot_be_kept_says_so_and_goes_on(file: Path) -> None:
    words = str(file), "--precision", "s", "--signal", "STDIN", "--resume", str(file / "place.json")
    for lines, points in ((b"\n\n", 3), (b"\n\n\n\n", 4)):
        result = simulator("metric-replayer", *words, data=lines)
        assert len(times(result.stdout)) == points
        assert result.stderr.count(b"E! --resume") == (points == 3)


def test_the_replayer_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    assert b"which FILE" in simulator("metric-replayer", code=2).stderr
    empty = tmp_path / "empty"
    empty.write_bytes(b"# nothing\n")
    assert b"holds no points" in simulator("metric-replayer", str(empty), code=2).stderr
