"""Which header fields cross the router, and small questions about the ones that do.

Both filters read :data:`protocol.values.Headers` (names in lower case) and keep order, repeats and value bytes. Neither
lets ``content-length`` or ``transfer-encoding`` through: the framing of each hop sets its own (RFC 9112 section 6).
"""

from typing import Final

from protocol.values import Headers

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields about one connection, never about the message (RFC 9110 section 7.6.1)."""

FORWARDING: Final = frozenset(
    {
        b"cdn-loop",
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-ipcountry",
        b"cf-pseudo-ipv4",
        b"cf-ray",
        b"cf-visitor",
        b"client-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"proxy-client-ip",
        b"true-client-ip",
        b"via",
        b"wl-proxy-client-ip",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"x-forwarded",
        b"x-original-forwarded-for",
        b"x-original-host",
        b"x-real-ip",
        b"x-remote-addr",
        b"x-remote-ip",
    }
)
"""Fields by which a proxy tells whom it speaks for; ``x-forwarded-*`` belongs to them too."""

FORWARDING_PREFIX: Final = b"x-forwarded-"

CREDENTIALS: Final = frozenset(
    {
        b"api-key",
        b"apikey",
        b"authorization",
        b"cf-access-client-id",
        b"cf-access-client-secret",
        b"cf-access-jwt-assertion",
        b"cf-access-token",
        b"cookie",
        b"cookie2",
        b"ocp-apim-subscription-key",
        b"payment-authorization",
        b"proxy-authorization",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-auth-token",
        b"x-authorization",
        b"x-goog-api-key",
        b"x-goog-iap-jwt-assertion",
    }
)
"""Where clients and the proxies before us put what proves who they are."""

OVERRIDES: Final = frozenset(
    {b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-original-url", b"x-rewrite-url"}
)
"""Fields some servers believe over the request line: with them a request could leave the allow-list of routes."""

FRAMING: Final = frozenset({b"content-length", b"expect", b"host"})
"""Set anew for the upstream connection, or answered here (``expect``)."""

NOT_FOR_UPSTREAM: Final = HOP_BY_HOP | FORWARDING | CREDENTIALS | OVERRIDES | FRAMING

NOT_FOR_CLIENT: Final = HOP_BY_HOP | {b"alt-svc", b"content-length"}
"""``alt-svc`` would name the upstream's endpoints as ours (RFC 7838 section 2.1)."""


def request_headers(headers: Headers) -> Headers:
    """What of a client's request may reach an upstream: no hop-by-hop field, nor one that ``Connection`` names, no
    credential of any style, nothing about the client's network. The caller adds ``host``, framing and one credential
    afterwards, so a client's ``Connection`` can never strip those.
    """
    # A slice of the prefix's length: startswith() doubles what this line costs on a real request.
    kept = [field for field in headers if field[0] not in NOT_FOR_UPSTREAM and field[0][:12] != FORWARDING_PREFIX]
    return _without_nominated(kept, headers)


def response_headers(headers: Headers) -> Headers:
    """What of an upstream's response may reach a client: all but hop-by-hop and framing fields."""
    kept = [field for field in headers if field[0] not in NOT_FOR_CLIENT]
    return _without_nominated(kept, headers)


def was_forwarded(headers: Headers) -> bool:
    """Whether a proxy says that it passed this request on for somebody else."""
    return any(name in FORWARDING or name.startswith(FORWARDING_PREFIX) for name, _ in headers)


def first(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first field called ``name`` (lower case), or None."""
    for field, value in headers:
        if field == name:
            return value
    return None


def all_values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of every field called ``name`` (lower case), in order."""
    return [value for field, value in headers if field == name]


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """Whether the comma-separated list field ``name`` holds ``token`` (lower case), in any letter case."""
    value = b",".join(all_values(headers, name))  # several fields are one list (RFC 9110 section 5.3)
    return value != b"" and token in list_items(value.lower())


def list_items(value: bytes) -> list[bytes]:
    """The members of a comma-separated list without the white space around them; empty members are none
    (RFC 9110 section 5.6.1).
    """
    return [item for part in value.split(b",") if (item := part.strip(b" \t"))]


def is_event_stream(headers: Headers) -> bool:
    """Whether the body is Server-Sent Events."""
    return _media_type(headers) == b"text/event-stream"


def is_json(headers: Headers) -> bool:
    """Whether the body is JSON: ``application/json`` or a ``+json`` type (RFC 6839 section 3.1)."""
    media_type = _media_type(headers)
    return media_type == b"application/json" or media_type.endswith(b"+json")


def is_identity(headers: Headers) -> bool:
    """Whether the body's bytes are not compressed."""
    return all(
        coding == b"identity"
        for value in all_values(headers, b"content-encoding")
        for coding in list_items(value.lower())
    )


def _media_type(headers: Headers) -> bytes:
    value = first(headers, b"content-type") or b""
    return value.partition(b";")[0].strip(b" \t").lower()


def _without_nominated(kept: Headers, headers: Headers) -> Headers:
    """``kept`` without the fields that a ``Connection`` among ``headers`` names."""
    for name, value in headers:
        # Nearly every client sends one of these two, and then there is nothing to strip.
        if name == b"connection" and value not in (b"keep-alive", b"close"):
            break
    else:
        return kept
    nominated = {item for value in all_values(headers, b"connection") for item in list_items(value.lower())}
    return [field for field in kept if field[0] not in nominated]
