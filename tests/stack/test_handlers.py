"""Alerts reach the people they are for: every handler against a real receiver, topics, reload."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stack.api import Kapacitor, wait_for
from stack.backend import Stack
from stack.errors import StackError
from stack.isolated import isolated
from stack.reload import reload
from stack.settings import ROOT

pytestmark = pytest.mark.stack

SECRETS = {
    "KAPACITOR_SLACK_0_TOKEN": "xoxb-secret-of-slack",
    "KAPACITOR_PAGERDUTY_SERVICE_KEY": "secret-of-pagerduty",
    "KAPACITOR_VICTOROPS_API_KEY": "secret-of-victorops",
}
Requests = Callable[[], list[dict[str, Any]]]
Alerting = tuple[Stack, Kapacitor, Requests]


@contextmanager
def receiving(stack: Stack, folder: Path, port: int) -> Iterator[Requests]:
    """Run the receiver where this Kapacitor reaches it; give a function that lists the requests."""
    receiver = ROOT / "tests" / "stack" / "receiver.py"
    if stack.backend == "native":
        file = folder / "requests"
        with file.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, str(receiver), "127.0.0.1", str(port)], stdout=out
            )
            try:
                yield lambda: [json.loads(line) for line in file.read_text().splitlines()[1:]]
            finally:
                process.terminate()
                process.wait()
        return
    name = f"{stack.name}-receiver"
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
    run = ["docker", "run", "--detach", "--rm", "--name", name, "--network-alias", "receiver"]
    image = "tick-anomaly-stack/simulator:1"
    subprocess.run(
        [*run, "--network", f"{stack.name}_default", "--volume", f"{receiver}:/receiver.py:ro",
         "--entrypoint", "python3", image, "/receiver.py", "0.0.0.0", str(port)],  # noqa: S104
        check=True, capture_output=True,
    )  # fmt: skip

    def requests() -> list[dict[str, Any]]:
        done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()[1:]]

    try:
        yield requests
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def alerting(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """An InfluxDB and a Kapacitor whose handlers send to a receiver of the test."""
    folder = tmp_path_factory.mktemp("alerting")
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o755)
    secrets.chmod(0o755)
    for name, value in SECRETS.items():
        (secrets / name).write_text(value + "\n")
        (secrets / name).chmod(0o644)
    load = Path(shutil.copytree(ROOT / "kapacitor" / "load", folder / "load"))
    for path in (folder, load, *load.rglob("*")):
        path.chmod(0o755)
    with isolated(backend, "handlers") as stack:
        port = stack.addresses.simulator or 8080
        url = f"http://{'127.0.0.1' if backend == 'native' else 'receiver'}:{port}"
        stack.variables |= {
            "SECRETS": str(secrets),
            "LOAD_DIR": str(load),
            "KAPACITOR_SLACK_0_ENABLED": "true",
            "KAPACITOR_SLACK_0_URL": f"{url}/slack",
            "KAPACITOR_PAGERDUTY_ENABLED": "true",
            "KAPACITOR_PAGERDUTY_URL": f"{url}/pagerduty",
            "KAPACITOR_VICTOROPS_ENABLED": "true",
            "KAPACITOR_VICTOROPS_URL": f"{url}/victorops",
            "KAPACITOR_HTTPPOST_0_URL": f"{url}/post",
        }
        stack.up(("influxdb", "kapacitor"))
        with receiving(stack, folder, port) as requests:
            yield stack, Kapacitor(stack.addresses.urls()["kapacitor"]), requests


@pytest.fixture(scope="module")
def fleet_alerts(alerting: Alerting) -> dict[str, list[dict[str, Any]]]:
    """What arrives when the fleet of the example has an incident: what is critical, by path."""
    stack, kapacitor, requests = alerting
    script = stack.tickscript(ROOT / "kapacitor" / "examples" / "fleet_cpu.tick")
    kapacitor.define("fleet_cpu", script, enabled=True)
    simulate = [sys.executable, "-m", "simulator", "fleet", "--hosts", "1", "--schedule", "brief"]
    subprocess.run(
        [*simulate, "--duration", "30m", "--to", "kapacitor"], cwd=ROOT, check=True,
        env={**os.environ, "KAPACITOR_URL": stack.addresses.urls()["kapacitor"]},
    )  # fmt: skip

    def arrived() -> dict[str, list[dict[str, Any]]] | None:
        found: dict[str, list[dict[str, Any]]] = {}
        for request in requests():
            if "cpu/search/eu is CRITICAL" in json.dumps(request["body"]):
                found.setdefault(request["path"].split("/")[1], []).append(request)
        return found if len(found) == 4 else None

    found: dict[str, list[dict[str, Any]]] = wait_for("alerts at all four handlers", arrived, 30)
    return found


def test_slack(fleet_alerts: dict[str, list[dict[str, Any]]]) -> None:
    (first, *_) = fleet_alerts["slack"]
    assert first["headers"]["authorization"] == "Bearer xoxb-secret-of-slack"
    assert first["body"]["channel"] == "#fleet"
    (attachment,) = first["body"]["attachments"]
    assert attachment["text"].startswith("cpu/search/eu is CRITICAL, 95th percentile 7")
    assert attachment["color"] == "danger"


def test_pagerduty(fleet_alerts: dict[str, list[dict[str, Any]]]) -> None:
    (first, *_) = fleet_alerts["pagerduty"]
    body = first["body"]
    assert body["service_key"] == "secret-of-pagerduty"
    assert body["event_type"] == "trigger"
    assert body["description"].startswith("cpu/search/eu is CRITICAL")


def test_victorops(fleet_alerts: dict[str, list[dict[str, Any]]]) -> None:
    (first, *_) = fleet_alerts["victorops"]
    assert first["path"] == "/victorops/secret-of-victorops/fleet"
    assert first["body"]["message_type"] == "CRITICAL"
    assert first["body"]["entity_id"] == "cpu/search/eu"


def test_post(fleet_alerts: dict[str, list[dict[str, Any]]]) -> None:
    (first, *_) = fleet_alerts["post"]
    body = first["body"]
    assert (body["id"], body["level"]) == ("cpu/search/eu", "CRITICAL")
    (series,) = body["data"]["series"]
    assert {"datacenter": "eu", "service": "search"}.items() <= series["tags"].items()
    assert {"percentile", "sigma"} < set(series["columns"])


def test_exec_and_log(alerting: Alerting, fleet_alerts: dict[str, list[dict[str, Any]]]) -> None:
    stack, _, _ = alerting
    logged = [json.loads(line) for line in stack.alert_log("fleet_cpu.log").splitlines()]
    wanted = [[a["time"], a["level"], a["id"], a["message"]] for a in logged]

    def told() -> bool:
        lines = stack.alert_log("fleet_cpu.txt").splitlines()
        return [line.split("\t") for line in lines] == wanted

    wait_for("the exec handler to have told the same as the log", told, 20)
    assert any(a["level"] == "CRITICAL" and a["id"] == "cpu/search/eu" for a in logged)


def test_secrets_show_nowhere_outside(alerting: Alerting) -> None:
    stack, _, _ = alerting
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "kapacitord" in shown
    if stack.backend == "compose":
        project = f"label=com.docker.compose.project={stack.name}"
        listed = subprocess.run(
            ["docker", "ps", "--quiet", "--filter", project],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        described = subprocess.run(
            ["docker", "inspect", *listed.stdout.split()],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "KAPACITOR_SLACK_0_URL" in described
        shown += described
    assert not any(secret in shown for secret in SECRETS.values())


def levels(log: str) -> list[str]:
    return [json.loads(line)["level"] for line in log.splitlines()]


def test_the_load_folder_works_and_its_topic_handlers_choose(alerting: Alerting) -> None:
    stack, kapacitor, _ = alerting
    loaded = {task["id"]: task for task in kapacitor.tasks()}
    for name in ("memory_high", "disk_full"):
        assert loaded[name]["status"] == "enabled", loaded[name]
    assert {h["id"] for h in kapacitor.handlers("machine")} == {"critical", "changes"}
    for second, used in enumerate((50, 90, 91, 97, 98, 60)):
        line = f"mem,host=a used_percent={used} {1451606400 + second}"
        kapacitor.write("telegraf", "autogen", line.encode(), "s")
    changes = wait_for(
        "three changes in the log",
        lambda: (found := levels(stack.alert_log("machine_changes.log")))[-1:] == ["OK"] and found,
        20,
    )
    assert changes == ["WARNING", "CRITICAL", "OK"]
    assert levels(stack.alert_log("machine_critical.log")) == ["CRITICAL"]


def test_reload_takes_changes_and_names_what_is_refused(alerting: Alerting) -> None:
    stack, kapacitor, _ = alerting
    tasks = stack.load_folder / "tasks"
    kapacitor.define("by_hand", 'dbrp "telegraf"."autogen"\n\nstream\n    |from()\n')
    (tasks / "swap.yaml").write_text(
        (tasks / "memory_high.yaml").read_text().replace("mem", "swap")
    )
    (stack.load_folder / "handlers" / "machine_warning.yaml").write_text(
        "id: warning\ntopic: machine\nkind: log\nmatch: level() == WARNING\n"
        "options: {path: /var/log/kapacitor/machine_warning.log}\n"
    )
    loaded = {task["id"]: task["status"] for task in reload(stack)}
    assert loaded["swap"] == "enabled"
    assert {h["id"] for h in kapacitor.handlers("machine")} == {"critical", "changes", "warning"}

    (tasks / "swap.yaml").unlink()
    (stack.load_folder / "handlers" / "machine_warning.yaml").unlink()
    reload(stack)
    wait_for("the task to be gone", lambda: "swap" not in {t["id"] for t in kapacitor.tasks()}, 10)
    wait_for(
        "the handler to be gone",
        lambda: {h["id"] for h in kapacitor.handlers("machine")} == {"critical", "changes"},
        10,
    )
    assert "by_hand" in {task["id"] for task in kapacitor.tasks()}

    (tasks / "wrong.tick").write_text('dbrp "telegraf"."autogen"\n\nstream|fron()\n')
    with pytest.raises(StackError, match=r"wrong.tick.*line 3 char 8.*fron"):
        reload(stack)
    (tasks / "wrong.tick").unlink()
    reload(stack)
