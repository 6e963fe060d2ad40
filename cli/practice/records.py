"""What the practice upstream saw, for tests and for the curious."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Condition
from typing import Final

from protocol.values import Headers

MAX_RECORDS: Final = 1000
MAX_RECORDED_BYTES: Final = 64 * 1024 * 1024


class Ending(Enum):
    """How one answer came to its end."""

    COMPLETE = "complete"
    DROPPED = "dropped"
    """The practice upstream broke it off, as it was told to."""
    CLIENT_LEFT = "client left"


@dataclass(slots=True)
class Record:
    """One request, from its head on. Fields fill in as it proceeds; ``ending`` comes last.

    ``headers`` keep the case and order of the wire; ``connection`` counts accepted connections from 1; ``writes`` is
    how many portions of the body went out.
    """

    connection: int
    method: str
    target: str
    headers: Headers
    body: bytes = b""
    body_complete: bool = False
    status: int | None = None
    writes: int = 0
    ending: Ending | None = None

    def header(self, name: str) -> list[str]:
        """The values of all fields of this name, in any case."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for field, value in self.headers if field.lower() == wanted]


class Journal:
    """The latest records and the connections open now; written by the server's thread, read by any."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self._accepted = 0
        self._open = 0

    @property
    def records(self) -> tuple[Record, ...]:
        """At most the last 1,000, oldest first, fewer when their bodies are large."""
        with self._changed:
            return tuple(self._records)

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._accepted

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return self._open

    def until(self, happened: Callable[[], bool], timeout: float) -> bool:
        """Wait in the caller's thread until this is so, or for so many seconds; whether it is so."""
        with self._changed:
            return self._changed.wait_for(happened, timeout)

    def connected(self) -> int:
        """Count a connection in and number it."""
        with self._changed:
            self._accepted += 1
            self._open += 1
            self._changed.notify_all()
        return self._accepted

    def disconnected(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def began(self, record: Record) -> None:
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def body_ended(self, record: Record, body: bytes) -> None:
        with self._changed:
            record.body = body
            record.body_complete = True
            if len(body) > MAX_RECORDED_BYTES // MAX_RECORDS:  # smaller ones always fit
                self._forget_oldest()
            self._changed.notify_all()

    def progressed(self) -> None:
        """Something in a record has changed; wakes whoever waits."""
        with self._changed:
            self._changed.notify_all()

    def ended(self, record: Record, ending: Ending) -> None:
        """Note how an answer ended; the first ending counts."""
        with self._changed:
            record.ending = record.ending or ending
            self._changed.notify_all()

    def _forget_oldest(self) -> None:
        excess = sum(len(kept.body) for kept in self._records) - MAX_RECORDED_BYTES
        while excess > 0 and len(self._records) > 1:
            excess -= len(self._records.popleft().body)
