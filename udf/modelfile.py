"""Trained models in files that run no code when they are read, each with a card beside it.

A model lies in a file such as ``models/pump.skops``, and beside it is its card,
``models/pump.json``::

    {
      "file": "pump.skops",
      "sha256": "9f86d0...",
      "libraries": {"scikit-learn": "1.9.1"},
      ...
    }

`save` writes both, `load` refuses a file that is not the one of the card, that was made with
another version of a library the card names, or whose format could run code. What else a UDF needs
to know of its model (threshold, units, scores on held-out data) is kept on the card as well,
under keys of its own.

The hash tells a damaged or exchanged file. It is no signature: who can write the model can write
the card.

References
----------
Secure persistence in skops: https://skops.readthedocs.io/en/stable/persistence.html
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

RUNS_CODE = {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth"}
"""Endings of formats built on pickle: reading such a file runs whatever it says."""


class ModelError(ValueError):
    """A model that must not be used; the message names the file and the fix."""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model file.

    Attributes
    ----------
    file : str
        Name of the model file, in the folder of the card.
    sha256 : str
        Of its bytes, in hexadecimal.
    libraries : dict of str to str
        The exact versions, by the name of the distribution, that the file can be read with.
    about : dict
        All other keys of the card.
    """

    file: str
    sha256: str
    libraries: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def card_path(path: Path) -> Path:
    """Return where the card of a model file is.

    Examples
    --------
    >>> card_path(Path("models/pump.skops")).name
    'pump.json'
    """
    return path.with_suffix(".json")


def read_card(path: Path) -> Card:
    """Read a card.

    Parameters
    ----------
    path : Path
        Of the card itself.

    Raises
    ------
    ModelError
        If it is not there, no JSON, or lacks what a card must have.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); every model has a card beside it, which "
            "modelfile.save writes"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from None
    wanted = {"file": str, "sha256": str, "libraries": dict}
    for key, kind in wanted.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise ModelError(
                f"{path}: a card has {', '.join(wanted)}; {key} is missing or of the wrong type"
            )
    if Path(content["file"]).name != content["file"]:
        raise ModelError(f"{path}: file is a name in the card's own folder, not a path")
    about = {key: value for key, value in content.items() if key not in wanted}
    return Card(content["file"], content["sha256"], content["libraries"], about)


def verify(path: Path, *, libraries: bool = True) -> Card:
    """Check a model file against its card without reading what is in it.

    Parameters
    ----------
    path : Path
        Of the model file.
    libraries : bool
        Also compare the versions installed here with those of the card.

    Returns
    -------
    Card
        The card.

    Raises
    ------
    ModelError
        If the file is missing, runs code when read, is not the card's, or does not fit the
        versions here.
    """
    if path.suffix in RUNS_CODE:
        raise ModelError(
            f"{path}: reading a {path.suffix} file runs code that is in it; store the model as "
            ".skops or .onnx, or in its library's own data format"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    card = read_card(card_path(path))
    found = hashlib.sha256(content).hexdigest()
    if path.name != card.file or found != card.sha256:
        raise ModelError(
            f"{path}: not the file of its card (SHA-256 {found[:12]}..., on the card "
            f"{card.file} {card.sha256[:12]}...); train it again, or put the right file back"
        )
    if libraries:
        _compare_versions(path, card)
    return card


def _compare_versions(path: Path, card: Card) -> None:
    wrong = []
    for name, version in card.libraries.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} {version}, which is not installed here")
            continue
        if installed != version:
            wrong.append(f"{name} {version}, and {installed} is installed here")
    if wrong:
        pins = " ".join(f"{name}=={version}" for name, version in card.libraries.items())
        raise ModelError(
            f"{path}: made with {'; '.join(wrong)}. Pin {pins} in requirements.txt, or train the "
            "model again with the versions here"
        )


def load(path: str | Path) -> tuple[Any, Card]:
    """Verify a ``.skops`` file and read the model in it.

    Files of other formats are read by their own library, after `verify`.

    Parameters
    ----------
    path : str or Path
        Of the model file.

    Returns
    -------
    model : object
        What was saved.
    card : Card
        Its card.

    Raises
    ------
    ModelError
        As `verify`, and if the file holds a type that skops does not know to be harmless.
    """
    path = Path(path)
    if path.suffix != ".skops" and path.suffix not in RUNS_CODE:
        raise ModelError(f"{path}: load reads .skops; verify() it, then use its own library")
    card = verify(path)
    import skops.io  # type: ignore[import-untyped]

    content = path.read_bytes()
    try:
        unknown = skops.io.get_untrusted_types(data=content)
        if not unknown:
            return skops.io.loads(content, trusted=[]), card
    except Exception as error:
        raise ModelError(f"{path}: not a model that skops can read ({error})") from None
    raise ModelError(
        f"{path}: holds {', '.join(unknown)}, which is not known to be harmless; leave it out of "
        "the model or choose another estimator"
    )


def save(model: Any, path: str | Path, libraries: tuple[str, ...], **about: Any) -> Card:
    """Write a model as ``.skops`` and its card beside it.

    Parameters
    ----------
    model : object
        Estimators, arrays, numbers, text, or dicts and lists of them.
    path : str or Path
        Ends in ``.skops``.
    libraries : tuple of str
        Distributions whose installed version goes on the card and is asked for again by `load`.
    **about
        What else to note on the card; JSON values.

    Raises
    ------
    ModelError
        If `load` would refuse it.
    """
    import skops.io

    path = Path(path)
    content: bytes = skops.io.dumps(model, compression=zipfile.ZIP_DEFLATED)
    if unknown := skops.io.get_untrusted_types(data=content):
        raise ModelError(
            f"{path}: the model holds {', '.join(unknown)}, which load would refuse; leave it out "
            "(the state of a training is often not needed any more) or choose another estimator"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return write_card(path, libraries, **about)


def write_card(path: str | Path, libraries: tuple[str, ...], **about: Any) -> Card:
    """Write the card of a model file that is there, whatever harmless format it has.

    Parameters
    ----------
    path : str or Path
        Of the model file.
    libraries, **about
        As for `save`.
    """
    path = Path(path)
    card = Card(
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        {name: metadata.version(name) for name in libraries},
        about,
    )
    content = {"file": card.file, "sha256": card.sha256, "libraries": card.libraries, **about}
    card_path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return card
