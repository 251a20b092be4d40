"""Welch's t-test of each window against a rolling history of normal values."""

from kapacitor.udf.typed import Option, WindowDetectorUDF  # first: it loads numpy quickly

# isort: split
from detectors.welch import Welch


class TTest(WindowDetectorUDF):
    """Emits ``t`` and ``pvalue`` at the end of each window."""

    size = Option(int, minimum=2, doc="values of history kept")
    alpha = Option(float, above=0, below=1, doc="a window with a lower p-value is not learned")

    def detector(self) -> Welch:
        """Test one field."""
        return Welch(self.size, self.alpha)


if __name__ == "__main__":
    TTest.main()
