"""What the values of the commands' options mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import typer

from simulator.errors import SimulatorError
from simulator.source import SECOND

T = TypeVar("T")

FIRST_DAY = "2016-01-01T00:00:00Z"
CONTROL = "127.0.0.1:8187"
LATEST = 9_200_000_000 * SECOND
"""Times that fit 64 bits of nanoseconds, which is what the engines keep them in."""


class Service(StrEnum):
    """Where data goes when no address is given."""

    telegraf = "telegraf"
    influxdb = "influxdb"
    kapacitor = "kapacitor"


class Unit(StrEnum):
    """Units of timestamps."""

    ns = "ns"
    us = "us"
    ms = "ms"
    s = "s"


ADDRESSES = {
    Service.telegraf: ("TELEGRAF_URL", "http://127.0.0.1:8186", "/write"),
    Service.influxdb: ("INFLUXDB_URL", "http://127.0.0.1:8086", "/write"),
    Service.kapacitor: ("KAPACITOR_URL", "http://127.0.0.1:9092", "/kapacitor/v1/write"),
}
"""For each service the variable that may hold its address, the default and the path to write to."""

Json = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]


def choice(option: str, name: str, choices: Mapping[str, T]) -> T:
    """Return the choice of this name, or say which there are."""
    if name not in choices:
        raise SimulatorError(f"{option} {name!r} is not one of: {', '.join(choices)}")
    return choices[name]


def parse_start(text: str) -> int:
    """Return a time in ns since 1970 UTC; a time without an offset is UTC.

    Examples
    --------
    >>> parse_start("2016-01-01T00:00:00Z") == parse_start("2016-01-01") == 1451606400 * SECOND
    True
    """
    if text == "now":
        # Whole seconds, so that no precision changes the spacing of the points.
        return int(time.time()) * SECOND
    if text.startswith("now-"):
        back = parse_duration("--start", text.removeprefix("now-"))
        return parse_start("now") - round(back * SECOND)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SimulatorError(
            f"--start {text!r} is neither 'now', 'now-1h' nor a time such as {FIRST_DAY}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    found = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000
    if not -LATEST < found < LATEST:
        raise SimulatorError(f"--start {text!r} is not between the years 1678 and 2262")
    return found


def times(live: bool, start: str, duration: str | None, whole: str) -> tuple[int, float | None]:
    """Return the first point's time in ns and the seconds of data, None for endless.

    Parameters
    ----------
    live : bool
        Live data begins now and, unless `duration` is given, does not end.
    start, duration : str or None
        As the user gave them.
    whole : str
        Length of the generator's whole series.
    """
    if live and start not in ("now", FIRST_DAY):
        raise SimulatorError("--live data is stamped with the present: leave out --start")
    begin = parse_start("now" if live else start)
    if live and duration is None:
        return begin, None
    length = parse_duration("--duration", duration or whole)
    if begin + length * SECOND > LATEST:
        raise SimulatorError(f"--duration {duration!r}: the data would end after the year 2261")
    return begin, length


def parse_duration(option: str, text: str) -> float:
    """Return seconds: a plain number, or numbers with the units d, h, m, s and ms.

    Examples
    --------
    >>> parse_duration("--duration", "24h2s"), parse_duration("--duration", "1.5")
    (86402.0, 1.5)
    """
    units = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text)
    seconds = 0.0
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * units[unit] for number, unit in parts)
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    if not 0 < seconds <= 1e9:
        raise SimulatorError(f"{option} {text!r} is not a length such as 24h2s, 90m or 3600")
    return seconds


def parse_injections(texts: list[str]) -> list[tuple[str, float, float]]:
    """Return field, seconds and the second they begin at, for each ``FIELD:SECONDS[@AT]``.

    Examples
    --------
    >>> parse_injections(["hotend:30", "bed:5m@1h"])
    [('hotend', 30.0, 0.0), ('bed', 300.0, 3600.0)]
    """
    parsed = []
    for text in texts:
        field, colon, length = text.partition(":")
        length, at, begin = length.partition("@")
        if not (field and colon and length) or (at and not begin):
            raise SimulatorError(
                f"an injection reads FIELD:SECONDS or FIELD:SECONDS@AT, not {text!r}"
            )
        seconds = parse_duration(f"the length in {text!r},", length)
        offset = parse_duration(f"the beginning in {text!r},", begin) if begin else 0.0
        parsed.append((field, seconds, offset))
    return parsed


def target(to: Service, url: str | None, db: str, rp: str | None, precision: str) -> str:
    """Return the address to write to.

    Parameters
    ----------
    to : Service
        Whose address to use if `url` is None: that of its variable in the environment, or the
        default on this machine.
    url : str or None
        Another address; a query in it wins over `db` and `rp`, a path over ``/write``.
    db, rp : str
        Database and retention policy for the query.
    precision : str
        Unit of the timestamps that will be sent.

    Raises
    ------
    SimulatorError
        If it is no http address, or names another unit.

    Examples
    --------
    >>> target(Service.influxdb, "http://example.org:8086", "printer", None, "s")
    'http://example.org:8086/write?db=printer&precision=s'
    """
    variable, default, path = ADDRESSES[to]
    origin = "--url"
    if url is None:
        origin, url = variable, os.environ.get(variable) or default
        if rp is None and to is Service.kapacitor:
            rp = "autogen"
    else:
        path = "/write"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SimulatorError(f"{origin}: {url!r} is not an address such as {default}")
    # The one letter for ns and us is what every 1.x version and Telegraf understand.
    unit = {"ns": "n", "us": "u"}.get(precision, precision)
    given = dict(parse_qsl(parts.query))
    if given.get("precision", unit) not in (unit, precision):
        raise SimulatorError(
            f"{origin}: precision={given['precision']} in the address, but the points are stamped "
            f"in {precision}: leave it out, or choose --precision"
        )
    query = {"db": db} | ({"rp": rp} if rp else {}) | given | {"precision": unit}
    path = parts.path if parts.path.strip("/") else path
    return urlunsplit((parts.scheme, parts.netloc, path, urlencode(query), ""))
