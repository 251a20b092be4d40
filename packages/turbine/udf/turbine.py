"""Scores the sensors of a wind turbine, a point at a time, with a plain handler.

Options in the TICKscript: ``.field('power')``, once for each sensor to watch (all of the model by
default), and ``.threshold(1.5)``, the score above which a point is anomalous (by default the
model's own).

Environment: ``MODEL_PATH``, the model file (by default ``../models/turbine.skops``), and
``KAPACITOR_LOGGING_LEVEL``.
"""

import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from normal_behaviour import NormalBehaviour

from kapacitor.udf import udf_pb2
from kapacitor.udf.agent import Agent, Handler

logging.basicConfig(
    level=getattr(logging, os.getenv("KAPACITOR_LOGGING_LEVEL", "INFO").upper(), logging.INFO),
    format="%(asctime)s - %(name)s - %(levelname)s - %(message)s",
)
logger = logging.getLogger("turbine")

MODEL = Path(__file__).resolve().parent.parent / "models" / "turbine.skops"


class TurbineHandler(Handler):
    """Adds ``anomaly_status``, ``anomaly_score``, ``anomaly_field`` and ``anomaly_missing``."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._model: NormalBehaviour | None = None
        self._incomplete = 0

    def info(self) -> Any:
        """Describe the edges and the options."""
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.STREAM
        response.info.provides = udf_pb2.STREAM
        response.info.options["field"].valueTypes.append(udf_pb2.STRING)
        response.info.options["threshold"].valueTypes.append(udf_pb2.DOUBLE)
        return response

    def init(self, init_req: Any) -> Any:
        """Load the model, once."""
        response = udf_pb2.Response()
        watched: list[str] = []
        threshold = 0.0
        for option in init_req.options:
            if option.name == "field":
                watched.append(option.values[0].stringValue)
            elif option.name == "threshold":
                threshold = option.values[0].doubleValue
        try:
            path = os.getenv("MODEL_PATH") or MODEL
            self._model = NormalBehaviour(path, watched, threshold)
            response.init.success = True
        except ValueError as error:
            response.init.success = False
            response.init.error = str(error)
        return response

    def snapshot(self) -> Any:
        """Return no state: every point is scored by itself."""
        response = udf_pb2.Response()
        response.snapshot.snapshot = b""
        return response

    def restore(self, restore_req: Any) -> Any:  # noqa: ARG002 - the agent's signature
        """Take back no state."""
        response = udf_pb2.Response()
        response.restore.success = True
        return response

    def point(self, point: Any) -> None:
        """Score one point and pass it on."""
        assert self._model is not None, "points come after init"  # noqa: S101
        readings = {name: np.array([reading(point, name)]) for name in self._model.fields}
        scores = self._model.score(readings)
        if scores.missing[0]:
            self._count_incomplete(
                point, [n for n, value in readings.items() if math.isnan(value[0])]
            )
        point.fieldsDouble["anomaly_status"] = scores.status[0]
        point.fieldsDouble["anomaly_score"] = scores.score[0]
        point.fieldsString["anomaly_field"] = scores.field[0]
        point.fieldsInt["anomaly_missing"] = int(scores.missing[0])
        self._agent.write_response(udf_pb2.Response(point=point))

    def _count_incomplete(self, point: Any, names: list[str]) -> None:
        self._incomplete += 1
        # The first, the 10th, the 100th ...: a broken sensor must not fill the log.
        if math.log10(self._incomplete).is_integer():
            logger.warning(
                "%d incomplete points; the last of %s without a usable %s",
                self._incomplete, dict(point.tags), ", ".join(names),
            )  # fmt: skip

    def begin_batch(self, begin_req: Any) -> None:
        """Refuse: the UDF reads streams."""
        raise NotImplementedError("turbine reads a stream; put it before the window")

    def end_batch(self, end_req: Any) -> None:
        """Refuse: the UDF reads streams."""
        raise NotImplementedError("turbine reads a stream; put it before the window")


def reading(point: Any, name: str) -> float:
    """Return a field as a float, and NaN when it is missing, no number or not finite."""
    if name in point.fieldsDouble:
        value = float(point.fieldsDouble[name])
        return value if math.isfinite(value) else math.nan
    if name in point.fieldsInt:
        return float(point.fieldsInt[name])
    return math.nan


if __name__ == "__main__":
    agent = Agent()
    agent.handler = TurbineHandler(agent)
    logger.info("starting")
    agent.start()
    agent.wait()
    logger.info("finished; %d incomplete points", agent.handler._incomplete)
