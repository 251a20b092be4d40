"""The messages: in step with their definition, and the same under every runtime."""

import os
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from kapacitor.udf import build_messages, udf_pb2
from tests.unit.sdk.venvs import ROOT, environment


def test_the_descriptor_and_the_stubs_are_in_step_with_the_definition(tmp_path):
    python = environment("protoc", "grpcio-tools>=1.70")
    build_messages.compile_messages(tmp_path, python)
    here = build_messages.HERE
    fresh, kept = (
        descriptor_pb2.FileDescriptorSet.FromString((folder / "udf.desc").read_bytes())
        for folder in (tmp_path, here)
    )
    remedy = "udf.proto has changed: run python -m kapacitor.udf.build_messages"
    assert fresh == kept, remedy
    assert (tmp_path / "udf_pb2.pyi").read_text() == (here / "udf_pb2.pyi").read_text(), remedy


def test_the_numbers_are_kapacitors():
    """What goes over the wire, byte by byte, so that no edit of the definition moves it."""
    point = udf_pb2.Point(
        time=1, name="n", database="d", retentionPolicy="r", group="g", dimensions=["x"],
        tags={"t": "v"}, fieldsDouble={"a": 0.0}, fieldsInt={"b": 2}, fieldsString={"c": "s"},
        byName=True, fieldsBool={"e": True},
    )  # fmt: skip
    assert udf_pb2.Request(point=point).SerializeToString().hex() == (
        "8a013f" "0801" "12016e" "1a0164" "220172" "2a0167" "320178" "3a060a017412" "0176"
        "420c0a016111" "0000000000000000" "4a050a01621002" "52060a01631201" "73" "5801"
        "62050a01651001"
    )  # fmt: skip
    begin = udf_pb2.BeginBatch(name="n", group="g", tags={"t": "v"}, size=3, byName=True)
    assert udf_pb2.Response(begin=begin).SerializeToString().hex() == (
        "8201" "12" "0a016e" "120167" "1a060a0174120176" "2003" "2801"
    )  # fmt: skip
    end = udf_pb2.EndBatch(name="n", group="g", tmax=3, tags={"t": "v"}, byName=True)
    assert udf_pb2.Response(end=end).SerializeToString().hex() == (
        "9201" "12" "0a016e" "120167" "1803" "22060a0174120176" "2801"
    )  # fmt: skip
    value = udf_pb2.OptionValue(type=udf_pb2.DURATION, durationValue=7)
    init = udf_pb2.InitRequest(
        options=[udf_pb2.Option(name="o", values=[value])], taskID="t", nodeID="u"
    )
    assert udf_pb2.Request(init=init).SerializeToString().hex() == (
        "1211" "0a09" "0a016f" "1204" "08043007" "120174" "1a0175"
    )  # fmt: skip
    first = {
        "info": udf_pb2.InfoResponse(wants=1, provides=1),
        "init": udf_pb2.InitResponse(success=True, error="x"),
        "keepalive": udf_pb2.KeepaliveResponse(time=1),
        "snapshot": udf_pb2.SnapshotResponse(snapshot=b"x"),
        "restore": udf_pb2.RestoreResponse(success=True, error="x"),
        "error": udf_pb2.ErrorResponse(error="x"),
    }
    found = {
        kind: udf_pb2.Response(**{kind: message}).SerializeToString().hex()
        for kind, message in first.items()
    }
    assert found == {
        "info": "0a0408011001",
        "init": "12050801120178",
        "keepalive": "1a020801",
        "snapshot": "22030a0178",
        "restore": "2a050801120178",
        "error": "32030a0178",
    }


def test_the_names_are_those_of_a_generated_module():
    assert (udf_pb2.STREAM, udf_pb2.BATCH) == (0, 1)
    assert [udf_pb2.BOOL, udf_pb2.INT, udf_pb2.DOUBLE, udf_pb2.STRING, udf_pb2.DURATION] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert udf_pb2.EdgeType.Name(1) == "BATCH"
    assert udf_pb2.ValueType.Value("DURATION") == 4
    assert udf_pb2.DESCRIPTOR.package == "agent"
    assert udf_pb2.Point.DESCRIPTOR.full_name == "agent.Point"
    assert udf_pb2.Point().fieldsDouble.get("no", 1.5) == 1.5


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_the_pure_python_implementation_has_the_same_messages(implementation):
    program = """
import pickle
from kapacitor.udf import udf_pb2
response = udf_pb2.Response()
response.point.fieldsDouble["a"] = 1.5
response.point.tags["t"] = "v"
assert type(response.point) is udf_pb2.Point
assert udf_pb2.Response.FromString(response.SerializeToString()) == response
assert pickle.loads(pickle.dumps(response)) == response
print(type(udf_pb2._pool).__module__, response.SerializeToString().hex())
"""
    env = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    env["PYTHONPATH"] = str(ROOT / "udf")
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    module, message = ran.stdout.split()
    assert ("upb" in module) == (implementation == "upb")
    assert message == "8a01163a060a0174120176420c0a016111000000000000f83f"


SUITES = {
    "tests/unit/sdk/test_columns.py": "",
    "tests/unit/sdk/test_messages.py": "numbers or names",
    "tests/wire/test_agent.py": "unmodified or comes_back or raises or no_requests or socket",
    "tests/wire/test_typed.py": "welchs or three_fields or mistakes or kept or arrays or added",
}


@pytest.mark.parametrize("runtime", [4, 5, 6, 7])
def test_every_runtime_gives_the_same(runtime):
    python = environment(f"protobuf-{runtime}", f"protobuf>={runtime},<{runtime + 1}")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    show = "import google.protobuf as p; print(p.__version__)"
    version = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True)
    assert version.stdout.split(".")[0] == str(runtime)
    chosen = " or ".join(words for words in SUITES.values() if words)
    command = [python, "-m", "pytest", "-q", "-x", *SUITES, "-k", f"columns or {chosen}"]
    # Older runtimes use what newer Pythons deprecate; that is theirs to mend.
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", "filterwarnings=default"]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
