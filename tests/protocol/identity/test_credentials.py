import json
from collections.abc import Iterator

import pytest

from protocol.files import FileContent, Missing, Unreadable
from protocol.identity.credentials import (
    CREDENTIAL_FILES,
    Credential,
    Found,
    Kind,
    authorize,
    find_credential,
    from_api_key,
)
from protocol.values import Headers, Secret

WALL = 1_800_000_000.0
OAUTH = "sk-ant-oat01-session"
API_KEY = "sk-ant-api03-key"


def search(*contents: FileContent | dict[str, object]) -> Found:
    """Search these contents under the real names, objects written as JSON."""
    files = [
        (name, json.dumps(content).encode() if isinstance(content, dict) else content)
        for name, content in zip(CREDENTIAL_FILES, contents, strict=False)
    ]
    return find_credential(files, WALL)


def found(content: dict[str, object]) -> Credential:
    result = search(content)
    assert result.credential is not None
    assert (result.source, result.warnings) == ("credentials.json", [])
    return result.credential


# --- searching


def test_files_are_searched_in_the_documented_order() -> None:
    assert CREDENTIAL_FILES == ("credentials.json", ".credentials.json", "auth.json", "oauth.json", "config.json")


def test_a_claude_code_login_is_read() -> None:
    login: dict[str, object] = {
        "claudeAiOauth": {
            "accessToken": OAUTH,
            "refreshToken": "sk-ant-ort01-refresh",
            "expiresAt": 1_900_000_000_500,
            "scopes": ["user:inference"],
            "subscriptionType": "max",
        },
        "mcpOAuth": {"server": {"accessToken": "somebody else's"}},
    }
    result = search(Missing(), login)
    assert result == Found(Credential(Kind.OAUTH, Secret(OAUTH), 1_900_000_000.5), ".credentials.json", [])


def test_nothing_anywhere_is_no_credential_and_no_warning() -> None:
    assert search(Missing(), {}, {"theme": "dark"}, Missing(), {"accessToken": ""}) == Found(None, "", [])


def test_a_file_without_a_token_leads_to_the_next() -> None:
    assert search({"theme": "dark"}, {"accessToken": "opaque"}).source == ".credentials.json"


def test_files_after_the_first_credential_are_not_read() -> None:
    def files() -> Iterator[tuple[str, FileContent]]:
        yield "credentials.json", b'{"accessToken":"opaque"}'
        raise AssertionError("read too far")

    assert find_credential(files(), WALL).source == "credentials.json"


def test_files_that_cannot_be_used_are_passed_over_with_a_reason() -> None:
    result = search(
        Unreadable("Permission denied"), b'{"accessToken": "private" x}', b"[1]", b'\xef{"a"', {"accessToken": OAUTH}
    )
    assert result.credential == Credential(Kind.OAUTH, Secret(OAUTH))
    assert result.source == "config.json"
    assert result.warnings == [
        "credentials.json: cannot be read: Permission denied",
        ".credentials.json: not valid JSON: expected ',' or '}' (byte 26)",
        "auth.json: not a JSON object",
        "oauth.json: not UTF-8 text (byte 0)",
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'"text"', b"[" * 200_000, b'{"a":1e999}'])
def test_a_file_that_is_no_json_object_warns_once(content: bytes) -> None:
    result = search(content)
    assert result.credential is None
    assert len(result.warnings) == 1


def test_a_byte_order_mark_is_not_in_the_way() -> None:
    assert search(b'\xef\xbb\xbf{"accessToken":"opaque"}').credential is not None


# --- fields


@pytest.mark.parametrize(
    "content",
    [
        {"claudeAiOauth": {"accessToken": OAUTH}},
        {"claude_ai_oauth": {"access_token": OAUTH}},
        {"accessToken": OAUTH},
        {"access_token": OAUTH},
        {"oauthToken": OAUTH},
        {"oauth_token": OAUTH},
        {"accessToken": f"  {OAUTH}\n"},
        {"accessToken": "", "oauthToken": OAUTH},
        {"accessToken": 7, "access_token": None, "oauthToken": ["x"], "oauth_token": OAUTH},
        {"claudeAiOauth": {"accessToken": OAUTH}, "accessToken": "flat"},
        {"claudeAiOauth": "not an object", "accessToken": OAUTH},
        {"claudeAiOauth": {"refreshToken": "r"}, "accessToken": OAUTH},
        {"accessToken": OAUTH, "oauthToken": "later"},
        {"primaryApiKey": API_KEY, "accessToken": OAUTH},
    ],
)
def test_a_session_is_found_under_each_of_its_names(content: dict[str, object]) -> None:
    assert found(content) == Credential(Kind.OAUTH, Secret(OAUTH))


@pytest.mark.parametrize(
    "content",
    [
        {"primaryApiKey": API_KEY},
        {"apiKey": API_KEY},
        {"api_key": API_KEY},
        {"ANTHROPIC_API_KEY": API_KEY},
        {"accessToken": API_KEY},
        {"claudeAiOauth": {"accessToken": API_KEY}},
    ],
)
def test_an_api_key_is_one_by_its_prefix_wherever_it_stands(content: dict[str, object]) -> None:
    assert found(content) == Credential(Kind.API_KEY, Secret(API_KEY))


def test_a_token_without_a_known_prefix_is_a_session() -> None:
    assert found({"accessToken": "test-oauth-token"}).kind is Kind.OAUTH


def test_another_providers_key_is_left_alone() -> None:
    assert search({"apiKey": "sk-proj-1"}, {"primaryApiKey": "any"}, {"OPENAI_API_KEY": "x"}) == Found(None, "", [])


@pytest.mark.parametrize("token", ["sk-ant-oat01-a\r\nx-evil: 1", "a b", "a\x00b", "tok\x7f", "tökén"])
def test_a_token_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    result = search({"claudeAiOauth": {"accessToken": token}}, {"accessToken": OAUTH})
    assert result.source == ".credentials.json"
    fault = "it holds white space, control or non-ASCII characters"
    assert result.warnings == [f"credentials.json: claudeAiOauth.accessToken is not usable: {fault}"]


def test_a_refresh_token_in_the_wrong_place_is_refused() -> None:
    result = search({"accessToken": "sk-ant-ort01-private"})
    assert result == Found(None, "", ["credentials.json: accessToken is not usable: it is a refresh token"])


# --- expiry


@pytest.mark.parametrize(
    ("field", "value", "expires_at"),
    [
        ("expiresAt", 1_900_000_000_123, 1_900_000_000.123),
        ("expires_at", 1_900_000_000, 1_900_000_000.0),
        ("expires_at", 1_900_000_000.5, 1_900_000_000.5),
        ("expiryDate", "2030-03-17T17:46:40Z", 1_900_000_000.0),
        ("expiry_date", "2030-03-17T18:46:40+01:00", 1_900_000_000.0),
        ("expiryDate", "2030-03-17T17:46:40", 1_900_000_000.0),
        ("expiresAt", None, None),
        ("expiresAt", "soon", None),
        ("expiresAt", True, None),
        ("expiresAt", [1], None),
        ("expiresAt", 10**400, None),
        ("expiresAt", "0001-01-01T00:00:00+23:59", -62_135_683_140.0),
        ("other", 1, None),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_an_expiry_is_read_in_each_of_its_forms(
    field: str, value: object, expires_at: float | None, nested: bool
) -> None:
    session = {"accessToken": OAUTH, field: value}
    result = search({"claudeAiOauth": session} if nested else session)
    assert result.credential == Credential(Kind.OAUTH, Secret(OAUTH), expires_at)


def test_an_expiry_belongs_to_the_token_beside_it() -> None:
    assert found({"claudeAiOauth": {"accessToken": OAUTH}, "expiresAt": 1}).expires_at is None


@pytest.mark.parametrize("expires_at", [0, 1, WALL, WALL * 1000, "2020-01-01"])
def test_an_expired_session_is_still_returned_with_a_warning(expires_at: object) -> None:
    result = search({"accessToken": OAUTH, "expiresAt": expires_at})
    assert result.credential is not None
    assert result.warnings == ["credentials.json: the access token has expired"]


# --- an API key from the operator


@pytest.mark.parametrize(
    ("text", "kind"), [(API_KEY, Kind.API_KEY), ("gateway-key", Kind.API_KEY), (OAUTH, Kind.OAUTH)]
)
def test_an_operators_key_is_taken_at_its_word(text: str, kind: Kind) -> None:
    assert from_api_key(f" {text}\n") == Credential(kind, Secret(text))


@pytest.mark.parametrize("text", ["", "  ", "private key", "private\nx: y", "privée", "sk-ant-ort01-private"])
def test_an_unusable_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="not an API key") as caught:
        from_api_key(text)
    assert "priv" not in str(caught.value)


# --- on the wire

SESSION = Credential(Kind.OAUTH, Secret(OAUTH))
KEY = Credential(Kind.API_KEY, Secret(API_KEY))
BEARER = (b"authorization", b"Bearer " + OAUTH.encode())
X_API_KEY = (b"x-api-key", API_KEY.encode())
VERSION = (b"anthropic-version", b"2023-06-01")
OAUTH_BETA = (b"anthropic-beta", b"oauth-2025-04-20")


def test_a_session_travels_as_bearer_with_its_beta_flag() -> None:
    assert authorize([(b"accept", b"*/*")], SESSION) == [(b"accept", b"*/*"), OAUTH_BETA, BEARER, VERSION]


def test_an_api_key_travels_in_its_own_field_without_the_flag() -> None:
    assert authorize([(b"accept", b"*/*")], KEY) == [(b"accept", b"*/*"), X_API_KEY, VERSION]


@pytest.mark.parametrize(("credential", "field"), [(SESSION, BEARER), (KEY, X_API_KEY)])
def test_there_is_exactly_one_credential_whatever_was_there(credential: Credential, field: tuple[bytes, bytes]) -> None:
    client: Headers = [
        (b"authorization", b"Bearer la_sk_x"),
        (b"x-api-key", b"la_sk_y"),
        (b"authorization", b"Basic z"),
    ]
    authorized = authorize(client, credential)
    assert [header for header in authorized if header[0] in (b"authorization", b"x-api-key")] == [field]


def test_the_clients_api_version_stays() -> None:
    client: Headers = [(b"anthropic-version", b"2026-10-21")]
    assert [value for name, value in authorize(client, KEY) if name == b"anthropic-version"] == [b"2026-10-21"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([b"a,b"], [b"a,b,oauth-2025-04-20"]),
        ([b"a ,  b"], [b"a ,  b,oauth-2025-04-20"]),
        ([b"a", b"b"], [b"a", b"b,oauth-2025-04-20"]),
        ([b""], [b"oauth-2025-04-20"]),
        ([b"oauth-2025-04-20"], [b"oauth-2025-04-20"]),
        ([b"a, oauth-2025-04-20 ,b"], [b"a, oauth-2025-04-20 ,b"]),
        ([b"oauth-2025-04-20", b"a"], [b"oauth-2025-04-20", b"a"]),
        ([b"oauth-2025-04-20-x"], [b"oauth-2025-04-20-x,oauth-2025-04-20"]),
    ],
)
def test_the_beta_flag_joins_the_clients_list_once(before: list[bytes], after: list[bytes]) -> None:
    client = [(b"anthropic-beta", value) for value in before]
    assert [value for name, value in authorize(client, SESSION) if name == b"anthropic-beta"] == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([b"a ,b"], [b"a ,b"]),
        ([b"a, oauth-2025-04-20 ,b"], [b"a,b"]),
        ([b"oauth-2025-04-20", b"a"], [b"a"]),
        ([b"oauth-2025-04-20"], []),
    ],
)
def test_a_clients_oauth_flag_goes_when_the_credential_is_a_key(before: list[bytes], after: list[bytes]) -> None:
    client = [(b"anthropic-beta", value) for value in before]
    assert [value for name, value in authorize(client, KEY) if name == b"anthropic-beta"] == after


def test_the_headers_given_are_not_changed() -> None:
    client: Headers = [(b"anthropic-beta", b"a"), (b"authorization", b"Bearer x")]
    before = list(client)
    authorize(client, SESSION)
    assert client == before


def test_a_credential_does_not_show_its_token() -> None:
    assert "session" not in f"{SESSION!r} {SESSION}"
