"""Scores the sensors of wind turbines, all points that have arrived in one call.

Environment: ``MODEL_PATH``, the model file (by default ``../models/turbine.skops``), and
``KAPACITOR_LOGGING_LEVEL``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normal_behaviour import NormalBehaviour

from kapacitor.udf.typed import Fields, Option, Points, StreamUDF

MODEL = Path(__file__).resolve().parent.parent / "models" / "turbine.skops"


class Turbine(StreamUDF):
    """Adds ``anomaly_status``, ``anomaly_score``, ``anomaly_field`` and ``anomaly_missing``."""

    keep_incomplete = True  # a dead sensor is no reason to lose what the others say

    field = Fields(default=(), doc="sensors to watch; all of the model by default")
    threshold = Option(float, 0.0, minimum=0, doc="anomalous above this score; 0: the model's own")

    def check(self) -> None:
        """Load the model, once."""
        self._model = NormalBehaviour(os.getenv("MODEL_PATH") or MODEL, self.field, self.threshold)

    @property
    def fields(self) -> tuple[str, ...]:
        """The readings that the model needs."""
        return self._model.fields

    def points(self, points: Points, state: Any) -> Mapping[str, Any]:  # noqa: ARG002 - no state
        """Score points that arrived together."""
        scores = self._model.score({name: points[name] for name in self.fields})
        return {
            "anomaly_status": scores.status,
            "anomaly_score": scores.score,
            "anomaly_field": scores.field,
            "anomaly_missing": scores.missing,
        }


if __name__ == "__main__":
    Turbine.main()
