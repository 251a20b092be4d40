"""Add forecasts to a stream: each series by itself, stamped at the time they are for.

[[processors.execd]]
command = ["python3", "-m", "processors.forecast",
"--measurement", "temperature", "--field", "temperature", "--horizon", "10m"]
"""

from detectors.forecast import Forecast
from processors.base import main
from processors.options import add_arguments, chosen
from processors.series import Series, SeriesProcessor, arguments, escaped, refuse


class ForecastProcessor(SeriesProcessor[Forecast]):
    """Adds points of the measurement ``--output`` with the fields forecast, lower and upper."""

    output = b""

    def take(self, series: Series[Forecast], value: float, time: int, out: list[bytes]) -> None:
        """Add a forecast if one was made with this value."""
        series.last = time
        made = series.detector.observe(value, time)
        if made is not None:
            fields = b"forecast=%.9g,lower=%.9g,upper=%.9g" % made[1:]
            out.append(b"%b%b %b %d" % (self.output, series.tags, fields, made.time))


if __name__ == "__main__":
    parser = arguments("Add forecasts to a stream of line protocol.")
    names = add_arguments(parser, Forecast)
    options = parser.parse_args()
    try:
        Forecast(**chosen(options, names))
    except ValueError as error:
        refuse(parser, error)
    processor = ForecastProcessor(lambda: Forecast(**chosen(options, names)), options)
    processor.output = escaped(options.output or f"{options.measurement}_forecast")
    main(processor)
