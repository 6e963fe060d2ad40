"""OpenAI's API in front of an OpenAI-compatible provider: requests and answers pass as they are."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from protocol.call import Call
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
from protocol.event_relay import EventStreamPassthrough, MeteredPassthrough
from protocol.identity.provider_choice import Choice, Provider
from protocol.identity.token_desk import Bearer
from protocol.relays import Passthrough
from protocol.scripts.messages import EVENT_STREAM_HEADERS, announced_length
from protocol.scripts.providing import Providing, ask_provider, choose, request_to
from protocol.translate.errors import error_object, openai_error
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.usage_tap import tap_for
from protocol.values import ResponseHead
from protocol.wire.headers import (
    first,
    is_event_stream,
    is_identity,
    request_headers,
    response_headers,
)
from protocol.wire.sse import encode_sse

MAX_ERROR: Final = 1024 * 1024
"""Longest error of an upstream, in bytes, that is read."""

OWN_WORDS: Final = frozenset({b"accept-encoding", b"anthropic-beta", b"anthropic-version"})
"""Fields of the client's that mean nothing to a provider, or that the router says by itself."""

RESPONSES: Final = "/responses"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be made.

    :param model: the one that it names, if any.
    :param choices: whom to ask in turn.
    :param at: monotonic seconds; when its body was whole.
    """

    body: bytes
    model: str | None
    choices: Sequence[Choice]
    at: float

    def naming(self, model: str | None) -> bytes:
        """The body, to the byte, unless another model than its own has to be named in it.

        :raises Refusal: 400, it is no JSON object.
        """
        if model is None or model == self.model:
            return self.body
        try:
            fields = msgspec.json.decode(self.body, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise Refusal(400, "the request body is not a JSON object", code="invalid_json") from None
        return msgspec.json.encode({**fields, "model": model})


def admit(call: Call, bearer: Bearer, providing: Providing) -> Generator[Effect, Outcome, Admitted]:
    """Read the request's body, and take what it may use out of what the token has left.

    A token's list of models is held against the name that the client asks for, or, where it asks for none, against the
    default that it gets. What the operator lets stand in for that model is the operator's decision.

    :raises Refusal: it may not be made, or there is nobody to ask.
    """
    if not is_identity(call.head.headers):
        raise Refusal(415, "send the request body without a content-encoding")
    whole = yield from wait_for_body(providing.max_body)
    body = whole.body
    model = _model_in(body)
    choices = yield from choose(call, providing, model)
    bearer.reserve(call, whole.at, body, model=model or choices[0].model)
    return Admitted(body, model, choices, whole.at)


def forward(call: Call, bearer: Bearer, providing: Providing, path: str) -> Script:
    """Hand the request on with the provider's key, and the answer back.

    :param path: below ``/v1``.
    """
    admitted = yield from admit(call, bearer, providing)

    def request_with(provider: Provider, wanted: str | None) -> UpstreamRequest:
        return forwarded_request(call, providing, provider, path, admitted.naming(wanted))

    provider, fetched = yield from ask_provider(call, providing, admitted.choices, request_with, admitted.at)
    yield from hand_back(fetched, provider, path)


def forwarded_request(call: Call, providing: Providing, provider: Provider, path: str, body: bytes) -> UpstreamRequest:
    """The client's own request, with its query and what of its fields a provider is meant to see."""
    query = call.head.target.partition(b"?")[2].decode("latin-1")
    headers = [field for field in request_headers(call.head.headers) if field[0] not in OWN_WORDS]
    headers.append((b"accept-encoding", b"identity"))
    return request_to(providing, provider, b"POST", f"{path}?{query}" if query else path, headers, body)


def hand_back(fetched: Fetched, provider: Provider, path: str) -> Script:
    """The provider's answer as it is; a stream that is cut ends with an error in OpenAI's words.

    :raises Refusal: 502, it sends the client elsewhere, where its token is not known.
    """
    head = fetched.head
    if head.status >= 400:
        said = yield from read_response(MAX_ERROR)
        yield error_answer(head, said, provider)
        return
    if head.status >= 300:
        raise Refusal(502, f"provider {provider.record.name!r} answered with a redirect; its base URL needs a look")
    headers = [*response_headers(head.headers), (b"x-router-provider", provider.record.name.encode("ascii"))]
    answer = ResponseHead(head.status, headers, head.reason)
    if is_event_stream(head.headers) and is_identity(head.headers):
        headers += [field for field in EVENT_STREAM_HEADERS if first(headers, field[0]) is None]
        yield Reply(answer, EventStreamPassthrough(_breaks_off(path), joined=False), None)
        return
    tap = tap_for(head.headers)
    yield Reply(answer, Passthrough() if tap is None else MeteredPassthrough(tap), announced_length(head))


def error_answer(head: ResponseHead, said: bytes, provider: Provider) -> Answer:
    """The provider's error, verbatim where it is one of OpenAI's shape, else in that shape.

    :raises Refusal: 502 for a 401, which is about the router's key and must not pass for one about the client's token.
    """
    if head.status == 401:
        raise Refusal(502, f"provider {provider.record.name!r} does not take the router's key")
    replaced = (b"content-type", b"content-encoding")
    headers = [field for field in response_headers(head.headers) if field[0] not in replaced]
    headers.append((b"content-type", b"application/json"))
    headers.append((b"x-router-provider", provider.record.name.encode("ascii")))
    readable = said if is_identity(head.headers) else b""
    told = readable if _has_openai_error(readable) else openai_error(openai_refusal(head.status, readable))
    return Answer(ResponseHead(head.status, headers, head.reason), told)


# --- bodies -----------------------------------------------------------------------------------------------------------


class _Named(msgspec.Struct):
    model: object = None


def _model_in(body: bytes) -> str | None:
    """The model that a request names; None where it names none, or is no JSON object.

    :raises Refusal: 400, the name is no text.
    """
    try:
        model = msgspec.json.decode(body, type=_Named).model
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if model is None or isinstance(model, str):
        return model or None
    raise Refusal(400, "model: expected a string", param="model", code="invalid_type")


def _has_openai_error(body: bytes) -> bool:
    """Whether a client of OpenAI's finds the error in it."""
    try:
        return isinstance(msgspec.json.decode(body, type=dict[str, object]).get("error"), dict)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def _breaks_off(path: str) -> Callable[[Refusal], bytes]:
    """How clients of an endpoint are told of a cut. No ``[DONE]`` follows it."""
    return _break_off_response if path == RESPONSES else _break_off_chunks


def _break_off_chunks(refusal: Refusal) -> bytes:
    """As Chat Completions and Completions do: the error in the place of a chunk."""
    return encode_sse(b"", openai_error(refusal))


def _break_off_response(refusal: Refusal) -> bytes:
    """The Responses API's own event for it. Its fields are there a second time under ``error``, where the SDKs look."""
    error = error_object(refusal)
    event = {"type": "error", "code": error.code, "message": error.message, "param": error.param, "error": error}
    return encode_sse(b"error", msgspec.json.encode(event))
