"""Structured output."""

from typing import Any

import pytest

from tests.support.messages_requests import ask, chat_request
from tests.support.openai_requests import refused

CLOSED = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "array", "items": {"$ref": "#/$defs/day"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["city", "days", "note"],
    "additionalProperties": False,
    "$defs": {
        "day": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        }
    },
}
OPTIONAL = CLOSED | {"required": ["city", "days"]}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_a_closed_schema_is_enforced_strictly(place: str) -> None:
    asked = {"output_config": {"format": form(CLOSED)}} if place == "output_config" else {"output_format": form(CLOSED)}
    expected = {"type": "json_schema", "json_schema": {"name": "answer", "schema": CLOSED, "strict": True}}
    assert chat_request(**asked)["response_format"] == expected
    assert ask(**asked).omitted == ()


@pytest.mark.parametrize(
    "schema",
    [
        OPTIONAL,
        OPEN,
        {"type": "object"},
        {"type": "array", "items": OPEN},
        {"anyOf": [{"type": "null"}, OPEN]},
        CLOSED | {"$defs": {"day": OPEN}},
        CLOSED | {"properties": {"city": OPEN, "days": {}, "note": {}}},
    ],
)
def test_a_schema_that_strict_mode_would_refuse_is_sent_without_it_and_that_is_noted(schema: Any) -> None:
    call = ask(output_config={"format": form(schema)})
    sent = chat_request(output_config={"format": form(schema)})["response_format"]["json_schema"]
    assert (sent["schema"], sent["strict"]) == (schema, False)
    assert call.omitted == ("output_config.format.strict",)


def test_another_kind_of_format_is_refused_or_dropped() -> None:
    grammar = {"output_config": {"format": {"type": "grammar"}}}
    assert refused(ask, **grammar).param == "output_config.format.type"
    assert "response_format" not in chat_request(**grammar, drop=True)
    assert refused(ask, output_config={"format": {"type": "json_schema"}}).param == "output_config.format.schema"


def test_a_task_budget_is_a_hint() -> None:
    assert ask(output_config={"task_budget": {"type": "tokens", "total": 20_000}}).omitted == ("task_budget",)
