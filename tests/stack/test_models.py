"""Models on live streams: data in over MQTT and JSON, packages, alerts at a real MQTT client."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
import requests
from rich.console import Console

from simulator.source import SECOND
from simulator.turbine import DAILY, DAY, STEP, TURBINES, Park
from stack.api import InfluxDB, Kapacitor, wait_for
from stack.backend import ENGINES_ONLY, Stack
from stack.compose import ComposeStack
from stack.errors import StackError
from stack.isolated import isolated
from stack.packages.check import start
from stack.packages.contents import read
from stack.packages.deploy import Deployment
from stack.packages.problem import Refused
from stack.settings import ROOT
from tests.stack import plant

pytestmark = pytest.mark.stack

START = 1451606400
# An asterisk is no wildcard, and nothing here is quoted by a shell.
PASSWORD = "s3cret*with $igns"  # noqa: S105


@dataclass
class Message:
    topic: str
    payload: str
    qos: int
    retain: bool


@dataclass
class Client:
    """A subscriber that keeps its session while it or the broker is away."""

    stack: Stack
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connect_anew(first=True)

    def connect_anew(self, first: bool = False) -> None:
        """Take up the session, at the port that the broker has now."""
        if not first:
            self.close()
        self.client = self.make("test-subscriber", clean=False)
        self.subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("alerts/#", qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _, __, m: self.messages.append(
            Message(m.topic, m.payload.decode(), m.qos, m.retain)
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(self.stack.addresses.host, self.stack.addresses.mqtt)
        self.client.loop_start()
        assert self.subscribed.wait(10)

    @staticmethod
    def make(name: str, clean: bool = True, password: str = PASSWORD) -> paho.Client:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, clean_session=clean)
        client.username_pw_set("stack", password)
        return client

    def payloads(self, topic: str) -> list[str]:
        return [m.payload for m in self.messages if m.topic == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def running(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    secret = tmp_path_factory.mktemp("secrets") / "mqtt_password"
    secret.write_text(f"{PASSWORD}\n")
    with isolated(backend, "models-test") as stack:
        stack.variables |= {"COMPOSE_PROFILES": "mqtt,json", "MQTT_PASSWORD_FILE": str(secret)}
        stack.up(ENGINES_ONLY)
        yield stack


@pytest.fixture
def influxdb(running: Stack) -> InfluxDB:
    return InfluxDB(running.addresses.urls()["influxdb"])


@pytest.fixture
def deployment(running: Stack) -> Deployment:
    return Deployment(running, Console(file=StringIO()))


@pytest.fixture
def subscriber(running: Stack) -> Iterator[Client]:
    client = Client(running)
    yield client
    client.close()


def publish(stack: Stack, topic: str, payload: object) -> None:
    client = Client.make("test-device")
    client.connect(stack.addresses.host, stack.addresses.mqtt)
    client.loop_start()
    text = payload if isinstance(payload, str) else json.dumps(payload)
    client.publish(topic, text, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def rows(influxdb: InfluxDB, device: str) -> list[dict[str, object]]:
    return influxdb.query(f"SELECT * FROM turbine WHERE device = '{device}'", "turbine")


def test_sensor_data_comes_in_over_mqtt(running: Stack, influxdb: InfluxDB) -> None:
    publish(running, "sensors/turbine/turbine/mqtt1", "this is no JSON")
    reading = {"time": START + 0.5, "site": "north", "power": 431, "ok": True, "note": "a, b"}
    publish(running, "sensors/turbine/turbine/mqtt1", reading)
    (row,) = wait_for("the point", lambda: rows(influxdb, "mqtt1"))
    assert row["time"] == START * SECOND + SECOND // 2
    assert (row["site"], row["power"], row["ok"], row["note"]) == ("north", 431, True, "a, b")
    assert "host" not in row
    before = time.time_ns()
    publish(running, "sensors/turbine/turbine/mqtt2", {"power": 432, "time": "soon"})
    publish(running, "sensors/turbine/turbine/mqtt2", {"power": 431})
    (row,) = wait_for("the point without a time", lambda: rows(influxdb, "mqtt2"))
    assert before < row["time"] < before + 60 * SECOND  # type: ignore[operator]
    assert "sensors/turbine/turbine/mqtt1" in running.log("telegraf") or "invalid" in running.log(
        "telegraf"
    )


def test_sensor_data_comes_in_as_json_over_http(running: Stack, influxdb: InfluxDB) -> None:
    url = f"http://{running.addresses.host}:{running.addresses.json}/json"
    one = {"database": "turbine", "measurement": "turbine", "device": "http1", "power": 431.5}
    two = {**one, "power": 432.5, "time": START + 10.25, "note": "x"}
    assert requests.post(url, data="{no json", timeout=10).status_code == 400
    assert requests.post(url, json=[{**one, "time": START}, two], timeout=10).status_code == 204
    found = wait_for("both points", lambda: len(rows(influxdb, "http1")) == 2 and rows(
        influxdb, "http1"))  # fmt: skip
    assert [(r["time"], r["power"], r["note"]) for r in found] == [
        (START * SECOND, 431.5, None), (START * SECOND + 10 * SECOND + SECOND // 4, 432.5, "x"),
    ]  # fmt: skip
    assert "measurement" not in found[0]
    before = time.time_ns()
    late = {"database": "turbine", "measurement": "turbine", "device": "http2"}
    # No number, and milliseconds: beyond what InfluxDB can store, as seconds.
    for wrong in ("soon", START * 1000, True):
        assert requests.post(url, json={**late, "power": 1, "time": wrong}, timeout=10).ok
        assert requests.post(url, json={**late, "time": wrong, "power": 1}, timeout=10).ok
    assert requests.post(url, json={**late, "power": 2}, timeout=10).status_code == 204
    (row,) = wait_for("the point without a time", lambda: rows(influxdb, "http2"))
    said = running.log("telegraf")
    assert 'passed over a point of turbine, device http2: its time, "soon", is to be' in said
    assert before < row["time"] < before + 60 * SECOND  # type: ignore[operator]


def test_nobody_gets_in_without_the_password(running: Stack) -> None:
    answers: list[object] = []
    for password in ("wrong", "", "*"):
        client = Client.make("test-intruder", password=password)
        client.on_connect = lambda _, __, ___, reason, ____: answers.append(reason.is_failure)
        client.connect(running.addresses.host, running.addresses.mqtt)
        client.loop_start()
        wait_for("an answer", lambda: len(answers) > 0)
        client.loop_stop()
        assert answers.pop() is True


def test_docker_inspect_shows_no_password(running: Stack) -> None:
    if not isinstance(running, ComposeStack):
        pytest.skip("on the native backend nothing is a container")
    containers = [f"{running.name}-{service}-1" for service in ("mqtt", "kapacitor", "telegraf")]
    done = subprocess.run(
        ["docker", "inspect", *containers], capture_output=True, text=True, check=True
    )
    assert "/run/mqtt_password" in done.stdout
    assert PASSWORD not in done.stdout
    for container in containers:
        top = subprocess.run(
            ["docker", "top", container, "-o", "pid,args"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert PASSWORD not in top.stdout


def write(influxdb: InfluxDB, park: Park, first: int, steps: int, every: int = 1) -> int:
    """Write some steps of a park, of which only some; return how many points that were."""
    points = 0
    for begin in range(first, first + steps, 1250):
        count = min(1250, first + steps - begin)
        seconds = START + (begin + np.arange(count, dtype=np.int64)) * STEP
        chunk = park.take(seconds * SECOND, "s")
        lines = chunk.lines.splitlines(keepends=True)
        kept = [
            line
            for at in range(0, len(lines), len(TURBINES) * every)
            for line in lines[at : at + len(TURBINES)]
        ]
        influxdb.write("turbine", b"".join(kept).decode(), "s")
        points += len(kept)
    return points


def alerts(stack: Stack, log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in stack.alert_log(log).splitlines()]


def install_turbine(deployment: Deployment) -> None:
    """Install the example: checked and deployed natively, in containers without the long checks."""
    if deployment.stack.backend == "native":
        installed = deployment.deploy(ROOT / "packages" / "turbine")
        assert installed.tasks == {"turbine": "executing"}
        return
    package = read(ROOT / "packages" / "turbine")
    deployment.host.put(package)
    assert deployment.host.call("install", "turbine") == {"restart": True}
    deployment.stack.stop("kapacitor")
    deployment.stack.start("kapacitor")
    script = deployment.stack.tickscript(package.folder / "tasks" / "turbine.tick")
    start(deployment.kapacitor, "turbine", script, 10)
    deployment.host.call("settle", "turbine")


def test_faults_are_found_soon_and_a_good_week_is_quiet(
    running: Stack, influxdb: InfluxDB, deployment: Deployment, subscriber: Client
) -> None:
    install_turbine(deployment)
    wait_for("the subscription", lambda: influxdb.subscriptions("turbine"))
    influxdb.query('DROP MEASUREMENT "turbine"', "turbine")
    influxdb.query('DROP MEASUREMENT "turbine"', "results")
    # A day with every fault, and a week without any, of which a point a minute is enough here.
    park = Park(11)
    written = write(influxdb, park, 0, DAY // STEP)
    written += write(influxdb, park, DAY // STEP, 7 * DAY // STEP, every=6)
    scored = partial(influxdb.count, "results", "turbine", "anomaly_status")
    wait_for("every point scored and written back", lambda: scored() == written, 120)
    begun: dict[str, list[float]] = {turbine: [] for turbine in TURBINES}
    for alert in alerts(running, "turbine_alerts.log"):
        second = datetime.fromisoformat(str(alert["time"])).timestamp() - START
        if alert["level"] == "CRITICAL":
            begun[str(alert["id"])].append(second)
    for fault in DAILY:
        if fault.kind == "dropout":
            continue
        within = [s for s in begun[fault.turbine] if fault.start <= s < fault.start + fault.length]
        assert within, fault
        assert within[0] - fault.start <= 45 * 60, fault
    # The heat of a fault leaves within an hour; from the second day on, one false alert at most.
    assert sum(s > DAY for seconds in begun.values() for s in seconds) <= 1
    missing = influxdb.query(
        "SELECT count(anomaly_missing) FROM turbine WHERE anomaly_missing > 0", "results"
    )
    assert missing[0]["count"] == 60
    messages = wait_for(
        "the alerts at the client",
        lambda: len(subscriber.payloads("alerts/turbine")) == len(
            alerts(running, "turbine_alerts.log")) and subscriber.messages,
    )  # fmt: skip
    assert {(m.topic, m.qos) for m in messages} == {("alerts/turbine", 1)}
    assert [m.payload for m in messages] == [
        a["message"] for a in alerts(running, "turbine_alerts.log")
    ]
    assert messages[0].payload.startswith("wt01 is CRITICAL: bearing_temp, score 1.")
    # Who comes later is told the last one at once: it was sent with the retain flag.
    late = Client.make("test-latecomer")
    told: list[bool] = []
    late.on_message = lambda _, __, m: told.append(m.retain)
    late.connect(running.addresses.host, running.addresses.mqtt)
    late.subscribe("alerts/turbine", qos=1)
    late.loop_start()
    wait_for("the retained alert", lambda: told == [True])
    late.loop_stop()
    late.disconnect()


def leak(influxdb: InfluxDB, second: int) -> None:
    """Write one point of a pump that leaks; every such point alerts."""
    influxdb.write("turbine", f"pump speed=10.0,flow=5.0 {START + second}", "s")


def logged(stack: Stack) -> int:
    return len(stack.alert_log("pump.log").splitlines())


def test_another_model_is_installed_with_its_own_cases(
    deployment: Deployment, tmp_path: Path, influxdb: InfluxDB, running: Stack
) -> None:
    package = plant.write(tmp_path / "pump")
    plant.case(package, flow=5.0)
    installed = deployment.deploy(package)
    assert (installed.version, installed.tasks) == ("1.0.0", {"pump": "executing"})
    leak(influxdb, 0)
    wait_for("the alert", lambda: logged(running) == 1)


def test_everything_wrong_is_said_and_the_stack_is_untouched(
    deployment: Deployment, tmp_path: Path, running: Stack
) -> None:
    before = Kapacitor(running.addresses.urls()["kapacitor"]).tasks("modified")

    def refused(folder: Path) -> str:
        with pytest.raises(Refused) as caught:
            deployment.deploy(folder)
        assert all(p.fix for p in caught.value.problems)
        return str(caught.value)

    broken = plant.write(tmp_path / "options")
    task = broken / "tasks" / "pump.tick"
    task.write_text(task.read_text().replace(".threshold(4.0)", ".limit(4.0)"))
    (broken / "tasks" / "other.tick").write_text(task.read_text().replace("@pump()", "@pomp()"))
    wrong = plant.TASK.replace("|alert()", "|alart()").lstrip()
    (broken / "tasks" / "third.tick").write_text(wrong)
    said = refused(broken)
    assert "tasks/pump.tick:6: @pump has no option 'limit'" in said
    assert "it has: field, maxGroups, quarantine, threshold" in said
    assert "tasks/other.tick:6: @pomp is no function" in said
    assert "tasks/third.tick: Kapacitor refuses it:" in said
    assert "alart" in said

    broken = plant.write(tmp_path / "imports")
    program = broken / "udf" / "pump.py"
    program.write_text(program.read_text().replace("import os\n", "import serial\n"))
    said = refused(broken)
    assert "udf/pump.py: @pump:" in said
    assert "No module named 'serial'" in said
    assert "add what it imports to requirements.txt" in said

    broken = plant.write(tmp_path / "model", refuse='raise ValueError("the model is cold")')
    said = refused(broken)
    assert "udf/pump.py: @pump: options: it refuses its options: the model is cold" in said

    broken = plant.write(tmp_path / "case")
    plant.case(broken, flow=21.0)
    said = refused(broken)
    assert "tests/leak: the case differs" in said

    broken = plant.write(tmp_path / "taken")
    manifest = broken / "package.toml"
    manifest.write_text(
        manifest.read_text()
        .replace('"pump"', '"pump2"')
        .replace("functions.pump", "functions.tTest")
    )
    said = refused(broken)
    assert "functions.tTest: kapacitor/kapacitor.conf declares it already" in said
    assert "tasks/pump.tick: the package pump has a task 'pump' already" in said
    after = Kapacitor(running.addresses.urls()["kapacitor"]).tasks("modified")
    assert after == before


def test_a_version_that_does_not_run_here_is_undone(
    deployment: Deployment, tmp_path: Path, influxdb: InfluxDB, running: Stack
) -> None:
    # It passes every check, and fails only where there is a broker.
    refuse = "if 'mqtt' in os.environ.get('COMPOSE_PROFILES', ''): raise ValueError('not here')"
    package = plant.write(tmp_path / "pump", "2.0.0", refuse=refuse)
    with pytest.raises(StackError, match="not here"):
        deployment.deploy(package)
    (found,) = [p for p in deployment.list() if p.name == "pump"]
    assert (found.version, found.tasks) == ("1.0.0", {"pump": "executing"})
    count = logged(running)
    leak(influxdb, 100)
    wait_for("an alert of the former version", lambda: logged(running) == count + 1)


def test_a_deployment_that_was_killed_is_undone_by_the_next(
    deployment: Deployment, tmp_path: Path
) -> None:
    package = read(plant.write(tmp_path / "pump", "3.0.0"))
    deployment.host.put(package)
    deployment.host.call("install", "pump")
    assert {p.name: p.version for p in deployment.list()}["pump"] == "3.0.0"
    with deployment.alone():
        assert {p.name: p.version for p in deployment.list()}["pump"] == "1.0.0"
    assert deployment.host.call("list")["unfinished"] == []


def test_a_new_version_takes_over_without_a_restart_of_kapacitor(
    deployment: Deployment, tmp_path: Path, influxdb: InfluxDB, running: Stack
) -> None:
    started = running.log("kapacitor").count("listening for signals")
    deployment.deploy(plant.write(tmp_path / "pump", "4.0.0", found=4.0))
    assert running.log("kapacitor").count("listening for signals") == started
    count = logged(running)
    leak(influxdb, 200)
    wait_for("an alert of the new version", lambda: logged(running) == count + 1)
    assert alerts(running, "pump.log")[-1]["message"] == f"pump 4 {START + 200}"


def during(act: Callable[[], None], influxdb: InfluxDB, seconds: range) -> None:
    """Write a leak for each second, a few a second, while something is done in between."""
    worker = threading.Thread(target=act)
    for number, second in enumerate(seconds):
        if number == len(seconds) // 3:
            worker.start()
        leak(influxdb, second)
        time.sleep(0.05)
    worker.join()


def test_a_broker_that_is_away_loses_no_alert(
    running: Stack, influxdb: InfluxDB, subscriber: Client
) -> None:
    count = logged(running)

    def restart() -> None:
        running.kill("mqtt")
        running.start("mqtt")

    during(restart, influxdb, range(1000, 1060))
    wait_for("every alert in the log", lambda: logged(running) == count + 60)
    if running.backend == "compose":
        # The port on this machine is another one now.
        subscriber.connect_anew()
    before = len(subscriber.payloads("alerts/pump"))
    leak(influxdb, 2000)
    wait_for("an alert at the client", lambda: len(subscriber.payloads("alerts/pump")) > before)
    assert logged(running) == count + 61
    # At least once is what QoS 1 promises; nobody promises it for what a broker that is killed
    # has not written down yet, which with Mosquitto is what is younger than some seconds.
    wanted = {f"pump 4 {START + second}" for second in (*range(1000, 1060), 2000)}
    if running.backend == "native":
        wait_for("every alert", lambda: wanted <= set(subscriber.payloads("alerts/pump")))


def test_kapacitor_starts_without_the_broker_and_finds_it_later(
    running: Stack, influxdb: InfluxDB, subscriber: Client
) -> None:
    running.stop("mqtt")
    running.kill("kapacitor")
    running.start("kapacitor")
    count = logged(running)
    leak(influxdb, 3000)
    wait_for("the alert in the log", lambda: logged(running) > count)
    running.start("mqtt")
    wait_for("word of the broker", lambda: "alerts go there\n" in running.log("kapacitor"))
    if running.backend == "compose":
        subscriber.connect_anew()
    before = len(subscriber.payloads("alerts/pump"))
    leak(influxdb, 3001)
    wait_for("an alert at the client", lambda: len(subscriber.payloads("alerts/pump")) > before)


def test_packages_are_removed(deployment: Deployment, running: Stack) -> None:
    with pytest.raises(StackError, match="no package 'pomp' is installed"):
        deployment.remove("pomp")
    for name in [p.name for p in deployment.list()]:
        deployment.remove(name)
    assert deployment.list() == []
    tasks = {t["id"] for t in Kapacitor(running.addresses.urls()["kapacitor"]).tasks()}
    assert not tasks & {"pump", "turbine"}
