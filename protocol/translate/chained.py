"""Two translations of a stream, one behind the other."""

from typing import final

from protocol.errors import Refusal
from protocol.relays import Relay
from protocol.values import Tokens


@final
class ChainedRelay(Relay):
    """What the upstream sends goes through ``first``, and what comes of it through ``second``, to the client.

    ``first`` must tell an error in the body, in words that ``second`` reads as one. How far the response is, ``second``
    says: only it knows what the client was told.
    """

    __slots__ = ("_first", "_second", "failed")

    def __init__(self, first: Relay, second: Relay) -> None:
        self._first = first
        self._second = second
        self.failed = False

    @property
    def complete(self) -> bool:
        return self._second.complete

    def feed(self, data: bytes) -> bytes:
        return self._passed_on(self._first.feed(data))

    def finish(self) -> bytes:
        """Both end: the first, then the second with all that the first had left."""
        written = self._passed_on(self._first.finish())
        written += self._second.finish()
        self.failed = self._second.failed
        return written

    def abort(self, error: Refusal) -> bytes | None:
        """The error as the second tells it: as the first put it in words, or, if it has none, as it is."""
        in_words = self._first.abort(error)
        written = self._passed_on(in_words) if in_words else b""
        if self.failed or self._second.complete:
            return written
        told = self._second.abort(error)
        self.failed = self._second.failed
        return told if told is None else written + told

    @property
    def tokens(self) -> Tokens | None:
        return self._first.tokens

    def comment(self) -> bytes | None:
        return self._second.comment()

    def _passed_on(self, data: bytes) -> bytes:
        written = self._second.feed(data) if data else b""
        self.failed = self._second.failed
        return written
