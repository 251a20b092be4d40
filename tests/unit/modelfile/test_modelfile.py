"""Model files: what is written can be read, and what must not be read is refused by name."""

import json
import pickle
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor  # type: ignore[import-untyped]
from sklearn.linear_model import LinearRegression  # type: ignore[import-untyped]

import modelfile
from modelfile import ModelError

X = np.arange(20.0).reshape(-1, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pump.skops"
    modelfile.save(LinearRegression().fit(X, 2 * X[:, 0]), path, ("scikit-learn",), threshold=3.5)
    return path


def edit_card(path: Path, **changes: object) -> None:
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


def test_what_is_saved_can_be_loaded(path: Path) -> None:
    model, card = modelfile.load(path)
    assert model.predict([[21.0]]) == pytest.approx([42.0])
    assert card.libraries == {"scikit-learn": metadata.version("scikit-learn")}
    assert card.about == {"threshold": 3.5}


def test_a_changed_file_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"pump\.skops: not the file of its card .* train it again"
    ):
        modelfile.load(path)


def test_another_version_is_refused_with_the_pin(path: Path) -> None:
    edit_card(path, libraries={"scikit-learn": "0.24.2"})
    here = metadata.version("scikit-learn")
    with pytest.raises(ModelError, match=rf"0\.24\.2, and {here} is installed.*Pin scikit-learn=="):
        modelfile.load(path)


def test_a_missing_library_is_named(path: Path) -> None:
    edit_card(path, libraries={"no-such-library": "1.0"})
    with pytest.raises(ModelError, match=r"no-such-library 1\.0, which is not installed here"):
        modelfile.load(path)


def test_versions_are_not_compared_where_nothing_is_installed(path: Path) -> None:
    edit_card(path, libraries={"no-such-library": "1.0"})
    assert modelfile.verify(path, libraries=False).file == "pump.skops"


@pytest.mark.parametrize("ending", sorted(modelfile.RUNS_CODE))
def test_formats_that_run_code_are_refused_unread(tmp_path: Path, ending: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    path = tmp_path / f"pump{ending}"
    path.write_bytes(pickle.dumps(Bomb()))
    modelfile.write_card(path, ())
    with pytest.raises(ModelError, match="runs code"):
        modelfile.load(path)
    assert not (tmp_path / "ran").exists()


def test_types_not_known_to_be_harmless_are_refused_on_both_ways(tmp_path: Path) -> None:
    import skops.io

    forest = RandomForestRegressor(2).fit(X, X[:, 0])
    path = tmp_path / "forest.skops"
    with pytest.raises(ModelError, match=r"sklearn\.tree\._tree\.Tree"):
        modelfile.save(forest, path, ())
    path.write_bytes(skops.io.dumps(forest))
    modelfile.write_card(path, ())
    with pytest.raises(ModelError, match=r"sklearn\.tree\._tree\.Tree, which is not known"):
        modelfile.load(path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pump.skops"
    path.write_bytes(b"anything")
    modelfile.write_card(path, ())
    with pytest.raises(ModelError, match="not a model that skops can read"):
        modelfile.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ("[]", "file is missing"), ('{"file": "pump.skops"}', "sha256 is missing"),
     ('{"file": "../pump.skops", "sha256": "", "libraries": {}}', "not a path")],
)  # fmt: skip
def test_a_bad_card_is_named(path: Path, content: str, message: str) -> None:
    path.with_suffix(".json").write_text(content)
    with pytest.raises(ModelError, match=rf"pump\.json: .*{message}"):
        modelfile.load(path)


def test_a_missing_card_or_model_is_named(path: Path) -> None:
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"pump\.json: cannot be read .*every model has a card"):
        modelfile.load(path)
    path.unlink()
    with pytest.raises(ModelError, match=r"pump\.skops: cannot be read"):
        modelfile.load(path)
