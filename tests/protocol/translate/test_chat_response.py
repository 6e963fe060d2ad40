"""A whole message as a chat completion, field by field, and as the official SDK reads it."""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from protocol.errors import Refusal
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.chat_response import translate_chat_response
from tests.support.anthropic_streams import message, text, thinking, tool_use
from tests.support.openai_sdk import CREATED, MODEL, Upstream, openai_sdk

WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
HELLO: Any = [{"role": "user", "content": "Hi"}]


def asked(**notes: Any) -> TranslatedRequest:
    return TranslatedRequest(
        dialect=Dialect.CHAT,
        body=b"",
        requested_model="gpt-4o",
        upstream_model=MODEL,
        stream=False,
        notes=Notes(**notes),
    )


def completion(answer: dict[str, Any], **notes: Any) -> dict[str, Any]:
    body = translate_chat_response(json.dumps(answer).encode(), asked(**notes), created=CREATED)
    ChatCompletion.model_validate_json(body)
    whole: dict[str, Any] = json.loads(body)
    return whole


def choice(answer: dict[str, Any], **notes: Any) -> dict[str, Any]:
    [only] = completion(answer, **notes)["choices"]
    assert isinstance(only, dict)
    return only


def said(answer: dict[str, Any], **notes: Any) -> dict[str, Any]:
    spoken: dict[str, Any] = choice(answer, **notes)["message"]
    return spoken


def test_a_plain_answer() -> None:
    assert completion(message(text("He"), text("llo"))) == {
        "id": "chatcmpl-01ABC",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "end_turn",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    }


def test_calls_keep_their_ids_and_their_order_and_content_is_null() -> None:
    calls = (tool_use("weather", {"city": "Rome"}, "toolu_1"), tool_use("weather", {"city": "Oslo"}, "toolu_2"))
    answer = choice(message(*calls, stop_reason="tool_use"))
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
            {"id": "toolu_2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        ],
    }


def test_text_beside_calls_is_kept() -> None:
    assert (
        said(message(text("Let me see."), tool_use("weather", {}), stop_reason="tool_use"))["content"] == "Let me see."
    )


def test_an_answer_that_says_nothing_is_an_empty_text() -> None:
    assert said(message())["content"] == ""


def test_arguments_are_the_text_that_the_upstream_wrote() -> None:
    body = json.dumps(message(tool_use("run", {"n": 0}), stop_reason="tool_use"))
    written = body.replace('{"n": 0}', '{"n":1.10, "big":123456789012345678901234567890}')
    answer = json.loads(translate_chat_response(written.encode(), asked(), created=CREATED))
    arguments = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"n":1.10, "big":123456789012345678901234567890}'


def test_thinking_is_shown_and_carried_unchanged() -> None:
    blocks = [
        thinking("First. ", "c2lnMQ=="),
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        thinking("Second.", "c2lnMg==") | {"a_field_of_tomorrow": [1]},
    ]
    answer = said(message(*blocks, text("Done.")))
    assert answer["reasoning_content"] == "First. Second."
    assert answer["thinking_blocks"] == blocks
    assert answer["content"] == "Done."


def test_a_thinking_block_without_its_signature_is_shown_but_never_carried() -> None:
    answer = said(message(thinking("Cut he", ""), stop_reason="max_tokens"))
    assert answer["reasoning_content"] == "Cut he"
    assert "thinking_blocks" not in answer


def test_a_refusal_is_no_answer() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "That could do harm."}
    answer = choice(message(stop_reason="refusal", stop_details=details))
    assert answer["finish_reason"] == "content_filter"
    assert answer["message"] == {"role": "assistant", "content": None, "refusal": "That could do harm."}
    assert answer["stop_details"] == details


@pytest.mark.parametrize("details", [None, {}, {"explanation": None}, {"explanation": 7}, "no", 10**400])
def test_a_refusal_without_an_explanation_still_says_that_it_is_one(details: object) -> None:
    answer = said(message(text("Well, "), stop_reason="refusal", stop_details=details))
    assert (answer["content"], answer["refusal"]) == ("Well, ", "The model declined to answer.")


def test_the_stop_sequence_is_told() -> None:
    answer = choice(message(text("a"), stop_reason="stop_sequence", stop_sequence="END"))
    assert (answer["finish_reason"], answer["stop_sequence"]) == ("stop", "END")


@pytest.mark.parametrize("reason", ["pause_turn", "a_reason_of_tomorrow"])
def test_an_unfinished_turn_is_told_apart(reason: str) -> None:
    answer = choice(message(text("a"), stop_reason=reason))
    assert (answer["finish_reason"], answer["native_finish_reason"]) == ("length", reason)


def test_blocks_of_the_provider_and_of_the_future_are_passed_over() -> None:
    answer = message(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "hologram", "text": {"depth": 3}, "name": 5},
        text("Found."),
    )
    assert said(answer) == {"role": "assistant", "content": "Found.", "refusal": None}


def test_the_answer_tool_is_undone() -> None:
    answer = choice(message(tool_use("answer", {"ok": True}), stop_reason="tool_use"), answer_tool="answer")
    assert answer["message"] == {"role": "assistant", "content": '{"ok": true}', "refusal": None}
    assert (answer["finish_reason"], answer["native_finish_reason"]) == ("stop", "tool_use")


def test_a_call_beside_the_answer_tool_is_still_to_be_made() -> None:
    answer = message(tool_use("weather", {}), tool_use("answer", {}, "toolu_2"), stop_reason="tool_use")
    assert choice(answer, answer_tool="answer")["finish_reason"] == "tool_calls"


def test_a_legacy_function_is_called_in_the_legacy_form() -> None:
    answer = choice(message(tool_use("weather", {"city": "Rome"}), stop_reason="tool_use"), legacy_functions=True)
    assert answer["finish_reason"] == "function_call"
    assert answer["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert "tool_calls" not in answer["message"]


def test_two_legacy_calls_are_refused_rather_than_one_lost() -> None:
    answer = message(tool_use("a", {}), tool_use("b", {}, "toolu_2"), stop_reason="tool_use")
    with pytest.raises(Refusal, match="only one"):
        completion(answer, legacy_functions=True)


@pytest.mark.parametrize(
    ("tool_input", "shown"),
    [({"input": "*** Begin"}, "*** Begin"), ({"inptu": 1}, '{"inptu": 1}'), ({"input": 5}, '{"input": 5}')],
)
def test_a_custom_tool_is_called_with_its_free_text(tool_input: dict[str, Any], shown: str) -> None:
    tools = {"patch": ClientTool(ToolKind.CUSTOM, "apply_patch")}
    [call] = said(message(tool_use("patch", tool_input), stop_reason="tool_use"), tools=tools)["tool_calls"]
    assert call == {"id": "toolu_1", "type": "custom", "custom": {"name": "apply_patch", "input": shown}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not json",
        b'{"type":"error","error":{"type":"api_error","message":"m"}}',
        b'{"type":"message"}',
        b'{"type":"message","id":"msg_1","content":[7]}',
        b'{"type":"message","id":"msg_1","content":[{"type":"text","text":7}]}',
        b'{"type":"message","id":"msg_1","content":[{"type":"tool_use","input":{"a":"\xff"}}]}',
        b'{"type":"message","id":"msg_1","content":[{"type":"thinking","x":1e999}]}',
        b'{"type":"message","id":"msg_1","content":[{"type":"thinking","x":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
    ],
)
def test_a_body_that_is_no_message_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        translate_chat_response(body, asked(), created=CREATED)
    assert refused.value.status == 502


class Weather(BaseModel):
    city: str
    degrees: float


def test_the_sdk_reads_calls() -> None:
    upstream = Upstream(message(text("Let me see."), tool_use("weather", {"city": "Rome"}), stop_reason="tool_use"))
    with openai_sdk(upstream) as client:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER])
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.total_tokens == 15
    [only] = answer.choices
    assert (only.finish_reason, only.message.content) == ("tool_calls", "Let me see.")
    assert only.message.tool_calls is not None
    assert only.message.tool_calls[0].id == "toolu_1"


def test_the_sdk_parses_structured_output() -> None:
    upstream = Upstream(message(text('{"city": "Rome", "degrees": 21.5}')))
    with openai_sdk(upstream) as client:
        answer = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Rome", degrees=21.5)


@pytest.mark.parametrize(
    ("reason", "raised"),
    [("max_tokens", openai.LengthFinishReasonError), ("refusal", openai.ContentFilterFinishReasonError)],
)
def test_the_sdk_does_not_parse_what_is_not_whole(reason: str, raised: type[Exception]) -> None:
    with openai_sdk(Upstream(message(text('{"city'), stop_reason=reason))) as client, pytest.raises(raised):
        client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Weather)
