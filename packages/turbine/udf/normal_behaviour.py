"""A model of the normal behaviour of a machine: each sensor predicted from others.

Where a sensor reads something else than the model expects from the other sensors, the machine has
changed, even if every reading alone is within its limits. The score of a sensor is::

    |reading - prediction| / (spread(prediction) * tail)

with ``spread`` the standard deviation of the residuals of fault-free data around that prediction,
and ``tail`` the largest residual, in spreads, of fault-free days that the model was not fitted
to. So a score of 1 is the worst that was seen on good days, whatever the sensor and its unit, and
one threshold serves all of them.

It says that a sensor is off, not why: the scores of sensors predicted from a wrong one rise as
well.

References
----------
Schlechtingen, M.; Ferreira Santos, I.: Comparative analysis of neural network and regression
based condition monitoring approaches for wind turbine fault detection. Mechanical Systems and
Signal Processing 25 (2011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import modelfile

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of some points, each attribute with shape (points,).

    Attributes
    ----------
    status : ndarray of float64
        1 where the score is above the threshold, else 0.
    score : ndarray of float64
        The largest score of the sensors watched; 0 where none could be scored.
    field : list of str
        The sensor with that score; empty where none could be scored.
    missing : ndarray of int64
        How many of the readings needed were not there.
    """

    status: Floats
    score: Floats
    field: list[str]
    missing: npt.NDArray[np.int64]


class NormalBehaviour:
    """The sensors of one model that are watched.

    Parameters
    ----------
    path : str or Path
        Of the model file.
    watched : sequence of str
        Which sensors; none for all of the model.
    threshold : float
        Score above which a point is anomalous; 0 for the model's own.

    Attributes
    ----------
    fields : tuple of str
        The readings needed, watched or not.

    Raises
    ------
    ValueError
        If the file cannot be used, or has no such sensor.
    """

    def __init__(self, path: str | Path, watched: Sequence[str] = (), threshold: float = 0) -> None:
        self._models, card = modelfile.load(path)
        sensors: dict[str, dict[str, Any]] = card.about["sensors"]
        unknown = [name for name in watched if name not in sensors]
        if unknown:
            raise ValueError(
                f"{Path(path).name} has no model of {', '.join(unknown)}; "
                f"it has {', '.join(sensors)}"
            )
        if threshold < 0:
            raise ValueError(f"threshold is a score, 0 or above, not {threshold}")
        self.threshold = threshold or float(card.about["threshold"])
        self._sensors = {name: sensors[name] for name in watched or sensors}
        needed: dict[str, None] = {}
        for name, sensor in self._sensors.items():
            needed.update(dict.fromkeys([*sensor["inputs"], name]))
        self.fields = tuple(needed)

    def score(self, readings: Mapping[str, Floats]) -> Scores:
        """Score points.

        Parameters
        ----------
        readings : mapping of str to ndarray of float64, shape (points,)
            All of `fields`, with NaN for what is missing.
        """
        columns = np.array([readings[name] for name in self.fields], dtype=np.float64)
        there = np.isfinite(columns)
        rows = {name: row for row, name in enumerate(self.fields)}
        best = np.zeros(columns.shape[1])
        worst = np.full(columns.shape[1], -1)
        for number, (name, sensor) in enumerate(self._sensors.items()):
            needed = [rows[field] for field in sensor["inputs"]]
            usable = there[[*needed, rows[name]]].all(axis=0)
            if not usable.any():
                continue
            scores = np.full(columns.shape[1], -1.0)
            scores[usable] = self._score_one(
                name, columns[needed][:, usable], columns[rows[name], usable]
            )
            larger = (scores > best) | (usable & (worst < 0))
            best[larger] = scores[larger]
            worst[larger] = number
        names = [*self._sensors, ""]  # -1, for none, is the last
        return Scores(
            status=(best > self.threshold).astype(np.float64),
            score=best,
            field=[names[number] for number in worst.tolist()],
            missing=np.count_nonzero(~there, axis=0),
        )

    def _score_one(self, name: str, inputs: Floats, readings: Floats) -> Floats:
        sensor = self._sensors[name]
        predicted = self._models[name].predict(inputs.T)
        spread = np.interp(predicted, sensor["predicted"], sensor["spread"])
        scores: Floats = np.abs(readings - predicted) / (spread * sensor["tail"])
        return scores
