"""Judge each value by the forecast that was made for it: residual, score and anomaly flag.

    [[processors.execd]]
      command = ["python3", "-m", "processors.residual",
                 "--measurement", "temperature", "--field", "temperature"]

Runs after ``processors.forecast``, in the same stream.
"""

import argparse
import math
import re
from collections.abc import Callable

from detectors.residual import Judgement, Residual
from lineprotocol import Line, LineError
from processors.base import main
from processors.options import add_arguments, chosen
from processors.series import Series, SeriesProcessor, arguments, escaped, refuse

_SECOND = 1_000_000_000


class ResidualProcessor(SeriesProcessor[Residual]):
    """Adds a point of the measurement ``--output`` for each value that has a forecast.

    Its fields are residual, score, bias, anomaly (0 or 1) and, where values were missing for too
    long, silence in seconds. A silence is told by a point of its own as soon as another series
    has gone on for that long, and again with the first value after it.
    """

    def __init__(self, build: Callable[[], Residual], options: argparse.Namespace) -> None:
        self.forecast = escaped(options.forecast or f"{options.measurement}_forecast")
        self.output = escaped(options.output or f"{options.measurement}_residual")
        number = rb"(-?[0-9.]+(?:e[-+]?[0-9]+)?)"
        self.match_forecast = re.compile(
            re.escape(self.forecast) + rb"((?:,(?:\\[,= ]|[^ ])+)?) "
            rb"forecast=" + number + rb",lower=" + number + rb",upper=" + number + rb" ([0-9]+)\Z"
        ).match
        self.newest = 0
        self.checked = 0
        super().__init__(build, options)

    def other(self, line: bytes) -> None:
        """Take a forecast."""
        matched = self.match_forecast(line)
        if matched is not None:
            tags, forecast, lower, upper, time = matched.groups()
            expected = int(time), float(forecast), float(lower), float(upper)
        elif line.startswith(self.forecast):
            try:
                point = Line(line, self.precision).point
                fields = [point.fields[name] for name in ("forecast", "lower", "upper")]
                numbers = [float(value) for value in fields]
            except LineError as error:
                self.pass_on(Line(line), error)
                return
            except (KeyError, ValueError):
                return  # somebody else's measurement of a name that begins alike
            if point.time is None or not all(map(math.isfinite, numbers)):
                return
            key = re.match(rb"(?:\\[, ]|[^ ])+", line)
            tags = key[0][len(self.forecast) :] if key else b""
            expected = point.time, numbers[0], numbers[1], numbers[2]
        else:
            return
        key_bytes = self.measurement + tags
        series = self.found.get(key_bytes) or self.admit(key_bytes)
        if series is not None:
            series.detector.expect(*expected)

    def take(self, series: Series[Residual], value: float, time: int, out: list[bytes]) -> None:
        """Judge a value, and see whether other series have fallen silent."""
        step = time - series.last
        series.last = time
        series.silent = False
        judged = series.detector.observe(value, time)
        if judged is not None:
            self._tell(series, judged, time, step if step > series.detector.silence else 0, out)
        # Only a series that goes on steadily is a clock: one wild time proves nothing.
        if 0 < step <= series.detector.silence and time > self.newest:
            self.newest = time
            if time - self.checked >= _SECOND or time < self.checked:
                self.checked = time
                self._listen(time, out)

    def _listen(self, now: int, out: list[bytes]) -> None:
        for series in self.series.values():
            silence = series.detector.silence
            if not series.silent and series.last and now - series.last > silence:
                series.silent = True
                bias = series.detector.bias
                judged = Judgement(0.0, 0.0, bias, anomaly=True)
                self._tell(series, judged, series.last + silence, silence, out)

    def _tell(
        self, series: Series[Residual], judged: Judgement, time: int, silence: int, out: list[bytes]
    ) -> None:
        fields = b"residual=%.9g,score=%.6g,bias=%.6g,anomaly=%di" % judged
        if silence:
            fields += b",silence=%.9g" % (silence / _SECOND)
        out.append(b"%b%b %b %d" % (self.output, series.tags, fields, time))


if __name__ == "__main__":
    parser = arguments("Judge each value by the forecast that was made for it.")
    parser.add_argument("--forecast", help="measurement of the forecasts")
    names = add_arguments(parser, Residual)
    options = parser.parse_args()
    try:
        Residual(**chosen(options, names))
    except ValueError as error:
        refuse(parser, error)
    main(ResidualProcessor(lambda: Residual(**chosen(options, names)), options))
