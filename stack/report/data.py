"""What a report is made from: plain arrays and values, of any task."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stack.findings import Alert, Finding

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Where the values of a field were forecast to be.

    Attributes
    ----------
    times : ndarray of int64, shape (n,)
        What the forecasts are for, in order, ns since 1970 UTC.
    lower, upper : ndarray of float64, shape (n,)
        The bounds, in the unit of the field.
    """

    times: Times
    lower: Values
    upper: Values

    def __post_init__(self) -> None:
        _same_length("band", self.times, self.lower)
        _same_length("band", self.times, self.upper)


@dataclass(frozen=True)
class Series:
    """The values of one field.

    Attributes
    ----------
    name : str
        The field.
    times : ndarray of int64, shape (n,)
        In order, ns since 1970 UTC.
    values : ndarray of float64, shape (n,)
        NaN where nothing was measured.
    unit : str
        Shown at the axis, such as ``°C``.
    band : Band, optional
        Drawn behind the values.
    limit : float, optional
        For scores that are 0 when all is well: how far from 0, to either side, is too far.
    """

    name: str
    times: Times
    values: Values
    unit: str = ""
    band: Band | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        _same_length(self.name, self.times, self.values)


@dataclass(frozen=True)
class Score:
    """The p-values that a detector gave the windows of one field.

    Attributes
    ----------
    name : str
        The field, as in its `Series`.
    times : ndarray of int64, shape (n,)
        Ends of the windows, ns since 1970 UTC.
    pvalues : ndarray of float64, shape (n,)
        From 0 to 1.
    """

    name: str
    times: Times
    pvalues: Values

    def __post_init__(self) -> None:
        _same_length(self.name, self.times, self.pvalues)


@dataclass(frozen=True)
class ReportData:
    """All that a report shows; what is left empty is left out.

    Attributes
    ----------
    title : str
        Heading of the page.
    series, scores : list of Series, list of Score
        Drawn one field under the other, the scores below their field's values.
    alpha : float
        Significance level, drawn among the scores.
    alerts : list of Alert
        Marked in the field that their id names; all of them are listed.
    findings : list of Finding
        Expected anomalies: shaded in their fields, and listed with what was found.
    false_alarms : dict of str to int
        Number by field.
    hops : dict of str to int
        Points that went into each engine, in the order of the way.
    seconds : dict of str to float
        How long each step took.
    facts : dict of str to str
        Anything else worth a line, such as seed and versions.
    graphs : dict of str to str
        The graph of each task, as SVG.
    """

    title: str
    series: list[Series]
    scores: list[Score] = field(default_factory=list)
    alpha: float = 0.001
    alerts: list[Alert] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    false_alarms: dict[str, int] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    graphs: dict[str, str] = field(default_factory=dict)


def _same_length(name: str, times: Times, values: Values) -> None:
    if times.ndim != 1 or times.shape != values.shape:
        raise ValueError(f"{name}: {times.shape} times but {values.shape} values")
