"""What the shared options mean, and what is said of wrong ones."""

from datetime import datetime, timedelta, timezone

import pytest

from simulator.errors import SimulatorError
from simulator.options import (
    Service,
    parse_duration,
    parse_injections,
    parse_start,
    target,
    times,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("86402", 86_402), ("24h2s", 86_402), ("90m", 5400), ("1.5h", 5400), ("250ms", 0.25),
     ("1d", 86_400), ("0.5", 0.5)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("--duration", text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "h", "1h 2m", "nan", "inf", "1e3", "5s5"])
def test_wrong_durations_are_named(text: str) -> None:
    with pytest.raises(SimulatorError, match="--duration"):
        parse_duration("--duration", text)


def test_starts() -> None:
    shifted = datetime(2016, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))).isoformat()
    assert parse_start(shifted) == parse_start("2016-01-01") == 1451606400 * 10**9
    assert parse_start("2016-01-01T00:00:00.000001Z") == 1451606400 * 10**9 + 1000
    assert parse_start("1969-12-31T23:59:59Z") == -(10**9)
    for wrong in ("yesterday", "9999-01-01", "0001-01-01"):
        with pytest.raises(SimulatorError, match=wrong):
            parse_start(wrong)


def test_live_data_is_from_now_on() -> None:
    begin, length = times(True, "2016-01-01T00:00:00Z", None, "24h2s")
    assert begin > 1_700_000_000 * 10**9
    assert length is None
    assert times(False, "2016-01-01", None, "24h2s") == (1451606400 * 10**9, 86_402)
    with pytest.raises(SimulatorError, match="--duration"):
        times(False, "2261-01-01", "1000d", "24h")
    with pytest.raises(SimulatorError, match="--start"):
        times(True, "2020-01-01", None, "24h")


@pytest.mark.parametrize("text", ["hotend", "hotend:", ":5", "hotend:5@", "hotend:0", "a:b"])
def test_wrong_injections_are_named(text: str) -> None:
    with pytest.raises(SimulatorError, match=text or "reads"):
        parse_injections([text])


@pytest.mark.parametrize(
    ("to", "url", "rp", "precision", "address"),
    [
        (Service.telegraf, None, None, "s", "http://127.0.0.1:8186/write?db=d&precision=s"),
        (Service.influxdb, None, "week", "ms",
         "http://127.0.0.1:8086/write?db=d&rp=week&precision=ms"),
        (Service.kapacitor, None, None, "ns",
         "http://127.0.0.1:9092/kapacitor/v1/write?db=d&rp=autogen&precision=n"),
        (Service.telegraf, "https://h:1/in/?db=x&u=me", None, "us",
         "https://h:1/in/?db=x&u=me&precision=u"),
        (Service.telegraf, "http://h", None, "s", "http://h/write?db=d&precision=s"),
        (Service.telegraf, "http://h/write?precision=s", None, "s",
         "http://h/write?db=d&precision=s"),
    ],
)  # fmt: skip
def test_addresses(
    to: Service,
    url: str | None,
    rp: str | None,
    precision: str,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TELEGRAF_URL", "INFLUXDB_URL", "KAPACITOR_URL"):
        monkeypatch.delenv(name, raising=False)
    assert target(to, url, "d", rp, precision) == address


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUXDB_URL", "http://influxdb:8086/")
    assert target(Service.influxdb, None, "d", None, "s").startswith("http://influxdb:8086/write?")
    monkeypatch.setenv("INFLUXDB_URL", "influxdb:8086")
    with pytest.raises(SimulatorError, match="INFLUXDB_URL"):
        target(Service.influxdb, None, "d", None, "s")


@pytest.mark.parametrize(
    "url", ["localhost:8086", "http://", "ftp://h/", "http://h:99999", "http://h?precision=ms"]
)
def test_wrong_addresses_are_named(url: str) -> None:
    with pytest.raises(SimulatorError, match="--url"):
        target(Service.telegraf, url, "d", None, "s")
