"""What the tests of the OpenAI routes share: requests, an answer, and how to read either side of the router."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.anthropic_streams import message, tell, text
from tests.support.grammar import End, check_chat, check_responses
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, chunk, post
from tests.support.stage import End as Connection
from tests.support.stage import Stage

CHAT = b"/v1/chat/completions"
RESPONSES = b"/v1/responses"
PATHS = [CHAT, RESPONSES]

ANSWER = message(text("Good morning, 漢字 🎉"))
WHOLE = json.dumps(ANSWER).encode()
STORY = tell(ANSWER, piece=4)
EVENTS = [event + b"\n\n" for event in STORY.split(b"\n\n")[:-1]]
START, BLOCK, FIRST_DELTA = EVENTS[:3]


def body(path: bytes, *, stream: bool = False, words: str = "hello", **fields: Any) -> bytes:
    """A small request of the API that this path belongs to."""
    said = {"messages": [{"role": "user", "content": words}]} if path == CHAT else {"input": words}
    return json.dumps({"model": "gpt-4o", **said, "stream": stream, **fields}).encode()


def asked(upstream: Connection) -> tuple[list[tuple[bytes, bytes]], dict[str, Any]]:
    """Header fields and JSON of the request that the router makes."""
    line, fields = upstream.head()
    assert line == b"POST /v1/messages HTTP/1.1"
    content: dict[str, Any] = json.loads(upstream.exactly(int(dict(fields)[b"content-length"])))
    return fields, content


def next_chunk(client: Connection) -> bytes:
    """The next chunk of a chunked body; b"" for the last one."""
    size = int(client.until(b"\r\n"), 16)
    data = client.exactly(size + 2)
    assert data.endswith(b"\r\n")
    return data[:-2]


def chunks(client: Connection) -> Iterator[bytes]:
    """The rest of a chunked body."""
    while data := next_chunk(client):
        yield data


def streaming(stage: Stage, path: bytes) -> tuple[Connection, Connection, bytes]:
    """A client that has read the head and the beginning of a stream, its upstream, and that beginning."""
    client = stage.client()
    client.send(post(stage.token(), body(path, stream=True), path))
    upstream = stage.upstream()
    asked(upstream)
    upstream.send(STREAM_HEAD + chunk(START + BLOCK + FIRST_DELTA))
    line, fields = client.head()
    assert line == b"HTTP/1.1 200 OK"
    headers = dict(fields)
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"transfer-encoding"] == b"chunked"
    assert headers[b"x-accel-buffering"] == b"no"
    assert headers[b"cache-control"] == b"no-cache"
    return client, upstream, next_chunk(client)


def until_cut(client: Connection) -> bytes:
    """Everything in a chunked body up to where the connection ends without a last chunk."""
    rest = client.rest()
    assert not rest.endswith(LAST_CHUNK)
    told = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        told, rest = told + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return told


def refused(client: Connection) -> tuple[int, dict[str, Any]]:
    """Status and error of a refusal, which has OpenAI's shape and no other."""
    status, headers, content = client.response()
    assert headers[b"content-type"] == b"application/json"
    whole = json.loads(content)
    assert set(whole) == {"error"}
    error: dict[str, Any] = whole["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error


def ended(path: bytes, told: bytes) -> End:
    """How a stream of this path's API ended; fails where it breaks that API's grammar."""
    return (check_chat if path == CHAT else check_responses)(told)
