"""Files of the data directory as they lie on a real disk."""

import multiprocessing
import os
import resource
import signal
import stat
from collections.abc import Callable
from errno import EROFS
from pathlib import Path

import pytest

from protocol.config import StoragePolicy
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FilesLoaded, FilesUnchanged, Missing, Update, UpdateFailed
from protocol.identity.token_files import read_tokens, saving, token_files
from protocol.identity.token_record import TokenRecord, issuance, revocation
from protocol.identity.tokens import Claims
from transports.data_files import DRAFT_SUFFIX, append, update
from transports.disk import load

WALL = 1_700_000_000.0

STEPS = ["create", "write", "sync", "rename", "create 2", "write 2", "sync 2", "rename 2", "sync directory"]
"""Of an update of two files: both are on the disk before the first is renamed."""


class Store:
    """A data directory with two files and a lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = str(folder / "lock")
        self.one, self.two = folder / "one", folder / "two"

    @property
    def paths(self) -> list[str]:
        return [str(self.one), str(self.two)]

    def puts(self, **contents: bytes) -> FilesLoaded | UpdateFailed:
        return update(self.lock, self.paths, self.change(**contents))

    def change(self, **contents: bytes) -> Update:
        return lambda files: {str(self.folder / name): content for name, content in contents.items()}

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    folder = tmp_path / "data"
    folder.mkdir()
    return Store(folder)


def test_an_update_sees_what_the_files_hold_and_says_what_they_hold_then(store: Store) -> None:
    store.one.write_bytes(b"old")
    seen: list[Contents] = []

    def change(files: Contents) -> dict[str, bytes]:
        seen.append(files)
        return {str(store.two): b"new"}

    result = update(store.lock, store.paths, change)
    assert seen == [[(str(store.one), b"old"), (str(store.two), Missing())]]
    assert isinstance(result, FilesLoaded)
    assert result.files == [(str(store.one), b"old"), (str(store.two), b"new")]
    assert store.names() == ["lock", "one", "two"]


def test_what_an_update_wrote_needs_no_second_look(store: Store) -> None:
    result = store.puts(one=b"1", two=b"2")
    assert isinstance(result, FilesLoaded)
    assert load(store.paths, result.fingerprint) == FilesUnchanged()


def test_only_files_that_change_are_written(store: Store) -> None:
    store.puts(one=b"1", two=b"2")
    before = store.one.stat()
    store.puts(two=b"3")
    assert (store.one.stat().st_ino, store.one.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert store.two.read_bytes() == b"3"


def test_a_directory_that_is_missing_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "data")
    assert isinstance(store.puts(one=b"1"), FilesLoaded)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE((store.folder / name).stat().st_mode) for name in ("lock", "one")] == [0o600, 0o600]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_of_a_file_stays(store: Store, mode: int) -> None:
    store.one.write_bytes(b"old")
    store.one.chmod(mode)
    store.puts(one=b"new")
    assert stat.S_IMODE(store.one.stat().st_mode) == mode
    assert store.one.read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_leaves_nothing_that_the_router_cannot_open(store: Store) -> None:
    """`tokens revoke` may be run as root while the router is somebody else."""
    os.chown(store.folder, 12345, 54321)
    store.two.write_bytes(b"old")
    os.chown(store.two, 12345, 11111)
    store.puts(one=b"1", two=b"2")
    owners = {
        name: ((store.folder / name).stat().st_uid, (store.folder / name).stat().st_gid) for name in store.names()
    }
    assert owners == {"lock": (12345, 54321), "one": (12345, 54321), "two": (12345, 11111)}


def test_a_link_stays_a_link(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"old")
    store.one.symlink_to(elsewhere)
    store.puts(one=b"new")
    assert store.one.is_symlink()
    assert elsewhere.read_bytes() == b"new"


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_corrupt_file_is_left_alone(store: Store) -> None:
    store.one.write_bytes(b"old")

    def change(files: Contents) -> dict[str, bytes]:
        raise CorruptFile(str(store.one), "line 3", "it makes no sense")

    assert update(store.lock, store.paths, change) == UpdateFailed(f"{store.one}, line 3: it makes no sense")
    assert store.one.read_bytes() == b"old"
    assert isinstance(store.puts(one=b"new"), FilesLoaded), "the lock is free"


def test_an_update_changes_no_file_that_it_was_not_given(store: Store) -> None:
    with pytest.raises(LocalError):
        store.puts(three=b"3")
    assert store.names() == ["lock"]


def test_what_cannot_be_written_is_told_in_a_sentence(store: Store) -> None:
    store.folder.rmdir()
    store.folder.write_bytes(b"a file where the directory should be")
    result = store.puts(one=b"1")
    assert result == UpdateFailed(f"{store.folder} cannot be written: File exists")


def test_a_lock_that_leads_elsewhere_is_not_followed(store: Store, tmp_path: Path) -> None:
    Path(store.lock).symlink_to(tmp_path / "elsewhere")
    assert isinstance(store.puts(one=b"1"), UpdateFailed)
    assert not (tmp_path / "elsewhere").exists()


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_lock_is_not_waited_for_for_ever(store: Store) -> None:
    def inner(files: Contents) -> dict[str, bytes]:
        result = update(store.lock, store.paths, store.change(one=b"inner"), patience=0.02)
        assert result == UpdateFailed(f"{store.lock} has been locked by another process for 0.02 seconds")
        return {str(store.one): b"outer"}

    assert isinstance(update(store.lock, store.paths, inner), FilesLoaded)
    assert store.one.read_bytes() == b"outer"


def test_a_lock_file_that_was_deleted_is_made_anew(store: Store) -> None:
    def change(files: Contents) -> dict[str, bytes]:
        Path(store.lock).unlink()
        return {}

    update(store.lock, store.paths, change)
    assert isinstance(store.puts(one=b"1"), FilesLoaded)
    assert store.names() == ["lock", "one"]


# --- breaking off -----------------------------------------------------------------------------------------------------


class Numbered:
    """Names the steps of several files apart: ``create``, ``create 2`` and so on."""

    def __init__(self, reached: Callable[[str], None]) -> None:
        self._reached = reached
        self._counts: dict[str, int] = {}

    def __call__(self, step: str) -> None:
        count = self._counts[step] = self._counts.get(step, 0) + 1
        self._reached(step if count == 1 else f"{step} {count}")


@pytest.mark.parametrize("at", STEPS)
def test_a_failure_at_any_step_leaves_whole_files_and_no_draft(store: Store, at: str) -> None:
    store.puts(one=b"old", two=b"old")

    def fails(step: str) -> None:
        if step == at:
            raise OSError(EROFS, "Read-only file system")

    change = store.change(one=b"new", two=b"new")
    result = update(store.lock, store.paths, change, step=Numbered(fails))
    done = at == "sync directory"
    assert (
        isinstance(result, FilesLoaded)
        if done
        else result == UpdateFailed(f"{store.folder} cannot be written: Read-only file system")
    )
    assert (store.one.read_bytes(), store.two.read_bytes()) == {
        "sync directory": (b"new", b"new"),
        "rename 2": (b"new", b"old"),
    }.get(at, (b"old", b"old"))
    assert store.names() == ["lock", "one", "two"]


def save_and_die(data_dir: str, policy: str, at: str) -> None:
    files = token_files(StoragePolicy(policy), data_dir)
    update(files.lock, files.records, saving([ISSUED], WALL))
    update(files.lock, files.records, saving([revocation("known")], WALL))

    def dies(step: str) -> None:
        if step == at:
            os._exit(9)

    update(files.lock, files.records, saving([issuance(CLAIMS)], WALL), step=Numbered(dies))


CLAIMS = Claims("last", int(WALL), int(WALL) + 3600, "last")
ISSUED = TokenRecord("known", "known", int(WALL), int(WALL) + 3600)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "at"), [("both", at) for at in STEPS] + [("text", "rename"), ("binary", "rename")])
def test_a_process_that_dies_at_any_step_loses_nothing_that_was_acknowledged(
    tmp_path: Path, policy: str, at: str
) -> None:
    assert in_process(save_and_die, str(tmp_path), policy, at) == 9
    files = token_files(StoragePolicy(policy), str(tmp_path))
    held = load(files.records, None)
    assert isinstance(held, FilesLoaded)
    book = read_tokens(held.files)
    assert book["known"].revoked
    assert ("last" in book) is (at in {"rename 2", "sync directory"})
    result = update(files.lock, files.records, saving([revocation("next")], WALL))
    assert isinstance(result, FilesLoaded)
    assert read_tokens(result.files).keys() == book.keys() | {"next"}
    assert all(read_tokens([file]).keys() == book.keys() | {"next"} for file in result.files), "they are equal again"
    assert not list(tmp_path.glob(f".*{DRAFT_SUFFIX}"))


def in_process(function: Callable[..., None], *arguments: str) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


# --- appending --------------------------------------------------------------------------------------------------------


def append_to_a_full_disk(path: str, room: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), most))
    failed = append(path, b"2" * 199 + b"\n")
    assert failed is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert append(path, b"3\n") is None


def test_what_does_not_fit_is_not_appended_in_part(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log"
    assert append(str(log), b"1\n") is None
    assert in_process(append_to_a_full_disk, str(log), "100") == 0
    assert log.read_bytes() == b"1\n3\n"
