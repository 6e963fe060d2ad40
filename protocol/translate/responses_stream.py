"""An Anthropic event stream as the event lifecycle of the Responses API, written while it arrives.

The response object that closes the stream is the one that ``responses_response`` makes of the whole message. A message
item opens with its first text and not before. An item is closed when the next block begins or the message ends, so that
its status is true. A stream that fails ends with ``response.failed``, which holds the items that were complete.
"""

from collections.abc import Mapping
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.translate.blocks import THINKING, called_tool
from protocol.translate.call import ToolKind, TranslatedRequest
from protocol.translate.errors import error_object
from protocol.translate.events import Block, refusal_text
from protocol.translate.message_stream import SKIPPED, BlockWriter, MessageStream, Phase
from protocol.translate.responses_events import ResponseEvents
from protocol.translate.responses_items import COMPLETED, FAILED, IN_PROGRESS, JsonObject
from protocol.translate.responses_open_items import (
    AnswerTool,
    OpenCall,
    OpenCustomCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
    Place,
)
from protocol.translate.responses_response import final_status, finished_response, response_object

UNCODED: Final = "invalid_prompt"
"""The error code of a failed response whose error has none of its own; the field is required there."""


@final
class ResponsesStream(MessageStream):
    """One streamed response. ``created`` is in seconds since the epoch."""

    __slots__ = ("_created", "_events", "_item", "_output", "_request")

    def __init__(self, request: TranslatedRequest, *, created: int) -> None:
        super().__init__()
        self._request = request
        self._created = created
        self._events = ResponseEvents()
        self._item: OpenItem | None = None
        self._output: list[JsonObject] = []

    def started(self) -> bytes:
        response = {"response": self._response(IN_PROGRESS, {})}
        return self._events.event("response.created", response) + self._events.event("response.in_progress", response)

    def opened(self, block: Block, raw: msgspec.Raw) -> tuple[bytes, BlockWriter]:
        if block.type == "text":
            return self._message()
        if block.type == "tool_use" and block.name == self._request.notes.answer_tool:
            ending, message = self._message()
            return ending, AnswerTool(message, block)
        ending = self._end_item(COMPLETED)
        if block.type == "tool_use":
            custom = called_tool(self._request.notes, block.name).kind is ToolKind.CUSTOM
            call = OpenCustomCall(self._place(), block) if custom else OpenCall(self._place(), block)
            self._item = call
            return ending + call.begin(), call
        if block.type in THINKING:
            reasoning = OpenReasoning(self._place(), raw)
            self._item = reasoning
            return ending + reasoning.begin(), reasoning
        return ending, SKIPPED

    def completed(self) -> bytes:
        status, refusal = final_status(self.message), refusal_text(self.message)
        written = []
        if refusal is not None:
            ending, message = self._message()
            written += [ending, message.refuse(refusal)]
        written.append(self._end_item(status))
        response = finished_response(self._request, self.message, self._created, self._output)
        written.append(self._events.event(f"response.{status}", {"response": response}))
        return b"".join(written)

    def broken(self, refusal: Refusal) -> bytes:
        opening = self.started() if self.phase is Phase.AWAITED else b""
        error = error_object(refusal)
        facts = {
            "error": {"code": error.code or UNCODED, "message": error.message, "type": refusal.kind},
            "output": self._output,
        }
        return opening + self._events.event("response.failed", {"response": self._response(FAILED, facts)})

    def _message(self) -> tuple[bytes, OpenMessage]:
        """The message item that is open, or a new one after the item that is."""
        if isinstance(self._item, OpenMessage):
            return b"", self._item
        ending = self._end_item(COMPLETED)
        message = OpenMessage(self._place())
        self._item = message
        return ending, message

    def _end_item(self, status: str) -> bytes:
        if self._item is None:
            return b""
        written, item = self._item.done(status)
        self._item = None
        if item is not None:
            self._output.append(item)
        return written

    def _place(self) -> Place:
        return Place(self._events, self._request.notes, self.message.id, len(self._output))

    def _response(self, status: str, facts: Mapping[str, object]) -> JsonObject:
        return response_object(self._request, self.message, self._created, status, facts)
