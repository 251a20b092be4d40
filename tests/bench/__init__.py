"""Measure the SDK beside the agents that Kapacitor comes with: ``make bench``."""

import sys
from pathlib import Path

# The repository is run in place: `python -m tests.bench` finds here what udf/ holds.
_UDF = str(Path(__file__).resolve().parents[2] / "udf")
if _UDF not in sys.path:
    sys.path.insert(0, _UDF)
