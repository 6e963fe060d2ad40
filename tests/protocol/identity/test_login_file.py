import json

import pytest

from protocol.files import FileContent, Missing, Unreadable
from protocol.identity.login_file import (
    NotMergeable,
    merge_login,
    read_login,
    recovery_content,
    recovery_path,
)
from protocol.login_jobs import Login
from protocol.values import Secret

OLD = Login(Secret("sk-ant-oat01-old"), Secret("sk-ant-ort01-old"), 1_800_000_000.0)
NEW = Login(Secret("sk-ant-oat01-new"), Secret("sk-ant-ort01-new"), 1_800_028_800.125)

NESTED = (
    b'{"mcpOAuth":{"n":12345678901234567890123,"f":1.50},"claudeAiOauth":{"accessToken":"sk-ant-oat01-old",'
    b'"refreshToken":"sk-ant-ort01-old","expiresAt":1800000000000,"scopes":["a","b"],"subscriptionType":"max",'
    b'"rateLimitTier":"x","odd":"\\u00e9"},"z":null}'
)


def test_claude_codes_own_layout_keeps_every_other_byte() -> None:
    assert read_login(NESTED) == OLD
    merged = merge_login(NESTED, OLD, NEW)
    expected = NESTED.replace(b"-old", b"-new").replace(b"1800000000000", b"1800028800125")
    assert merged == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"accessToken": "sk-ant-oat01-old", "refreshToken": "sk-ant-ort01-old", "expiresAt": 1800000000000},
            {"accessToken": "sk-ant-oat01-new", "refreshToken": "sk-ant-ort01-new", "expiresAt": 1800028800125},
        ),
        (
            {"access_token": "sk-ant-oat01-old", "refresh_token": "sk-ant-ort01-old", "expires_at": 1800000000},
            {"access_token": "sk-ant-oat01-new", "refresh_token": "sk-ant-ort01-new", "expires_at": 1800028800},
        ),
        (
            {
                "oauthToken": "sk-ant-oat01-old",
                "refreshToken": "sk-ant-ort01-old",
                "expiryDate": "2027-01-15T08:00:00Z",
            },
            {
                "oauthToken": "sk-ant-oat01-new",
                "refreshToken": "sk-ant-ort01-new",
                "expiryDate": "2027-01-15T16:00:00.125Z",
            },
        ),
        (
            {"claude_ai_oauth": {"access_token": "sk-ant-oat01-old", "refresh_token": "sk-ant-ort01-old"}},
            {
                "claude_ai_oauth": {
                    "access_token": "sk-ant-oat01-new",
                    "refresh_token": "sk-ant-ort01-new",
                    "expires_at": 1800028800125,
                }
            },
        ),
        (
            {"accessToken": "sk-ant-oat01-old", "refreshToken": "sk-ant-ort01-old", "expiresAt": None},
            {"accessToken": "sk-ant-oat01-new", "refreshToken": "sk-ant-ort01-new", "expiresAt": 1800028800125},
        ),
        (
            {"accessToken": "sk-ant-oat01-old", "refreshToken": "sk-ant-ort01-old", "expiresAt": 0},
            {"accessToken": "sk-ant-oat01-new", "refreshToken": "sk-ant-ort01-new", "expiresAt": 1800028800125},
        ),
    ],
)
def test_each_layout_keeps_its_names_and_units(before: dict[str, object], after: dict[str, object]) -> None:
    content = json.dumps(before).encode()
    read = read_login(content)
    assert read is not None
    assert (read.access, read.refresh) == (OLD.access, OLD.refresh)
    merged = merge_login(content, OLD, NEW)
    assert merged is not None
    assert json.loads(merged) == after


def test_an_indented_file_stays_indented() -> None:
    content = json.dumps(json.loads(NESTED), indent=4).encode() + b"\n"
    merged = merge_login(content, OLD, NEW)
    assert merged is not None
    assert merged == content.replace(b"-old", b"-new").replace(b"1800000000000", b"1800028800125").replace(
        b"\\u00e9", b"\\u00e9"
    )


@pytest.mark.parametrize(
    "content",
    [
        Missing(),
        Unreadable("Permission denied"),
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"accessToken":"sk-ant-api03-key","refreshToken":"r"}',
        b'{"accessToken":"sk-ant-ort01-refresh"}',
        b'{"accessToken":"a b"}',
        b'{"apiKey":"somebody-elses"}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_holds_no_session_cannot_be_merged_into(content: FileContent) -> None:
    assert read_login(content) is None
    with pytest.raises(NotMergeable):
        merge_login(content, OLD, NEW)


@pytest.mark.parametrize("refresh", ["", " ", "a b", "\u00e9", "a\nb"])
def test_a_refresh_token_that_cannot_be_one_is_none(refresh: str) -> None:
    login = read_login(json.dumps({"accessToken": "sk-ant-oat01-old", "refreshToken": refresh}).encode())
    assert login == Login(Secret("sk-ant-oat01-old"))


def test_a_newer_login_is_not_replaced() -> None:
    newer = NESTED.replace(b"-old", b"-other").replace(b"1800000000000", b"1800000000001")
    assert merge_login(newer, OLD, NEW) is None


def test_a_login_of_unknown_expiry_is_not_replaced() -> None:
    other = b'{"accessToken":"sk-ant-oat01-x","refreshToken":"sk-ant-ort01-x"}'
    assert merge_login(other, OLD, NEW) is None


def test_an_older_link_is_replaced() -> None:
    older = NESTED.replace(b"-old", b"-older").replace(b"1800000000000", b"1799990000000")
    merged = merge_login(older, OLD, NEW)
    assert merged is not None
    assert read_login(merged) == NEW


def test_a_recovery_copy_reads_as_it_was_written() -> None:
    assert read_login(recovery_content(NEW)) == NEW
    bare = Login(Secret("sk-ant-oat01-new"))
    assert read_login(recovery_content(bare)) == bare


def test_each_credential_file_has_a_recovery_copy_of_its_own() -> None:
    one, two = recovery_path("/data/", "/home/a/.credentials.json"), recovery_path("/data", "/home/b/.credentials.json")
    assert one != two
    assert one.startswith("/data/refresh-recovery/")
    assert one.endswith(".json")
