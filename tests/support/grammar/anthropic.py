"""Anthropic Messages streams (Anthropic API documentation, "Streaming Messages")."""

from typing import Any

from tests.support.grammar.rules import End, GrammarError, count, json_object, name, reading, require, text
from tests.support.grammar.sse import read_sse

DELTAS = {
    "text_delta": ("text", "text"),
    "citations_delta": ("text", "citation"),
    "input_json_delta": (None, "partial_json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
}
"""By delta type: the block type it belongs to (None: several) and the field that carries it."""

INPUT_BLOCKS = {"tool_use", "server_tool_use", "mcp_tool_use"}


def check_anthropic(stream: bytes) -> End:
    """One ``message_start``; blocks one after the other with indexes from 0; ``message_delta``; ``message_stop``.

    ``ping`` may come anywhere, unknown events too; ``error`` ends the stream.
    """
    message = _Message()
    for number, (event, data) in enumerate(read_sse(stream)):
        with reading(f"event {number}, {event}"):
            require(message.end is None, "an event after the end")
            fields = json_object(data)
            require(fields["type"] == event, f"data says {fields['type']}")
            message.take(event, fields)
    return message.end or End.CUT


class _Message:
    def __init__(self) -> None:
        self.end: End | None = None
        self._started = False
        self._closing = False
        self._next_index = 0
        self._open: str | None = None

    def take(self, event: str, fields: dict[str, Any]) -> None:
        if event == "error":
            name(fields["error"]["type"], "error.type")
            text(fields["error"]["message"], "error.message")
            self.end = End.FAILED
        elif event == "message_start":
            require(not self._started, "second message_start")
            self._started = True
            self._check_start(fields["message"])
        elif event in _BODY:
            require(self._started, f"{event} before message_start")
            _BODY[event](self, fields)

    def _check_start(self, message: dict[str, Any]) -> None:
        name(message["id"], "message.id")
        require(message["type"] == "message" and message["role"] == "assistant", "message_start holds no message")
        require(message["content"] == [], "message_start has content")
        require(message["stop_reason"] is None, "message_start has a stop reason")
        count(message["usage"]["input_tokens"], "usage.input_tokens")
        count(message["usage"]["output_tokens"], "usage.output_tokens")

    def _block_start(self, fields: dict[str, Any]) -> None:
        require(not self._closing, "a block after message_delta")
        require(self._open is None, "a block starts before the previous one stops")
        require(count(fields["index"], "index") == self._next_index, f"index is not {self._next_index}")
        self._open = name(fields["content_block"]["type"], "content_block.type")

    def _block_delta(self, fields: dict[str, Any]) -> None:
        require(self._open is not None and fields["index"] == self._next_index, "a delta for a block that is not open")
        delta = fields["delta"]
        if delta["type"] not in DELTAS:
            return
        block, field = DELTAS[delta["type"]]
        require(field in delta, f"{delta['type']} without {field}")
        fits = self._open == block if block else self._open in INPUT_BLOCKS
        require(fits, f"{delta['type']} in a {self._open} block")

    def _block_stop(self, fields: dict[str, Any]) -> None:
        require(self._open is not None and fields["index"] == self._next_index, "a stop for a block that is not open")
        self._open = None
        self._next_index += 1

    def _delta(self, fields: dict[str, Any]) -> None:
        require(self._open is None, "message_delta while a block is open")
        self._closing = True
        count(fields["usage"]["output_tokens"], "usage.output_tokens")
        if fields["delta"].get("stop_reason") is not None:
            name(fields["delta"]["stop_reason"], "stop_reason")

    def _stop(self, fields: dict[str, Any]) -> None:
        if not self._closing:
            raise GrammarError("message_stop without message_delta")
        self.end = End.COMPLETE


_BODY = {
    "content_block_start": _Message._block_start,
    "content_block_delta": _Message._block_delta,
    "content_block_stop": _Message._block_stop,
    "message_delta": _Message._delta,
    "message_stop": _Message._stop,
}
