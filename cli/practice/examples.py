"""A value that fits a JSON schema, for tool arguments and structured output; the same schema gives the same value."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

MAX_DEPTH: Final = 12
"""Schemas may refer to themselves; below this depth every value is null."""

MAX_SIZE: Final = 10_000
"""No string or array gets longer than this, whatever its schema asks for."""

FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "duration": "PT1H",
    "email": "practice@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "03:04:05Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object, words: str = "practice") -> object:
    """A value for ``schema``; free strings are ``words``, cut or padded to the length asked for.

    An object gets its required properties, or all of them when its schema has no such list. Understands
    type, enum, const, default, properties, required, items, prefixItems, anyOf, oneOf, allOf, local
    ``$ref``, formats, lengths and numeric bounds. Patterns and negations are not looked at.
    """
    return _value(schema, schema if isinstance(schema, Mapping) else {}, words, 0)


def _value(schema: object, root: Schema, words: str, depth: int) -> object:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    schema = _flattened(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    match _kind(schema):
        case "object":
            return _object(schema, root, words, depth)
        case "array":
            return _array(schema, root, words, depth)
        case "string":
            return _string(schema, words)
        case "integer":
            return int(_number(schema, whole=True))
        case "number":
            return _number(schema, whole=False)
        case "boolean":
            return True
        case _:
            return None


def _flattened(schema: Schema, root: Schema) -> Schema:
    """The schema with its references followed, its first alternative taken and its ``allOf`` merged in."""
    for _ in range(MAX_DEPTH):
        merged = dict(schema)
        parts: list[object] = []
        if isinstance(reference := merged.pop("$ref", None), str):
            parts.append(_resolved(reference, root))
        parts += _alternatives(merged.pop("allOf", None))
        for name in ("anyOf", "oneOf"):
            parts += _alternatives(merged.pop(name, None))[:1]
        if not parts:
            return merged
        for part in parts:
            if isinstance(part, Mapping):
                merged = _both(merged, part)
        schema = merged
    return {}


def _alternatives(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _both(first: Schema, second: Schema) -> dict[str, Any]:
    merged = {**second, **first}
    if isinstance(first.get("properties"), Mapping) and isinstance(second.get("properties"), Mapping):
        merged["properties"] = {**second["properties"], **first["properties"]}
    if isinstance(first.get("required"), list) and isinstance(second.get("required"), list):
        merged["required"] = [*first["required"], *second["required"]]
    return merged


def _resolved(reference: str, root: Schema) -> object:
    """What a local JSON pointer (RFC 6901) such as ``#/$defs/Point`` names; an empty schema if it names nothing."""
    found: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return found


def _kind(schema: Schema) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((name for name in kind if name != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return "string" if kind is None else kind


def _object(schema: Schema, root: Schema, words: str, depth: int) -> dict[str, object]:
    properties = schema.get("properties")
    known: Mapping[str, object] = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    names = required if isinstance(required, list) else list(known)
    return {name: _value(known.get(name, {}), root, words, depth + 1) for name in names if isinstance(name, str)}


def _array(schema: Schema, root: Schema, words: str, depth: int) -> list[object]:
    leading = [_value(item, root, words, depth + 1) for item in _alternatives(schema.get("prefixItems"))]
    count = max(_bound(schema, "minItems", 0), 0 if leading or depth >= MAX_DEPTH // 2 else 1)
    count = min(count, _bound(schema, "maxItems", count), MAX_SIZE)
    items = schema.get("items", {})
    return leading + [_value(items, root, words, depth + 1) for _ in range(int(count) - len(leading))]


def _string(schema: Schema, words: str) -> str:
    named = schema.get("format")
    if isinstance(named, str) and named in FORMATS:
        return FORMATS[named]
    shortest = int(min(_bound(schema, "minLength", 0), MAX_SIZE))
    longest = int(_bound(schema, "maxLength", max(shortest, len(words))))
    return words.ljust(shortest, ".")[: max(longest, 0)]


def _number(schema: Schema, *, whole: bool) -> float:
    """The smallest value allowed at or above one, else the largest allowed."""
    step = _bound(schema, "multipleOf", 1 if whole else 0.5) or 1
    least = max(_bound(schema, "minimum", -math.inf), _bound(schema, "exclusiveMinimum", -math.inf))
    most = min(_bound(schema, "maximum", math.inf), _bound(schema, "exclusiveMaximum", math.inf))
    value = math.ceil(least / step) * step if least > 1 else math.floor(min(most, 1) / step) * step
    if value <= _bound(schema, "exclusiveMinimum", -math.inf) or value < least:
        value += step
    if value >= _bound(schema, "exclusiveMaximum", math.inf):
        value -= step
    return value


def _bound(schema: Schema, name: str, otherwise: float) -> float:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
