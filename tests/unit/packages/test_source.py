"""Opening packages: folders and archives as they are, and none that is made to do harm."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from stack.packages import source
from stack.packages.problem import Refused
from stack.packages.source import MANIFEST, files, opened


def refused(path: Path) -> list[str]:
    with pytest.raises(Refused) as caught, opened(path):
        pass
    assert all(problem.fix for problem in caught.value.problems)
    return [f"{problem.file}: {problem.what}" for problem in caught.value.problems]


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for info, content in entries:
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_folder_is_opened_where_it_is(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).touch()
    (tmp_path / "udf").mkdir()
    (tmp_path / "udf" / "a.py").touch()
    (tmp_path / "udf" / "__pycache__").mkdir()
    (tmp_path / "udf" / "__pycache__" / "a.pyc").touch()
    with opened(tmp_path) as folder:
        assert folder == tmp_path
        assert [str(name) for name in files(folder)] == [MANIFEST, "udf/a.py"]


@pytest.mark.parametrize("top", ["", "pump-1.0/"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_and_gone_afterwards(tmp_path: Path, top: str, kind: str) -> None:
    path = tmp_path / f"pump.{kind}"
    contents = {f"{top}{MANIFEST}": b"one", f"{top}udf/a.py": b"two"}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as made:
            for name, content in contents.items():
                made.writestr(name, content)
    else:
        tar(path, *((entry(name), content) for name, content in contents.items()))
    with opened(path) as folder:
        assert (folder / MANIFEST).read_bytes() == b"one"
        assert (folder / "udf" / "a.py").read_bytes() == b"two"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../evil.py", "udf/../../evil.py", "/etc/evil.py", "C:/evil.py",
                                  "..\\evil.py"])  # fmt: skip
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"pump.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(name, b"x")
    else:
        tar(path, (entry(name), b"x"))
    assert [p for p in refused(path) if "leads out of the package" in p]
    assert not (tmp_path / "evil.py").exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [(tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a link"),
     (tarfile.FIFOTYPE, "is no regular file"), (tarfile.CHRTYPE, "is no regular file")],
)  # fmt: skip
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes, words: str) -> None:
    path = tar(tmp_path / "pump.tar.gz", (entry("udf/a.py", kind, "/etc/passwd"), b""))
    assert refused(path) == [f"pump.tar.gz: 'udf/a.py' {words}"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pump.zip"
    info = zipfile.ZipInfo("udf/a.py")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(info, "/etc/passwd")
    assert refused(path) == ["pump.zip: 'udf/a.py' is a link"]


def test_links_in_a_folder_are_refused_with_all_their_names(tmp_path: Path) -> None:
    (tmp_path / "udf").mkdir()
    (tmp_path / "udf" / "a.py").symlink_to("/etc/passwd")
    (tmp_path / "models").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path) == [
        "models: is a link", "pipe: is no regular file", "udf/a.py: is a link",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_small_archive_of_huge_content_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 10_000_000)
    path = tmp_path / f"pump.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("models/a.skops", bytes(20_000_000))
    else:
        tar(path, (entry("models/a.skops"), bytes(20_000_000)))
    assert path.stat().st_size < 100_000
    assert "MiB unpacked" in refused(path)[0]


def test_a_zip_that_lies_about_its_size_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1_000_000)
    path = tmp_path / "pump.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("models/a.skops", bytes(20_000_000))
    content = path.read_bytes()
    # The size unpacked, as both headers state it.
    path.write_bytes(
        content.replace((20_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    )
    assert refused(path)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILES", 3)
    path = tar(tmp_path / "pump.tar.gz", *((entry(f"udf/{n}.py"), b"") for n in range(4)))
    assert refused(path) == ["pump.tar.gz: holds more than 3 files"]


@pytest.mark.parametrize("content", [b"", b"nothing like an archive", b"PK\x03\x04broken"])
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("pump.zip", "pump.tar.gz"):
        path = tmp_path / name
        path.write_bytes(content)
        assert "cannot be unpacked" in refused(path)[0] or content == b""


def test_what_is_no_package_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing") == [f"{tmp_path / 'nothing'}: does not exist"]
    (tmp_path / "pump.rar").touch()
    assert "no folder and no archive" in refused(tmp_path / "pump.rar")[0]
