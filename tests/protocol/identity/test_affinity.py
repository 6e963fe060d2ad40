import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalError
from protocol.identity.affinity import DIGEST_BYTES, AffinityMap, Hints, file_in, read_hints
from protocol.values import Headers


def encoded(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def key(headers: Headers | None = None, **fields: Any) -> bytes | None:
    return read_hints(headers or [], encoded(**fields)).affinity


def of_session(session: str) -> bytes | None:
    return read_hints([(b"x-session-id", session.encode())], None).affinity


# --- what stands for a conversation


@pytest.mark.parametrize(
    "name",
    [b"x-claude-code-session-id", b"x-codex-session-id", b"x-session-id", b"session-id", b"x-session-affinity",
     b"thread-id"],
)  # fmt: skip
def test_a_session_header_stands_for_the_conversation(name: bytes) -> None:
    found = read_hints([(name, b"s-1")], encoded(messages=[{"role": "user", "content": "hi"}])).affinity
    assert found == of_session("s-1") != of_session("s-2")


def test_the_first_header_that_says_something_wins() -> None:
    assert key([(b"session-id", b"b"), (b"x-session-id", b"a"), (b"x-codex-session-id", b"  ")]) == of_session("a")


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": '{"device_id":"d","account_uuid":"a","session_id":"sess-12345678"}'}},
        {"metadata": {"user_id": "user_ab12_account__session_sess-12345678"}},
        {"metadata": {"session_id": "sess-12345678"}},
        {"metadata": {"conversation_id": "sess-12345678"}},
        {"session_id": "sess-12345678"},
        {"conversation_id": "sess-12345678"},
        {"prompt_cache_key": "sess-12345678"},
    ],
)
def test_the_same_session_has_the_same_key_wherever_the_body_names_it(fields: dict[str, Any]) -> None:
    assert key(messages=[{"role": "user", "content": "hi"}], **fields) == of_session("sess-12345678")


def test_a_header_wins_over_the_body_and_metadata_over_the_cache_key() -> None:
    assert key([(b"x-session-id", b"h")], prompt_cache_key="p") == of_session("h")
    assert key(metadata={"session_id": "m"}, prompt_cache_key="p") == of_session("m")


def test_a_user_without_a_session_is_no_conversation() -> None:
    messages = [{"role": "user", "content": "hi"}]
    keys = {key(messages=messages, metadata={"user_id": user}) for user in ("alice", "bob", '{"device_id":"d"}')}
    assert len(keys) == 1
    assert None not in keys


@pytest.mark.parametrize("fields", [{"thread": {"previous_message_id": "msg_1"}}, {"previous_message_id": "msg_1"}])
def test_the_message_a_thread_goes_on_from_is_found(fields: dict[str, Any]) -> None:
    hints = read_hints([], encoded(**fields))
    assert hints.previous_message == "msg_1"
    assert hints.affinity is not None


@pytest.mark.parametrize(
    ("fields", "threaded"),
    [
        ({"thread": {"type": "create"}}, True),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, True),
        ({"thread": {}}, False),
        ({"thread": "create"}, False),
        ({}, False),
    ],
)
def test_a_request_for_a_thread_that_the_provider_keeps_is_known(fields: dict[str, Any], threaded: bool) -> None:
    assert read_hints([], encoded(**fields)).threaded == threaded


@pytest.mark.parametrize(
    ("body", "file"),
    [
        (encoded(messages=[{"content": [{"source": {"type": "file", "file_id": "file_1"}}]}]), "file_1"),
        (b'{"file_id"\n:\t"file_1", "file_id": "file_2"}', "file_1"),
        (encoded(text='"file_id": "file_1"'), None),
        (b'{"file_id": 7}', None),
        (b"", None),
    ],
)
def test_the_first_file_of_a_request_is_found_wherever_it_stands(body: bytes, file: str | None) -> None:
    assert file_in(body) == file
    assert read_hints([], body, files=True).file == file
    assert read_hints([], body).file is None


def test_a_key_tells_nothing_of_the_session() -> None:
    found = key([(b"x-session-id", b"a-secret-session")])
    assert found is not None
    assert len(found) == DIGEST_BYTES
    assert b"secret" not in found


# --- the stable prefix


def turn(*extra: dict[str, Any], system: Any = "You are helpful.", first: Any = "hi", tools: Any = ()) -> bytes | None:
    return key(model="m", system=system, tools=list(tools), messages=[{"role": "user", "content": first}, *extra])


def test_a_conversation_keeps_its_key_as_it_grows() -> None:
    assert turn() == turn({"role": "assistant", "content": "hello"}, {"role": "user", "content": "more"})


def test_cache_markers_and_the_billing_line_do_not_count() -> None:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cch=1a2b3;"}
    text = {"type": "text", "text": "You are helpful."}
    plain = turn(system=[text], first=[{"type": "text", "text": "hi"}])
    marked = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert turn(system=[billing, text], first=[marked]) == plain == turn()


@pytest.mark.parametrize("other", [{"system": "Be terse."}, {"first": "ho"}, {"tools": [{"name": "t"}]}])
def test_another_prefix_is_another_conversation(other: dict[str, Any]) -> None:
    assert turn(**other) != turn()


def test_a_first_message_of_very_many_blocks_is_read_in_part() -> None:
    blocks = [{"type": "text", "text": str(number)} for number in range(1000)]
    assert turn(first=blocks) == turn(first=[*blocks[:-1], {"type": "text", "text": "end"}])
    assert turn(first=blocks) != turn(first=blocks[1:])


def test_openai_s_requests_have_a_prefix_too() -> None:
    system = {"role": "system", "content": "Be brief."}
    chats = [key(messages=[system, {"role": "user", "content": text}]) for text in ("a", "a", "b")]
    assert chats[0] == chats[1] != chats[2]
    assert None not in (key(input="hi"), key(instructions="Be brief.", input=[{"role": "user", "content": "hi"}]))
    assert key(input="hi") != key(input="ho")


def test_images_and_documents_count_by_what_they_are() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    other = {"type": "image", "source": {"type": "base64", "data": "BBBB"}}
    assert turn(first=[image]) == turn(first=[{**image, "cache_control": {}}]) != turn(first=[other])


@pytest.mark.parametrize(
    "body", [None, b"", b"{", b"[]", b"null", b'{"messages":[]}', b"[" * 100_000, b"\xff", b'{"a":']
)
def test_without_a_message_nothing_stands_for_a_conversation(body: bytes | None) -> None:
    assert read_hints([], body) == Hints()


# --- the other hints


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"claude-x","messages":[]}', "claude-x"),
        (b'{"messages":[{"role":"user","content":"\\"model\\":\\"no\\""}],"mod\\u0065l":"yes"}', "yes"),
        (b'{"metadata":{"model":"inner"}}', None),
        (b'{"model":1}', None),
        (b'{"model":""}', None),
        (b'{"model":"\xff","messages":[]}', None),
        (b'{"model":"' + b"x" * 1000 + b'"}', None),
    ],
)
def test_the_model_is_the_top_level_field(body: bytes, model: str | None) -> None:
    assert read_hints([], body).model == model


def test_a_file_is_found_by_its_field_and_only_when_asked_for() -> None:
    source = {"type": "file", "file_id": "file_011C"}
    body = encoded(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}])
    assert read_hints([], body, files=True).file == "file_011C"
    assert read_hints([], body).file is None
    quoted = encoded(messages=[{"role": "user", "content": '{"file_id": "file_011C"}'}])
    assert read_hints([], quoted, files=True).file is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "content", "text", "user_id", "session_id", "previous_message_id", "type"]) | st.text(max_size=4),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TOP = st.dictionaries(
    st.sampled_from(["model", "messages", "input", "system", "tools", "metadata", "thread", "prompt_cache_key"]), JSON
)


@given(
    st.binary() | TOP.map(lambda value: json.dumps(value).encode()),
    st.lists(st.tuples(st.just(b"thread-id"), st.binary())),
)
def test_any_bytes_have_hints(body: bytes, headers: Headers) -> None:
    hints = read_hints(headers, body, files=True)
    assert hints == read_hints(headers, body, files=True)
    assert hints.affinity is None or len(hints.affinity) == DIGEST_BYTES


# --- the map


def test_a_conversation_is_remembered_until_it_has_been_silent_for_the_ttl() -> None:
    affinity = AffinityMap(ttl=60, capacity=8)
    affinity.remember(b"k", "a", now=0)
    assert affinity.account(b"k", now=59.9) == "a"
    affinity.remember(b"k", "a", now=59)
    assert affinity.account(b"k", now=118) == "a"
    assert affinity.account(b"k", now=119) is None
    assert len(affinity) == 0


def test_a_conversation_that_moved_is_remembered_where_it_went() -> None:
    affinity = AffinityMap(ttl=60, capacity=8)
    affinity.remember(b"k", "a", now=0)
    affinity.remember(b"k", "b", now=1)
    assert affinity.account(b"k", now=2) == "b"


def test_the_least_recently_used_entry_makes_room() -> None:
    affinity = AffinityMap(ttl=60, capacity=2)
    for name in (b"1", b"2", b"1", b"3"):
        affinity.remember(name, "a", now=0)
    assert [affinity.account(name, now=1) for name in (b"1", b"2", b"3")] == ["a", None, "a"]


def test_what_a_request_refers_to_goes_before_its_conversation() -> None:
    affinity = AffinityMap(ttl=60, capacity=8)
    affinity.remember(b"k", "of-conversation", now=0)
    affinity.remember_message("msg_1", "of-message", now=0)
    affinity.remember_resource("file_1", "of-file")
    assert affinity.preferred(Hints(affinity=b"k"), now=1) == "of-conversation"
    assert affinity.preferred(Hints(affinity=b"k", previous_message="msg_1"), now=1) == "of-message"
    assert affinity.preferred(Hints(affinity=b"k", previous_message="msg_2"), now=1) == "of-conversation"
    assert affinity.preferred(Hints(affinity=b"k", previous_message="msg_1", file="file_1"), now=1) == "of-file"
    assert affinity.preferred(Hints(), now=1) is None


def test_files_outlive_conversations_and_make_room_for_each_other() -> None:
    affinity = AffinityMap(ttl=60, capacity=2)
    held_before = affinity.holds_resources
    for name in ("file_1", "batch_2", "file_1", "file_3"):
        affinity.remember_resource(name, "a")
    assert (held_before, affinity.holds_resources) == (False, True)
    assert [affinity.resource(name) for name in ("file_1", "batch_2", "file_3")] == ["a", None, "a"]


def test_a_forgotten_account_is_nobody_s() -> None:
    affinity = AffinityMap(ttl=60, capacity=8)
    for account in ("a", "b"):
        affinity.remember(account.encode(), account, now=0)
        affinity.remember_resource(account, account)
    affinity.forget("a")
    assert (affinity.account(b"a", now=1), affinity.resource("a")) == (None, None)
    assert (affinity.account(b"b", now=1), affinity.resource("b")) == ("b", "b")


def test_a_map_without_room_is_our_mistake() -> None:
    with pytest.raises(LocalError):
        AffinityMap(ttl=60, capacity=0)
