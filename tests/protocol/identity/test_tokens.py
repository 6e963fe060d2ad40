import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from protocol.errors import LocalError, Refusal
from protocol.identity.tokens import (
    MAX_TOKEN_BYTES,
    Claims,
    TokenVerifier,
    admin_allowed,
    is_token_id,
    issue,
    present_token,
    weak_secret,
)
from protocol.values import Headers, Peer, PeerKind, Secret

SECRET = Secret("a secret of more than thirty-two bytes")
README_SECRET = Secret("test-secret")
README_TOKEN = (
    "la_sk_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiI1NTBlODQwMC1lMjliLTQxZDQtYTcxNi00NDY2NTU0NDAwMDAiLCJpYXQiOjE3MTA4MDY0MDAsImV4cCI6MTcxMDg5MjgwMCwi"
    "bGFiZWwiOiJteS10b2tlbiJ9.CGj2656blsIGEAxdiFXa8Zj6GP6R-RtC5Z7dXVH32PY"
)
README_ID = "550e8400-e29b-41d4-a716-446655440000"
WALL = 1_710_806_400.0


def entropy(size: int) -> bytes:
    return bytes.fromhex(README_ID.replace("-", ""))[:size]


def counting_entropy() -> Callable[[int], bytes]:
    count = iter(range(1_000_000))
    return lambda size: next(count).to_bytes(size, "big")


def signed(claims: dict[str, Any], *, secret: Secret = SECRET, **options: Any) -> bytes:
    """A token made by the library's own front door, with whatever claims."""
    return b"la_sk_" + jwt.encode(claims, secret.reveal(), **options).encode()


def whole_claims(**changed: Any) -> dict[str, Any]:
    return {"sub": "id", "iat": int(WALL), "exp": int(WALL) + 60, "label": "l"} | changed


def refused(presented: bytes, *, secret: Secret = SECRET, wall: float = WALL) -> Refusal:
    with pytest.raises(Refusal) as caught:
        TokenVerifier(secret).verify(presented, wall)
    refusal = caught.value
    assert (refusal.status, refusal.kind) == (401, "authentication_error")
    assert refusal.headers == [(b"www-authenticate", b"Bearer")]
    return refusal


# --- issue


def test_issuing_reproduces_the_documented_token_byte_for_byte() -> None:
    issued = issue(README_SECRET, label="my-token", wall=WALL, entropy=entropy)
    assert issued.token.reveal() == README_TOKEN
    assert issued.claims == Claims(README_ID, 1_710_806_400, 1_710_892_800, "my-token")


def test_a_tokens_id_is_a_random_uuid_whatever_the_entropy() -> None:
    issued = issue(SECRET, wall=WALL, entropy=lambda size: b"\xff" * size)
    assert issued.claims.sub == "ffffffff-ffff-4fff-bfff-ffffffffffff"


def test_an_account_is_written_last_and_only_when_there_is_one() -> None:
    token = issue(SECRET, label="bob", account="spare", wall=WALL, entropy=entropy).token.reveal()
    payload = token.split(".")[1]
    text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert list(json.loads(text)) == ["sub", "iat", "exp", "label", "account"]
    assert json.loads(text)["account"] == "spare"


def test_a_token_says_that_it_has_limits_and_only_then() -> None:
    for limited, names in ((True, ["sub", "iat", "exp", "label", "lim"]), (False, ["sub", "iat", "exp", "label"])):
        issued = issue(SECRET, label="bob", limited=limited, wall=WALL, entropy=entropy)
        payload = issued.token.reveal().split(".")[1]
        assert list(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))) == names
        assert TokenVerifier(SECRET).verify(issued.token.reveal().encode(), WALL).limited is limited


def test_the_id_of_a_token_is_told_from_what_is_none() -> None:
    sub = issue(SECRET, wall=WALL, entropy=entropy).claims.sub
    assert is_token_id(sub)
    for other in ("", "no-such-token", sub[:-1], sub + "0", sub + "\n", sub.replace("-", ""), sub[:-1] + "g"):
        assert not is_token_id(other)


def test_what_is_issued_passes_another_implementation_and_keeps_any_label() -> None:
    token = issue(SECRET, label='Zoë "Ж" 😀', wall=WALL, entropy=entropy).token.reveal()
    claims = jwt.decode(token[6:], SECRET.reveal(), algorithms=["HS256"], options={"verify_exp": False})
    assert claims["label"] == 'Zoë "Ж" 😀'


def test_an_issued_token_does_not_show_in_its_repr() -> None:
    issued = issue(SECRET, wall=WALL, entropy=entropy)
    assert issued.token.reveal() not in f"{issued!r} {issued}"


@pytest.mark.parametrize(
    ("ttl_hours", "seconds"), [(24, 86_400), (1, 3600), (0.5, 1800), (1 / 3600, 1), (87_600, 315_360_000)]
)
def test_a_lifetime_is_counted_in_whole_seconds(ttl_hours: float, seconds: int) -> None:
    claims = issue(SECRET, ttl_hours=ttl_hours, wall=WALL + 0.9, entropy=entropy).claims
    assert (claims.iat, claims.exp - claims.iat) == (WALL, seconds)


@pytest.mark.parametrize("ttl_hours", [0, -1, 0.0001, 87_601, 10**400, float("inf"), float("-inf"), float("nan")])
def test_a_lifetime_that_is_no_lifetime_is_refused(ttl_hours: float) -> None:
    with pytest.raises(Refusal) as caught:
        issue(SECRET, ttl_hours=ttl_hours, wall=WALL, entropy=entropy)
    assert (caught.value.status, caught.value.param) == (400, "ttl_hours")


@pytest.mark.parametrize("label", ["x" * MAX_TOKEN_BYTES, "é" * (MAX_TOKEN_BYTES // 2), "not text: \udcff"])
def test_a_label_that_no_token_can_hold_is_refused(label: str) -> None:
    with pytest.raises(Refusal) as caught:
        issue(SECRET, label=label, wall=WALL, entropy=entropy)
    assert (caught.value.status, caught.value.param) == (400, "label")


# --- secrets


@pytest.mark.parametrize(
    "text", ["x", "test-secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", '{"kty":"oct"}', "ключ"]
)
def test_any_text_works_as_a_secret(text: str) -> None:
    token = issue(Secret(text), wall=WALL, entropy=entropy).token.reveal().encode()
    assert TokenVerifier(Secret(text)).verify(token, WALL).sub == README_ID


def test_a_secret_that_is_not_utf_8_is_its_bytes() -> None:
    key = b"\xff\xfe and more than thirty-two bytes"
    token = issue(Secret(key.decode("utf-8", "surrogateescape")), wall=WALL, entropy=entropy).token.reveal()
    assert jwt.decode(token[6:], key, algorithms=["HS256"], options={"verify_exp": False})["sub"] == README_ID


def test_an_empty_secret_signs_nothing() -> None:
    with pytest.raises(LocalError):
        issue(Secret(""), wall=WALL, entropy=entropy)
    with pytest.raises(LocalError):
        TokenVerifier(Secret(""))


def test_a_secret_is_weak_below_thirty_two_bytes() -> None:
    assert weak_secret(README_SECRET)
    assert weak_secret(Secret("x" * 31))
    assert not weak_secret(Secret("x" * 32))
    assert not weak_secret(Secret("é" * 16))


# --- verify


def test_the_documented_token_is_verified() -> None:
    claims = TokenVerifier(README_SECRET).verify(README_TOKEN.encode(), WALL)
    assert claims == Claims(README_ID, 1_710_806_400, 1_710_892_800, "my-token", None)


def test_a_token_ends_at_its_last_second_without_leeway_also_once_it_is_remembered() -> None:
    verifier = TokenVerifier(README_SECRET)
    for _ in range(2):
        verifier.verify(README_TOKEN.encode(), 1_710_892_799.9)
        with pytest.raises(Refusal, match=r"^Token has expired$"):
            verifier.verify(README_TOKEN.encode(), 1_710_892_800.0)


def test_a_token_without_the_prefix_is_refused() -> None:
    token = README_TOKEN.removeprefix("la_sk_").encode()
    assert refused(token, secret=README_SECRET).message == "Token must start with 'la_sk_' prefix"


def test_a_token_of_another_secret_is_refused() -> None:
    refusal = refused(README_TOKEN.encode())
    assert refusal.message == "Invalid token: its signature is not this router's"


def test_a_tampered_claim_breaks_the_signature() -> None:
    head, payload, signature = README_TOKEN.split(".")
    longer = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(payload + "==").replace(b"1710892800", b"9710892800")
    ).rstrip(b"=")
    refusal = refused(f"{head}.{longer.decode()}.{signature}".encode(), secret=README_SECRET)
    assert refusal.message.startswith("Invalid token: its signature")


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_the_one_algorithm_is_accepted(algorithm: str) -> None:
    key = Secret("x" * 64)
    token = b"la_sk_" + jwt.encode(whole_claims(), key.reveal() if algorithm != "none" else "", algorithm).encode()
    assert refused(token, secret=key).message == "Invalid token: it is not signed with HS256"


@pytest.mark.parametrize("claim", ["sub", "iat", "exp"])
@pytest.mark.parametrize("value", ["absent", None, [], 1.5, True])
def test_a_claim_we_rely_on_must_be_there_and_of_its_type(claim: str, value: object) -> None:
    claims = whole_claims(**{claim: value})
    if value == "absent":
        del claims[claim]
    payload = json.dumps(claims).encode()
    token = b"la_sk_" + jwt.PyJWS().encode(payload, SECRET.reveal(), algorithm="HS256").encode()
    refusal = refused(token)
    assert refusal.message.startswith("Invalid token: ")
    assert claim in refusal.message


def test_a_token_from_a_clock_that_runs_ahead_is_accepted() -> None:
    token = signed(whole_claims(iat=int(WALL) + 30))
    assert TokenVerifier(SECRET).verify(token, WALL).iat == WALL + 30


@pytest.mark.parametrize("label", [None, 7, ["x"], {"a": 1}])
def test_a_label_that_is_no_text_counts_as_none(label: object) -> None:
    assert TokenVerifier(SECRET).verify(signed(whole_claims(label=label)), WALL).label == ""


def test_a_missing_label_counts_as_none() -> None:
    claims = whole_claims()
    del claims["label"]
    assert TokenVerifier(SECRET).verify(signed(claims), WALL).label == ""


def test_an_account_that_is_no_text_is_refused_because_it_would_free_the_token_of_its_account() -> None:
    assert TokenVerifier(SECRET).verify(signed(whole_claims(account=None)), WALL).account is None
    assert "account" in refused(signed(whole_claims(account=7))).message


@pytest.mark.parametrize("claim", ["aud", "nbf"])
def test_a_token_limited_in_a_way_we_do_not_check_is_refused(claim: str) -> None:
    assert "'aud' or 'nbf'" in refused(signed(whole_claims(**{claim: 1}))).message


@pytest.mark.parametrize(
    "presented",
    [
        b"la_sk_",
        b"la_sk_x",
        b"la_sk_..",
        b"la_sk_\xff.\xff.\xff",
        b"la_sk_e30.e30.e30",
        b"la_sk_" + base64.urlsafe_b64encode(b"[" * 3000) + b".e30.e30",
        b"la_sk_"
        + base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["x-secret-extension"]}').rstrip(b"=")
        + b".e30.e30",
    ],
)
def test_what_is_no_jwt_is_refused_in_words_of_our_own(presented: bytes) -> None:
    reasons = {"it is not a JWT", "it is not signed with HS256", "its signature is not this router's"}
    assert refused(presented).message.removeprefix("Invalid token: ") in reasons


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'"x"', b'{"sub":"\xff"}', b"[" * 2900])
def test_claims_that_are_no_json_object_are_refused(payload: bytes) -> None:
    token = b"la_sk_" + jwt.PyJWS().encode(payload, SECRET.reveal(), algorithm="HS256").encode()
    assert refused(token).message.startswith("Invalid token: ")


def test_a_token_beyond_the_size_limit_is_refused_even_with_a_good_signature() -> None:
    token = signed(whole_claims(label="x" * MAX_TOKEN_BYTES))
    assert refused(token).message == f"Invalid token: it is longer than {MAX_TOKEN_BYTES} bytes"


def test_a_verified_token_is_remembered_and_the_least_recently_used_is_forgotten_first() -> None:
    verifier = TokenVerifier(SECRET, cache_size=2)
    new_id = counting_entropy()
    tokens = [issue(SECRET, wall=WALL, entropy=new_id).token.reveal().encode() for _ in range(3)]
    first, second = verifier.verify(tokens[0], WALL), verifier.verify(tokens[1], WALL)
    assert verifier.verify(tokens[0], WALL) is first
    verifier.verify(tokens[2], WALL)
    assert verifier.verify(tokens[0], WALL) is first
    again = verifier.verify(tokens[1], WALL)
    assert again == second
    assert again is not second


def test_strangers_cannot_push_a_token_out_of_memory() -> None:
    verifier = TokenVerifier(SECRET, cache_size=1)
    token = signed(whole_claims())
    remembered = verifier.verify(token, WALL)
    for number in range(5):
        with pytest.raises(Refusal):
            verifier.verify(signed(whole_claims(sub=str(number)), secret=Secret("another secret" * 3)), WALL)
    assert verifier.verify(token, WALL) is remembered


# --- the token in a request

TOKEN = README_TOKEN.encode()
PROVIDER_KEY = b"sk-ant-api03-not-for-us"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer " + TOKEN)],
        [(b"authorization", b"bearer " + TOKEN)],
        [(b"authorization", b"BEARER \t " + TOKEN + b" ")],
        [(b"x-api-key", TOKEN)],
        [(b"x-api-key", b" " + TOKEN + b" ")],
        [(b"authorization", b"Bearer " + TOKEN), (b"x-api-key", PROVIDER_KEY)],
        [(b"authorization", b"Bearer " + PROVIDER_KEY), (b"x-api-key", TOKEN)],
        [(b"authorization", b"Basic dTpw"), (b"x-api-key", TOKEN)],
        [(b"authorization", b"Bearer other"), (b"authorization", b"Bearer " + TOKEN)],
        [(b"x-api-key", b"other"), (b"accept", b"*/*"), (b"x-api-key", TOKEN)],
        [(b"x-api-key", b"la_sk_other"), (b"authorization", b"Bearer " + TOKEN)],
    ],
)
def test_the_token_is_found_wherever_clients_put_it(headers: Headers) -> None:
    assert present_token(headers) == TOKEN


def presented_nothing_usable(headers: Headers) -> Refusal:
    with pytest.raises(Refusal) as caught:
        present_token(headers)
    refusal = caught.value
    assert (refusal.status, refusal.headers) == (401, [(b"www-authenticate", b"Bearer")])
    return refusal


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer  ")],
        [(b"authorization", b"Basic dTpw")],
        [(b"authorization", TOKEN)],
        [(b"x-api-key", b"")],
        [(b"cookie", TOKEN)],
    ],
)
def test_a_request_without_a_token_is_told_so(headers: Headers) -> None:
    assert presented_nothing_usable(headers).message == "Missing Authorization Bearer token or x-api-key"


@pytest.mark.parametrize("headers", [[(b"authorization", b"Bearer secret-thing")], [(b"x-api-key", b"secret-thing")]])
def test_a_token_of_another_kind_is_told_the_prefix(headers: Headers) -> None:
    assert presented_nothing_usable(headers).message == "Token must start with 'la_sk_' prefix"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer sk-ant-oat01-private")],
        [(b"authorization", b"sk-ant-oat01-private")],
        [(b"x-api-key", b"sk-ant-api03-private")],
        [(b"authorization", b"Bearer something"), (b"x-api-key", b"sk-ant-api03-private")],
    ],
)
def test_a_provider_credential_is_recognised_and_not_repeated(headers: Headers) -> None:
    message = presented_nothing_usable(headers).message
    assert "provider credential" in message
    assert "neither forwarded nor logged" in message
    assert "private" not in message
    assert "sk-ant" not in message


# --- administration

LOOPBACK = Peer(PeerKind.LOOPBACK, "127.0.0.1:5000")
UNIX = Peer(PeerKind.UNIX, "@")
NETWORK = Peer(PeerKind.NETWORK, "192.0.2.7:5000")
ADMIN_KEY = Secret("admin-ключ")


@pytest.mark.parametrize("peer", [LOOPBACK, UNIX, NETWORK])
def test_the_admin_key_admits_from_anywhere(peer: Peer) -> None:
    key = ADMIN_KEY.reveal().encode()
    for scheme in (b"Bearer ", b"bearer "):
        admin_allowed([(b"host", b"router.example"), (b"authorization", scheme + key)], peer, ADMIN_KEY)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer admin")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", "admin-ключ".encode())],
        [(b"authorization", "Basic admin-ключ".encode())],
        [(b"x-api-key", "admin-ключ".encode())],
    ],
)
@pytest.mark.parametrize("peer", [LOOPBACK, NETWORK])
def test_without_the_admin_key_nobody_gets_in_where_one_is_set(headers: Headers, peer: Peer) -> None:
    with pytest.raises(Refusal) as caught:
        admin_allowed([(b"host", b"localhost"), *headers], peer, ADMIN_KEY)
    assert (caught.value.status, caught.value.message) == (401, "missing or invalid admin Bearer key")
    assert caught.value.headers == [(b"www-authenticate", b"Bearer")]


def test_an_empty_admin_key_admits_nobody() -> None:
    for value in (b"Bearer ", b"Bearer", b""):
        with pytest.raises(Refusal):
            admin_allowed([(b"host", b"localhost"), (b"authorization", value)], LOOPBACK, Secret(""))


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LocalHost:8080",
        b"router.localhost:80",
        b"127.0.0.1",
        b"127.0.0.1:8080",
        b"127.0.0.1:",
        b"[::1]",
        b"[::1]:8080",
        b"10.1.2.3:8080",
    ],
)
def test_without_an_admin_key_this_machine_is_admitted(host: bytes) -> None:
    admin_allowed([(b"host", host)], LOOPBACK, None)
    admin_allowed([(b"host", host)], UNIX, None)
    admin_allowed([(b"host", host), (b"origin", b"http://" + host)], LOOPBACK, None)


def test_a_unix_socket_client_may_leave_the_host_out() -> None:
    admin_allowed([], UNIX, None)


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        (NETWORK, [(b"host", b"127.0.0.1")]),
        (LOOPBACK, []),
        (LOOPBACK, [(b"host", b"")]),
        (LOOPBACK, [(b"host", b"attacker.example")]),
        (LOOPBACK, [(b"host", b"attacker.example:8080")]),
        (LOOPBACK, [(b"host", b"localhost.attacker.example")]),
        (LOOPBACK, [(b"host", b"notlocalhost")]),
        (LOOPBACK, [(b"host", b"127.0.0.1.attacker.example")]),
        (LOOPBACK, [(b"host", b"localhost:80:80")]),
        (LOOPBACK, [(b"host", b"localhost:x")]),
        (LOOPBACK, [(b"host", b"[::1")]),
        (LOOPBACK, [(b"host", b"::1]:80")]),
        (LOOPBACK, [(b"host", b"user@localhost")]),
        (LOOPBACK, [(b"host", b"localhost"), (b"host", b"attacker.example")]),
        (UNIX, [(b"host", b"attacker.example")]),
        (LOOPBACK, [(b"host", b"127.0.0.1:8080"), (b"origin", b"https://attacker.example")]),
        (LOOPBACK, [(b"host", b"127.0.0.1:8080"), (b"origin", b"http://127.0.0.1:9090")]),
        (LOOPBACK, [(b"host", b"127.0.0.1:8080"), (b"origin", b"null")]),
        *[
            (LOOPBACK, [(b"host", b"localhost"), (name, b"x")])
            for name in (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-anything", b"x-real-ip")
        ],
        (UNIX, [(b"host", b"localhost"), (b"x-forwarded-for", b"192.0.2.1")]),
    ],
)
def test_without_an_admin_key_everyone_else_is_told_what_to_do(peer: Peer, headers: Headers) -> None:
    with pytest.raises(Refusal) as caught:
        admin_allowed(headers, peer, None)
    assert caught.value.status == 401
    assert "set an admin key" in caught.value.message
