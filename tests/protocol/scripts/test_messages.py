"""The relayed story: what the provider is sent, and what the client gets of its answer."""

import gzip

import pytest

from protocol.event_relay import EventStreamPassthrough
from protocol.identity.credentials import from_api_key
from protocol.relays import Passthrough
from protocol.results_url import ResultsUrlRelay
from protocol.scripts.messages import Target, reply, upstream_head
from protocol.values import BaseUrl, Headers, RequestHead, ResponseHead
from tests.protocol.conftest import OpenScene
from tests.support.requests import LAST_CHUNK, chunk, get
from tests.support.scene import Scene

BASE = BaseUrl.parse("https://gateway.test/prefix")
PLAIN = Target(BASE, b"/v1/messages?beta=true")
BATCH = Target(BASE, b"/v1/messages/batches", "http://router.test", readable=True)
CREDENTIAL = from_api_key("sk-ant-api03-key")


def asked(target: Target, headers: Headers) -> RequestHead:
    return upstream_head(RequestHead(b"POST", b"/any", headers), CREDENTIAL, target)


def test_the_prefix_of_the_base_url_comes_before_the_path() -> None:
    head = asked(PLAIN, [(b"host", b"router.test"), (b"x-kept", b"1")])
    assert head.target == b"/prefix/v1/messages?beta=true"
    assert head.headers[0] == (b"host", b"gateway.test")
    assert (b"x-kept", b"1") in head.headers
    assert [name for name, _ in head.headers].count(b"host") == 1


def test_a_client_chooses_its_encodings_unless_the_answer_must_be_read() -> None:
    encodings = (b"accept-encoding", b"gzip, br")
    assert encodings in asked(PLAIN, [encodings]).headers
    headers = asked(BATCH, [encodings]).headers
    assert [value for name, value in headers if name == b"accept-encoding"] == [b"identity"]


STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
JSON = (b"content-type", b"application/json")
GZIP = (b"content-encoding", b"gzip")
LENGTH = (b"content-length", b"7")


@pytest.mark.parametrize(
    ("target", "headers", "relay", "length"),
    [
        (PLAIN, [JSON, LENGTH], Passthrough, 7),
        (PLAIN, [JSON], Passthrough, None),
        (PLAIN, [JSON, LENGTH, (b"transfer-encoding", b"chunked")], Passthrough, None),
        (PLAIN, [STREAM, LENGTH], EventStreamPassthrough, None),
        (PLAIN, [STREAM, GZIP, LENGTH], Passthrough, 7),
        (BATCH, [JSON, LENGTH], ResultsUrlRelay, None),
        (BATCH, [JSON, GZIP, LENGTH], Passthrough, 7),
        (BATCH, [(b"content-type", b"text/html"), LENGTH], Passthrough, 7),
        (BATCH, [], Passthrough, None),
    ],
)
def test_a_body_is_touched_only_where_it_has_to_be(
    target: Target, headers: Headers, relay: type, length: int | None
) -> None:
    answer = reply(ResponseHead(200, headers), target)
    assert type(answer.relay) is relay
    assert answer.length == length


def test_a_stream_tells_what_stands_between_to_let_it_through() -> None:
    headers = reply(ResponseHead(200, [STREAM]), PLAIN).head.headers
    assert (b"x-accel-buffering", b"no") in headers
    assert (b"cache-control", b"no-cache") in headers


def test_what_the_provider_says_about_caching_wins() -> None:
    headers = reply(ResponseHead(200, [STREAM, (b"cache-control", b"no-store")]), PLAIN).head.headers
    assert [value for name, value in headers if name == b"cache-control"] == [b"no-store"]


def test_status_and_reason_are_the_providers() -> None:
    head = reply(ResponseHead(529, [JSON], b"Overloaded"), PLAIN).head
    assert (head.status, head.reason) == (529, b"Overloaded")


def test_a_compressed_stream_has_no_comments_put_into_it(scene: Scene) -> None:
    client = scene.client().posts()
    squeezed = gzip.compress(b"data: 1\n\n")
    scene.upstream().sends(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(squeezed)
    )
    client.head()
    scene.passes(100)
    assert client.exactly(len(chunk(squeezed))) == chunk(squeezed)
    client.saw_nothing()


def test_comments_fill_a_pause_of_a_stream_and_their_interval_is_a_setting(scene_with: OpenScene) -> None:
    for seconds, comments in (("0", 0), ("50", 1)):
        scene = scene_with(SSE_KEEPALIVE_SECS=seconds)
        client, _ = scene.streaming()
        scene.passes(51)
        assert bytes(client.peer.inbox) == chunk(b": keep-alive\n\n") * comments


def test_the_results_of_a_batch_lead_to_the_public_address_where_there_is_one(scene_with: OpenScene) -> None:
    scene = scene_with(PUBLIC_BASE_URL="https://router.example/base")
    client = scene.client().sends(get(b"/v1/messages/batches/b1", b"X-Api-Key: " + scene.token))
    upstream = scene.upstream()
    upstream.got(b"")
    upstream.replies(b'{"results_url":"https://api.anthropic.com/v1/messages/batches/b1/results"}')
    client.head()
    expected = b'{"results_url":"https://router.example/base/v1/messages/batches/b1/results"}'
    assert client.until(LAST_CHUNK) == chunk(expected) + LAST_CHUNK


def test_without_any_address_to_lead_back_to_a_batch_is_refused(scene: Scene) -> None:
    client = scene.client().sends(b"GET /v1/messages/batches/b1 HTTP/1.0\r\nX-Api-Key: " + scene.token + b"\r\n\r\n")
    assert b"PUBLIC_BASE_URL" in client.response()[2]
    assert scene.asked_nobody()
