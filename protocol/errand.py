"""A request of the router's own, on nobody's behalf: one question to an upstream, one whole answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, final

from protocol.effects import Failed, FailureKind, UpstreamRequest
from protocol.errors import LocalError
from protocol.ports import Channel, UpstreamEvents
from protocol.values import Origin, ResponseHead


@dataclass(frozen=True, slots=True)
class Answered:
    """The upstream's whole answer."""

    head: ResponseHead
    body: bytes


ErrandResult: TypeAlias = Answered | Failed


class ErrandHouse(Protocol):
    """What the gateway does for errands."""

    now: float

    def open_channel(self, origin: Origin, *, fresh: bool) -> Channel:
        """A connection to ``origin``."""


@final
class Errand(UpstreamEvents):
    """Goes out once, on a connection of its own, and reports once to ``done``, unless it is cancelled before.

    :param limit: longest answer that is taken, in bytes.
    """

    __slots__ = ("_body", "_channel", "_done", "_head", "_house", "_limit", "_request", "_size")

    def __init__(
        self, request: UpstreamRequest, limit: int, house: ErrandHouse, done: Callable[[ErrandResult], None]
    ) -> None:
        self._request = request
        self._limit = limit
        self._house = house
        self._done = done
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._channel: Channel | None = house.open_channel(request.origin, fresh=True)
        body = request.body
        self._channel.request(request.head, 0 if body is None else len(body), self)

    def cancel(self) -> None:
        """The answer is not wanted any more."""
        if self._channel is not None:
            self._channel.cancel()
            self._channel = None

    def upstream_ready(self) -> None:
        if self._channel is None:
            raise LocalError("an errand that is over is ready")
        if self._request.body:
            self._channel.send_body(self._request.body)
        self._channel.send_end()

    def upstream_head(self, head: ResponseHead) -> None:
        self._head = head

    def upstream_body(self, data: bytes) -> None:
        self._body.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self.cancel()
            self._done(Failed(FailureKind.MALFORMED, f"more than {self._limit} bytes", self._house.now))

    def upstream_end(self) -> None:
        self._channel = None
        if self._head is None:
            raise LocalError("an answer has ended that never began")
        self._done(Answered(self._head, b"".join(self._body)))

    def upstream_failed(self, failure: Failed) -> None:
        self._channel = None
        self._done(failure)

    def upstream_full(self, full: bool) -> None:
        """The few bytes of a request of ours need no back-pressure."""
