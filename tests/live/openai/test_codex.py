"""An agent's turns as Codex puts them on the wire: written by hand, each on a connection of its own."""

import json
import socket
from typing import Any

import h11
import pytest

from cli.practice import PracticeUpstream
from tests.live.openai.asks import NOTHING, PARAMETERS
from tests.live.openai.raw import Json, asked_upstream
from tests.live.routers import PATIENCE, RunningRouter, new_token
from tests.support.grammar import End, check_responses
from tests.support.openai_accumulators import accumulate_responses

TOOLS: list[Json] = [
    {"type": "function", "name": "exec_command", "description": "Runs it.", "strict": False, "parameters": PARAMETERS},
    {
        "type": "namespace",
        "name": "collab",
        "description": "Other agents.",
        "tools": [
            {"type": "function", "name": "spawn", "description": "Starts one.", "parameters": NOTHING},
            {"type": "function", "name": "wait", "description": "Waits.", "parameters": NOTHING},
        ],
    },
    {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
    },
    {"type": "web_search", "external_web_access": False},
]
DEVELOPER: Json = {
    "type": "message",
    "role": "developer",
    "id": "msg_0198d",
    "content": [{"type": "input_text", "text": "You are a coding agent. " * 1600}],
}


def message(identity: str, text: str) -> Json:
    return {
        "type": "message",
        "role": "user",
        "id": identity,
        "content": [{"type": "input_text", "text": text}],
    }


def turn(*items: Json) -> Json:
    """One request: everything so far, since nothing is stored."""
    return {
        "model": "gpt-5-codex",
        "input": [DEVELOPER, *items],
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0198d2c1-7c1d",
        "client_metadata": {"x-codex-installation-id": "5d0e"},
    }


def ask(router: RunningRouter, body: Json) -> tuple[h11.Response, bytes, bool]:
    """The response's head, its body, and whether that came to its end; lower-case names, host and length last."""
    content = json.dumps(body).encode()
    host, _, port = router.addresses[0].rpartition(":")
    lines = [
        b"POST /v1/responses HTTP/1.1",
        b"authorization: Bearer " + new_token().encode(),
        b"content-type: application/json",
        b"accept: text/event-stream",
        b"session-id: 0198d2c1-7c1d",
        b"thread-id: 0198d2c1-7c1d",
        b"x-client-request-id: 0198d2c1-7c1d",
        b"originator: codex_exec",
        b'x-codex-turn-metadata: {"turn":"1"}',
        b"x-codex-beta-features: none",
        b"user-agent: codex_exec/0.169.0",
        b"host: " + router.addresses[0].encode(),
        b"content-length: %d" % len(content),
    ]
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/v1/responses", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    head: h11.Response | None = None
    received = b""
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError:
                event = h11.ConnectionClosed()
            if event is h11.NEED_DATA:
                reader.receive_data(connection.recv(65536))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                received += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                assert head is not None
                return head, received, isinstance(event, h11.EndOfMessage)


def answer_to(router: RunningRouter, body: Json) -> Json:
    """The response that a well-formed stream ended with."""
    head, streamed, whole = ask(router, body)
    assert head.status_code == 200, streamed
    assert dict(head.headers)[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert whole
    assert check_responses(streamed) is End.COMPLETE
    return accumulate_responses(streamed)


def test_a_turn_with_tools_goes_on_in_the_next_request(upstream: PracticeUpstream, router: RunningRouter) -> None:
    wish = message("msg_0198e", "list the files\n/tools\n/think")
    first = answer_to(router, turn(wish))
    reasoning, command, spawn, wait, patch = first["output"]
    assert (first["status"], first["model"], first["store"]) == ("completed", "gpt-5-codex", False)
    assert reasoning["type"] == "reasoning"
    assert (command["type"], command["name"]) == ("function_call", "exec_command")
    assert [(call["name"], call["namespace"]) for call in (spawn, wait)] == [("spawn", "collab"), ("wait", "collab")]
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "apply_patch", "practice")
    asked = asked_upstream(upstream)
    assert [tool["name"] for tool in asked["tools"]] == [
        "exec_command",
        "collab__spawn",
        "collab__wait",
        "apply_patch",
    ]
    assert len(asked["system"]) == 1
    assert asked["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert asked["output_config"] == {"effort": "medium"}

    outputs: list[Json] = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": f"{call['name']} done"}
        for call in (command, spawn, wait)
    ]
    outputs.append({"type": "custom_tool_call_output", "call_id": patch["call_id"], "output": "patched"})
    last = answer_to(router, turn(wish, *first["output"], *outputs))
    assert [item["type"] for item in last["output"]] == ["reasoning", "message"]
    text = last["output"][1]["content"][0]["text"]
    assert all(f"{name} done" in text for name in ("exec_command", "spawn", "wait"))
    assert "patched" in text
    asked = asked_upstream(upstream)
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    thought, *calls = asked["messages"][1]["content"]
    assert (thought["type"], thought["thinking"]) == ("thinking", reasoning["summary"][0]["text"])
    assert thought["signature"]
    assert [(call["id"], call["name"]) for call in calls] == [
        (command["call_id"], "exec_command"),
        (spawn["call_id"], "collab__spawn"),
        (wait["call_id"], "collab__wait"),
        (patch["call_id"], "apply_patch"),
    ]
    assert [result["tool_use_id"] for result in asked["messages"][2]["content"]] == [call["id"] for call in calls]


def test_nothing_of_codex_reaches_the_provider_but_what_it_says(
    upstream: PracticeUpstream, router: RunningRouter
) -> None:
    answer_to(router, turn(message("msg_1", "hello")))
    seen = upstream.requests[-1]
    names = {name.lower() for name, _ in seen.headers}
    assert names == {
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
    assert not {"client_metadata", "prompt_cache_key", "store", "include"} & set(asked_upstream(upstream))
    assert b"msg_1" not in seen.body


@pytest.mark.parametrize("order", ["/cut 5", "/error-event overloaded_error"])
def test_a_stream_that_breaks_tells_so_and_is_not_ended_like_a_whole_one(router: RunningRouter, order: str) -> None:
    _, streamed, whole = ask(router, turn(message("msg_1", order)))
    assert check_responses(streamed) is End.FAILED
    assert not whole


@pytest.mark.parametrize(("status", "told"), [(429, 429), (529, 503), (500, 500)])
def test_errors_have_the_status_and_the_hint_that_codex_retries_by(
    own_router: RunningRouter, status: int, told: int
) -> None:
    head, body, whole = ask(own_router, turn(message("msg_1", f"/error {status} retry-after=3")))
    error: dict[str, Any] = json.loads(body)["error"]
    assert whole
    assert head.status_code == told
    assert dict(head.headers)[b"retry-after"] == b"3"
    assert set(error) == {"message", "type", "param", "code"}
