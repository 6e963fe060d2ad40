"""The output items of the Responses API (OpenAI API reference, "The response object"), built alike for both forms."""

from typing import Final

from protocol.translate.blocks import custom_input
from protocol.translate.call import ClientTool, Notes, ToolKind
from protocol.translate.reasoning import encode_reasoning

JsonObject = dict[str, object]

COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"
IN_PROGRESS: Final = "in_progress"
FAILED: Final = "failed"

_PREFIXES: Final = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


def own_part(message_id: str) -> str:
    """What tells one message id from another, without its prefix."""
    return message_id.removeprefix("msg_")


def item_id(kind: str, message_id: str, output_index: int) -> str:
    """The id of the item of this type at this place of an answer."""
    return f"{_PREFIXES[kind]}_{own_part(message_id)}_{output_index}"


def text_part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> JsonObject:
    return {"type": "refusal", "refusal": text}


def message_item(identity: str, parts: list[JsonObject], status: str) -> JsonObject:
    return {"id": identity, "type": "message", "role": "assistant", "status": status, "content": parts}


def reasoning_item(identity: str, text: str, block: JsonObject | None, notes: Notes) -> JsonObject:
    """Thinking text where the client wants to see it, and the block itself if the client asked for it.

    :param block: the whole thinking block; None where it cannot travel back, because it was cut.
    """
    item: JsonObject = {"id": identity, "type": "reasoning", "summary": []}
    if text and notes.reasoning_summary:
        item["summary"] = [{"type": "summary_text", "text": text}]
    elif text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if block is not None and notes.encrypted_reasoning:
        item["encrypted_content"] = encode_reasoning(block)
    return item


def call_kind(tool: ClientTool) -> str:
    """The type of the item that calls this tool."""
    return "custom_tool_call" if tool.kind is ToolKind.CUSTOM else "function_call"


def call_item(identity: str, call_id: str, tool: ClientTool, arguments: str, status: str) -> JsonObject:
    """A call for the client to make.

    :param arguments: the ``tool_use`` input as JSON text; ``""`` while nothing of it is known.
    """
    item: JsonObject = {
        "id": identity,
        "type": call_kind(tool),
        "status": status,
        "call_id": call_id,
        "name": tool.name,
    }
    if tool.namespace is not None:
        item["namespace"] = tool.namespace
    if tool.kind is ToolKind.CUSTOM:
        item["input"] = custom_input(arguments)
    else:
        item["arguments"] = arguments
    return item
