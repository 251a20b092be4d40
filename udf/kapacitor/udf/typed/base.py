"""What window and stream UDFs have in common: options, states, and how they are run."""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from kapacitor.udf import udf_pb2
from kapacitor.udf.typed.columns import Columns, Decoder, Ints
from kapacitor.udf.typed.health import Health
from kapacitor.udf.typed.options import Field, Fields, Option, declared, parse
from kapacitor.udf.typed.results import PointWriter
from kapacitor.udf.typed.snapshot import Groups

STREAM = "stream"
"""Points one by one."""
BATCH = "batch"
"""Points between a begin and an end."""


class TypedUDF:
    """Base of :class:`WindowUDF` and :class:`StreamUDF`.

    Attributes
    ----------
    wants, provides : str
        ``"stream"`` or ``"batch"``.
    version : int
        Version of the state; raise it when `new_state` changes its make, and snapshots of
        older versions are refused instead of misread.
    """

    wants: ClassVar[str] = STREAM
    provides: ClassVar[str] = STREAM
    version: ClassVar[int] = 1

    maxGroups = Option(  # noqa: N815 - the name in the TICKscript
        int, 10_000, minimum=1, doc="groups whose state is kept; the longest unseen goes first"
    )
    quarantine = Option(str, "", doc="file to append unusable points to, as line protocol")

    def check(self) -> None:
        """Check options against each other; raise ValueError with all that is wrong."""

    def new_state(self) -> Any:
        """Return what a group seen for the first time is remembered by."""
        return None

    @classmethod
    def main(cls, arguments: list[str] | None = None) -> NoReturn:
        """Run as a program: serve Kapacitor on standard input and output.

        Parameters
        ----------
        arguments : list of str, optional
            The command line; see ``--help``.
        """
        from kapacitor.udf.typed.command import main  # it imports this module

        raise SystemExit(main(cls, arguments))

    @classmethod
    def options(cls) -> dict[str, Option[Any]]:
        """Return its options by name."""
        return declared(cls)

    @classmethod
    def info(cls, arity: Mapping[str, int] | None = None) -> udf_pb2.InfoResponse:
        """Return what Kapacitor asks for first.

        Parameters
        ----------
        arity : mapping of str to int, optional
            Number of values of options that take several.
        """
        info = udf_pb2.InfoResponse()
        info.wants = udf_pb2.BATCH if cls.wants == BATCH else udf_pb2.STREAM
        info.provides = udf_pb2.BATCH if cls.provides == BATCH else udf_pb2.STREAM
        for name, option in cls.options().items():
            types = option.wire_types * (arity or {}).get(name, 1)
            info.options[name].valueTypes.extend(types)  # type: ignore[arg-type]
        return info

    def configure(self, given: Any) -> list[str]:
        """Take the options of an init request; returns all that is wrong with them.

        Parameters
        ----------
        given : iterable of udf_pb2.Option
            From the request.
        """
        values, problems = parse(self.options(), given)
        for attribute, value in values.items():
            setattr(self, attribute, value)
        if not problems:
            try:
                self.check()
                self.new_state()  # what a detector finds wrong belongs into the same answer
            except (ValueError, TypeError) as error:
                problems.append(str(error))
        return problems

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that its options say to read, each once."""
        names: dict[str, None] = {}
        for option in self.options().values():
            if isinstance(option, Field):
                names[getattr(self, option.attribute)] = None
            elif isinstance(option, Fields):
                names.update(dict.fromkeys(getattr(self, option.attribute)))
        return tuple(names)


class Feed:
    """Carries data between the wire and a UDF; one for each kind of edge.

    Parameters
    ----------
    udf : TypedUDF
        With its options set.
    health : Health
        Told of what goes wrong.
    """

    def __init__(self, udf: TypedUDF, health: Health) -> None:
        self.udf = udf
        self.health = health
        self.decoder = Decoder(udf.fields, groups=udf.wants == STREAM)
        self.groups = Groups(udf.new_state, udf.maxGroups)
        self.writer = PointWriter()
        self.output = bytearray()
        self.written = 0

    @property
    def patient(self) -> bool:
        """Whether nothing can be emitted before much more has arrived."""
        return False

    @property
    def whole_blocks(self) -> bool:
        """Whether it takes points that were decoded along with others."""
        return False

    def points(self, block: bytes, starts: Ints, ends: Ints, columns: Columns | None) -> None:
        """Take points that follow each other.

        Parameters
        ----------
        block : bytes
            Where their frames are.
        starts, ends : ndarray of int64, shape (points,)
            First byte of each frame, and the one after its last, in the block.
        columns : Columns, optional
            The points decoded, if they are already.
        """
        raise NotImplementedError

    def alone(self, frame: bytes) -> bool:  # noqa: ARG002
        """Take a point that came alone, if that is quicker than by `points`.

        Parameters
        ----------
        frame : bytes
            The point's.

        Returns
        -------
        bool
            Whether it is handled; if not, nothing has happened.
        """
        return False

    def begin(self, begin: udf_pb2.BeginBatch) -> None:
        """Take the begin of a batch."""
        self.health.tell("unexpected", f"a {self.udf.wants} UDF was sent a batch {begin.name!r}")

    def end(self, end: udf_pb2.EndBatch) -> None:
        """Take the end of a batch."""
        self.health.tell(
            "unexpected", f"a {self.udf.wants} UDF was sent a batch's end {end.name!r}"
        )

    def emit(self, frame: bytes) -> None:
        """Add a frame to the output."""
        if frame:
            self.output += frame
            self.written += 1

    def emit_all(self, frames: list[bytes]) -> None:
        """Add frames to the output; empty ones count for nothing."""
        self.output += b"".join(frames)
        self.written += len(frames) - frames.count(b"")
