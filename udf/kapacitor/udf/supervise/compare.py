"""Results of two lives of a program, compared."""

import logging
from typing import TYPE_CHECKING

from kapacitor.udf.supervise import frames

if TYPE_CHECKING:
    from kapacitor.udf import udf_pb2

logger = logging.getLogger("kapacitor.udf.supervise")


def slipped(found: bytes, expected: list[bytes]) -> int:
    """Return how many results were delivered late, after the snapshot that followed them.

    Parameters
    ----------
    found : bytes
        The first result of a life that began with the snapshot.
    expected : list of bytes
        The first results that were delivered after the snapshot.
    """
    if not expected or found == expected[0]:
        return 0
    from kapacitor.udf import udf_pb2

    def parse(frame: bytes) -> udf_pb2.Response:
        return udf_pb2.Response.FromString(frames.body(frame))

    # As messages: the order of a map's entries differs from life to life. And without values,
    # as those may be random: then what a result is about tells.
    for simplify in (lambda message: message, _about):
        message = simplify(parse(found))
        for index, frame in enumerate(expected):
            if simplify(parse(frame)) == message:
                return index
    if len(expected) == 1:
        return 1
    logger.warning("the program's results differ from life to life: they are told apart by count")
    return 0


def _about(message: "udf_pb2.Response") -> "udf_pb2.Response":
    if message.HasField("point"):
        for name in ("fieldsDouble", "fieldsInt", "fieldsString", "fieldsBool"):
            message.point.ClearField(name)
    return message
