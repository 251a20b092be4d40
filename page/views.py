"""The views of the page: which fields and scores are shown together, one file each.

A view is a file in the folder ``views``: a title, a database and measurement, and panels. Adding a
file adds a view.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "views"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ViewError(ValueError):
    """A view file that cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Score:
    """What a detector says about a field.

    Attributes
    ----------
    database, measurement, field
        Where the scores are.
    title
        Of the axis.
    threshold
        Beyond it a window is abnormal.
    task, variable
        Where the threshold is read from: a variable or a UDF's option in a task's TICKscript.
        Empty: it is fixed.
    window
        Seconds of data before the time of a score that it was made from; 0 for single points.
    abnormal
        `below` or `above` the threshold, or `outside` of it on either side of zero.
    log
        Whether the axis is logarithmic.
    """

    database: str
    measurement: str
    field: str
    title: str
    threshold: float
    task: str = ""
    variable: str = ""
    window: float = 0.0
    abnormal: str = "above"
    log: bool = False

    def worse(self, one: float, other: float) -> bool:
        """Tell whether a score is more abnormal than another."""
        if self.abnormal == "below":
            return one < other
        return abs(one) > abs(other) if self.abnormal == "outside" else one > other

    def bad(self, value: float, threshold: float) -> bool:
        """Tell whether a score is abnormal."""
        if self.abnormal == "below":
            return value < threshold
        return (abs(value) if self.abnormal == "outside" else value) > threshold


@dataclass(frozen=True)
class Band:
    """What a forecast expects: two fields, of the view's measurement unless another is named."""

    low: str
    high: str
    database: str = ""
    measurement: str = ""


@dataclass(frozen=True)
class Panel:
    """One field with what belongs to it.

    Attributes
    ----------
    field, unit
        What is measured.
    alerts
        A regular expression for the ids of the alerts that belong here, matched as a whole;
        ``{tag}`` in it stands for the series that is shown.
    anomaly
        What the live simulator calls this field; empty if it cannot be broken.
    score, band
        Drawn beneath, and around the values.
    """

    field: str
    unit: str = ""
    alerts: str = ""
    anomaly: str = ""
    score: Score | None = None
    band: Band | None = None

    def owns(self, alert: str, tag: str = "") -> bool:
        """Tell whether an alert id belongs to this panel, of one series if `tag` names it."""
        pattern = self.alerts.replace("{tag}", re.escape(tag) if tag else ".+")
        return bool(pattern) and re.fullmatch(pattern, alert) is not None


@dataclass(frozen=True)
class View:
    """One page of signals.

    Attributes
    ----------
    key, title
        Its file's name, and how it is called.
    database, measurement
        Where the fields are.
    tag
        A tag to choose one series by; empty if there is one series only.
    hint
        How to get data, for whoever sees none.
    range
        Seconds shown at first.
    panels
        From top to bottom.
    """

    key: str
    title: str
    database: str
    measurement: str
    panels: tuple[Panel, ...]
    tag: str = ""
    hint: str = ""
    range: int = 300
    order: int = field(default=100, compare=False)


def load_views(folder: Path = HERE) -> dict[str, View]:
    """Read every view of a folder, by key, in their order.

    Raises
    ------
    ViewError
        For a file that cannot be used.
    """
    views = [load_view(file) for file in sorted(folder.glob("*.toml"))]
    return {view.key: view for view in sorted(views, key=lambda v: (v.order, v.key))}


def load_view(file: Path) -> View:
    """Read one view."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
        panels = tuple(_panel(panel) for panel in content.pop("panels"))
        return View(
            key=file.stem, panels=panels, range=seconds(content.pop("range", "5m")), **content
        )
    except KeyError as error:
        raise ViewError(f"{file.name}: {error} is missing") from None
    except (TypeError, ValueError, re.error) as error:
        words = re.sub(r"\w+\.__init__\(\) ", "", str(error))
        raise ViewError(f"{file.name}: {words}") from None


def _panel(content: dict[str, Any]) -> Panel:
    score, band = content.pop("score", None), content.pop("band", None)
    re.compile(content.get("alerts", "").replace("{tag}", ".+"))
    if score is not None:
        score["window"] = float(seconds(score.get("window", "0s")))
        if score.get("abnormal", "above") not in ("above", "below", "outside"):
            raise ValueError("abnormal is one of above, below, outside")
    return Panel(
        score=Score(**score) if score is not None else None,
        band=Band(**band) if band is not None else None,
        **content,
    )


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 5m.

    Examples
    --------
    >>> seconds("5m"), seconds("24h")
    (300, 86400)
    """
    match = re.fullmatch(r"(\d+)([smhd])", str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 1h or 1d")
    return int(match[1]) * UNITS[match[2]]
