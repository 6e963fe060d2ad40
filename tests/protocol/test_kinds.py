from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.kinds import (
    API_KEY,
    BOOLEAN,
    HOST,
    PATH,
    PORT,
    ROUTE,
    SECONDS,
    SECONDS_FROM_ZERO,
    SECONDS_OR_OFF,
    SECRET,
    TEXT,
    URL,
    Kind,
    choice,
    listed,
    size,
    whole,
)
from protocol.values import BaseUrl, Origin, Secret


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


COLOUR = choice({Colour.RED: ("crimson",), Colour.BLUE: ()}, planned=("green",))
SIZE = size(1, 1 << 40)

EVERY_KIND: list[Kind[Any]] = [
    API_KEY, BOOLEAN, COLOUR, HOST, PATH, PORT, ROUTE, SECONDS, SECONDS_FROM_ZERO, SECONDS_OR_OFF, SECRET, SIZE, TEXT,
    URL, listed(TEXT), whole(1, 9),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (PORT, "0", 0),
        (PORT, "65535", 65535),
        (PORT, "0080", 80),
        (SIZE, "1", 1),
        (SIZE, "64 MiB", 64 << 20),
        (SIZE, "64mib", 64 << 20),
        (SIZE, "3KIB", 3 << 10),
        (SIZE, "2GiB", 2 << 30),
        (SECONDS, "0.25", 0.25),
        (SECONDS, "120", 120.0),
        (SECONDS_FROM_ZERO, "0", 0.0),
        (SECONDS_OR_OFF, "0", None),
        (SECONDS_OR_OFF, "0.0", None),
        (SECONDS_OR_OFF, "15", 15.0),
        (HOST, "localhost", "localhost"),
        (HOST, "::", "::"),
        (HOST, "[::1]", "::1"),
        (URL, "http://127.0.0.1:9/v1/", BaseUrl(Origin("http", "127.0.0.1", 9), "/v1")),
        (PATH, " a b ", " a b "),
        (API_KEY, "sk-ant-api03-x", Secret("sk-ant-api03-x")),
        (COLOUR, "red", Colour.RED),
        (COLOUR, "Crimson", Colour.RED),
        (COLOUR, "BLUE", Colour.BLUE),
        (listed(TEXT), "a, b,,c ,", ("a", "b", "c")),
        (listed(PORT), "1,2", (1, 2)),
        (listed(TEXT), "", ()),
    ],
)
def test_a_text_becomes_its_value(kind: Kind[Any], text: str, value: object) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PORT, "65536"),
        (PORT, "-1"),
        (PORT, "+1"),
        (PORT, "8_0"),
        (PORT, "８０"),
        (PORT, "80.0"),
        (PORT, "9" * 5000),
        (SIZE, "0"),
        (SIZE, "1 MB"),
        (SIZE, "1.5 MiB"),
        (SIZE, "1025 GiB"),
        (SECONDS, "0"),
        (SECONDS, "-1"),
        (SECONDS, "nan"),
        (SECONDS, "inf"),
        (SECONDS, "1e3"),
        (SECONDS, ".5"),
        (SECONDS, "99999999999"),
        (SECONDS_FROM_ZERO, "-0"),
        (SECONDS_OR_OFF, "off"),
        (BOOLEAN, "y"),
        (BOOLEAN, "2"),
        (HOST, "a b"),
        (HOST, "a\0b"),
        (HOST, "http://a"),
        (HOST, "[::1]:80"),
        (URL, "api.anthropic.com"),
        (URL, "ftp://host"),
        (URL, "https://"),
        (URL, "https://host:99999"),
        (URL, "https://host/?q=1"),
        (URL, "https://user:password@host"),
        (PATH, "a\0b"),
        (TEXT, "\udc80"),
        (SECRET, "\udc80"),
        (API_KEY, "two words"),
        (API_KEY, "line\r\nend"),
        (COLOUR, "yellow"),
        (listed(PORT), "1,x"),
    ],
)
def test_a_text_of_another_kind_is_refused(kind: Kind[Any], text: str) -> None:
    with pytest.raises(ValueError):  # not every reason has words
        kind.read(text)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(("words", "value"), [(("1", "true", "yes", "on"), True), (("0", "false", "no", "off"), False)])
def test_a_boolean_has_four_words_for_each_value_in_any_case(
    words: tuple[str, ...], value: bool, spell: Callable[[str], str]
) -> None:
    assert [BOOLEAN.read(spell(word)) for word in words] == [value] * 4


def test_a_planned_spelling_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match=r"^not available in this version$"):
        COLOUR.read("Green")


def test_a_choice_names_its_spellings() -> None:
    assert (COLOUR.metavar, COLOUR.allowed) == ("red|blue", "red (also crimson), blue")


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.metavar)
@given(text=st.text() | st.text("0123456789.,:/[]@ MiB", max_size=12))
def test_any_text_is_read_or_refused(kind: Kind[Any], text: str) -> None:
    try:
        kind.read(text)
    except ValueError:
        return


@given(st.integers(0, 65535))
def test_every_port_is_read_back(port: int) -> None:
    assert PORT.read(str(port)) == port


@given(st.integers(1, 1 << 40))
def test_every_size_is_read_back(count: int) -> None:
    assert SIZE.read(str(count)) == count
