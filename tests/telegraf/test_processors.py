"""The processors inside the real Telegraf: bytes, order, loss, restarts, the end."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from lineprotocol import Point, parse_line
from tests.telegraf.real import (
    DEADLINE,
    ROOT,
    Telegraf,
    binary,
    environment,
    processor,
    source,
)

pytestmark = pytest.mark.stack

PYTHON = sys.executable
SERIES = ("--measurement", "temperature", "--field", "temperature")
EXAMPLE = processor(PYTHON, "-m", "processors.example")
CHAIN = processor(PYTHON, "-m", "processors.forecast", *SERIES, order=1) + processor(
    PYTHON, "-m", "processors.residual", *SERIES, order=2
)

AWKWARD = [
    b"plain value=1 1596602228666886000",
    b"types i=-9223372036854775808i,u=18446744073709551615u,f=-0.5,t=true,n=false 2",
    b'strings empty="",spaces="a b",comma="a,b=c",quote="say \\"hi\\"",slash="C:\\\\x" 3',
    'unicode,beer=K\u00f6lsch note="\U0001f37a",\u00fc=1 4'.encode(),
    rb"escaped\ name\,x,tag\ key=tag\ value,a\,b=c\=d field\ key=1,k\=v=2 5",
    b"order,z=1,a=2,m=3 zz=1,aa=2,mm=3 6",
    b'quoted"name,t="x" f=1 7',
    b'newline text="one\ntwo\n\nthree" 8',
    rb"backslash,t=a\b f\g=1 9",
    b"negative f=1 -1",
    b"far f=1 9223372036854775806",
    b"tiny f=0.000000000000000000000000000001 10",
    b'long text="' + b"x" * 300_000 + b'" 11',
    b"wide " + b",".join(b"field%d=%di" % (n, n) for n in range(5000)) + b" 12",
    b"tags," + b",".join(b"k%d=v%d" % (n, n) for n in range(300)) + b" f=1 13",
    b"temperature,brew=x temperature=18.8 14",
    b'temperature,brew=x temperature="warm" 15',
    b"temperature,brew=x other=1 16",
    b"temperature,brew=a\\ b temperature=20i,x=1u 17",
]


def replayed(folder: Path, data: bytes) -> str:
    """Return an input that gives these bytes once and then waits, as fast as it can."""
    file = folder / "in.lp"
    file.write_bytes(data)
    return source("sh", "-c", f"cat {file}; exec sleep 600")


def errors(log: str) -> list[str]:
    """Return the errors of a log, but for the one that Telegraf's own ending makes.

    It closes the pipes of a program that has ended while it may still be reading them.
    """
    return [line for line in log.splitlines() if " E! " in line and "already closed" not in line]


def ordered(points: list[Point]) -> list[tuple[object, ...]]:
    """Tags and fields with their order, which an equal dict need not have."""
    return [
        (p.name, [*p.tags.items()], [(k, type(v), v) for k, v in p.fields.items()], p.time)
        for p in points
    ]


def came_out(telegraf: Telegraf, count: int) -> bool:
    return telegraf.out.read_bytes().count(b"\n") >= count


@pytest.mark.parametrize("chain", [EXAMPLE, CHAIN], ids=["example", "forecast and residual"])
def test_what_goes_in_comes_out(tmp_path: Path, chain: str) -> None:
    data = b"\n".join(AWKWARD) + b"\n"
    results = []
    for name, parts in (("without", ""), ("with", chain)):
        folder = tmp_path / name
        folder.mkdir()
        with Telegraf(folder, replayed(folder, data), parts) as telegraf:
            telegraf.until("all lines", partial(came_out, telegraf, data.count(b"\n")))
        results.append(telegraf.out.read_bytes())
        assert not errors(telegraf.messages())
    # To the byte what Telegraf writes with no processor at all.
    assert results[0] == results[1]
    # And what it read, but for the one thing that Telegraf itself does: it sorts tags.
    points = [parse_line(line) for line in AWKWARD]
    for point in points:
        point.tags = dict(sorted(point.tags.items()))
    got = results[1].split(b"\n")
    again = []
    while got and got[0]:
        line = got.pop(0)
        while line.count(b'"') % 2 and b'text="' in line:
            line += b"\n" + got.pop(0)
        again.append(parse_line(line))
    assert ordered(again) == ordered(points)


@pytest.mark.parametrize("chain", [EXAMPLE, CHAIN], ids=["example", "forecast and residual"])
def test_nothing_is_lost_and_the_order_stays(tmp_path: Path, chain: str) -> None:
    count = 50_000
    sent = [
        b"temperature,brew=b%d temperature=%d.%d %d\n" % (n % 7, 18 + n % 2, n % 10, n * 10**9)
        for n in range(count)
    ]
    with Telegraf(tmp_path, replayed(tmp_path, b"".join(sent)), chain) as telegraf:
        telegraf.until("all lines", lambda: came_out(telegraf, count))
    lines = [line for line in telegraf.lines() if line.startswith(b"temperature,")]
    numbers = [int(line.rsplit(b" ", 1)[1]) // 10**9 for line in lines]
    assert numbers == list(range(count))


def test_stopped_with_data_in_flight_it_gives_up_nothing_it_took(tmp_path: Path) -> None:
    writer = (
        "import sys, time\nfor n in range(100000000):\n    sys.stdout.write(f'm n={n}i {n}\\n')\n"
    )
    parts = (
        source(PYTHON, "-c", writer),
        EXAMPLE + processor(PYTHON, "-m", "processors.example", order=2),
    )
    with Telegraf(tmp_path, *parts) as telegraf:
        telegraf.until("flowing", lambda: came_out(telegraf, 20_000))
        began = time.monotonic()
        telegraf.stop(signal.SIGTERM)
    assert time.monotonic() - began < 20
    assert telegraf.process.returncode == 0
    numbers = [int(line.split(b"n=")[1].split(b"i")[0]) for line in telegraf.lines()]
    # Without a hole from the first to the last: all that went into the chain came out of it.
    assert numbers == list(range(len(numbers)))
    log = telegraf.messages()
    counted = [int(part.split()[-1]) for part in log.split(" lines in,")[:-1]]
    assert counted == [len(numbers), len(numbers)]


def test_a_killed_processor_is_restarted_and_its_cost_is_known(tmp_path: Path) -> None:
    state = tmp_path / "forecast.state"
    writer = (
        "import sys, time\n"
        "for n in range(100000):\n"
        "    sys.stdout.write(f'temperature,brew=b temperature=18.{n % 10} {n}000000000\\n')\n"
        "    sys.stdout.flush()\n"
        "    time.sleep(0.002)\n"
    )
    command = "-m", "processors.forecast", *SERIES, "--state", str(state), "--save", "0.2"
    with Telegraf(tmp_path, source(PYTHON, "-c", writer), processor(PYTHON, *command)) as telegraf:
        telegraf.until("flowing", lambda: came_out(telegraf, 500) and state.exists())
        children = psutil.Process(telegraf.process.pid).children()
        (victim,) = [child for child in children if "processors.forecast" in child.cmdline()]
        os.kill(victim.pid, signal.SIGKILL)
        telegraf.until("restarted", lambda: telegraf.messages().count("Starting process") >= 3)
        before = telegraf.out.read_bytes().count(b"\n")
        telegraf.until("flowing again", lambda: came_out(telegraf, before + 500))
    log = telegraf.messages()
    assert "signal: killed" in log
    assert "restored 1 series" in log
    numbers = [int(line.rsplit(b" ", 1)[1]) // 10**9 for line in telegraf.lines()]
    assert numbers == sorted(numbers)
    lost = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    # What it cost: points of the restart delay and the start, one stretch of them.
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 1 <= len(lost) < 500 * 5
    assert log.count("error writing to process stdin") <= len(lost)


def test_telegraf_in_test_mode_shows_the_first_points(tmp_path: Path) -> None:
    result = subprocess.run(
        [binary(), "--config", "telegraf/telegraf.d/brew/brew.conf", "--test"],
        cwd=ROOT,
        env=environment(BREW_STATE=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 0, result.stderr
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        [">", "temperature,brew=haze_v5", "temperature=18.8"],
        [">", "temperature,brew=bv_1", "temperature=20.4"],
    ]
    assert not errors(result.stderr)


def test_the_brew_configuration_finds_the_faults(tmp_path: Path) -> None:
    """The whole chain as configured, faster, into a file instead of InfluxDB."""
    config = (ROOT / "telegraf/telegraf.d/brew/brew.conf").read_text()
    config = config[: config.index("[[outputs.influxdb]]")]
    out = tmp_path / "out.lp"
    config += f'[[outputs.file]]\n  files = ["{out}"]\n  data_format = "influx"\n'
    (tmp_path / "brew.conf").write_text(config)
    points = 258_300

    def came() -> int:
        return out.read_bytes().count(b"\ntemperature,") + 1 if out.exists() else 0

    # Interrupted in the middle, as by a restart of the service: what comes must be the same.
    for enough in (points // 2, points):
        with subprocess.Popen(
            [binary(), "--config", str(tmp_path / "brew.conf")],
            cwd=ROOT,
            env=environment(BREW_STATE=str(tmp_path), BREW_SPEED="20000"),
            stderr=subprocess.DEVNULL,
        ) as process:
            end = time.monotonic() + DEADLINE
            while came() < enough:
                assert time.monotonic() < end, "not all points came out"
                time.sleep(0.2)
            process.terminate()
            assert process.wait(20) == 0
        assert came() == points or enough < points
    keys = [
        (line.split(b" ", 1)[0], line.rsplit(b" ", 1)[1])
        for line in out.read_bytes().splitlines()
        if line.startswith(b"temperature,")
    ]
    assert len(keys) == len(set(keys)) == points
    flagged = [line for line in out.read_bytes().splitlines() if b"anomaly=1i" in line]
    times = {brew: [] for brew in (b"haze_v5", b"bv_1")}  # type: dict[bytes, list[int]]
    for line in flagged:
        times[line.split(b"brew=")[1].split(b" ")[0]].append(int(line.rsplit(b" ", 1)[1]))
    first = min(
        int(line.rsplit(b" ", 1)[1])
        for line in out.read_bytes().splitlines()
        if line.startswith(b"temperature,")
    )
    hours = {
        brew: sorted({(t - first) // (3600 * 10**9) for t in ts}) for brew, ts in times.items()
    }
    assert hours[b"haze_v5"][0] == 10  # the door
    assert {19, 27, 28} <= set(hours[b"haze_v5"])  # the spike and the drift
    assert hours[b"bv_1"][0] == 14  # the heater
    assert 23 in hours[b"bv_1"]  # the gap
    assert {p.name for p in tmp_path.glob("*.state")} == {"forecast.state", "residual.state"}


def test_an_output_to_influxdb_2_takes_its_token_from_a_file(tmp_path: Path) -> None:
    """Only the start: it must read the secret, and say which one is missing."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    variables = {
        "INFLUX_HOST": "http://127.0.0.1:1",
        "INFLUX_ORG": "brewers",
        "SECRETS": str(folder),
        "BREW_STATE": str(tmp_path),
    }
    names = "brew/brew.conf", "influxdb2/influxdb2.conf"
    words = [word for name in names for word in ("--config", f"telegraf/telegraf.d/{name}")]

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [binary(), *words, "--test"],
            cwd=ROOT,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    without = start()
    if "undefined but requested secretstores" in without.stderr:
        pytest.skip("this telegraf was built without secretstores.docker")
    assert without.returncode != 0
    assert "influx_token" in without.stderr
    (folder / "influx_token").write_text("a token")
    assert start().returncode == 0
