"""TICKscripts tested by cases: a folder each, recorded and replayed in a real Kapacitor."""

import sys
from pathlib import Path

# The repository is run in place: `python -m stack` finds here what udf/ holds.
_UDF = str(Path(__file__).resolve().parents[2] / "udf")
if _UDF not in sys.path:
    sys.path.append(_UDF)
