"""The bytes that the benchmarks send: requests like those of Claude Code, answers like those of the provider."""

import secrets
import time
from typing import Final

from protocol.identity.tokens import issue
from protocol.values import Secret

TOKEN_SECRET: Final = "the benchmarks sign their tokens with this text"

SMALL_BODY: Final = 1_000
LARGE_BODY: Final = 50_000
"""Sizes of request bodies in bytes; a turn of Claude Code is 47 to 55 KB."""

EVENTS_AROUND: Final = 5
"""Events of a stream besides its deltas: two that open it, three that end it."""

REQUEST_HEAD: Final = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\n"
    b"Accept: application/json\r\n"
    b"Authorization: Bearer %b\r\n"
    b"Content-Type: application/json\r\n"
    b"User-Agent: claude-cli/2.1.330 (external, sdk-cli)\r\n"
    b"X-Claude-Code-Session-Id: 0b6f3c52-7f6e-4c0c-9d3e-2a51c8d47f10\r\n"
    b"X-Stainless-Arch: x64\r\n"
    b"X-Stainless-Lang: js\r\n"
    b"X-Stainless-OS: Linux\r\n"
    b"X-Stainless-Package-Version: 0.128.0\r\n"
    b"X-Stainless-Retry-Count: 0\r\n"
    b"X-Stainless-Runtime: node\r\n"
    b"X-Stainless-Runtime-Version: v24.3.0\r\n"
    b"X-Stainless-Timeout: 600\r\n"
    b"anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    b"per-turn-control-2026-07-01,mid-conversation-tool-changes-2026-07-01,thinking-token-count-2026-05-13,"
    b"advanced-tool-use-2025-11-20,effort-2025-11-24\r\n"
    b"anthropic-dangerous-direct-browser-access: true\r\n"
    b"anthropic-version: 2023-06-01\r\n"
    b"x-app: cli\r\n"
    b"%b"
    b"Connection: keep-alive\r\n"
    b"Host: 127.0.0.1:8080\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n"
)
"""Claude Code's field names, their order and their usual sizes."""

RESPONSE_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Mon, 23 Nov 2026 02:40:38 GMT\r\n"
    b"Content-Type: %b\r\n"
    b"%b\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: no-cache\r\n"
    b"anthropic-ratelimit-unified-status: allowed\r\n"
    b"anthropic-ratelimit-unified-5h-status: allowed\r\n"
    b"anthropic-ratelimit-unified-5h-reset: 1795420800\r\n"
    b"anthropic-ratelimit-unified-5h-utilization: 0.21\r\n"
    b"anthropic-ratelimit-unified-7d-status: allowed\r\n"
    b"anthropic-ratelimit-unified-7d-reset: 1795996800\r\n"
    b"anthropic-ratelimit-unified-7d-utilization: 0.37\r\n"
    b"anthropic-ratelimit-unified-representative-claim: five_hour\r\n"
    b"anthropic-ratelimit-unified-reset: 1795420800\r\n"
    b"request-id: req_011CVPXg5Vw4m5Rg7y2N8QkZ\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"anthropic-organization-id: 6f1b6a0c-55a0-4c8b-9c44-0f7f5a1f2d3e\r\n"
    b"x-envoy-upstream-service-time: 812\r\n"
    b"cf-cache-status: DYNAMIC\r\n"
    b"X-Robots-Tag: none\r\n"
    b"Server: cloudflare\r\n"
    b"CF-RAY: 9a2f1c0d8b7e6f5a-FRA\r\n"
    b"\r\n"
)

MESSAGE: Final = (
    b'{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-opus-5-5","content":'
    b'[{"type":"text","text":"%b"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12031,'
    b'"cache_creation_input_tokens":0,"cache_read_input_tokens":11776,"output_tokens":170}}'
) % (b"All that is gold does not glitter. " * 22)

OPENING_EVENTS: Final = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":'
    b'"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":12031,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\n',
)
DELTA: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"%019d"}}\n\n'
)
"""A delta whose text is the monotonic clock in nanoseconds when it was sent."""
CLOSING_EVENTS: Final = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":170}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)

WHOLE_RESPONSE: Final = RESPONSE_HEAD % (b"application/json", b"Content-Length: %d" % len(MESSAGE)) + MESSAGE
STREAM_HEAD: Final = RESPONSE_HEAD % (b"text/event-stream; charset=utf-8", b"Transfer-Encoding: chunked")
LAST_CHUNK: Final = b"0\r\n\r\n"


def token() -> bytes:
    """A token that every router of the benchmarks takes."""
    issued = issue(Secret(TOKEN_SECRET), wall=time.time(), entropy=secrets.token_bytes)
    return issued.token.reveal().encode()


def whole_request(credential: bytes, body_size: int) -> bytes:
    """A request whose answer comes at once and whole."""
    return _request(credential, b"", body_size, stream=False)


def stream_request(
    credential: bytes, *, deltas: int, gap: int, stall: int | None = None, body_size: int = LARGE_BODY
) -> bytes:
    """A request for an event stream.

    :param deltas: events besides ``EVENTS_AROUND``.
    :param gap: milliseconds between two events.
    :param stall: fall silent after so many events and keep the stream open.
    """
    wishes = b"size=%d; slow=%d" % (deltas, gap)
    if stall is not None:
        wishes += b"; stall=%d" % stall
    return _request(credential, b"x-practice: %b\r\n" % wishes, body_size, stream=True)


def chat_request(credential: bytes, *, deltas: int, gap: int, body_size: int = LARGE_BODY) -> bytes:
    """The same for an OpenAI client's stream, whose only header field that reaches the upstream is its user agent."""
    start = b'{"model":"claude-opus-5-5","max_tokens":1000,"stream":true,"messages":[{"role":"system","content":"'
    end = b'"},{"role":"user","content":"Say something."}]}'
    body = start + b"x" * (body_size - len(start) - len(end)) + end
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\naccept: text/event-stream\r\nuser-agent: size=%d; slow=%d\r\n"
        b"content-length: %d\r\n\r\n"
    )
    return head % (credential, deltas, gap, len(body)) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _request(credential: bytes, field: bytes, body_size: int, *, stream: bool) -> bytes:
    start = (
        b'{"model":"claude-opus-5-5","max_tokens":1000,"messages":[{"role":"user","content":"Say something."}],'
        b'"stream":%b,"system":[{"type":"text","text":"' % (b"true" if stream else b"false")
    )
    end = b'"}]}'
    body = start + b"x" * (body_size - len(start) - len(end)) + end
    return REQUEST_HEAD % (credential, field, len(body)) + body
