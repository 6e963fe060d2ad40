"""Realistic conversations: each Messages request beside the chat request that goes upstream for it, and what the server
streams beside what the client gets."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ReturnedThinking, TokenLimit
from tests.support.grammar import End, check_anthropic
from tests.support.messages_requests import chat_body

FOLDER = Path(__file__).parents[3] / "golden" / "onto_openai"
GOLDEN = sorted(path.name.removesuffix(".request.json") for path in FOLDER.glob("*.request.json"))
SERVERS = {
    "chat_claude_code_turn": ChatServer(output_tokens=32_768),
    "chat_deepseek_tool_turn": ChatServer(
        efforts=("low", "high"), returned_thinking=ReturnedThinking.REASONING_CONTENT, system_turns=True
    ),
    "chat_documents_and_results": ChatServer(token_limit=TokenLimit.MAX_COMPLETION_TOKENS, stop_sequences=4),
}


def request_of(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((FOLDER / f"{name}.request.json").read_bytes())
    return request


def translated(name: str) -> CarriedRequest:
    body = (FOLDER / f"{name}.request.json").read_bytes()
    return carry_onto_chat(body, resolve=lambda model: f"served-for-{model}", server=SERVERS[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_reviewed_chat_request(name: str) -> None:
    assert reviewable(translated(name)) == (FOLDER / f"{name}.carried.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_stream_becomes_the_reviewed_one(name: str) -> None:
    stream = MessagesFromChat(translated(name), identity="req_1")
    written = stream.feed((FOLDER / f"{name}.upstream.sse").read_bytes()) + stream.finish()
    assert written.decode() == (FOLDER / f"{name}.client.sse").read_text(encoding="utf-8")
    assert check_anthropic(written) is End.COMPLETE


def reviewable(call: CarriedRequest) -> str:
    """The upstream body, and everything that the response side is told, as JSON to be read by eye."""
    facts = msgspec.to_builtins(call) | {"body": chat_body(call)}
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
