"""Messages and stream events of the Anthropic API, typed as far as a translation reads them.

What is not named here is passed over, so a field, an event, a delta or a block type that the API gains does not break a
translation. What *is* named and has another type than the API's means a broken upstream: ``Refusal`` with status 502.
"""

from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.errors import KINDS
from protocol.translate.outcomes import REFUSED, Usage

NULL: Final = msgspec.Raw(b"null")
EMPTY_INPUT: Final = msgspec.Raw(b"{}")


class Message(msgspec.Struct, frozen=True):
    """A message: whole, or as far as a stream has told it. ``content`` holds blocks for ``read_block``."""

    id: str
    content: list[msgspec.Raw] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: msgspec.Raw = NULL
    usage: Usage = Usage()

    @property
    def details(self) -> dict[str, object] | None:
        """``stop_details``, or None where they are none or cannot be read."""
        try:
            return msgspec.json.decode(self.stop_details, type=dict[str, object])
        except (ValueError, RecursionError):
            return None


class Block(msgspec.Struct, frozen=True):
    """A content block of any type; the fields of other types keep their defaults."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = EMPTY_INPUT

    @property
    def arguments(self) -> str:
        """The input of a tool call as JSON text, exactly as the upstream wrote it."""
        return bytes(self.input).decode()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What is added to a block; the fields of other types keep their defaults."""

    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""


class BlockDelta(msgspec.Struct, tag="content_block_delta", tag_field="type", frozen=True, gc=False):
    """The one event that streams are made of."""

    index: int
    delta: Delta


class Ending(msgspec.Struct, frozen=True):
    """What a ``message_delta`` says of the end."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: msgspec.Raw = NULL


class Fault(msgspec.Struct, frozen=True):
    """What an ``error`` event says."""

    type: str = "api_error"
    message: str = "the upstream reported an error"

    @property
    def refusal(self) -> Refusal:
        """The same with the status that OpenAI's API gives this kind outside a stream."""
        return Refusal(KINDS.get(self.type, KINDS["api_error"]).status, self.message, self.type)


class Event(msgspec.Struct, frozen=True):
    """A stream event of any other type; the fields of other types keep their defaults."""

    type: str
    index: int = 0
    content_block: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    delta: Ending = Ending()
    usage: Usage = Usage()
    error: Fault = Fault()


_EVENTS: Final = frozenset(
    {"message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop", "error"}
)
_DELTAS: Final = frozenset({"text_delta", "input_json_delta", "thinking_delta", "signature_delta"})
_BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


class _Kind(msgspec.Struct):
    type: str


class _DeltaKind(msgspec.Struct):
    index: int
    delta: _Kind


_delta_decoder: Final = msgspec.json.Decoder(BlockDelta)
_event_decoder: Final = msgspec.json.Decoder(Event)
_kind_decoder: Final = msgspec.json.Decoder(_Kind)


def read_event(data: bytes) -> BlockDelta | Event:
    """The event in the data of a server-sent event; of a type that is unknown, just the type.

    :raises Refusal: 502, it is no JSON object with a type, or a field that is read has the wrong type.
    """
    try:
        return _delta_decoder.decode(data)
    except (ValueError, RecursionError):
        return _read_other_event(data)


def read_message(body: bytes | msgspec.Raw) -> Message:
    """The message in a whole response body or in a ``message_start`` event.

    :raises Refusal: 502, it is no message.
    """
    try:
        if _kind_decoder.decode(body).type != "message":
            raise _broken("message")
        return msgspec.json.decode(body, type=Message)
    except (ValueError, RecursionError) as error:
        raise _broken("message") from error


def read_block(raw: msgspec.Raw) -> Block:
    """A content block; of a type that is unknown, just the type.

    :raises Refusal: 502, it is no content block.
    """
    try:
        if (kind := _kind_decoder.decode(raw).type) not in _BLOCKS:
            return Block(kind)
        block = msgspec.json.decode(raw, type=Block)
        bytes(block.input).decode()  # raw JSON is not checked for being UTF-8; what comes later relies on it
    except (ValueError, RecursionError) as error:
        raise _broken("content block") from error
    return block


def read_fields(raw: msgspec.Raw) -> dict[str, object]:
    """Every field of a content block that must travel back unchanged.

    :raises Refusal: 502, it is no JSON object.
    """
    try:
        return msgspec.json.decode(raw, type=dict[str, object])
    except (ValueError, RecursionError) as error:
        raise _broken("content block") from error


def refusal_text(message: Message) -> str | None:
    """Why the model declined, or None where it did not."""
    if message.stop_reason != "refusal":
        return None
    explanation = (message.details or {}).get("explanation")
    return explanation if isinstance(explanation, str) and explanation else REFUSED


def _read_other_event(data: bytes) -> BlockDelta | Event:
    """An event or a delta that the API has gained may use any field name as it likes; a known one may not."""
    try:
        kind = _kind_decoder.decode(data).type
        if kind in _EVENTS:
            return _event_decoder.decode(data)
        if kind != "content_block_delta":
            return Event(kind)
        delta = msgspec.json.decode(data, type=_DeltaKind)
    except (ValueError, RecursionError) as error:
        raise _broken("event") from error
    if delta.delta.type in _DELTAS:
        raise _broken(f"{delta.delta.type} event")
    return BlockDelta(delta.index, Delta())


def _broken(what: str) -> Refusal:
    return Refusal(502, f"the upstream sent a {what} that is not one of the Messages API")
