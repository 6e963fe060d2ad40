"""Files that several processes share: read again when they change, written under their lock when we have news."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, final

from protocol.commands import Command, JobResult, LoadFiles, LogLevel, UpdateFiles
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FilesLoaded, FilesUnchanged, Update, UpdateFailed
from protocol.identity.token_desk import TokenDesk
from protocol.timers import Timer, TimerOwner, Timers
from protocol.values import JobId

POLL_SECONDS: Final = 0.5
"""How often a store is looked at: a token that another process revokes is refused within a second."""

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
        self._looking: list[OnChanged] = []
        self._complaint = ""

    def watch(self) -> None:
        """Look at the files every now and then from here on."""
        if self._book.paths:
            self._house.timers.set(self, Timer.STORE, self._house.now + POLL_SECONDS)

    def timer_fired(self, timer: Timer) -> None:
        self.look(lambda _: None)
        self.watch()

    def look(self, done: OnChanged) -> None:
        """Read the files if they have changed."""
        book = self._book
        self._looking.append(done)
        if len(self._looking) == 1:
            self._house.order(lambda job: LoadFiles(job, book.paths, self._fingerprint), self._looked)

    def change(self, update: Update, done: OnChanged) -> None:
        """Change the files, then the book."""
        book = self._book

        def changed(result: JobResult) -> None:
            done(self._taken_in(result))

        self._house.order(lambda job: UpdateFiles(job, book.lock, book.paths, update), changed)

    def _looked(self, result: JobResult) -> None:
        looking, self._looking = self._looking, []
        reason = self._taken_in(result)
        for done in looking:
            done(reason)
        news = None if reason else self._book.news(self._house.wall)
        if news is not None:
            self.change(news, lambda _: None)

    def _taken_in(self, result: JobResult) -> str | None:
        """Why this result cannot be used, if so."""
        reason = None
        match result:
            case FilesUnchanged():
                pass
            case FilesLoaded():
                self._fingerprint = result.fingerprint
                try:
                    self._book.loaded(result.files, self._house.wall)
                except CorruptFile as error:
                    reason = str(error)
            case UpdateFailed():
                reason = result.reason
            case _:
                raise LocalError(f"a store's job was answered with {type(result).__name__}")
        if reason is not None and reason != self._complaint:
            self._house.log(LogLevel.ERROR, reason, {})
        self._complaint = reason or ""
        return reason


@final
class UsageKeeper(TimerOwner):
    """Adds what tokens have used to the file of all routers, every few seconds while there is something to add."""

    def __init__(self, desk: TokenDesk, house: StoreHouse) -> None:
        self._desk = desk
        self._house = house

    @property
    def busy(self) -> bool:
        """Something is not saved yet."""
        return self._desk.usage.unsaved

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

    def _saved(self, result: JobResult) -> None:
        if isinstance(result, FilesLoaded):
            self._desk.usage.saved(result.files)
        else:
            reason = result.reason if isinstance(result, UpdateFailed) else type(result).__name__
            self._house.log(LogLevel.WARN, "token usage cannot be saved", {"reason": reason})
            self._desk.usage.failed(self._house.now)
        self.counted()
