"""The frames of a chat completion stream: what is constant is serialised once, what varies is spliced in."""

from collections.abc import Mapping
from typing import Final, final

import msgspec

DONE: Final = b"data: [DONE]\n\n"

_json: Final = msgspec.json.Encoder().encode


@final
class ChatChunks:
    """Writes the ``chat.completion.chunk`` frames of one answer (OpenAI API reference, "Chat completion chunk").

    :param created: seconds since the epoch.
    :param with_usage: every frame names ``usage``, null but in the last, as ``stream_options.include_usage`` asks.
    """

    __slots__ = (
        "_after",
        "_after_piece",
        "_before_calls",
        "_before_choices",
        "_before_delta",
        "_before_reasoning",
        "_before_text",
        "_end",
    )

    def __init__(self, completion_id: str, model: str, created: int, *, with_usage: bool) -> None:
        constant = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._before_choices = b"data: " + _json(constant)[:-1] + b',"choices":['
        self._before_delta = self._before_choices + b'{"index":0,"delta":'
        self._before_text = self._before_delta + b'{"content":'
        self._before_reasoning = self._before_delta + b'{"reasoning_content":'
        self._before_calls = self._before_delta + b'{"tool_calls":[{"index":'
        self._end = b"]" + (b',"usage":null' if with_usage else b"") + b"}\n\n"
        self._after = b',"logprobs":null,"finish_reason":null}' + self._end
        self._after_piece = b"}" + self._after

    def text(self, piece: str) -> bytes:
        return self._before_text + _json(piece) + self._after_piece

    def reasoning(self, piece: str) -> bytes:
        return self._before_reasoning + _json(piece) + self._after_piece

    def arguments(self, call: int, piece: str) -> bytes:
        """More of the arguments of a call, which is named by its place among the calls of this answer."""
        return b'%b%d,"function":{"arguments":%b}}]%b' % (self._before_calls, call, _json(piece), self._after_piece)

    def legacy_arguments(self, piece: str) -> bytes:
        """More of the arguments of the one call that the deprecated ``function_call`` can hold."""
        return self.delta({"function_call": {"arguments": piece}})

    def delta(self, delta: Mapping[str, object]) -> bytes:
        """Any other delta."""
        return self._before_delta + _json(delta) + self._after

    def finish(self, end: Mapping[str, object]) -> bytes:
        """The frame that closes the choice; ``end`` holds ``finish_reason`` and what goes with it."""
        return self._before_choices + _json({"index": 0, "delta": {}, "logprobs": None, **end}) + self._end

    def usage(self, usage: Mapping[str, object]) -> bytes:
        """The frame after the last choice, which has no choice of its own."""
        return self._before_choices + b'],"usage":' + _json(usage) + b"}\n\n"
