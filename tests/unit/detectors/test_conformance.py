"""What holds for every detector, found by looking: a new file in `detectors` is tested at once."""

import importlib
import inspect
import json
import math
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detectors
from detectors.base import Detector, Scores, State, StreamDetector, WindowDetector
from detectors.welch import Welch

ARGUMENTS: dict[type, dict[str, Any]] = {Welch: {"size": 200, "alpha": 0.001}}
"""For detectors whose arguments do not all have defaults."""

SECOND = 1_000_000_000


def found() -> list[type[Detector]]:
    classes: set[type[Detector]] = set()
    for module in pkgutil.iter_modules(detectors.__path__):
        for _, member in inspect.getmembers(importlib.import_module(f"detectors.{module.name}")):
            if (
                inspect.isclass(member)
                and issubclass(member, Detector)
                and not inspect.isabstract(member)
            ):
                classes.add(member)
    return sorted(classes, key=lambda c: c.__name__)


def build(cls: type[Detector]) -> Detector:
    return cls(**ARGUMENTS.get(cls, {}))


def feed(detector: Detector, window: np.ndarray, at: int = 0) -> list[Scores]:
    """Feed the window number `at`: whole, or value by value, one a second."""
    if isinstance(detector, WindowDetector):
        return [detector.update(window)]
    assert isinstance(detector, StreamDetector)
    begin = 1451606400 + at * 60
    return [detector.update(float(v), (begin + i) * SECOND) for i, v in enumerate(window)]


def feed_all(detector: Detector, windows: np.ndarray, at: int = 0) -> list[Scores]:
    return [s for i, window in enumerate(windows) for s in feed(detector, window, at + i)]


def ordinary(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(70, 3, (count, 60))


def size(state: State) -> int:
    return sum(int(np.size(value)) for value in state.values())


every = pytest.mark.parametrize("cls", found(), ids=lambda cls: cls.__name__)


def test_detectors_are_found() -> None:
    assert {"Welch", "ControlChart"} <= {cls.__name__ for cls in found()}


@every
@pytest.mark.parametrize(
    "windows",
    [
        pytest.param([[]], id="empty"),
        pytest.param([[1.0]], id="one value"),
        pytest.param([[2.0] * 9], id="constant"),
        pytest.param([[math.nan] * 5, [1, math.nan, 3], [math.inf, -math.inf, 2, 2.5]], id="gaps"),
        pytest.param([[1e300, -1e300], [1e150, -1e150, 1e150]], id="huge"),
        pytest.param([[5e-324, 0.0, 1e-310]], id="tiny"),
    ],
)
def test_hard_windows_give_the_usual_scores(
    cls: type[Detector], windows: list[list[float]]
) -> None:
    detector = build(cls)
    names = set(feed_all(detector, ordinary(10))[0])
    for at, window in enumerate([*windows, *ordinary(3, seed=1), *windows], start=10):
        for scores in feed(detector, np.array(window, dtype=float), at):
            assert set(scores) == names
            for name, score in scores.items():
                assert type(score) is float, name
                assert math.isfinite(score), name
                assert name != "pvalue" or 0 <= score <= 1


@every
@pytest.mark.parametrize("first", [0, 1, 5, 60])
def test_a_restored_detector_goes_on_as_if_nothing_happened(
    cls: type[Detector], first: int
) -> None:
    original, copy = build(cls), build(cls)
    windows = ordinary(first + 40)
    windows[first + 20] += 30
    feed_all(original, windows[:first])
    # The copy has a past of its own, which restoring must not leave a trace of.
    feed_all(copy, ordinary(3, seed=9))
    copy.restore(original.state())
    assert feed_all(copy, windows[first:], first) == feed_all(original, windows[first:], first)


@every
def test_a_state_is_plain_and_stays_as_it_was(cls: type[Detector]) -> None:
    detector = build(cls)
    feed_all(detector, ordinary(8))
    state = detector.state()
    before = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}
    json.dumps(before, allow_nan=False)
    for value in state.values():
        assert type(value) in (int, float, str, bool, list, np.ndarray)
        if isinstance(value, np.ndarray):
            assert value.dtype in (np.float64, np.int64)
    feed_all(detector, ordinary(8, seed=1), 8)
    assert before == {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}


@every
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(cls: type[Detector]) -> None:
    detector = build(cls)
    feed_all(detector, ordinary(8))
    good = detector.state()
    for name in good:
        for damaged in ({k: v for k, v in good.items() if k != name}, {**good, name: "nonsense"}):
            with pytest.raises(ValueError, match=r"^state: "):
                detector.restore(damaged)
    after = detector.state()
    assert all(np.array_equal(after[name], good[name]) for name in good)


@every
def test_memory_is_bounded(cls: type[Detector]) -> None:
    detector = build(cls)
    feed_all(detector, ordinary(100))
    bound = size(detector.state())
    feed_all(detector, ordinary(300, seed=1), 100)
    assert size(detector.state()) <= bound


@every
def test_input_is_read_and_not_changed(cls: type[Detector]) -> None:
    windows = ordinary(10)
    windows[:, 3] = np.nan
    windows.flags.writeable = False
    feed_all(build(cls), windows)


@pytest.mark.parametrize(
    "cls",
    [c for c in found() if "pvalue" in feed(build(c), ordinary(1)[0])[0]],
    ids=lambda cls: cls.__name__,
)
def test_p_values_stay_high_in_normal_data_and_not_in_a_fault(cls: type[Detector]) -> None:
    detector = build(cls)
    quiet = [scores["pvalue"] for scores in feed_all(detector, ordinary(200))]
    assert sum(p < 0.001 for p in quiet) <= len(quiet) / 100
    assert min(s["pvalue"] for s in feed(detector, ordinary(1, seed=5)[0] + 6, 200)) < 1e-6
    assert np.median([s["pvalue"] for s in feed(detector, ordinary(1, seed=6)[0], 201)]) > 0.001


@every
def test_its_docstring_is_a_short_paper(cls: type[Detector]) -> None:
    text = inspect.getdoc(cls) or ""
    for part in ("Parameters\n---", "Examples\n---", "References\n---", "*Trade-off.*"):
        assert part in text, part
    # And one a reader gets through.
    assert len(Path(inspect.getfile(cls)).read_text().splitlines()) < 400


def test_no_detector_pulls_in_protobuf_or_a_network_library() -> None:
    names = [f"detectors.{module.name}" for module in pkgutil.iter_modules(detectors.__path__)]
    script = "import importlib, sys\n" + "".join(f"importlib.import_module({n!r})\n" for n in names)
    script += "print(*{name.split('.')[0] for name in sys.modules})"
    root = str(Path(detectors.__path__[0]).parent)
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"google", "requests", "kapacitor", "lineprotocol"} & set(result.stdout.split())
