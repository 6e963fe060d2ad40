"""The OpenAI routes byte by byte, on both of the router's sides."""

import json
from typing import Self

import pytest

from protocol.commands import Command, Write
from tests.conformance.conftest import OpenStage
from tests.conformance.openai_exchanges import (
    BLOCK,
    CHAT,
    EVENTS,
    FIRST_DELTA,
    PATHS,
    START,
    STORY,
    WHOLE,
    asked,
    body,
    chunks,
    ended,
    next_chunk,
    refused,
    streaming,
)
from tests.support.grammar import End, check_chat
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import OAUTH_TOKEN, MemoryStage, Stage
from transports.memory import MemoryShell

# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
def test_the_upstream_is_asked_in_the_routers_own_words(stage: Stage, path: bytes, stream: bool) -> None:
    client, token = stage.client(), stage.token()
    client.send(
        post(
            token,
            body(path, stream=stream),
            path,
            b"User-Agent: agent/1.0",
            b"Accept: text/event-stream",
            b"Accept-Encoding: gzip, br, zstd",
            b"OpenAI-Organization: org-1",
            b"OpenAI-Project: proj-1",
            b"OpenAI-Beta: responses=v1",
            b"X-Stainless-Lang: python",
            b"X-Api-Key: " + token,
            b"Cookie: a=b",
            b"X-Forwarded-For: 10.0.0.1",
            b"Session-Id: s-1",
            b"anthropic-beta: context-1m-2025-08-07",
        )
    )
    upstream = stage.upstream()
    fields, content = asked(upstream)
    headers = dict(fields)
    assert len(headers) == len(fields)
    assert set(headers) == {
        b"host",
        b"content-type",
        b"content-length",
        b"accept",
        b"accept-encoding",
        b"user-agent",
        b"anthropic-version",
        b"anthropic-beta",
        b"authorization",
    }
    assert headers[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
    assert headers[b"accept"] == (b"text/event-stream" if stream else b"application/json")
    assert headers[b"accept-encoding"] == b"identity"
    assert headers[b"user-agent"] == b"agent/1.0"
    assert headers[b"anthropic-beta"] == b"context-1m-2025-08-07,oauth-2025-04-20"
    assert headers[b"host"].startswith(b"127.0.0.1:")
    assert content["messages"] == [{"role": "user", "content": "hello"}]
    assert content.get("stream", False) is stream


def test_an_api_key_is_the_only_credential(stage_with: OpenStage) -> None:
    stage = stage_with(credentials=b"{}", ANTHROPIC_API_KEY="sk-ant-api03-key")
    client = stage.client()
    client.send(post(stage.token(), body(CHAT), CHAT))
    headers = dict(asked(stage.upstream())[0])
    assert headers[b"x-api-key"] == b"sk-ant-api03-key"
    assert not {b"authorization", b"anthropic-beta"} & set(headers)


@pytest.mark.parametrize("query", [b"?stream=true", b"?stream=1"])
def test_a_query_may_ask_for_a_stream(stage: Stage, query: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}', CHAT + query))
    upstream = stage.upstream()
    assert asked(upstream)[1]["stream"] is True
    upstream.send(STREAM_HEAD + chunk(STORY) + LAST_CHUNK)
    client.head()
    assert check_chat(b"".join(chunks(client))) is End.COMPLETE


def test_a_request_may_come_in_any_pieces(stage: Stage) -> None:
    client, content = stage.client(), body(CHAT, words="é" * 50)
    head = post(stage.token(), b"", CHAT, b"Expect: 100-continue").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    client.send(head)
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    for at in range(0, len(content), 7):
        client.send(chunk(content[at : at + 7]))
    client.send(LAST_CHUNK)
    upstream = stage.upstream()
    assert asked(upstream)[1]["messages"][0]["content"] == "é" * 50
    upstream.send(reply(WHOLE))
    assert client.response()[0] == 200


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_whole_answer_has_what_a_client_can_use_of_the_headers(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(
        reply(
            WHOLE,
            b"200 OK",
            b"request-id: req_1",
            b"anthropic-ratelimit-unified-status: allowed",
            b"anthropic-organization-id: 0000",
            b"Set-Cookie: a=1",
            b"Server: cloud",
        )
    )
    status, headers, content = client.response()
    assert status == 200
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"request-id"] == headers[b"x-request-id"] == b"req_1"
    assert headers[b"anthropic-ratelimit-unified-status"] == b"allowed"
    assert headers[b"x-router-upstream-model"] == b"claude-sonnet-4-6"
    assert not {b"anthropic-organization-id", b"set-cookie", b"server"} & set(headers)
    assert json.loads(content)["model"] == "gpt-4o"
    assert "Good morning, 漢字 🎉" in content.decode()


@pytest.mark.parametrize("path", PATHS)
def test_the_first_frame_is_forwarded_at_once(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=True), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(STREAM_HEAD)
    client.head()
    upstream.send(chunk(START))
    first = next_chunk(client)
    assert first.startswith(b'data: {"id":"chatcmpl-01ABC"' if path == CHAT else b"event: response.created\n")


@pytest.mark.parametrize("path", PATHS)
def test_every_event_is_forwarded_as_it_is_read(stage: Stage, path: bytes) -> None:
    client, upstream, told = streaming(stage, path)
    for event in EVENTS[3:]:
        upstream.send(chunk(event))
        if b"content_block_delta" in event:
            told += next_chunk(client)
            assert told.endswith(b"\n\n")
    upstream.send(LAST_CHUNK)
    told += b"".join(chunks(client))
    assert ended(path, told) is End.COMPLETE
    client.send(get(b"/health"))
    assert client.response()[2] == b"ok", "the connection can be used again"


@pytest.mark.parametrize("path", PATHS)
def test_events_may_be_cut_anywhere(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=True), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(STREAM_HEAD + b"".join(chunk(STORY[at : at + 1]) for at in range(len(STORY))) + LAST_CHUNK)
    client.head()
    told = b"".join(chunks(client))
    assert ended(path, told) is End.COMPLETE
    assert "漢字 🎉"[0].encode() in told


@pytest.mark.parametrize("path", PATHS)
def test_there_is_one_write_for_each_read(path: bytes) -> None:
    """However many events and chunks a read brings: each write to a socket costs more than translating an event."""
    with WatchedStage({}) as stage:
        client = stage.client()
        client.send(post(stage.token(), body(path, stream=True), path))
        upstream = stage.upstream()
        stage.writes.clear()
        upstream.send(STREAM_HEAD + chunk(START) + chunk(BLOCK + FIRST_DELTA))
        assert len(stage.writes) == 1
        upstream.send(b"".join(chunk(event) for event in EVENTS[3:]) + LAST_CHUNK)
        assert len(stage.writes) == 2
        assert stage.writes[-1].endswith(LAST_CHUNK)


class WatchedStage(MemoryStage):
    """A stage in memory that notes what the router writes, to whomever."""

    def __enter__(self) -> Self:
        self.writes: list[bytes] = []
        files = {"/home/credentials.json": self.credentials}
        self.shell = MemoryShell(self.config("/home", 1), files, watch=self._watch)
        return self

    def _watch(self, shell: MemoryShell, command: Command) -> None:
        if isinstance(command, Write):
            self.writes.append(command.data)


def test_a_client_is_told_that_a_silent_stream_is_alive() -> None:
    with MemoryStage({"SSE_KEEPALIVE_SECS": "15"}) as stage:
        client, upstream, told = streaming(stage, CHAT)
        stage.wait(16)
        assert next_chunk(client) == b": keep-alive\n\n"
        upstream.send(chunk(b"".join(EVENTS[3:])) + LAST_CHUNK)
        assert check_chat(told + b"".join(chunks(client))) is End.COMPLETE


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_bad_token_is_refused_before_the_body_is_read(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(
        post(b"la_sk_bad", b"x" * 1_000_000, path, b"Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    )
    status, headers, content = client.response()
    assert (status, headers[b"www-authenticate"], headers[b"connection"]) == (401, b"Bearer", b"close")
    error = json.loads(content)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert stage.no_upstream()


@pytest.mark.parametrize("path", [b"/v1/models", b"/v1/models/gpt-4o"])
def test_models_need_a_token(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(get(path))
    assert refused(client)[0] == 401
    client = stage.client()
    client.send(get(path, b"anthropic-version: 2023-06-01"))
    assert json.loads(client.response()[2])["error"]["type"] == "authentication_error"
    for speaker, shape in ((b"Accept: */*", "object"), (b"anthropic-version: 2023-06-01", "type")):
        client.send(get(path, b"Authorization: Bearer " + stage.token(), speaker))
        status, headers, content = client.response()
        assert (status, headers[b"content-type"]) == (200, b"application/json")
        first = json.loads(content)
        assert shape in first.get("data", [first])[0]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize("path", PATHS)
def test_a_body_over_the_limit_is_a_413(stage_with: OpenStage, path: bytes, announced: bool) -> None:
    stage = stage_with(MAX_PROXY_REQUEST_BYTES="1000")
    client = stage.client()
    request = post(stage.token(), body(path, words="x" * 2000), path)
    if not announced:
        head, _, content = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        request = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunk(content)
    client.send(request)
    status, error = refused(client)
    assert (status, error["code"]) == (413, "request_too_large")
    assert "1000" in error["message"]
    assert stage.no_upstream()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"model":"gpt-4o"}', b"[" * 100_000])
@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_no_request_is_a_400_and_the_connection_goes_on(
    stage: Stage, path: bytes, content: bytes
) -> None:
    client = stage.client()
    client.send(post(stage.token(), content, path))
    status, error = refused(client)
    assert (status, error["type"]) == (400, "invalid_request_error")
    client.send(get(b"/health"))
    assert client.response()[2] == b"ok"
    assert stage.no_upstream()


@pytest.mark.parametrize("path", [*PATHS, b"/v1/models"])
def test_a_surface_that_is_switched_off_is_not_there(stage_with: OpenStage, path: bytes) -> None:
    stage = stage_with(DISABLE_OPENAI_API="true")
    client = stage.client()
    client.send(post(stage.token(), body(path), path) if path in PATHS else get(path))
    assert refused(client)[0] == 404


@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_a_405(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(get(path, b"Authorization: Bearer " + stage.token()))
    status, headers, content = client.response()
    assert (status, headers[b"allow"]) == (405, b"POST")
    assert set(json.loads(content)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", PATHS)
def test_errors_have_openais_shape_whatever_else_the_client_says(stage: Stage, path: bytes) -> None:
    client = stage.client()
    client.send(post(stage.token(), b"{", path, b"anthropic-version: 2023-06-01"))
    assert refused(client)[0] == 400


def test_neither_what_was_said_nor_any_secret_is_in_the_log(stage: Stage) -> None:
    client, token = stage.client(), stage.token()
    client.send(post(token, body(CHAT, words="my diary"), CHAT))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(reply(WHOLE))
    client.response()
    client.send(post(token, body(CHAT, words="my diary", n=2), CHAT))
    assert refused(client)[0] == 400
    logged = repr(stage.logs)
    assert "claude-sonnet-4-6" in logged
    for secret in ("diary", "Good morning", token.decode(), OAUTH_TOKEN):
        assert secret not in logged
