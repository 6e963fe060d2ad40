"""The estimate of a request's tokens: nothing of it is forgotten, and nothing is counted that is not sent."""

import json
from typing import Any

import pytest

from protocol.translate.onto_openai.estimate import ESTIMATED, TOKENS_PER_IMAGE, estimate_count, estimated_tokens
from tests.support.messages_requests import HI, WEATHER, assistant, image, result, text, use, user
from tests.support.openai_requests import refused


def tokens(*messages: Any, **parameters: Any) -> int:
    return estimated_tokens(json.dumps({"model": "m", "messages": list(messages) or [HI]} | parameters).encode())


def test_the_answer_is_anthropics_and_marked() -> None:
    body = json.dumps({"model": "m", "messages": [HI]}).encode()
    assert json.loads(estimate_count(body)) == {"input_tokens": tokens()}
    assert ESTIMATED == (b"x-router-estimated", b"true")


def test_text_is_a_token_for_four_bytes() -> None:
    assert tokens({"role": "user", "content": "a" * 4000}) - tokens({"role": "user", "content": ""}) == 1000
    assert tokens({"role": "user", "content": "字" * 1000}) - tokens({"role": "user", "content": ""}) == 750


@pytest.mark.parametrize(
    "more",
    [
        {"system": "Be kind." * 50},
        {"system": [text("Be kind." * 50)]},
        {"tools": [WEATHER | {"description": "Says how it is out there. " * 20}]},
        {"messages": [HI, assistant(use("toolu_1", input={"text": "a" * 400})), user(result("toolu_1"))]},
        {"messages": [HI, assistant(use("toolu_1")), user(result("toolu_1", [text("a" * 400)]))]},
        {"messages": [user(text("Hi"), {"type": "document", "source": {"type": "text", "data": "a" * 400}})]},
        {"output_config": {"format": {"type": "json_schema", "schema": {"description": "a" * 400}}}},
    ],
)
def test_every_part_of_the_prompt_counts(more: dict[str, Any]) -> None:
    assert tokens(**more) >= tokens() + 100


def test_numbers_and_truths_count_as_a_token_each() -> None:
    def called(**arguments: Any) -> int:
        return tokens(HI, assistant(use("toolu_1", input=arguments)))

    assert called(a=1, b=True, c=2.5, d=None) - called(a="", b="", c="", d="") == 3


def test_pictures_and_files_have_a_price_and_not_that_of_their_bytes() -> None:
    assert tokens(user(image("A" * 100_000))) == tokens(user(image()))
    assert tokens(user(image(), image())) - tokens(user(image())) == TOKENS_PER_IMAGE
    pages = [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * size}}
        for size in (1000, 120_000)
    ]
    assert tokens(user(pages[1])) - tokens(user(pages[0])) == 4000


def test_thinking_that_is_not_sent_costs_nothing() -> None:
    thought = {"type": "thinking", "thinking": "Hm." * 100, "signature": "A" * 1000}
    assert tokens(HI, assistant(thought, text("a")), HI) == tokens(HI, assistant(text("a")), HI)


def test_depth_is_no_obstacle() -> None:
    deep: Any = "a" * 400
    for _ in range(200):
        deep = {"a": [deep]}
    assert tokens(HI, assistant(use("toolu_1", input=deep))) > tokens(HI, assistant(use("toolu_1"))) + 100


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages":[]}', b'{"messages":5}', b"[" * 5000])
def test_what_has_no_messages_is_refused(body: bytes) -> None:
    assert refused(estimated_tokens, body).status == 400
