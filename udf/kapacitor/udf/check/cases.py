"""The checks themselves, each a function that returns what it saw or raises."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from kapacitor.udf import udf_pb2
from kapacitor.udf.check.context import (
    Context,
    Failed,
    Skipped,
    data,
    of_group,
    same,
    serialize,
)
from kapacitor.udf.framing import encode_varint
from kapacitor.udf.harness.options import OptionError, describe, parse_options
from kapacitor.udf.harness.program import ProgramError, frame
from lineprotocol import Point

_LOAD = 20_000
_AWKWARD = (0, 1, 100, 127, 128, 129, 16_383, 16_384, 16_385, 70_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by name, and what it means to fail it."""

    name: str
    meaning: str
    run: Callable[[Context], str]


CHECKS: list[Check] = []


def _check(
    name: str, meaning: str
) -> Callable[[Callable[[Context], str]], Callable[[Context], str]]:
    def add(function: Callable[[Context], str]) -> Callable[[Context], str]:
        CHECKS.append(Check(name, meaning, function))
        return function

    return add


@_check(
    "info",
    "kapacitord asks every UDF for this when it starts, closes the pipe, and does not start if "
    "the answer is missing or the program stays.",
)
def info(context: Context) -> str:
    """Ask as kapacitord does when it starts."""
    with context.open() as program:
        answer = program.info()
        program.close_input()
        rest = program.drain()
        program.wait()
    if rest:
        raise Failed(f"it goes on after its answer: {rest[0]}")
    wants, provides = (udf_pb2.EdgeType.Name(e).lower() for e in (answer.wants, answer.provides))
    options = (f"{name}({describe(o.valueTypes)})" for name, o in sorted(answer.options.items()))
    return f"wants {wants}, provides {provides}; {' '.join(options) or 'no options'}"


@_check("options", "a task with these options does not start.")
def options(context: Context) -> str:
    """Start on the given options."""
    with context.ready() as program:
        context.alive(program)
    return "accepted"


def _answered(context: Context, wrong: list[udf_pb2.Option], what: str) -> bool:
    with context.open() as program:
        answer = program.init(wrong)
        if not answer.success and not answer.error.strip():
            raise Failed(f"{what}: refused without a word of why")
        return answer.success


@_check(
    "missing options",
    "whoever writes the TICKscript sees a dead UDF instead of which option is missing.",
)
def missing_options(context: Context) -> str:
    """Start without any option, and without each in turn."""
    if not context.info.options:
        raise Skipped("it has no options")
    given = parse_options(context.info.options, context.given)
    refused = 0
    for left_out in [None, *sorted({option.name for option in given})]:
        kept = [] if left_out is None else [o for o in given if o.name != left_out]
        refused += not _answered(context, kept, f"without {left_out or 'any option'}")
    return f"{refused} refused with a reason, the others have defaults"


@_check(
    "wrong options",
    "whoever writes the TICKscript sees a dead UDF instead of what is wrong with the value.",
)
def wrong_options(context: Context) -> str:
    """Start on values at the edges of each type."""
    edges = {
        udf_pb2.BOOL: ["false"],
        udf_pb2.INT: ["0", "-1", str(-(1 << 63))],
        udf_pb2.DOUBLE: ["0", "-1", "nan", "inf"],
        udf_pb2.STRING: [""],
        udf_pb2.DURATION: ["0s", "-1h"],
    }
    given = parse_options(context.info.options, context.given)
    refused = tried = 0
    for name, declared in sorted(context.info.options.items()):
        if len(declared.valueTypes) != 1:
            continue
        for text in edges[declared.valueTypes[0]]:
            wrong = parse_options(context.info.options, [f"{name}={text}"])
            rest = [option for option in given if option.name != name]
            tried += 1
            refused += not _answered(context, [*rest, *wrong], f"{name}={text}")
    if not tried:
        raise Skipped("it has no options of one value")
    return f"{tried} tried, {refused} refused with a reason"


@_check(
    "results",
    "Kapacitor ends the task; on an end of a batch without its begin kapacitord itself crashes.",
)
def results(context: Context) -> str:
    """Look at the results' form, and whether a second run gives the same."""
    units = context.requests(context.points(400))
    found = context.run(units)
    inside = False
    for number, response in enumerate(found):
        kind = response.WhichOneof("message")
        if kind == "end" and not inside:
            raise Failed(f"result {number} ends a batch that has not begun")
        if kind == "begin" and inside:
            raise Failed(f"result {number} begins a batch inside a batch")
        if kind == "point" and inside != (context.info.provides == udf_pb2.BATCH):
            provides = udf_pb2.EdgeType.Name(context.info.provides).lower()
            raise Failed(f"it provides a {provides}, and result {number} is a point of the other")
        inside = kind == "begin" or (inside and kind != "end")
    if inside:
        raise Failed("its last batch has no end")
    if context.run(units) != found:
        context.repeatable = False
        return f"{len(found)} results; they differ from run to run, so they are not compared below"
    return f"{len(found)} results from {len(units)} {'windows' if context.batches else 'points'}"


@_check("end of input", "a task cannot be stopped or replayed: Kapacitor waits for the program.")
def end_of_input(context: Context) -> str:
    """Close the input at once, and in the middle of the work."""
    for units in ([], context.requests(context.points(300))):
        with context.ready() as program:
            program.write(serialize(units))
            start = time.monotonic()
            context.finish(program)
    return f"ended {time.monotonic() - start:.2f} s after its input, with status 0"


@_check(
    "results at once",
    "alerts come late: results wait in a buffer until more input comes (python without -u, or "
    "a flush that is missing).",
)
def results_at_once(context: Context) -> str:
    """Wait for the results with the input open and idle."""
    units = context.requests(context.points(400))
    expected = len(context.run(units))
    if not expected:
        raise Skipped("it gives no results for this data")
    with context.ready() as program:
        program.write(serialize(units))
        found = 0
        while found < expected:
            try:
                response = program.receive(timeout=min(3.0, context.timeout))
            except ProgramError as error:
                raise Failed(f"{expected - found} of {expected} results do not come") from error
            if response is None:
                raise Failed("it ended by itself")
            found += response.WhichOneof("message") in ("begin", "point", "end")
    return f"all {expected}, with the input idle"


@_check(
    "keepalive under load",
    "Kapacitor kills a UDF that does not answer within the timeout of kapacitor.conf.",
)
def keepalive_under_load(context: Context) -> str:
    """Ask for signs of life behind much work."""
    block = serialize(context.requests(context.points(_LOAD // 5)))
    slowest = 0.0
    with context.ready() as program:
        for _ in range(5):
            program.write(block)
            start = time.monotonic()
            context.alive(program)
            slowest = max(slowest, time.monotonic() - start)
        context.finish(program)
    return f"{_LOAD} points, slowest answer after {slowest * 1000:.0f} ms"


@_check("groups apart", "one machine's data changes the scores of another.")
def groups_apart(context: Context) -> str:
    """Give two groups interleaved, and one of them alone."""
    if not context.repeatable:
        raise Skipped("its results differ from run to run")
    points = context.points(400)
    alone = context.run(context.requests([p for p in points if p.tags["host"] == "a"]))
    # Far off, so that it is rejected, and near by, so that it is learned.
    for factor, shift in ((50.0, -7.0), (1.0, 0.5)):
        mixed = context.points(400)
        for point in mixed:
            if point.tags["host"] == "b":
                for name in context.fields:
                    point.fields[name] = float(point.fields[name]) * factor + shift
        found = of_group(context.run(context.requests(mixed)), "a")
        same(alone, found, "the results of a group among others")
    return f"{len(alone)} results of a group are the same with and without another"


@_check(
    "snapshot and restore",
    "after a restart of kapacitord or of the task the UDF begins anew or, worse, wrong.",
)
def snapshot_and_restore(context: Context) -> str:
    """Stop half-way, restore in a new life, compare with never having stopped."""
    if not context.repeatable:
        raise Skipped("its results differ from run to run")
    units = context.requests(context.points(600))
    half = len(units) // 2
    with context.ready() as program:
        program.write(serialize(units[:half]))
        before, state = context.snapshot(program)
        program.write(serialize(units[half:]))
        after = context.finish(program)
    whole = context.run(units)
    # A result may reach the output a little after the snapshot that follows it.
    same(whole, [*before, *after], "results with a snapshot taken on the way")
    if not state:
        fresh = context.run(units[half:])
        if fresh == after:
            return "its snapshot is empty, and it has no state to lose"
        raise Failed("its snapshot is empty, and yet its results depend on what came before")
    with context.ready() as program:
        program.send(udf_pb2.Request(restore=udf_pb2.RestoreRequest(snapshot=state)))
        answer = program.expect("restore").restore
        if not answer.success:
            raise Failed(f"it does not restore its own snapshot: {answer.error}")
        program.write(serialize(units[half:]))
        same(after, context.finish(program), "results after a restore")
    return f"{len(state)} bytes of state, {len(after)} results as if it had never stopped"


@_check(
    "foreign snapshot",
    "after an upgrade the UDF runs on nonsense, or dies without a word.",
)
def foreign_snapshot(context: Context) -> str:
    """Restore bytes that are no snapshot."""
    for junk in (b"\x00\xff not a snapshot", b"{", b"x" * 100_000):
        with context.ready() as program:
            program.send(udf_pb2.Request(restore=udf_pb2.RestoreRequest(snapshot=junk)))
            answer = program.receive()
            while answer is not None and answer.WhichOneof("message") == "keepalive":
                answer = program.receive()
            if answer is None:
                raise Failed(f"it died without a word\n{program.stderr()}".strip())
            kind = answer.WhichOneof("message")
            if kind == "restore" and answer.restore.success:
                units = context.requests(context.points(100))
                program.write(serialize(units))
                context.alive(program)
            elif kind == "restore" and not answer.restore.error.strip():
                raise Failed("it refuses without a word of why")
            elif kind not in ("restore", "error"):
                raise Failed(f"it answers a restore with {kind}")
    return "refused with a reason, or without harm"


@_check("empty windows", "a gap in the data ends the task.")
def empty_windows(context: Context) -> str:
    """Give windows without points among others."""
    if not context.batches:
        raise Skipped("it wants a stream")
    units = context.requests(context.points(200))
    empty = []
    for unit in units[:3]:
        begin, end = udf_pb2.Request(), udf_pb2.Request()
        begin.CopyFrom(unit[0])
        begin.begin.size = 0
        end.CopyFrom(unit[-1])
        empty.append([begin, end])
    with context.ready() as program:
        program.write(serialize([*empty, *units, *empty]))
        found = len(data(context.alive(program))) + len(context.finish(program))
    return f"{len(empty) * 2} empty ones among {len(units)}, {found} results"


@_check("missing fields", "one bad point ends the task.")
def missing_fields(context: Context) -> str:
    """Give points that lack the field, or hold it as another type or no number."""
    points = context.points(400)
    kinds: list[Callable[[Point], object]] = [
        lambda p: p.fields.clear(),
        lambda p: p.fields.update(dict.fromkeys(context.fields, "text")),
        lambda p: p.fields.update(dict.fromkeys(context.fields, 7)),
        lambda p: p.fields.update(dict.fromkeys(context.fields, True)),
        lambda p: p.fields.update(dict.fromkeys(context.fields, math.nan)),
        lambda p: p.fields.update(dict.fromkeys(context.fields, math.inf)),
        lambda p: p.tags.clear(),
    ]
    for number, spoil in enumerate(kinds):
        spoil(points[50 + 31 * number])
    with context.ready() as program:
        program.write(serialize(context.requests(points)))
        with contextlib.suppress(BrokenPipeError):
            found = len(data(context.alive(program))) + len(context.finish(program))
    return f"{len(kinds)} bad points among {len(points)}, {found} results"


@_check(
    "awkward frames",
    "it loses its place in the stream at some length of a message; often at 128 bytes.",
)
def awkward_frames(context: Context) -> str:
    """Give points whose frames have every size at which the length grows a byte."""
    plain = context.points(400)
    padded = context.points(400)
    for number, size in enumerate(_AWKWARD):
        for index in range(3):
            # Around the size, as what else is in a point is not known to the byte.
            padded[number * 30 + index].fields["padding"] = "x" * max(0, size - 60 + 20 * index)
    for shift in range(60):
        padded[340 + shift].fields["padding"] = "y" * (shift + 10)
    expected = context.run(context.requests(plain))
    found = context.run(context.requests(padded))
    if len(expected) != len(found):
        raise Failed(f"{len(found)} results instead of {len(expected)}")
    return f"up to {max(_AWKWARD)} bytes"


@_check(
    "split at every byte",
    "it works on small input and breaks under load, when a message comes in two reads.",
)
def split_at_every_byte(context: Context) -> str:
    """Give the input a byte at a time."""
    units = context.requests(context.points(80))
    expected = context.run(units)
    stream = serialize(units)
    with context.ready() as program:
        for at in range(len(stream)):
            program.write(stream[at : at + 1])
        found = context.finish(program)
    if context.repeatable:
        same(expected, found, "results of the input a byte at a time")
    elif len(expected) != len(found):
        raise Failed(f"{len(found)} results instead of {len(expected)}")
    return f"{len(stream)} writes"


def _ends(context: Context, tail: bytes, what: str, *, close: bool) -> None:
    units = context.requests(context.points(100))
    with context.ready() as program:
        # What comes before is whole, and its results are due or lost, but no nonsense may come.
        with contextlib.suppress(ProgramError):
            program.write(serialize(units) + tail)
        if close:
            program.close_input()
        start = time.monotonic()
        while True:
            try:
                response = program.receive()
            except ProgramError as error:
                if "sent nothing" in str(error):
                    raise Failed(f"{what}: it neither errs nor ends") from None
                raise Failed(f"{what}: {error}") from None
            if response is None:
                break
            if response.WhichOneof("message") == "error":
                return
            if time.monotonic() - start > context.timeout:
                raise Failed(f"{what}: it neither errs nor ends")
        program.wait()


@_check("truncated frame", "the program stays behind when kapacitord dies.")
def truncated_frame(context: Context) -> str:
    """End the input inside a frame, at several places."""
    whole = frame(context.requests(context.points(100))[0][0])
    for cut in (1, 2, len(whole) // 2, len(whole) - 1):
        _ends(context, whole[:cut], f"input that ends {cut} bytes into a frame", close=True)
    _ends(context, b"\x80", "input that ends inside a length", close=True)
    return "it errs or ends"


@_check(
    "hostile frames",
    "bytes that are not the protocol make it wait for ever, or take all memory.",
)
def hostile_frames(context: Context) -> str:
    """Give lengths that cannot be, and frames that are no messages."""
    _ends(context, encode_varint(1 << 63) + b"x" * 100, "a length of 2^63", close=True)
    _ends(context, b"\xff" * 12, "a length without an end", close=True)
    _ends(context, encode_varint((1 << 32) + 5) + b"x" * 100, "a length above 2^32", close=True)
    _ends(context, b"\x08" + b"\xff" * 8, "a frame that is no message", close=True)
    return "it errs or ends"


__all__ = ["CHECKS", "Check", "OptionError"]
