from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.practice import directives as module
from cli.practice.directives import BARE, NAMES, Directives, directives, in_header, in_text
from protocol.errors import Refusal


def asked_in_header(value: str) -> Directives:
    return directives(in_header(value))


def asked_in_text(text: str) -> Directives:
    return directives(in_text(text)[0])


def test_header_and_text_say_the_same() -> None:
    expected = Directives(error=429, retry_after=7)
    assert asked_in_header("error=429; retry-after=7") == expected
    assert asked_in_text("/error 429 retry-after=7") == expected


def test_directive_lines_are_taken_out_of_the_words() -> None:
    wishes, words = in_text("Please look.\n/size 7\nThank you.\r\n  /slow 3 \r")
    assert directives(wishes) == Directives(size=7, slow=3)
    assert words == "Please look.\nThank you.\r"


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "see /error 429", "// size 3", "/unknown 3", "/ error", "/Error 500", "/"]
)
def test_other_lines_are_words(text: str) -> None:
    assert in_text(text) == ({}, text)


def test_message_takes_the_rest_of_its_line() -> None:
    assert asked_in_text("/error 400 kind=api_error message=a b=c  d") == Directives(
        error=400, kind="api_error", message="a b=c d"
    )
    assert asked_in_header("error=400; message=a b=c d; code=x") == Directives(error=400, message="a b=c d", code="x")


@pytest.mark.parametrize("name", sorted(BARE))
def test_a_bare_name_takes_its_value_from_the_table(name: str) -> None:
    wanted = asked_in_text(f"/{name}")
    assert wanted == asked_in_header(name)
    assert getattr(wanted, name.replace("-", "_")) not in (None, False, 0)


@pytest.mark.parametrize(
    "value", ["error=200", "error=x", "stop=now", "slow=-1", "gzip=perhaps", "split=0", "colour=red"]
)
def test_an_impossible_wish_is_refused_by_name(value: str) -> None:
    with pytest.raises(Refusal, match=value.split("=", maxsplit=1)[0]) as refused:
        asked_in_header(value)
    assert refused.value.status == 400


@given(st.text())
def test_any_header_is_read_or_refused(value: str) -> None:
    with suppress(Refusal):
        asked_in_header(value)


@given(st.text(alphabet=st.sampled_from("/=; \n\r\tabcerrorsizetools123-")))
def test_any_text_is_read_or_refused_and_words_without_directives_are_kept(text: str) -> None:
    wishes, words = in_text(text)
    if not wishes:
        assert words == text
    with suppress(Refusal):
        directives(wishes)


def test_every_directive_stands_in_both_tables() -> None:
    assert module.__doc__ is not None
    documented = Path(__file__).parents[3].joinpath("docs/practice.md").read_text()
    for name in NAMES:
        assert f"\n{name} " in module.__doc__
        assert f"\n| `{name}` |" in documented
