"""Errors in OpenAI's shape: ``{"error":{"message","type","param","code"}}`` (OpenAI API reference, "Error codes")."""

import re
from typing import Final, NamedTuple

import msgspec

from protocol.errors import ANTHROPIC_KINDS, Refusal


class OpenAIKind(NamedTuple):
    """What OpenAI's API calls an error: the HTTP status it comes with, its type and its default code."""

    status: int
    type: str
    code: str | None


KINDS: Final = {
    "invalid_request_error": OpenAIKind(400, "invalid_request_error", None),
    "authentication_error": OpenAIKind(401, "invalid_request_error", "invalid_api_key"),
    "billing_error": OpenAIKind(429, "insufficient_quota", "insufficient_quota"),
    "permission_error": OpenAIKind(403, "invalid_request_error", "permission_denied"),
    "not_found_error": OpenAIKind(404, "invalid_request_error", None),
    "request_too_large": OpenAIKind(413, "invalid_request_error", "request_too_large"),
    "rate_limit_error": OpenAIKind(429, "rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": OpenAIKind(504, "server_error", "timeout"),
    "api_error": OpenAIKind(500, "server_error", "server_error"),
    "overloaded_error": OpenAIKind(503, "server_error", "server_is_overloaded"),
}
"""OpenAI's words for every Anthropic error type. The codes are the ones that clients act on: they back off after
``server_is_overloaded``, wait after ``rate_limit_exceeded`` and give up after ``insufficient_quota``."""

_OVERLOADED: Final = 529
"""Anthropic's own status for overload; no OpenAI client knows it."""

_PROMPT_TOO_LONG: Final = re.compile(r"prompt is too long|exceeds? (the )?context (limit|window)", re.IGNORECASE)
_LONGEST_QUOTE: Final = 500


class ErrorObject(msgspec.Struct, frozen=True):
    """The value of ``error`` in a response body, in a chat stream's error frame and in a failed response."""

    message: str
    type: str
    param: str | None
    code: str | None


class _AnthropicErrorObject(msgspec.Struct):
    message: str
    type: str = "api_error"


class _AnthropicError(msgspec.Struct):
    error: _AnthropicErrorObject


def openai_error(refusal: Refusal) -> bytes:
    """The response body of a refusal on an OpenAI route."""
    return msgspec.json.encode({"error": error_object(refusal)})


def render_openai(refusal: Refusal, request_id: str) -> tuple[int, bytes]:
    """Status and body of a refusal for an OpenAI client, whose error shape has no place for a request id."""
    return openai_status(refusal.status), openai_error(refusal)


def error_object(refusal: Refusal) -> ErrorObject:
    """A refusal in OpenAI's words; its own ``code`` wins over the one that goes with its kind."""
    kind = KINDS.get(refusal.kind) or KINDS[_kind_by_class(refusal.status)]
    code = refusal.code or _telling_code(refusal.kind, refusal.message) or kind.code
    return ErrorObject(refusal.message, kind.type, refusal.param, code)


def openai_status(status: int) -> int:
    """The status for an OpenAI client: Anthropic's 529 is a 503, its 402 a 429, every other error keeps its own.

    A status below 400 is no error of the client's making and becomes 502.
    """
    if status == _OVERLOADED:
        return KINDS["overloaded_error"].status
    if status == 402:
        return KINDS["billing_error"].status
    return status if 400 <= status <= 599 else 502


def translate_error(status: int, anthropic_body: bytes) -> tuple[int, bytes]:
    """An upstream's error response, as status and body for an OpenAI client.

    Message and kind are the upstream's own. A body that is not Anthropic's JSON is quoted, up to 500 characters.
    """
    return openai_status(status), openai_error(upstream_refusal(status, anthropic_body))


def upstream_refusal(status: int, anthropic_body: bytes) -> Refusal:
    """An upstream's error response, or the data of its ``error`` event, as a refusal of ours."""
    try:
        error = msgspec.json.decode(anthropic_body, type=_AnthropicError).error
    except (ValueError, RecursionError):
        quote = anthropic_body.decode("utf-8", "replace").strip()[:_LONGEST_QUOTE]
        message = f"the upstream answered {status}" + (f": {quote}" if quote else " without a message")
        return Refusal(status, message, None if status in ANTHROPIC_KINDS else _kind_by_class(status))
    return Refusal(status, error.message, error.type)


def _kind_by_class(status: int) -> str:
    return "invalid_request_error" if 400 <= status <= 499 else "api_error"


def _telling_code(kind: str, message: str) -> str | None:
    """The code for what Anthropic tells in words only: an unknown model, a conversation that is too long."""
    if kind == "not_found_error" and message.startswith("model:"):
        return "model_not_found"
    if kind in ("invalid_request_error", "request_too_large") and _PROMPT_TOO_LONG.search(message):
        return "context_length_exceeded"
    return None
