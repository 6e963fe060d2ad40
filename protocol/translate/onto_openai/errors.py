"""Errors of servers that speak OpenAI's protocol, in Anthropic's words.

By their code where it tells more than the status, else by the status; the message is the server's own.
"""

import re
from typing import Final, NamedTuple

import msgspec

from protocol.errors import Refusal


class Meaning(NamedTuple):
    """What Anthropic's API calls an error: the HTTP status it comes with and its type."""

    status: int
    kind: str


PROMPT_TOO_LONG: Final = "prompt is too long"
"""How Anthropic's API begins to say that a conversation exceeds the context. Reading this, Claude Code compacts."""

_TOO_LONG: Final = Meaning(400, "invalid_request_error")
_RATE_LIMITED: Final = Meaning(429, "rate_limit_error")
_UNPAID: Final = Meaning(402, "billing_error")
_OVERLOADED: Final = Meaning(529, "overloaded_error")
_UNKNOWN_KEY: Final = Meaning(401, "authentication_error")
_NOT_FOUND: Final = Meaning(404, "not_found_error")

CODES: Final = {
    "context_length_exceeded": _TOO_LONG,
    "exceed_context_size_error": _TOO_LONG,
    "rate_limit_exceeded": _RATE_LIMITED,
    "insufficient_quota": _UNPAID,
    "billing_hard_limit_reached": _UNPAID,
    "server_is_overloaded": _OVERLOADED,
    "slow_down": _OVERLOADED,
    "engine_overloaded": _OVERLOADED,
    "invalid_api_key": _UNKNOWN_KEY,
    "model_not_found": _NOT_FOUND,
}
"""By ``code`` or ``type`` of the error object."""

STATUSES: Final = {
    400: Meaning(400, "invalid_request_error"),
    401: _UNKNOWN_KEY,
    402: _UNPAID,
    403: Meaning(403, "permission_error"),
    404: _NOT_FOUND,
    408: Meaning(408, "timeout_error"),
    413: Meaning(413, "request_too_large"),
    422: Meaning(400, "invalid_request_error"),
    429: _RATE_LIMITED,
    500: Meaning(500, "api_error"),
    502: Meaning(502, "api_error"),
    503: _OVERLOADED,
    504: Meaning(504, "timeout_error"),
    529: _OVERLOADED,
}
"""By the response's status. Any other keeps its number: one of the 400s is an invalid request, the rest is the
server's fault; and what is no error at all becomes a 502."""

_CONTEXT: Final = re.compile(
    r"maximum context length|context (?:length|window|size)\b|input token count .* exceeds", re.IGNORECASE
)
_ANSWER: Final = re.compile(r"max(?:_completion)?_tokens'? is too large", re.IGNORECASE)
"""Some say so of an answer, with the context as the reason; a shorter conversation is no cure for that."""

_LONGEST_QUOTE: Final = 500
_MESSAGE_FIELDS: Final = ("message", "error", "detail", "msg")


def openai_refusal(status: int, body: bytes) -> Refusal:
    """An upstream's error response as a refusal in Anthropic's words.

    A body that is no JSON of a known shape is quoted, up to 500 characters.
    """
    try:
        fault = _fault(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        fault = _Fault("")
    quote = fault.message or body.decode("utf-8", "replace").strip()[:_LONGEST_QUOTE]
    message = quote or f"the upstream answered {status} without a message"
    meaning = _meaning(status, fault, message)
    if meaning is _TOO_LONG and not message.lower().startswith(PROMPT_TOO_LONG):
        message = f"{PROMPT_TOO_LONG}: {message}"
    return Refusal(meaning.status, message, meaning.kind)


def stream_refusal(data: bytes) -> Refusal:
    """The error in the data of a stream's event, which has no status but the one it may name."""
    return openai_refusal(500, data)


class _Fault(NamedTuple):
    """What an error body says."""

    message: str
    words: tuple[str, ...] = ()
    """``code`` and ``type``, where they are texts."""

    status: int | None = None
    """``code``, where it is the number of an HTTP status."""


def _fault(body: object) -> _Fault:
    """``{"error": {...}}``, ``{"error": "..."}``, and the bare forms ``{"message"}`` and ``{"detail"}``."""
    if not isinstance(body, dict):
        return _Fault("")
    error = body.get("error")
    fields = error if isinstance(error, dict) else body
    message = next((text for name in _MESSAGE_FIELDS if isinstance(text := fields.get(name), str) and text), "")
    codes = [fields.get(name) for name in ("code", "type")]
    status = next((code for code in codes if type(code) is int and 400 <= code <= 599), None)
    return _Fault(message, tuple(code for code in codes if isinstance(code, str)), status)


def _meaning(status: int, fault: _Fault, message: str) -> Meaning:
    known = next((CODES[word] for word in fault.words if word in CODES), None)
    if known is not None:
        return known
    status = fault.status or status
    if status in (400, 413, 422, 500) and _CONTEXT.search(message) and not _ANSWER.search(message):
        return _TOO_LONG
    if status in STATUSES:
        return STATUSES[status]
    if not 400 <= status <= 599:
        return STATUSES[502]
    return Meaning(status, "invalid_request_error" if status <= 499 else "api_error")
