from typing import Any

import pytest

from protocol.translate.schema import closed_schema
from tests.support.openai_requests import refused

NAMED = {"type": "object", "properties": {"name": {"type": "string"}}}


def closed(schema: Any) -> dict[str, object]:
    return closed_schema(schema, "schema")


def test_every_object_is_closed_and_optional_properties_stay_optional() -> None:
    schema = {"type": "object", "properties": {"a": NAMED, "b": {"type": "array", "items": NAMED}}, "required": ["a"]}
    shut = NAMED | {"additionalProperties": False}
    assert closed(schema) == {
        "type": "object",
        "properties": {"a": shut, "b": {"type": "array", "items": shut}},
        "additionalProperties": False,
        "required": ["a"],
    }


def test_several_types_become_alternatives_and_share_the_description() -> None:
    schema = {"type": ["object", "null"], "properties": {"a": {"type": "string"}}, "description": "Maybe."}
    assert closed(schema) == {
        "description": "Maybe.",
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
            {"type": "null"},
        ],
    }
    assert closed({"type": ["string", "null"], "enum": ["a", None]}) == {"enum": ["a", None]}
    assert closed({"type": ["string", "null"], "const": "a"}) == {"const": "a"}


def test_constraints_that_are_not_enforced_are_told_in_the_description() -> None:
    assert closed({"type": "integer", "minimum": 1}) == {"type": "integer", "description": '{"minimum":1}'}
    assert closed({"type": "string", "format": "iri", "description": "A link."}) == {
        "type": "string",
        "description": 'A link.\n\n{"format":"iri"}',
    }
    assert closed({"type": "array", "minItems": 3})["description"] == '{"minItems":3}'


def test_notes_to_the_reader_of_a_schema_are_left_out() -> None:
    schema = {"$schema": "x", "$id": "y", "$comment": "z", "type": "string", "default": "a", "examples": ["b"]}
    assert closed(schema) == {"type": "string"}


def test_definitions_are_closed_too() -> None:
    for name in ("$defs", "definitions"):
        schema = {name: {"n": NAMED}, "$ref": f"#/{name}/n"}
        assert closed(schema) == {name: {"n": NAMED | {"additionalProperties": False}}, "$ref": f"#/{name}/n"}


def test_an_object_may_say_that_it_has_no_properties() -> None:
    assert closed({"type": "object", "additionalProperties": False})["properties"] == {}


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "object"}, "schema"),
        ({"type": "object", "additionalProperties": True, "properties": {}}, "schema.additionalProperties"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "schema.additionalProperties"),
        ({"type": "object", "properties": {"a": {}}}, "schema.properties.a"),
        ({"type": "object", "properties": {"a": True}}, "schema.properties.a"),
        ({"type": "object", "properties": []}, "schema.properties"),
        ({"type": "array", "items": {"type": "tuple"}}, "schema.items"),
        ({"anyOf": [{"type": "string"}, {"required": ["a"]}]}, "schema.anyOf.1"),
        ({"enum": [{"a": 1}]}, "schema"),
        ({"$defs": {"a": 5}, "type": "string"}, "schema.$defs.a"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_its_place(schema: Any, param: str) -> None:
    error = refused(closed, schema)
    assert (error.status, error.param) == (400, param)
