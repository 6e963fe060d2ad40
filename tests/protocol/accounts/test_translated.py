"""Requests in OpenAI's words have the same accounts behind them, and hear of their trouble in OpenAI's words."""

import json
from typing import Any

import pytest

from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import FAILED, HOUR, LIMITED, NOT_FOUND, OVERLOADED, UNAUTHORIZED, Asked, Pooled, window
from tests.support.requests import STREAM_HEAD, chunk
from tests.support.scene import Client

CHAT = b"/v1/chat/completions"
RESPONSES = b"/v1/responses"
SURFACES = pytest.mark.parametrize("path", [CHAT, RESPONSES])

ANSWER = json.dumps({
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-7", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}).encode()  # fmt: skip


def asks(scene: Pooled, path: bytes, client: Client | None = None, **fields: object) -> Client:
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "gpt-5", "messages" if path == CHAT else "input": said, **fields}
    return (client or scene.client()).posts(json.dumps(body).encode(), path=path)


def error_of(client: Client) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    status, headers, body = client.response()
    return status, headers, json.loads(body)["error"]


def taken(asked: Asked) -> Asked:
    """It is a Messages request."""
    assert asked.line == b"POST /v1/messages HTTP/1.1"
    assert json.loads(asked.body)["model"] == "claude-opus-4-7"
    return asked


@SURFACES
@pytest.mark.parametrize("status", [LIMITED, OVERLOADED, FAILED, UNAUTHORIZED])
def test_an_account_that_cannot_answer_is_left_for_the_next_one(scene: Pooled, path: bytes, status: bytes) -> None:
    client = asks(scene, path)
    taken(scene.asked()).by("primary").says(status)
    taken(scene.asked()).by("account-1").replies(ANSWER)
    assert client.response()[0] == 200
    assert scene.asked_nobody()


@SURFACES
def test_a_stream_fails_over_before_its_first_event(scene: Pooled, path: bytes) -> None:
    client = asks(scene, path, stream=True)
    scene.asked().by("primary").says(OVERLOADED)
    upstream = scene.asked().by("account-1").upstream
    start = {"type": "message_start", "message": json.loads(ANSWER) | {"content": [], "stop_reason": None}}
    upstream.sends(STREAM_HEAD + chunk(b"event: message_start\ndata: %b\n\n" % json.dumps(start).encode()))
    assert client.head()[0] == b"HTTP/1.1 200 OK"
    upstream.reset()
    assert b"data: [DONE]" not in client.rest(), "what was cut is not made to look whole"
    assert scene.asked_nobody()


@SURFACES
def test_a_used_up_pool_is_told_in_the_client_s_words_with_the_soonest_reset(pool_of: OpenPool, path: bytes) -> None:
    scene = pool_of(2)
    client = asks(scene, path)
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + HOUR))
    scene.asked().by("account-1").says(LIMITED, *window("7d", scene.wall + 9 * HOUR))
    status, headers, error = error_of(client)
    assert (status, headers[b"retry-after"]) == (429, b"3600")
    assert error["type"] == "rate_limit_error" or error["code"] == "rate_limit_exceeded"
    status, headers, _ = error_of(asks(scene, path, client))
    assert (status, headers[b"retry-after"]) == (429, b"3600")
    assert scene.asked_nobody()


@SURFACES
def test_the_last_account_s_own_answer_is_translated_with_its_headers(pool_of: OpenPool, path: bytes) -> None:
    scene = pool_of(1)
    client = asks(scene, path)
    said = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    scene.asked().says(LIMITED, b"Retry-After: 7", b"request-id: req_1", body=said)
    status, headers, error = error_of(client)
    assert (status, headers[b"retry-after"], headers[b"x-request-id"]) == (429, b"7", b"req_1")
    assert "slow down" in error["message"]


@SURFACES
def test_a_model_s_limit_is_known_by_the_provider_s_name_of_the_model(scene: Pooled, path: bytes) -> None:
    client = asks(scene, path)
    scene.asked().by("primary").says(LIMITED, *window("7d_opus", scene.wall + HOUR))
    scene.asked().by("account-1").replies(ANSWER)
    client.response()
    (cooldown,) = scene.account("primary").cooldowns
    assert cooldown.model == "claude-opus-4-7"
    assert scene.account("primary").healthy


def test_a_long_wait_for_the_body_is_no_part_of_the_account_s_story(scene: Pooled) -> None:
    """A cooldown that ended while the body came keeps nobody out, and one that began meanwhile does."""
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, b"Retry-After: 40")
    scene.asked().by("account-1").replies()
    client.saw(200)
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}).encode()
    slow = scene.client().begins(len(body), path=CHAT)
    for part in (body[:10], body[10:20]):
        slow.sends(part)
        scene.passes(25)
    slow.sends(body[20:])
    scene.asked().by("account-2").says(OVERLOADED)
    scene.asked().by("primary").replies(ANSWER)
    assert slow.response()[0] == 200
    standing = scene.account("account-2")
    assert standing.cooldown_remaining_seconds is not None
    assert standing.cooldown_remaining_seconds >= 1, "counted from now, not from when the request began"


def test_a_long_body_can_be_asked_again_since_it_was_made_here(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = asks(scene, CHAT, user="x" * 1000)
    scene.asked().by("primary").says(LIMITED)
    scene.asked().by("account-1").replies(ANSWER)
    assert client.response()[0] == 200


def test_a_file_of_another_account_is_asked_around(scene: Pooled) -> None:
    content = [{"type": "input_file", "file_id": "file_1"}]
    said = [{"role": "user", "content": content}]
    client = asks(scene, RESPONSES, input=said)
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies(ANSWER)
    assert client.response()[0] == 200
    for _ in range(2):
        asks(scene, RESPONSES, client, input=said)
        scene.asked().by("account-1").replies(ANSWER)
        assert client.response()[0] == 200


def test_a_client_that_leaves_while_a_translated_answer_is_gathered_leaves_nothing(scene: Pooled) -> None:
    client = asks(scene, CHAT)
    scene.asked().by("primary").says(OVERLOADED)
    upstream = scene.asked().by("account-1").upstream
    upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    assert scene.in_flight() == [0, 1, 0]
    client.leaves()
    assert upstream.gone()
    assert scene.in_flight() == [0, 0, 0]


def test_without_any_credential_the_error_is_in_the_client_s_words(pool_of: OpenPool) -> None:
    status, _, error = error_of(asks(pool_of(1, {"primary": None}), CHAT))
    assert status == 502
    assert "log in" in error["message"]
