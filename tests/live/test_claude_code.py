"""A request as Claude Code writes it, byte by byte, and what becomes of it on its way."""

import json
import socket
from typing import Final

import pytest

from cli.practice import PRACTICE_API_KEY, PRACTICE_TOKEN, PracticeUpstream
from protocol.routing import LEGACY_PREFIX
from tests.live.routers import RunningRouter, new_token
from tests.support.stage import SocketEnd

BETAS: Final = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,per-turn-control-2026-07-01,"
    "mid-conversation-tool-changes-2026-07-01,thinking-token-count-2026-05-13,advanced-tool-use-2025-11-20,"
    "effort-2025-11-24,thinking-display-updates-2026-08-18"
)
OAUTH: Final = "oauth-2025-04-20"
BETA_LISTS: Final = {
    "without the session's flag": (BETAS, f"{BETAS},{OAUTH}"),
    "with it": (f"claude-code-20250219,{OAUTH},effort-2025-11-24", f"claude-code-20250219,{OAUTH},effort-2025-11-24"),
}

CREDENTIALS: Final = {
    "ANTHROPIC_AUTH_TOKEN": ("Bearer {token}", None),
    "ANTHROPIC_API_KEY": (None, "{token}"),
    "both, the same": ("Bearer {token}", "{token}"),
    "both, and a real key": ("Bearer {token}", "sk-ant-api03-my-own-key"),
    "both, and a real session": ("Bearer sk-ant-oat01-my-own-session", "{token}"),
}
"""What Claude Code sends as ``Authorization`` and ``x-api-key``, by the variables that are set."""

SENT_ANEW: Final = frozenset(
    {"accept-encoding", "authorization", "x-api-key", "connection", "host", "content-length", "anthropic-beta"}
)

TOOL: Final = (
    '{"name":"Tool%d","description":"%s","input_schema":{"type":"object","properties":{}},"defer_loading":true}'
)
BODY: Final = (
    '{"model":"claude-opus-5-5","messages":[{"role":"user","content":[{"type":"text","text":"Wie geht’s? 你好 🎉",'
    '"cache_control":{"type":"ephemeral","ttl":"1h"}}],"output_config":{"effort":"high"}},'
    '{"role":"system","content":"A reminder in the middle."}],'
    '"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.330; cch=0a1b2;"},'
    '{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}},{"type":"text","text":"\\u2028"}],'
    '"tools":[' + ",".join(TOOL % (number, "It does things. " * 250) for number in range(12)) + "],"
    '"metadata":{"user_id":"{\\"device_id\\":\\"d\\",\\"account_uuid\\":\\"\\",\\"session_id\\":\\"s\\"}"},'
    '"max_tokens":128000,"thinking":{"type":"adaptive","display":"updates"},'
    '"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"temperature":1.0,"top_k":1E1,'
    '"output_config":{"effort":"high"},"stream":true,"a_field_of_tomorrow":{"b":null,"a":[1,2,2.50]} }'
).encode()
"""Its size, order of keys, odd numbers and spaces would not survive a parser and an encoder."""


def turn(
    path: str, token: str, *, using: str = "ANTHROPIC_AUTH_TOKEN", betas: str = BETAS, body: bytes = BODY
) -> bytes:
    """A turn in the order of Claude Code's native program: ``Host`` comes late."""
    authorization, api_key = CREDENTIALS[using]
    lines = [
        f"POST {path} HTTP/1.1",
        "Accept: application/json",
        *([] if authorization is None else [f"Authorization: {authorization.format(token=token)}"]),
        "Content-Type: application/json",
        "User-Agent: claude-cli/2.1.330 (external, cli)",
        "X-Claude-Code-Session-Id: 0c6d0a4e-5b5e-4b43-a4b5-2f6f7f6f1f10",
        "X-Stainless-Arch: x64",
        "X-Stainless-Lang: js",
        "X-Stainless-OS: Linux",
        "X-Stainless-Package-Version: 0.128.0",
        "X-Stainless-Retry-Count: 0",
        "X-Stainless-Runtime: node",
        "X-Stainless-Runtime-Version: v24.3.0",
        "X-Stainless-Timeout: 600",
        f"anthropic-beta: {betas}",
        "anthropic-dangerous-direct-browser-access: true",
        "anthropic-version: 2023-06-01",
        *([] if api_key is None else [f"x-api-key: {api_key.format(token=token)}"]),
        "x-app: cli",
        "Connection: keep-alive",
        "Host: 127.0.0.1",
        "Accept-Encoding: gzip, deflate, br, zstd",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def probe(path: str) -> bytes:
    """What the runtime sends first, without a credential, to warm up a connection."""
    return (
        f"HEAD {path} HTTP/1.1\r\nConnection: keep-alive\r\nUser-Agent: Bun/1.4.4\r\nAccept: */*\r\n"
        "Host: 127.0.0.1\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\r\n"
    ).encode()


def connected(origin: str) -> SocketEnd:
    host, port = origin.removeprefix("http://").split(":")
    return SocketEnd(socket.create_connection((host, int(port))))


def fields_of(request: bytes) -> list[tuple[str, str]]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]


def stream_of(end: SocketEnd) -> bytes:
    """The rest of a chunked body, with its framing."""
    return end.until(b"0\r\n\r\n")


@pytest.mark.parametrize("prefix", ["", LEGACY_PREFIX], ids=["root", "prefix"])
@pytest.mark.parametrize("using", CREDENTIALS)
def test_a_turn_reaches_the_provider_as_it_was_written(
    upstream: PracticeUpstream, router: RunningRouter, using: str, prefix: str
) -> None:
    request = turn(f"{prefix}/v1/messages?beta=true", new_token(), using=using)
    end = connected(router.origin)
    end.send(probe(f"{prefix}/api/hello"))
    assert end.head()[0] == b"HTTP/1.1 200 OK"
    end.send(request)
    line, fields = end.head()
    assert (line, dict(fields)[b"content-type"]) == (b"HTTP/1.1 200 OK", b"text/event-stream; charset=utf-8")
    assert b"event: message_stop" in stream_of(end)
    end.close()

    seen = upstream.requests[-1]
    assert (seen.method, seen.target) == ("POST", "/v1/messages?beta=true")
    assert seen.body == BODY
    assert seen.header("content-length") == [str(len(BODY))]
    assert seen.header("authorization") == [f"Bearer {PRACTICE_TOKEN}"]
    assert seen.header("x-api-key") == []
    assert seen.header("anthropic-beta") == [f"{BETAS},{OAUTH}"]
    arrived = [(name.decode().lower(), value.decode()) for name, value in seen.headers]
    kept = [field for field in fields_of(request) if field[0] not in SENT_ANEW]
    assert [field for field in arrived if field[0] not in SENT_ANEW] == kept
    assert seen.header("accept-encoding") == ["identity"]


@pytest.mark.parametrize("case", BETA_LISTS)
def test_the_sessions_beta_flag_is_there_once(upstream: PracticeUpstream, router: RunningRouter, case: str) -> None:
    sent, expected = BETA_LISTS[case]
    end = connected(router.origin)
    end.send(turn("/v1/messages?beta=true", new_token(), betas=sent))
    stream_of(end)
    end.close()
    assert upstream.requests[-1].header("anthropic-beta") == [expected]


def test_the_probe_reaches_nobody_and_has_no_body(upstream: PracticeUpstream, router: RunningRouter) -> None:
    before = len(upstream.requests)
    end = connected(router.origin)
    for path in ("/", "/api/hello", LEGACY_PREFIX, f"{LEGACY_PREFIX}/api/hello"):
        end.send(probe(path))
        assert end.head()[0] == b"HTTP/1.1 200 OK"
    end.send(turn("/v1/messages?beta=true", "la_sk_wrong"))
    assert end.response()[0] == 401
    end.close()
    assert len(upstream.requests) == before


def test_a_conversation_stays_on_its_connections(upstream: PracticeUpstream, router: RunningRouter) -> None:
    """A turn, the tool turn that follows, and a count: one connection on either side."""
    end = connected(router.origin)
    token = new_token()
    for _ in range(3):
        end.send(turn("/v1/messages?beta=true", token))
        stream_of(end)
    end.send(turn("/v1/messages/count_tokens?beta=true", token))
    status, _, body = end.response()
    end.close()
    assert (status, json.loads(body)["input_tokens"] > 10_000) == (200, True)
    assert len({record.connection for record in upstream.requests[-4:]}) == 1


def test_many_counts_at_once(router: RunningRouter) -> None:
    """``/context`` asks for 26 within a tenth of a second."""
    token = new_token()
    ends = [connected(router.origin) for _ in range(26)]
    for end in ends:
        end.send(turn("/v1/messages/count_tokens?beta=true", token))
    assert [end.response()[0] for end in ends] == [200] * 26
    for end in ends:
        end.close()


REPAIRS: Final = (
    "Unexpected value(s) `effort-2025-11-24` for the `anthropic-beta` header.",
    "messages.1.output_config: Extra inputs are not permitted",
    "thinking.display: Input should be 'summarized' or 'omitted'",
)


@pytest.mark.parametrize("message", REPAIRS)
def test_the_errors_it_repairs_itself_by_are_verbatim_and_keep_the_connection(
    router: RunningRouter, message: str
) -> None:
    body = BODY.replace(b"A reminder in the middle.", b"x").replace(
        "Wie geht’s?".encode(), json.dumps(f"no\n/error 400 message={message}").encode()[1:-1] + b"\\n"
    )
    end = connected(router.origin)
    end.send(turn("/v1/messages?beta=true", new_token(), body=body))
    status, headers, answer = end.response()
    assert status == 400
    assert headers[b"request-id"].startswith(b"req_")
    assert json.loads(answer)["error"]["message"] == message
    end.send(turn("/v1/messages?beta=true", new_token()))
    assert b"event: message_stop" in stream_of(end)
    end.close()


def test_the_stream_is_the_providers_to_the_last_byte(upstream: PracticeUpstream, router: RunningRouter) -> None:
    relayed = connected(router.origin)
    relayed.send(turn("/v1/messages?beta=true", new_token()))
    relayed.head()
    direct = connected(upstream.origin)
    direct.send(turn("/v1/messages?beta=true", PRACTICE_API_KEY))
    direct.head()
    assert unframed(stream_of(relayed)) == unframed(stream_of(direct))
    relayed.close()
    direct.close()


def unframed(chunked: bytes) -> bytes:
    body = b""
    while chunked != b"0\r\n\r\n":
        size, _, rest = chunked.partition(b"\r\n")
        body += rest[: int(size, 16)]
        chunked = rest[int(size, 16) + 2 :]
    return body
