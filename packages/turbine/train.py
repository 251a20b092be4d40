"""Fit the turbine model to fault-free days, measure it on others, store it with its card.

    python packages/turbine/train.py

Three sets of simulated data, none of which shares a machine or a day with another: the networks
are fitted to the first, the residuals of the second say how large a residual of a healthy turbine
gets, and the third, with days that have faults, says what to expect in use. All seeds are fixed:
the same libraries make the same model.
"""

from __future__ import annotations

import hashlib
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for root in (ROOT, ROOT / "udf", HERE / "udf"):
    sys.path.insert(0, str(root))

from normal_behaviour import NormalBehaviour  # noqa: E402
from rich.console import Console  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped] # noqa: E402
from sklearn.neural_network import MLPRegressor  # type: ignore[import-untyped] # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # type: ignore[import-untyped] # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # type: ignore[import-untyped] # noqa: E402

import modelfile  # noqa: E402
from lineprotocol import parse_line  # noqa: E402
from simulator.source import SECOND  # noqa: E402
from simulator.turbine import DAILY, DAY, STEP, TURBINES, Fault, Park  # noqa: E402

Floats = npt.NDArray[np.float64]

#: What each sensor is predicted from.
SENSORS = {
    "power": ("wind_speed", "ambient_temp"),
    "gearbox_temp": ("power", "wind_speed", "ambient_temp"),
    "bearing_temp": ("gearbox_temp", "rotor_speed", "power"),
    "vibration": ("rotor_speed", "power"),
}
FIELDS = tuple(dict.fromkeys(name for pair in SENSORS.items() for name in (*pair[1], pair[0])))
#: Seeds of the parks, and the days of each.
FITTED = (range(100, 120), 1)
CALIBRATED = (range(200, 203), 5)
HELD_OUT = (range(300, 303), 7)
FAULTY = range(400, 404)
THRESHOLD = 1.25
START = 1_451_606_400 * SECOND

console = Console(stderr=True)


def park(seed: int, days: int, faults: tuple[Fault, ...] = ()) -> tuple[bytes, dict[str, Floats]]:
    """Return the line protocol of one park and its readings, shape (points,), NaN where missing."""
    times = START + np.arange(days * DAY // STEP, dtype=np.int64) * STEP * SECOND
    lines = Park(seed, faults).take(times, "s").lines
    rows = [parse_line(line).fields for line in lines.splitlines()]
    values = {name: np.array([row.get(name, np.nan) for row in rows], float) for name in FIELDS}
    return lines, values


def parks(seeds: Sequence[int], days: int) -> tuple[str, dict[str, Floats]]:
    """Return the SHA-256 of the line protocol of several parks, and all their readings."""
    digest = hashlib.sha256()
    parts = []
    for seed in seeds:
        lines, values = park(seed, days)
        digest.update(lines)
        parts.append(values)
    return digest.hexdigest(), {n: np.concatenate([part[n] for part in parts]) for n in FIELDS}


def inputs_of(name: str, values: dict[str, Floats]) -> Floats:
    """Return what a sensor is predicted from, shape (points, inputs)."""
    return np.column_stack([values[field] for field in SENSORS[name]])


def fit(name: str, values: dict[str, Floats]) -> Pipeline:
    """Fit the network of one sensor, which predicts it in its own unit."""
    readings = values[name]
    centre, width = float(readings.mean()), float(readings.std())
    # Clipped inputs: outside of what it has seen, the model answers as it does at the edge.
    network = MLPRegressor(
        hidden_layer_sizes=(24,), activation="tanh", batch_size=2000, learning_rate_init=0.01,
        max_iter=40, tol=1e-6, random_state=0,
    )  # fmt: skip
    model = make_pipeline(MinMaxScaler((-1, 1), clip=True), network)
    with warnings.catch_warnings():
        # The number of rounds is chosen for the held-out days, where more change nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs_of(name, values), (readings - centre) / width)
    # The last layer is linear: the unit goes into its weights.
    network.coefs_[-1] *= width
    network.intercepts_[-1] = network.intercepts_[-1] * width + centre
    # Of no use to a finished model, and not on skops' list of harmless types.
    del network._optimizer
    return model


def spread_of(predicted: Floats, residuals: Floats) -> tuple[list[float], list[float]]:
    """Return ten predictions and the standard deviation of the residuals around each."""
    edges = np.quantile(predicted, np.linspace(0, 1, 11))
    bins = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, 9)
    centres = [round(float(predicted[bins == b].mean()), 4) for b in range(10)]
    return centres, [round(float(residuals[bins == b].std()), 4) for b in range(10)]


def measure(path: Path) -> dict[str, Any]:
    """Measure a stored model: false alarms on good days, and how soon each fault is found."""
    model = NormalBehaviour(path)
    days = len(HELD_OUT[0]) * HELD_OUT[1] * len(TURBINES)
    digest, values = parks(*HELD_OUT)
    scores = model.score(values)
    found: dict[str, list[float | None]] = {f.kind: [] for f in DAILY if f.kind != "dropout"}
    outside = 0
    for seed in FAULTY:
        _, values = park(seed, 1, DAILY)
        status = model.score(values).status
        # Healthy: no fault, and an hour after one for the heat to leave.
        healthy = np.ones(status.size, dtype=bool)
        for fault in DAILY:
            mine = np.arange(TURBINES.index(fault.turbine), status.size, len(TURBINES))
            first, last = fault.start // STEP, (fault.start + fault.length) // STEP
            healthy[mine[first : last + 3600 // STEP]] = False
            if fault.kind in found:
                hits = np.flatnonzero(status[mine[first:last]])
                found[fault.kind].append(round(hits[0] * STEP / 60, 1) if hits.size else None)
        outside += int(np.count_nonzero(status[healthy]))
    return {
        "fault_free": {
            "sha256": digest,
            "turbine_days": days,
            "points": scores.score.size,
            "alarms": int(np.count_nonzero(scores.status)),
            "largest_score": round(float(scores.score.max()), 3),
        },
        "faulty": {
            "parks": len(FAULTY),
            "minutes_to_first_alarm": found,
            "alarms_outside_of_faults": outside,
        },
    }


def main(
    output: Annotated[Path, typer.Option(help="The model file; its card is put beside it.")] = (
        HERE / "models" / "turbine.skops"
    ),
) -> None:
    """Train and store the turbine model."""
    began = time.monotonic()
    with console.status("simulating the days to fit"):
        digest, values = parks(*FITTED)
        calibration_digest, calibration = parks(*CALIBRATED)
    models: dict[str, Pipeline] = {}
    sensors: dict[str, dict[str, Any]] = {}
    for name, inputs in SENSORS.items():
        with console.status(f"fitting {name}"):
            models[name] = model = fit(name, values)
        predicted = model.predict(inputs_of(name, values))
        centres, spread = spread_of(predicted, values[name] - predicted)
        predicted = model.predict(inputs_of(name, calibration))
        residuals = calibration[name] - predicted
        tail = np.abs(residuals / np.interp(predicted, centres, spread)).max()
        sensors[name] = {
            "inputs": inputs,
            "predicted": centres,
            "spread": spread,
            "tail": round(float(tail), 3),
            "rmse": round(float(np.sqrt(np.mean(residuals**2))), 4),
            "r2": round(float(1 - residuals.var() / calibration[name].var()), 4),
        }
    about: dict[str, Any] = {
        "threshold": THRESHOLD,
        "sensors": sensors,
        "data": {
            "made_by": "simulator.turbine",
            "fitted": {"seeds": list(FITTED[0]), "days": FITTED[1], "sha256": digest},
            "calibrated": {
                "seeds": list(CALIBRATED[0]), "days": CALIBRATED[1], "sha256": calibration_digest,
            },
        },
    }  # fmt: skip
    modelfile.save(models, output, ("scikit-learn",), **about)
    with console.status("measuring on held-out days"):
        about["scores"] = measure(output)
    about["made_with"] = {
        "python": ".".join(map(str, sys.version_info[:3])),
        **{name: metadata.version(name) for name in ("numpy", "skops")},
    }
    modelfile.save(models, output, ("scikit-learn",), **about)
    console.print(f"{output} in {time.monotonic() - began:.0f} s")
    console.print_json(data=about["scores"])


if __name__ == "__main__":
    typer.run(main)
