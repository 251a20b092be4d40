import gzip
import io
import zipfile
from pathlib import Path

import pytest

from stack.cases import data
from stack.cases.case import CASES, CaseError, names, read
from stack.cases.script import Source

SCRIPT = "stream\n    |from()\n        .measurement('cpu')\n    |alert()\n"
LINE = "cpu,host=a idle=1 1451606400000000000\n"


def make(folder: Path, **files: str) -> Path:
    files = {name.replace("__", "."): content for name, content in files.items()}
    given = {} if any(name.startswith("input") for name in files) else {"input.lp": LINE}
    for name, content in {"task.tick": SCRIPT, **given, **files}.items():
        (folder / name).write_text(content)
    return folder


def test_every_case_of_the_repository_can_be_read() -> None:
    assert len(names()) >= 25
    for name in names():
        case = read(CASES / name)
        assert case.expected is not None, name
        assert case.description, name


def test_every_tickscript_that_runs_by_itself_or_is_an_example_has_a_case() -> None:
    root = CASES.parent.parent / "kapacitor"
    scripts = {*root.glob("examples/*.tick"), *root.glob("load/*/*.tick")}
    tested = {task.file for name in names() for task in read(CASES / name).tasks}
    assert sorted(file.name for file in scripts - tested) == []


def test_a_folder_with_a_script_and_input_is_a_case(tmp_path: Path) -> None:
    case = read(make(tmp_path))
    (task,) = case.tasks
    assert (task.name, task.kind) == (tmp_path.name, "stream")
    # Neither a dbrp line nor a database in a node: that of the data will do.
    assert task.dbrps == ()
    (points,) = data.load(case)
    assert points.source == data.ANY
    assert case.expected is None


def test_the_database_of_a_script_without_dbrp_is_the_one_it_names(tmp_path: Path) -> None:
    script = SCRIPT.replace(".measurement", ".database('shop').retentionPolicy('w').measurement")
    (task,) = read(make(tmp_path, task__tick=script)).tasks
    assert task.dbrps == (Source("shop", "w"),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("precsion = 's'", "no such setting: precsion"),
        ("precision = 'h'", "precision 'h' is none of ns, us, ms, s"),
        ("live = true", "live is True, it has to be int or float"),
        ("task = 'none.tick'", "no file none.tick"),
        ("expect = ['alarms']", "choose from alerts"),
        ("clock = 'slow'", "neither fast nor real"),
        ("live = ", "case.toml"),
        ("input = 'other.lp'", "no file other.lp"),
        ("dbrp = ['.x']", "is not DATABASE.POLICY"),
        ("handlers = ['task.tick']", "has to hold key: value lines"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        read(make(tmp_path, case__toml=settings))


def test_a_wrong_expectation_is_named(tmp_path: Path) -> None:
    for text, message in (("{", r"expected.json:1:2"), ("{}", "one or more of"), ("[]", "object")):
        with pytest.raises(CaseError, match=message):
            read(make(tmp_path, expected__json=text))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no case 'nothing'"):
        read(tmp_path / "nothing")
    with pytest.raises(CaseError, match="has no TICKscript"):
        read(tmp_path)
    (tmp_path / "task.tick").write_text(SCRIPT)
    with pytest.raises(CaseError, match="has no input"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "the input is empty"),
        ("# only a comment\n", "the input is empty"),
        ("cpu idle=1\n", r"input.lp:1: the point has no time"),
        (LINE + "cpu idle= 1451606400000000000x\n", r"input.lp:2:"),
        ("cpu idle=1 1451606400\n", r"input.lp:1: .* read in ns"),
    ],
)
def test_wrong_input_is_named(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        data.load(read(make(tmp_path, input__lp=lines)))


def test_input_can_be_moved_in_time(tmp_path: Path) -> None:
    lines = "cpu idle=1 7\ncpu idle=2 5\n"
    settings = "precision = 's'\nbegin = 2016-01-01T00:00:00Z\n"
    with pytest.raises(CaseError, match="read in s"):
        data.load(read(make(tmp_path, input__lp=lines, case__toml="precision = 's'")))
    (tmp_path / "input.lp").unlink()
    recording = "".join(f"db\nrp\n{line}\n" for line in lines.splitlines())
    (points,) = data.load(read(make(tmp_path, input__srpl=recording, case__toml=settings)))
    start = 1451606400_000000000
    assert points.lines == [b"cpu idle=1 %d" % (start + 2 * 10**9), b"cpu idle=2 %d" % start]


def test_a_recording_of_kapacitor_is_input(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "input.lp").unlink()
    content = "".join(f"{db}\nautogen\n{LINE}" for db in ("a", "a", "b")).encode()
    (tmp_path / "input.srpl").write_bytes(gzip.compress(content))
    points = data.load(read(tmp_path))
    assert [(p.source.database, len(p.lines)) for p in points] == [("a", 2), ("b", 1)]
    assert data.span(points) == (1451606400_000000000,) * 2


def test_a_batch_recording_is_input_of_batch_tasks_only(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "input.lp").unlink()
    (tmp_path / "input.0.brpl").write_text('{"name":"cpu","points":[]}\n')
    with pytest.raises(CaseError, match="no input for a stream task"):
        read(tmp_path)
    query = 'batch|query(\'SELECT mean(idle) FROM "t"."default"."cpu"\')|alert()'
    (tmp_path / "task.tick").write_text(query)
    case = read(tmp_path)
    assert case.recorded
    assert case.tasks[0].dbrps == (Source("t", "default"),)
    with zipfile.ZipFile(io.BytesIO(data.batches(case))) as made:
        assert made.namelist() == ["0"]


def test_input_for_several_databases(tmp_path: Path) -> None:
    settings = "[input]\n'shop.week' = 'input.lp'\n'telegraf' = 'input.lp'\n"
    points = data.load(read(make(tmp_path, case__toml=settings)))
    assert [str(p.source) for p in points] == ["shop.week", "telegraf.autogen"]
