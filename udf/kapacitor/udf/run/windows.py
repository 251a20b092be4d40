"""Windows over a stream of points, by the rules of Kapacitor's window node.

A window is emitted by the first point of its group that reaches the emit time, never by a
clock; so the last, unfinished window of a recording is not emitted, as in a replay.
With ``every`` above zero a window holds the points of ``[emit - period, emit)``, the point
that caused it begins the next one, and the next emit time is that point's time plus
``every``: after a gap in the data there is one window, not one for each interval missed.
With ``every`` at zero each point emits the window ``(time - period, time]`` that it ends.

References
----------
.. [1] InfluxData, "WindowNode", Kapacitor 1.8 documentation; behaviour as in Kapacitor 1.8.6.
"""

import collections
from collections.abc import Iterator
from dataclasses import dataclass, field

from lineprotocol import Point

# Kapacitor rounds down to multiples counted from 0001-01-01T00:00:00Z, not from 1970: for an
# interval that does not divide a day, such as 7m or 1w, that is another grid.
_YEAR_ONE = 719_162 * 86_400 * 10**9


def truncate(time: int, interval: int) -> int:
    """Round a time down to Kapacitor's grid of an interval, both in nanoseconds.

    Examples
    --------
    >>> week = 7 * 86_400 * 10**9
    >>> truncate(0, week) // (86_400 * 10**9)  # 1970 began on a Thursday, weeks on Monday
    -3
    """
    return time if interval <= 0 else time - (time + _YEAR_ONE) % interval


@dataclass(frozen=True, slots=True)
class Group:
    """What the points of a window have in common.

    Parameters
    ----------
    id : str
        As Kapacitor writes it: ``host=a,region=b``, after the measurement and a newline if
        grouped by measurement.
    name : str
        The measurement of the group's first point.
    tags : dict of str to str
        The tags grouped by; empty text for one the point does not have.
    by_name : bool
        Whether grouped by measurement too.
    """

    id: str
    name: str
    tags: dict[str, str]
    by_name: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    """How points are grouped: ``groupBy('a', 'b')``, ``groupBy(*)``, ``groupByMeasurement()``.

    Examples
    --------
    >>> Grouping(("b", "a")).of(Point("m", {"a": "1", "c": "3"}, {"f": 1.0}, 0)).id
    'a=1,b='
    """

    tags: tuple[str, ...] = ()
    all_tags: bool = False
    by_name: bool = False

    def dimensions(self, point: Point) -> list[str]:
        """Return the names of the tags that a point is grouped by, sorted."""
        return sorted(point.tags if self.all_tags else self.tags)

    def of(self, point: Point) -> Group:
        """Return the group of a point."""
        tags = {name: point.tags.get(name, "") for name in self.dimensions(point)}
        name = ",".join(f"{key}={value}" for key, value in tags.items())
        if self.by_name:
            name = f"{point.name}\n{name}" if tags else point.name
        return Group(name, point.name, tags, self.by_name)


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Which windows to cut; either the times or the counts are set.

    Parameters
    ----------
    period, every : int
        Nanoseconds. ``every`` at zero emits a window at each point.
    align : bool
        Put the emit times on the grid of ``every``.
    fill_period : bool
        Emit nothing before a whole period (or ``period_count`` points) has passed.
    period_count, every_count : int
        Points.

    Raises
    ------
    ValueError
        Listing all that does not go together.
    """

    period: int = 0
    every: int = 0
    align: bool = False
    fill_period: bool = False
    period_count: int = 0
    every_count: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if min(self.period, self.every, self.period_count, self.every_count) < 0:
            wrong.append("a window's lengths cannot be negative")
        if bool(self.period) == bool(self.period_count):
            wrong.append("a window has either a period or a number of points")
        if self.period_count and not self.every_count:
            wrong.append("a window of points has to say after how many points it is emitted")
        if self.period_count and self.align:
            wrong.append("only windows of time can be aligned")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(slots=True)
class Window:
    """One emitted window, with its points in the order they came; ``tmax`` in nanoseconds."""

    group: Group
    tmax: int
    points: list[Point] = field(default_factory=list)


class _TimeWindow:
    def __init__(self, rule: WindowRule, group: Group, first: int) -> None:
        self._rule, self._group = rule, group
        self._points: collections.deque[Point] = collections.deque()
        every = rule.every
        if rule.fill_period:
            self._emit_at = first + rule.period
            if rule.align:
                full = self._emit_at
                self._emit_at = truncate(full, every)
                if self._emit_at <= full:
                    self._emit_at += every
        else:
            self._emit_at = first + every
            if rule.align:
                self._emit_at = truncate(self._emit_at, every)

    def add(self, point: Point, time: int) -> Window | None:
        rule, points = self._rule, self._points
        window = None
        if rule.every == 0:
            points.append(point)
            if time >= self._emit_at:
                self._drop_before(time - rule.period + 1)
                window = Window(self._group, time, list(points))
                self._emit_at = time
            return window
        if time >= self._emit_at:
            self._drop_before(self._emit_at - rule.period)
            window = Window(self._group, self._emit_at, list(points))
            self._emit_at = time + rule.every
            if rule.align:
                self._emit_at = truncate(self._emit_at, rule.every)
        points.append(point)
        return window

    def _drop_before(self, oldest: int) -> None:
        points = self._points
        while points and (points[0].time or 0) < oldest:
            points.popleft()


class _CountWindow:
    def __init__(self, rule: WindowRule, group: Group) -> None:
        self._group = group
        self._points: collections.deque[Point] = collections.deque(maxlen=rule.period_count)
        self._every = rule.every_count
        self._left = rule.period_count if rule.fill_period else rule.every_count

    def add(self, point: Point, time: int) -> Window | None:
        self._points.append(point)
        self._left -= 1
        if self._left:
            return None
        self._left = self._every
        return Window(self._group, time, list(self._points))


class Windows:
    """Cut a stream of points into windows, group by group.

    Memory is bounded by the windows' lengths and the number of groups. Points are expected
    in the order of time, as Kapacitor expects them; a late point joins the window at hand.

    Parameters
    ----------
    rule : WindowRule
    grouping : Grouping

    Examples
    --------
    >>> second = 10**9
    >>> windows = Windows(WindowRule(period=2 * second, every=2 * second), Grouping())
    >>> for t in range(5):
    ...     window = windows.add(Point("m", {}, {"f": float(t)}, t * second))
    ...     if window:
    ...         print(window.tmax // second, [p.fields["f"] for p in window.points])
    2 [0.0, 1.0]
    4 [2.0, 3.0]
    """

    def __init__(self, rule: WindowRule, grouping: Grouping) -> None:
        self.rule, self.grouping = rule, grouping
        self._groups: dict[str, _TimeWindow | _CountWindow] = {}

    def add(self, point: Point) -> Window | None:
        """Take a point, return the window that it ends, if any.

        Raises
        ------
        ValueError
            If the point has no time.
        """
        if point.time is None:
            raise ValueError(f"a point of {point.name!r} has no time")
        group = self.grouping.of(point)
        cutter = self._groups.get(group.id)
        if cutter is None:
            if self.rule.period_count:
                cutter = _CountWindow(self.rule, group)
            else:
                cutter = _TimeWindow(self.rule, group, point.time)
            self._groups[group.id] = cutter
        return cutter.add(point, point.time)

    def cut(self, points: Iterator[Point]) -> Iterator[Window]:
        """Yield every window of a stream."""
        for point in points:
            window = self.add(point)
            if window is not None:
                yield window
