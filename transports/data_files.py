"""Files of the data directory that several processes write: read and replaced under a lock, whole or not at all.

Everything here may block and runs outside the event loop. At every moment a file is either the old one or the new one,
whole and on the disk. The lock is an flock, so it dies with the process that holds it; its file stays. Programs that do
not take the lock may read at any time.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from protocol.errors import LocalError
from protocol.files import CorruptFile, FilesLoaded, Update, UpdateFailed
from transports.disk import load

PATIENCE_SECONDS: Final = 10.0
"""How long a lock is waited for; whoever holds it needs milliseconds."""

DRAFT_SUFFIX: Final = ".draft"

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700

Step = Callable[[str], None]


def update(
    lock: str,
    paths: Sequence[str],
    change: Update,
    *,
    patience: float = PATIENCE_SECONDS,
    step: Step = lambda _: None,
) -> FilesLoaded | UpdateFailed:
    """Carry out ``UpdateFiles``: what the files hold afterwards, or why they were not changed.

    A single file is changed or it is not. Of several, those renamed before a failure are new, so ``change`` has to
    bear being carried out again.

    :param patience: seconds to wait for the lock.
    :param step: is called before each change on the disk with its name, for tests that break off there.
    """
    try:
        for directory in dict.fromkeys(os.path.dirname(path) for path in (lock, *paths)):
            os.makedirs(directory, PRIVATE_DIRECTORY, exist_ok=True)
        with _locked(lock, patience):
            changed = change(_loaded(paths).files)
            if not changed.keys() <= set(paths):
                raise LocalError("an update may change no other files than it was given")
            _replace(changed, step)
            return _loaded(paths)
    except _Busy:
        return UpdateFailed(f"{lock} has been locked by another process for {patience:g} seconds")
    except CorruptFile as error:
        return UpdateFailed(str(error))
    except OSError as error:
        where = error.filename or os.path.dirname(lock)
        return UpdateFailed(f"{where} cannot be written: {error.strerror or type(error).__name__}")


def append(path: str, data: bytes) -> UpdateFailed | None:
    """Carry out ``AppendFile``: None, or why it was not done; then nothing of it is in the file. Several processes may
    append to one file in this way.
    """
    try:
        os.makedirs(os.path.dirname(path), PRIVATE_DIRECTORY, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _append_whole(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        return UpdateFailed(f"{path} cannot be written: {error.strerror}")
    return None


def _append_whole(descriptor: int, data: bytes) -> None:
    """All of it or, where the disk is full in the midst of it, nothing: half a line would spoil the next one too.

    :raises OSError: nothing was appended.
    """
    before = os.fstat(descriptor).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        raise


def _loaded(paths: Sequence[str]) -> FilesLoaded:
    files = load(paths, None)
    assert isinstance(files, FilesLoaded)
    return files


# --- replacing --------------------------------------------------------------------------------------------------------


def _replace(changed: Mapping[str, bytes], step: Step) -> None:
    """Put the new contents in the place of the old. All of them are on the disk before the first is put in place.

    :raises OSError: not all could be replaced.
    """
    drafts: dict[str, str] = {}
    try:
        for path, content in changed.items():
            target = os.path.realpath(path)  # a link stays a link
            drafts[target] = _drafted(target, content, step)
        for target, draft in drafts.items():
            step("rename")
            os.rename(draft, target)
    except OSError:
        for draft in drafts.values():
            with suppress(OSError):
                os.unlink(draft)
        raise
    # The new files are in place for every reader; a file system that cannot promise more must not undo that.
    with suppress(OSError):
        for directory in dict.fromkeys(os.path.dirname(target) for target in drafts):
            step("sync directory")
            _sync_directory(directory)


def _drafted(target: str, content: bytes, step: Step) -> str:
    """The path of a new file on the disk that holds ``content`` and is dressed as ``target``."""
    directory, name = os.path.split(target)
    _sweep(directory, name)
    step("create")
    descriptor, draft = tempfile.mkstemp(DRAFT_SUFFIX, f".{name}.", directory)
    try:
        with open(descriptor, "wb") as file:
            step("write")
            file.write(content)
            file.flush()
            _dress(descriptor, target)
            step("sync")
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise
    return draft


def _sweep(directory: str, name: str) -> None:
    """Remove the drafts of processes that died; whoever is alive and holds the lock is us."""
    for draft in Path(directory).glob(f".{name}.*{DRAFT_SUFFIX}"):
        with suppress(OSError):
            draft.unlink()


def _dress(descriptor: int, target: str) -> None:
    """Owner and mode of the file that will be replaced, or nothing: those who could use it still have to.

    A file that is new is private.
    """
    try:
        status = os.stat(target)
    except FileNotFoundError:
        _hand_over(descriptor, os.path.dirname(target))
        return
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o777)


def _hand_over(descriptor: int, directory: str) -> None:
    """What root creates in the directory of a router that is not root, the router has to be able to open."""
    if os.geteuid() == 0:
        owner = os.stat(directory)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the lock ---------------------------------------------------------------------------------------------------------

LONGEST_PAUSE_SECONDS: Final = 0.01


class _Busy(Exception):
    """Somebody else holds the lock."""


@contextmanager
def _locked(lock: str, patience: float) -> Iterator[None]:
    """Hold the lock.

    :raises _Busy: others held it for all of ``patience`` (seconds).
    """
    give_up_at = monotonic() + patience
    pause = LONGEST_PAUSE_SECONDS / 16
    while (descriptor := _taken(lock)) is None:
        if monotonic() >= give_up_at:
            raise _Busy
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(lock: str) -> int | None:
    """A descriptor that holds the lock; None if somebody else does."""
    with ExitStack() as opened:
        descriptor = _opened(lock)
        opened.callback(os.close, descriptor)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # If somebody cleaned up meanwhile, the file we locked is not the one others lock.
            if os.path.samestat(os.fstat(descriptor), os.stat(lock, follow_symlinks=False)):
                opened.pop_all()
                return descriptor
    return None


def _opened(lock: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(lock, flags | os.O_EXCL, PRIVATE_FILE)
    except FileExistsError:
        return os.open(lock, flags, PRIVATE_FILE)
    with ExitStack() as opened:
        opened.callback(os.close, descriptor)
        _hand_over(descriptor, os.path.dirname(lock))
        opened.pop_all()
    return descriptor
