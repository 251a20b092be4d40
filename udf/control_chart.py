"""A control chart of each window's level and spread, for values that swing slowly."""

from kapacitor.udf.typed import Option, WindowDetectorUDF  # first: it loads numpy quickly

# isort: split
from detectors.control_chart import ControlChart


class Chart(WindowDetectorUDF):
    """Emits ``level``, ``spread`` and ``pvalue`` at the end of each window."""

    windows = Option(int, 24, minimum=3, doc="reference windows kept")
    alpha = Option(float, 0.001, above=0, below=1, doc="a window with a lower p is no reference")
    warmup = Option(int, 6, minimum=3, doc="reference windows before the first score")
    tolerance = Option(float, 0.0, minimum=0, doc="change that does not matter, in field units")

    def detector(self) -> ControlChart:
        """Chart one field."""
        return ControlChart(self.windows, self.alpha, self.warmup, self.tolerance)


if __name__ == "__main__":
    Chart.main()
