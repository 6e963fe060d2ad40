from typing import Any

import pytest

from protocol.translate.call import ClientTool, ToolKind
from protocol.translate.tools import ToolKey, upstream_name
from tests.support.openai_requests import DROPPING, WEATHER, WEATHER_TOOL, body_of, chat, chat_body, refused

CLOCK_TOOL = {"type": "function", "function": {"name": "clock"}}
ALLOWED_CLOCK = {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | fields}


def test_a_function_keeps_name_description_and_schema() -> None:
    assert chat_body(tools=[WEATHER_TOOL])["tools"] == [
        {"name": "weather", "description": "Now.", "input_schema": WEATHER}
    ]


@pytest.mark.parametrize("parameters", [None, {}])
def test_a_function_without_parameters_takes_an_empty_object(parameters: Any) -> None:
    declared = chat_body(tools=[tool("clock", parameters=parameters, description="")])["tools"]
    assert declared == [{"name": "clock", "input_schema": {"type": "object", "properties": {}}}]


def test_a_schema_without_type_is_one_of_an_object() -> None:
    declared = chat_body(tools=[tool("clock", parameters={"properties": {"a": {}}})])["tools"]
    assert declared[0]["input_schema"] == {"properties": {"a": {}}, "type": "object"}


def test_numbers_in_a_schema_are_kept_as_written() -> None:
    schema = {"type": "object", "properties": {"a": {"maximum": 12345678901234567890123, "multipleOf": 0.7}}}
    assert b'"maximum":12345678901234567890123,"multipleOf":0.7' in chat(tools=[tool("f", parameters=schema)]).body


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_tools_cache_marker_is_carried(place: str) -> None:
    marker = {"cache_control": {"type": "ephemeral"}}
    offered = tool("clock", **marker) if place == "inside" else CLOCK_TOOL | marker
    assert chat_body(tools=[offered])["tools"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([tool("f", parameters={"type": "array"})], "tools.0.function.parameters.type"),
        ([tool("f", parameters=[])], "tools.0.function.parameters"),
        ([tool("")], "tools.0.function.name"),
        ([CLOCK_TOOL, CLOCK_TOOL], "tools.1.function.name"),
        ([{"type": "function", "function": {}}], "tools.0.function.name"),
        ([{"type": "custom", "custom": {"name": "c", "format": {"type": "xml"}}}], "tools.0.custom.format.type"),
        ("all", "tools"),
    ],
)
def test_a_malformed_tool_is_refused_by_its_place(tools: Any, param: str) -> None:
    error = refused(chat, tools=tools)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "clock"}}, {"type": "tool", "name": "clock"}),
        ({"type": "function", "name": "clock"}, {"type": "tool", "name": "clock"}),
    ],
)
def test_the_choice_is_mapped(choice: Any, expected: Any) -> None:
    assert chat_body(tools=[WEATHER_TOOL, CLOCK_TOOL], tool_choice=choice).get("tool_choice") == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
    ],
)
def test_calls_one_at_a_time_are_part_of_the_choice(choice: Any, expected: Any) -> None:
    assert chat_body(tools=[CLOCK_TOOL], tool_choice=choice, parallel_tool_calls=False)["tool_choice"] == expected


def test_without_tools_there_is_no_choice() -> None:
    assert "tool_choice" not in chat_body(tool_choice="auto", parallel_tool_calls=False)
    assert "tool_choice" not in chat_body(tool_choice="none", tools=[])


@pytest.mark.parametrize("choice", [ALLOWED_CLOCK, {"type": "allowed_tools", **ALLOWED_CLOCK}])
def test_allowed_tools_are_the_only_ones_offered(choice: dict[str, Any]) -> None:
    wrapped = choice if "type" in choice else {"type": "allowed_tools", "allowed_tools": choice}
    body = chat_body(tools=[WEATHER_TOOL, CLOCK_TOOL], tool_choice=wrapped)
    assert [offered["name"] for offered in body["tools"]] == ["clock"]
    assert body["tool_choice"] == {"type": "any"}


def test_allowed_tools_of_other_kinds_are_passed_over() -> None:
    allowed = {"type": "allowed_tools", "tools": [{"type": "web_search"}]}
    assert not {"tools", "tool_choice"} & chat_body(tools=[CLOCK_TOOL], tool_choice=allowed).keys()


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("required", "tool_choice"),
        ("any", "tool_choice"),
        (5, "tool_choice"),
        ({"type": "function", "function": {"name": "missing"}}, "tool_choice.function.name"),
        ({"type": "allowed_tools", "mode": "none", "tools": []}, "tool_choice.mode"),
        ({"type": "web_search"}, "tool_choice.type"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(choice: Any, param: str) -> None:
    assert refused(chat, tool_choice=choice).param == param


def test_the_drop_setting_leaves_out_a_foreign_choice() -> None:
    translated = chat(tools=[CLOCK_TOOL], tool_choice={"type": "web_search"}, options=DROPPING)
    assert "tool_choice" not in body_of(translated)
    assert translated.notes.omitted == ("tool_choice.type",)


def test_a_name_that_the_upstream_would_refuse_is_spelled_anew_and_can_be_undone() -> None:
    translated = chat(tools=[tool("fs.read"), tool("fs_read"), tool("fs/read")])
    names = [offered["name"] for offered in body_of(translated)["tools"]]
    assert names == ["fs_read_2", "fs_read", "fs_read_3"]
    assert translated.notes.tools == {
        "fs_read_2": ClientTool(ToolKind.FUNCTION, "fs.read"),
        "fs_read_3": ClientTool(ToolKind.FUNCTION, "fs/read"),
    }


def test_names_that_are_too_long_stay_distinct() -> None:
    names = [upstream_name(ToolKey("x" * 200 + tail)) for tail in ("a", "b")]
    assert len(set(names)) == 2
    assert {len(name) for name in names} == {128}
