"""Affinity: a conversation stays with its account, for the prompt cache's sake, as long as that account can answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from protocol.identity.roster import AFFINITY_CAPACITY
from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import HOUR, LIMITED, NOT_FOUND, OVERLOADED, Pooled, access, window
from tests.support.requests import REPLY, STREAM_HEAD, chunk
from tests.support.scene import Client

Fields = dict[str, Any]


def message(**fields: object) -> bytes:
    start: Fields = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps(start | fields).encode()


def answered_by(scene: Pooled, send: Callable[[Client], object]) -> str:
    """The account that one request goes to; it answers well."""
    client = scene.client()
    send(client)
    asked = scene.asked()
    asked.replies()
    client.response()
    client.leaves()
    return next(name for name in scene.names if access(name) == asked.token)


def in_session(name: str) -> Callable[[Client], object]:
    return lambda client: client.posts(message(), b"x-claude-code-session-id: " + name.encode())


def with_body(**fields: object) -> Callable[[Client], object]:
    return lambda client: client.posts(message(**fields))


def turns(*texts: str) -> list[Fields]:
    """A conversation, beginning with the user."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


USER = "user_0a1b_account__session_6f1d2c3b-aaaa-bbbb-cccc-0123456789ab"


# --- what is one conversation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"x-claude-code-session-id", b"x-codex-session-id", b"x-session-id", b"session-id"])
def test_a_session_header_keeps_a_conversation_on_its_account(scene: Pooled, header: bytes) -> None:
    def asks(session: bytes) -> Callable[[Client], object]:
        return lambda client: client.posts(message(), header + b": " + session)

    assert [answered_by(scene, asks(b"one")) for _ in range(4)] == ["primary"] * 4
    assert [answered_by(scene, asks(b"two")) for _ in range(4)] == ["account-1"] * 4
    assert answered_by(scene, asks(b"one")) == "primary"


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": USER}},
        {"metadata": {"user_id": json.dumps({"session_id": "6f1d", "device_id": "d"})}},
        {"metadata": {"session_id": "6f1d"}},
        {"prompt_cache_key": "6f1d"},
        {"conversation_id": "6f1d"},
    ],
)
def test_a_session_in_the_body_keeps_a_conversation_on_its_account(scene: Pooled, fields: Fields) -> None:
    seen = [answered_by(scene, with_body(messages=turns(*"abc"[: n + 1]), **fields)) for n in range(3)]
    assert seen == ["primary"] * 3
    assert answered_by(scene, with_body()) == "account-1"


def test_without_any_session_the_stable_prefix_stands_for_the_conversation(scene: Pooled) -> None:
    """Without it the cache hit rate of a round-robin pool collapses: each turn would pay for the whole prefix."""
    for opening, name in (("first", "primary"), ("second", "account-1"), ("third", "account-2")):
        for length in (1, 3, 5):
            asked = with_body(system="be brief", messages=turns(opening, *"bcde"[: length - 1]))
            assert answered_by(scene, asked) == name


def test_a_body_that_is_no_json_is_relayed_all_the_same(scene: Pooled) -> None:
    seen = [answered_by(scene, lambda client: client.posts(b"{not JSON")) for _ in range(3)]
    assert seen == scene.names


def test_a_token_count_goes_where_the_conversation_goes(scene: Pooled) -> None:
    assert answered_by(scene, in_session("other")) == "primary"
    for _ in range(3):
        counted = answered_by(
            scene, lambda client: client.posts(message(), b"x-session-id: s", path=b"/v1/messages/count_tokens")
        )
        assert counted == answered_by(scene, lambda client: client.posts(message(), b"x-session-id: s")) == "account-1"


def test_openai_conversations_stay_together_too(scene: Pooled) -> None:
    def chat(key: str) -> Callable[[Client], object]:
        body = {"model": "gpt-5", "prompt_cache_key": key, "messages": [{"role": "user", "content": "hi"}]}
        return lambda client: client.posts(json.dumps(body).encode(), path=b"/v1/chat/completions")

    seen = [answered_by_openai(scene, chat(key)) for key in "aabbab"]
    assert seen == ["primary", "primary", "account-1", "account-1", "primary", "account-1"]


ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def answered_by_openai(scene: Pooled, send: Callable[[Client], object]) -> str:
    client = scene.client()
    send(client)
    asked = scene.asked()
    asked.replies(json.dumps(ANSWER).encode())
    assert client.response()[0] == 200
    client.leaves()
    return next(name for name in scene.names if access(name) == asked.token)


# --- server-held threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_a_thread_goes_on_with_the_account_that_keeps_it(scene: Pooled, streamed: bool) -> None:
    client = scene.client().posts(message(thread={"type": "create"}))
    asked = scene.asked().by("primary")
    if streamed:
        start = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","content":[]}}\n\n'
        asked.upstream.sends(STREAM_HEAD + chunk(start) + b"0\r\n\r\n")
        client.head()
        client.until(b"0\r\n\r\n")
    else:
        asked.replies(json.dumps(ANSWER).encode())
        client.saw(200)
    for _ in range(2):
        continued = with_body(thread={"type": "continue", "previous_message_id": "msg_1"}, messages=turns("next"))
        assert answered_by(scene, continued) == "primary"


# --- what wins over it ------------------------------------------------------------------------------------------------


def test_affinity_ends_some_time_after_the_last_use(pool_of: OpenPool) -> None:
    scene = pool_of(2, SESSION_AFFINITY_TTL_SECS="100")
    assert answered_by(scene, in_session("one")) == "primary"
    for _ in range(3):
        scene.passes(99)
        assert answered_by(scene, in_session("one")) == "primary"
    scene.passes(101)
    assert answered_by(scene, in_session("one")) == "account-1", "whose turn it is"


def test_affinity_can_be_switched_off(pool_of: OpenPool) -> None:
    scene = pool_of(2, SESSION_AFFINITY_TTL_SECS="0")
    assert [answered_by(scene, in_session("one")) for _ in range(4)] == ["primary", "account-1"] * 2


@pytest.mark.parametrize("status", [LIMITED, OVERLOADED])
def test_health_wins_over_affinity_and_the_conversation_is_bound_anew(scene: Pooled, status: bytes) -> None:
    assert answered_by(scene, in_session("one")) == "primary"
    client = scene.client().posts(message(), b"x-claude-code-session-id: one")
    scene.asked().by("primary").says(status)
    scene.asked().by("account-1").replies()
    client.saw(200)
    scene.passes(31)
    assert scene.account("primary").healthy
    assert [answered_by(scene, in_session("one")) for _ in range(3)] == ["account-1"] * 3


def test_capacity_wins_over_affinity(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_CONCURRENCY_LIMITS="1")
    first = scene.converses("one")
    under_way = scene.asked().by("primary")
    second = scene.converses("one")
    scene.asked().by("account-1").replies()
    second.saw(200)
    under_way.replies()
    first.saw(200)


def test_requests_of_a_new_conversation_that_come_side_by_side_go_to_one_account(scene: Pooled) -> None:
    clients = [scene.converses("one") for _ in range(4)]
    for asked in [scene.asked() for _ in clients]:
        asked.by("primary").replies()
    for client in clients:
        client.saw(200)


def test_a_conversation_never_holds_on_to_an_account_for_ever(pool_of: OpenPool) -> None:
    """It is let go after the time to live, whatever is asked of the account in between for others."""
    scene = pool_of(2, SESSION_AFFINITY_TTL_SECS="60", ACCOUNT_ROUTING_STRATEGY="priority")
    client = scene.converses("one")
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + 30))
    scene.asked().by("account-1").replies()
    client.saw(200)
    scene.passes(59)
    assert answered_by(scene, in_session("two")) == "primary"
    scene.passes(2)
    assert answered_by(scene, in_session("one")) == "primary"


def test_what_is_remembered_is_bounded(scene: Pooled) -> None:
    affinity = scene.shell.gateway._roster._affinity
    for number in range(AFFINITY_CAPACITY + 10):
        affinity.remember(b"%d" % number, "primary", scene.shell.now)
        affinity.remember_resource(f"file_{number}", "primary")
    assert len(affinity) == 2 * AFFINITY_CAPACITY


def test_with_one_account_a_body_is_not_waited_for(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    client = scene.client().begins(100).sends(b"x" * 50)
    asked = scene.asked()
    assert asked.body == b"x" * 50
    client.sends(b"y" * 50)
    asked.replies()
    client.saw(200, REPLY)


# --- files in messages ------------------------------------------------------------------------------------------------

FILED = [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]


def test_a_message_with_a_file_goes_to_the_account_that_has_it(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").replies(b'{"id":"file_1","type":"file"}')
    client.saw(200)
    for session in "abc":
        filed = message(messages=FILED)
        client.posts(filed, b"x-session-id: " + session.encode())
        scene.asked().by("primary").replies()
        client.saw(200)


def test_while_the_account_that_has_a_file_is_limited_the_file_is_not_said_to_be_gone(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").replies(b'{"id":"file_1","type":"file"}')
    client.saw(200)
    client.posts(message(messages=FILED))
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + HOUR))
    for name in ("account-1", "account-2"):
        scene.asked().by(name).says(NOT_FOUND)
    assert client.saw(429)[b"retry-after"] == b"3600"
    client.posts(message(messages=FILED))
    for _ in ("account-1", "account-2"):
        scene.asked().says(NOT_FOUND)
    assert client.saw(429)[b"retry-after"] == b"3600"


@pytest.mark.parametrize("identity", ["file_1", "drive_doc_9"])
def test_what_a_tool_calls_a_file_id_keeps_no_message_from_another_account(scene: Pooled, identity: str) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").replies(b'{"id":"file_1","type":"file"}')
    client.saw(200)
    used = {"type": "tool_use", "id": "t", "name": "drive", "input": {"file_id": identity}}
    client.posts(message(messages=[{"role": "assistant", "content": [used]}]))
    first = scene.asked()
    first.says(LIMITED)
    second = scene.asked()
    assert second.token != first.token
    second.replies()
    client.saw(200)


def test_nobody_learns_from_a_message_who_has_a_file(scene: Pooled) -> None:
    client = scene.client().posts(message(messages=FILED))
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies()
    client.saw(200)
    assert scene.shell.gateway._roster.holder("file_1") is None


def test_a_message_with_a_file_that_nobody_is_known_to_have_is_asked_around_on_a_404(scene: Pooled) -> None:
    """As after a restart."""
    client = scene.client().posts(message(messages=FILED))
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies()
    client.saw(200)
    for _ in range(3):
        assert answered_by(scene, with_body(messages=FILED)) == "account-1"
    assert all(scene.account(name).healthy for name in scene.names)


def test_a_404_for_a_message_without_a_file_is_not_asked_around(scene: Pooled) -> None:
    client = scene.client().posts(message(model="claude-unknown"))
    scene.asked().says(NOT_FOUND, body=b'{"verbatim":1}')
    client.saw(404, b'{"verbatim":1}')
    assert scene.asked_nobody()


def test_a_file_that_nobody_has_is_a_404(scene: Pooled) -> None:
    client = scene.client().posts(message(messages=FILED))
    for name in scene.names:
        scene.asked().by(name).says(NOT_FOUND)
    client.saw(404)
