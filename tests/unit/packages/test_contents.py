"""What is wrong with a package, as far as that can be seen without running it: all at once."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from stack.packages.contents import Call, calls, image_versions, read, schema
from stack.settings import ROOT

EXAMPLE = ROOT / "packages" / "turbine"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "turbine"))


def problems(folder: Path) -> dict[str, tuple[str, str]]:
    return {p.file: (p.what, p.fix) for p in read(folder).problems}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_example_has_nothing_wrong() -> None:
    assert read(EXAMPLE).problems == []


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema().schema)


def test_everything_wrong_is_said_at_once(folder: Path) -> None:
    edit(folder / "package.toml", 'version = "1.0.0"', 'version = "1"\nlicence = "MIT"')
    (folder / "udf" / "turbine.py").write_text("def broken(:\n")
    (folder / "requirements.txt").write_text("numpy==1.24.0\nscikit-learn\n")
    (folder / "models" / "turbine.skops").write_bytes(b"other")
    edit(folder / "tasks" / "turbine.tick", 'dbrp "turbine"."autogen"', "")
    found = read(folder).problems
    assert [p.file for p in sorted(found)] == [
        "models/turbine.skops", "package.toml", "package.toml", "requirements.txt:1",
        "requirements.txt:2", "tasks/turbine.tick", "udf/turbine.py:1",
    ]  # fmt: skip
    assert all(p.what and p.fix for p in found)


@pytest.mark.parametrize(
    ("old", "new", "what", "fix"),
    [
        ('name = "turbine"', 'name = "Turbine 1"', "name: 'Turbine 1' does not match", "called"),
        ('version = "1.0.0"', "version = 1", "version: 1 is not of type 'string'", "MAJOR.MINOR"),
        ('version = "1.0.0"', "", "'version' is a required property", "add it"),
        ('version = "1.0.0"', 'version = "1.0.0"\nmodel = 1', "'model' was unexpected", "known"),
        ('timeout = "60s"', 'timeout = "soon"', "timeout: 'soon'",
         "kills the program"),
        ('program = "udf/turbine.py"', 'program = "../turbine.py"', "'../turbine.py' does not",
         "the Python file in udf/"),
        ('program = "udf/turbine.py"', 'program = "udf/pump.py"', "there is no udf/pump.py",
         "correct program"),
        ("[functions.turbine]", "[functions.turbine", "is no TOML", "correct it"),
        ("[functions.turbine]", "[functions.'my-udf']", "'my-udf' does not match", ""),
    ],
)  # fmt: skip
def test_a_wrong_manifest(folder: Path, old: str, new: str, what: str, fix: str) -> None:
    edit(folder / "package.toml", old, new)
    found = problems(folder)
    assert set(found) == {"package.toml"}
    assert what in found["package.toml"][0]
    assert fix in found["package.toml"][1]


def test_a_missing_manifest(folder: Path) -> None:
    (folder / "package.toml").unlink()
    assert problems(folder)["package.toml"] == (
        "is missing", "write one; packages/turbine/package.toml is an example",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("numpy==1.24.0", "conflicts with the image, which has numpy"),
        ("protobuf==3.20.3", "conflicts with the image, which has protobuf"),
        ("pandas", "has no exact version"),
        ("pandas>=2", "has no exact version"),
        ("pandas==2.*", "has no exact version"),
        ("pandas @ https://example.org/pandas.whl", "has no exact version"),
        ("-r other.txt", "options of pip"),
        ("--index-url https://example.org", "options of pip"),
        ("pandas=2.0", "is no requirement"),
    ],
)
def test_a_wrong_requirement(folder: Path, line: str, what: str) -> None:
    edit(folder / "requirements.txt", "# What", f"{line}\n# What")
    assert what in problems(folder)["requirements.txt:1"][0]


def test_requirements_the_image_has_anyway_are_no_conflict(folder: Path) -> None:
    version = image_versions()["numpy"]
    edit(folder / "requirements.txt", "# What", f"numpy=={version}\n# What")
    assert problems(folder) == {}


def test_a_model_that_needs_another_version(folder: Path) -> None:
    edit(folder / "requirements.txt", "scikit-learn==1.9.1", "scikit-learn==1.8.0")
    what, fix = problems(folder)["requirements.txt"]
    assert what.startswith("models/turbine.skops was made with scikit-learn 1.9.1")
    assert "write scikit-learn==1.9.1" in fix


def test_a_pickle_is_refused_by_its_name(folder: Path) -> None:
    (folder / "models" / "pump.pkl").write_bytes(b"\x80\x04")
    what, fix = problems(folder)["models/pump.pkl"]
    assert "runs code" in what
    assert ".skops or .onnx" in fix


def test_a_model_without_a_card(folder: Path) -> None:
    (folder / "models" / "turbine.json").unlink()
    assert "models/turbine.json" in problems(folder)


def test_a_package_without_tasks(folder: Path) -> None:
    shutil.rmtree(folder / "tasks")
    assert problems(folder) == {"tasks/": ("holds no .tick file", "add the task that uses the UDF")}


def test_calls_are_found_with_their_options_and_lines() -> None:
    script = """// @not() .this('one')
var field = 'flow'
stream
    |from()
        .where(lambda: "a" == '@nor() this')
    @pump()
        .field(field)
        .limits(1.5, 2m)
        .note('it''s, (so)')
    |window()
        .period(1m)
    @other()
"""
    assert calls(script) == [
        Call("pump", (("field", ("field",)), ("limits", ("1.5", "2m")),
                      ("note", ("it''s, (so)",))), 6),
        Call("other", (), 12),
    ]  # fmt: skip


def test_only_what_belongs_into_the_stack_is_installed(folder: Path) -> None:
    (folder / "README.md").touch()
    (folder / "training").mkdir()
    (folder / "training" / "data.csv").touch()
    names = {str(name) for name in read(folder).installed_files()}
    assert "models/turbine.skops" in names
    assert "train.py" not in names
    assert not {n for n in names if n.startswith(("README", "training", "tests"))}


def test_the_card_of_the_example_says_what_it_was_made_of() -> None:
    card = json.loads((EXAMPLE / "models" / "turbine.json").read_text())
    assert card["scores"]["fault_free"]["alarms"] == 0
    assert len(card["data"]["fitted"]["sha256"]) == 64
