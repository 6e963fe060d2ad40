"""How the OpenAI routes end when the upstream, the client or the router does not go on: never as a finished answer."""

import gzip
import json

import pytest

from tests.conformance.openai_exchanges import (
    CHAT,
    EVENTS,
    FIRST_DELTA,
    PATHS,
    STORY,
    WHOLE,
    asked,
    body,
    chunks,
    ended,
    next_chunk,
    refused,
    streaming,
    until_cut,
)
from tests.support.anthropic_streams import sse
from tests.support.grammar import End
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, chunk, post, reply
from tests.support.stage import MemoryEnd, MemoryStage, Stage


@pytest.mark.parametrize(
    ("status", "content", "told", "kind", "words"),
    [
        (b"502 Bad Gateway", b"<html><h1>Bad gateway</h1></html>", 502, "server_error", "<h1>Bad gateway</h1>"),
        (b"529 Overloaded", b"", 503, "server_error", "529"),
        (b"429 Too Many Requests", b"\xff\xfe", 429, "rate_limit_error", "429"),
        (b"404 Not Found", b'{"message":"no Route matched"}', 404, "invalid_request_error", "no Route matched"),
        (b"302 Found", b"moved", 502, "server_error", "302"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_error_in_no_known_form_is_quoted(
    stage: Stage, path: bytes, status: bytes, content: bytes, told: int, kind: str, words: str
) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(reply(content, status))
    seen, error = refused(client)
    assert (seen, error["type"]) == (told, kind)
    assert words in error["message"]


@pytest.mark.parametrize("path", PATHS)
def test_limits_are_told_with_their_headers(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=True), path))
    upstream = stage.upstream()
    asked(upstream)
    refusal = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    limits = [b"Retry-After: 7", b"anthropic-ratelimit-unified-reset: 1790000000", b"request-id: req_9"]
    upstream.send(reply(refusal, b"429 Too Many Requests", *limits))
    status, headers, content = client.response()
    assert (status, headers[b"retry-after"], headers[b"x-request-id"]) == (429, b"7", b"req_9")
    assert headers[b"anthropic-ratelimit-unified-reset"] == b"1790000000"
    assert json.loads(content)["error"] == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }


@pytest.mark.parametrize(("stream", "answer"), [(True, reply(WHOLE)), (False, STREAM_HEAD + chunk(STORY) + LAST_CHUNK)])
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_in_the_other_form_is_a_502(stage: Stage, path: bytes, stream: bool, answer: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=stream), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(answer)
    status, error = refused(client)
    assert (status, error["type"]) == (502, "server_error")
    assert "event stream" in error["message"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"type":"message"', b"\xff"])
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_is_no_message_is_a_502(stage: Stage, path: bytes, content: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(reply(content))
    assert refused(client)[0] == 502


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_is_compressed_all_the_same_is_a_502(stage: Stage, stream: bool) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(CHAT, stream=stream), CHAT))
    upstream = stage.upstream()
    asked(upstream)
    packed = gzip.compress(STORY if stream else WHOLE)
    answer = STREAM_HEAD + chunk(packed) + LAST_CHUNK if stream else reply(packed)
    upstream.send(answer.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1))
    assert refused(client)[0] == 502


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_is_cut_has_failed(stage: Stage, path: bytes, how: str) -> None:
    client, upstream, told = streaming(stage, path)
    getattr(upstream, how)()
    told += until_cut(client)
    assert ended(path, told) is End.FAILED


@pytest.mark.parametrize(
    "last",
    [
        LAST_CHUNK,
        chunk(sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})) + LAST_CHUNK,
        chunk(b"event: content_block_delta\ndata: {broken\n\n"),
        chunk(sse({"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}})),
    ],
    ids=["ended early", "error event", "broken JSON", "out of order"],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_is_no_whole_message_has_failed(stage: Stage, path: bytes, last: bytes) -> None:
    client, upstream, told = streaming(stage, path)
    upstream.send(last)
    told += until_cut(client)
    assert ended(path, told) is End.FAILED
    if last != LAST_CHUNK:
        assert upstream.rest() == b"", "a stream that broke its own rules is not read on"


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_mid_stream_cancels_the_request(stage: Stage, path: bytes) -> None:
    client, upstream, _ = streaming(stage, path)
    client.close()
    assert upstream.rest() == b""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_while_it_waits_cancels_the_request(stage: Stage, path: bytes, stream: bool) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=stream), path))
    upstream = stage.upstream()
    asked(upstream)
    client.close()
    assert upstream.rest() == b""


@pytest.mark.parametrize("path", PATHS)
def test_a_stale_connection_costs_one_retry_on_a_fresh_one(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path), path))
    stale = stage.upstream()
    asked(stale)
    stale.send(reply(WHOLE))
    assert client.response()[0] == 200
    client.send(post(stage.token(), body(path, words="again"), path))
    _, first = asked(stale)
    stale.close()
    fresh = stage.upstream()
    _, second = asked(fresh)
    assert first == second
    assert second["messages"][0]["content"] == "again"
    fresh.send(reply(WHOLE))
    assert client.response()[0] == 200


def test_a_fresh_connection_that_is_closed_is_a_502_and_not_asked_again(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(CHAT), CHAT))
    upstream = stage.upstream()
    asked(upstream)
    upstream.close()
    assert refused(client)[0] == 502
    assert stage.no_upstream()


def test_a_changed_credential_file_is_used_after_a_401(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(CHAT), CHAT))
    upstream = stage.upstream()
    asked(upstream)
    stage.write_credentials(b'{"accessToken": "sk-ant-oat01-renewed"}')
    upstream.send(reply(b"{}", b"401 Unauthorized"))
    assert dict(asked(upstream)[0])[b"authorization"] == b"Bearer sk-ant-oat01-renewed"
    upstream.send(reply(WHOLE))
    assert client.response()[0] == 200


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_was_told_to_its_end_is_complete_whatever_becomes_of_the_upstream(
    stage: Stage, path: bytes, how: str
) -> None:
    client, upstream, told = streaming(stage, path)
    upstream.send(chunk(b"".join(EVENTS[3:])))
    told += next_chunk(client)
    assert ended(path, told) is End.COMPLETE
    getattr(upstream, how)()
    assert client.exactly(len(LAST_CHUNK)) == LAST_CHUNK


@pytest.mark.parametrize("path", PATHS)
def test_a_drain_without_grace_ends_streams_visibly(stage: Stage, path: bytes) -> None:
    client, upstream, told = streaming(stage, path)
    stage.drain(0)
    told += until_cut(client)
    assert ended(path, told) is End.FAILED
    assert b"shutting down" in told
    assert upstream.rest() == b""
    stage.join()


@pytest.mark.parametrize("path", PATHS)
def test_a_silent_upstream_is_given_up_at_last(path: bytes) -> None:
    with MemoryStage({"UPSTREAM_READ_TIMEOUT_SECS": "60", "SSE_KEEPALIVE_SECS": "0"}) as stage:
        client, upstream, told = streaming(stage, path)
        stage.wait(61)
        told += until_cut(client)
        assert ended(path, told) is End.FAILED
        assert upstream.rest() == b""


@pytest.mark.parametrize("path", PATHS)
def test_a_slow_reader_holds_the_upstream(path: bytes) -> None:
    """What is on offer does not end; only what fits into the buffers on the way is taken."""
    with MemoryStage({}) as stage:
        client, upstream, _ = streaming(stage, path)
        assert isinstance(client, MemoryEnd)
        assert isinstance(upstream, MemoryEnd)
        client.peer.takes(0)
        sent = 0
        while sent < 16 << 20 and not upstream.peer.untaken:
            upstream.send(chunk(FIRST_DELTA * 50))
            sent += len(FIRST_DELTA) * 50
        assert upstream.peer.untaken
        assert sent < 1 << 20
        client.peer.takes(None)
        assert not upstream.peer.untaken
        upstream.send(chunk(b"".join(EVENTS[3:])) + LAST_CHUNK)
        assert b"".join(chunks(client)).count(b"Good") >= sent // len(FIRST_DELTA)
