"""What detectors learned, kept in a file over a restart.

A file is a line that names the format, a line of JSON that describes, and the numbers of all
arrays one after the other. It holds no code, so reading a foreign file can only fail.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = b"detector states 1\n"


class StateError(ValueError):
    """A file that holds no usable states; the message says why."""


def save(path: Path, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Write states, replacing the file at once or not at all.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    states : mapping of str to mapping
        For each series what its detector's `state` returned.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    blobs: list[bytes] = []
    described = {
        name: {key: _describe(value, blobs) for key, value in state.items()}
        for name, state in states.items()
    }
    numbers = b"".join(blobs)
    header = json.dumps({"crc": zlib.crc32(numbers), "series": described}).encode("ascii")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.writelines((FORMAT, header, b"\n", numbers))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _describe(value: Any, blobs: list[bytes]) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    blobs.append(value.tobytes())
    return {"array": value.dtype.str, "size": value.size}


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Read states.

    Raises
    ------
    StateError
        If the file is cut, damaged or of another format.
    OSError
        If it cannot be read.
    """
    data = path.read_bytes()
    if not data.startswith(FORMAT):
        raise StateError(f"does not begin with {FORMAT.decode().strip()!r}")
    end = data.find(b"\n", len(FORMAT))
    try:
        header = json.loads(data[len(FORMAT) : end])
        described, crc = header["series"], header["crc"]
        at = end + 1
        if zlib.crc32(data[at:]) != crc:
            raise StateError("is cut or damaged")
        states: dict[str, dict[str, Any]] = {}
        for name, state in described.items():
            states[name] = {}
            for key, value in state.items():
                if isinstance(value, dict):
                    dtype, size = {"<f8": "<f8", "<i8": "<i8"}[value["array"]], int(value["size"])
                    states[name][key] = np.frombuffer(data, dtype, size, at).copy()
                    at += 8 * size
                else:
                    states[name][key] = value
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"has a broken description: {error!r}") from None
    return states
