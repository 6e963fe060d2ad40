"""The half of a stream translation that is the same for both of OpenAI's APIs: an Anthropic message, told to its end.

Everything that ends a stream otherwise, an error, a broken event, a cut, becomes an ``error`` event, after which
nothing more is sent.
"""

from abc import abstractmethod
from typing import Final

import msgspec

from protocol.errors import Refusal, anthropic_error
from protocol.relays import Relay
from protocol.translate.message_stream import Phase
from protocol.translate.onto_openai.blocks import BlockQueue
from protocol.translate.onto_openai.ids import message_id
from protocol.translate.onto_openai.outcomes import JsonObject, Stop, usage_of
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.outcomes import Usage, billed
from protocol.values import Tokens
from protocol.wire.sse import COMMENT, encode_sse

_ENDS: Final = frozenset({Phase.COMPLETE, Phase.FAILED})


class AnswerStream(Relay):
    """One streamed answer; an API says what its events mean.

    :param identity: stands in for the answer's id where the server gives none; letters, digits, ``_`` and ``-``.
    """

    __slots__ = ("_identity", "blocks", "failed", "message_id", "phase", "refused", "request", "usage")

    def __init__(self, request: CarriedRequest, *, identity: str) -> None:
        self.failed = False
        self.request = request
        self.phase = Phase.AWAITED
        self.blocks = BlockQueue()
        self.message_id = ""
        self.refused: list[str] = []
        self.usage: Usage | None = None
        self._identity = identity

    @property
    def complete(self) -> bool:
        """Whether the message was told to its end."""
        return self.phase is Phase.COMPLETE

    def feed(self, data: bytes) -> bytes:
        written: list[bytes] = []
        try:
            for event in self.events(data):
                if self.phase in _ENDS:
                    break
                written.append(self.read(event))
        except Refusal as refusal:
            written.append(self._fail(refusal))
        return b"".join(written)

    def finish(self) -> bytes:
        """The upstream ended its body: the end of a message that is whole, else the error that says that it is not."""
        if self.phase in _ENDS:
            return b""
        try:
            return self.ended()
        except Refusal as refusal:
            return self._fail(refusal)

    def abort(self, error: Refusal) -> bytes:
        """The upstream was cut: nothing if the message was complete, else the error."""
        return self._fail(error)

    @property
    def tokens(self) -> Tokens | None:
        return None if self.usage is None else billed(self.usage)

    def comment(self) -> bytes | None:
        return None if self.phase in _ENDS else COMMENT

    @abstractmethod
    def events(self, data: bytes) -> list[bytes]:
        """The data of the server-sent events that these bytes complete."""

    @abstractmethod
    def read(self, data: bytes) -> bytes:
        """What is to be said for one event.

        :raises Refusal: the event is an error, or broken.
        """

    @abstractmethod
    def stop(self) -> Stop | None:
        """How the answer ended, None where it has not.

        :raises Refusal: it failed.
        """

    def start(self, answer_id: str | None) -> bytes:
        """The message begins, if it has not."""
        if self.phase is not Phase.AWAITED:
            return b""
        self.phase = Phase.ANSWERING
        self.message_id = message_id(answer_id, self._identity)
        message: JsonObject = {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": self.request.requested_model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self.usage),
        }
        return _event({"type": "message_start", "message": message})

    def ended(self) -> bytes:
        """The message ends.

        :raises Refusal: it is not whole.
        """
        stop = self.stop()
        if stop is None:
            raise Refusal(502, "the upstream ended its stream before the answer was complete")
        written = self.blocks.finish()
        self.phase = Phase.COMPLETE
        ending = {"type": "message_delta", "delta": msgspec.to_builtins(stop), "usage": usage_of(self.usage)}
        return written + _event(ending) + _event({"type": "message_stop"})

    def _fail(self, refusal: Refusal) -> bytes:
        if self.phase in _ENDS:
            return b""
        self.phase = Phase.FAILED
        self.failed = True
        return encode_sse(b"error", anthropic_error(refusal))


def _event(fields: JsonObject) -> bytes:
    return encode_sse(str(fields["type"]).encode("ascii"), msgspec.json.encode(fields))
