from typing import Any

import pytest

from tests.support.openai_requests import (
    DROPPING,
    OLD_SONNET,
    WEATHER,
    WEATHER_TOOL,
    body_of,
    chat,
    chat_body,
    refused,
)

FORMAT = {"type": "json_schema", "json_schema": {"name": "report", "schema": WEATHER}}


def old(**parameters: Any) -> dict[str, Any]:
    return chat_body(model=OLD_SONNET, response_format=FORMAT, **parameters)


def test_text_is_the_default() -> None:
    assert chat_body(response_format={"type": "text"}) == chat_body()


def test_models_without_structured_output_answer_through_a_forced_tool() -> None:
    translated = chat(model=OLD_SONNET, response_format=FORMAT)
    body = body_of(translated)
    assert [(tool["name"], tool["input_schema"]) for tool in body["tools"]] == [("report", WEATHER)]
    assert body["tool_choice"] == {"type": "tool", "name": "report", "disable_parallel_tool_use": True}
    assert translated.notes.answer_tool == "report"


def test_beside_the_clients_tools_the_answer_tool_is_one_of_several() -> None:
    assert old(tools=[WEATHER_TOOL])["tool_choice"] == {"type": "any"}
    assert old(tools=[WEATHER_TOOL], tool_choice="auto", parallel_tool_calls=False)["tool_choice"] == {
        "type": "any",
        "disable_parallel_tool_use": True,
    }
    assert old(tools=[WEATHER_TOOL], tool_choice="none")["tool_choice"]["name"] == "report"


def test_a_client_that_forces_a_tool_of_its_own_gets_no_answer_tool() -> None:
    translated = chat(model=OLD_SONNET, response_format=FORMAT, tools=[WEATHER_TOOL], tool_choice="required")
    assert [tool["name"] for tool in body_of(translated)["tools"]] == ["weather"]
    assert translated.notes.answer_tool is None


def test_the_answer_tool_takes_no_name_of_the_clients() -> None:
    named = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    body = chat_body(model=OLD_SONNET, response_format=named, tools=[WEATHER_TOOL])
    assert [tool["name"] for tool in body["tools"]] == ["weather", "json_answer"]


def test_a_forced_answer_leaves_no_room_for_thinking_with_a_budget() -> None:
    assert "thinking" not in old(reasoning_effort="high")


def test_the_answer_must_be_an_object_where_a_tool_gives_it() -> None:
    listed = {"type": "json_schema", "json_schema": {"name": "l", "schema": {"type": "array"}}}
    error = refused(chat, model=OLD_SONNET, response_format=listed)
    assert error.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "json_schema"}, "response_format.schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "response_format.json_schema.schema"),
        ({"type": "grammar", "grammar": "x"}, "response_format.type"),
        ("json", "response_format"),
    ],
)
def test_a_malformed_format_is_refused_by_its_place(form: Any, param: str) -> None:
    assert refused(chat, response_format=form).param == param


def test_the_drop_setting_leaves_out_a_foreign_format() -> None:
    assert chat(response_format={"type": "grammar"}, options=DROPPING).notes.omitted == ("response_format.type",)
