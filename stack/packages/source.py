"""Opening a package: a folder as it is, an archive only when everything in it is harmless."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from stack.packages.problem import Problem, Refused

MANIFEST = "package.toml"
MAX_FILES = 1000
MAX_BYTES = 512 * 1024 * 1024
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
#: What a folder may hold beside the package; it is passed over.
IGNORED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_BLOCK = 1024 * 1024
_TOO_LARGE = f"larger than {MAX_BYTES // 1024**2} MiB unpacked"


@dataclass(frozen=True)
class _Member:
    """One entry of an archive: its name, its size as stated, and what it is."""

    name: str
    size: int
    kind: str  # "file", "folder", or the words for what it is instead


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the folder of a package, unpacked in a temporary place if it is an archive.

    Raises
    ------
    Refused
        If there is no package there, or it holds links, too much, or paths that lead out of it.
    """
    if path.is_dir():
        _check_folder(path)
        yield path
        return
    if not path.is_file() or not path.name.endswith(ARCHIVES):
        raise Refused(
            [
                Problem(
                    str(path),
                    "no folder and no archive" if path.exists() else "does not exist",
                    f"name a folder with a {MANIFEST}, or one packed as {', '.join(ARCHIVES)}",
                )
            ]
        )
    with tempfile.TemporaryDirectory(prefix="package-") as folder:
        try:
            _unpack(path, Path(folder))
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
            raise Refused(
                [Problem(path.name, f"cannot be unpacked: {error}", "pack the folder again")]
            ) from None
        yield _top(Path(folder))


def _top(folder: Path) -> Path:
    """Return the package in an unpacked archive: at its top, or in the one folder there."""
    inside = list(folder.iterdir())
    alone = len(inside) == 1 and inside[0].is_dir() and not (folder / MANIFEST).exists()
    return inside[0] if alone else folder


def files(folder: Path) -> list[Path]:
    """Return the files of a package, relative to its folder, in order."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        found += [(Path(place) / name).relative_to(folder) for name in sorted(names)]
    return found


def _check_folder(folder: Path) -> None:
    problems = []
    size = 0
    found = files(folder)
    for name in found:
        status = (folder / name).lstat()
        if stat.S_ISLNK(status.st_mode):
            problems.append(Problem(str(name), "is a link", "put the file itself into the package"))
        elif not stat.S_ISREG(status.st_mode):
            problems.append(Problem(str(name), "is no regular file", "leave it out"))
        size += status.st_size
    for place, folders, _ in os.walk(folder):
        for inner in folders:
            link = Path(place) / inner
            if link.is_symlink() and inner not in IGNORED:
                problems.append(
                    Problem(
                        str(link.relative_to(folder)),
                        "is a link",
                        "put the folder itself into the package",
                    )
                )
    if len(found) > MAX_FILES or size > MAX_BYTES:
        problems.append(_too_much(folder.name, len(found)))
    if problems:
        raise Refused(sorted(problems))


def _too_much(name: str, count: int) -> Problem:
    what = f"holds more than {MAX_FILES} files" if count > MAX_FILES else f"is {_TOO_LARGE}"
    return Problem(name, what, "leave out what the UDFs do not need, such as training data")


def _unpack(path: Path, target: Path) -> None:
    """Unpack an archive of which every member is a file or a folder below `target`."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            members = [_zip_member(info) for info in archive.infolist()]
            _check_members(path.name, members)
            left = MAX_BYTES
            for info, member in zip(archive.infolist(), members, strict=True):
                if member.kind == "file":
                    with archive.open(info) as file:
                        left = _copy(path.name, file, target / member.name, left)
        return
    with tarfile.open(path) as tar:
        entries = tar.getmembers()
        tar_members = [_tar_member(entry) for entry in entries]
        _check_members(path.name, tar_members)
        left = MAX_BYTES
        for entry, member in zip(entries, tar_members, strict=True):
            content = tar.extractfile(entry) if member.kind == "file" else None
            if content is not None:
                left = _copy(path.name, content, target / member.name, left)


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if stat.S_ISLNK(mode):
        kind = "a link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "no regular file"
    return _Member(info.filename, info.file_size, kind)


def _tar_member(entry: tarfile.TarInfo) -> _Member:
    kind = "file" if entry.isreg() else "folder" if entry.isdir() else "no regular file"
    if entry.issym() or entry.islnk():
        kind = "a link"
    return _Member(entry.name, entry.size, kind)


def _check_members(archive: str, members: list[_Member]) -> None:
    problems = []
    for member in members:
        name = PurePosixPath(member.name.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
            problems.append(
                Problem(
                    archive,
                    f"{member.name!r} leads out of the package",
                    "pack the folder with paths relative to it",
                )
            )
        elif member.kind not in ("file", "folder"):
            problems.append(
                Problem(archive, f"{member.name!r} is {member.kind}", "pack the file itself")
            )
    # As stated; what really comes out is counted again while it does.
    if len(members) > MAX_FILES or sum(member.size for member in members) > MAX_BYTES:
        problems.append(_too_much(archive, len(members)))
    if problems:
        raise Refused(problems)


def _copy(archive: str, source: IO[bytes], target: Path, left: int) -> int:
    """Copy a file out; return how many bytes of the allowance are left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise Refused([_too_much(archive, 0)])
            file.write(block)
    return left
