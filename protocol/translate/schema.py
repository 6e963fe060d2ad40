"""JSON schemas in the dialect of Anthropic's structured outputs.

Its grammar compiler takes closed objects only and a part of JSON Schema. What narrows a value further (``minimum``,
``pattern`` ...) moves into the description, where the model reads it; what cannot be said at all is refused.
Source: "Structured outputs", JSON Schema limitations, and the rules of Anthropic's own SDKs.
"""

from typing import Final

import msgspec

from protocol.translate.fields import refusal

TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
STRING_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
"""The values of ``format`` that are enforced."""

_DEFINITIONS: Final = ("$defs", "definitions")
_COMBINERS: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_PLAIN: Final = (str, int, float, bool, type(None))
_MEANINGLESS: Final = ("$schema", "$id", "$comment", "default", "examples", "strict")
"""Keywords that constrain nothing."""


def closed_schema(schema: object, path: str) -> dict[str, object]:
    """The schema with ``additionalProperties: false`` on every object; optional properties stay optional.

    :raises Refusal: 400 naming the place of what has no counterpart: an open object, a schema without a type.
    """
    if not isinstance(schema, dict):
        raise refusal(path, "only an object can be a schema here", "invalid_type")
    rest = {name: value for name, value in schema.items() if name not in _MEANINGLESS}
    kind = rest.get("type")
    if isinstance(kind, list):
        return closed_schema(_as_alternatives(rest, kind), path)
    closed: dict[str, object] = {}
    for name in _DEFINITIONS:
        if name in rest:
            closed[name] = _each(rest.pop(name), f"{path}.{name}")
    if "$ref" in rest:
        closed["$ref"] = rest["$ref"]
        return closed
    for name in ("description", "title"):
        if isinstance(rest.get(name), str):
            closed[name] = rest.pop(name)
    if _take_literals(rest, closed) or _take_combiner(rest, closed, path):
        rest.pop("type", None)
    elif isinstance(kind, str) and kind in TYPES:
        closed["type"] = rest.pop("type")
        _take_keywords_of(kind, rest, closed, path)
    else:
        raise refusal(path, f"the schema needs a type, an enum, a const or a combination of schemas; got {kind!r}")
    _describe_rest(rest, closed)
    return closed


def _as_alternatives(schema: dict[str, object], kinds: list[object]) -> dict[str, object]:
    """``{"type":["string","null"], ...}`` as an ``anyOf``; a null alternative takes no other keyword."""
    shared = {name: schema.pop(name) for name in (*_DEFINITIONS, "description", "title") if name in schema}
    if "enum" in schema or "const" in schema:
        return shared | {name: value for name, value in schema.items() if name != "type"}
    return shared | {"anyOf": [{"type": "null"} if kind == "null" else schema | {"type": kind} for kind in kinds]}


def _each(schemas: object, path: str) -> dict[str, object]:
    if not isinstance(schemas, dict):
        raise refusal(path, "expected an object of schemas", "invalid_type")
    return {name: closed_schema(schema, f"{path}.{name}") for name, schema in schemas.items()}


def _take_literals(rest: dict[str, object], closed: dict[str, object]) -> bool:
    """Move ``enum`` and ``const`` of plain values over; they say the type already."""
    values = rest.get("enum")
    if isinstance(values, list) and values and all(isinstance(value, _PLAIN) for value in values):
        closed["enum"] = rest.pop("enum")
    if "const" in rest and isinstance(rest["const"], _PLAIN):
        closed["const"] = rest.pop("const")
    return "enum" in closed or "const" in closed


def _take_combiner(rest: dict[str, object], closed: dict[str, object], path: str) -> bool:
    for name, target in _COMBINERS.items():
        variants = rest.get(name)
        if isinstance(variants, list) and variants:
            del rest[name]
            closed[target] = [closed_schema(variant, f"{path}.{name}.{i}") for i, variant in enumerate(variants)]
            return True
    return False


def _take_keywords_of(kind: str, rest: dict[str, object], closed: dict[str, object], path: str) -> None:
    if kind == "object":
        _take_object(rest, closed, path)
    elif kind == "array":
        if "items" in rest:
            closed["items"] = closed_schema(rest.pop("items"), f"{path}.items")
        if rest.get("minItems") in (0, 1):
            closed["minItems"] = rest.pop("minItems")
    elif kind == "string" and rest.get("format") in STRING_FORMATS:
        closed["format"] = rest.pop("format")


def _take_object(rest: dict[str, object], closed: dict[str, object], path: str) -> None:
    open_ended = rest.pop("additionalProperties", None)
    if open_ended not in (None, False):
        raise refusal(f"{path}.additionalProperties", "objects with properties of any name cannot be enforced")
    if "properties" not in rest and open_ended is None:
        raise refusal(path, "an object must list its properties")
    closed["properties"] = _each(rest.pop("properties", {}), f"{path}.properties")
    closed["additionalProperties"] = False
    if "required" in rest:
        closed["required"] = rest.pop("required")


def _describe_rest(rest: dict[str, object], closed: dict[str, object]) -> None:
    if rest:
        constraints = msgspec.json.encode(rest).decode()
        description = closed.get("description")
        closed["description"] = f"{description}\n\n{constraints}" if description else constraints
