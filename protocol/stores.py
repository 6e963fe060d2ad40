"""Files that several processes share: read again when they change, written under their lock when we have news."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias, final

from protocol.commands import AppendFile, Command, JobResult, LoadFiles, LogLevel, UpdateFiles
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FilesLoaded, FilesUnchanged, Update, UpdateFailed
from protocol.identity.token_desk import TokenDesk
from protocol.timers import Timer, TimerOwner, Timers
from protocol.values import JobId

POLL_SECONDS: Final = 0.5
"""How often a store is looked at: a token that another process revokes is refused within a second."""

RETRY_SECONDS: Final = 5.0
"""After news could not be written until they are tried again."""

MOST_UNWRITTEN_BYTES: Final = 1024 * 1024
"""Of the audit log, while the disk is busy."""

NewCommand: TypeAlias = Callable[[JobId], Command]
OnChanged: TypeAlias = Callable[[str | None], None]
"""Told None once a change is on the disk, else why it is not."""


class StoreHouse(Protocol):
    """What the gateway does for stores."""

    now: float
    timers: Timers

    @property
    def wall(self) -> float:
        """Epoch seconds."""

    def order(self, command: NewCommand, done: Callable[[JobResult], None]) -> None:
        """Have a job carried out, and its result handed to ``done``."""

    def tell(self, done: OnChanged, reason: str | None) -> None:
        """Tell one who waits; what that sets off is no trouble of the teller."""

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None: ...


class Book(Protocol):
    """What a store's files hold, in memory."""

    @property
    def lock(self) -> str:
        """The lock file; whoever changes the others holds it."""

    @property
    def paths(self) -> Sequence[str]:
        """The files; none for a book that is kept in memory only."""

    def loaded(self, files: Contents, wall: float) -> None:
        """The files hold this now.

        :raises CorruptFile: one cannot be understood; then the book stays as it is.
        """

    def news(self, wall: float) -> Update | None:
        """What the files lack, as far as is known."""


@final
class StoreKeeper(TimerOwner):
    """Keeps one book and its files in step."""

    def __init__(self, book: Book, house: StoreHouse) -> None:
        self._book = book
        self._house = house
        self._fingerprint: object | None = None
        self._asking: list[OnChanged] = []
        self._looking = False
        self._changing = 0
        self._watching = False
        self._sharing = False
        self._share_at = 0.0
        self._unreadable: str | None = None
        self._unwritable: str | None = None

    @property
    def busy(self) -> bool:
        """A change is on its way to the disk."""
        return self._changing > 0

    def watch(self) -> None:
        """Look at the files every now and then from here on."""
        self._watching = bool(self._book.paths)
        if self._watching:
            self._house.timers.set(self, Timer.STORE, self._house.now + POLL_SECONDS)

    def rest(self) -> None:
        """Do nothing more by oneself."""
        self._watching = False
        self._house.timers.forget(self)

    def timer_fired(self, timer: Timer) -> None:
        if not self._looking:
            self.look(lambda _: None)
        self.watch()

    def look(self, done: OnChanged) -> None:
        """Read the files if they have changed. A look that has begun may have missed what the asker knows of."""
        self._asking.append(done)
        if not self._looking:
            self._look()

    def change(self, update: Update, done: OnChanged) -> None:
        """Change the files, then the book."""
        book = self._book
        self._changing += 1

        def changed(result: JobResult) -> None:
            self._changing -= 1
            self._house.tell(done, self._changed(result))

        self._house.order(lambda job: UpdateFiles(job, book.lock, book.paths, update), changed)

    def _look(self) -> None:
        book = self._book
        asking, self._asking, self._looking = self._asking, [], True
        self._house.order(lambda job: LoadFiles(job, book.paths, self._fingerprint), partial(self._looked, asking))

    def _looked(self, asking: Sequence[OnChanged], result: JobResult) -> None:
        self._looking = False
        if not isinstance(result, FilesUnchanged):  # else what was wrong with them still is
            self._unreadable = self._complained(self._taken_in(result))
        for done in asking:
            self._house.tell(done, self._unreadable)
        if self._watching and self._unreadable is None:
            self._share()
        if self._asking and not self._looking:
            self._look()

    def _changed(self, result: JobResult) -> str | None:
        """Why nothing came of a change, if so."""
        self._unwritable = self._complained(self._taken_in(result))
        if self._unwritable is None:
            self._unreadable = None
        return self._unwritable

    def _taken_in(self, result: JobResult) -> str | None:
        """Why this result cannot be used, if so."""
        match result:
            case FilesLoaded():
                self._fingerprint = result.fingerprint
                try:
                    self._book.loaded(result.files, self._house.wall)
                except CorruptFile as error:
                    return str(error)
                return None
            case UpdateFailed():
                return result.reason
            case _:
                raise LocalError(f"a store's job was answered with {type(result).__name__}")

    def _complained(self, reason: str | None) -> str | None:
        """The same, once it is in the log."""
        if reason is not None and reason not in (self._unreadable, self._unwritable):
            self._house.log(LogLevel.ERROR, reason, {})
        return reason

    def _share(self) -> None:
        """Write what the files lack, unless that is being done or has just failed."""
        house = self._house
        news = None if self._sharing or house.now < self._share_at else self._book.news(house.wall)
        if news is not None:
            self._sharing = True
            self.change(news, self._shared)

    def _shared(self, reason: str | None) -> None:
        self._sharing = False
        if reason is not None:
            self._share_at = self._house.now + RETRY_SECONDS


@final
class UsageFile:
    """The file with the counts of all routers, as a book that is only read: ``UsageKeeper`` writes it."""

    def __init__(self, desk: TokenDesk) -> None:
        self._usage = desk.usage
        self.lock = desk.files.lock
        self.paths: Sequence[str] = desk.files.usage

    def loaded(self, files: Contents, wall: float) -> None:
        self._usage.loaded(files)

    def news(self, wall: float) -> Update | None:
        return None


@final
class UsageKeeper(TimerOwner):
    """Adds what tokens have used to the file of all routers, every few seconds while there is something to add, and
    reads what others have added.
    """

    def __init__(self, desk: TokenDesk, house: StoreHouse) -> None:
        self._desk = desk
        self._house = house
        self._others = StoreKeeper(UsageFile(desk), house)
        self._ending = False
        self._in_vain = False

    def watch(self) -> None:
        """Look at the file every now and then from here on."""
        self._others.watch()

    def counted(self) -> None:
        """Something may have been counted: see that it will be saved."""
        due = self._desk.usage.due
        if due is not None:
            self._house.timers.set(self, Timer.STORE, due)

    def timer_fired(self, timer: Timer) -> None:
        self.save()

    def save(self) -> None:
        """Save now."""
        desk, house = self._desk, self._house
        if desk.usage.due is not None:
            house.timers.clear(self, Timer.STORE)
            update = desk.usage.saving(known=desk.ledger.ids, wall=house.wall)
            house.order(lambda job: UpdateFiles(job, desk.files.lock, desk.files.usage, update), self._saved)

    def end(self) -> bool:
        """Save for the last time; whether that is done. What fails now is not tried again."""
        if not self._ending:
            self._ending, self._in_vain = True, False
        if not self._in_vain:
            self.save()
        return self._in_vain or not self._desk.usage.unsaved

    def rest(self) -> None:
        """Do nothing more by oneself."""
        self._house.timers.forget(self)
        self._others.rest()

    def _saved(self, result: JobResult) -> None:
        self._in_vain = not isinstance(result, FilesLoaded)
        if isinstance(result, FilesLoaded):
            self._desk.usage.saved(result.files)
        else:
            reason = result.reason if isinstance(result, UpdateFailed) else type(result).__name__
            self._house.log(LogLevel.WARN, "token usage cannot be saved", {"reason": reason})
            self._desk.usage.failed(self._house.now)
        self.counted()


@final
class AuditLog(TimerOwner):
    """Adds lines to a file, all that have come meanwhile at once; what cannot be written is tried again.

    :param path: None keeps no log.
    """

    def __init__(self, path: str | None, house: StoreHouse) -> None:
        self._path = path
        self._house = house
        self._lines = b""
        self._writing = b""
        self._failed: str | None = None
        self._ending = False

    @property
    def busy(self) -> bool:
        """Something is on its way to the disk."""
        return bool(self._writing)

    def add(self, line: bytes) -> None:
        """One more line, without its end."""
        if self._path is None:
            return
        if len(self._writing) + len(self._lines) + len(line) < MOST_UNWRITTEN_BYTES:
            self._lines += line + b"\n"
        else:
            self._complain(self._failed or "the disk does not keep up")
        if self._failed is None:
            self._write()

    def timer_fired(self, timer: Timer) -> None:
        self._write()

    def end(self) -> bool:
        """Write for the last time; whether that is done. What fails now is not tried again."""
        if not self._ending:
            self._ending = True
            self._write()
        self._house.timers.forget(self)
        return not self.busy

    def _write(self) -> None:
        path = self._path
        if path is not None and self._lines and not self._writing:
            lines, self._writing, self._lines = self._lines, self._lines, b""
            self._house.order(lambda job: AppendFile(job, path, lines), self._written)

    def _written(self, result: JobResult) -> None:
        written, self._writing = self._writing, b""
        if not isinstance(result, UpdateFailed):
            self._failed = None
            self._write()
            return
        self._lines = written + self._lines
        if self._failed is None:
            self._complain(result.reason)
        self._failed = result.reason
        if not self._ending:
            self._house.timers.set(self, Timer.STORE, self._house.now + RETRY_SECONDS)

    def _complain(self, reason: str) -> None:
        self._house.log(LogLevel.WARN, "the audit log lacks lines", {"reason": reason})
