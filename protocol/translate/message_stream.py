"""The half of a stream translation that is the same for every dialect: reading, order, and ends that are honest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.relays import Relay
from protocol.translate.events import Block, BlockDelta, Delta, Event, Message, read_block, read_event, read_message
from protocol.translate.outcomes import billed
from protocol.values import Tokens
from protocol.wire.sse import COMMENT, SseDecoder


class Phase(Enum):
    """How far the upstream's message has come; the last two are ends."""

    AWAITED = "nothing yet"
    ANSWERING = "between message_start and message_stop"
    COMPLETE = "told to its end"
    FAILED = "broken off, and the client was told"


class BlockWriter(ABC):
    """Writes one content block in the client's dialect."""

    __slots__ = ()

    @abstractmethod
    def delta(self, delta: Delta) -> bytes:
        """The bytes for what this delta adds; ``b""`` where it adds nothing that the dialect shows."""

    @abstractmethod
    def close(self) -> bytes:
        """The block is complete."""


class Skipped(BlockWriter):
    """A block that the dialect has no place for, such as a search that the provider ran itself."""

    __slots__ = ()

    def delta(self, delta: Delta) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""


SKIPPED: Final = Skipped()


class MessageStream(Relay):
    """Translates an Anthropic event stream while it arrives; a dialect says what each fact looks like.

    Blocks come one at a time: one that starts closes the one before it, and a delta must be for the open one. A broken
    event, an event out of order, an ``error`` event, a cut and an end before ``message_stop`` all become the dialect's
    error, after which nothing more is sent. ``ping`` and event types that are unknown are passed over.
    """

    __slots__ = ("_decoder", "_index", "_writer", "failed", "message", "phase")

    def __init__(self) -> None:
        self.phase = Phase.AWAITED
        self.failed = False
        self.message = Message("")
        self._decoder = SseDecoder()
        self._writer: BlockWriter | None = None
        self._index = -1

    @property
    def complete(self) -> bool:
        """Whether the message was told to its end."""
        return self.phase is Phase.COMPLETE

    def feed(self, data: bytes) -> bytes:
        written: list[bytes] = []
        try:
            for sse in self._decoder.feed(data):
                event = read_event(sse.data)
                if isinstance(event, Event):
                    written.append(self._step(event))
                elif self._writer is not None and event.index == self._index:
                    written.append(self._writer.delta(event.delta))
                else:
                    self._refuse(event)
        except Refusal as refusal:
            written.append(self._fail(refusal))
        return b"".join(written)

    def finish(self) -> bytes:
        """The upstream ended its body: nothing if the message was complete, else the error that says it was not."""
        return self._fail(Refusal(502, "the upstream ended its stream before the message was complete"))

    def abort(self, error: Refusal) -> bytes:
        """The upstream was cut: nothing if the message was complete, else the error."""
        return self._fail(error)

    @property
    def tokens(self) -> Tokens | None:
        return billed(self.message.usage)

    def comment(self) -> bytes | None:
        return None if self.phase in _ENDS else COMMENT

    @abstractmethod
    def started(self) -> bytes:
        """``self.message`` was announced."""

    @abstractmethod
    def opened(self, block: Block, raw: msgspec.Raw) -> tuple[bytes, BlockWriter]:
        """A block began. Text that it brought along is given to the writer as a first delta."""

    @abstractmethod
    def completed(self) -> bytes:
        """The message is complete; ``self.message`` knows how it ended and what it cost."""

    @abstractmethod
    def broken(self, refusal: Refusal) -> bytes:
        """The message will never be complete."""

    def _refuse(self, delta: BlockDelta) -> None:
        if self.phase not in _ENDS:
            raise Refusal(502, f"the upstream sent a delta for block {delta.index}, which is not open")

    def _step(self, event: Event) -> bytes:
        step = _STEPS.get((self.phase, event.type))
        if step is not None:
            return step(self, event)
        if event.type in _ORDERED and self.phase not in _ENDS:
            raise Refusal(502, f"the upstream sent {event.type} out of order")
        return b""

    def _start(self, event: Event) -> bytes:
        self.message = read_message(event.message)
        self.phase = Phase.ANSWERING
        written = [self.started()]
        for raw in self.message.content:
            written += (self._opened(raw), self._closed())
        return b"".join(written)

    def _open(self, event: Event) -> bytes:
        closing = self._closed()
        self._index = event.index
        return closing + self._opened(event.content_block)

    def _close(self, event: Event) -> bytes:
        return self._closed() if event.index == self._index else b""

    def _update(self, event: Event) -> bytes:
        said, delta = self.message, event.delta
        self.message = msgspec.structs.replace(
            said,
            stop_reason=delta.stop_reason or said.stop_reason,
            stop_sequence=delta.stop_sequence or said.stop_sequence,
            stop_details=delta.stop_details,
            usage=said.usage.updated(event.usage),
        )
        return b""

    def _complete(self, event: Event) -> bytes:
        written = self._closed() + self.completed()
        self.phase = Phase.COMPLETE
        return written

    def _report(self, event: Event) -> bytes:
        raise event.error.refusal

    def _opened(self, raw: msgspec.Raw) -> bytes:
        block = read_block(raw)
        opening, self._writer = self.opened(block, raw)
        return opening + self._writer.delta(Delta(text=block.text, thinking=block.thinking))

    def _closed(self) -> bytes:
        writer, self._writer = self._writer, None
        return b"" if writer is None else writer.close()

    def _fail(self, refusal: Refusal) -> bytes:
        if self.phase in _ENDS:
            return b""
        self._writer = None
        written = self.broken(refusal)
        self.phase = Phase.FAILED
        self.failed = True
        return written


_ENDS: Final = frozenset({Phase.COMPLETE, Phase.FAILED})

_STEPS: Final[Mapping[tuple[Phase, str], Callable[[MessageStream, Event], bytes]]] = {
    (Phase.AWAITED, "message_start"): MessageStream._start,
    (Phase.ANSWERING, "content_block_start"): MessageStream._open,
    (Phase.ANSWERING, "content_block_stop"): MessageStream._close,
    (Phase.ANSWERING, "message_delta"): MessageStream._update,
    (Phase.ANSWERING, "message_stop"): MessageStream._complete,
    (Phase.AWAITED, "error"): MessageStream._report,
    (Phase.ANSWERING, "error"): MessageStream._report,
}
_ORDERED: Final = frozenset(kind for _, kind in _STEPS)
