"""The OpenAI surface: a request is translated, asked as an Anthropic one, and its answer translated back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from protocol.call import Call, http_date
from protocol.effects import Answer, Reply, Script, UpstreamRequest, read_response, wait_for_body
from protocol.errors import Refusal
from protocol.identity.affinity import read_hints
from protocol.identity.credentials import Credential, authorize
from protocol.identity.roster import Roster
from protocol.identity.token_desk import Bearer
from protocol.relays import Relay
from protocol.scripts.asking import NO_HINTS, Persistence, Question, ask
from protocol.scripts.file_in_use import FileInUse
from protocol.scripts.messages import EVENT_STREAM_HEADERS
from protocol.translate import models as model_pages
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.chat_response import translate_chat_response
from protocol.translate.chat_stream import ChatStream
from protocol.translate.errors import translate_error
from protocol.translate.models import ModelTable
from protocol.translate.responses_request import translate_responses_request
from protocol.translate.responses_response import translate_responses_response
from protocol.translate.responses_stream import ResponsesStream
from protocol.usage_tap import read_tokens
from protocol.values import BaseUrl, Headers, RequestHead, ResponseHead
from protocol.wire.headers import first, is_event_stream, is_identity

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Longest answer, in bytes, that is gathered to be translated as a whole."""

JSON: Final = (b"content-type", b"application/json")
EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Translation:
    """One dialect: its request, its whole answer, its stream."""

    request: Callable[..., TranslatedRequest]
    response: Callable[..., bytes]
    stream: Callable[..., Relay]


CHAT: Final = Translation(translate_chat_request, translate_chat_response, ChatStream)
RESPONSES: Final = Translation(translate_responses_request, translate_responses_response, ResponsesStream)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Where translated requests go, under which names and rules."""

    base: BaseUrl
    models: ModelTable
    drop_unsupported: bool
    max_body: int
    persistence: Persistence


class FixedBody:
    """A body made here: it can always be sent again."""

    replayable: Final = True


def complete(call: Call, bearer: Bearer, roster: Roster, bridge: Bridge, translation: Translation) -> Script:
    """Translate, ask, translate back."""
    if not is_identity(call.head.headers):
        raise Refusal(415, "send the request body without a content-encoding")
    options = TranslationOptions(drop_unsupported=bridge.drop_unsupported, stream=_stream_in_query(call.head.target))
    whole = yield from wait_for_body(bridge.max_body)
    body = whole.body
    asked = translation.request(body, models=bridge.models, options=options)
    call.annotations["model"] = asked.upstream_model
    bearer.reserve(call, whole.at, asked.body, model=asked.upstream_model)

    def request_with(credential: Credential) -> UpstreamRequest:
        return UpstreamRequest(bridge.base.origin, upstream_head(call.head, asked, credential, bridge.base), asked.body)

    hints = read_hints(call.head.headers, body, files=roster.holds_resources) if roster.has_choice else NO_HINTS
    file = FileInUse(roster, hints, body if roster.has_choice else None)
    question = Question(
        FixedBody(), request_with, whole.at, hints, model=asked.upstream_model, preferred=file.holder,
        elsewhere=file.is_elsewhere,
    )  # fmt: skip
    fetched = yield from ask(call, roster, question, bridge.persistence)
    head, created = fetched.head, int(call.wall)
    headers = answer_headers(head, asked)
    plain = is_identity(head.headers)
    if head.status != 200:
        said = yield from read_response(MAX_ANSWER)
        status, told = translate_error(head.status, said if plain else b"")
        yield Answer(ResponseHead(status, [JSON, *headers]), told)
    elif not plain:
        raise Refusal(502, "the upstream compressed an answer that was asked for without compression")
    elif is_event_stream(head.headers) != asked.stream:
        raise Refusal(502, f"the upstream answered {'without' if asked.stream else 'with'} an event stream")
    elif asked.stream:
        stream_head = [EVENT_STREAM, *EVENT_STREAM_HEADERS, (b"date", http_date(call.wall)), *headers]
        yield Reply(ResponseHead(200, stream_head), translation.stream(asked, created=created), None)
    else:
        message = yield from read_response(MAX_ANSWER)
        call.tokens = read_tokens(message)
        answer = translation.response(message, asked, created=created)
        yield Answer(ResponseHead(200, [JSON, *headers]), answer)


def upstream_head(client: RequestHead, asked: TranslatedRequest, credential: Credential, base: BaseUrl) -> RequestHead:
    """A Messages request in our own words; of the client's headers only those that say something about the message."""
    headers: Headers = [
        (b"host", base.origin.authority.encode("ascii")),
        JSON,
        (b"accept", b"text/event-stream" if asked.stream else b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
    headers += [
        field for field in client.headers if field[0] in (b"user-agent", b"anthropic-version", b"anthropic-beta")
    ]
    headers += [(b"anthropic-beta", beta.encode("ascii")) for beta in asked.betas]
    return RequestHead(b"POST", base.prefix.encode("ascii") + b"/v1/messages", authorize(headers, credential))


def answer_headers(head: ResponseHead, asked: TranslatedRequest) -> Headers:
    """What an OpenAI client can use of the provider's response headers, and which model really answered
    to how much of the request.
    """
    headers = [field for field in head.headers if field[0] in RELAYED_HEADERS or field[0].startswith(RATE_LIMIT_PREFIX)]
    request_id = first(head.headers, b"request-id")
    if request_id is not None:
        headers.append((b"x-request-id", request_id))
    headers += _printable(b"x-router-upstream-model", asked.upstream_model)
    headers += _printable(b"x-router-omitted", ", ".join(asked.notes.omitted))
    return headers


def _printable(name: bytes, value: str) -> Headers:
    """The field, unless the value is empty or, taken from a client's JSON, nothing that a header can carry."""
    return [(name, value.encode("ascii"))] if value and value.isascii() and value.isprintable() else []


RELAYED_HEADERS: Final = frozenset({b"request-id", b"retry-after", b"retry-after-ms", b"x-should-retry"})
RATE_LIMIT_PREFIX: Final = b"anthropic-ratelimit-"


def list_models(call: Call, models: ModelTable) -> Script:
    """``GET /v1/models``, in the shape of the client's own API."""
    page = model_pages.list_anthropic if speaks_anthropic(call.head) else model_pages.list_openai
    yield Answer(ResponseHead(200, [JSON]), page(models))


def show_model(call: Call, models: ModelTable, name: str) -> Script:
    """``GET /v1/models/{id}``."""
    page = model_pages.retrieve_anthropic if speaks_anthropic(call.head) else model_pages.retrieve_openai
    yield Answer(ResponseHead(200, [JSON]), page(models, name))


def speaks_anthropic(head: RequestHead) -> bool:
    """Anthropic's clients name the version of their API in every request."""
    return first(head.headers, b"anthropic-version") is not None


def _stream_in_query(target: bytes) -> bool | None:
    """``?stream=true`` or ``?stream=1``, for clients that cannot put it into the body."""
    values = parse_qs(target.partition(b"?")[2]).get(b"stream")
    return None if not values else values[-1].lower() in (b"true", b"1")
