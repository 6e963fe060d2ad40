"""The words that the three grammars share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any


class GrammarError(AssertionError):
    """The stream breaks a rule of its dialect."""


class End(Enum):
    """How a legal stream ended."""

    COMPLETE = "the answer was told to its end"
    FAILED = "an error was told"
    CUT = "the bytes just end"


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise GrammarError(rule)


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Says where a rule is broken, and takes a field that is missing or is of another kind for a broken rule."""
    try:
        yield
    except GrammarError as error:
        raise GrammarError(f"{place}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GrammarError(f"{place}: {error!r}") from error


def json_object(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise GrammarError(f"not JSON: {data[:80]!r}") from error
    require(isinstance(value, dict), f"not a JSON object: {data[:80]!r}")
    assert isinstance(value, dict)
    return value


def count(value: object, what: str) -> int:
    """A number of tokens or a place in a list: an integer that is not negative."""
    require(isinstance(value, int) and not isinstance(value, bool) and value >= 0, f"{what} is {value!r}")
    assert isinstance(value, int)
    return value


def text(value: object, what: str) -> str:
    require(isinstance(value, str), f"{what} is {value!r}, not a string")
    assert isinstance(value, str)
    return value


def name(value: object, what: str) -> str:
    require(bool(text(value, what)), f"{what} is empty")
    assert isinstance(value, str)
    return value
