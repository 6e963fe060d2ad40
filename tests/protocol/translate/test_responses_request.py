from typing import Any

import pytest

from protocol.translate.call import ClientTool, Dialect, ToolKind
from protocol.translate.reasoning import encode_reasoning
from tests.support.openai_requests import (
    DROPPING,
    HAIKU,
    OPUS,
    SONNET,
    STRICT,
    WEATHER,
    body_of,
    refused,
    responses,
    responses_body,
)

FUNCTION = {"type": "function", "name": "weather", "description": "Now.", "parameters": WEATHER, "strict": True}
THINKING = {"type": "thinking", "thinking": "Look first.", "signature": "EpcB+/=="}


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def called(call_id: str, name: str = "weather", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments} | fields


def output(call_id: str, value: Any = "sunny") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def test_a_string_is_one_user_message() -> None:
    translated = responses()
    assert body_of(translated) == {
        "model": SONNET,
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert translated.dialect is Dialect.RESPONSES


def test_instructions_come_before_leading_developer_messages() -> None:
    body = responses_body(said("developer", "Two."), said("system", "Three."), said("user", "Hi"), instructions="One.")
    assert [block["text"] for block in body["system"]] == ["One.", "Two.", "Three."]


def test_a_message_needs_no_type_and_may_be_a_string() -> None:
    body = responses_body(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, said("user", "Go.")
    )
    assert [message["content"] for message in body["messages"]] == ["Hi", "Yes?", [{"type": "text", "text": "Go."}]]


def test_calls_and_outputs_become_a_tool_turn() -> None:
    body = responses_body(
        said("user", "Hi"),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
        called("c1", arguments='{"city":"Oslo"}'),
        called("c2"),
        output(
            "c2", [{"type": "input_text", "text": "wet"}, {"type": "input_image", "image_url": "https://e.org/a.png"}]
        ),
        output("c1"),
        said("user", "And?"),
        tools=[FUNCTION],
    )
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "wet"}, image]},
        {"type": "text", "text": "And?"},
    ]


def test_custom_calls_are_remembered_as_one_text() -> None:
    made = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"}
    answered = {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"}
    translated = responses(said("user", "Hi"), made, answered, tools=[{"type": "custom", "name": "patch"}])
    assert body_of(translated)["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert translated.notes.tools == {"patch": ClientTool(ToolKind.CUSTOM, "patch")}


def test_namespaces_are_flattened_and_can_be_undone() -> None:
    grouped = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [FUNCTION]}
    translated = responses(
        said("user", "Hi"),
        called("c1", namespace="crm"),
        output("c1"),
        tools=[FUNCTION, grouped],
        tool_choice={"type": "function", "name": "weather", "namespace": "crm"},
    )
    body = body_of(translated)
    assert [(tool["name"], tool["description"]) for tool in body["tools"]] == [
        ("weather", "Now."),
        ("crm__weather", "Customers.\n\nNow."),
    ]
    assert body["messages"][1]["content"][0]["name"] == "crm__weather"
    assert body["tool_choice"] == {"type": "tool", "name": "crm__weather"}
    assert translated.notes.tools == {"crm__weather": ClientTool(ToolKind.FUNCTION, "weather", "crm")}


def test_tools_that_run_elsewhere_are_passed_over_and_reported() -> None:
    grouped = {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "mcp"}, FUNCTION]}
    tools = [{"type": "web_search", "external_web_access": True}, {"type": "local_shell"}, grouped]
    translated = responses(tools=tools, tool_choice="auto")
    assert [tool["name"] for tool in body_of(translated)["tools"]] == ["n__weather"]
    assert translated.notes.omitted == ("tools.0", "tools.1", "tools.2.tools.0")


def test_only_foreign_tools_are_no_tools() -> None:
    assert not {"tools", "tool_choice"} & responses_body(tools=[{"type": "web_search"}], tool_choice="auto").keys()


def test_the_nested_form_of_a_function_is_understood_too() -> None:
    body = responses_body(tools=[{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}])
    assert body["tools"] == [{"name": "weather", "input_schema": WEATHER}]


def test_reasoning_items_give_thinking_back_whole() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encode_reasoning(THINKING)}
    body = responses_body(said("user", "Hi"), item, called("c1"), output("c1"))
    assert body["messages"][1]["content"][0] == THINKING


@pytest.mark.parametrize("encrypted", [None, "gAAAAABothers"])
def test_reasoning_without_our_own_signature_is_left_out_whole(encrypted: str | None) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    translated = responses(said("user", "Hi"), item | {"encrypted_content": encrypted}, said("user", "Go."))
    assert b"Hm." not in translated.body
    assert translated.notes.omitted == ("input.1",)


def test_damaged_reasoning_is_refused() -> None:
    damaged = {"type": "reasoning", "id": "rs_1", "encrypted_content": encode_reasoning(THINKING)[:-6]}
    assert refused(responses, said("user", "Hi"), damaged).param == "input.1.encrypted_content"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input.0"),
        ({"id": "msg_1"}, "input.0"),
        ({"type": "computer_call", "call_id": "c"}, "input.0"),
        ({"role": "robot", "content": "x"}, "input.0.role"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input.0.call_id"),
        (called("c1", arguments="{"), "input.0.arguments"),
        (output("c1", {"a": 1}), "input.0.output"),
        ("x", "input.0"),
    ],
)
def test_an_item_that_cannot_be_carried_is_refused_by_its_place(item: Any, param: str) -> None:
    error = refused(responses, item)
    assert (error.status, error.param) == (400, param)


def test_the_drop_setting_leaves_out_foreign_items_but_no_reference() -> None:
    translated = responses(said("user", "Hi"), {"type": "web_search_call", "id": "ws"}, options=DROPPING)
    assert translated.notes.omitted == ("input.1",)
    assert refused(responses, {"type": "item_reference", "id": "x"}, options=DROPPING).param == "input.0"


@pytest.mark.parametrize("said_nothing", [None, "", " ", []])
def test_input_must_say_something(said_nothing: Any) -> None:
    assert refused(responses, input=said_nothing).param == "input"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
@pytest.mark.parametrize("dropping", [False, True])
def test_what_would_need_stored_state_is_refused_even_when_dropping(
    parameters: dict[str, Any], param: str, dropping: bool
) -> None:
    error = refused(responses, options=DROPPING if dropping else STRICT, **parameters)
    assert (error.status, error.param, error.code) == (400, param, "unsupported_parameter")


def test_log_probabilities_are_refused_and_foreign_inclusions_ignored() -> None:
    assert refused(responses, include=["message.output_text.logprobs"]).param == "include"
    translated = responses(include=["file_search_call.results", "message.output_text.logprobs"], options=DROPPING)
    assert not translated.notes.encrypted_reasoning
    assert translated.notes.omitted == ("include",)


def test_the_response_side_learns_how_reasoning_is_wanted() -> None:
    wanted = responses(reasoning={"effort": "high", "summary": "auto"}, include=["reasoning.encrypted_content"]).notes
    assert (wanted.reasoning_summary, wanted.encrypted_reasoning) == (True, True)
    assert responses(reasoning={"effort": "high", "generate_summary": "concise"}).notes.reasoning_summary
    assert not responses(reasoning={"effort": "high"}).notes.reasoning_summary


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking"),
    [
        (SONNET, {"effort": "high"}, {"type": "adaptive"}),
        (OPUS, {"effort": "low", "summary": "auto"}, {"type": "adaptive", "display": "summarized"}),
        (OPUS, {"effort": "low"}, {"type": "adaptive"}),
        (OPUS, {"effort": "none"}, None),
        (OPUS, {"summary": "auto"}, None),
        (HAIKU, {"effort": "low"}, {"type": "enabled", "budget_tokens": 2048}),
    ],
)
def test_reasoning_becomes_thinking(model: str, reasoning: dict[str, Any], thinking: Any) -> None:
    assert responses_body(model=model, reasoning=reasoning).get("thinking") == thinking


def test_text_format_is_structured_output_and_verbosity_a_hint() -> None:
    form = {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True, "description": "Where."}
    translated = responses(text={"format": form, "verbosity": "low"})
    schema = WEATHER | {"additionalProperties": False, "description": "Where."}
    assert body_of(translated)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert translated.notes.omitted == ("text.verbosity",)


def test_the_response_repeats_the_request_with_every_field_present() -> None:
    tools = [FUNCTION, {"type": "web_search"}]
    echo = responses(
        instructions="Be brief.",
        tools=tools,
        metadata={"a": "b"},
        temperature=0.5,
        max_output_tokens=99,
        reasoning={"effort": "low"},
        text={"verbosity": "medium"},
        store=True,
        parallel_tool_calls=False,
    ).notes.echo
    assert echo == {
        "background": False,
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": "low", "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": tools,
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


def test_shared_parameters_work_as_in_chat() -> None:
    body = responses_body(
        max_output_tokens=99, temperature=0.7, parallel_tool_calls=False, tools=[FUNCTION], user="u", stream=True
    )
    assert body["max_tokens"] == 99
    assert body["temperature"] == 0.7
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["metadata"] == {"user_id": "u"}
    assert body["stream"] is True
