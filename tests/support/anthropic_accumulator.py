"""Adds a streamed message up to the whole one, by the rules of Anthropic's API documentation."""

import json
from typing import Any

from tests.support.grammar import read_sse

Json = dict[str, Any]


def accumulate_message(stream: bytes) -> Json:
    """The message that the events of a complete stream add up to."""
    message: Json = {}
    inputs: dict[int, str] = {}
    for event, data in read_sse(stream):
        fields = json.loads(data)
        match event:
            case "message_start":
                message = fields["message"]
            case "content_block_start":
                message["content"].append(fields["content_block"])
            case "content_block_delta":
                _add(message["content"][fields["index"]], fields["delta"], inputs, fields["index"])
            case "message_delta":
                message |= fields["delta"]
                message["usage"] |= fields["usage"]
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text)
    return message


def _add(block: Json, delta: Json, inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
