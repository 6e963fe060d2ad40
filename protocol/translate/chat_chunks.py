"""The frames of a chat completion stream: what is constant is serialised once, what varies is spliced in."""

from collections.abc import Callable, Mapping
from typing import Final, final

import msgspec

DONE: Final = b"data: [DONE]\n\n"

_json: Final = msgspec.json.Encoder().encode


@final
class ChatChunks:
    """Writes the ``chat.completion.chunk`` frames of one answer (OpenAI API reference, "Chat completion chunk").

    ``text`` and ``reasoning`` write the frame for one more piece of either.

    :param created: seconds since the epoch.
    :param with_usage: every frame names ``usage``, null but in the last, as ``stream_options.include_usage`` asks.
    """

    __slots__ = ("_after", "_before_choices", "_before_delta", "_end", "reasoning", "text")

    def __init__(self, completion_id: str, model: str, created: int, *, with_usage: bool) -> None:
        constant = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._before_choices = b"data: " + _json(constant)[:-1] + b',"choices":['
        self._before_delta = self._before_choices + b'{"index":0,"delta":'
        self._end = b"]" + (b',"usage":null' if with_usage else b"") + b"}\n\n"
        self._after = b',"logprobs":null,"finish_reason":null}' + self._end
        self.text = self._spliced(b'{"content":', b"}")
        self.reasoning = self._spliced(b'{"reasoning_content":', b"}")

    def arguments(self, call: int) -> Callable[[str], bytes]:
        """Writes the arguments of a call, which is named by its place among the calls of this answer."""
        return self._spliced(b'{"tool_calls":[{"index":%d,"function":{"arguments":' % call, b"}}]}")

    def legacy_arguments(self) -> Callable[[str], bytes]:
        """Writes the arguments of the one call that the deprecated ``function_call`` can hold."""
        return self._spliced(b'{"function_call":{"arguments":', b"}}")

    def delta(self, delta: Mapping[str, object]) -> bytes:
        """Any other delta."""
        return self._before_delta + _json(delta) + self._after

    def finish(self, end: Mapping[str, object]) -> bytes:
        """The frame that closes the choice; ``end`` holds ``finish_reason`` and what goes with it."""
        return self._before_choices + _json({"index": 0, "delta": {}, "logprobs": None, **end}) + self._end

    def usage(self, usage: Mapping[str, object]) -> bytes:
        """The frame after the last choice, which has no choice of its own."""
        return self._before_choices + b'],"usage":' + _json(usage) + b"}\n\n"

    def _spliced(self, before: bytes, after: bytes) -> Callable[[str], bytes]:
        return _Splice(self._before_delta + before, after + self._after).write


@final
class _Splice:
    """A frame in which one string varies."""

    __slots__ = ("_after", "_before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after

    def write(self, piece: str) -> bytes:
        return self._before + _json(piece) + self._after
