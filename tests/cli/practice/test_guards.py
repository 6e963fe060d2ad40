import pytest

from cli.practice.guards import credential
from protocol.errors import Refusal
from protocol.values import Headers, RequestHead

KEY: Headers = [(b"x-api-key", b"sk-ant-api03-key")]
SESSION: Headers = [(b"authorization", b"Bearer sk-ant-oat01-token"), (b"anthropic-beta", b"a, OAuth-2025-04-20,b")]
VERSION: Headers = [(b"anthropic-version", b"2023-06-01")]


def head(*fields: Headers, target: bytes = b"/v1/messages") -> RequestHead:
    return RequestHead(b"POST", target, [field for group in fields for field in group])


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        (KEY, "sk-ant-api03-key"),
        (SESSION, "sk-ant-oat01-token"),
        ([(b"authorization", b"bearer sk-ant-api03-key")], "sk-ant-api03-key"),
        ([*KEY, (b"connection", b"Keep-Alive, close")], "sk-ant-api03-key"),
        ([SESSION[0], (b"anthropic-beta", b"a"), (b"anthropic-beta", b"oauth-2025-04-20")], "sk-ant-oat01-token"),
    ],
)
def test_one_good_credential_passes(fields: Headers, token: str) -> None:
    assert credential(head(fields, VERSION), None) == token
    assert credential(head(fields, VERSION), {token}) == token


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "header is required"),
        ([*KEY, *KEY], "More than one"),
        ([*KEY, *SESSION], "More than one"),
        ([*KEY, (b"x-other", b"abc la_sk_ey.abc")], "gateway token"),
        ([(b"authorization", b"Bearer la_sk_abc")], "gateway token"),
        (SESSION[:1], "OAuth"),
        ([(b"authorization", b"Basic abc")], "Invalid bearer"),
        ([(b"authorization", b"Bearer ")], "Invalid bearer"),
        ([(b"x-api-key", b"sk-ant-oat01-token")], "invalid x-api-key"),
    ],
)
def test_any_other_credential_is_an_authentication_error(fields: Headers, message: str) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        credential(head(fields, VERSION), None)
    assert (refused.value.status, refused.value.kind) == (401, "authentication_error")


@pytest.mark.parametrize("fields", [KEY, SESSION])
def test_an_unknown_credential_is_an_authentication_error(fields: Headers) -> None:
    with pytest.raises(Refusal, match="nvalid") as refused:
        credential(head(fields, VERSION), {"sk-ant-api03-other"})
    assert refused.value.status == 401


def test_a_gateway_token_in_the_query_is_seen() -> None:
    with pytest.raises(Refusal, match="gateway token"):
        credential(head(KEY, VERSION, target=b"/v1/messages?key=la_sk_abc"), None)


@pytest.mark.parametrize(
    "field",
    [
        (b"te", b"trailers"),
        (b"cookie", b"a=b"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"proxy-authorization", b"Basic abc"),
        (b"keep-alive", b"timeout=5"),
        (b"upgrade", b"h2c"),
        (b"connection", b"close, X-Private"),
    ],
)
def test_a_header_of_another_hop_is_refused_by_name(field: tuple[bytes, bytes]) -> None:
    name = "x-private" if field[0] == b"connection" else field[0].decode()
    with pytest.raises(Refusal, match=name) as refused:
        credential(head(KEY, VERSION, [field]), None)
    assert refused.value.status == 400


@pytest.mark.parametrize("versions", [[], [b"now"], [b"2023-06-01", b"2026-10-21"]])
def test_exactly_one_version_is_required(versions: list[bytes]) -> None:
    with pytest.raises(Refusal, match="anthropic-version") as refused:
        credential(head(KEY, [(b"anthropic-version", version) for version in versions]), None)
    assert refused.value.status == 400
