"""Durations as Kapacitor writes them: ``5m``, ``1h30m``, ``500ms``."""

import re

_UNITS = {
    "ns": 1,
    "u": 1_000,
    "µ": 1_000,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = re.compile(r"(\d+)(ns|us|µs|ms|[uµsmhdw])")
_WHOLE = re.compile(r"-?(?:\d+(?:ns|us|µs|ms|[uµsmhdw]))+")


def parse_duration(text: str) -> int:
    """Read a duration.

    Parameters
    ----------
    text : str
        One or more whole numbers, each with a unit: ns, u (or µ, us, µs), ms, s, m, h, d, w.

    Returns
    -------
    int
        Nanoseconds.

    Raises
    ------
    ValueError
        If the text is not a duration or does not fit 64 bits.

    Examples
    --------
    >>> parse_duration("1h30m") // 10**9
    5400
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration: write it like 10s, 5m or 1h30m")
    total = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total >= 1 << 63:
        raise ValueError(f"{text!r} is longer than the 292 years that a duration can hold")
    return -total if text.startswith("-") else total


def format_duration(nanoseconds: int) -> str:
    """Write a duration in its largest whole unit.

    Examples
    --------
    >>> format_duration(300 * 10**9), format_duration(0), format_duration(1500)
    ('5m', '0s', '1500ns')
    """
    if nanoseconds == 0:
        return "0s"
    for unit in ("w", "d", "h", "m", "s", "ms", "us"):
        if nanoseconds % _UNITS[unit] == 0:
            return f"{nanoseconds // _UNITS[unit]}{unit}"
    return f"{nanoseconds}ns"
