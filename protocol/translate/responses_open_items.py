"""The items of a Responses API stream while they grow, each with its own sequence of events."""

from abc import abstractmethod
from typing import final

import msgspec

from protocol.translate.blocks import Arguments, Thinking, called_tool, custom_input
from protocol.translate.call import Notes
from protocol.translate.events import Block, Delta
from protocol.translate.message_stream import BlockWriter
from protocol.translate.responses_events import DeltaEvents, ResponseEvents
from protocol.translate.responses_items import (
    IN_PROGRESS,
    JsonObject,
    call_item,
    call_kind,
    item_id,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)


class Place(msgspec.Struct, frozen=True):
    """Where an item is written: into which stream, of which message, as which of its items."""

    events: ResponseEvents
    notes: Notes
    message_id: str
    output_index: int

    def identity(self, kind: str) -> str:
        return item_id(kind, self.message_id, self.output_index)

    def added(self, item: JsonObject) -> bytes:
        return self.events.event("response.output_item.added", {"output_index": self.output_index, "item": item})

    def done(self, item: JsonObject) -> bytes:
        return self.events.event("response.output_item.done", {"output_index": self.output_index, "item": item})


class OpenItem(BlockWriter):
    """An item that may still grow. The end of its block does not close it: only what comes next tells how it ended."""

    __slots__ = ()

    def close(self) -> bytes:
        return b""

    @abstractmethod
    def done(self, status: str) -> tuple[bytes, JsonObject | None]:
        """The events that complete the item, and the item; None where it never began."""


@final
class OpenMessage(OpenItem):
    """A message item. The client hears of it with its first text or with a refusal."""

    __slots__ = ("_deltas", "_identity", "_parts", "_pieces", "_place")

    def __init__(self, place: Place) -> None:
        self._place = place
        self._identity = place.identity("message")
        self._pieces: list[str] = []
        self._deltas: DeltaEvents | None = None
        self._parts: list[JsonObject] = []

    def delta(self, delta: Delta) -> bytes:
        piece = delta.text
        if self._deltas is None or not piece:
            return self.text(piece) if piece else b""
        self._pieces.append(piece)
        return self._deltas.write(piece)

    def text(self, piece: str) -> bytes:
        self._pieces.append(piece)
        if self._deltas is not None:
            return self._deltas.write(piece)
        fields = self._part_fields()
        self._deltas = DeltaEvents(self._place.events, "response.output_text.delta", {**fields, "logprobs": []})
        return self._begin_part(text_part("")) + self._deltas.write(piece)

    def refuse(self, refusal: str) -> bytes:
        """Adds the part that says why the model declined, after any text."""
        event = self._place.events.event
        written = [self._end_text(), self._begin_part(refusal_part(""))]
        fields = self._part_fields()
        written.append(event("response.refusal.delta", {**fields, "delta": refusal}))
        written.append(event("response.refusal.done", {**fields, "refusal": refusal}))
        written.append(self._end_part(refusal_part(refusal)))
        return b"".join(written)

    def done(self, status: str) -> tuple[bytes, JsonObject | None]:
        ended = self._end_text()
        if not self._parts:
            return b"", None
        item = message_item(self._identity, self._parts, status)
        return ended + self._place.done(item), item

    def _part_fields(self) -> JsonObject:
        return {
            "item_id": self._identity,
            "output_index": self._place.output_index,
            "content_index": len(self._parts),
        }

    def _begin_part(self, part: JsonObject) -> bytes:
        opening = b"" if self._parts else self._place.added(message_item(self._identity, [], IN_PROGRESS))
        return opening + self._place.events.event("response.content_part.added", {**self._part_fields(), "part": part})

    def _end_text(self) -> bytes:
        if self._deltas is None:
            return b""
        self._deltas = None
        text = "".join(self._pieces)
        fields = {**self._part_fields(), "text": text, "logprobs": []}
        return self._place.events.event("response.output_text.done", fields) + self._end_part(text_part(text))

    def _end_part(self, part: JsonObject) -> bytes:
        fields = {**self._part_fields(), "part": part}
        self._parts.append(part)
        return self._place.events.event("response.content_part.done", fields)


@final
class AnswerTool(BlockWriter):
    """The tool whose input is the answer, written as the text of a message."""

    __slots__ = ("_arguments", "_message")

    def __init__(self, message: OpenMessage, block: Block) -> None:
        self._message = message
        self._arguments = Arguments(block)

    def delta(self, delta: Delta) -> bytes:
        self._arguments.add(delta)
        return self._message.text(delta.partial_json) if delta.partial_json else b""

    def close(self) -> bytes:
        return b"" if self._arguments.begun else self._message.text(self._arguments.text)


@final
class OpenReasoning(OpenItem):
    """A reasoning item: its text as a summary where the client asked for one, else as reasoning text."""

    __slots__ = ("_block", "_deltas", "_identity", "_place")

    def __init__(self, place: Place, raw: msgspec.Raw) -> None:
        self._place = place
        self._identity = place.identity("reasoning")
        self._block = Thinking(raw)
        self._deltas: DeltaEvents | None = None

    def begin(self) -> bytes:
        return self._place.added(reasoning_item(self._identity, "", None, self._place.notes))

    def delta(self, delta: Delta) -> bytes:
        self._block.add(delta)
        if not delta.thinking:
            return b""
        if self._deltas is not None:
            return self._deltas.write(delta.thinking)
        events, fields = self._place.events, self._fields()
        if self._place.notes.reasoning_summary:
            part = {"type": "summary_text", "text": ""}
            opening = events.event("response.reasoning_summary_part.added", {**fields, "part": part})
            self._deltas = DeltaEvents(events, "response.reasoning_summary_text.delta", fields)
        else:
            part = {"type": "reasoning_text", "text": ""}
            opening = events.event("response.content_part.added", {**fields, "part": part})
            self._deltas = DeltaEvents(events, "response.reasoning_text.delta", fields)
        return opening + self._deltas.write(delta.thinking)

    def done(self, status: str) -> tuple[bytes, JsonObject | None]:
        text = self._block.text
        item = reasoning_item(self._identity, text, self._block.whole, self._place.notes)
        return self._end_part(text) + self._place.done(item), item

    def _fields(self) -> JsonObject:
        index = "summary_index" if self._place.notes.reasoning_summary else "content_index"
        return {"item_id": self._identity, "output_index": self._place.output_index, index: 0}

    def _end_part(self, text: str) -> bytes:
        if self._deltas is None:
            return b""
        event, fields = self._place.events.event, self._fields()
        if self._place.notes.reasoning_summary:
            part = {"type": "summary_text", "text": text}
            ended = event("response.reasoning_summary_text.done", {**fields, "text": text})
            return ended + event("response.reasoning_summary_part.done", {**fields, "part": part})
        part = {"type": "reasoning_text", "text": text}
        ended = event("response.reasoning_text.done", {**fields, "text": text})
        return ended + event("response.content_part.done", {**fields, "part": part})


class OpenCall(OpenItem):
    """A function's call: its arguments stream as the JSON text that the model writes."""

    __slots__ = ("_arguments", "_block", "_deltas", "_identity", "_place", "_tool")

    def __init__(self, place: Place, block: Block) -> None:
        self._place = place
        self._block = block
        self._tool = called_tool(place.notes, block.name)
        self._identity = place.identity(call_kind(self._tool))
        self._arguments = Arguments(block)
        self._deltas = DeltaEvents(place.events, "response.function_call_arguments.delta", self._fields())

    def begin(self) -> bytes:
        return self._place.added(call_item(self._identity, self._block.id, self._tool, "", IN_PROGRESS))

    def delta(self, delta: Delta) -> bytes:
        self._arguments.add(delta)
        return self._deltas.write(delta.partial_json) if delta.partial_json else b""

    def done(self, status: str) -> tuple[bytes, JsonObject | None]:
        item = call_item(self._identity, self._block.id, self._tool, self._arguments.text, status)
        return self._end() + self._place.done(item), item

    def _fields(self) -> JsonObject:
        return {"item_id": self._identity, "output_index": self._place.output_index}

    def _end(self) -> bytes:
        text = self._arguments.text
        written = b"" if self._arguments.begun else self._deltas.write(text)
        fields = {**self._fields(), "arguments": text}
        return written + self._place.events.event("response.function_call_arguments.done", fields)


@final
class OpenCustomCall(OpenCall):
    """A custom tool's call: its free text comes in one piece, when the JSON around it is complete."""

    __slots__ = ()

    def delta(self, delta: Delta) -> bytes:
        self._arguments.add(delta)
        return b""

    def _end(self) -> bytes:
        event, fields = self._place.events.event, self._fields()
        text = custom_input(self._arguments.text)
        piece = event("response.custom_tool_call_input.delta", {**fields, "delta": text})
        return piece + event("response.custom_tool_call_input.done", {**fields, "input": text})
