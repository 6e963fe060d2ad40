"""What an answer was billed for, read from its body as it passes: no byte is changed and few are looked at.

Every API tells it under the same key, so a read of a stream that does not hold that key costs one search of its bytes.
The dialects are told apart by what each document says of itself.
"""

import zlib
from abc import ABC, abstractmethod
from typing import Final, final

import msgspec

from protocol.translate.outcomes import ChatUsage, PromptDetails, Usage, anthropic_usage, billed
from protocol.values import Headers, Tokens
from protocol.wire.headers import all_values, is_event_stream, is_json, list_items

USAGE: Final = b'"usage"'
"""The key, in the one spelling that upstreams use. In a text, or in pieces of JSON, backslashes would be in between."""

MAX_KEPT: Final = 4 * 1024 * 1024
"""The longest whole body, or line of a stream, that is kept to be read; the usage of a longer one stays unknown."""

INFLATED_AT_ONCE: Final = 64 * 1024
"""Bytes. What a small read unpacks to may be a thousand times its size."""


class UsageTap(ABC):
    """Looks on while one response body passes."""

    __slots__ = ()

    @abstractmethod
    def seen(self, data: bytes) -> None:
        """These bytes of the body came, as they were on the wire."""

    @property
    @abstractmethod
    def tokens(self) -> Tokens | None:
        """What the answer was billed for by what has come so far; None as long as it does not say."""

    @property
    @abstractmethod
    def answer_id(self) -> str | None:
        """The id of the message, as soon as it is known."""


def tap_for(headers: Headers) -> UsageTap | None:
    """The tap for an answer with these response headers; None for a type or a compression that cannot be read."""
    tap: UsageTap
    if is_event_stream(headers):
        tap = StreamUsage()
    elif is_json(headers):
        tap = BodyUsage()
    else:
        return None
    listed = [coding for value in all_values(headers, b"content-encoding") for coding in list_items(value.lower())]
    codings = [coding for coding in listed if coding != b"identity"]
    if not codings:
        return tap
    return InflatedUsage(tap) if len(codings) == 1 and codings[0] in INFLATABLE else None


INFLATABLE: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})


@final
class StreamUsage(UsageTap):
    """For an event stream of the Messages API, of Chat Completions or of the Responses API.

    Counts in a stream are cumulative: the last one told of a kind holds, so a stream that was cut has cost what was
    told until then. A ``data`` line is taken for a whole JSON document, as all three APIs write it.
    """

    __slots__ = ("_line", "_message", "_usage")

    def __init__(self) -> None:
        self._line = bytearray()
        """What has come of a line that is not complete."""
        self._usage = Usage()
        self._message: str | None = None

    def seen(self, data: bytes) -> None:
        # On the path of every chunk. Nearly all are whole lines after whole lines and say nothing of usage.
        if USAGE in data or self._line or data[-1:] != b"\n":
            self._take(data)

    @property
    def tokens(self) -> Tokens | None:
        return billed(self._usage)

    @property
    def answer_id(self) -> str | None:
        return self._message

    def _take(self, data: bytes) -> None:
        line = self._line
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            line += data[:end]
            self._read(bytes(line))
            line.clear()
        line += data[end:]
        if len(line) > MAX_KEPT:
            line[:] = b":"  # the start of a comment: the rest of this line will be passed over

    def _read(self, text: bytes) -> None:
        for line in text.splitlines():
            if USAGE in line and line.startswith(b"data:") and len(line) <= MAX_KEPT:
                told = read_usage(line[5:])
                if told is not None:
                    self._usage = self._usage.updated(told)
                    self._message = self._message or read_identity(line[5:])


@final
class BodyUsage(UsageTap):
    """For a whole JSON answer of any of the three."""

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0

    def seen(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_KEPT:
            self._kept.append(data)
        else:
            self._kept.clear()

    @property
    def tokens(self) -> Tokens | None:
        return read_tokens(b"".join(self._kept))

    @property
    def answer_id(self) -> str | None:
        return read_identity(b"".join(self._kept))


@final
class InflatedUsage(UsageTap):
    """For either under gzip or deflate (RFC 9110 section 8.4.1), which clients offer and the provider uses on streams
    too. What cannot be unpacked ends the reading, not the answer.
    """

    __slots__ = ("_inflater", "_spent", "_tap")

    def __init__(self, tap: UsageTap) -> None:
        self._tap = tap
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # tells gzip from zlib by the first bytes
        self._spent = False

    def seen(self, data: bytes) -> None:
        inflater = self._inflater
        try:
            while data and not self._spent:
                self._tap.seen(inflater.decompress(data, INFLATED_AT_ONCE))
                data = inflater.unconsumed_tail
                self._spent = inflater.eof
        except zlib.error:
            self._spent = True

    @property
    def tokens(self) -> Tokens | None:
        return self._tap.tokens

    @property
    def answer_id(self) -> str | None:
        return self._tap.answer_id


# --- documents --------------------------------------------------------------------------------------------------------


def read_tokens(body: bytes) -> Tokens | None:
    """What a whole answer in one of the three dialects was billed for; None where it does not say."""
    usage = read_usage(body)
    return None if usage is None else billed(usage)


def read_identity(document: bytes) -> str | None:
    """The id of the message that an answer is, or that an event announces."""
    try:
        said = _announcements.decode(document)
    except (ValueError, RecursionError):
        return None
    return (said.id if said.message is None else said.message.id) or None


def read_usage(document: bytes | msgspec.Raw) -> Usage | None:
    """The usage in a whole answer, or in the data of an event, of the Messages API, of Chat Completions or of the
    Responses API; None for anything else.
    """
    try:
        return _usage_of(_documents.decode(document))
    except (ValueError, RecursionError):
        return None


class _Document(msgspec.Struct, frozen=True):
    """The outermost fields of an answer or an event, as far as they lead to a usage."""

    type: str = ""
    object: str = ""
    usage: msgspec.Raw = msgspec.Raw(b"null")
    message: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Announced(msgspec.Struct, frozen=True):
    id: str = ""


class _Announcement(msgspec.Struct, frozen=True):
    """A message, or the event that it begins with."""

    id: str = ""
    message: _Announced | None = None


class _ResponsesUsage(msgspec.Struct, frozen=True):
    """The ``usage`` object of the Responses API, as far as it has a counterpart."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: PromptDetails | None = None


_announcements: Final = msgspec.json.Decoder(_Announcement)
_documents: Final = msgspec.json.Decoder(_Document)
_messages_usage: Final[msgspec.json.Decoder[Usage | None]] = msgspec.json.Decoder(Usage | None)
_chat_usage: Final[msgspec.json.Decoder[ChatUsage | None]] = msgspec.json.Decoder(ChatUsage | None)
_responses_usage: Final[msgspec.json.Decoder[_ResponsesUsage | None]] = msgspec.json.Decoder(_ResponsesUsage | None)


def _usage_of(said: _Document) -> Usage | None:
    match said.type or said.object:
        case "message_start":
            return read_usage(said.message)
        case "message" | "message_delta":
            return _messages_usage.decode(said.usage)
        case "chat.completion" | "chat.completion.chunk" | "text_completion" | "list":  # a list is one of embeddings
            counts = _chat_usage.decode(said.usage)
            return None if counts is None else anthropic_usage(counts)
        case "response.completed" | "response.incomplete" | "response.failed":
            return read_usage(said.response)
        case "response":
            told = _responses_usage.decode(said.usage)
            if told is None:
                return None
            return anthropic_usage(ChatUsage(told.input_tokens, told.output_tokens, told.input_tokens_details))
        case _:
            return None
