"""HTTP/1.1 towards the client: connections, framing, and the router's own answers."""

import json

import pytest

from tests.conformance.conftest import OpenStage
from tests.support.requests import BODY, REPLY, chunk, get, post, reply
from tests.support.stage import Stage


def test_health_answers_ok_in_plain_text(stage: Stage) -> None:
    client = stage.client()
    client.send(get(b"/health"))
    status, headers, body = client.response()
    assert (status, body) == (200, b"ok")
    assert headers[b"content-type"].startswith(b"text/plain")
    assert headers[b"x-router-request-id"].startswith(b"req_")
    assert headers[b"date"].endswith(b" GMT")


def test_a_connection_serves_one_request_after_the_other(stage: Stage) -> None:
    client = stage.client()
    for _ in range(3):
        client.send(get(b"/health"))
        assert client.response()[0] == 200


def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    client = stage.client()
    client.send(get(b"/health") + post(stage.token()) + get(b"/nowhere"))
    assert client.response()[0] == 200
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(reply())
    assert client.response()[2] == REPLY
    assert client.response()[0] == 404


def test_a_request_may_arrive_byte_by_byte(stage: Stage) -> None:
    client = stage.client()
    for byte in get(b"/health"):
        client.send(bytes([byte]))
    assert client.response()[2] == b"ok"


def test_head_is_answered_like_get_without_a_body(stage: Stage) -> None:
    client = stage.client()
    client.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n" + get(b"/health"))
    line, fields = client.head()
    assert line == b"HTTP/1.1 200 OK"
    assert (b"content-length", b"2") in fields
    assert client.response()[2] == b"ok"


def test_connection_close_is_obeyed_and_announced(stage: Stage) -> None:
    client = stage.client()
    client.send(get(b"/health", b"Connection: close"))
    assert client.response()[1][b"connection"] == b"close"
    assert client.rest() == b""


def test_an_http_1_0_client_gets_a_closed_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert client.response()[1][b"connection"] == b"close"
    assert client.rest() == b""


def test_an_http_1_0_client_that_asks_for_it_keeps_its_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert client.response()[1][b"connection"] == b"keep-alive"
    client.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert client.response()[0] == 200


def test_an_absolute_target_is_read_as_its_path(stage: Stage) -> None:
    client = stage.client()
    client.send(b"GET http://router.test/health HTTP/1.1\r\nHost: router.test\r\n\r\n")
    assert client.response()[2] == b"ok"


def test_claude_codes_probe_is_answered_here_without_a_token(stage: Stage) -> None:
    client = stage.client()
    for path in (b"/api/hello", b"/api/latest/anthropic/api/hello", b"/api/latest/anthropic", b"/"):
        client.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\nUser-Agent: Bun/1.4.4\r\n\r\n" % path)
        assert client.head()[0] == b"HTTP/1.1 200 OK"
    assert stage.no_upstream()


def test_a_client_that_waits_is_told_to_continue(stage: Stage) -> None:
    client = stage.client()
    head, _, body = post(stage.token(), BODY, b"/v1/messages", b"Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    upstream = stage.upstream()
    assert b"expect" not in upstream.until(BODY).lower()
    upstream.send(reply())
    assert client.response()[0] == 200


def test_a_client_that_waits_is_refused_before_it_sends_its_body(stage: Stage) -> None:
    client = stage.client()
    head = post(b"la_sk_wrong", BODY, b"/v1/messages", b"Expect: 100-continue").partition(b"\r\n\r\n")[0]
    client.send(head + b"\r\n\r\n")
    status, headers, _ = client.response()
    assert (status, headers[b"connection"]) == (401, b"close")
    assert client.rest() == b""


def test_a_malformed_head_is_a_400_and_the_end_of_the_connection(stage: Stage) -> None:
    for head in (b"GET /health\r\n\r\n", b"GET /health HTTP/1.1\nHost: x\n\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"):
        client = stage.client()
        client.send(head)
        status, headers, body = client.response()
        assert (status, headers[b"connection"]) == (400, b"close")
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_ambiguous_framing_is_refused(stage: Stage) -> None:
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked"
    twice = b"Content-Length: 3\r\nContent-Length: 3"
    for framing in (both, twice, b"Content-Length: +3", b"Content-Length: 3, 3"):
        client = stage.client()
        client.send(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\nabc")
        assert client.response()[0] == 400


def test_a_refusal_does_not_cost_the_connection_when_the_body_is_there_already(stage: Stage) -> None:
    client = stage.client()
    client.send(post(b"la_sk_wrong") + get(b"/health"))
    status, headers, _ = client.response()
    assert status == 401
    assert b"connection" not in headers
    assert client.response()[2] == b"ok"


def test_too_large_a_head_is_a_431(stage_with: OpenStage) -> None:
    stage = stage_with(MAX_HEAD_BYTES="2000", MAX_HEADER_FIELDS="20")
    for head in (get(b"/health", b"X-Long: " + b"a" * 3000), get(b"/health", *(b"X-%d: 1" % n for n in range(30)))):
        client = stage.client()
        client.send(head)
        assert client.response()[0] == 431


def test_an_unknown_path_and_a_wrong_method_are_refused_here(stage: Stage) -> None:
    client = stage.client()
    client.send(
        get(b"/v1/organizations", b"anthropic-version: 2023-06-01")
        + get(b"/v1/messages", b"x-api-key: " + stage.token())
        + get(b"/api/latest/anthropic/api/oauth/profile")
    )
    status, _, body = client.response()
    assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error")
    status, headers, _ = client.response()
    assert (status, headers[b"allow"]) == (405, b"POST")
    assert client.response()[0] == 404
    assert stage.no_upstream()


def test_a_wrong_method_is_told_only_to_those_with_a_token(stage: Stage) -> None:
    client = stage.client()
    for path in (b"/api/latest/anthropic/v1/messages", b"/v1/chat/completions"):
        client.send(get(path) + get(path, b"Authorization: Bearer la_sk_invalid"))
        assert [client.response()[0] for _ in range(2)] == [401, 401]


def test_a_disabled_surface_is_not_there(stage_with: OpenStage) -> None:
    stage = stage_with(DISABLE_ANTHROPIC_API="true")
    client = stage.client()
    client.send(post(stage.token()))
    assert client.response()[0] == 404
    assert stage.no_upstream()


def test_errors_name_the_request(stage: Stage) -> None:
    client = stage.client()
    client.send(get(b"/nowhere"))
    _, headers, body = client.response()
    error = json.loads(body)
    assert error["type"] == "error"
    assert error["request_id"].encode() == headers[b"x-router-request-id"]


def test_a_token_is_issued_over_http(stage: Stage) -> None:
    client = stage.client()
    wanted = b'{"ttl_hours": 2, "label": "my-dev-token"}'
    client.send(
        b"POST /api/tokens HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(wanted), wanted)
    )
    status, headers, body = client.response()
    issued = json.loads(body)
    assert status == 200
    assert headers[b"cache-control"] == b"no-store"
    assert {name: issued[name] for name in ("ttl_hours", "label", "account")} == {
        "ttl_hours": 2,
        "label": "my-dev-token",
        "account": None,
    }
    client.send(post(issued["token"].encode()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(reply())
    assert client.response()[0] == 200


def test_a_chunked_request_body_is_read_to_its_end(stage: Stage) -> None:
    client = stage.client()
    head = (
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % stage.token()
    )
    client.send(head + chunk(BODY[:10]))
    upstream = stage.upstream()
    assert (b"transfer-encoding", b"chunked") in upstream.head()[1]
    client.send(chunk(BODY[10:]) + b"0\r\n\r\n")
    assert upstream.until(b"0\r\n\r\n").replace(chunk(BODY[:10]), b"").count(BODY[10:]) == 1
    upstream.send(reply())
    assert client.response()[2] == REPLY


def test_a_body_beyond_the_limit_is_a_413(stage_with: OpenStage) -> None:
    stage = stage_with(MAX_PROXY_REQUEST_BYTES="1000")
    client = stage.client()
    client.send(post(stage.token(), b"x" * 1001))
    status, headers, body = client.response()
    assert (status, headers[b"connection"]) == (413, b"close")
    assert json.loads(body)["error"]["type"] == "request_too_large"
    assert stage.no_upstream()


def test_a_chunked_body_that_grows_beyond_the_limit_is_a_413(stage_with: OpenStage) -> None:
    stage = stage_with(MAX_PROXY_REQUEST_BYTES="1000")
    client = stage.client()
    head = (
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % stage.token()
    )
    client.send(head + chunk(b"x" * 900))
    upstream = stage.upstream()
    upstream.until(b"x" * 900)
    client.send(chunk(b"x" * 900))
    assert client.response()[0] == 413
    with pytest.raises(ConnectionResetError):
        upstream.rest()
