"""Run any detector of udf/detectors over a stream: the class that Kapacitor runs, unchanged.

    [[processors.execd]]
      command = ["python3", "-m", "processors.detect", "welch:Welch", "--period", "5m",
                 "--measurement", "temperatures", "--field", "hotend", "--size", "3600",
                 "--alpha", "0.001"]

The scores of a detector of windows come at the end of each, stamped with its end; those of a
detector of streams with every value.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.base import Detector, Scores, StreamDetector, WindowDetector
from processors.base import main
from processors.options import add_arguments, chosen, number
from processors.series import Series, SeriesProcessor, arguments, escaped, refuse


class Windows:
    """The values of the window at work, and the detector that gets them when it is over."""

    def __init__(self, detector: WindowDetector, period: int) -> None:
        self.detector = detector
        self.period = period
        self.number: int | None = None
        self.values: list[float] = []

    def add(self, value: float, time: int) -> tuple[Scores, int] | None:
        """Take a value; return the scores and the end of a window that is over now."""
        number = time // self.period
        if self.number is not None and number < self.number:
            return None  # too late for its window
        scores, ended = None, self.number
        if ended is not None and number > ended:
            scores = self.detector.update(np.array(self.values))
            self.values = []
        self.number = number
        self.values.append(value)
        return (scores, (ended + 1) * self.period) if scores and ended is not None else None

    def state(self) -> dict[str, Any]:
        """Return the detector's state; a window that is not over is not kept."""
        return dict(self.detector.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Replace what the detector learned."""
        self.detector.restore(state)


class DetectProcessor(SeriesProcessor[Any]):
    """Adds points of the measurement ``--output``, the scores their fields."""

    output = b""

    def take(self, series: Series[Any], value: float, time: int, out: list[bytes]) -> None:
        """Add the scores, if there are any now."""
        series.last = time
        detector = series.detector
        if isinstance(detector, Windows):
            ended = detector.add(value, time)
            if ended is None:
                return
            scores, time = ended
        else:
            scores = detector.update(value, time)
        fields = ",".join(f"{name}={score!r}" for name, score in scores.items())
        out.append(b"%b%b %b %d" % (self.output, series.tags, fields.encode(), time))


def find(name: str) -> type[Detector]:
    """Return the class of a name such as ``welch:Welch``; raise ValueError if there is none."""
    module, _, cls = name.partition(":")
    try:
        found = getattr(importlib.import_module(f"detectors.{module}"), cls)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no detector {name!r} in detectors: {error}") from None
    if not (isinstance(found, type) and issubclass(found, StreamDetector | WindowDetector)):
        raise ValueError(f"{name!r} is no detector")
    return found


def builder(detector: type[Detector], values: dict[str, Any], period: float) -> Callable[[], Any]:
    """Return what makes the detector of a new series."""

    def build() -> Any:
        made = detector(**values)
        return Windows(made, round(period * 1e9)) if isinstance(made, WindowDetector) else made

    return build


if __name__ == "__main__":
    parser = arguments("Run a detector over a stream of line protocol.")
    parser.add_argument("detector", help="a class of udf/detectors, such as welch:Welch")
    parser.add_argument("--period", type=number, default=300.0, help="length of a window")
    try:
        # Its options are the arguments of its class, so the class has to be known first.
        words = [word for word in sys.argv[1:] if ":" in word and not word.startswith("-")]
        detector = find(words[0]) if words else None
        names = add_arguments(parser, detector) if detector else []
        options = parser.parse_args()
        build = builder(find(options.detector), chosen(options, names), options.period)
        build()
    except ValueError as error:
        refuse(parser, error)
    processor = DetectProcessor(build, options)
    processor.output = escaped(options.output or f"{options.measurement}_scores")
    main(processor)
