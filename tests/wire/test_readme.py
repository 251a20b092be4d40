"""The programs in the UDFs' README run as printed, and every public name is in it."""

import re
import sys
import tomllib

import pytest

from kapacitor.udf import agent, connection, framing, streams, typed
from tests.wire import talk

README = (talk.UDF / "README.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# file: (\S+)\n(.*?)```", README, re.DOTALL))


def run(name, folder, **options):
    program = talk.start(PROGRAMS[name], folder=folder)
    program.info()
    assert program.init(talk.options(**options)).success
    return program


def fields(program):
    point = program.expect("point").point
    return {**point.fieldsDouble, **point.fieldsInt, **point.fieldsBool}


def test_there_are_programs_and_they_are_short():
    assert sorted(PROGRAMS) == ["jump.py", "scale.py", "shift.py", "spread.py"]
    assert max(len(text.splitlines()) for text in PROGRAMS.values()) < 25


@pytest.mark.wire
def test_the_supervised_declaration_works(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (declared,) = (block for block in blocks if "supervise" in block)
    function = tomllib.loads(declared)["udf"]["functions"]["tTest"]
    assert function["prog"] == "python3"
    words = [sys.executable if word == "python3" else word for word in function["args"]]
    arguments = [str(talk.UDF.parent / word) if word.endswith(".py") else word for word in words]
    with talk.Program([sys.executable, *arguments], env={"PYTHONPATH": str(talk.UDF)}) as program:
        assert program.init(talk.options(field="x", size=100, alpha=0.1)).success
        program.send(*talk.window([1, 2, 3]))
        assert program.expect("point").point.fieldsDouble["pvalue"] == 1.0


@pytest.mark.wire
def test_spread(tmp_path):
    with run("spread.py", tmp_path, field="hotend", limit=4.0) as program:
        program.send(*talk.window([1, 9]), *talk.window([3, 8]), *talk.window([]))
        assert [fields(program) for _ in range(3)] == [
            {"spread": 8.0, "wide": 1},
            {"spread": 5.0, "wide": 2},
            {"spread": 0.0, "wide": 0},
        ]


@pytest.mark.wire
def test_shift(tmp_path):
    with run("shift.py", tmp_path, field="hotend") as program:
        program.send(*talk.window([1, 2, 3]), *talk.window([101, 102, 103]))
        assert fields(program) == {"t": 0.0, "pvalue": 1.0}
        assert fields(program)["pvalue"] < 1e-6


@pytest.mark.wire
def test_jump(tmp_path):
    with run("jump.py", tmp_path, field="x", limit=3.0) as program:
        program.send(*(talk.point(n, x=value) for n, value in enumerate([1.0, 2.0, 9.0])))
        assert [fields(program) for _ in range(3)] == [
            {"x": 1.0, "jump": False},
            {"x": 2.0, "change": 1.0, "jump": False},
            {"x": 9.0, "change": 7.0, "jump": True},
        ]


@pytest.mark.wire
def test_scale(tmp_path):
    with run("scale.py", tmp_path, field="x") as program:
        program.send(talk.point(1, x=100.0))
        assert fields(program) == {"x": 100.0, "log": 2.0}


@pytest.mark.parametrize("module", [agent, connection, framing, streams, typed])
def test_every_public_name_is_documented(module):
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and callable(value)
    ]
    assert names
    for name in names:
        assert f"`{name}`" in README or f"`{name}(" in README, name
        value = getattr(module, name)
        if callable(value):
            assert value.__doc__, name
            members = {} if not isinstance(value, type) else vars(value)
            for member, inner in members.items():
                if callable(inner) and not member.startswith("_"):
                    assert inner.__doc__, f"{name}.{member}"
