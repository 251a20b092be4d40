"""What the turbine model costs on a stream: ``python -m tests.bench.models``.

Points a second of the plain and the typed form over pipes, all at once and one after the other's
answer, and, with ``--mqtt``, the time from a write to InfluxDB to the message at an MQTT client,
on a native stack.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import paho.mqtt.client as paho
import typer

from kapacitor.udf import udf_pb2
from kapacitor.udf.harness.program import Program, frame
from lineprotocol import parse_line
from simulator.source import SECOND
from simulator.turbine import Park
from stack.api import InfluxDB, Kapacitor, wait_for
from stack.isolated import isolated
from stack.packages.check import start
from stack.packages.contents import read
from stack.packages.host import Host
from stack.settings import ROOT
from tests.wire import talk

PACKAGE = ROOT / "packages" / "turbine"
START = 1_451_606_400 * SECOND
FORMS = {"plain": "turbine.py", "typed": "turbine_typed.py"}


def requests(count: int) -> list[udf_pb2.Request]:
    """Return points of four turbines as Kapacitor sends them."""
    times = START + np.arange(count // 4, dtype=np.int64) * 10 * SECOND
    made = []
    for line in Park(1, ()).take(times, "ns").lines.splitlines():
        parsed = parse_line(line)
        request = talk.point(parsed.time, "", **parsed.fields)
        request.point.name = parsed.name
        request.point.tags.update(parsed.tags)
        made.append(request)
    return made


def throughput(form: str, sent: list[udf_pb2.Request]) -> float:
    """Return points a second when Kapacitor sends as fast as it can."""
    block = b"".join(map(frame, sent))
    with talk.start(PACKAGE / "udf" / FORMS[form]) as program:
        ready(program)
        began = time.perf_counter()
        writer = threading.Thread(target=program.write, args=(block,))
        writer.start()
        for _ in sent:
            program.expect("point")
        seconds = time.perf_counter() - began
        writer.join()
    return len(sent) / seconds


def ready(program: Program) -> None:
    """Bring a program to where points come, with the model warm."""
    answer = program.init([])
    if not answer.success:
        raise SystemExit(answer.error)
    for request in requests(40):
        program.send(request)
        program.expect("point")


def one_by_one(form: str, sent: list[udf_pb2.Request]) -> list[float]:
    """Return the seconds from a point to its score on an idle stream."""
    took = []
    with talk.start(PACKAGE / "udf" / FORMS[form]) as program:
        ready(program)
        for request in sent:
            began = time.perf_counter()
            program.send(request)
            program.expect("point")
            took.append(time.perf_counter() - began)
    return took


def to_mqtt(count: int) -> list[float]:
    """Return the seconds from a write to InfluxDB to the alert at an MQTT client."""
    with tempfile.TemporaryDirectory() as folder, isolated("native", "bench-mqtt") as stack:
        secret = Path(folder) / "mqtt_password"
        secret.write_text("bench")
        stack.variables |= {"COMPOSE_PROFILES": "mqtt", "MQTT_PASSWORD_FILE": str(secret)}
        host = Host(stack)
        package = read(PACKAGE)
        host.put(package)
        host.call("install", "turbine")
        stack.up(("influxdb", "kapacitor"))
        influxdb = InfluxDB(stack.addresses.urls()["influxdb"])
        kapacitor = Kapacitor(stack.addresses.urls()["kapacitor"])
        start(kapacitor, "turbine", stack.tickscript(PACKAGE / "tasks" / "turbine.tick"), 5)
        wait_for("the subscription", lambda: influxdb.subscriptions("turbine"))
        arrived: list[float] = []
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.username_pw_set("stack", "bench")
        client.on_message = lambda *_: arrived.append(time.perf_counter())
        client.connect(stack.addresses.host, stack.addresses.mqtt)
        client.subscribe("alerts/#", qos=1)
        client.loop_start()
        good = "turbine,turbine=wt01 wind_speed=8.0,ambient_temp=9.0,rotor_speed=14.2,power=560.0"
        good += ",gearbox_temp=50.0,bearing_temp=52.5"
        took = []
        for number in range(count):
            # Now bad and now good: every point changes the state, so every one is told.
            line = f"{good},vibration={(9.0, 1.9)[number % 2]} {1_451_606_400 + number}"
            before = len(arrived)
            began = time.perf_counter()
            influxdb.write("turbine", line, "s")
            wait_for("the alert", lambda at=before: len(arrived) > at, 30)
            took.append(arrived[before] - began)
        client.loop_stop()
    return took


def milliseconds(took: list[float]) -> dict[str, float]:
    """Return the middle and the tail of some times."""
    return {f"p{q}_ms": round(float(np.percentile(took, q)) * 1000, 2) for q in (50, 99)}


def main(
    points: Annotated[int, typer.Option(help="Points all at once.")] = 40_000,
    singles: Annotated[int, typer.Option(help="Points one by one.")] = 1000,
    mqtt: Annotated[int, typer.Option(help="Alerts to time on their way to MQTT.")] = 0,
) -> None:
    """Measure the turbine model and print JSON."""
    sent = requests(points)
    found: dict[str, object] = {}
    for form in FORMS:
        rate = throughput(form, sent[: points if form == "typed" else points // 8])
        found[form] = {
            "points_per_second": round(rate),
            "one_by_one": milliseconds(one_by_one(form, sent[:singles])),
        }
    if mqtt:
        found["write_to_mqtt"] = {"alerts": mqtt, **milliseconds(to_mqtt(mqtt))}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
