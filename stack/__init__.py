"""The commands behind the Makefile: build the engines, run the stack, run its main job."""

import sys
from pathlib import Path

# The repository is run in place: `python -m stack` finds here what udf/ holds.
_UDF = str(Path(__file__).resolve().parents[1] / "udf")
if _UDF not in sys.path:
    sys.path.append(_UDF)
