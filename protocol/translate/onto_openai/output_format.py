"""Structured output: ``output_config.format`` as OpenAI's ``json_schema``."""

from typing import Final

from protocol.translate.fields import Block, Fields
from protocol.translate.scope import Scope

NAME: Final = "answer"
"""``json_schema`` must have a name; Anthropic's formats have none."""

_CONTAINERS: Final = ("properties", "$defs", "definitions", "anyOf", "oneOf", "allOf")


def schema_of(form: Fields | None, scope: Scope) -> Block | None:
    """``schema`` and ``strict`` for a format, None where there is none.

    Strict mode wants every object closed and every property required. A schema with optional properties goes without,
    which is noted: OpenAI then follows it as well as it can, and servers with grammars of their own enforce it anyway.

    :raises Refusal: 400, the format is malformed or of another kind.
    """
    if form is None:
        return None
    if form.text("type") != "json_schema":
        scope.cannot_carry(form.at("type"), f"the format {form.text('type')!r} cannot be produced")
        return None
    schema = form.section("schema").values
    strict = _is_strict(schema)
    if not strict:
        scope.omit(form.at("strict"))
    return {"schema": schema, "strict": strict}


def _is_strict(schema: object) -> bool:
    """Whether every object in the schema is closed and requires all its properties."""
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties"), schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if not isinstance(required, list) or any(name not in required for name in properties):
            return False
    inner = [schema.get("items")]
    for name in _CONTAINERS:
        schemas = schema.get(name)
        inner += schemas.values() if isinstance(schemas, dict) else schemas if isinstance(schemas, list) else ()
    return all(map(_is_strict, inner))
