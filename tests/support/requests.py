"""Requests as clients of the router write them, and what an upstream answers, as bytes."""

from typing import Final

BODY: Final = b'{"model":"claude-x","max_tokens":9,"messages":[]}'
REPLY: Final = b'{"type":"message","content":[]}'


def post(
    token: bytes, body: bytes = BODY, path: bytes = b"/v1/messages", *extra: bytes, scheme: bytes = b"Bearer"
) -> bytes:
    """A ``POST`` with a Content-Length; ``extra`` are whole header lines without their line ends."""
    lines = [
        b"POST %b HTTP/1.1" % path,
        b"Host: router.test",
        b"Authorization: %b %b" % (scheme, token),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *extra,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *extra: bytes) -> bytes:
    """A ``GET`` without a token."""
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: localhost", *extra]) + b"\r\n\r\n"


def reply(body: bytes = REPLY, status: bytes = b"200 OK", *extra: bytes) -> bytes:
    """A response with a Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *extra]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENT: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0}\n\n'
