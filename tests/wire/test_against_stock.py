"""The same scripts under the stock agent and under ours, in the real Kapacitor: the same points."""

import json
import random
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk.venvs import environment
from tests.wire import talk
from tests.wire.engine import Function, kapacitord
from tests.wire.test_agent import PACKAGED, mirror

pytestmark = [pytest.mark.wire, pytest.mark.stack]

START = 1_451_606_400
FROM = "stream|from().measurement('temperatures').groupBy('host')"
LOG = "|alert().details('').info(lambda: TRUE).log('{log}')"
NODES = {
    "mean": "|window().period(1m).every(1m)@{function}().field('hotend')",
    "mirror": "@{function}()",
    "moving_avg": "@{function}().field('hotend').size(20).as('avg')",
    "outliers": "|window().period(1m).every(1m)@{function}().field('hotend').scale(1.5)",
}


def lines() -> list[bytes]:
    """A quarter of an hour of two hosts, some points without the field that is read."""
    rng = random.Random(11)
    found = []
    for second in range(900):
        for host in ("a", "b"):
            name = "bed" if second % 97 == 5 else "hotend"
            fields = f'{name}={rng.gauss(220, 1):f},x={second}.5,n={second}i,ok=true,note="t"'
            time = (START + second) * 10**9
            found.append(f"temperatures,host={host} {fields} {time}".encode())
    return found


def results(log: Path) -> list[Any]:
    """What Kapacitor logged, group by group: groups run side by side, in no fixed order."""
    alerts = [json.loads(line) for line in log.read_text().splitlines()]
    return sorted(alerts, key=lambda alert: json.dumps(alert["data"]["series"][0].get("tags")))


def test_the_same_points_as_with_the_stock_agent(tmp_path: Path) -> None:
    cache = talk.module_cache()
    found = sorted(cache.glob("github.com/influxdata/kapacitor@*/udf/agent")) if cache else []
    if not found:
        pytest.skip(f"no Kapacitor module in {cache}: its agent was NOT compared with ours")
    agent = found[-1]
    # The protobuf that the stock agent's own setup pins.
    setup = (agent / "py" / "setup.py").read_text()
    pin = next(word for word in setup.split('"') if word.startswith("protobuf=="))
    pythons = {
        "stock": (environment("kapacitors-own-agent", pin), str(agent / "py")),
        "ours": (sys.executable, str(talk.UDF)),
    }
    scripts = {"mean": tmp_path / "mean.py", "mirror": tmp_path / "mirror.py"}
    scripts["mean"].write_text(textwrap.dedent(PACKAGED))
    scripts["mirror"].write_text(textwrap.dedent(mirror()))
    for example in ("moving_avg", "outliers"):
        scripts[example] = agent / "examples" / example / f"{example}.py"
    functions = {
        f"{name}_{who}": Function(python, ["-u", str(script)], env={"PYTHONPATH": path})
        for name, script in scripts.items()
        for who, (python, path) in pythons.items()
    }
    with kapacitord(tmp_path / "kapacitor", functions) as engine:
        for function in functions:
            node = NODES[function.rpartition("_")[0]].format(function=function)
            engine.define(function, FROM + node + LOG.format(log=tmp_path / f"{function}.log"))
        engine.record("quarter", "mirror_ours", lines())
        for function in functions:
            engine.replay("quarter", function, f"replay_{function}")
    for name in scripts:
        stock, ours = (results(tmp_path / f"{name}_{who}.log") for who in ("stock", "ours"))
        assert len(stock) >= 20, name
        for alert in (*stock, *ours):
            # Named after the task and the node, which differ.
            alert["id"] = alert["message"] = ""
        assert ours == stock, name
