"""Whole responses and stream events of the Responses API, typed as far as a translation reads them.

What is not named here is passed over, and so are items, parts and events of unknown types. What *is* named and has
another type than the API's means a broken upstream: ``Refusal`` with status 502.
"""

from collections.abc import Container
from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.events import NULL
from protocol.translate.outcomes import ChatUsage, CompletionDetails, PromptDetails, Usage, anthropic_usage


class Part(msgspec.Struct, frozen=True):
    """A part of a message, or a piece of a reasoning item's summary or content."""

    type: str
    text: str = ""
    refusal: str = ""


class Item(msgspec.Struct, frozen=True):
    """An output item of a known type; the fields of other types keep their defaults."""

    type: str
    id: str | None = None
    content: list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None

    @property
    def thought(self) -> str:
        """The text of a reasoning item: its summary, or, where there is none, its content."""
        return BETWEEN_THOUGHTS.join(part.text for part in self.summary or self.content or () if part.text)

    @property
    def text(self) -> str:
        """The text of a message, refusals included."""
        return "".join(part.text + part.refusal for part in self.content or ())

    @property
    def refusals(self) -> list[str]:
        """Why the model declined, as far as this message says."""
        return [part.refusal for part in self.content or () if part.refusal]


BETWEEN_THOUGHTS: Final = "\n\n"


class Why(msgspec.Struct, frozen=True):
    """``incomplete_details``."""

    reason: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """The ``usage`` of a response."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None

    @property
    def usage(self) -> Usage:
        """The same in Anthropic's words."""
        counts = ChatUsage(self.input_tokens, self.output_tokens, self.input_tokens_details, self.output_tokens_details)
        return anthropic_usage(counts)


class Response(msgspec.Struct, frozen=True):
    """A response, or instead of it an error."""

    id: str | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: Why | None = None
    usage: Counts | None = None
    error: msgspec.Raw = NULL
    native_finish_reason: object = None

    @property
    def incomplete(self) -> str | None:
        return None if self.incomplete_details is None else self.incomplete_details.reason


class Event(msgspec.Struct, frozen=True, gc=False):
    """A stream event of any type; the fields of other types keep their defaults."""

    type: str
    delta: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: msgspec.Raw = NULL
    response: msgspec.Raw = NULL


_KNOWN: Final = frozenset({"message", "reasoning", "function_call"})


class _Kind(msgspec.Struct):
    type: str


_event_decoder: Final = msgspec.json.Decoder(Event)
_kind_decoder: Final = msgspec.json.Decoder(_Kind)


def read_event(data: bytes, known: Container[str]) -> Event:
    """The event in the data of a server-sent event; of a type that is not known, just the type.

    :raises Refusal: 502, it is no JSON object with a type, or a field that is read has the wrong type.
    """
    try:
        return _event_decoder.decode(data)
    except (ValueError, RecursionError) as error:
        # An event that the API has gained may use any field name as it likes; a known one may not.
        kind = _kind_of(data)
        if kind is None or kind in known:
            raise _broken("event") from error
        return Event(kind)


def read_response(body: bytes | msgspec.Raw) -> Response:
    """The response in a response body or in an event that holds one.

    :raises Refusal: 502, it is none.
    """
    try:
        return msgspec.json.decode(body, type=Response)
    except (ValueError, RecursionError) as error:
        raise _broken("response") from error


def read_item(raw: msgspec.Raw) -> Item | None:
    """An output item; None where its type means nothing to a translation.

    :raises Refusal: 502, it is no item, or not one of its type.
    """
    try:
        if _kind_decoder.decode(raw).type not in _KNOWN:
            return None
        return msgspec.json.decode(raw, type=Item)
    except (ValueError, RecursionError) as error:
        raise _broken("output item") from error


def _kind_of(data: bytes) -> str | None:
    try:
        return _kind_decoder.decode(data).type
    except (ValueError, RecursionError):
        return None


def _broken(what: str) -> Refusal:
    return Refusal(502, f"the upstream sent a {what} that is not one of the Responses API")
