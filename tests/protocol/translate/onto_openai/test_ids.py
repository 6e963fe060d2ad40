"""Ids of calls, there and back."""

import pytest

from protocol.translate.onto_openai.ids import LONGEST, client_id, server_id


@pytest.mark.parametrize("made", ["toolu_01A", "call_1", "chatcmpl-tool-1f0c", "X9aB3kLm2", "id_x", "id_-_-"])
def test_an_id_that_anthropic_takes_stays_as_it_is(made: str) -> None:
    assert client_id(made) == made
    assert server_id(made) == made


@pytest.mark.parametrize("made", ["functions.weather:0", "日本", "a b", "call/1", "id_ZnVuYw"])
def test_any_other_is_spelled_so_that_it_takes_it_and_comes_back(made: str) -> None:
    assert client_id(made) != made
    assert server_id(client_id(made)) == made


def test_an_id_too_long_for_openai_is_replaced_by_its_digest() -> None:
    long = "toolu_" + "x" * 35
    assert len(long) == LONGEST + 1
    assert server_id(long) == server_id(long)
    assert len(server_id(long)) <= LONGEST
    assert server_id(long) != server_id(long + "x")
    assert server_id(long[:-1]) == long[:-1]
