"""A UDF in the protocol's bare terms, for tests of what drives UDFs.

It keeps, for each group, how many points it has seen and their sum, and tells both after each
window (or each point). What it should do badly is chosen by arguments.
"""

import argparse
import json
import os
import signal
import sys
import time

from kapacitor.udf import udf_pb2
from kapacitor.udf.framing import FrameReader, FrameWriter


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wants", choices=("batch", "stream"), default="batch")
    parser.add_argument("--snapshots", choices=("yes", "empty", "die", "refuse"), default="yes")
    parser.add_argument("--kill-on", type=float, help="die when the field has this value")
    parser.add_argument("--error-on", type=float, help="send an error when it has this value")
    parser.add_argument("--hang-on", type=float, help="sleep for ever when it has this value")
    parser.add_argument("--once", help="misbehave only if this file is not there; make it")
    parser.add_argument("--forget-restore", action="store_true")
    parser.add_argument("--mix-groups", action="store_true")
    parser.add_argument("--mirror", action="store_true", help="send each point back as well")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds of work a window")
    parser.add_argument("--hold", action="store_true", help="keep results until more comes")
    parser.add_argument("--no-keepalive", action="store_true")
    parser.add_argument("--silent-refusal", action="store_true")
    parser.add_argument("--need-points", action="store_true", help="die of an empty window")
    parser.add_argument("--need-field", action="store_true", help="die of a missing field")
    parser.add_argument("--sleep-at-end", action="store_true")
    parser.add_argument("--exit-status", type=int, default=0)
    arguments = parser.parse_args()

    out = FrameWriter(1)
    field = "f"
    state: dict[str, list[float]] = {}
    begin = udf_pb2.BeginBatch()
    window: list[udf_pb2.Point] = []

    def misbehave(point: udf_pb2.Point) -> None:
        value = point.fieldsDouble.get(field)
        if value is None or value not in (
            arguments.kill_on,
            arguments.error_on,
            arguments.hang_on,
        ):
            return
        if arguments.once:
            try:
                os.close(os.open(arguments.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        out.flush()
        if value == arguments.kill_on:
            os.kill(os.getpid(), signal.SIGKILL)
        if value == arguments.hang_on:
            time.sleep(3600)
        answer(udf_pb2.Response(error=udf_pb2.ErrorResponse(error=f"cannot bear {value}")))
        out.flush()
        sys.exit(1)

    def answer(response: udf_pb2.Response) -> None:
        out.write(response.SerializeToString())

    def account(group: str, point: udf_pb2.Point) -> list[float]:
        misbehave(point)
        if arguments.need_field and field not in point.fieldsDouble:
            raise KeyError(field)
        sums = state.setdefault("" if arguments.mix_groups else group, [0.0, 0.0])
        if field in point.fieldsDouble:
            sums[0] += 1
            sums[1] += point.fieldsDouble[field]
        return sums

    def tell(name: str, group: str, stamp: int, tags: dict[str, str], **fields: float) -> None:
        response = udf_pb2.Response()
        response.point.name = name
        response.point.group = group
        response.point.time = stamp
        response.point.tags.update(tags)
        response.point.fieldsDouble.update(fields)
        answer(response)

    reader = FrameReader(0)
    while frames := reader.read_frames():
        for frame in frames:
            request = udf_pb2.Request.FromString(frame)
            kind = request.WhichOneof("message")
            response = udf_pb2.Response()
            if kind == "info":
                batch = arguments.wants == "batch"
                response.info.wants = udf_pb2.BATCH if batch else udf_pb2.STREAM
                response.info.provides = udf_pb2.STREAM
                response.info.options["field"].valueTypes.append(udf_pb2.STRING)
                answer(response)
            elif kind == "init":
                names = [option.name for option in request.init.options]
                response.init.success = names == ["field"]
                if response.init.success:
                    field = request.init.options[0].values[0].stringValue
                else:
                    response.init.error = (
                        ""
                        if arguments.silent_refusal
                        else f"give field once and nothing else, not {names}"
                    )
                answer(response)
            elif kind == "keepalive" and not arguments.no_keepalive:
                response.keepalive.time = request.keepalive.time
                answer(response)
            elif kind == "snapshot":
                if arguments.snapshots == "die":
                    out.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                response.snapshot.SetInParent()
                if arguments.snapshots != "empty":
                    response.snapshot.snapshot = json.dumps(state).encode()
                answer(response)
            elif kind == "restore":
                response.restore.success = arguments.snapshots == "yes"
                response.restore.error = "" if response.restore.success else "not implemented"
                if response.restore.success and not arguments.forget_restore:
                    try:
                        state = dict(json.loads(request.restore.snapshot))
                    except ValueError as error:
                        response.restore.success = False
                        response.restore.error = f"not a snapshot of mine: {error}"
                answer(response)
            elif kind == "begin":
                begin.CopyFrom(request.begin)
                window = []
            elif kind == "point":
                point = request.point
                if arguments.wants == "batch":
                    window.append(point)
                else:
                    count, total = account(point.group, point)
                    tell(point.name, point.group, point.time, dict(point.tags), n=count, sum=total)
            elif kind == "end":
                end = request.end
                time.sleep(arguments.delay)
                if arguments.need_points:
                    window[0]
                sums = state.get("" if arguments.mix_groups else end.group, [0.0, 0.0])
                for point in window:
                    sums = account(end.group, point)
                    if arguments.mirror:
                        mirror = udf_pb2.Response(point=point)
                        mirror.point.name = end.name
                        answer(mirror)
                first = window[0].time if window else 0
                last = window[-1].time if window else 0
                tell(
                    end.name,
                    end.group,
                    end.tmax,
                    dict(end.tags),
                    n=sums[0],
                    sum=sums[1],
                    points=float(len(window)),
                    size=float(begin.size),
                    first=first / 1e9,
                    last=last / 1e9,
                )
        if not arguments.hold or kind not in ("begin", "point", "end"):
            out.flush()
    if arguments.sleep_at_end:
        time.sleep(3600)
    out.flush()
    return int(arguments.exit_status)


if __name__ == "__main__":
    sys.exit(main())
