"""Credential files as they lie on a real disk."""

import os
from pathlib import Path

import pytest

from protocol.files import FilesLoaded, FilesUnchanged, Missing, Unreadable
from transports.disk import load


def loaded(paths: list[str], fingerprint: object | None = None) -> FilesLoaded:
    result = load(paths, fingerprint)
    assert isinstance(result, FilesLoaded)
    return result


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    (tmp_path / "one").write_bytes(b"first")
    (tmp_path / "folder").mkdir()
    return [str(tmp_path / name) for name in ("one", "two", "folder", "one/below")]


def test_each_path_has_its_content_or_its_reason_in_the_asked_order(paths: list[str]) -> None:
    one, two, folder, below = loaded(paths).files
    assert one == (paths[0], b"first")
    assert two == (paths[1], Missing())
    assert folder == (paths[2], Unreadable("not a regular file"))
    assert below == (paths[3], Missing())


def test_nothing_is_read_again_until_something_changes(paths: list[str]) -> None:
    fingerprint = loaded(paths).fingerprint
    assert load(paths, fingerprint) == FilesUnchanged()
    assert load(paths[:1], fingerprint) != FilesUnchanged()


@pytest.mark.parametrize("change", ["rewritten", "replaced", "removed", "appeared", "same size and time"])
def test_every_change_is_noticed(paths: list[str], change: str) -> None:
    path = Path(paths[0])
    fingerprint = loaded(paths).fingerprint
    before = path.stat()
    match change:
        case "rewritten":
            path.write_bytes(b"second text")
        case "replaced":
            other = path.with_name("other")
            other.write_bytes(b"first")
            other.replace(path)
        case "removed":
            path.unlink()
        case "appeared":
            Path(paths[1]).write_bytes(b"new")
        case _:
            path.write_bytes(b"FIRST")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 1))
    assert loaded(paths, fingerprint).fingerprint != fingerprint


def test_a_file_that_may_not_be_read_says_so(paths: list[str], tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    ((_, content),) = loaded([str(loop)]).files
    assert isinstance(content, Unreadable)
    assert content.reason


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening one lasts until somebody writes into it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    paths = [str(pipe), str(tmp_path / "link"), os.devnull]
    assert loaded(paths).files == [(path, Unreadable("not a regular file")) for path in paths]
