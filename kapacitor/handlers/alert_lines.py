#!/usr/bin/env python3
"""Append an alert, given as JSON on standard input, to a file as one line for people.

An example for the `exec` handler, which gives a program and its arguments:
`.exec('/stack/kapacitor/handlers/alert_lines.py', '/var/log/kapacitor/alerts.txt')`.
"""

import json
import sys
from pathlib import Path


def line(alert: dict[str, object]) -> str:
    """Return time, level, id and message of an alert, separated by tabs."""
    # A tab or newline in an id would make two lines of one.
    texts = [str(alert[key]) for key in ("time", "level", "id", "message")]
    return "\t".join(" ".join(text.split()) for text in texts) + "\n"


def main() -> int:
    """Do it; return the exit status, which Kapacitor logs with what was printed."""
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} FILE < ALERT", file=sys.stderr)
        return 2
    try:
        text = line(json.load(sys.stdin))
        with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
            file.write(text)
    except (json.JSONDecodeError, KeyError, OSError) as error:
        print(f"error: {sys.argv[1]}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
