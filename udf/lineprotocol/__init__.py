"""InfluxDB line protocol as bytes: split a stream into lines, parse them, write them back.

The package depends on nothing but the standard library and is used wherever points travel
as text: in Telegraf's processors, in the simulator and in the test tools of the UDFs.

Types survive: ``7i`` is an `int`, ``7u`` an `Unsigned`, ``7`` a `float`, ``t`` a `bool` and
``"7"`` a `str`. Tags and fields keep their order, times are nanoseconds.

References
----------
.. [1] InfluxData, "Line protocol reference", InfluxDB 1.x documentation.
.. [2] Escapes and number forms follow the parser of InfluxDB 1.12, ``models/points.go``.
"""

from lineprotocol.errors import LineError
from lineprotocol.format import format_point, format_value
from lineprotocol.parse import Line, parse_key, parse_line, parse_value
from lineprotocol.pipes import let_go
from lineprotocol.point import PRECISIONS, FieldValue, Point, Unsigned
from lineprotocol.split import LineSplitter, split_lines

__all__ = [
    "PRECISIONS",
    "FieldValue",
    "Line",
    "LineError",
    "LineSplitter",
    "Point",
    "Unsigned",
    "format_point",
    "format_value",
    "let_go",
    "parse_key",
    "parse_line",
    "parse_value",
    "split_lines",
]
