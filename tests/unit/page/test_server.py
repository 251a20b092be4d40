"""The page as a process, with no engine to be found: what it says, and whom it lets in."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(**variables: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        nowhere = "http://127.0.0.1:9"
        names = ("INFLUXDB_URL", "KAPACITOR_URL", "TELEGRAF_URL", "SIMULATOR_URL")
        environment = dict.fromkeys(names, nowhere) | {
            "PAGE_LISTEN": f"127.0.0.1:{port}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
            "NICEGUI_STORAGE_PATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path[1:]),
        } | variables  # fmt: skip
        running.append(subprocess.Popen([sys.executable, "-m", "page"], cwd=ROOT, env=environment))
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{url}/health", timeout=5).status_code == 200:
                    return url
            except requests.ConnectionError:
                assert running[-1].poll() is None, "the page ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)

    yield begin
    for process in running:
        process.terminate()
        assert process.wait(20) == 0 or process.returncode == -15


def test_without_any_engine_it_says_so(start: Start) -> None:
    url = start()
    hops = requests.get(f"{url}/health", timeout=5).json()["hops"]
    assert {hop["health"] for hop in hops.values()} == {"wrong"}
    assert "nothing listens there" in hops["influxdb"]["why"]
    # A first visit is asked for its time zone; then every page comes, with what is known.
    assert "timeZone" in requests.get(f"{url}/view/printer", timeout=5).text
    cookies = {"page_zone": "Europe/Berlin", "page_time": "local", "page_theme": "dark"}
    for place in ("/", "/view/turbine", "/alerts", "/tasks", "/replay"):
        answer = requests.get(url + place, cookies=cookies, timeout=10)
        assert answer.status_code == 200, place
        assert "Times: Europe/Berlin" in answer.text
    assert requests.get(f"{url}/view/none", cookies=cookies, timeout=10).status_code == 404
    assert requests.get(f"{url}/export/alerts.csv", timeout=5).text.startswith("began,ended,level")
    assert requests.get(f"{url}/export/alerts.exe", timeout=5).status_code == 404
    unknown = requests.post(f"{url}/replays/page-1/guess", json={"id": "x"}, timeout=5)
    assert unknown.status_code == 404


def test_with_a_password_it_asks_for_it(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pa:ss wörd\n", "utf-8")
    url = start(PAGE_PASSWORD_FILE=str(file), PAGE_USERNAME="op")
    for place in ("/view/printer", "/export/alerts.csv", "/_nicegui_ws/socket.io/?EIO=4"):
        refused = requests.get(url + place, timeout=5)
        assert refused.status_code == 401, place
        assert "Basic" in refused.headers["WWW-Authenticate"]
    wrong = requests.get(f"{url}/alerts", auth=("op", "pa"), timeout=5)
    assert wrong.status_code == 401
    right = requests.get(f"{url}/alerts", auth=(b"op", "pa:ss wörd".encode()), timeout=5)
    assert right.status_code == 200


def test_read_only_it_changes_nothing(start: Start) -> None:
    url = start(PAGE_READ_ONLY="true")
    cookies = {"page_zone": "UTC"}
    text = requests.get(f"{url}/view/printer", cookies=cookies, timeout=10).text
    assert "started read-only" in text


def test_a_wrong_setting_ends_it_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "page"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PAGE_LISTEN": "here", "PATH": "/usr/bin:/bin",
             "PYTHONPATH": ":".join(sys.path[1:])},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PAGE_LISTEN=here" in done.stderr
