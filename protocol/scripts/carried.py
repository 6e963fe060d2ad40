"""Requests that a provider's API has no form for, translated onto the one that it has.

Anthropic's Messages onto Chat Completions or Responses; and, for a provider that has only one of OpenAI's two APIs, the
other one by way of Messages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.call import Call, http_date
from protocol.config import OpenAiApi
from protocol.effects import Answer, Reply, Script, UpstreamRequest, read_body, read_response
from protocol.errors import Refusal
from protocol.identity.provider_choice import Provider
from protocol.identity.providers import ProviderRecord
from protocol.identity.token_desk import Bearer, read_ask
from protocol.relays import Relay
from protocol.scripts.compatible import MAX_ERROR, forward
from protocol.scripts.messages import EVENT_STREAM_HEADERS
from protocol.scripts.providing import Providing, ask_provider, look, request_to
from protocol.scripts.translated import EVENT_STREAM, JSON, MAX_ANSWER, Translation
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.capabilities import EFFORTS, Capabilities
from protocol.translate.chained import ChainedRelay
from protocol.translate.models import ModelTable
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_response import message_from_completion
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.translate.onto_openai.estimate import estimate_count
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
ONTO_RESPONSES: Final = Form("/responses", carry_onto_responses, message_from_response, MessagesFromResponses)


@dataclass(frozen=True, slots=True)
class Finish:
    """What becomes of the Messages answer: nothing for Anthropic's clients, a translation for OpenAI's."""

    whole: Callable[[bytes], bytes] = lambda message: message
    stream: Callable[[Relay], Relay] = lambda relay: relay


def carry(call: Call, bearer: Bearer, providing: Providing) -> Script:
    """A Messages request of an Anthropic client."""
    if not is_identity(call.head.headers):
        raise Refusal(415, "send the request body without a content-encoding")
    body = yield from read_body(providing.max_body)
    yield from _carried(call, bearer, providing, body, Finish())


def cross(call: Call, bearer: Bearer, providing: Providing, translation: Translation, api: OpenAiApi) -> Script:
    """A request of an OpenAI client, as it is to a provider that has its API, else translated twice.

    :param api: the API of the request.
    """
    yield from look(call, providing)
    record = providing.desk.providers.records().get(providing.default)
    if record is None or record.api in (None, api, OpenAiApi.BOTH):
        path = ONTO_CHAT.path if api is OpenAiApi.CHAT else ONTO_RESPONSES.path
        yield from forward(call, bearer, providing, path)
        return
    options = TranslationOptions(
        drop_unsupported=providing.drop_unsupported, capabilities=capabilities_of_provider(record)
    )
    body = yield from read_body(providing.max_body)
    asked: TranslatedRequest = translation.request(body, models=AnyModel({}), options=options)
    created = int(call.wall)
    finish = Finish(
        lambda message: translation.response(message, asked, created=created),
        lambda relay: ChainedRelay(relay, translation.stream(asked, created=created)),
    )
    yield from _carried(call, bearer, providing, asked.body, finish)


def count_tokens(call: Call, bearer: Bearer, providing: Providing) -> Script:
    """An estimate, and marked as one: there is nobody to ask."""
    body = yield from read_body(providing.max_body)
    bearer.reserve(call, body)
    yield Answer(ResponseHead(200, [JSON, (b"x-router-estimated", b"true")]), estimate_count(body))


class AnyModel(ModelTable):
    """Every name is the provider's own."""

    def resolve(self, requested: str) -> str:
        return requested


def _carried(call: Call, bearer: Bearer, providing: Providing, body: bytes, finish: Finish) -> Script:
    """Carry a Messages request onto the provider's API, and its answer back."""
    requested = read_ask(body).model or None
    bearer.reserve(call, body, model=requested)
    made: dict[str, tuple[Form, CarriedRequest]] = {}

    def request_with(provider: Provider, wanted: str | None) -> UpstreamRequest:
        record = provider.record
        form = ONTO_RESPONSES if record.api is OpenAiApi.RESPONSES else ONTO_CHAT
        carried = form.carry(
            body,
            resolve=lambda name: model_of(record, wanted or name),
            server=server_of(record, form),
            drop_unsupported=providing.drop_unsupported,
        )
        made[record.name] = form, carried
        return request_to(providing, provider, b"POST", form.path, _headers(call, carried), carried.body)

    provider, fetched = yield from ask_provider(call, providing, requested, request_with)
    form, carried = made[provider.record.name]
    head, identity = fetched.head, call.request_id
    call.annotations["model"] = carried.upstream_model
    if head.status >= 400:
        said = yield from read_response(MAX_ERROR)
        raise _refusal(head, said, provider)
    if is_event_stream(head.headers) != carried.stream:
        raise Refusal(502, f"the upstream answered {'without' if carried.stream else 'with'} an event stream")
    headers = _answer_headers(head, carried, provider)
    if carried.stream:
        stream_head = [EVENT_STREAM, *EVENT_STREAM_HEADERS, (b"date", http_date(call.wall)), *headers]
        yield Reply(ResponseHead(200, stream_head), finish.stream(form.stream(carried, identity=identity)), None)
    else:
        said = yield from read_response(MAX_ANSWER)
        message = form.answer(said, carried, identity=identity)
        call.tokens = read_tokens(message)
        yield Answer(ResponseHead(200, [JSON, *headers]), finish.whole(message))


def model_of(record: ProviderRecord, requested: str) -> str:
    """The provider's model for a name: itself if the provider lists it, or lists nothing and has no default."""
    if requested in record.models or record.default_model is None:
        return requested
    return record.default_model


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
"""Asked for where neither the client nor the operator says how long an answer may be: every current model has these."""

OPENAI_EFFORTS: Final = ("low", "medium", "high")


def _headers(call: Call, carried: CarriedRequest) -> Headers:
    """A request in our own words; of the client's headers only who it is."""
    agent = [field for field in call.head.headers if field[0] == b"user-agent"]
    accept = b"text/event-stream" if carried.stream else b"application/json"
    return [JSON, (b"accept", accept), (b"accept-encoding", b"identity"), *agent]


def _answer_headers(head: ResponseHead, carried: CarriedRequest, provider: Provider) -> Headers:
    headers = [field for field in head.headers if field[0] in RETRY_HEADERS or field[0].startswith(b"x-ratelimit-")]
    identity = first(head.headers, b"x-request-id")
    headers += [] if identity is None else [(b"request-id", identity), (b"x-request-id", identity)]
    headers.append((b"x-router-provider", provider.record.name.encode("ascii")))
    for name, value in (
        (b"x-router-upstream-model", carried.upstream_model),
        (b"x-router-omitted", ", ".join(carried.omitted)),
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
