"""A whole Anthropic message as a ``chat.completion`` object (OpenAI API reference, "The chat completion object").

Beyond OpenAI's own fields, each only where there is something to say:

* ``message.reasoning_content``: the thinking text; ``message.thinking_blocks``: the thinking blocks with their
  signatures, unchanged. A client that sends these blocks back lets a turn with tools go on thinking.
* ``choices[0].native_finish_reason``: Anthropic's stop reason, always; ``stop_sequence`` and ``stop_details`` as
  Anthropic names them.

Blocks of tools that the provider ran itself (searches, code) and the citations in text have no counterpart and are
left out; a request made by this translation asks for neither.
"""

from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.blocks import THINKING, called_tool, custom_input, is_signed
from protocol.translate.call import Notes, ToolKind, TranslatedRequest
from protocol.translate.events import Block, Message, read_block, read_fields, read_message, refusal_text
from protocol.translate.outcomes import chat_usage, ending

ONE_FUNCTION: Final = "the model called several functions, and the deprecated function_call can carry only one"


def translate_chat_response(body: bytes, request: TranslatedRequest, *, created: int) -> bytes:
    """The body for the client.

    :param created: seconds since the epoch.
    :raises Refusal: 502, the upstream's body is no message, or it cannot be said in the deprecated form asked for.
    """
    message = read_message(body)
    answer = _Answer(request.notes)
    for raw in message.content:
        answer.add(read_block(raw), raw)
    choice = {
        "index": 0,
        "message": answer.message(refusal_text(message)),
        "logprobs": None,
        **choice_end(message, request.notes, called=bool(answer.calls)),
    }
    return msgspec.json.encode(
        {
            "id": completion_id(message),
            "object": "chat.completion",
            "created": created,
            "model": request.requested_model,
            "choices": [choice],
            "usage": chat_usage(message.usage),
        }
    )


def completion_id(message: Message) -> str:
    """``chatcmpl-`` and what is the message's own part of its id; the same in a stream."""
    return "chatcmpl-" + message.id.removeprefix("msg_")


def choice_end(message: Message, notes: Notes, *, called: bool) -> dict[str, object]:
    """How the choice ended, as the fields of a choice.

    :param called: whether the answer holds a call that the client has to make.
    """
    reason = ending(message.stop_reason).finish_reason
    if reason == "tool_calls" and notes.answer_tool is not None and not called:
        reason = "stop"
    elif reason == "tool_calls" and notes.legacy_functions:
        reason = "function_call"
    end: dict[str, object] = {"finish_reason": reason, "native_finish_reason": message.stop_reason}
    if message.stop_sequence is not None:
        end["stop_sequence"] = message.stop_sequence
    if message.details is not None:
        end["stop_details"] = message.details
    return end


class _Answer:
    """What the blocks of one message add up to."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._thinking_blocks: list[dict[str, object]] = []
        self.calls: list[dict[str, object]] = []

    def add(self, block: Block, raw: msgspec.Raw) -> None:
        if block.type == "text":
            self._text.append(block.text)
        elif block.type == "tool_use" and block.name == self._notes.answer_tool:
            self._text.append(block.arguments)
        elif block.type == "tool_use":
            self.calls.append(_call(block, self._notes))
        elif block.type in THINKING:
            self._reasoning.append(block.thinking)
            fields = read_fields(raw)
            if is_signed(fields):
                self._thinking_blocks.append(fields)

    def message(self, refusal: str | None) -> dict[str, object]:
        """The message; its content is null where it says nothing because it calls or declines instead."""
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        silent = not text and (bool(self.calls) or refusal is not None)
        message: dict[str, object] = {"role": "assistant", "content": None if silent else text, "refusal": refusal}
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._thinking_blocks:
            message["thinking_blocks"] = self._thinking_blocks
        if self.calls and self._notes.legacy_functions:
            if len(self.calls) > 1:
                raise Refusal(502, ONE_FUNCTION)
            message["function_call"] = self.calls[0]["function"]
        elif self.calls:
            message["tool_calls"] = self.calls
        return message


def _call(block: Block, notes: Notes) -> dict[str, object]:
    tool = called_tool(notes, block.name)
    if tool.kind is ToolKind.CUSTOM:
        custom = {"name": tool.name, "input": custom_input(block.arguments)}
        return {"id": block.id, "type": "custom", "custom": custom}
    return {"id": block.id, "type": "function", "function": {"name": tool.name, "arguments": block.arguments}}
