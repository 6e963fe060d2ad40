"""A whole Anthropic message as a response object (OpenAI API reference, "The response object").

Consecutive text blocks are one message item, whose text is their concatenation; every other block is an item of its
own: ``tool_use`` a ``function_call`` (or ``custom_tool_call``) whose ``call_id`` is Anthropic's id, ``thinking`` and
``redacted_thinking`` a ``reasoning`` item. A refusal is a ``refusal`` part at the end. Blocks of tools the provider ran
itself and the citations in text have no counterpart and are left out; a request made by this translation asks for
neither.

Beyond OpenAI's own fields: ``native_finish_reason`` is Anthropic's stop reason, and ``stop_sequence`` and
``stop_details`` are its fields of these names, where they say something.
"""

from collections.abc import Mapping

import msgspec

from protocol.translate.blocks import THINKING, called_tool, is_signed
from protocol.translate.call import Notes, TranslatedRequest
from protocol.translate.events import Block, Message, read_block, read_fields, read_message, refusal_text
from protocol.translate.outcomes import ending, responses_usage
from protocol.translate.responses_items import (
    COMPLETED,
    INCOMPLETE,
    JsonObject,
    call_item,
    call_kind,
    item_id,
    message_item,
    own_part,
    reasoning_item,
    refusal_part,
    text_part,
)


def translate_responses_response(body: bytes, request: TranslatedRequest, *, created: int) -> bytes:
    """The body for the client.

    :param created: seconds since the epoch.
    :raises Refusal: 502, the upstream's body is no message.
    """
    message = read_message(body)
    output = _Output(request.notes, message.id)
    for raw in message.content:
        output.add(read_block(raw), raw)
    status = final_status(message)
    items = output.items(refusal_text(message), status)
    return msgspec.json.encode(finished_response(request, message, created, items))


def response_id(message: Message, created: int) -> str:
    """``resp_`` and what is the message's own part of its id; the time where no message ever began."""
    return f"resp_{own_part(message.id) or created}"


def final_status(message: Message) -> str:
    """The status of a response to which nothing will be added, and of the item it ended in."""
    return COMPLETED if ending(message.stop_reason).incomplete is None else INCOMPLETE


def response_object(
    request: TranslatedRequest, message: Message, created: int, status: str, facts: Mapping[str, object]
) -> JsonObject:
    """A response object in any state; ``facts`` replaces what is empty in one that has just begun."""
    return {
        "id": response_id(message, created),
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": request.requested_model,
        "output": [],
        "usage": None,
        **facts,
        **request.notes.echo,
    }


def finished_response(
    request: TranslatedRequest, message: Message, created: int, items: list[JsonObject]
) -> JsonObject:
    """The response object of a message that is complete."""
    reason = ending(message.stop_reason).incomplete
    facts: JsonObject = {
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": items,
        "usage": responses_usage(message.usage),
        "native_finish_reason": message.stop_reason,
    }
    if message.stop_sequence is not None:
        facts["stop_sequence"] = message.stop_sequence
    if message.details is not None:
        facts["stop_details"] = message.details
    return response_object(request, message, created, final_status(message), facts)


class _Output:
    """The items that the blocks of a message make. One is open until the next block begins or the message ends."""

    def __init__(self, notes: Notes, message_id: str) -> None:
        self._notes = notes
        self._message_id = message_id
        self._items: list[JsonObject] = []
        self._text: list[str] = []
        self._open_call: JsonObject = {}

    def add(self, block: Block, raw: msgspec.Raw) -> None:
        self._open_call = {}
        if block.type == "text":
            self._text.append(block.text)
            return
        if block.type == "tool_use" and block.name == self._notes.answer_tool:
            self._text.append(block.arguments)
            return
        self._end_text(None, COMPLETED)
        if block.type == "tool_use":
            tool = called_tool(self._notes, block.name)
            identity = self._next_id(call_kind(tool))
            self._open_call = call_item(identity, block.id, tool, block.arguments, COMPLETED)
            self._items.append(self._open_call)
        elif block.type in THINKING:
            fields = read_fields(raw)
            whole = fields if is_signed(fields) else None
            self._items.append(reasoning_item(self._next_id("reasoning"), block.thinking, whole, self._notes))

    def items(self, refusal: str | None, status: str) -> list[JsonObject]:
        """All of them; the one that was open to the end has the status of the response."""
        if refusal is None and self._open_call:
            self._open_call["status"] = status
        self._end_text(refusal, status)
        return self._items

    def _end_text(self, refusal: str | None, status: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        parts = [text_part(text)] if text else []
        if refusal is not None:
            parts.append(refusal_part(refusal))
        if parts:
            self._items.append(message_item(self._next_id("message"), parts, status))

    def _next_id(self, kind: str) -> str:
        return item_id(kind, self._message_id, len(self._items))
