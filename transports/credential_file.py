"""Credential files that other programs write too: locked, read, and replaced as a whole or not at all.

Everything here may block and runs in a worker thread. What is safe against whom:

- Other routers: the lock, an flock on ``<file>.router-refresh.lock``. It dies with the process that holds it, so it is
  never stale. Where the credential's directory cannot be written, and has no such file yet, the lock is in the data
  directory, and holds among the processes that share that.
- Claude Code, which does not take our lock: a login that it wrote is seen before ours would replace it. Between that
  look and the rename are microseconds in which a write of its would be lost.
- Crashes: at every moment the file is either the old one or the new one, whole and on the disk. A crash between the
  token endpoint's answer and the rename loses the new login, which nobody but this process knew.
"""

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES, ENOENT, EPERM, EROFS
from threading import Lock
from typing import Final, assert_never, final

from protocol.errors import LocalError
from protocol.files import FileContent, Missing, Unreadable
from protocol.identity.login_file import (
    NotMergeable,
    later,
    merge_login,
    read_login,
    recovery_content,
    recovery_path,
)
from protocol.login_jobs import (
    FileResult,
    FileWork,
    LockBusy,
    LockLogin,
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

LOCK_SUFFIX: Final = ".router-refresh.lock"
DRAFT_SUFFIX: Final = ".router-refresh.tmp"
"""One name is enough: only the holder of the lock writes, and what a crash left behind is replaced."""

PRIVATE: Final = 0o600

MOST_ATTEMPTS: Final = 5
"""How often a file is read and merged anew because somebody wrote it meanwhile."""

_NOT_WRITABLE: Final = frozenset({EACCES, ENOENT, EPERM, EROFS})


class _ChangedMeanwhile(Exception):
    """Somebody else wrote the file after it was read."""


@final
class CredentialFiles:
    """Carries out ``FileWork``, and remembers between pieces of it which locks it holds.

    :param data_dir: where recovery copies go.
    :param keep: False writes nothing at all; then only a lock file that is there already keeps other processes out.
    :param step: is called before each change on the disk with its name, for tests that break off there.
    """

    def __init__(self, data_dir: str, *, keep: bool = True, step: Callable[[str], None] = lambda _: None) -> None:
        self._data_dir = data_dir
        self._keep = keep
        self._step = step
        self._held: dict[str, int | None] = {}
        self._guard = Lock()

    def carry_out(self, work: FileWork) -> FileResult:
        """Do it; a failure of the disk is a result, never an exception."""
        match work:
            case LockLogin():
                return self._lock(work.path)
            case ReadLogin():
                return self._read(work.path)
            case SaveLogin():
                return self._save(work)
            case UnlockLogin():
                return self._unlock(work.path)
            case _:
                assert_never(work)

    def release_all(self) -> None:
        """Let go of every lock; for a shutdown that could not wait."""
        for path in list(self._held):
            self._unlock(path)

    # Locking ---------------------------------------------------------------------------------------------------------

    def _lock(self, path: str) -> FileResult:
        with self._guard:  # around nothing that may block: a disk that hangs is no trouble of other credentials
            if path in self._held:
                return LockBusy()
            self._held[path] = None
        try:
            self._held[path] = self._locked(os.path.realpath(path), f"{recovery_path(self._data_dir, path)}.lock")
        except OSError as error:
            self._held.pop(path, None)
            return LockBusy() if isinstance(error, BlockingIOError) else WorkFailed(_reason(error))
        return self._read(path)

    def _locked(self, file: str, elsewhere: str) -> int | None:
        """A descriptor that holds the lock; None when nothing may be written and there is no lock file to use.

        :raises BlockingIOError: somebody else holds it.
        """
        for lock, ours in ((file + LOCK_SUFFIX, False), (elsewhere, True)):
            if ours and self._keep:
                os.makedirs(os.path.dirname(lock), mode=0o700, exist_ok=True)
            while (descriptor := self._opened(lock)) is not None:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(descriptor)
                    raise
                if _is_still(descriptor, lock):
                    return descriptor
                os.close(descriptor)  # somebody cleaned up meanwhile: the file we locked is not the one others lock
        if self._keep:
            raise PermissionError(EACCES, "neither beside the credential file nor in the data directory")
        return None

    def _opened(self, lock: str) -> int | None:
        """The lock file, made where that is possible; None where there is none."""
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        for how in (os.O_RDWR | os.O_CREAT, os.O_RDONLY) if self._keep else (os.O_RDONLY,):
            try:
                return os.open(lock, flags | how, PRIVATE)
            except OSError as error:
                if error.errno not in _NOT_WRITABLE:
                    raise
        return None

    def _unlock(self, path: str) -> Unlocked:
        with self._guard:
            descriptor = self._held.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)
        return Unlocked()

    # Reading and writing ---------------------------------------------------------------------------------------------

    def _read(self, path: str) -> LoginRead:
        """Both places; a recovery copy that the file has caught up with is dropped."""
        copy = recovery_path(self._data_dir, path)
        file, recovery = _content_and_status(path)[0], _content_and_status(copy)[0]
        ours, kept = read_login(file), read_login(recovery)
        if self._keep and ours is not None and kept is not None and not later(kept, ours):
            self._drop(copy)
            recovery = Missing()
        return LoginRead(file, recovery)

    def _save(self, work: SaveLogin) -> FileResult:
        if work.path not in self._held or not self._keep:
            raise LocalError("a login may be written only under its lock, and not if nothing is to be kept")
        target = os.path.realpath(work.path)
        why = "other programs keep changing it"
        for _ in range(MOST_ATTEMPTS):
            try:
                present, status = _content_and_status(target)
                merged = merge_login(present, work.replaced, work.renewed)
                if merged is None:
                    return Superseded(present)
                self._replace(target, merged, status)
            except _ChangedMeanwhile:
                continue
            except NotMergeable as error:
                why = str(error)
            except OSError as error:
                why = _reason(error)
            else:
                self._drop(recovery_path(self._data_dir, work.path))
                return LoginSaved(Place.FILE)
            break
        return self._save_copy(work, why)

    def _save_copy(self, work: SaveLogin, why: str) -> FileResult:
        copy = recovery_path(self._data_dir, work.path)
        try:
            os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
            self._replace(copy, recovery_content(work.renewed), None)
        except OSError as error:
            return WorkFailed(f"{why}; in the data directory: {_reason(error)}")
        return LoginSaved(Place.RECOVERY, why)

    def _replace(self, target: str, content: bytes, status: os.stat_result | None) -> None:
        """Put a whole new file in the place of ``target``, with the owner and mode that ``status`` has.

        :raises OSError: that was not possible; then ``target`` is as it was.
        :raises _ChangedMeanwhile: ``target`` is not any more the file that ``status`` tells of.
        """
        draft = target + DRAFT_SUFFIX
        step = self._step
        with suppress(FileNotFoundError):
            os.unlink(draft)
        step("create")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        try:
            with open(descriptor, "wb") as file:
                step("write")
                file.write(content)
                file.flush()
                if status is not None:
                    _dress(descriptor, status)
                step("sync")
                os.fsync(descriptor)
            step("rename")
            if status is not None:
                _require_unchanged(target, status)
            os.rename(draft, target)
        except (OSError, _ChangedMeanwhile):
            with suppress(OSError):
                os.unlink(draft)
            raise
        # The new file is in place for every reader; a file system that cannot promise more must not undo that.
        with suppress(OSError):
            step("sync directory")
            _sync_directory(os.path.dirname(target))

    def _drop(self, copy: str) -> None:
        # A copy that cannot be removed does no harm: the file's login is the newer one.
        with suppress(OSError):
            os.unlink(copy)


def _content_and_status(path: str) -> tuple[FileContent, os.stat_result | None]:
    """What a file holds and whose it is, of one and the same file even while others replace it."""
    try:
        with open(path, "rb") as file:
            return file.read(), os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return Missing(), None
    except OSError as error:
        return Unreadable(_reason(error)), None


def _dress(descriptor: int, status: os.stat_result) -> None:
    """Owner and mode, or nothing: Claude Code has to be able to open its own file afterwards."""
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_unchanged(path: str, status: os.stat_result) -> None:
    if _identity(os.stat(path)) != _identity(status):
        raise _ChangedMeanwhile


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_still(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
