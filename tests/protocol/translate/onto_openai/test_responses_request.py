"""A Messages request for a server of the Responses API, where it differs from one for Chat Completions."""

import json
from typing import Any

import pytest

from protocol.translate.onto_openai.parameters import ONTO_RESPONSES
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.servers import ResponsesServer
from protocol.translate.onto_openai.thinking import UNSIGNED, EncryptedReasoning
from protocol.translate.parameters import Handling
from tests.support.messages_requests import (
    HI,
    MODEL,
    SERVED,
    WEATHER,
    ask_responses,
    assistant,
    image,
    responses_request,
    result,
    text,
    use,
    user,
)
from tests.support.openai_requests import refused

REASONING = ResponsesServer(efforts=("low", "high"), summaries=True, encrypted_reasoning=True)
PDF = {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "J"}}


def items(*messages: Any, **options: Any) -> Any:
    return responses_request(*messages, **options)["input"]


def test_a_plain_question() -> None:
    assert responses_request(system="Be kind.") == {
        "model": SERVED,
        "instructions": "Be kind.",
        "input": [{"role": "user", "content": "Hi"}],
        "max_output_tokens": 1000,
        "store": False,
    }
    call = ask_responses(stream=True)
    assert (call.requested_model, call.upstream_model, call.stream) == (MODEL, SERVED, True)
    assert json.loads(call.body)["stream"] is True


def test_the_nonce_in_the_system_prompt_is_removed_here_too() -> None:
    nonce = text("x-anthropic-billing-header: cch=5f1ab;")
    assert responses_request(system=[nonce, text("Be kind.")])["instructions"] == "Be kind."
    assert "instructions" not in responses_request(system=[nonce])


def test_a_turn_with_calls_keeps_the_order_of_its_blocks() -> None:
    turns = items(
        HI,
        assistant(text("First"), text(" this."), use("toolu_1", input={"a": 1}), text("Then."), use("toolu_2")),
        user(text("And?"), result("toolu_2", "b"), result("toolu_1", "a", is_error=True)),
    )
    assert turns[1:] == [
        {"role": "assistant", "content": "First this."},
        {"type": "function_call", "call_id": "toolu_1", "name": "weather", "arguments": '{"a":1}'},
        {"role": "assistant", "content": "Then."},
        {"type": "function_call", "call_id": "toolu_2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "The tool call failed:\n\na"},
        {"type": "function_call_output", "call_id": "toolu_2", "output": "b"},
        {"role": "user", "content": "And?"},
    ]


def test_pictures_and_files_are_parts_and_stay_in_their_result() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    file = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,J"}
    assert items(user(text("See:"), image(), PDF))[0]["content"] == [
        {"type": "input_text", "text": "See:"},
        picture,
        file,
    ]
    results = (result("toolu_1", [image(), text("x")]), result("toolu_2", [PDF]))
    turns = items(HI, assistant(use("toolu_1"), use("toolu_2")), user(*results))
    assert [turn["output"] for turn in turns[3:]] == [[{"type": "input_text", "text": "x"}, picture], [file]]


def test_instructions_in_the_middle_stay_there() -> None:
    assert items(HI, {"role": "system", "content": "Use metres."})[1] == {"role": "developer", "content": "Use metres."}


def test_a_tool_is_strict_only_if_it_says_so() -> None:
    plain, strict = responses_request(tools=[WEATHER, WEATHER | {"name": "b", "strict": True}])["tools"]
    schema = {"type": "object", "properties": {}}
    expected = {"type": "function", "name": "weather", "description": "Now.", "parameters": schema, "strict": False}
    assert plain == expected
    assert strict["strict"] is True


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "name": "weather"}),
    ],
)
def test_a_choice_is_mapped(choice: Any, expected: Any) -> None:
    body = responses_request(tools=[WEATHER], tool_choice=choice | {"disable_parallel_tool_use": True})
    assert body["tool_choice"] == expected
    assert body.get("parallel_tool_calls") is (None if expected == "none" else False)


def test_the_token_limit_is_at_least_the_apis_and_at_most_the_servers() -> None:
    assert responses_request(max_tokens=1)["max_output_tokens"] == 16
    assert responses_request(max_tokens=99_000, server=ResponsesServer(output_tokens=500))["max_output_tokens"] == 500


def test_sampling_and_user_are_carried() -> None:
    body = responses_request(temperature=0.5, top_p=0.9, metadata={"user_id": "user-1"})
    assert (body["temperature"], body["top_p"], body["user"]) == (0.5, 0.9, "user-1")


def test_a_format_becomes_that_of_the_text() -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    asked = responses_request(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert asked["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}


def test_thinking_is_asked_for_as_the_server_takes_it() -> None:
    thinking = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}
    asked = responses_request(server=REASONING, **thinking)
    assert asked["reasoning"] == {"effort": "high", "summary": "auto"}
    assert asked["include"] == ["reasoning.encrypted_content"]
    plain = responses_request(**thinking)
    assert "reasoning" not in plain
    assert "include" not in plain
    assert "summary" not in responses_request(server=REASONING, output_config={"effort": "low"})["reasoning"]


def test_encrypted_reasoning_goes_back_to_a_server_that_gives_it() -> None:
    signature = EncryptedReasoning("rs_1", "gAAAA+/=").signature
    blocks = (
        {"type": "thinking", "thinking": "Hm.", "signature": signature},
        {"type": "thinking", "thinking": "", "signature": signature},
        use("toolu_1"),
    )
    turns = (HI, assistant(*blocks), user(result("toolu_1")))
    encrypted = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA+/="}
    assert items(*turns, server=REASONING)[1:3] == [
        encrypted | {"summary": [{"type": "summary_text", "text": "Hm."}]},
        encrypted | {"summary": []},
    ]
    assert ask_responses(*turns).omitted == ("thinking_blocks",)


@pytest.mark.parametrize(
    "signature",
    [UNSIGNED, "EqQBCkYIBxgC", "openai-reasoning.v1.", "openai-reasoning.v1.!", "openai-reasoning.v1.e30=", 7],
)
def test_other_thinking_is_left_out_whole(signature: Any) -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": signature}
    call = ask_responses(HI, assistant(block, text("a")), HI, server=REASONING)
    assert json.loads(call.body)["input"][1] == {"role": "assistant", "content": "a"}
    assert call.omitted == ("thinking_blocks",)


def test_what_the_api_has_no_place_for_is_refused_by_name() -> None:
    for name, parameter in ONTO_RESPONSES.items():
        fields: Any = {name: ["x"]}
        if parameter.handling is Handling.REFUSED:
            assert refused(ask_responses, **fields).param == name
            assert ask_responses(**fields, drop=True).omitted == (name,)
    assert ask_responses(stop_sequences=[]).omitted == ()


def test_a_request_that_is_nested_too_deeply_is_refused() -> None:
    body = b'{"model":"m","max_tokens":9,"messages":[' + b'{"content":' * 2000
    assert refused(carry_onto_responses, body, resolve=lambda model: model, server=REASONING).status == 400
