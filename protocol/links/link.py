"""What client and upstream connections share: an outbox that becomes one write a turn, pausing, closing, watermarks."""

from abc import ABC, abstractmethod
from enum import Enum
from typing import Final, Protocol

from protocol.commands import Close, Command, Loss, Pause, Resume, ShutdownWrite, Write
from protocol.exchange import House
from protocol.timers import TimerOwner
from protocol.values import ConnId

HIGH_WATER: Final = 64 * 1024
"""Unsent bytes on one connection above which its source is held."""
LOW_WATER: Final = 32 * 1024
"""Unsent bytes at which the source may go on."""


class LinkHouse(House, Protocol):
    """What the gateway does for connections, beyond what it does for exchanges."""

    commands: list[Command]
    dirty: list["Link"]

    @property
    def draining(self) -> bool: ...

    def link_closed(self, link: "Link") -> None: ...


class Holding(Enum):
    """Reasons for not reading a connection."""

    __hash__ = object.__hash__  # members are single objects; Enum would hash their names in Python

    BACKLOG = "the other side takes bytes slower than they come"
    PIPELINE = "enough further requests wait already"


class Link(TimerOwner, ABC):
    """One connection as the core holds it."""

    __slots__ = ("_holding", "_house", "_out", "closed", "conn", "full")

    def __init__(self, conn: ConnId, house: LinkHouse) -> None:
        self.conn = conn
        self.closed = False
        self._house = house
        self._out: list[bytes] = []
        self._holding: set[Holding] = set()
        self.full = False

    @abstractmethod
    def received(self, data: bytes) -> None: ...

    @abstractmethod
    def received_eof(self) -> None: ...

    @abstractmethod
    def lost(self, reason: Loss, detail: str) -> None: ...

    @abstractmethod
    def backlog_changed(self, full: bool) -> None:
        """The unsent bytes crossed a watermark."""

    @abstractmethod
    def crashed(self) -> None:
        """Our own code failed on this connection: end what it carries as well as possible and close it."""

    def flushed(self, pending: int) -> None:
        """The shell has ``pending`` unsent bytes for this connection."""
        if pending > HIGH_WATER and not self.full:
            self.full = True
            self.backlog_changed(True)
        elif pending <= LOW_WATER and self.full:
            self.full = False
            self.backlog_changed(False)

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    def take_output(self) -> Write:
        """Everything written in this turn, as one command."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        self._out = []
        return Write(self.conn, data)

    def write(self, data: bytes) -> None:
        if not self._out:
            self._house.dirty.append(self)
        self._out.append(data)

    def close(self, *, reset: bool = False) -> None:
        """Send what is written and close; from here on nothing names this connection again."""
        if self.closed:
            return
        self._emit_output()
        self._forget()
        self._house.commands.append(Close(self.conn, reset))

    def vanished(self) -> None:
        """The shell has no such connection any more: forget it without a command."""
        if not self.closed:
            self._out.clear()
            self._forget()

    def end_writing(self) -> None:
        """Send what is written, then a FIN."""
        self._emit_output()
        self._house.commands.append(ShutdownWrite(self.conn))

    def hold_reading(self, why: Holding, held: bool) -> None:
        """Pause or resume reading; it is paused while there is any reason for it."""
        if self.closed:
            return
        was_held = bool(self._holding)
        (self._holding.add if held else self._holding.discard)(why)
        if was_held != bool(self._holding):
            self._house.commands.append(Resume(self.conn) if was_held else Pause(self.conn))

    @property
    def held(self) -> bool:
        return bool(self._holding)

    def _emit_output(self) -> None:
        if self._out:
            self._house.commands.append(self.take_output())

    def _forget(self) -> None:
        self.closed = True
        self._house.link_closed(self)
