"""A whole completion as a message."""

import json
from typing import Any

import pytest
from anthropic.types import Message

from protocol.translate.onto_openai.chat_response import message_from_completion
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED
from tests.support.chat_streams import call, completion
from tests.support.openai_requests import refused

Json = dict[str, Any]


def asked(**facts: Any) -> CarriedRequest:
    return CarriedRequest(body=b"", requested_model="claude-opus-5-5", upstream_model="served", stream=False, **facts)


def message(answer: Json, **facts: Any) -> Json:
    """The message for a completion; that Anthropic's SDK knows what it is, is checked, too."""
    body = message_from_completion(json.dumps(answer).encode(), asked(**facts), identity="req_1")
    Message.model_validate_json(body, strict=True)
    made: Json = json.loads(body)
    return made


def test_a_plain_answer() -> None:
    assert message(completion(content="Hello")) == {
        "id": "msg_01ABC",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
        },
    }


def test_text_comes_before_calls_and_ids_are_the_servers() -> None:
    calls = [call("weather", '{"city": "Paris"}', "call_1"), call("clock", '{"utc": true}', "call_2")]
    made = message(completion("tool_calls", content="Two calls.", tool_calls=calls))
    assert made["content"] == [
        {"type": "text", "text": "Two calls."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_2", "name": "clock", "input": {"utc": True}},
    ]
    assert made["stop_reason"] == "tool_use"


def test_the_arguments_are_kept_byte_for_byte() -> None:
    text = '{ "n": 1.10, "s": "\\u00e9",\n "big": 12345678901234567890 }'
    body = json.dumps(completion("tool_calls", tool_calls=[call("run", text)])).encode()
    assert text.encode() in message_from_completion(body, asked(), identity="req_1")


@pytest.mark.parametrize("arguments", ["", " ", "\n", "{}", None])
def test_blank_arguments_mean_none(arguments: str | None) -> None:
    made = call("run") | {"function": {"name": "run", "arguments": arguments}}
    assert message(completion("tool_calls", tool_calls=[made]))["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["{", '{"a": 1}{"a": 1}', "null", "[1]", "run(1)", "[" * 2000])
def test_arguments_that_are_no_object_are_no_answer(arguments: str) -> None:
    body = json.dumps(completion("tool_calls", tool_calls=[call("run", arguments)])).encode()
    error = refused(message_from_completion, body, asked(), identity="req_1")
    assert (error.status, error.kind) == (502, "api_error")
    assert "run" in error.message


def test_a_call_that_was_cut_off_is_left_out_and_the_answer_says_that_it_was_cut() -> None:
    calls = [call("run", '{"a": 1}'), call("run", '{"a": "unfin', "call_2")]
    made = message(completion("length", content="See.", tool_calls=calls))
    assert [block["type"] for block in made["content"]] == ["text", "tool_use"]
    assert made["stop_reason"] == "max_tokens"


def test_a_call_without_a_name_is_no_answer() -> None:
    for made in ({"id": "call_1", "type": "function"}, {"id": "call_1", "function": {"name": "", "arguments": "{}"}}):
        body = json.dumps(completion("tool_calls", tool_calls=[made])).encode()
        assert refused(message_from_completion, body, asked(), identity="req_1").status == 502


def test_calls_without_ids_get_some_that_differ_and_odd_ids_a_valid_spelling() -> None:
    calls = [call("a", call_id=""), call("b", call_id="functions.b:0"), call("c") | {"id": None}]
    ids = [block["id"] for block in message(completion("tool_calls", tool_calls=calls))["content"]]
    assert ids == ["call_01ABC_0", "id_ZnVuY3Rpb25zLmI6MA", "call_01ABC_2"]


def test_a_shortened_tool_name_is_the_clients_again() -> None:
    made = message(completion("tool_calls", tool_calls=[call("short")]), tools={"short": "a_much_longer_name"})
    assert made["content"][0]["name"] == "a_much_longer_name"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_the_model_thought_is_shown_first_to_those_who_asked_for_it(field: str) -> None:
    answer = completion(content="Four.", **{field: "Two and two."})
    assert message(answer, shows_thinking=True)["content"] == [
        {"type": "thinking", "thinking": "Two and two.", "signature": UNSIGNED},
        {"type": "text", "text": "Four."},
    ]
    assert [block["type"] for block in message(answer)["content"]] == ["text"]


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_blank_text_is_no_block(content: str | None) -> None:
    assert message(completion(content=content))["content"] == []
    calls = [call("run")]
    assert [block["type"] for block in message(completion("stop", content=content, tool_calls=calls))["content"]] == [
        "tool_use"
    ]


def test_a_refusal_is_text_and_never_looks_like_success() -> None:
    made = message(completion("stop", content=None, refusal="I can't help with that."))
    assert made["content"] == [{"type": "text", "text": "I can't help with that."}]
    assert made["stop_reason"] == "refusal"
    assert made["stop_details"] == {"type": "refusal", "category": None, "explanation": "I can't help with that."}


def test_the_model_is_the_one_the_client_asked_for_and_ids_are_made_up_where_there_is_none() -> None:
    for missing in (None, ""):
        made = message(completion(content="a") | {"id": missing})
        assert (made["model"], made["id"]) == ("claude-opus-5-5", "msg_req_1")


def test_only_the_first_choice_counts() -> None:
    answer = completion(content="first")
    answer["choices"].insert(0, {"index": 1, "message": {"content": "second"}, "finish_reason": "length"})
    made = message(answer)
    assert (made["content"][0]["text"], made["stop_reason"]) == ("first", "end_turn")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"index":0}]}',
        b'{"choices":[{"index":1,"message":{"content":"x"}}]}',
        b'{"choices":[{"message":{"content":5}}]}',
        b'{"choices":"x"}',
        b"[" * 3000,
    ],
)
def test_what_is_no_completion_is_the_upstreams_fault(body: bytes) -> None:
    error = refused(message_from_completion, body, asked(), identity="req_1")
    assert (error.status, error.kind) == (502, "api_error")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": {"message": "Busy", "code": "server_is_overloaded"}}, 529, "overloaded_error"),
        ({"error": {"message": "Busy", "code": 429}}, 429, "rate_limit_error"),
        ({"object": "error", "message": "Busy", "code": 400}, 400, "invalid_request_error"),
        ({"error": "Busy"}, 500, "api_error"),
    ],
)
def test_an_error_in_a_body_that_came_with_200_is_an_error(body: Json, status: int, kind: str) -> None:
    error = refused(message_from_completion, json.dumps(body).encode(), asked(), identity="req_1")
    assert (error.status, error.kind, error.message) == (status, kind, "Busy")
