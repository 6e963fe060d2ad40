"""Reading a client's JSON by name, where every complaint says which field it is about."""

from collections.abc import Iterator, Mapping
from typing import Self, TypeAlias

import msgspec

from protocol.errors import Refusal

Block: TypeAlias = dict[str, object]
"""A JSON object of an Anthropic request: a content block, a message, a tool."""


def refusal(path: str, message: str, code: str = "invalid_value") -> Refusal:
    """A 400 about one field; ``path`` is its place in the request, such as ``messages.2.content.0``."""
    return Refusal(400, f"{path}: {message}" if path else message, param=path or None, code=code)


def decode_request(body: bytes) -> "Fields":
    """The request's JSON object.

    :raises Refusal: 400, the body is not JSON, not an object, or nested deeper than the decoder goes.
    """
    try:
        values = msgspec.json.decode(body)
    except RecursionError:
        raise refusal("", "the request is nested too deeply", "invalid_json") from None
    except ValueError as error:
        raise refusal("", f"the request body is not valid JSON: {error}", "invalid_json") from None
    if not isinstance(values, dict):
        raise refusal("", "the request body must be a JSON object", "invalid_json")
    return Fields(values, "")


class Fields:
    """A JSON object and its place in the request. A field that is null counts as absent."""

    __slots__ = ("path", "values")

    def __init__(self, values: Mapping[str, object], path: str) -> None:
        self.values = values
        self.path = path

    @classmethod
    def of(cls, value: object, path: str) -> Self:
        if not isinstance(value, dict):
            raise refusal(path, "expected an object", "invalid_type")
        return cls(value, path)

    def at(self, name: str) -> str:
        """The place of a field, for an error message."""
        return f"{self.path}.{name}" if self.path else name

    def value(self, name: str) -> object:
        return self.values.get(name)

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise refusal(self.at(name), "this field is required", "missing_required_parameter")
        return value

    def optional_text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise refusal(self.at(name), "expected a string", "invalid_type")
        return value

    def choice(self, name: str, *allowed: str) -> str | None:
        value = self.optional_text(name)
        if value is not None and value not in allowed:
            raise refusal(self.at(name), f"expected one of {', '.join(allowed)}; got {value!r}")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise refusal(self.at(name), "expected a boolean", "invalid_type")
        return value

    def integer(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise refusal(self.at(name), "expected an integer", "invalid_type")
        return value

    def number(self, name: str, lowest: float, highest: float) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise refusal(self.at(name), "expected a number", "invalid_type")
        if not lowest <= value <= highest:
            raise refusal(self.at(name), f"expected a number from {lowest} to {highest}")
        return value

    def section(self, name: str) -> "Fields":
        value = self.optional_section(name)
        if value is None:
            raise refusal(self.at(name), "this field is required", "missing_required_parameter")
        return value

    def optional_section(self, name: str) -> "Fields | None":
        value = self.values.get(name)
        return None if value is None else Fields.of(value, self.at(name))

    def items(self, name: str) -> Iterator[tuple[str, object]]:
        """Place and value of each item of an array; nothing when it is absent."""
        value = self.values.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise refusal(self.at(name), "expected an array", "invalid_type")
        place = self.at(name)
        for index, item in enumerate(value):
            yield f"{place}.{index}", item

    def sections(self, name: str) -> Iterator["Fields"]:
        """Each item of an array of objects; nothing when it is absent."""
        for path, item in self.items(name):
            yield Fields.of(item, path)
