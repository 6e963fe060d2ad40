"""What passes through the router, and how faithfully."""

import gzip
import json

import pytest

from tests.conformance.conftest import OpenStage
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, STREAM_HEAD, chunk, post, reply
from tests.support.stage import OAUTH_TOKEN, Stage


def test_the_token_is_swapped_for_the_credential(stage: Stage) -> None:
    client = stage.client()
    token = stage.token()
    client.send(post(token, BODY, b"/v1/messages?beta=true", b"anthropic-beta: one-2025-01-01, two-2025-01-01"))
    upstream = stage.upstream()
    line, fields = upstream.head()
    headers = dict(fields)
    assert line == b"POST /v1/messages?beta=true HTTP/1.1"
    assert headers[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
    assert headers[b"anthropic-beta"].split(b",")[-1].strip() == b"oauth-2025-04-20"
    assert headers[b"anthropic-version"] == b"2023-06-01"
    assert upstream.exactly(len(BODY)) == BODY
    assert token not in b"".join(name + value for name, value in fields)
    upstream.send(reply())
    assert client.response()[2] == REPLY


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_the_bearer_scheme_counts_in_any_case(stage: Stage, scheme: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), scheme=scheme))
    stage.upstream().send(reply())
    assert client.response()[0] == 200


def test_an_api_key_travels_as_one(stage_with: OpenStage) -> None:
    stage = stage_with(credentials=b"{}", ANTHROPIC_API_KEY="sk-ant-api03-key")
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    headers = dict(upstream.head()[1])
    assert headers[b"x-api-key"] == b"sk-ant-api03-key"
    assert b"authorization" not in headers
    assert b"anthropic-beta" not in headers
    upstream.send(reply())
    assert client.response()[0] == 200


def test_without_a_credential_there_is_a_502_and_no_request(stage_with: OpenStage) -> None:
    stage = stage_with(credentials=b"{}")
    client = stage.client()
    client.send(post(stage.token()))
    status, _, body = client.response()
    assert (status, json.loads(body)["error"]["type"]) == (502, "api_error")
    assert stage.no_upstream()


def test_what_must_not_pass_does_not_and_all_else_does_in_order(stage: Stage) -> None:
    client = stage.client()
    client.send(
        post(
            stage.token(),
            BODY,
            b"/v1/messages",
            b"Connection: keep-alive, X-Nominated",
            b"X-Nominated: 1",
            b"Keep-Alive: timeout=5",
            b"Cookie: a=b",
            b"Proxy-Authorization: Basic abc",
            b"X-Forwarded-For: 10.0.0.1",
            b"X-Repeated: 1",
            b"X-Stainless-Lang: python",
            b"X-Repeated: 2",
            b"Accept-Encoding: gzip, br",
        )
    )
    upstream = stage.upstream()
    fields = upstream.head()[1]
    names = [name for name, _ in fields]
    for gone in (b"x-nominated", b"keep-alive", b"cookie", b"proxy-authorization", b"x-forwarded-for", b"connection"):
        assert gone not in names
    assert [value for name, value in fields if name == b"x-repeated"] == [b"1", b"2"]
    assert (b"x-stainless-lang", b"python") in fields
    assert (b"accept-encoding", b"identity") in fields, "its answer is read as it passes"
    assert names.count(b"host") == names.count(b"authorization") == names.count(b"content-length") == 1
    upstream.send(reply())
    assert client.response()[0] == 200


def test_the_answer_keeps_status_headers_and_bytes(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    body = gzip.compress(b'{"type":"error"}')
    stage.upstream().send(
        reply(
            body,
            b"400 Bad Request",
            b"Content-Encoding: gzip",
            b"Set-Cookie: a=1",
            b"Set-Cookie: b=2",
            b"Request-Id: req_1",
            b"Connection: X-Hop",
            b"X-Hop: 1",
            b"anthropic-ratelimit-unified-5h-utilization: 0.5",
        )
    )
    line, fields = client.head()
    assert line == b"HTTP/1.1 400 Bad Request"
    assert [value for name, value in fields if name == b"set-cookie"] == [b"a=1", b"b=2"]
    names = dict(fields)
    assert names[b"request-id"] == b"req_1"
    assert names[b"anthropic-ratelimit-unified-5h-utilization"] == b"0.5"
    assert b"x-hop" not in names
    assert client.exactly(len(body)) == body


def test_every_event_is_forwarded_as_it_is_read(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(STREAM_HEAD)
    headers = dict(client.head()[1])
    assert headers[b"x-accel-buffering"] == b"no"
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"transfer-encoding"] == b"chunked"
    for piece in (EVENT, EVENT[:7], EVENT[7:], b"\xf0\x9f", b"\x98\x80\n\n", EVENT * 40):
        upstream.send(chunk(piece))
        assert client.exactly(len(chunk(piece))) == chunk(piece)
    upstream.send(LAST_CHUNK)
    assert client.exactly(len(LAST_CHUNK)) == LAST_CHUNK
    client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response()[2] == b"ok"


def test_a_response_without_a_length_ends_with_its_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsome")
    client.head()
    assert client.exactly(9) == chunk(b"some")
    upstream.close()
    assert client.until(LAST_CHUNK) == LAST_CHUNK


def test_interim_responses_are_skipped(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + reply())
    assert client.response()[2] == REPLY


def test_an_upstream_connection_is_used_again(stage: Stage) -> None:
    client, upstream = stage.client(), None
    for _ in range(3):
        client.send(post(stage.token()))
        upstream = upstream or stage.upstream()
        upstream.until(BODY)
        upstream.send(reply())
        assert client.response()[2] == REPLY
    assert stage.no_upstream()


def test_a_provider_credential_is_refused_and_goes_nowhere(stage: Stage) -> None:
    client = stage.client()
    for header in (b"Authorization: Bearer sk-ant-oat01-mine", b"x-api-key: sk-ant-api03-mine"):
        client.send(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n%b\r\nContent-Length: 0\r\n\r\n" % header)
        status, headers, body = client.response()
        assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
        assert b"mine" not in body
    assert stage.no_upstream()
    assert "mine" not in repr(stage.logs)


def test_both_headers_at_once_are_fine_if_one_is_a_router_token(stage: Stage) -> None:
    client = stage.client()
    client.send(post(b"sk-ant-oat01-mine", BODY, b"/v1/messages", b"X-Api-Key: " + stage.token()))
    upstream = stage.upstream()
    head = upstream.until(BODY)
    assert b"mine" not in head
    upstream.send(reply())
    assert client.response()[0] == 200


def test_batch_results_lead_back_through_the_router(stage: Stage) -> None:
    client = stage.client()
    path = b"/api/latest/anthropic/v1/messages/batches"
    client.send(post(stage.token(), BODY, path, b"Accept-Encoding: gzip"))
    upstream = stage.upstream()
    assert (b"accept-encoding", b"identity") in upstream.head()[1]
    upstream.send(
        reply(b'{"id":"b1", "results_url" : "https://api.anthropic.com/v1/messages/batches/b1/results","x":1.0}')
    )
    headers = dict(client.head()[1])
    assert headers[b"transfer-encoding"] == b"chunked"
    expected = (
        b'{"id":"b1", "results_url" : "http://router.test/api/latest/anthropic/v1/messages/batches/b1/results","x":1.0}'
    )
    assert client.until(LAST_CHUNK) == chunk(expected) + LAST_CHUNK


def test_a_changed_credential_file_is_used_after_a_401(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    stage.write_credentials(b'{"claudeAiOauth": {"accessToken": "sk-ant-oat01-renewed"}}')
    upstream.send(reply(b"{}", b"401 Unauthorized"))
    assert dict(upstream.head()[1])[b"authorization"] == b"Bearer sk-ant-oat01-renewed"
    assert upstream.exactly(len(BODY)) == BODY
    upstream.send(reply())
    assert client.response()[2] == REPLY


def test_a_401_for_an_unchanged_credential_is_the_clients_to_see(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    stage.upstream().send(reply(b'{"type":"error"}', b"401 Unauthorized"))
    status, _, body = client.response()
    assert (status, body) == (401, b'{"type":"error"}')
    assert stage.no_upstream()


def test_an_expired_token_is_refused_before_its_body_is_read(stage: Stage) -> None:
    client = stage.client()
    head = post(b"la_sk_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.x", b"x" * 100).partition(b"\r\n\r\n")[0]
    client.send(head + b"\r\n\r\n")
    status, headers, _ = client.response()
    assert (status, headers[b"connection"]) == (401, b"close")
