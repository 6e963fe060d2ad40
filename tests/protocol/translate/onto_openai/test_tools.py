"""Tools and the choice among them."""

import json
from typing import Any

import pytest

from protocol.translate.onto_openai.tools import LONGEST_NAME, short_name
from tests.support.messages_requests import HI, WEATHER, ask, chat_request
from tests.support.openai_requests import refused

FUNCTION = {
    "type": "function",
    "function": {"name": "weather", "description": "Now.", "parameters": {"type": "object", "properties": {}}},
}


def test_a_tool_becomes_a_function() -> None:
    assert chat_request(tools=[WEATHER])["tools"] == [FUNCTION]
    assert chat_request(tools=[WEATHER | {"type": "custom"}])["tools"] == [FUNCTION]
    strict = chat_request(tools=[WEATHER | {"strict": True, "description": None}])["tools"][0]["function"]
    assert strict == {"name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": True}


def test_the_schema_is_kept_as_it_is() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"a": {"type": "number", "maximum": 9007199254740993}}}
    assert chat_request(tools=[WEATHER | {"input_schema": schema}])["tools"][0]["function"]["parameters"] == schema


@pytest.mark.parametrize(
    "kind", ["web_search_20260318", "bash_20250124", "text_editor_20250728", "code_execution_20260521", "mcp_toolset"]
)
def test_a_tool_that_only_anthropic_knows_is_refused_by_name_or_dropped(kind: str) -> None:
    tool = {"type": kind, "name": "x"}
    error = refused(ask, tools=[WEATHER, tool])
    assert (error.status, error.param) == (400, "tools.1.type")
    assert kind in error.message
    dropped = ask(tools=[WEATHER, tool], drop=True)
    assert dropped.omitted == ("tools.1.type",)
    assert json.loads(dropped.body)["tools"] == [FUNCTION]


def test_a_tool_that_only_a_program_may_call_is_refused() -> None:
    assert refused(ask, tools=[WEATHER | {"allowed_callers": ["code_execution_20260521"]}]).param == (
        "tools.0.allowed_callers"
    )


@pytest.mark.parametrize(
    ("tool", "place"),
    [
        ({"input_schema": {}}, "tools.0.name"),
        ({"name": "a"}, "tools.0.input_schema"),
        ({"name": "a", "input_schema": []}, "tools.0.input_schema"),
        ("a", "tools.0"),
    ],
)
def test_a_malformed_tool_is_refused_at_its_fault(tool: Any, place: str) -> None:
    assert refused(ask, tools=[tool]).param == place


def test_a_long_name_is_shortened_everywhere_and_known_to_the_answer() -> None:
    name = "mcp__" + "long" * 30
    short = short_name(name)
    call = ask(
        HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
        tools=[WEATHER | {"name": name}, WEATHER],
        tool_choice={"type": "tool", "name": name},
    )
    body = json.loads(call.body)
    assert len(short) == LONGEST_NAME
    assert body["tools"][0]["function"]["name"] == short
    assert body["tool_choice"]["function"]["name"] == short
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == short
    assert call.tools == {short: name}
    assert short_name(name) != short_name(name + "x")


@pytest.mark.parametrize(("choice", "expected"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_a_choice_is_mapped(choice: str, expected: str) -> None:
    body = chat_request(tools=[WEATHER], tool_choice={"type": choice})
    assert body["tool_choice"] == expected
    assert "parallel_tool_calls" not in body


def test_one_tool_can_be_chosen() -> None:
    body = chat_request(tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"})
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_parallel_calls_can_be_forbidden() -> None:
    for kind in ("auto", "any"):
        choice = {"type": kind, "disable_parallel_tool_use": True}
        assert chat_request(tools=[WEATHER], tool_choice=choice)["parallel_tool_calls"] is False
    allowed = {"type": "auto", "disable_parallel_tool_use": False}
    assert "parallel_tool_calls" not in chat_request(tools=[WEATHER], tool_choice=allowed)


def test_a_choice_without_tools_is_no_choice() -> None:
    assert "tool_choice" not in chat_request(tool_choice={"type": "auto"})


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "web_search"}])
def test_a_call_that_is_required_needs_a_tool(choice: dict[str, str]) -> None:
    assert refused(ask, tool_choice=choice).param == "tool_choice"
    search = {"type": "web_search_20260318", "name": "web_search"}
    assert refused(ask, tools=[search], tool_choice=choice, drop=True).param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ("auto", "tool_choice"),
        ({}, "tool_choice.type"),
        ({"type": "some"}, "tool_choice.type"),
        ({"type": "tool"}, "tool_choice.name"),
    ],
)
def test_a_malformed_choice_is_refused(choice: Any, place: str) -> None:
    assert refused(ask, tools=[WEATHER], tool_choice=choice).param == place
