"""The router's own answers."""

import pytest

from protocol.effects import Answer
from protocol.errors import Refusal
from protocol.scripts.operations import health, hello, refuse


@pytest.mark.parametrize(("draining", "status", "word"), [(False, 200, b"ok"), (True, 503, b"draining")])
def test_health_tells_whether_more_may_come(draining: bool, status: int, word: bytes) -> None:
    answer = next(health(draining))
    assert isinstance(answer, Answer)
    assert (answer.head.status, answer.body) == (status, word)


def test_the_probe_gets_an_empty_yes() -> None:
    answer = next(hello())
    assert isinstance(answer, Answer)
    assert (answer.head.status, answer.body) == (200, b"")


def test_a_refusal_is_a_story_without_a_question() -> None:
    refusal = Refusal(404, "no")
    with pytest.raises(Refusal) as caught:
        next(refuse(refusal))
    assert caught.value is refusal
