"""State per group: bounded while it is kept, and whole when it is saved and put back.

A state is what a UDF's ``new_state`` returns: an object with ``state()`` and
``restore(state)`` such as a detector, plain values (numbers, text, booleans, None,
lists, dicts, numpy arrays), or dicts and lists of these.
"""

import base64
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import numpy as np

MAGIC: Final = b"kapacitor-udf-state"
FORMAT: Final = 1
"""Version of the snapshot's own form, apart from that of the UDF's state."""

_ARRAY = "__array__"
_REMEDY = (
    "To start afresh, delete the task and define it again (`kapacitor delete tasks`), "
    "which deletes its snapshot"
)


class SnapshotError(ValueError):
    """A snapshot that cannot be restored; the message says why and what to do."""


class Groups:
    """The states of the groups seen last.

    Parameters
    ----------
    make : callable
        Returns the state of a group not seen before.
    limit : int
        Groups kept; beyond it the one unseen for longest is forgotten.

    Attributes
    ----------
    forgotten : int
        Groups forgotten so far.
    """

    def __init__(self, make: Callable[[], Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._states: OrderedDict[str, Any] = OrderedDict()
        self._last: str | None = None
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._states)

    def get(self, group: str) -> Any:
        """Return the state of a group, a new one at its first time."""
        states = self._states
        if group == self._last:
            return states[group]
        if group in states:
            states.move_to_end(group)
        else:
            states[group] = self._make()
            if len(states) > self._limit:
                states.popitem(last=False)
                self.forgotten += 1
        self._last = group
        return states[group]

    def save(self, name: str, version: int) -> bytes:
        """Serialize all states.

        Parameters
        ----------
        name, version : str, int
            Of the UDF whose they are.

        Raises
        ------
        TypeError
            If a state holds something that cannot be saved.
        """
        groups = [[group, pack(state)] for group, state in self._states.items()]
        document = {"udf": name, "version": version, "groups": groups}
        text = json.dumps(document, separators=(",", ":"))
        return MAGIC + bytes((FORMAT,)) + zlib.compress(text.encode(), 1)

    def load(self, data: bytes, name: str, version: int) -> None:
        """Put states back, all or none.

        Parameters
        ----------
        data : bytes
            As `save` made it; empty for no state at all.
        name, version : str, int
            Of the UDF that restores.

        Raises
        ------
        SnapshotError
            If the snapshot is damaged, or of another UDF, version or configuration.
        """
        states: OrderedDict[str, Any] = OrderedDict()
        if data:
            document = _open(data)
            if document["udf"] != name:
                raise SnapshotError(
                    f"the snapshot is of the UDF {document['udf']!r}, not of {name!r}. {_REMEDY}"
                )
            if document["version"] != version:
                raise SnapshotError(
                    f"the snapshot holds state of version {document['version']!r}, "
                    f"{name} has version {version}. {_REMEDY}"
                )
            for group, packed in document["groups"]:
                try:
                    states[group] = unpack(packed, self._make())
                except (ValueError, TypeError, KeyError) as error:
                    raise SnapshotError(
                        f"the snapshot does not fit the options of {name} "
                        f"(group {group!r}: {error}). {_REMEDY}"
                    ) from error
        while len(states) > self._limit:
            states.popitem(last=False)
            self.forgotten += 1
        self._states = states
        self._last = None


def _open(data: bytes) -> dict[str, Any]:
    if not data.startswith(MAGIC):
        raise SnapshotError(
            f"the snapshot was not made by this SDK: it begins with {data[:20]!r}. {_REMEDY}"
        )
    if data[len(MAGIC)] != FORMAT if len(data) > len(MAGIC) else True:
        raise SnapshotError(f"the snapshot's form is not version {FORMAT}. {_REMEDY}")
    try:
        document = json.loads(zlib.decompress(data[len(MAGIC) + 1 :]))
        groups = [[str(group), packed] for group, packed in document["groups"]]
        return {"udf": document["udf"], "version": document["version"], "groups": groups}
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"the snapshot is damaged: {error}. {_REMEDY}") from error


def pack(state: Any) -> Any:
    """Turn a state into what JSON can hold.

    Raises
    ------
    TypeError
        Naming the type of a part that cannot be saved.
    """
    if state is None or isinstance(state, bool | int | float | str):
        return state.item() if isinstance(state, np.generic) else state
    if isinstance(state, np.generic):
        return state.item()
    if isinstance(state, np.ndarray):
        if state.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be saved in a snapshot")
        raw = base64.b64encode(np.ascontiguousarray(state).tobytes()).decode("ascii")
        return {_ARRAY: raw, "dtype": state.dtype.str, "shape": list(state.shape)}
    if hasattr(state, "state") and hasattr(state, "restore"):
        return pack(state.state())
    if isinstance(state, dict):
        if not all(isinstance(key, str) for key in state):
            raise TypeError("a dict in a state has to have strings as keys")
        return {key: pack(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [pack(value) for value in state]
    raise TypeError(
        f"a {type(state).__name__} cannot be saved in a snapshot: give it state() and "
        "restore(state), or keep plain values and numpy arrays"
    )


def unpack(packed: Any, fresh: Any) -> Any:
    """Undo `pack`, filling in the objects of a fresh state.

    Parameters
    ----------
    packed : object
        As `pack` made it.
    fresh : object
        A new state of the same make; its objects with ``restore`` take their parts.

    Raises
    ------
    ValueError
        If the parts are not those of the fresh state.
    """
    if hasattr(fresh, "state") and hasattr(fresh, "restore"):
        fresh.restore(_plain(packed))
        return fresh
    if isinstance(fresh, dict) and any(_has_objects(value) for value in fresh.values()):
        if not isinstance(packed, dict) or packed.keys() != fresh.keys():
            held = sorted(packed) if isinstance(packed, dict) else type(packed).__name__
            raise ValueError(f"it holds {held}, wanted are {sorted(fresh)}")
        return {key: unpack(packed[key], value) for key, value in fresh.items()}
    if isinstance(fresh, list | tuple) and any(_has_objects(value) for value in fresh):
        if not isinstance(packed, list) or len(packed) != len(fresh):
            raise ValueError(f"it does not hold a list of {len(fresh)}")
        return type(fresh)(unpack(*pair) for pair in zip(packed, fresh, strict=True))
    return _plain(packed)


def _has_objects(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_objects(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(_has_objects(part) for part in value)
    return hasattr(value, "state") and hasattr(value, "restore")


def _plain(packed: Any) -> Any:
    if isinstance(packed, dict):
        if _ARRAY in packed:
            raw = base64.b64decode(packed[_ARRAY], validate=True)
            array = np.frombuffer(raw, np.dtype(packed["dtype"]))
            return array.reshape(packed["shape"]).copy()
        return {key: _plain(value) for key, value in packed.items()}
    if isinstance(packed, list):
        return [_plain(value) for value in packed]
    return packed
