"""What the provider checks on every request head, and what a gateway in front of it must never let through."""

import re
from collections.abc import Container
from typing import Final

from protocol.errors import Refusal
from protocol.values import Headers, RequestHead

OAUTH_BETA: Final = b"oauth-2025-04-20"

GATEWAY_TOKEN: Final = b"la_sk_"
"""How a gateway's own tokens begin; the provider must never see one."""

FOREIGN_HEADERS: Final = frozenset(
    {
        b"cookie",
        b"forwarded",
        b"keep-alive",
        b"payment-authorization",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""Fields that belong to another hop or another site (RFC 9110 section 7.6.1)."""

_VERSION: Final = re.compile(rb"\d{4}-\d{2}-\d{2}")


def credential(head: RequestHead, accepted: Container[str] | None) -> str:
    """The one credential of a request. With ``accepted`` None, any well-formed one is good.

    :raises Refusal: 400 for a header that should not have come this far, or without an API version; 401 for a gateway
        token, for no, several or unknown credentials, and for an OAuth token without its beta flag.
    """
    _refuse_foreign(head.headers)
    if any(GATEWAY_TOKEN in value for _, value in head.headers) or GATEWAY_TOKEN in head.target:
        raise Refusal(401, "A gateway token has come through to the provider")
    bearers = values(head.headers, b"authorization")
    keys = values(head.headers, b"x-api-key")
    if len(bearers) + len(keys) > 1:
        raise Refusal(401, "More than one credential has come through to the provider")
    if not bearers and not keys:
        raise Refusal(401, "x-api-key header is required")
    token = _bearer(bearers[0], head.headers) if bearers else _key(keys[0])
    if accepted is not None and token not in accepted:
        raise Refusal(401, "Invalid bearer token" if bearers else "invalid x-api-key")
    versions = values(head.headers, b"anthropic-version")
    if not versions:
        raise Refusal(400, "anthropic-version: header is required")
    if len(versions) > 1 or not _VERSION.fullmatch(versions[0]):
        raise Refusal(400, f"anthropic-version: {b', '.join(versions).decode('latin-1')} is not a valid version")
    return token


def values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of all fields of this name."""
    return [value for field, value in headers if field == name]


def listed(headers: Headers, name: bytes) -> set[bytes]:
    """The members of a comma-separated list header, in lower case, over all its fields."""
    return {member.strip().lower() for value in values(headers, name) for member in value.split(b",")} - {b""}


def _refuse_foreign(headers: Headers) -> None:
    found = {name for name, _ in headers} & FOREIGN_HEADERS
    named = listed(headers, b"connection") - {b"close", b"keep-alive"}
    if found or named:
        names = b", ".join(sorted(found | named)).decode("latin-1")
        raise Refusal(400, f"Headers that are not for the provider have come through: {names}")


def _bearer(value: bytes, headers: Headers) -> str:
    scheme, _, token = value.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refusal(401, "Invalid bearer token")
    if not token.startswith("sk-ant-api") and OAUTH_BETA not in listed(headers, b"anthropic-beta"):
        raise Refusal(401, "OAuth authentication is currently not supported.")
    return token.strip()


def _key(value: bytes) -> str:
    if not value.startswith(b"sk-ant-api"):
        raise Refusal(401, "invalid x-api-key")
    return value.decode("latin-1")
