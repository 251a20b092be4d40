"""Typed handlers: declare the options, get arrays, return fields.

A complete UDF::

    from detectors.welch import Welch
    from kapacitor.udf.typed import Field, Option, WindowUDF

    class TTest(WindowUDF):
        field = Field(doc="field to test")
        size = Option(int, minimum=2, doc="values of history kept")
        alpha = Option(float, above=0, below=1, doc="significance level")

        def new_state(self):
            return Welch(self.size, self.alpha)

        def window(self, window, state):
            return state.update(window[self.field])

    if __name__ == "__main__":
        TTest.main()

From the declarations come the info response, the parsing and checking of options, and
the documentation (``--describe``). State is kept for each group, and saved and restored,
by the SDK. A point that cannot be used is counted, logged and put aside; it ends nothing.
"""

import kapacitor.udf.typed.start  # noqa: F401 - before all that imports numpy
from kapacitor.udf.typed.base import BATCH, STREAM, TypedUDF
from kapacitor.udf.typed.detector import StreamDetectorUDF, WindowDetectorUDF
from kapacitor.udf.typed.options import Duration, Field, Fields, Option
from kapacitor.udf.typed.results import Batch, Result, by_field
from kapacitor.udf.typed.stream import Point, Points, StreamUDF
from kapacitor.udf.typed.window import Annotated, Window, WindowUDF

__all__ = [
    "BATCH",
    "STREAM",
    "Annotated",
    "Batch",
    "Duration",
    "Field",
    "Fields",
    "Option",
    "Point",
    "Points",
    "Result",
    "StreamDetectorUDF",
    "StreamUDF",
    "TypedUDF",
    "Window",
    "WindowDetectorUDF",
    "WindowUDF",
    "by_field",
]
