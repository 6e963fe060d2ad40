"""Two families of failure: a peer's fault is a ``Refusal`` (a response); ours is a ``LocalError`` (a failing test)."""

from typing import Final

import msgspec

from protocol.values import Headers

ANTHROPIC_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    417: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "api_error",
    501: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    505: "invalid_request_error",
    529: "overloaded_error",
}
"""Error type by status, as Anthropic's API names them (API reference, "Errors")."""


class Refusal(Exception):
    """An answer other than the one asked for, decided here.

    :param status: HTTP status.
    :param message: for the person who reads the client's error; never holds a secret.
    :param kind: Anthropic error type; by default the one that goes with the status.
    :param param: the request field at fault, for OpenAI's error shape.
    :param code: OpenAI's machine-readable error code.
    :param headers: extra response headers, such as ``retry-after``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or ANTHROPIC_KINDS.get(status, "api_error")
        self.param = param
        self.code = code
        self.headers: Headers = headers or []


class LocalError(Exception):
    """Our own code was driven in a way it forbids."""


def render_anthropic(refusal: Refusal, request_id: str) -> tuple[int, bytes]:
    """Status and body of a refusal for an Anthropic client."""
    return refusal.status, anthropic_error(refusal, request_id)


def anthropic_error(refusal: Refusal, request_id: str | None = None) -> bytes:
    """Render as ``{"type":"error","error":{"type","message"}[,"request_id"]}`` (Anthropic API, "Errors")."""
    body: dict[str, object] = {"type": "error", "error": {"type": refusal.kind, "message": refusal.message}}
    if request_id is not None:
        body["request_id"] = request_id
    return msgspec.json.encode(body)
