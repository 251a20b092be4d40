"""A pump that is watched by a package of its own, for tests that install and break it."""

import textwrap
from pathlib import Path

import numpy as np

import modelfile

MANIFEST = """
name = "pump"
version = "{version}"
description = "Finds pumps whose flow does not follow their speed."

[functions.pump]
program = "udf/pump.py"
"""

UDF = '''
"""Scores the flow of a pump against what its speed makes of it."""
import os
from pathlib import Path

import modelfile
import numpy as np

from kapacitor.udf.typed import Field, Option, StreamUDF

MODEL = Path(__file__).resolve().parent.parent / "models" / "pump.npz"


class Pump(StreamUDF):
    field = Field(doc="the flow")
    threshold = Option(float, 4.0, above=0, doc="in standard deviations")

    def check(self):
        {refuse}
        modelfile.verify(MODEL)
        with np.load(MODEL, allow_pickle=False) as model:
            self._slope, self._offset, self._spread = model["line"].tolist()

    @property
    def fields(self):
        return (self.field, "speed")

    def points(self, points, state):
        predicted = self._slope * points["speed"] + self._offset
        score = np.abs(points[self.field] - predicted) / self._spread
        return {{"anomaly_score": score, "anomaly_status": (score > self.threshold) * {found}}}


if __name__ == "__main__":
    Pump.main()
'''

TASK = """
dbrp "turbine"."autogen"

stream
    |from()
        .measurement('pump')
    @pump()
        .field('flow')
        .threshold(4.0)
    |alert()
        .id('pump')
        .crit(lambda: "anomaly_status" > 0)
        .message('{{ .ID }} {{ index .Fields "anomaly_status" }} {{ .Time.Unix }}')
        .log('/var/log/kapacitor/pump.log')
        .mqtt('mqtt')
        .topic('alerts/pump')
        .qos(1)
"""


def write(folder: Path, version: str = "1.0.0", found: float = 1.0, refuse: str = "pass") -> Path:
    """Write the package.

    Parameters
    ----------
    folder
        Where; made anew.
    version
        Of the package.
    found
        The status of an anomaly, which tells versions apart.
    refuse
        A statement carried out when the UDF gets its options.
    """
    for name in ("udf", "models", "tasks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "package.toml").write_text(MANIFEST.format(version=version))
    (folder / "udf" / "pump.py").write_text(
        textwrap.dedent(UDF).lstrip().format(found=found, refuse=refuse)
    )
    (folder / "tasks" / "pump.tick").write_text(TASK.lstrip())
    speed = np.linspace(0, 50, 200)
    noise = np.random.default_rng(1).normal(0, 0.2, speed.size)
    slope, offset = np.polyfit(speed, 2 * speed + 1 + noise, 1)
    np.savez(folder / "models" / "pump.npz", line=np.array([slope, offset, 0.2]))
    modelfile.write_card(folder / "models" / "pump.npz", ("numpy",))
    return folder


def case(folder: Path, flow: float) -> None:
    """Add a task case whose third point, with this flow, is expected to alert."""
    place = folder / "tests" / "leak"
    place.mkdir(parents=True, exist_ok=True)
    (place / "case.toml").write_text(
        'description = "A leak alerts"\ntask = "../../tasks/pump.tick"\nprecision = "s"\n'
    )
    flows = (21.0, 21.1, flow, 21.0)
    (place / "input.lp").write_text(
        "".join(f"pump speed=10.0,flow={f} {1451606400 + n}\n" for n, f in enumerate(flows))
    )
    (place / "expected.json").write_text(
        '{"alerts": [{"id": "pump", "level": "CRITICAL", "time": "2016-01-01T00:00:02Z"},'
        ' {"id": "pump", "level": "OK", "time": "2016-01-01T00:00:03Z"}]}\n'
    )
