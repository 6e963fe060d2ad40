"""OpenAI's API in front of an OpenAI-compatible provider: requests and answers pass as they are."""

from typing import Final

import msgspec

from protocol.call import Call
from protocol.effects import Answer, Fetched, Reply, Script, UpstreamRequest, read_body, read_response
from protocol.errors import Refusal
from protocol.event_relay import EventStreamPassthrough, MeteredPassthrough
from protocol.identity.provider_choice import Provider
from protocol.identity.token_desk import Bearer, read_ask
from protocol.relays import Passthrough
from protocol.scripts.messages import EVENT_STREAM_HEADERS, announced_length
from protocol.scripts.providing import Providing, ask_provider, request_to
from protocol.translate.errors import openai_error
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.usage_tap import tap_for
from protocol.values import Headers, ResponseHead
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


def forward(call: Call, bearer: Bearer, providing: Providing, path: str) -> Script:
    """Hand the request on with the provider's key, and the answer back.

    :param path: below ``/v1``.
    """
    if not is_identity(call.head.headers):
        raise Refusal(415, "send the request body without a content-encoding")
    body = yield from read_body(providing.max_body)
    model = read_ask(body).model or None
    bearer.reserve(call, body, model=model)
    query = call.head.target.partition(b"?")[2].decode("latin-1")
    target = f"{path}?{query}" if query else path

    def request_with(provider: Provider, wanted: str | None) -> UpstreamRequest:
        headers = forwarded_headers(call.head.headers)
        return request_to(providing, provider, b"POST", target, headers, with_model(body, model, wanted))

    provider, fetched = yield from ask_provider(call, providing, model, request_with)
    if fetched.head.status >= 400:
        said = yield from read_response(MAX_ERROR)
        yield error_answer(fetched.head, said, provider)
    else:
        yield forwarded(fetched, provider)


def forwarded_headers(headers: Headers) -> Headers:
    """What a provider gets of the client's fields."""
    kept = [field for field in request_headers(headers) if field[0] not in OWN_WORDS]
    return [*kept, (b"accept-encoding", b"identity")]


def with_model(body: bytes, asked: str | None, wanted: str | None) -> bytes:
    """The body, to the byte, unless another model has to be named in it.

    :raises Refusal: 400, it is no JSON object.
    """
    if wanted is None or wanted == asked:
        return body
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Refusal(400, "the request body is not a JSON object", code="invalid_json") from None
    return msgspec.json.encode({**fields, "model": wanted})


def forwarded(fetched: Fetched, provider: Provider) -> Reply:
    """The provider's answer as it is; a stream that is cut ends with an error in OpenAI's words."""
    head = fetched.head
    headers = [*response_headers(head.headers), (b"x-router-provider", provider.record.name.encode("ascii"))]
    answer = ResponseHead(head.status, headers, head.reason)
    if is_event_stream(head.headers) and is_identity(head.headers):
        headers += [field for field in EVENT_STREAM_HEADERS if first(headers, field[0]) is None]
        return Reply(answer, EventStreamPassthrough(broken_off), None)
    tap = tap_for(head.headers)
    return Reply(answer, Passthrough() if tap is None else MeteredPassthrough(tap), announced_length(head))


def broken_off(refusal: Refusal) -> bytes:
    """The event that tells an OpenAI client of a cut. No ``[DONE]`` follows it."""
    return encode_sse(b"error", openai_error(refusal))


def error_answer(head: ResponseHead, said: bytes, provider: Provider) -> Answer:
    """The provider's error, verbatim where it is one of OpenAI's shape, else in that shape.

    A 401 is about the router's key, and must not pass for one about the client's token: it becomes a 502.

    :raises Refusal: 502 for a 401.
    """
    if head.status == 401:
        raise Refusal(502, f"provider {provider.record.name!r} does not take the router's key")
    headers = [
        field for field in response_headers(head.headers) if field[0] not in (b"content-type", b"content-encoding")
    ]
    headers.append((b"content-type", b"application/json"))
    headers.append((b"x-router-provider", provider.record.name.encode("ascii")))
    answer = ResponseHead(head.status, headers, head.reason)
    readable = said if is_identity(head.headers) else b""
    return Answer(
        answer, readable if has_openai_error(readable) else openai_error(openai_refusal(head.status, readable))
    )


def has_openai_error(body: bytes) -> bool:
    """Whether a client of OpenAI's finds the error in it."""
    try:
        return isinstance(msgspec.json.decode(body, type=dict[str, object]).get("error"), dict)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
