"""Talking to a practice upstream without an SDK, and checking what its streams say."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import h11
import msgspec

from cli.practice import PRACTICE_API_KEY, PracticeUpstream, Record
from protocol.values import Headers

Json = dict[str, Any]

MODEL = "claude-opus-5-5"


def last_request(upstream: PracticeUpstream, happened: Callable[[Record], bool]) -> Record:
    """The latest request, as soon as this is so of it; fails when it is not within five seconds."""
    assert upstream.until(lambda: bool(upstream.requests) and happened(upstream.requests[-1]))
    return upstream.requests[-1]


def user_says(text: str, **fields: Any) -> bytes:
    """The body of a Messages request with one user turn."""
    turns = [{"role": "user", "content": text}]
    return msgspec.json.encode({"model": MODEL, "max_tokens": 1000, "messages": turns, **fields})


def post(body: bytes, *, target: str = "/v1/messages", headers: Headers | None = None) -> bytes:
    """A POST with an API key and a content length, as bytes on the wire."""
    return request("POST", target, [(b"content-length", b"%d" % len(body)), *(headers or [])]) + body


def request(method: str, target: str, headers: Headers | None = None) -> bytes:
    """A request head with host, API key and version, as bytes on the wire."""
    fields: Headers = [
        (b"host", b"practice"),
        (b"x-api-key", PRACTICE_API_KEY.encode()),
        (b"anthropic-version", b"2023-06-01"),
        *(headers or []),
    ]
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return f"{method} {target} HTTP/1.1\r\n".encode() + lines + b"\r\n"


@dataclass(frozen=True)
class RawResponse:
    """What came back; ``complete`` is False when the connection ended in the middle of the body."""

    status: int
    headers: Headers
    body: bytes
    complete: bool

    def header(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.headers if field == name]

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class RawClient:
    """One connection to an upstream, driven by hand; every wait ends after ten seconds with an error."""

    def __init__(self, upstream: PracticeUpstream) -> None:
        self.socket = socket.create_connection((upstream.host, upstream.port), timeout=10)
        self._method = "GET"
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, request: bytes) -> RawResponse:
        """Send one whole request and read its answer."""
        self.send(request)
        return self.answer(request.split(b" ", 1)[0])

    def answer(self, method: bytes = b"POST") -> RawResponse:
        """Read one answer; interim ones are passed over.

        :raises ConnectionError: the connection ended before an answer began.
        """
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "practice")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(self._rest) if self._rest else None
        head: h11.Response | None = None
        body = b""
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError:
                event = h11.ConnectionClosed()
            if event is h11.NEED_DATA:
                reader.receive_data(self._received())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                if head is None:
                    raise ConnectionError("closed without an answer")
                self._rest = reader.trailing_data[0]
                return RawResponse(head.status_code, list(head.headers), body, isinstance(event, h11.EndOfMessage))

    def ended(self) -> bool:
        """Nothing more comes: the upstream has closed the connection, or reset it."""
        return self._received() == b""

    def _received(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


def server_sent_events(body: bytes) -> list[Json]:
    """The events of a complete stream; each event's name must be its data's type."""
    events = []
    assert body.endswith(b"\n\n")
    for frame in body.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = frame.split(b"\n")
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def assembled(events: list[Json]) -> Json:
    """The message that a stream tells, built as a client builds it; fails where the stream breaks the grammar.

    The grammar: ``message_start``, then blocks one after another with indexes from 0, each start, deltas, stop, then
    ``message_delta`` and ``message_stop``; pings anywhere in between.
    """
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    message: Json = {**events[0]["message"], "content": []}
    assert events[0]["message"]["content"] == []
    block: Json | None = None
    arguments = ""
    for event in events[1:-2]:
        if event["type"] == "ping":
            continue
        assert event["index"] == len(message["content"]) - (block is not None)
        if event["type"] == "content_block_start":
            assert block is None
            block = dict(event["content_block"])
            message["content"].append(block)
            arguments = ""
        elif event["type"] == "content_block_delta":
            assert block is not None
            arguments += _grow(block, event["delta"])
        else:
            assert event["type"] == "content_block_stop"
            assert block is not None
            if block["type"] == "tool_use":
                block["input"] = msgspec.json.decode(arguments)
            block = None
    assert block is None
    message |= events[-2]["delta"]
    message["usage"] = {**message["usage"], **events[-2]["usage"]}
    return message


def _grow(block: Json, delta: Json) -> str:
    """Add a delta to its block; what is returned is a tool's arguments."""
    grown = {
        ("text", "text_delta"): "text",
        ("thinking", "thinking_delta"): "thinking",
        ("thinking", "signature_delta"): "signature",
    }
    kind = (block["type"], delta["type"])
    if kind == ("tool_use", "input_json_delta"):
        return str(delta["partial_json"])
    block[grown[kind]] += delta[grown[kind]]
    return ""
