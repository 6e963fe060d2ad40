import json
import multiprocessing
import os
import stat
from collections.abc import Callable, Iterator
from errno import EROFS
from pathlib import Path

import pytest

from protocol.errors import LocalError
from protocol.files import Missing, Unreadable
from protocol.identity.login_file import read_login, recovery_path
from protocol.login_jobs import (
    LockBusy,
    LockLogin,
    Login,
    LoginRead,
    LoginSaved,
    Place,
    ReadLogin,
    SaveLogin,
    Superseded,
    Unlocked,
    UnlockLogin,
    WorkFailed,
)
from protocol.values import Secret
from transports.credential_file import DRAFT_SUFFIX, LOCK_SUFFIX, CredentialFiles

STEPS = ["create", "write", "sync", "rename", "sync directory"]


def link(number: int, expires_at: float | None = None) -> Login:
    expires_at = 1_800_000_000.0 + number if expires_at is None else expires_at
    return Login(Secret(f"sk-ant-oat01-{number}"), Secret(f"sk-ant-ort01-{number}"), expires_at)


def document(login: Login) -> bytes:
    assert login.refresh is not None
    assert login.expires_at is not None
    session = {
        "accessToken": login.access.reveal(),
        "refreshToken": login.refresh.reveal(),
        "expiresAt": round(login.expires_at * 1000),
        "scopes": ["user:inference"],
    }
    return json.dumps({"claudeAiOauth": session, "mcpOAuth": {"a": 1}}).encode()


class Home:
    """A credential file with the first link, and a data directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "claude"
        self.folder.mkdir()
        self.path = self.folder / ".credentials.json"
        self.path.write_bytes(document(link(1)))
        self.path.chmod(0o600)
        self.data_dir = folder / "data"
        self.copy = Path(recovery_path(str(self.data_dir), str(self.path)))

    def files(self, *, keep: bool = True, step: Callable[[str], None] = lambda _: None) -> CredentialFiles:
        return CredentialFiles(str(self.data_dir), keep=keep, step=step)

    @property
    def lock(self) -> LockLogin:
        return LockLogin(str(self.path))

    @property
    def unlock(self) -> UnlockLogin:
        return UnlockLogin(str(self.path))

    @property
    def save(self) -> SaveLogin:
        """The second link after the first."""
        return SaveLogin(str(self.path), link(1), link(2))

    def holds(self) -> Login | None:
        return read_login(self.path.read_bytes())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def locked(home: Home) -> Iterator[CredentialFiles]:
    files = home.files()
    assert isinstance(files.carry_out(home.lock), LoginRead)
    yield files
    files.release_all()


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_the_lock_is_held_until_it_is_given_back(home: Home) -> None:
    mine, theirs = home.files(), home.files()
    assert mine.carry_out(home.lock) == LoginRead(document(link(1)), Missing())
    assert theirs.carry_out(home.lock) == LockBusy()
    assert mine.carry_out(home.lock) == LockBusy()
    assert mine.carry_out(home.unlock) == Unlocked()
    assert isinstance(theirs.carry_out(home.lock), LoginRead)
    assert mine.carry_out(home.lock) == LockBusy()
    theirs.release_all()
    assert isinstance(mine.carry_out(home.lock), LoginRead)
    mine.release_all()


def hold_lock_and_die(data_dir: str, path: str) -> None:
    CredentialFiles(data_dir).carry_out(LockLogin(path))
    os._exit(0)


def test_a_lock_dies_with_its_process(home: Home) -> None:
    in_process(hold_lock_and_die, str(home.data_dir), str(home.path))
    assert Path(f"{home.path}{LOCK_SUFFIX}").exists()
    files = home.files()
    assert isinstance(files.carry_out(home.lock), LoginRead)
    files.release_all()


def test_a_link_and_the_file_it_leads_to_share_one_lock(home: Home, tmp_path: Path) -> None:
    link_path = tmp_path / "credentials.json"
    link_path.symlink_to(home.path)
    mine, theirs = home.files(), home.files()
    assert isinstance(mine.carry_out(LockLogin(str(link_path))), LoginRead)
    assert theirs.carry_out(home.lock) == LockBusy()
    mine.release_all()


def test_a_lock_file_that_was_deleted_does_not_let_two_in(home: Home) -> None:
    first, second, third = home.files(), home.files(), home.files()
    first.carry_out(home.lock)
    Path(f"{home.path}{LOCK_SUFFIX}").unlink()
    assert isinstance(second.carry_out(home.lock), LoginRead)  # nobody can see the deleted one
    assert third.carry_out(home.lock) == LockBusy()
    first.release_all()
    assert third.carry_out(home.lock) == LockBusy()
    second.release_all()


def test_without_a_place_beside_the_file_the_lock_is_in_the_data_directory(tmp_path: Path) -> None:
    nowhere = LockLogin(str(tmp_path / "missing" / "credentials.json"))
    mine, theirs = CredentialFiles(str(tmp_path / "data")), CredentialFiles(str(tmp_path / "data"))
    assert mine.carry_out(nowhere) == LoginRead(Missing(), Missing())
    assert theirs.carry_out(nowhere) == LockBusy()
    mine.release_all()
    assert not (tmp_path / "missing").exists()


def test_a_lock_file_that_leads_elsewhere_is_not_followed(home: Home, tmp_path: Path) -> None:
    Path(f"{home.path}{LOCK_SUFFIX}").symlink_to(tmp_path / "elsewhere")
    assert isinstance(home.files().carry_out(home.lock), WorkFailed)
    assert not (tmp_path / "elsewhere").exists()


def test_lock_and_copies_are_private(home: Home, locked: CredentialFiles) -> None:
    Path(f"{home.path}{DRAFT_SUFFIX}").mkdir()
    assert isinstance(locked.carry_out(home.save), LoginSaved)
    for path, mode in [(Path(f"{home.path}{LOCK_SUFFIX}"), 0o600), (home.copy, 0o600), (home.copy.parent, 0o700)]:
        assert stat.S_IMODE(path.stat().st_mode) == mode


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_renewed_login_replaces_the_old_one_and_nothing_else(home: Home, locked: CredentialFiles) -> None:
    before = json.loads(home.path.read_bytes())
    assert locked.carry_out(home.save) == LoginSaved(Place.FILE)
    after = json.loads(home.path.read_bytes())
    assert home.holds() == link(2)
    assert after["mcpOAuth"] == before["mcpOAuth"]
    assert after["claudeAiOauth"]["scopes"] == before["claudeAiOauth"]["scopes"]
    assert sorted(path.name for path in home.folder.iterdir()) == [
        ".credentials.json",
        f".credentials.json{LOCK_SUFFIX}",
    ]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_stays(home: Home, locked: CredentialFiles, mode: int) -> None:
    home.path.chmod(mode)
    locked.carry_out(home.save)
    assert stat.S_IMODE(home.path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(home: Home, locked: CredentialFiles) -> None:
    os.chown(home.path, 12345, 54321)
    locked.carry_out(home.save)
    assert (home.path.stat().st_uid, home.path.stat().st_gid) == (12345, 54321)
    assert home.holds() == link(2)


def test_a_link_stays_a_link(home: Home, tmp_path: Path) -> None:
    link_path = tmp_path / "credentials.json"
    link_path.symlink_to(home.path)
    files = home.files()
    files.carry_out(LockLogin(str(link_path)))
    assert files.carry_out(SaveLogin(str(link_path), link(1), link(2))) == LoginSaved(Place.FILE)
    assert link_path.is_symlink()
    assert home.holds() == link(2)
    files.release_all()


def test_a_newer_login_that_somebody_wrote_meanwhile_is_left_alone(home: Home, locked: CredentialFiles) -> None:
    home.path.write_bytes(document(link(8)))
    assert locked.carry_out(home.save) == Superseded(document(link(8)))
    assert home.path.read_bytes() == document(link(8))


def test_a_login_that_is_written_just_before_ours_would_replace_it_is_left_alone(home: Home) -> None:
    def somebody_writes(step: str) -> None:
        if step == "rename" and home.holds() == link(1):
            other = home.folder / "other"
            other.write_bytes(document(link(8)))
            other.rename(home.path)

    files = home.files(step=somebody_writes)
    files.carry_out(home.lock)
    assert files.carry_out(home.save) == Superseded(document(link(8)))
    assert home.holds() == link(8)
    files.release_all()


def test_other_changes_meanwhile_are_kept(home: Home) -> None:
    def somebody_writes(step: str) -> None:
        if step == "rename" and b"mcpOAuth" in home.path.read_bytes():
            home.path.write_bytes(document(link(1)).replace(b"mcpOAuth", b"newTool"))

    files = home.files(step=somebody_writes)
    files.carry_out(home.lock)
    assert files.carry_out(home.save) == LoginSaved(Place.FILE)
    assert home.holds() == link(2)
    assert b"newTool" in home.path.read_bytes()
    files.release_all()


def test_a_file_that_never_stands_still_is_left_alone(home: Home) -> None:
    def somebody_writes(step: str) -> None:
        home.path.write_bytes(document(link(1)) + b" " * (home.path.stat().st_size % 7))

    files = home.files(step=somebody_writes)
    files.carry_out(home.lock)
    assert files.carry_out(home.save) == LoginSaved(Place.RECOVERY, "other programs keep changing it")
    assert home.holds() == link(1)
    files.release_all()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_file_that_holds_no_login_any_more_is_left_alone(home: Home, locked: CredentialFiles, content: bytes) -> None:
    home.path.write_bytes(content)
    result = locked.carry_out(home.save)
    assert isinstance(result, LoginSaved)
    assert result.place is Place.RECOVERY
    assert home.path.read_bytes() == content
    assert read_login(home.copy.read_bytes()) == link(2)


def test_a_file_that_was_removed_is_not_made_again(home: Home, locked: CredentialFiles) -> None:
    home.path.unlink()
    assert isinstance(locked.carry_out(home.save), LoginSaved)
    assert not home.path.exists()
    assert read_login(home.copy.read_bytes()) == link(2)


def test_nothing_is_written_without_the_lock(home: Home) -> None:
    with pytest.raises(LocalError):
        home.files().carry_out(home.save)


# --- the recovery copy ------------------------------------------------------------------------------------------------


def test_a_home_that_cannot_be_written_gets_a_copy_in_the_data_directory(home: Home, locked: CredentialFiles) -> None:
    Path(f"{home.path}{DRAFT_SUFFIX}").mkdir()  # so that no draft can be made, whoever runs this
    result = locked.carry_out(home.save)
    assert isinstance(result, LoginSaved)
    assert result.place is Place.RECOVERY
    assert result.reason
    assert home.holds() == link(1)
    read = locked.carry_out(ReadLogin(str(home.path)))
    assert isinstance(read, LoginRead)
    assert read_login(read.recovery) == link(2)


def test_the_copy_goes_once_the_file_has_caught_up(home: Home, locked: CredentialFiles) -> None:
    home.copy.parent.mkdir(parents=True)
    home.copy.write_bytes(document(link(1, 1_900_000_000.0)))
    assert isinstance(locked.carry_out(ReadLogin(str(home.path))), LoginRead)
    assert home.copy.exists()
    home.path.write_bytes(document(link(3, 1_900_000_001.0)))
    assert locked.carry_out(ReadLogin(str(home.path))) == LoginRead(home.path.read_bytes(), Missing())
    assert not home.copy.exists()


def test_the_copy_goes_when_the_file_can_be_written_again(home: Home, locked: CredentialFiles) -> None:
    home.copy.parent.mkdir(parents=True)
    home.copy.write_bytes(document(link(2)))
    assert locked.carry_out(home.save) == LoginSaved(Place.FILE)
    assert not home.copy.exists()


def test_a_disk_that_takes_nothing_at_all_is_reported(home: Home) -> None:
    def no_disk(step: str) -> None:
        raise OSError(EROFS, "Read-only file system")

    files = home.files(step=no_disk)
    files.carry_out(home.lock)
    result = files.carry_out(home.save)
    assert isinstance(result, WorkFailed)
    assert "Read-only file system" in result.reason
    assert home.holds() == link(1)
    files.release_all()


def test_an_unreadable_file_is_told_as_such(home: Home, locked: CredentialFiles) -> None:
    home.path.unlink()
    home.path.mkdir()
    read = locked.carry_out(ReadLogin(str(home.path)))
    assert isinstance(read, LoginRead)
    assert isinstance(read.file, Unreadable)


def test_without_keeping_the_disk_stays_as_it_is(home: Home) -> None:
    home.copy.parent.mkdir(parents=True)
    home.copy.write_bytes(document(link(1)))
    before = sorted(home.path.parent.parent.rglob("*"))
    files = home.files(keep=False)
    assert isinstance(files.carry_out(home.lock), LoginRead)
    with pytest.raises(LocalError):
        files.carry_out(home.save)
    assert files.carry_out(home.lock) == LockBusy()
    files.carry_out(home.unlock)
    assert sorted(home.path.parent.parent.rglob("*")) == before


def test_without_keeping_a_lock_file_that_is_there_is_respected(home: Home) -> None:
    keeper, reader = home.files(), home.files(keep=False)
    keeper.carry_out(home.lock)
    assert reader.carry_out(home.lock) == LockBusy()
    keeper.release_all()
    assert isinstance(reader.carry_out(home.lock), LoginRead)
    assert keeper.carry_out(home.lock) == LockBusy()
    reader.release_all()


# --- breaking off -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", STEPS)
def test_a_failure_at_any_step_leaves_a_whole_file_and_no_draft(home: Home, at: str) -> None:
    def fails(step: str) -> None:
        if step == at:
            raise OSError(EROFS, "Read-only file system")

    files = home.files(step=fails)
    files.carry_out(home.lock)
    result = files.carry_out(home.save)
    renamed = at == "sync directory"
    assert result == LoginSaved(Place.FILE) if renamed else isinstance(result, WorkFailed)
    assert home.holds() == link(2 if renamed else 1)
    assert not list(home.folder.glob(f"*{DRAFT_SUFFIX}"))
    files.release_all()


def save_and_die(data_dir: str, path: str, at: str) -> None:
    def dies(step: str) -> None:
        if step == at:
            os._exit(9)

    files = CredentialFiles(data_dir, step=dies)
    files.carry_out(LockLogin(path))
    files.carry_out(SaveLogin(path, link(1), link(2)))


@pytest.mark.parametrize("at", STEPS)
def test_a_process_that_dies_at_any_step_leaves_a_whole_file_and_the_next_one_goes_on(home: Home, at: str) -> None:
    assert in_process(save_and_die, str(home.data_dir), str(home.path), at) == 9
    renamed = at == "sync directory"
    assert home.path.read_bytes() == document(link(1)) or (renamed and home.holds() == link(2))
    files = home.files()
    assert isinstance(files.carry_out(home.lock), LoginRead)
    assert files.carry_out(SaveLogin(str(home.path), link(1), link(3))) == (
        Superseded(home.path.read_bytes()) if renamed else LoginSaved(Place.FILE)
    )
    assert not list(home.folder.glob(f"*{DRAFT_SUFFIX}"))
    files.release_all()


def in_process(function: Callable[..., None], *arguments: str) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def test_a_lock_that_cannot_be_had_can_be_asked_for_again(tmp_path: Path) -> None:
    files = CredentialFiles(str(tmp_path / "data"))
    path = tmp_path / "login.json"
    path.write_text("{}")
    lock = tmp_path / "login.json.router-refresh.lock"
    lock.symlink_to(tmp_path / "elsewhere")
    assert isinstance(files.carry_out(LockLogin(str(path))), WorkFailed)
    lock.unlink()
    assert isinstance(files.carry_out(LockLogin(str(path))), LoginRead)
    files.release_all()
