"""Which upstream connections stand idle and may serve the next fetch."""

from typing import Generic, TypeVar

from protocol.values import Origin

Connection = TypeVar("Connection")


class IdlePool(Generic[Connection]):
    """Idle connections by origin, the most recently used first, so that surplus ones grow old and expire.

    The pool decides nothing about time or liveness: the owner of a connection takes it out with ``discard`` when the
    peer closes it or its idle time is over.
    """

    __slots__ = ("_idle", "_per_origin")

    def __init__(self, per_origin: int) -> None:
        self._per_origin = per_origin
        self._idle: dict[Origin, list[Connection]] = {}

    def claim(self, origin: Origin) -> Connection | None:
        """Take the freshest idle connection to ``origin`` out of the pool."""
        waiting = self._idle.get(origin)
        return waiting.pop() if waiting else None

    def release(self, origin: Origin, connection: Connection) -> Connection | None:
        """Put a connection in; returns the one to close when there are now too many."""
        waiting = self._idle.setdefault(origin, [])
        waiting.append(connection)
        return waiting.pop(0) if len(waiting) > self._per_origin else None

    def discard(self, origin: Origin, connection: Connection) -> None:
        """Take one connection out, wherever it stands; harmless when it is not there."""
        waiting = self._idle.get(origin)
        if waiting and connection in waiting:
            waiting.remove(connection)

    def clear(self) -> list[Connection]:
        """Take every connection out."""
        everything = [connection for waiting in self._idle.values() for connection in waiting]
        self._idle.clear()
        return everything

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))
