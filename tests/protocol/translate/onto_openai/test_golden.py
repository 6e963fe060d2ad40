"""Realistic conversations: each Messages request beside the one that goes upstream for it, and what the server streams
beside what the client gets."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.translate.onto_openai.answer_stream import AnswerStream
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import (
    CarriedRequest,
    ChatServer,
    ResponsesServer,
    ReturnedThinking,
    TokenLimit,
)
from tests.support.grammar import End, check_anthropic
from tests.support.messages_requests import described

FOLDER = Path(__file__).parents[3] / "golden" / "onto_openai"
GOLDEN = sorted(path.name.removesuffix(".request.json") for path in FOLDER.glob("*.request.json"))
SERVERS: dict[str, ChatServer | ResponsesServer] = {
    "chat_claude_code_turn": ChatServer(output_tokens=32_768),
    "chat_deepseek_tool_turn": ChatServer(
        efforts=("low", "high"), returned_thinking=ReturnedThinking.REASONING_CONTENT, system_turns=True
    ),
    "chat_documents_and_results": ChatServer(token_limit=TokenLimit.MAX_COMPLETION_TOKENS, stop_sequences=4),
    "responses_coding_turn": ResponsesServer(
        efforts=("minimal", "low", "medium", "high"), summaries=True, encrypted_reasoning=True
    ),
}


def request_of(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((FOLDER / f"{name}.request.json").read_bytes())
    return request


def carried(name: str) -> CarriedRequest:
    body, server = (FOLDER / f"{name}.request.json").read_bytes(), SERVERS[name]
    if isinstance(server, ChatServer):
        return carry_onto_chat(body, resolve=lambda model: f"served-for-{model}", server=server)
    return carry_onto_responses(body, resolve=lambda model: f"served-for-{model}", server=server)


def relay(name: str) -> AnswerStream:
    stream = MessagesFromChat if isinstance(SERVERS[name], ChatServer) else MessagesFromResponses
    return stream(carried(name), identity="req_1")


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_reviewed_one(name: str) -> None:
    assert reviewable(carried(name)) == (FOLDER / f"{name}.carried.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_stream_becomes_the_reviewed_one(name: str) -> None:
    stream = relay(name)
    written = stream.feed((FOLDER / f"{name}.upstream.sse").read_bytes()) + stream.finish()
    assert written.decode() == (FOLDER / f"{name}.client.sse").read_text(encoding="utf-8")
    assert check_anthropic(written) is End.COMPLETE


def reviewable(call: CarriedRequest) -> str:
    """The upstream body, and everything that the response side is told, as JSON to be read by eye."""
    facts = msgspec.to_builtins(call) | {"body": described(call)}
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
