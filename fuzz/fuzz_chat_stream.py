"""Any bytes from an upstream that should be a Messages stream: in both OpenAI dialects a legal stream comes of it.

It is complete or it has failed, and says so itself; reads make no difference. The same bytes are taken twice: as a
stream, and as a recipe in which each byte stands for an event, so that whole streams are met and not only broken ones.
"""

from collections.abc import Callable
from typing import Final

from fuzz import fuzz
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.chat_stream import ChatStream
from protocol.translate.message_stream import MessageStream
from protocol.translate.responses_stream import ResponsesStream
from tests.support.anthropic_streams import sse
from tests.support.grammar import End, check_chat, check_responses
from tests.support.splits import byte_by_byte

RECIPE: Final = 30
"""The longest recipe, in events; more of them take longer and show nothing new."""

SLOWLY: Final = 400
"""How much of a stream arrives byte by byte."""

REQUEST: Final = TranslatedRequest(
    dialect=Dialect.RESPONSES,
    body=b"",
    requested_model="m",
    upstream_model="m",
    stream=True,
    notes=Notes(
        tools={"patch": ClientTool(ToolKind.CUSTOM, "apply_patch")},
        answer_tool="answer",
        reasoning_summary=True,
        encrypted_reasoning=True,
        echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
    ),
)

EVENTS: Final = (
    sse({"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": {"input_tokens": 3}}}),
    sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}}),
    sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    sse({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "run"}}),
    sse({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "p", "name": "patch"}}),
    sse(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": "answer"}}
    ),
    sse({"type": "content_block_start", "index": 2, "content_block": {"type": "thinking"}}),
    sse({"type": "content_block_start", "index": 2, "content_block": {"type": "redacted_thinking", "data": "b"}}),
    sse({"type": "content_block_start", "index": 3, "content_block": {"type": "hologram", "text": {}}}),
    sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
    sse({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
    sse({"type": "content_block_delta", "index": 2, "delta": {"type": "thinking_delta", "thinking": "x"}}),
    sse({"type": "content_block_delta", "index": 2, "delta": {"type": "signature_delta", "signature": "s"}}),
    sse({"type": "content_block_delta", "index": 3, "delta": {"type": "hologram_delta", "text": {}}}),
    sse({"type": "content_block_stop", "index": 0}),
    sse({"type": "content_block_stop", "index": 1}),
    sse({"type": "content_block_stop", "index": 2}),
    sse({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
    sse({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 3}}),
    sse({"type": "message_delta", "delta": {"stop_reason": "refusal"}}),
    sse({"type": "message_stop"}),
    sse({"type": "ping"}),
    sse({"type": "error", "error": {"type": "api_error", "message": "m"}}),
    sse({"type": "error", "error": "m"}),
    sse({"type": "content_block_start", "index": 0}),
    sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}),
    b"data: {}\n\n",
    b"data: " + b"[" * 1100 + b"\n\n",
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{"a":"\xff"}}}\n\n',
)
"""What a byte of the recipe stands for; the last ones are broken."""


def check(data: bytes) -> None:
    for stream in (data, b"".join(EVENTS[byte % len(EVENTS)] for byte in data[:RECIPE])):
        _translates(stream, lambda: ChatStream(REQUEST, created=1), check_chat)
        _translates(stream, lambda: ResponsesStream(REQUEST, created=1), check_responses)


def _translates(stream: bytes, translator: Callable[[], MessageStream], grammar: Callable[[bytes], End]) -> None:
    written = set()
    for reads in ([stream], [*byte_by_byte(stream[:SLOWLY]), stream[SLOWLY:]]):
        relay = translator()
        written.add(b"".join(map(relay.feed, reads)) + relay.finish())
        assert relay.feed(b"data: more\n\n") == b""
        assert grammar(min(written)) is (End.FAILED if relay.failed else End.COMPLETE)
    assert len(written) == 1


if __name__ == "__main__":
    fuzz(check)
