"""How good the forecasts are, and what the residuals find, on brews nobody has seen.

    python -m tests.bench.forecasts --seeds 100-109

Prints one table of errors, against the naive forecast (it stays as it is) and the seasonal naive
one (as it was a cycle ago), and one of faults with their delays and of false flags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detectors.forecast import Forecast
from detectors.residual import Residual
from lineprotocol import parse_line
from simulator.brew import BREWS, FERMENTATION, SCHEDULES, Brew
from simulator.source import SECOND, chunks

Array = npt.NDArray[np.float64]

START = 1_596_602_228 * SECOND
JOIN = 600  # seconds: flags closer than this are one
RECOVERY = 3 * 3600  # seconds after a fault in which a flag is still about it: the beer is warm


@dataclass
class Outcome:
    """What came of one series.

    Attributes
    ----------
    errors : dict of str to float
        Mean absolute error of each forecaster, °C.
    inside : float
        Share of the values between the bounds.
    delays : dict of str to float or None
        Seconds from the beginning of each fault to its first flag; None if it was missed.
    false : int
        Stretches of flags that belong to no fault.
    days : float
        Days with forecasts.
    """

    errors: dict[str, float]
    inside: float
    delays: dict[str, float | None]
    false: int
    days: float
    seed: int = 0
    brew: str = ""
    schedule: str = ""
    worst: float = field(default=0.0)


def series(seed: int, schedule: str, hours: float) -> dict[str, Array]:
    """Return each brew's temperatures, one a second, NaN where there is none."""
    count = round(hours * 3600)
    found = {brew: np.full(count, np.nan) for brew in BREWS}
    for chunk in chunks(Brew(seed, SCHEDULES[schedule]), START, count, 3600, "s"):
        for line in chunk.lines.splitlines():
            point = parse_line(line, "s")
            assert point.time is not None
            value = point.fields["temperature"]
            assert isinstance(value, float)
            found[point.tags["brew"]][(point.time - START) // SECOND] = value
    return found


def seasonal(values: Array, horizon: int) -> Array:
    """Return the seasonal naive forecast for each second, made `horizon` seconds before.

    The cycle is the lag of the first peak of the autocorrelation over the six hours before, found
    anew every half hour.
    """
    made = np.full(values.size, np.nan)
    step, window = 30, 6 * 3600
    for now in range(window, values.size - horizon, 1800):
        past = values[now - window : now : step]
        past = np.nan_to_num(past - np.nanmean(past))
        correlation = np.correlate(past, past, "full")[past.size - 1 :]
        negative = np.flatnonzero(correlation < 0)
        if not negative.size:
            continue
        first = int(negative[0])
        cycle = step * (first + int(np.argmax(correlation[first : past.size // 2])))
        back = cycle * -(-horizon // max(cycle, 1))
        times = np.arange(now + horizon, min(now + horizon + 1800, values.size))
        made[times] = values[times - back]
    return made


def judge(values: Array, brew: str, schedule: str) -> Outcome:
    """Run forecast and residual over a series as the processors do."""
    forecast, residual = Forecast(), Residual()
    made = np.full((values.size, 3), np.nan)  # time, forecast, half-width
    flags, count, worst = np.zeros(values.size, dtype=bool), 0, 0.0
    for second, value in enumerate(values.tolist()):
        if value != value:
            continue
        time = START + second * SECOND
        prediction = forecast.observe(value, time)
        if prediction is not None:
            residual.expect(*prediction)
            half = (prediction.upper - prediction.lower) / 2
            made[count] = (prediction.time - START) / SECOND, prediction.forecast, half
            count += 1
        judgement = residual.observe(value, time)
        if judgement is not None:
            flags[second] = judgement.anomaly
            worst = max(worst, abs(judgement.score))
    made = made[:count]
    begin = int(made[0, 0]) + 1
    seconds = np.arange(begin, values.size)
    expected = np.interp(seconds, made[:, 0], made[:, 1])
    half = np.interp(seconds, made[:, 0], made[:, 2])
    actual = values[begin:]
    # The forecasts were made between 600 and 660 seconds before: give the others the least.
    naive = values[begin - 600 : -600]
    season = seasonal(values, 600)[begin:]
    errors = {
        "forecast": float(np.nanmean(abs(actual - expected))),
        "naive": float(np.nanmean(abs(actual - naive))),
        "seasonal naive": float(np.nanmean(abs(actual - season))),
    }
    with np.errstate(invalid="ignore"):
        inside = float(np.mean((abs(actual - expected) <= half)[~np.isnan(actual)]))
    faults = [f for f in SCHEDULES[schedule] if f.brew == brew]
    delays: dict[str, float | None] = {}
    for fault in faults:
        # A gap is told with the first value after it at the latest.
        hits = np.flatnonzero(flags[fault.start : fault.start + fault.length + 60])
        delays[fault.kind] = float(hits[0]) if hits.size else None
    false, previous = 0, -JOIN - 1
    for second in np.flatnonzero(flags).tolist():
        if any(f.start <= second <= f.start + f.length + RECOVERY for f in faults):
            continue
        false += second - previous > JOIN
        previous = second
    days = (values.size - begin) / 86_400
    return Outcome(errors, inside, delays, false, days, worst=worst)


def outcomes(seeds: list[int], schedule: str, hours: float) -> Iterator[Outcome]:
    """Yield what comes of every series of these seeds."""
    for seed in seeds:
        for brew, values in series(seed, schedule, hours).items():
            outcome = judge(values, brew, schedule)
            outcome.seed, outcome.brew, outcome.schedule = seed, brew, schedule
            yield outcome


def main(
    seeds: Annotated[str, typer.Option(help="First and last seed.")] = "100-104",
    hours: Annotated[float, typer.Option(help="Hours of each series.")] = 36.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare forecasts with naive ones, and count faults found and false flags."""
    first, _, last = seeds.partition("-")
    chosen = list(range(int(first), int(last or first) + 1))
    console = Console(stderr=True)
    found = [
        outcome
        for schedule in ("calm", "faults")
        for seed in track(chosen, schedule, console=console, transient=True)
        for outcome in outcomes([seed], schedule, hours)
    ]
    if as_json:
        print(json.dumps([asdict(outcome) for outcome in found]))
        return
    console = Console()
    calm = [outcome for outcome in found if outcome.schedule == "calm"]
    table = Table(title=f"Mean absolute error 10 minutes ahead, °C, {len(calm)} calm series")
    for column in ("forecaster", "median series", "worst series"):
        table.add_column(column)
    for name in calm[0].errors:
        values = [outcome.errors[name] for outcome in calm]
        table.add_row(name, f"{np.median(values):.3f}", f"{max(values):.3f}")
    console.print(table)
    inside = [outcome.inside for outcome in calm]
    console.print(f"between the bounds: {min(inside):.1%} to {max(inside):.1%}")
    table = Table(title="Faults")
    for column in ("fault", "found", "median delay, s", "longest delay, s"):
        table.add_column(column)
    for kind in dict.fromkeys(fault.kind for fault in FERMENTATION):
        delays = [o.delays[kind] for o in found if kind in o.delays]
        hits = [delay for delay in delays if delay is not None]
        # Short data may end before a fault begins.
        row = (f"{np.median(hits):.0f}", f"{max(hits):.0f}") if hits else ("", "")
        table.add_row(kind, f"{len(hits)} of {len(delays)}", *row)
    console.print(table)
    days = sum(outcome.days for outcome in calm)
    most = max(outcome.false / outcome.days for outcome in calm)
    console.print(
        f"false flags in calm data: {sum(o.false for o in calm)} in {days:.1f} series-days, "
        f"{most:.2f} a day in the worst series; largest score {max(o.worst for o in calm):.1f}"
    )


if __name__ == "__main__":
    typer.run(main)
