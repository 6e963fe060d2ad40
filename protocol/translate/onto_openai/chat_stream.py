"""A stream of Chat Completions as an Anthropic event stream, written while it arrives.

It adds up to what ``chat_response`` makes of the whole completion. Of a chunk, reasoning is told before text and text
before calls, which is the order they are made in. The message ends when the server says that the stream does: with
``[DONE]``, or with the end of the body after a finish reason, since some servers leave the mark out.
"""

from typing import Final, final

from protocol.translate.onto_openai.answer_stream import AnswerStream
from protocol.translate.onto_openai.blocks import Text, Thinking, ToolUse
from protocol.translate.onto_openai.chat_chunk_reader import ChunkReader
from protocol.translate.onto_openai.chat_completions import Call, Choice, Function, Said, read_completion
from protocol.translate.onto_openai.errors import stream_refusal
from protocol.translate.onto_openai.ids import call_id
from protocol.translate.onto_openai.outcomes import Stop, stop_of_choice
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.outcomes import anthropic_usage

DONE: Final = b"[DONE]"

_NOTHING: Final = Function()


@final
class MessagesFromChat(AnswerStream):
    """One answer of a server of Chat Completions."""

    __slots__ = ("_by_index", "_calls", "_end", "_reader")

    def __init__(self, request: CarriedRequest, *, identity: str) -> None:
        super().__init__(request, identity=identity)
        self._reader = ChunkReader()
        self._by_index: dict[int | None, ToolUse] = {}
        self._calls = 0
        self._end: Choice | None = None

    def events(self, data: bytes) -> list[bytes]:
        return self._reader.feed(data)

    def read(self, data: bytes) -> bytes:
        if data == DONE:
            return self.ended()
        chunk = read_completion(data)
        if chunk.failed:
            raise stream_refusal(data)
        if chunk.usage is not None:
            self.usage = anthropic_usage(chunk.usage)
        choice = chunk.choice
        if choice is None:
            return b""
        opening = self.start(chunk.id)
        if choice.finish_reason:
            self._end = choice
        return opening if choice.delta is None else opening + self._tell(choice.delta)

    def stop(self) -> Stop | None:
        if self._end is None:
            return None
        sequences = self.request.stop_sequences
        return stop_of_choice(self._end, called=self._calls > 0, refusal="".join(self.refused), sequences=sequences)

    def _tell(self, said: Said) -> bytes:
        written = b""
        thought = said.reasoning_content or said.reasoning
        if thought and self.request.shows_thinking:
            written += self._add(Thinking, thought)
        if said.content:
            written += self._add(Text, said.content)
        if said.refusal:
            self.refused.append(said.refusal)
            written += self._add(Text, said.refusal)
        if said.tool_calls:
            written += b"".join(map(self._call, said.tool_calls))
        return written

    def _add(self, kind: type[Text | Thinking], piece: str) -> bytes:
        """More of the text or the thinking that is being told, or the beginning of another."""
        block = self.blocks.last
        if type(block) is not kind:
            block = kind()
            self.blocks.begin(block)
        return self.blocks.add(block, piece)

    def _call(self, call: Call) -> bytes:
        function = call.function or _NOTHING
        block = self._block_of(call, function)
        if function.name and not block.name:
            block.named(self.request.tools.get(function.name, function.name))
        return self.blocks.add_arguments(block, function.arguments or "")

    def _block_of(self, call: Call, function: Function) -> ToolUse:
        """The call that this is a piece of, or a new one. Some servers give all their calls one index, or none; then a
        name under another id begins the next. An id alone does not, because others give every piece a new one.
        """
        block = self._by_index.get(call.index)
        if block is not None and function.name:
            another = call.id != block.server_id if call.id else call.index is None
            block = None if another else block
        if block is None:
            block = ToolUse(call_id(call.id, self.message_id, self._calls), call.id)
            self._by_index[call.index] = block
            self.blocks.begin(block)
            self._calls += 1
        return block
