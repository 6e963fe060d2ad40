"""An event stream relayed byte for byte, whose end is still an honest one: a cut is told to the client as an event."""

from typing import final

from protocol.errors import Refusal, anthropic_error
from protocol.relays import Relay
from protocol.wire.sse import COMMENT, EventBoundary, encode_sse


@final
class EventStreamPassthrough(Relay):
    """An Anthropic event stream, untouched. ``abort`` adds an ``error`` event that is visible wherever the cut fell."""

    __slots__ = ("_boundary", "_seen")

    failed = False

    def __init__(self) -> None:
        self._boundary = EventBoundary()
        self._seen = self._boundary.seen  # bound once: this is the path of every chunk

    def feed(self, data: bytes) -> bytes:
        self._seen(data)
        return data

    def finish(self) -> bytes:
        return b""

    def abort(self, error: Refusal) -> bytes:
        return self._boundary.closing_error(encode_sse(b"error", anthropic_error(error)))

    def comment(self) -> bytes | None:
        """A keep-alive between two events; None inside one, where it would tear a line apart."""
        return COMMENT if self._boundary.at_boundary else None
