from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.practice.examples import MAX_SIZE, example

Schema = dict[str, Any]


def fits(value: object, schema: Schema) -> bool:
    """A small validator of its own for the keywords that the strategies below use."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    match schema["type"]:
        case "object":
            return (
                isinstance(value, dict)
                and set(schema["required"]) <= set(value) <= set(schema["properties"])
                and all(fits(member, schema["properties"][name]) for name, member in value.items())
            )
        case "array":
            return (
                isinstance(value, list)
                and schema["minItems"] <= len(value) <= schema["maxItems"]
                and all(fits(item, schema["items"]) for item in value)
            )
        case "string":
            return isinstance(value, str) and schema["minLength"] <= len(value) <= schema["maxLength"]
        case "integer":
            return isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"]
        case "number":
            return isinstance(value, int | float) and schema["exclusiveMinimum"] < value < schema["exclusiveMaximum"]
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None


def ranges(low: str, high: str, *, least: int, gap: int) -> st.SearchStrategy[Schema]:
    return st.tuples(st.integers(least, 50), st.integers(gap, 9)).map(lambda pair: {low: pair[0], high: sum(pair)})


leaves: st.SearchStrategy[Schema] = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}]),
    st.lists(st.integers() | st.text(), min_size=1, max_size=3).map(lambda values: {"enum": values}),
    ranges("minLength", "maxLength", least=0, gap=0).map(lambda bounds: {"type": "string", **bounds}),
    ranges("minimum", "maximum", least=-50, gap=0).map(lambda bounds: {"type": "integer", **bounds}),
    ranges("exclusiveMinimum", "exclusiveMaximum", least=-50, gap=1).map(lambda bounds: {"type": "number", **bounds}),
)


@st.composite
def objects(draw: st.DrawFn, members: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(st.sampled_from("abcd"), members, max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def arrays(items: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda item, least, more: {"type": "array", "items": item, "minItems": least, "maxItems": least + more},
        items,
        st.integers(0, 3),
        st.integers(0, 2),
    )


schemas = st.recursive(
    leaves,
    lambda inner: objects(inner) | arrays(inner) | st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s}),
    max_leaves=8,
)


@given(schema=schemas, words=st.text(max_size=20))
def test_an_example_fits_its_schema(schema: Schema, words: str) -> None:
    assert fits(example(schema, words), schema)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["object", "array", "string", "#/$defs/a", "#"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "$ref", "allOf", "anyOf", "properties", "required", "items", "minItems", "enum", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_as_a_schema_gives_some_json(schema: object) -> None:
    msgspec.json.encode(example(schema))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "practice"),
        ({"type": ["null", "integer"]}, 1),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"type": "string", "default": "x"}, "x"),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"properties": {"a": {"type": "boolean"}}}, {"a": True}),
        ({"type": "integer", "multipleOf": 7, "minimum": 20}, 21),
        ({"type": "integer", "exclusiveMaximum": 1}, 0),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "type": "array"}, [1, 2]),
        ({"$defs": {"a/b": {"const": 5}}, "$ref": "#/$defs/a~1b"}, 5),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, 1),
        (True, None),
    ],
)
def test_each_keyword_counts(schema: object, expected: object) -> None:
    assert example(schema) == expected


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    tree: Schema = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    assert isinstance(example(tree), dict)
    assert example({"$ref": "#"}) == "practice"


def test_sizes_have_a_limit() -> None:
    long = example({"type": "string", "minLength": 10**12})
    many = example({"type": "array", "minItems": 10**12, "items": {"type": "null"}})
    assert isinstance(long, str)
    assert isinstance(many, list)
    assert len(long) == len(many) == MAX_SIZE
