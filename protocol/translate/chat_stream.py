"""An Anthropic event stream as ``chat.completion.chunk`` frames, written while it arrives.

It adds up to what ``chat_response`` makes of the whole message. ``reasoning_content`` grows like ``content``, while all
``thinking_blocks`` come in one frame before the finish: in pieces they would need an ``index`` each to be put together,
which the provider would not take back. The input of a custom tool comes whole, too, since only the end of its JSON
shows what its text is. A stream that fails ends with ``data: {"error": ...}`` and has no ``[DONE]``.
"""

from collections.abc import Callable
from typing import final

import msgspec

from protocol.errors import Refusal
from protocol.translate.blocks import THINKING, Arguments, Thinking, called_tool, custom_input
from protocol.translate.call import ToolKind, TranslatedRequest
from protocol.translate.chat_chunks import DONE, ChatChunks
from protocol.translate.chat_response import ONE_FUNCTION, choice_end, completion_id
from protocol.translate.errors import openai_error
from protocol.translate.events import Block, Delta, refusal_text
from protocol.translate.message_stream import SKIPPED, BlockWriter, MessageStream
from protocol.translate.outcomes import chat_usage
from protocol.wire.sse import encode_sse


@final
class ChatStream(MessageStream):
    """One streamed chat completion. ``created`` is in seconds since the epoch."""

    __slots__ = ("_created", "_request", "answered", "calls", "chunks", "thinking_blocks")

    chunks: ChatChunks

    def __init__(self, request: TranslatedRequest, *, created: int) -> None:
        super().__init__()
        self._request = request
        self._created = created
        self.answered = False
        self.calls = 0
        self.thinking_blocks: list[dict[str, object]] = []

    def started(self) -> bytes:
        request = self._request
        self.chunks = ChatChunks(
            completion_id(self.message), request.requested_model, self._created, with_usage=request.include_usage
        )
        return self.chunks.delta({"role": "assistant"})

    def opened(self, block: Block, raw: msgspec.Raw) -> tuple[bytes, BlockWriter]:
        if block.type == "text":
            return b"", _Text(self)
        if block.type in THINKING:
            return b"", _Thinking(self, raw)
        if block.type != "tool_use":
            return b"", SKIPPED
        if block.name == self._request.notes.answer_tool:
            self.answered = True
            return b"", _Arguments(block, self.chunks.text)
        return self._opened_call(block)

    def completed(self) -> bytes:
        message, chunks = self.message, self.chunks
        refusal = refusal_text(message)
        written = []
        if self.thinking_blocks:
            written.append(chunks.delta({"thinking_blocks": self.thinking_blocks}))
        if refusal is not None:
            written.append(chunks.delta({"refusal": refusal}))
        elif not self.answered and not self.calls:
            written.append(chunks.text(""))
        written.append(chunks.finish(choice_end(message, self._request.notes, called=self.calls > 0)))
        if self._request.include_usage:
            written.append(chunks.usage(chat_usage(message.usage)))
        written.append(DONE)
        return b"".join(written)

    def broken(self, refusal: Refusal) -> bytes:
        return encode_sse(b"", openai_error(refusal))

    def _opened_call(self, block: Block) -> tuple[bytes, BlockWriter]:
        notes, chunks = self._request.notes, self.chunks
        tool = called_tool(notes, block.name)
        index, self.calls = self.calls, self.calls + 1
        if notes.legacy_functions:
            if index:
                raise Refusal(502, ONE_FUNCTION)
            opening = chunks.delta({"function_call": {"name": tool.name, "arguments": ""}})
            return opening, _Arguments(block, chunks.legacy_arguments())
        if tool.kind is ToolKind.CUSTOM:
            call = {"index": index, "id": block.id, "type": "custom", "custom": {"name": tool.name, "input": ""}}
            return chunks.delta({"tool_calls": [call]}), _CustomInput(block, chunks, index)
        call = {"index": index, "id": block.id, "type": "function", "function": {"name": tool.name, "arguments": ""}}
        return chunks.delta({"tool_calls": [call]}), _Arguments(block, chunks.arguments(index))


@final
class _Text(BlockWriter):
    __slots__ = ("_stream", "_text")

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self._text = stream.chunks.text

    def delta(self, delta: Delta) -> bytes:
        if not delta.text:
            return b""
        self._stream.answered = True
        return self._text(delta.text)

    def close(self) -> bytes:
        return b""


@final
class _Thinking(BlockWriter):
    __slots__ = ("_block", "_reasoning", "_stream")

    def __init__(self, stream: ChatStream, raw: msgspec.Raw) -> None:
        self._stream = stream
        self._reasoning = stream.chunks.reasoning
        self._block = Thinking(raw)

    def delta(self, delta: Delta) -> bytes:
        self._block.add(delta)
        return self._reasoning(delta.thinking) if delta.thinking else b""

    def close(self) -> bytes:
        fields = self._block.whole
        if fields is not None:
            self._stream.thinking_blocks.append(fields)
        return b""


@final
class _Arguments(BlockWriter):
    """A tool's input in pieces of JSON text.

    An input that came with the block itself is written at the block's end, unless pieces came after all: a call without
    arguments so gets ``{}``, where no piece would leave the client with text that is no JSON.
    """

    __slots__ = ("_begun", "_block", "_write")

    def __init__(self, block: Block, write: Callable[[str], bytes]) -> None:
        self._block = block
        self._write = write
        self._begun = False

    def delta(self, delta: Delta) -> bytes:
        if not delta.partial_json:
            return b""
        self._begun = True
        return self._write(delta.partial_json)

    def close(self) -> bytes:
        return b"" if self._begun else self._write(self._block.arguments)


@final
class _CustomInput(BlockWriter):
    __slots__ = ("_arguments", "_chunks", "_index")

    def __init__(self, block: Block, chunks: ChatChunks, index: int) -> None:
        self._chunks = chunks
        self._index = index
        self._arguments = Arguments(block)

    def delta(self, delta: Delta) -> bytes:
        self._arguments.add(delta)
        return b""

    def close(self) -> bytes:
        text = custom_input(self._arguments.text)
        return self._chunks.delta({"tool_calls": [{"index": self._index, "custom": {"input": text}}]})
