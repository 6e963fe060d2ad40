import json

import pytest

from protocol.config import CLIENT_ID, TOKEN_URL
from protocol.identity.token_endpoint import (
    DEFAULT_LIFETIME,
    LONGEST_LIFETIME,
    LONGEST_WAIT,
    Denied,
    Granted,
    Unavailable,
    read_answer,
    refresh_request,
)
from protocol.values import BaseUrl, Secret


def test_the_request_is_what_the_endpoint_takes() -> None:
    request = refresh_request(BaseUrl.parse(TOKEN_URL), CLIENT_ID, Secret("sk-ant-ort01-x"))
    assert str(request.origin) == "https://platform.claude.com"
    assert (request.head.method, request.head.target) == (b"POST", b"/v1/oauth/token")
    headers = dict(request.head.headers)
    assert headers[b"host"] == b"platform.claude.com"
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"anthropic-beta"] == b"oauth-2025-04-20"
    assert headers[b"user-agent"] == b"link-assistant-router"
    assert b"authorization" not in headers
    assert request.body is not None
    assert json.loads(request.body) == {
        "grant_type": "refresh_token",
        "refresh_token": "sk-ant-ort01-x",
        "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    }


def test_an_endpoint_without_a_path_is_asked_at_the_root() -> None:
    assert refresh_request(BaseUrl.parse("http://127.0.0.1:1"), "me", Secret("x")).head.target == b"/"


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (28800, 28800.0),
        ("3600", 3600.0),
        (0.5, 0.5),
        (None, DEFAULT_LIFETIME),
        (0, DEFAULT_LIFETIME),
        (-1, DEFAULT_LIFETIME),
        (True, DEFAULT_LIFETIME),
        ("soon", DEFAULT_LIFETIME),
        ("nan", DEFAULT_LIFETIME),
        ([], DEFAULT_LIFETIME),
        (10**30, LONGEST_LIFETIME),
    ],
)
def test_a_grant_lives_as_long_as_it_says_if_it_can_be_believed(expires_in: object, lifetime: float) -> None:
    body = json.dumps({"access_token": "sk-ant-oat01-x", "refresh_token": "r", "expires_in": expires_in}).encode()
    answer = read_answer(200, [], body, 0.0)
    assert answer == Granted(Secret("sk-ant-oat01-x"), Secret("r"), lifetime)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\r\nx: y", "\u00e9", 7, None])
def test_a_token_that_no_header_can_carry_is_no_grant(token: object) -> None:
    assert isinstance(read_answer(200, [], json.dumps({"access_token": token}).encode(), 0.0), Unavailable)


@pytest.mark.parametrize(
    ("status", "body", "terminal"),
    [
        (400, {"error": "invalid_grant"}, True),
        (401, {"error": "invalid_client"}, True),
        (403, {"error": {"type": "unauthorized_client", "message": "x"}}, True),
        (400, {"error": "invalid_request"}, False),
        (404, {"error": "invalid_grant"}, False),
        (400, {"error": ["invalid_grant"]}, False),
        (400, [], False),
        (400, "invalid_grant", False),
    ],
)
def test_only_named_errors_of_three_statuses_are_for_good(status: int, body: object, terminal: bool) -> None:
    answer = read_answer(status, [], json.dumps(body).encode(), 0.0)
    assert isinstance(answer, Denied)
    assert answer.terminal is terminal


@pytest.mark.parametrize("status", [100, 302, 408, 429, 500, 503, 529])
def test_every_other_status_is_no_decision(status: int) -> None:
    answer = read_answer(status, [(b"retry-after", b"7")], b'{"error":"invalid_grant"}', 0.0)
    assert isinstance(answer, Unavailable)
    assert answer.retry_after == 7.0


def test_nobody_waits_longer_than_a_day() -> None:
    answer = read_answer(429, [(b"retry-after", b"99999999")], b"", 0.0)
    assert isinstance(answer, Unavailable)
    assert answer.retry_after == LONGEST_WAIT


def test_no_text_of_the_endpoint_is_repeated() -> None:
    for status in (200, 400, 429, 500):
        answer = read_answer(status, [], b'{"error":"sk-ant-ort01-x","error_description":"sk-ant-ort01-x"}', 0.0)
        assert "sk-ant" not in repr(answer)
