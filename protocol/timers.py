"""All deadlines of one gateway in one heap, with at most one heap entry for each owner and timer."""

from abc import ABC, abstractmethod
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, final


class Timer(Enum):
    """What is being waited for."""

    __hash__ = object.__hash__  # members are single objects; Enum would hash their names in Python

    HEAD = "the rest of a request head"
    BODY = "more of a request body"
    KEEPALIVE = "the next request on an idle client connection"
    LINGER = "the client to close after its last response"
    CONNECT = "an upstream connection"
    SILENCE = "anything at all from the upstream"
    IDLE = "a use for an idle upstream connection"
    COMMENT = "a pause in an event stream long enough for a keep-alive comment"
    RENEWAL = "the next step of a login's renewal"
    STORE = "the next look at a store"
    DISK = "the disk to answer"
    DRAIN = "the grace period of a shutdown"


class TimerOwner(ABC):
    """Anything that can be told that a deadline has passed."""

    __slots__ = ()

    @abstractmethod
    def timer_fired(self, timer: Timer) -> None: ...


_COMPACT_ABOVE: Final = 256


@final
class Timers:
    """Set, move and clear deadlines; the heap holds promises that are checked only when they come due.

    Moving a deadline later, the common case on a busy connection, only stores a number: the entry already in the heap
    comes up early, finds the later instant and is put back. All instants are monotonic seconds.
    """

    __slots__ = ("_armed", "_heap", "_order", "_queued")

    def __init__(self) -> None:
        self._armed: dict[tuple[TimerOwner, Timer], float] = {}
        self._queued: dict[tuple[TimerOwner, Timer], float] = {}
        self._heap: list[tuple[float, int, tuple[TimerOwner, Timer]]] = []
        self._order = count()

    def set(self, owner: TimerOwner, timer: Timer, at: float) -> None:
        """Have ``owner`` told at ``at``; replaces an earlier setting of the same timer."""
        key = (owner, timer)
        self._armed[key] = at
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._push(key, at)

    def clear(self, owner: TimerOwner, timer: Timer) -> None:
        """Forget one deadline; harmless when it was not set."""
        if self._armed.pop((owner, timer), None) is not None and len(self._heap) > _COMPACT_ABOVE:
            self._compact_if_sparse()

    def forget(self, owner: TimerOwner) -> None:
        """Clear every deadline of an owner that is gone."""
        for timer in Timer:
            self._armed.pop((owner, timer), None)
        self._compact_if_sparse()

    def deadline(self) -> float | None:
        """The earliest instant at which ``take_due`` may return something."""
        heap = self._heap
        while heap:
            at, _, key = heap[0]
            armed = self._armed.get(key)
            if armed == at:
                return at
            heappop(heap)
            if self._queued.get(key) == at:
                del self._queued[key]
                if armed is not None:
                    self._push(key, armed)
        return None

    def take_due(self, now: float) -> tuple[TimerOwner, Timer] | None:
        """One deadline that has passed, disarmed; None when there is none (left)."""
        at = self.deadline()
        if at is None or at > now:
            return None
        _, _, key = heappop(self._heap)
        del self._armed[key]
        self._queued.pop(key, None)
        return key

    def _push(self, key: tuple[TimerOwner, Timer], at: float) -> None:
        self._queued[key] = at
        heappush(self._heap, (at, next(self._order), key))

    def _compact_if_sparse(self) -> None:
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 4 * len(self._armed):
            self._queued = dict(self._armed)
            self._heap = [(at, next(self._order), key) for key, at in self._armed.items()]
            heapify(self._heap)
