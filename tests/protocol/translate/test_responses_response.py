"""A whole message as a response object, field by field, and as the official SDK reads it."""

import json
from typing import Any

import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from protocol.errors import Refusal
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.reasoning import decode_reasoning
from protocol.translate.responses_response import translate_responses_response
from tests.support.anthropic_streams import message, text, thinking, tool_use
from tests.support.openai_sdk import CREATED, MODEL, Upstream, openai_sdk

Json = dict[str, Any]
ECHO: Json = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {"a": "b"}}
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


def response(answer: Json, **notes: Any) -> Json:
    request = TranslatedRequest(
        dialect=Dialect.RESPONSES,
        body=b"",
        requested_model="gpt-4o",
        upstream_model=MODEL,
        stream=False,
        notes=Notes(echo=ECHO, **notes),
    )
    body = translate_responses_response(json.dumps(answer).encode(), request, created=CREATED)
    Response.model_validate_json(body)
    whole: Json = json.loads(body)
    return whole


def output(answer: Json, **notes: Any) -> list[Json]:
    items: list[Json] = response(answer, **notes)["output"]
    return items


def test_a_plain_answer() -> None:
    assert response(message(text("He"), text("llo"))) == {
        "id": "resp_01ABC",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-4o",
        "output": [
            {
                "id": "msg_01ABC_0",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            }
        ],
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        },
        "native_finish_reason": "end_turn",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {"a": "b"},
    }


def test_items_stand_in_the_order_of_their_blocks() -> None:
    answer = message(
        thinking("Hm."), text("See."), tool_use("weather", {"city": "Rome"}), text("Then."), stop_reason="tool_use"
    )
    assert [item["type"] for item in output(answer)] == ["reasoning", "message", "function_call", "message"]
    assert [item["id"] for item in output(answer)] == ["rs_01ABC_0", "msg_01ABC_1", "fc_01ABC_2", "msg_01ABC_3"]


def test_a_call_carries_the_upstreams_id_and_its_arguments_as_text() -> None:
    [call] = output(message(tool_use("weather", {"city": "Rome"}), stop_reason="tool_use"))
    assert call == {
        "id": "fc_01ABC_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "toolu_1",
        "name": "weather",
        "arguments": '{"city": "Rome"}',
    }


def test_a_namespaced_tool_is_called_by_its_own_name_in_its_namespace() -> None:
    tools = {"github__search": ClientTool(ToolKind.FUNCTION, "search", "github")}
    [call] = output(message(tool_use("github__search", {}), stop_reason="tool_use"), tools=tools)
    assert (call["name"], call["namespace"]) == ("search", "github")


def test_a_custom_tool_is_called_with_its_free_text() -> None:
    tools = {"patch": ClientTool(ToolKind.CUSTOM, "apply_patch")}
    [call] = output(message(tool_use("patch", {"input": "*** Begin"}), stop_reason="tool_use"), tools=tools)
    assert call == {
        "id": "ctc_01ABC_0",
        "type": "custom_tool_call",
        "status": "completed",
        "call_id": "toolu_1",
        "name": "apply_patch",
        "input": "*** Begin",
    }


def test_thinking_is_a_summary_where_one_was_asked_for_and_reasoning_text_elsewhere() -> None:
    answer = message(thinking("Hm."))
    assert output(answer, reasoning_summary=True) == [
        {"id": "rs_01ABC_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    ]
    assert output(answer) == [
        {
            "id": "rs_01ABC_0",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        }
    ]


@pytest.mark.parametrize("block", [thinking("Hm.") | {"x": 1}, {"type": "redacted_thinking", "data": "b3BhcXVl"}])
def test_reasoning_that_was_asked_for_can_be_handed_back_unchanged(block: Json) -> None:
    [item] = output(message(block), encrypted_reasoning=True)
    assert decode_reasoning(item["encrypted_content"]) == block


def test_reasoning_that_was_cut_is_never_handed_out_to_be_sent_back() -> None:
    [item] = output(message(thinking("Cut he", ""), stop_reason="max_tokens"), encrypted_reasoning=True)
    assert "encrypted_content" not in item


@pytest.mark.parametrize(
    "reason", ["max_tokens", "model_context_window_exceeded", "pause_turn", "a_reason_of_tomorrow"]
)
def test_an_answer_that_was_cut_short_is_incomplete_and_so_is_its_last_item(reason: str) -> None:
    whole = response(message(tool_use("run", {}), text("And th"), stop_reason=reason))
    assert whole["status"] == "incomplete"
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    assert whole["native_finish_reason"] == reason
    assert [item["status"] for item in whole["output"]] == ["completed", "incomplete"]


def test_a_call_that_was_cut_short_is_incomplete() -> None:
    [call] = output(message(tool_use("run", {}), stop_reason="max_tokens"))
    assert call["status"] == "incomplete"


def test_a_refusal_is_a_part_after_the_text() -> None:
    details = {"type": "refusal", "category": None, "explanation": "That could do harm."}
    whole = response(message(text("Well"), stop_reason="refusal", stop_details=details))
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    [item] = whole["output"]
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]
    assert item["content"][1]["refusal"] == "That could do harm."
    assert whole["stop_details"] == details


def test_a_refusal_without_a_word_is_a_message_of_its_own() -> None:
    *_, item = output(message(thinking("No."), stop_reason="refusal"))
    assert item["content"] == [{"type": "refusal", "refusal": "The model declined to answer."}]


def test_the_answer_tool_is_undone() -> None:
    whole = response(message(tool_use("answer", {"ok": True}), stop_reason="tool_use"), answer_tool="answer")
    assert whole["status"] == "completed"
    assert whole["output"][0]["content"][0]["text"] == '{"ok": true}'


def test_the_stop_sequence_is_told() -> None:
    whole = response(message(text("a"), stop_reason="stop_sequence", stop_sequence="END"))
    assert (whole["status"], whole["stop_sequence"]) == ("completed", "END")


def test_blocks_of_the_provider_are_passed_over_and_end_a_message() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "x"}]}
    texts = [
        item["content"][0]["text"] for item in output(message(text("Let me look."), search, found, text("Found.")))
    ]
    assert texts == ["Let me look.", "Found."]


def test_a_body_that_is_no_message_is_the_upstreams_fault() -> None:
    with pytest.raises(Refusal) as refused:
        response({"type": "error", "error": {"type": "api_error", "message": "m"}})
    assert refused.value.status == 502


class Weather(BaseModel):
    city: str
    degrees: float


def test_the_sdk_reads_text_calls_and_usage() -> None:
    upstream = Upstream(message(text("See."), tool_use("weather", {"city": "Rome"}), stop_reason="tool_use"))
    with openai_sdk(upstream) as client:
        answer = client.responses.create(model=MODEL, input="Hi", tools=[TOOL], instructions="Be brief.")
    assert (answer.status, answer.output_text, answer.instructions) == ("completed", "See.", "Be brief.")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 15
    assert answer.tools[0].type == "function"
    call = answer.output[1]
    assert call.type == "function_call"
    assert (call.call_id, call.arguments) == ("toolu_1", '{"city": "Rome"}')


def test_the_sdk_parses_structured_output() -> None:
    upstream = Upstream(message(text('{"city": "Rome", "degrees": 21.5}')))
    with openai_sdk(upstream) as client:
        answer = client.responses.parse(model=MODEL, input="Hi", text_format=Weather)
    assert answer.output_parsed == Weather(city="Rome", degrees=21.5)
