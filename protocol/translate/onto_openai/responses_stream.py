"""An event stream of the Responses API as an Anthropic one, written while it arrives.

It adds up to what ``responses_response`` makes of the whole response. An item's block begins with its first text, a
call's with its name; a reasoning item is closed when it is done, because only then its encrypted form is known.
"""

from collections.abc import Callable
from typing import Final, final

from protocol.errors import Refusal
from protocol.translate.onto_openai.answer_stream import AnswerStream
from protocol.translate.onto_openai.blocks import Text, Thinking, ToolUse
from protocol.translate.onto_openai.errors import stream_refusal
from protocol.translate.onto_openai.ids import call_id
from protocol.translate.onto_openai.outcomes import Stop, stop_of_response
from protocol.translate.onto_openai.responses_answers import (
    BETWEEN_THOUGHTS,
    Event,
    Item,
    Response,
    read_event,
    read_item,
    read_response,
)
from protocol.translate.onto_openai.responses_response import check_ended, signature_of
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED
from protocol.wire.sse import SseDecoder


@final
class MessagesFromResponses(AnswerStream):
    """One answer of a server of the Responses API."""

    __slots__ = ("_calls", "_decoder", "_end", "_parts", "_reasoning", "_texts")

    def __init__(self, request: CarriedRequest, *, identity: str) -> None:
        super().__init__(request, identity=identity)
        self._decoder = SseDecoder()
        self._texts: dict[int, Text] = {}
        self._calls: dict[int, ToolUse] = {}
        self._reasoning: dict[int, Thinking] = {}
        self._parts: dict[int, tuple[int, int]] = {}
        self._end: Response | None = None

    def events(self, data: bytes) -> list[bytes]:
        return [event.data for event in self._decoder.feed(data)]

    def read(self, data: bytes) -> bytes:
        event = read_event(data, _STEPS)
        step = _STEPS.get(event.type)
        if step is not None:
            return step(self, event)
        if event.type == "error":
            raise stream_refusal(data)
        return b""

    def stop(self) -> Stop | None:
        if self._end is None:
            return None
        return stop_of_response(self._end, called=bool(self._calls), refusal="".join(self.refused))

    def begin(self, event: Event) -> bytes:
        return self.start(read_response(event.response).id)

    def end(self, event: Event) -> bytes:
        response = read_response(event.response)
        check_ended(response)
        self._end = response
        if response.usage is not None:
            self.usage = response.usage.usage
        return self.start(response.id) + self._untold(response) + self.ended()

    def text(self, event: Event) -> bytes:
        block = self._texts.get(event.output_index)
        if block is not None:
            return self.blocks.add(block, event.delta) if event.delta else b""
        self._texts[event.output_index] = block = Text()
        self.blocks.begin(block)
        return self.start(None) + (self.blocks.add(block, event.delta) if event.delta else b"")

    def refusal(self, event: Event) -> bytes:
        self.refused.append(event.delta)
        return self.text(event)

    def thought(self, event: Event) -> bytes:
        piece = event.delta
        if not piece or not self.request.shows_thinking:
            return b""
        part = (event.summary_index, event.content_index)
        if self._parts.setdefault(event.output_index, part) != part:
            self._parts[event.output_index] = part
            piece = BETWEEN_THOUGHTS + piece
        return self.start(None) + self.blocks.add(self._thinking(event.output_index), piece)

    def arguments(self, event: Event) -> bytes:
        call = self._calls.get(event.output_index)
        if call is None:
            raise Refusal(502, "the upstream sent arguments of a call that it had not begun")
        return self.blocks.add_arguments(call, event.delta)

    def added(self, event: Event) -> bytes:
        item = read_item(event.item)
        if item is None or item.type != "function_call":
            return b""
        return self.start(None) + self._call(event.output_index, item)

    def done(self, event: Event) -> bytes:
        item = read_item(event.item)
        return b"" if item is None else self.start(None) + self._done(event.output_index, item)

    def _done(self, place: int, item: Item) -> bytes:
        """An item is whole; what was not told of it in pieces is told now."""
        if item.type == "function_call":
            naming, call = self._call(place, item), self._calls[place]
            return naming + (b"" if call.begun else self.blocks.add_arguments(call, item.arguments or ""))
        if item.type == "reasoning":
            return self._thought_out(place, item) if self.request.shows_thinking else b""
        if place in self._texts:
            return b""
        self.refused += item.refusals
        return self.text(Event("", item.text, place))

    def _untold(self, response: Response) -> bytes:
        """All of an answer of which nothing was told before its end."""
        if self._texts or self._calls or self._reasoning:
            return b""
        items = [(place, read_item(raw)) for place, raw in enumerate(response.output or ())]
        return b"".join(self._done(place, item) for place, item in items if item is not None)

    def _call(self, place: int, item: Item) -> bytes:
        if place not in self._calls:
            call = ToolUse(call_id(item.call_id, self.message_id, len(self._calls)), item.call_id)
            self._calls[place] = call
            self.blocks.begin(call)
        if item.name and not self._calls[place].name:
            self._calls[place].named(self.request.tools.get(item.name, item.name))
        return self.blocks.advance()

    def _thinking(self, place: int) -> Thinking:
        block = self._reasoning.get(place)
        if block is None:
            block = self._reasoning[place] = Thinking(done=False)
            self.blocks.begin(block)
        return block

    def _thought_out(self, place: int, item: Item) -> bytes:
        signature = signature_of(item)
        if place not in self._reasoning and not item.thought and signature == UNSIGNED:
            return b""
        block = self._thinking(place)
        untold = self.blocks.add(block, item.thought) if item.thought and not block.begun else b""
        block.thought_out(signature)
        return untold + self.blocks.advance()


_STEPS: Final[dict[str, Callable[[MessagesFromResponses, Event], bytes]]] = {
    "response.created": MessagesFromResponses.begin,
    "response.in_progress": MessagesFromResponses.begin,
    "response.output_item.added": MessagesFromResponses.added,
    "response.output_text.delta": MessagesFromResponses.text,
    "response.refusal.delta": MessagesFromResponses.refusal,
    "response.reasoning_summary_text.delta": MessagesFromResponses.thought,
    "response.reasoning_text.delta": MessagesFromResponses.thought,
    "response.function_call_arguments.delta": MessagesFromResponses.arguments,
    "response.output_item.done": MessagesFromResponses.done,
    "response.completed": MessagesFromResponses.end,
    "response.incomplete": MessagesFromResponses.end,
    "response.failed": MessagesFromResponses.end,
}
