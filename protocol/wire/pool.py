"""Which upstream connections stand idle and may serve the next fetch."""

from typing import Generic, TypeVar

from protocol.egress import Destination

Connection = TypeVar("Connection")


class IdlePool(Generic[Connection]):
    """Idle connections by destination, the most recently used first, so that surplus ones grow old and expire.

    The pool decides nothing about time or liveness: the owner of a connection takes it out with ``discard`` when the
    peer closes it or its idle time is over.
    """

    __slots__ = ("_idle", "_per_destination")

    def __init__(self, per_destination: int) -> None:
        self._per_destination = per_destination
        self._idle: dict[Destination, list[Connection]] = {}

    def claim(self, destination: Destination) -> Connection | None:
        """Take the freshest idle connection to ``destination`` out of the pool."""
        waiting = self._idle.get(destination)
        return waiting.pop() if waiting else None

    def release(self, destination: Destination, connection: Connection) -> Connection | None:
        """Put a connection in; returns the one to close when there are now too many."""
        waiting = self._idle.setdefault(destination, [])
        waiting.append(connection)
        return waiting.pop(0) if len(waiting) > self._per_destination else None

    def discard(self, destination: Destination, connection: Connection) -> None:
        """Take one connection out, wherever it stands; harmless when it is not there."""
        waiting = self._idle.get(destination)
        if waiting and connection in waiting:
            waiting.remove(connection)

    def clear(self) -> list[Connection]:
        """Take every connection out."""
        everything = [connection for waiting in self._idle.values() for connection in waiting]
        self._idle.clear()
        return everything

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))
