"""UDFs that hold one detector for each field and group."""

from collections.abc import Mapping
from typing import Any, Protocol

from kapacitor.udf.typed.columns import Floats
from kapacitor.udf.typed.options import Fields
from kapacitor.udf.typed.results import by_field
from kapacitor.udf.typed.stream import Point, StreamUDF
from kapacitor.udf.typed.window import Window, WindowUDF


class _Kept(Protocol):
    """A detector's state can be saved and put back."""

    def state(self) -> Mapping[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class ScoresWindows(_Kept, Protocol):
    """A detector of windows."""

    def update(self, values: Floats) -> dict[str, float]:
        """Score one window and learn from it."""


class ScoresPoints(_Kept, Protocol):
    """A detector of single values."""

    def update(self, value: float, time: int) -> dict[str, float]:
        """Score one value and learn from it."""


class WindowDetectorUDF(WindowUDF):
    """Scores each field of each window; several fields' scores are named ``<score>_<field>``."""

    field = Fields(doc="fields to score, each by a detector of its own")

    def detector(self) -> ScoresWindows:
        """Return a new detector, made from the options."""
        raise NotImplementedError(f"{type(self).__name__} defines no detector()")

    def new_state(self) -> dict[str, ScoresWindows]:
        """Return a detector for each field."""
        return {field: self.detector() for field in self.field}

    def window(self, window: Window, state: dict[str, ScoresWindows]) -> dict[str, float]:
        """Score each field's values."""
        return by_field({field: state[field].update(window[field]) for field in self.field})


class StreamDetectorUDF(StreamUDF):
    """Scores each field of each point; several fields' scores are named ``<score>_<field>``."""

    field = Fields(doc="fields to score, each by a detector of its own")

    def detector(self) -> ScoresPoints:
        """Return a new detector, made from the options."""
        raise NotImplementedError(f"{type(self).__name__} defines no detector()")

    def new_state(self) -> dict[str, ScoresPoints]:
        """Return a detector for each field."""
        return {field: self.detector() for field in self.field}

    def point(self, point: Point, state: dict[str, ScoresPoints]) -> dict[str, float]:
        """Score each field's value."""
        time = point.time
        return by_field({field: state[field].update(point[field], time) for field in self.field})
