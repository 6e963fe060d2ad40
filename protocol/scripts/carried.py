"""Requests that a provider's API has no form for, translated onto the one that it has.

Anthropic's Messages onto Chat Completions or Responses; and, for a provider that has only one of OpenAI's two APIs, the
other one by way of Messages.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from protocol.call import Call, http_date
from protocol.config import OpenAiApi
from protocol.effects import (
    Answer,
    Effect,
    Fetched,
    Outcome,
    Reply,
    Script,
    UpstreamRequest,
    read_response,
    wait_for_body,
)
from protocol.errors import Refusal
from protocol.identity.provider_choice import Provider
from protocol.identity.providers import ProviderRecord
from protocol.identity.token_desk import Bearer, read_ask
from protocol.relays import Relay
from protocol.scripts.compatible import (
    MAX_ERROR,
    RESPONSES,
    Admitted,
    admit,
    error_answer,
    forwarded_request,
    hand_back,
)
from protocol.scripts.messages import EVENT_STREAM_HEADERS
from protocol.scripts.providing import Providing, ask_provider, choose, fetch_from, request_to
from protocol.scripts.translated import EVENT_STREAM, JSON, MAX_ANSWER, Translation
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.capabilities import EFFORTS, Capabilities
from protocol.translate.chained import ChainedRelay
from protocol.translate.models import NATIVE_PREFIX, ModelTable
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_response import message_from_completion
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.translate.onto_openai.estimate import ESTIMATED, estimate_count
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.responses_response import message_from_response
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ResponsesServer, TokenLimit
from protocol.usage_tap import read_tokens
from protocol.values import Headers, ResponseHead
from protocol.wire.headers import first, is_event_stream, is_identity

RETRY_HEADERS: Final = (b"retry-after", b"retry-after-ms", b"x-should-retry")

Read: TypeAlias = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Form:
    """One of OpenAI's two APIs as an upstream of Messages requests."""

    path: str
    carry: Callable[..., CarriedRequest]
    answer: Read
    stream: Callable[..., Relay]


ONTO_CHAT: Final = Form("/chat/completions", carry_onto_chat, message_from_completion, MessagesFromChat)
ONTO_RESPONSES: Final = Form(RESPONSES, carry_onto_responses, message_from_response, MessagesFromResponses)


@dataclass(frozen=True, slots=True)
class Crossing:
    """What a request of OpenAI's has become on its way through Messages, and the way back."""

    translation: Translation
    asked: TranslatedRequest
    created: int

    def whole(self, message: bytes) -> bytes:
        return self.translation.response(message, self.asked, created=self.created)

    def stream(self, messages: Relay) -> Relay:
        return ChainedRelay(messages, self.translation.stream(self.asked, created=self.created))


@dataclass(frozen=True, slots=True)
class Carriage:
    """A request as a provider got it. ``crossing`` is None for an Anthropic client's."""

    form: Form
    carried: CarriedRequest
    crossing: Crossing | None = None

    @property
    def omitted(self) -> str:
        """What was left out on all of the way."""
        before = () if self.crossing is None else self.crossing.asked.notes.omitted
        return ", ".join(dict.fromkeys((*before, *self.carried.omitted)))


def carry(call: Call, bearer: Bearer, providing: Providing) -> Script:
    """A Messages request of an Anthropic client."""
    admitted = yield from admit(call, bearer, providing)
    made: dict[str, Carriage] = {}

    def request_with(provider: Provider, wanted: str | None) -> UpstreamRequest:
        record = provider.record
        stands_in = wanted is not None and wanted != admitted.model
        body = admitted.naming(wanted) if admitted.model is None else admitted.body
        form = _form_of(record)
        carried = form.carry(
            body,
            resolve=lambda name: wanted if stands_in else model_of(record, name),
            server=server_of(record, form),
            drop_unsupported=providing.drop_unsupported,
        )
        made[record.name] = carriage = Carriage(form, carried)
        return _request(call, providing, provider, carriage)

    provider, fetched = yield from ask_provider(call, providing, admitted.choices, request_with, admitted.at)
    if fetched.head.status >= 400:
        said = yield from read_response(MAX_ERROR)
        raise _refusal(fetched.head, said, provider)
    yield from _carry_back(call, fetched, provider, made[provider.record.name])


def cross(call: Call, bearer: Bearer, providing: Providing, translation: Translation, api: OpenAiApi) -> Script:
    """A request of an OpenAI client, as it is to a provider that has its API, else translated twice.

    :param api: the API of the request.
    """
    path = RESPONSES if api is OpenAiApi.RESPONSES else ONTO_CHAT.path
    admitted = yield from admit(call, bearer, providing)
    made: dict[str, Carriage] = {}

    def request_with(provider: Provider, wanted: str | None) -> UpstreamRequest:
        record = provider.record
        if record.api in (None, api, OpenAiApi.BOTH):
            made.pop(record.name, None)
            return forwarded_request(call, providing, provider, path, admitted.naming(wanted))
        made[record.name] = carriage = _crossed(call, providing, record, admitted.naming(wanted), translation)
        return _request(call, providing, provider, carriage)

    provider, fetched = yield from ask_provider(call, providing, admitted.choices, request_with, admitted.at)
    carriage = made.get(provider.record.name)
    if carriage is None:
        yield from hand_back(fetched, provider, path)
    elif fetched.head.status >= 400:
        said = yield from read_response(MAX_ERROR)
        yield error_answer(fetched.head, said, provider)
    else:
        yield from _carry_back(call, fetched, provider, carriage)


def count_tokens(call: Call, bearer: Bearer, providing: Providing) -> Script:
    """What the provider counts, if it is one that does; else an estimate, and marked as one."""
    if not is_identity(call.head.headers):
        raise Refusal(415, "send the request body without a content-encoding")
    whole = yield from wait_for_body(providing.max_body)
    bearer.reserve(call, whole.at, whole.body, inference=False)
    counted = yield from _counted(call, providing, whole.body)
    if counted is None:
        yield Answer(ResponseHead(200, [JSON, ESTIMATED]), estimate_count(whole.body))
    else:
        yield Answer(ResponseHead(200, [JSON]), counted)


def _counted(call: Call, providing: Providing, body: bytes) -> Generator[Effect, Outcome, bytes | None]:
    """The provider's own count; None from one that has none, or that does not answer with one."""
    asked = read_ask(body).model or ""
    try:
        choice, *_ = yield from choose(call, providing, asked or None)
        provider = providing.desk.resolve(choice.provider)
    except Refusal:
        return None
    if not provider.record.counts_tokens:
        return None
    wanted = model_of(provider.record, choice.model or asked)
    named = Admitted(body, asked, [choice], call.at).naming(wanted or None)
    request = forwarded_request(call, providing, provider, "/messages/count_tokens", named)
    outcome = yield from fetch_from(call, provider, request)
    if not isinstance(outcome, Fetched) or outcome.head.status != 200 or not is_identity(outcome.head.headers):
        return None
    said = yield from read_response(MAX_ERROR)
    try:
        return said if msgspec.json.decode(said, type=_Count).input_tokens >= 0 else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


class _Count(msgspec.Struct):
    input_tokens: int


class AnyModel(ModelTable):
    """Every name is the provider's own."""

    def resolve(self, requested: str) -> str:
        return requested


# --- there ------------------------------------------------------------------------------------------------------------


def _crossed(
    call: Call, providing: Providing, record: ProviderRecord, body: bytes, translation: Translation
) -> Carriage:
    options = TranslationOptions(
        drop_unsupported=providing.drop_unsupported, capabilities=capabilities_of_provider(record)
    )
    asked = translation.request(body, models=AnyModel({}), options=options)
    form = _form_of(record)
    carried = form.carry(
        asked.body,
        resolve=lambda name: name,
        server=server_of(record, form),
        drop_unsupported=providing.drop_unsupported,
    )
    if record.max_output_tokens is None and not _names_limit(body):
        carried = msgspec.structs.replace(carried, body=_without_limit(carried.body))
    return Carriage(form, carried, Crossing(translation, asked, int(call.wall)))


LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What bounds an answer, in either API. Messages cannot do without, so a request that has none is given one there."""


def _names_limit(body: bytes) -> bool:
    """Whether a request of OpenAI's that was understood bounds its answer."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return any(bytes(fields.get(name, b"null")) != b"null" for name in LIMITS)


def _without_limit(body: bytes) -> bytes:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in fields.items() if name not in LIMITS})


def _form_of(record: ProviderRecord) -> Form:
    return ONTO_RESPONSES if record.api is OpenAiApi.RESPONSES else ONTO_CHAT


def model_of(record: ProviderRecord, requested: str) -> str:
    """The provider's model for the name that an Anthropic client asks for: that name, unless it is one of Claude's that
    the operator does not list, as Claude Code asks for by itself; then the provider's default, if it has one.
    """
    listed = requested in record.models or not requested.startswith(NATIVE_PREFIX)
    return requested if listed or record.default_model is None else record.default_model


def server_of(record: ProviderRecord, form: Form) -> ChatServer | ResponsesServer:
    """What is known of a provider's server: OpenAI's own takes less of some things and more of others."""
    own, most = record.base_url.origin.host == "api.openai.com", record.max_output_tokens
    efforts = OPENAI_EFFORTS if own else ()
    if form is ONTO_RESPONSES:
        return ResponsesServer(efforts=efforts, output_tokens=most)
    if own:
        limit = TokenLimit.MAX_COMPLETION_TOKENS
        return ChatServer(token_limit=limit, stop_sequences=4, output_tokens=most)
    return ChatServer(output_tokens=most)


def capabilities_of_provider(record: ProviderRecord) -> Capabilities:
    """What a request may ask for on its way through Messages to a provider: nothing is Claude's to refuse."""
    return Capabilities(
        output_tokens=record.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
        efforts=EFFORTS,
        sampling=True,
        temperature_with_top_p=True,
        system_turns=True,
    )


DEFAULT_OUTPUT_TOKENS: Final = 4096
"""What a request to Messages says where neither the client nor the operator does; the provider is not told."""

OPENAI_EFFORTS: Final = ("low", "medium", "high")


def _request(call: Call, providing: Providing, provider: Provider, carriage: Carriage) -> UpstreamRequest:
    """In our own words; of the client's headers only who it is."""
    carried = carriage.carried
    call.annotations["model"] = carried.upstream_model
    accept = b"text/event-stream" if carried.stream else b"application/json"
    headers = [JSON, (b"accept", accept), (b"accept-encoding", b"identity")]
    headers += [field for field in call.head.headers if field[0] == b"user-agent"]
    return request_to(providing, provider, b"POST", carriage.form.path, headers, carried.body)


# --- and back ---------------------------------------------------------------------------------------------------------


def _carry_back(call: Call, fetched: Fetched, provider: Provider, carriage: Carriage) -> Script:
    form, carried, crossing = carriage.form, carriage.carried, carriage.crossing
    head, identity = fetched.head, call.request_id
    if not is_identity(head.headers):
        raise Refusal(502, "the upstream compressed an answer that was asked for without compression")
    if is_event_stream(head.headers) != carried.stream:
        raise Refusal(502, f"the upstream answered {'without' if carried.stream else 'with'} an event stream")
    headers = _answer_headers(head, provider, carriage)
    if carried.stream:
        relay = form.stream(carried, identity=identity)
        stream_head = [EVENT_STREAM, *EVENT_STREAM_HEADERS, (b"date", http_date(call.wall)), *headers]
        yield Reply(ResponseHead(200, stream_head), relay if crossing is None else crossing.stream(relay), None)
    else:
        said = yield from read_response(MAX_ANSWER)
        message = form.answer(said, carried, identity=identity)
        call.tokens = read_tokens(message)
        yield Answer(ResponseHead(200, [JSON, *headers]), message if crossing is None else crossing.whole(message))


def _answer_headers(head: ResponseHead, provider: Provider, carriage: Carriage) -> Headers:
    headers = [field for field in head.headers if field[0] in RETRY_HEADERS or field[0].startswith(b"x-ratelimit-")]
    identity = first(head.headers, b"x-request-id")
    headers += [] if identity is None else [(b"request-id", identity), (b"x-request-id", identity)]
    headers.append((b"x-router-provider", provider.record.name.encode("ascii")))
    for name, value in (
        (b"x-router-upstream-model", carriage.carried.upstream_model),
        (b"x-router-omitted", carriage.omitted),
    ):
        if value and value.isascii() and value.isprintable():
            headers.append((name, value.encode("ascii")))
    return headers


def _refusal(head: ResponseHead, said: bytes, provider: Provider) -> Refusal:
    """The provider's error, which is told in the client's dialect. Its 401 is about the router's key."""
    if head.status == 401:
        return Refusal(502, f"provider {provider.record.name!r} does not take the router's key")
    refusal = openai_refusal(head.status, said if is_identity(head.headers) else b"")
    refusal.headers.extend(field for field in head.headers if field[0] in RETRY_HEADERS)
    return refusal
