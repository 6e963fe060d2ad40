"""How hard the server is to think, and what the answer may show of it."""

from typing import Any

import pytest

from protocol.translate.onto_openai.servers import ChatServer
from tests.support.messages_requests import ask, chat_request
from tests.support.openai_requests import refused

THREE = ("low", "medium", "high")


def effort(accepted: tuple[str, ...], **parameters: Any) -> Any:
    return chat_request(server=ChatServer(efforts=accepted), **parameters).get("reasoning_effort")


@pytest.mark.parametrize(
    ("asked", "accepted", "expected"),
    [
        ("low", THREE, "low"),
        ("high", THREE, "high"),
        ("xhigh", THREE, "high"),
        ("max", (*THREE, "xhigh"), "xhigh"),
        ("max", ("low", "max"), "max"),
        ("low", ("medium", "high"), "medium"),
    ],
)
def test_an_effort_is_the_nearest_that_the_server_takes(asked: str, accepted: tuple[str, ...], expected: str) -> None:
    assert effort(accepted, output_config={"effort": asked}) == expected


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(1024, "low"), (2048, "low"), (2049, "medium"), (16_384, "high"), (16_385, "xhigh"), (32_769, "max")],
)
def test_a_budget_is_an_effort(budget: int, expected: str) -> None:
    assert effort((*THREE, "xhigh", "max"), thinking={"type": "enabled", "budget_tokens": budget}) == expected


def test_an_effort_wins_over_a_budget() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert effort(THREE, thinking=thinking, output_config={"effort": "high"}) == "high"


def test_thinking_that_is_switched_off_asks_for_the_least() -> None:
    off = {"type": "disabled"}
    assert effort(("none", *THREE), thinking=off) == "none"
    assert effort(THREE, thinking=off, output_config={"effort": "high"}) == "low"


def test_without_a_wish_the_server_decides() -> None:
    assert effort(THREE) is None
    assert effort(THREE, thinking={"type": "adaptive"}) is None


@pytest.mark.parametrize(
    ("parameters", "noted"),
    [
        ({"output_config": {"effort": "high"}}, ("output_config.effort",)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ("thinking",)),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, ()),
    ],
)
def test_a_server_that_takes_no_effort_gets_none_and_the_hint_is_noted(parameters: Any, noted: tuple[str, ...]) -> None:
    assert "reasoning_effort" not in chat_request(**parameters)
    assert ask(**parameters).omitted == noted


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "adaptive"}, True),
        ({"type": "between_tools"}, True),
    ],
)
def test_thinking_is_shown_to_those_who_asked_for_it(thinking: Any, shown: bool) -> None:
    assert ask(thinking=thinking).shows_thinking is shown


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": "on"}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "utmost"}}, "output_config.effort"),
        ({"output_config": {"effort": 3}}, "output_config.effort"),
    ],
)
def test_a_malformed_wish_is_refused(parameters: Any, place: str) -> None:
    assert refused(ask, **parameters).param == place
