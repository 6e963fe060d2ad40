"""Realistic conversations, as recorded shapes of real clients: each request beside what goes upstream for it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.responses_request import translate_responses_request
from tests.support.openai_requests import body_of, model_table

FOLDER = Path(__file__).parents[2] / "golden" / "requests"
GOLDEN = sorted(path.name.removesuffix(".request.json") for path in FOLDER.glob("*.request.json"))
TRANSLATORS = {"chat": translate_chat_request, "responses": translate_responses_request}


def request_of(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((FOLDER / f"{name}.request.json").read_bytes())
    return request


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_reviewed_messages_request(name: str) -> None:
    translate = TRANSLATORS[name.partition("_")[0]]
    body = (FOLDER / f"{name}.request.json").read_bytes()
    translated = translate(body, models=model_table(), options=TranslationOptions())
    assert reviewable(translated) == (FOLDER / f"{name}.messages.json").read_text(encoding="utf-8")


def reviewable(translated: TranslatedRequest) -> str:
    """The upstream body, and everything that the response side is told, as JSON to be read by eye."""
    facts = msgspec.to_builtins(translated) | {"body": body_of(translated)}
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
