"""Tokens and credentials come from outside: whatever they hold, only documented errors come out, and no secret does."""

import json
import string
from collections.abc import Callable
from typing import Any, TypeVar

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.files import FileContent, Missing, Unreadable
from protocol.identity.credentials import Credential, Kind, authorize, find_credential, from_api_key
from protocol.identity.tokens import MAX_TTL_HOURS, Claims, TokenVerifier, admin_allowed, issue, present_token
from protocol.values import Headers, Peer, PeerKind, Secret

T = TypeVar("T")

WALL = 1_750_000_000.0
SECRET = Secret("a secret of more than thirty-two bytes")
ISSUED = issue(SECRET, label="alice", wall=WALL, entropy=lambda size: bytes(range(size)))
TOKEN = ISSUED.token.reveal().encode()
VERIFIER = TokenVerifier(SECRET)

MARKER = "hunter2"
"""Part of every secret in these tests, and of nothing else."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def outcome(call: Callable[[], T]) -> T | Refusal:
    """What a call returns, or the refusal it raises; anything else it raises fails the test."""
    try:
        return call()
    except Refusal as refusal:
        return refusal


def verified(presented: bytes) -> Claims | None:
    """The claims, or None for a proper 401."""
    result = outcome(lambda: VERIFIER.verify(presented, WALL))
    if isinstance(result, Claims):
        return result
    assert (result.status, result.kind) == (401, "authentication_error")
    return None


# --- tokens


@given(st.binary())
def test_no_bytes_are_a_token_of_ours(presented: bytes) -> None:
    assert verified(presented) is None
    assert verified(b"la_sk_" + presented) is None


@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_no_three_segments_are_a_token_of_ours(segments: list[bytes]) -> None:
    encoded = [jwt.utils.base64url_encode(segment) for segment in segments]
    assert verified(b"la_sk_" + b".".join(encoded)) is None


@given(JSON)
def test_no_signed_payload_breaks_the_verifier(payload: object) -> None:
    text = json.dumps(payload).encode()
    verified(b"la_sk_" + jwt.PyJWS().encode(text, SECRET.reveal(), algorithm="HS256").encode())


@given(
    st.fixed_dictionaries(
        {"sub": JSON | st.just("id"), "iat": JSON | st.just(1), "exp": JSON | st.just(2 * int(WALL))},
        optional={"label": JSON, "account": JSON, "aud": JSON, "nbf": JSON, "kid": JSON},
    )
)
def test_claims_of_any_type_are_refused_or_come_out_typed(payload: dict[str, Any]) -> None:
    text = json.dumps(payload).encode()
    claims = verified(b"la_sk_" + jwt.PyJWS().encode(text, SECRET.reveal(), algorithm="HS256").encode())
    if claims is not None:
        assert (claims.sub, claims.iat, claims.exp) == (payload["sub"], payload["iat"], payload["exp"])
        assert claims.exp > WALL
        assert isinstance(claims.label, str)
        assert claims.account == payload.get("account")


@given(st.integers(0, len(TOKEN) - 1), st.integers(0, 255))
def test_a_token_with_one_byte_changed_is_refused_or_says_the_same(position: int, byte: int) -> None:
    changed = TOKEN[:position] + bytes([byte]) + TOKEN[position + 1 :]
    assert verified(changed) in (None, ISSUED.claims)


@given(
    label=st.text(max_size=100),
    account=st.none() | st.text(max_size=100),
    ttl_hours=st.floats(1 / 3600, MAX_TTL_HOURS) | st.integers(1, MAX_TTL_HOURS),
    wall=st.floats(0, 1e11),
    entropy=st.binary(min_size=16, max_size=16),
    secret=st.text(st.characters(codec="utf-8"), min_size=1).map(Secret),
)
def test_what_is_issued_is_verified_until_it_ends(
    label: str, account: str | None, ttl_hours: float, wall: float, entropy: bytes, secret: Secret
) -> None:
    issued = issue(secret, ttl_hours=ttl_hours, label=label, account=account, wall=wall, entropy=lambda _: entropy)
    verifier = TokenVerifier(secret)
    token = issued.token.reveal().encode()
    assert token.startswith(b"la_sk_eyJ0eXAi")
    assert verifier.verify(token, wall if wall < issued.claims.exp else issued.claims.iat) == issued.claims
    with pytest.raises(Refusal, match="expired"):
        verifier.verify(token, issued.claims.exp)


HEADER_VALUES = st.one_of(
    st.binary(),
    st.builds(
        lambda scheme, value: scheme + value,
        st.sampled_from([b"", b"Bearer ", b"bearer\t", b"Basic "]),
        st.sampled_from([TOKEN, b"sk-ant-oat01-hunter2", b"sk-ant-api03-hunter2", b"hunter2", b"la_sk_hunter2", b""]),
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"x-api-key", b"host", b"origin", b"via", b"anthropic-beta", b"accept"]),
        HEADER_VALUES,
    ),
    max_size=6,
)


@given(HEADERS)
def test_what_is_presented_is_one_of_the_values_or_a_refusal_that_repeats_none(headers: Headers) -> None:
    result = outcome(lambda: present_token(headers))
    if isinstance(result, bytes):
        assert result.startswith(b"la_sk_")
        assert any(result in value for name, value in headers if name in (b"authorization", b"x-api-key"))
    else:
        assert result.status == 401
        assert MARKER not in result.message
        assert (b"x-api-key", TOKEN) not in headers
        assert (b"authorization", b"Bearer " + TOKEN) not in headers


@given(HEADERS, st.sampled_from(PeerKind), st.none() | st.just(Secret("the admin key")))
def test_no_headers_admit_a_stranger_to_administration(headers: Headers, kind: PeerKind, key: Secret | None) -> None:
    result = outcome(lambda: admin_allowed(headers, Peer(kind, ""), key))
    if isinstance(result, Refusal):
        assert result.status == 401
        assert MARKER not in result.message
    else:
        assert key is None
        assert kind is not PeerKind.NETWORK
        assert not any(name == b"via" for name, _ in headers)


# --- credentials

FIELDS = st.sampled_from(
    [
        *("claudeAiOauth", "claude_ai_oauth", "accessToken", "access_token", "oauthToken", "oauth_token"),
        *("primaryApiKey", "apiKey", "api_key", "expiresAt", "expires_at", "expiryDate", "refreshToken", "other"),
    ]
)
SECRETS = st.builds(
    lambda prefix, tail: f"{prefix}{MARKER}{tail}",
    st.sampled_from(["", "sk-ant-oat01-", "sk-ant-api03-", "sk-ant-ort01-", " ", "\n"]),
    st.text(max_size=4),
)
SESSIONS = st.recursive(
    SECRETS | st.integers() | st.floats() | st.text() | st.none() | st.booleans(),
    lambda inner: st.dictionaries(FIELDS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=10,
)


@st.composite
def file_contents(draw: st.DrawFn) -> FileContent:
    """No file, no permission, noise, or a session's JSON, perhaps with a hole in it."""
    text = json.dumps(draw(SESSIONS)).encode()
    position = draw(st.integers(0, len(text)))
    broken = text[:position] + draw(st.binary(max_size=3)) + text[position:]
    reason = draw(st.sampled_from(["Permission denied", "Is a directory"]))
    contents: list[FileContent] = [text, text, broken, Missing(), Unreadable(reason)]
    return draw(st.sampled_from(contents))


@given(st.lists(st.tuples(st.sampled_from(["credentials.json", "auth.json"]), file_contents()), max_size=5))
def test_a_search_of_any_files_finds_a_usable_credential_or_none_and_tells_no_secret(
    files: list[tuple[str, FileContent]],
) -> None:
    found = find_credential(files, WALL)
    assert MARKER not in repr(found)
    assert all(warning.startswith(("credentials.json: ", "auth.json: ")) for warning in found.warnings)
    if found.credential is None:
        assert found.source == ""
    else:
        token = found.credential.token.reveal()
        assert token
        assert set(token) <= set(string.printable) - set(string.whitespace)
        assert not token.startswith("sk-ant-ort")
        assert found.source in {name for name, _ in files}


@given(st.binary())
def test_any_bytes_are_a_file(content: bytes) -> None:
    found = find_credential([("config.json", content)], WALL)
    assert found.credential is None or b"{" in content
    assert len(found.warnings) <= 1


def key_or_error(text: str) -> Credential | ValueError:
    try:
        return from_api_key(text)
    except ValueError as error:
        return error


@given(SECRETS | st.text())
def test_any_text_is_a_key_or_an_error_that_does_not_repeat_it(text: str) -> None:
    result = key_or_error(text)
    if isinstance(result, Credential):
        assert result.token.reveal() == text.strip()
    else:
        assert MARKER not in str(result)


BETAS = st.lists(st.sampled_from([b"a", b"b-2", b"oauth-2025-04-20", b" ", b""]), max_size=4).map(b",".join)
CLIENT_HEADERS = st.lists(
    st.tuples(st.just(b"anthropic-beta"), BETAS)
    | st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"anthropic-version", b"accept"]), st.binary()),
    max_size=6,
)


def betas(headers: Headers) -> list[bytes]:
    values = [value for name, value in headers if name == b"anthropic-beta"]
    return [flag.strip() for value in values for flag in value.split(b",") if flag.strip()]


@given(CLIENT_HEADERS, st.sampled_from(Kind))
def test_exactly_one_credential_travels_and_nothing_else_of_the_clients_is_lost(headers: Headers, kind: Kind) -> None:
    authorized = authorize(headers, Credential(kind, Secret("sk-token")))
    name, value = (b"authorization", b"Bearer sk-token") if kind is Kind.OAUTH else (b"x-api-key", b"sk-token")
    assert [field for field in authorized if field[0] in (b"authorization", b"x-api-key")] == [(name, value)]

    flag = b"oauth-2025-04-20"
    assert [beta for beta in betas(authorized) if beta != flag] == [beta for beta in betas(headers) if beta != flag]
    assert betas(authorized).count(flag) == (max(1, betas(headers).count(flag)) if kind is Kind.OAUTH else 0)

    versions = [value for name, value in headers if name == b"anthropic-version"]
    assert [v for n, v in authorized if n == b"anthropic-version"] == (versions or [b"2023-06-01"])
    assert [field for field in authorized if field[0] == b"accept"] == [f for f in headers if f[0] == b"accept"]
    assert betas(authorize(authorized, Credential(kind, Secret("sk-token")))) == betas(authorized)
