"""The provider's token endpoint: how a refresh token is exchanged for the next pair (RFC 6749 sections 5 and 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from protocol.effects import UpstreamRequest
from protocol.identity.credentials import OAUTH_BETA
from protocol.identity.limits import read_limits
from protocol.values import BaseUrl, Headers, RequestHead, Secret

USER_AGENT: Final = b"link-assistant-router"

TERMINAL_ERRORS: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type"})
"""What no later attempt with the same token can change."""

TERMINAL_STATUSES: Final = frozenset({400, 401, 403})

OTHER_ERRORS: Final = frozenset({"invalid_request", "invalid_scope", "rate_limit_error", "overloaded_error"})
"""Further error codes that may be shown; any other text could be anything."""

DEFAULT_LIFETIME: Final = 3600.0
"""Seconds that a token lives when the endpoint does not say (RFC 6749 leaves that to its documentation)."""

LONGEST_LIFETIME: Final = 10 * 365 * 86_400.0
LONGEST_WAIT: Final = 86_400.0
"""Seconds; an endpoint that asks for more is asked again all the same."""

MOST_ANSWER_BYTES: Final = 64 * 1024
"""An answer is two tokens and a few words; a longer one need not be gathered."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A new access token for ``lifetime`` seconds; ``refresh`` is None when the old refresh token stays good."""

    access: Secret
    refresh: Secret | None
    lifetime: float


@dataclass(frozen=True, slots=True)
class Denied:
    """The endpoint does not take this refresh token: ``terminal`` for good, else perhaps later."""

    reason: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The endpoint did not decide; ``retry_after`` is in seconds, None when it did not say."""

    reason: str
    retry_after: float | None = None


TokenAnswer: TypeAlias = Granted | Denied | Unavailable


def refresh_request(endpoint: BaseUrl, client_id: str, refresh: Secret) -> UpstreamRequest:
    """The request that exchanges ``refresh``; to be made only where it goes on the wire, since it holds the secret."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh.reveal(), "client_id": client_id}
    headers: Headers = [
        (b"host", endpoint.origin.authority.encode("ascii")),
        (b"user-agent", USER_AGENT),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
        (b"anthropic-beta", OAUTH_BETA),
    ]
    target = endpoint.prefix.encode("ascii") or b"/"
    return UpstreamRequest(endpoint.origin, RequestHead(b"POST", target, headers), msgspec.json.encode(form))


def read_answer(status: int, headers: Headers, body: bytes, wall: float) -> TokenAnswer:
    """What the endpoint's answer means; total on any bytes, and no text of it reaches a reason.

    ``wall`` is epoch seconds, for a ``Retry-After`` that is a date.
    """
    fields = _fields(body)
    if 200 <= status < 300:
        return _grant(fields) or Unavailable(f"its answer (HTTP {status}) holds no token")
    error = fields.get("error")
    code = error.get("type") if isinstance(error, dict) else error
    terminal = status in TERMINAL_STATUSES and isinstance(code, str) and code in TERMINAL_ERRORS
    shown = f" {code}" if isinstance(code, str) and code in TERMINAL_ERRORS | OTHER_ERRORS else ""
    reason = f"HTTP {status}{shown}"
    if 400 <= status < 500 and status not in (408, 429):
        return Denied(reason, terminal)
    return Unavailable(reason, _wait(headers, wall))


def _wait(headers: Headers, wall: float) -> float | None:
    wait = read_limits(headers, wall).retry_after
    return None if wait is None else min(wait, LONGEST_WAIT)


def _fields(body: bytes) -> Mapping[str, object]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _grant(fields: Mapping[str, object]) -> Granted | None:
    access = _token(fields.get("access_token"))
    return None if access is None else Granted(access, _token(fields.get("refresh_token")), _lifetime(fields))


def _token(value: object) -> Secret | None:
    token = value.strip() if isinstance(value, str) else ""
    return Secret(token) if token and all("!" <= character <= "~" for character in token) else None


def _lifetime(fields: Mapping[str, object]) -> float:
    value = fields.get("expires_in")
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    return min(seconds, LONGEST_LIFETIME) if seconds > 0 else DEFAULT_LIFETIME
