import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import Headers
from protocol.wire.headers import (
    all_values,
    first,
    has_token,
    is_event_stream,
    is_identity,
    is_json,
    list_items,
    request_headers,
    response_headers,
    was_forwarded,
)

CLAUDE_CODE: Headers = [
    (b"accept", b"application/json"),
    (b"authorization", b"Bearer la_sk_x"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"claude-cli/2.1.330 (external, cli)"),
    (b"x-claude-code-session-id", b"5d0ff1f8"),
    (b"x-stainless-retry-count", b"0"),
    (b"anthropic-beta", b"claude-code-20250219,interleaved-thinking-2025-05-14"),
    (b"anthropic-dangerous-direct-browser-access", b"true"),
    (b"anthropic-version", b"2023-06-01"),
    (b"x-api-key", b"la_sk_x"),
    (b"x-app", b"cli"),
    (b"connection", b"keep-alive"),
    (b"host", b"127.0.0.1:8080"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"content-length", b"47000"),
]


# --- requests


def test_a_claude_code_request_keeps_all_but_credential_and_connection() -> None:
    gone = {b"authorization", b"x-api-key", b"connection", b"host", b"content-length"}
    assert request_headers(CLAUDE_CODE) == [field for field in CLAUDE_CODE if field[0] not in gone]


NOT_FOR_UPSTREAM = """
    connection keep-alive proxy-connection te trailer transfer-encoding upgrade proxy-authenticate http2-settings
    host content-length expect cookie cookie2
    authorization proxy-authorization payment-authorization x-api-key api-key x-goog-api-key x-amz-security-token
    forwarded via x-forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-access-token x-forwarded-
    x-real-ip true-client-ip cf-connecting-ip x-client-ip x-cluster-client-ip x-original-forwarded-for
    x-http-method-override x-original-url x-rewrite-url
"""


@pytest.mark.parametrize("name", NOT_FOR_UPSTREAM.split())
def test_a_field_that_is_not_for_the_upstream_is_dropped_each_time(name: str) -> None:
    field = (name.encode(), b"gone")
    assert request_headers([field, (b"accept", b"*/*"), field]) == [(b"accept", b"*/*")]


@pytest.mark.parametrize(
    "name", [b"anthropic-beta", b"x-forward", b"x-forwardedness", b"authorization-hint", b"origin"]
)
def test_a_field_with_a_name_like_it_stays(name: bytes) -> None:
    assert request_headers([(name, b"v")]) == [(name, b"v")]


def test_repeated_fields_keep_their_order_and_bytes() -> None:
    repeated: Headers = [(b"x-a", b"1"), (b"anthropic-beta", b"b , a"), (b"x-a", b"1"), (b"anthropic-beta", b"\xff")]
    assert request_headers(repeated) == repeated
    assert response_headers(repeated) == repeated


@pytest.mark.parametrize(
    "connection",
    [
        [b"x-hop"],
        [b"close, X-Hop"],
        [b"keep-alive", b" x-hop ,"],
        [b"Keep-Alive,x-hop"],
    ],
)
def test_what_connection_names_is_dropped_before_and_after_it(connection: list[bytes]) -> None:
    headers = [(b"x-hop", b"1"), *((b"connection", value) for value in connection), (b"x-hop", b"2"), (b"x-end", b"3")]
    assert request_headers(headers) == [(b"x-end", b"3")]
    assert response_headers(headers) == [(b"x-end", b"3")]


# --- responses


def test_a_response_keeps_cookies_and_rate_limits_but_no_framing() -> None:
    kept: Headers = [
        (b"set-cookie", b"a=1"),
        (b"anthropic-ratelimit-unified-status", b"allowed"),
        (b"set-cookie", b"b=2"),
        (b"retry-after", b"1"),
        (b"content-encoding", b"gzip"),
        (b"www-authenticate", b"Bearer"),
        (b"via", b"1.1 upstream"),
    ]
    dropped: Headers = [
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"trailer", b"x"),
        (b"alt-svc", b'h3=":443"'),
    ]
    assert response_headers([*dropped, *kept]) == kept


# --- lookups

SOME: Headers = [(b"accept", b"a"), (b"vary", b"b, C"), (b"accept", b""), (b"connection", b"Keep-Alive, CLOSE")]


def test_lookups_see_repeats_in_order() -> None:
    assert first(SOME, b"accept") == b"a"
    assert first(SOME, b"missing") is None
    assert all_values(SOME, b"accept") == [b"a", b""]
    assert all_values(SOME, b"missing") == []


def test_a_list_has_its_members_in_any_letter_case_and_no_parts_of_them() -> None:
    assert has_token(SOME, b"connection", b"close")
    assert has_token(SOME, b"vary", b"c")
    assert not has_token(SOME, b"connection", b"alive")
    assert not has_token(SOME, b"te", b"trailers")
    assert list_items(b" a ,, b\t,") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("value", "event_stream", "json"),
    [
        (b"text/event-stream", True, False),
        (b"Text/Event-Stream ; charset=utf-8", True, False),
        (b"application/json", False, True),
        (b"application/JSON;charset=utf-8", False, True),
        (b"application/problem+json", False, True),
        (b"application/jsonl", False, False),
        (b"text/plain; x=text/event-stream", False, False),
        (b"", False, False),
    ],
)
def test_a_media_type_is_read_without_its_parameters(value: bytes, event_stream: bool, json: bool) -> None:
    headers = [(b"content-type", value)]
    assert (is_event_stream(headers), is_json(headers)) == (event_stream, json)


def test_a_body_without_a_type_is_neither_json_nor_events() -> None:
    assert not is_event_stream([])
    assert not is_json([])


@pytest.mark.parametrize(
    ("codings", "identity"),
    [([], True), ([b""], True), ([b"Identity"], True), ([b"gzip"], False), ([b"identity", b"br"], False)],
)
def test_a_body_is_plain_when_no_coding_is_named(codings: list[bytes], identity: bool) -> None:
    assert is_identity([(b"content-encoding", coding) for coding in codings]) is identity


@pytest.mark.parametrize(
    ("name", "forwarded"),
    [(b"via", True), (b"x-forwarded-for", True), (b"x-forwarded-new", True), (b"forwarded", True), (b"host", False)],
)
def test_a_proxy_is_known_by_its_traces(name: bytes, forwarded: bool) -> None:
    assert was_forwarded([(b"accept", b"*/*"), (name, b"x")]) is forwarded


# --- properties

NAMES = st.sampled_from(
    [b"accept", b"anthropic-beta", b"connection", b"cookie", b"host", b"te", b"upgrade", b"x-a", b"x-api-key", b"x-b"]
)
VALUES = st.one_of(st.sampled_from([b"close", b"x-a", b"X-B, close", b"accept,,te", b"keep-alive"]), st.binary())
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def is_subsequence(part: Headers, whole: Headers) -> bool:
    remaining = iter(whole)
    return all(field in remaining for field in part)


@given(HEADERS)
def test_filters_only_ever_take_away_and_keep_the_order(headers: Headers) -> None:
    for kept in (request_headers(headers), response_headers(headers)):
        assert is_subsequence(kept, headers)


@given(HEADERS)
def test_filters_keep_every_end_to_end_field_and_no_other(headers: Headers) -> None:
    named = {
        item.strip(b" \t").lower() for name, value in headers if name == b"connection" for item in value.split(b",")
    }
    hop = {b"connection", b"te", b"upgrade"} | named
    assert request_headers(headers) == [
        field for field in headers if field[0] not in hop | {b"cookie", b"host", b"x-api-key"}
    ]
    assert response_headers(headers) == [field for field in headers if field[0] not in hop]


@given(HEADERS)
def test_filtering_twice_changes_nothing_more(headers: Headers) -> None:
    assert request_headers(request_headers(headers)) == request_headers(headers)
    assert response_headers(response_headers(headers)) == response_headers(headers)
