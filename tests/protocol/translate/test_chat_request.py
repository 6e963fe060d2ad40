from typing import Any

import pytest

from protocol.translate.call import ClientTool, Dialect, ToolKind, TranslationOptions
from protocol.translate.output_format import JSON_INSTRUCTION
from tests.support.openai_requests import (
    DROPPING,
    HAIKU,
    OLD_SONNET,
    OPUS,
    SONNET,
    USER,
    WEATHER,
    WEATHER_TOOL,
    body_of,
    call,
    calling,
    chat,
    chat_body,
    refused,
    result,
)


def test_the_shortest_request_needs_only_what_the_upstream_requires() -> None:
    translated = chat()
    assert body_of(translated) == {
        "model": SONNET,
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert (translated.dialect, translated.stream, translated.include_usage) == (Dialect.CHAT, False, False)


def test_the_requested_name_is_kept_beside_the_model_that_answers() -> None:
    translated = chat(model="gpt-4o-mini")
    assert (translated.requested_model, translated.upstream_model) == ("gpt-4o-mini", "claude-haiku-4-5-20251001")
    assert body_of(translated)["model"] == "claude-haiku-4-5-20251001"


def test_an_unknown_model_is_a_404_in_openais_words() -> None:
    error = refused(chat, model="llama-7b")
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
        ({"model": HAIKU}, 64_000),
        ({"model": "claude-opus-4-1-20250805"}, 32_000),
        ({"model": "claude-3-haiku-20240307"}, 4_096),
        ({"model": "claude-something-new"}, 128_000),
    ],
)
def test_the_token_limit_is_the_clients_or_else_the_models(parameters: dict[str, Any], limit: int) -> None:
    assert chat_body(**parameters)["max_tokens"] == limit


@pytest.mark.parametrize("limit", [0, -1, "5", 1.5, True])
def test_a_token_limit_that_is_no_positive_integer_is_refused(limit: Any) -> None:
    assert refused(chat, max_completion_tokens=limit).param == "max_completion_tokens"


@pytest.mark.parametrize(("field", "query", "streams"), [(True, None, True), (None, True, True), (False, True, False)])
def test_the_body_decides_on_streaming_before_the_query(field: bool | None, query: bool, streams: bool) -> None:
    translated = chat(stream=field, options=TranslationOptions(stream=query))
    assert translated.stream is streams
    assert body_of(translated).get("stream", False) is streams


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    assert refused(chat, stream="yes").param == "stream"


def test_include_usage_is_told_to_the_response_side() -> None:
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage
    assert not chat(stream=True, stream_options={"include_obfuscation": False}).include_usage


@pytest.mark.parametrize(("written", "sent"), [(0.7, 0.7), (0, 0), (1, 1), (1.3, 1), (2, 1)])
def test_a_temperature_keeps_its_value_up_to_one(written: float, sent: float) -> None:
    assert chat_body(temperature=written)["temperature"] == sent
    assert f'"temperature":{sent}'.encode() in chat(temperature=written).body


@pytest.mark.parametrize("parameters", [{"temperature": 2.1}, {"temperature": -1}, {"temperature": True}, {"top_p": 2}])
def test_a_sampling_parameter_out_of_range_is_refused(parameters: dict[str, Any]) -> None:
    assert refused(chat, **parameters).param == next(iter(parameters))


def test_of_two_sampling_parameters_newer_models_get_the_temperature() -> None:
    translated = chat(temperature=0.5, top_p=0.9, top_k=40)
    assert {"temperature": 0.5, "top_k": 40}.items() <= body_of(translated).items()
    assert "top_p" not in body_of(translated)
    assert translated.notes.omitted == ("top_p",)
    assert {"temperature": 0.5, "top_p": 0.9}.items() <= chat_body(model=OLD_SONNET, temperature=0.5, top_p=0.9).items()


def test_models_without_sampling_parameters_get_none_and_defaults_are_not_worth_a_note() -> None:
    assert chat(model=OPUS, temperature=0.2, top_p=0.9).notes.omitted == ("temperature", "top_p")
    assert chat(model=OPUS, temperature=1, top_p=1).notes.omitted == ()
    assert not {"temperature", "top_p"} & chat_body(model=OPUS, temperature=0.2, top_p=0.9).keys()


@pytest.mark.parametrize(
    ("stop", "sequences", "omitted"),
    [("END", ["END"], ()), (["a", " ", "b"], ["a", "b"], ("stop",)), ("\n", None, ("stop",)), ([], None, ())],
)
def test_stop_becomes_stop_sequences_without_the_blank_ones(
    stop: Any, sequences: list[str] | None, omitted: tuple[str, ...]
) -> None:
    translated = chat(stop=stop)
    assert body_of(translated).get("stop_sequences") == sequences
    assert translated.notes.omitted == omitted


def test_a_stop_sequence_that_is_no_text_is_refused() -> None:
    assert refused(chat, stop=["a", 5]).param == "stop.1"


@pytest.mark.parametrize(
    ("parameters", "user"),
    [({"user": "u1"}, "u1"), ({"user": "u1", "safety_identifier": "s1"}, "s1")],
)
def test_the_user_becomes_the_metadata_user_id(parameters: dict[str, Any], user: str) -> None:
    assert chat_body(**parameters)["metadata"] == {"user_id": user}


def test_cache_control_of_the_request_is_carried() -> None:
    assert chat_body(cache_control={"type": "ephemeral"})["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_leading_instructions_become_system_blocks_in_order(role: str) -> None:
    body = chat_body({"role": role, "content": "One."}, {"role": "system", "content": "Two."}, USER)
    assert [block["text"] for block in body["system"]] == ["One.", "Two."]
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_message_cache_marker_marks_its_last_block() -> None:
    marker = {"type": "ephemeral"}
    body = chat_body(
        {"role": "system", "content": "Be brief.", "cache_control": marker},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        | {"cache_control": marker},
        calling(call("c1"), content="ok"),
        result("c1") | {"cache_control": marker},
    )
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": marker}]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": marker},
    ]
    assert body["messages"][2]["content"][0]["cache_control"] == marker


def test_thinking_blocks_take_no_cache_marker() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    message = {
        "role": "assistant",
        "content": None,
        "thinking_blocks": [thinking],
        "cache_control": {"type": "ephemeral"},
    }
    assert chat_body(USER, message)["messages"][1]["content"] == [thinking]


def test_a_string_stays_a_string_and_parts_stay_parts() -> None:
    body = chat_body(
        USER, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": [{"type": "text", "text": "Go."}]}
    )
    assert [message["content"] for message in body["messages"]] == ["Hi", "Yes?", [{"type": "text", "text": "Go."}]]


def test_an_earlier_refusal_is_carried_as_text() -> None:
    body = chat_body(USER, {"role": "assistant", "content": None, "refusal": "I can't."}, USER)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "I can't."}]


@pytest.mark.parametrize("arguments", ["", "  ", None])
def test_empty_arguments_mean_an_empty_object(arguments: str | None) -> None:
    made = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    assert chat_body(USER, calling(made), result("c1"))["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["{", "[]", "5", '"x"', '{"a":NaN}'])
def test_arguments_that_are_no_json_object_are_refused_by_name(arguments: str) -> None:
    error = refused(chat, USER, calling(call("c1", arguments=arguments)), result("c1"))
    assert (error.status, error.param) == (400, "messages.1.tool_calls.0.function.arguments")


def test_a_custom_tool_is_offered_and_remembered_as_one_text() -> None:
    made = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": ".+"}}
    translated = chat(
        USER,
        calling(made),
        result("c1"),
        tools=[{"type": "custom", "custom": {"name": "patch", "description": "Edits.", "format": grammar}}],
        tool_choice={"type": "custom", "custom": {"name": "patch"}},
    )
    body = body_of(translated)
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert body["tools"][0]["description"] == "Edits.\n\nThe input must match this regex grammar:\n.+"
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "tool", "name": "patch"}
    assert translated.notes.tools == {"patch": ClientTool(ToolKind.CUSTOM, "patch")}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "robot", "content": "x"}, "messages.0.role"),
        ({"content": "x"}, "messages.0.role"),
        ({"role": "user", "content": 5}, "messages.0.content"),
        ({"role": "user", "content": ["x"]}, "messages.0.content.0"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "mcp"}]}, "messages.0.tool_calls.0.type"),
        ({"role": "assistant", "tool_calls": [{"type": "function"}]}, "messages.0.tool_calls.0.id"),
        ({"role": "assistant", "tool_calls": "all"}, "messages.0.tool_calls"),
        ({"role": "assistant", "audio": {"id": "audio_1"}}, "messages.0.audio"),
        ({"role": "tool", "content": "x"}, "messages.0.tool_call_id"),
        ({"role": "function", "name": "f", "content": "x"}, "messages.0.name"),
        ("hello", "messages.0"),
    ],
)
def test_a_malformed_message_is_refused_by_its_place(message: Any, param: str) -> None:
    error = refused(chat, message)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("messages", [None, "hi", {"role": "user"}, []])
def test_messages_must_be_a_list_with_something_in_it(messages: Any) -> None:
    assert refused(chat, messages=messages).param == "messages"


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'"x"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    from protocol.translate.chat_request import translate_chat_request
    from tests.support.openai_requests import MODELS, STRICT

    error = refused(translate_chat_request, body, models=MODELS, options=STRICT)
    assert (error.status, error.param, error.code) == (400, None, "invalid_json")


def test_signed_thinking_goes_back_before_text_and_calls_byte_for_byte() -> None:
    signed = {"type": "thinking", "thinking": "Both.", "signature": "EqoB+/=="}
    redacted = {"type": "redacted_thinking", "data": "AAA="}
    body = chat_body(
        USER,
        calling(call("c1"), content="Look.", thinking_blocks=[signed, redacted], reasoning_content="Both."),
        result("c1"),
    )
    assert body["messages"][1]["content"][:3] == [signed, redacted, {"type": "text", "text": "Look."}]


def test_unsigned_thinking_is_left_out_whole_and_reported() -> None:
    translated = chat(USER, {"role": "assistant", "content": "Hm.", "reasoning_content": "Long."}, USER)
    assert b"Long." not in translated.body
    assert translated.notes.omitted == ("messages.1.reasoning_content",)


def test_half_a_thinking_block_is_refused() -> None:
    half = {"type": "thinking", "thinking": "Both."}
    error = refused(chat, USER, {"role": "assistant", "content": "x", "thinking_blocks": [half]}, USER)
    assert error.param == "messages.1.thinking_blocks.0"


def test_legacy_functions_are_tools_called_one_at_a_time() -> None:
    translated = chat(functions=[{"name": "weather", "parameters": WEATHER}])
    assert body_of(translated)["tools"] == [{"name": "weather", "input_schema": WEATHER}]
    assert body_of(translated)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert translated.notes.legacy_functions


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", {"type": "none"}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ({"name": "weather"}, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}),
    ],
)
def test_the_legacy_choice_is_mapped(choice: Any, expected: dict[str, Any]) -> None:
    assert chat_body(functions=[{"name": "weather"}], function_call=choice)["tool_choice"] == expected


def test_a_legacy_choice_without_functions_chooses_nothing() -> None:
    assert "tool_choice" not in chat_body(functions=[], function_call="auto")


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"functions": [{"name": "f"}], "tools": [WEATHER_TOOL]}, "functions"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
    ],
)
def test_a_legacy_request_that_contradicts_itself_is_refused(parameters: dict[str, Any], param: str) -> None:
    assert refused(chat, **parameters).param == param


def test_legacy_results_answer_the_calls_of_their_name_in_turn() -> None:
    def calls(name: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": ""}}

    messages = [USER, calls("f"), {"role": "function", "name": "f", "content": "1"}]
    body = chat_body(*messages, calls("f"), {"role": "function", "name": "f", "content": "2"})
    assert refused(chat, USER, calls("f"), {"role": "function", "name": "g", "content": "1"}).param == "messages.2.name"
    first, second = body["messages"][1]["content"][0]["id"], body["messages"][3]["content"][0]["id"]
    assert first != second
    assert [body["messages"][i]["content"][0]["tool_use_id"] for i in (2, 4)] == [first, second]


def test_a_tool_of_an_unknown_type_is_refused_or_dropped() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    assert refused(chat, tools=[tool]).param == "tools.0.type"
    translated = chat(tools=[tool, WEATHER_TOOL], options=DROPPING)
    assert [tool["name"] for tool in body_of(translated)["tools"]] == ["weather"]
    assert translated.notes.omitted == ("tools.0.type",)


@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_reasoning_effort_is_adaptive_thinking_where_the_model_has_it(level: str) -> None:
    body = chat_body(reasoning_effort=level)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": level})


def test_newer_models_are_asked_to_show_their_thinking() -> None:
    assert chat_body(model=OPUS, reasoning_effort="high")["thinking"] == {"type": "adaptive", "display": "summarized"}


def test_reasoning_effort_is_a_budget_on_older_models() -> None:
    assert chat_body(model=HAIKU, reasoning_effort="medium")["thinking"] == {"type": "enabled", "budget_tokens": 8192}


def test_a_tool_turn_without_its_thinking_goes_on_without_thinking_on_models_with_a_budget() -> None:
    turn = (USER, calling(call("c1")), result("c1"))
    assert "thinking" not in chat_body(*turn, model=HAIKU, reasoning_effort="high")
    assert "thinking" in chat_body(*turn, reasoning_effort="high")


def test_the_clients_own_thinking_wins_over_the_effort() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    body = chat_body(model=HAIKU, thinking=thinking, reasoning_effort="high", temperature=0.3)
    assert body["thinking"] == thinking
    assert "temperature" not in body


def test_json_schema_is_native_structured_output() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": WEATHER}}
    assert chat_body(response_format=form)["output_config"] == {
        "format": {"type": "json_schema", "schema": WEATHER | {"additionalProperties": False}}
    }


def test_json_object_is_an_instruction_after_the_clients_own() -> None:
    body = chat_body({"role": "system", "content": "Be brief."}, USER, response_format={"type": "json_object"})
    assert [block["text"] for block in body["system"]] == ["Be brief.", JSON_INSTRUCTION]


def test_unsupported_parameters_are_refused_by_name_or_dropped_by_setting() -> None:
    error = refused(chat, n=2)
    assert (error.status, error.param, error.code) == (400, "n", "unsupported_parameter")
    assert chat(n=2, logprobs=True, options=DROPPING).notes.omitted == ("n", "logprobs")


def test_unknown_parameters_are_refused_by_name_or_dropped_by_setting() -> None:
    error = refused(chat, made_up=0.5)
    assert (error.param, error.code) == ("made_up", "unknown_parameter")
    assert chat(made_up=0.5, options=DROPPING).notes.omitted == ("made_up",)
