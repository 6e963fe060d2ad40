"""Adds a streamed answer up to the whole one, by the rules of OpenAI's API reference."""

import json
from typing import Any

from tests.support.grammar import read_sse

Json = dict[str, Any]


def accumulate_chat(stream: bytes) -> Json:
    """The ``chat.completion`` object that the chunks of a complete stream add up to."""
    chunks = [json.loads(data) for _, data in read_sse(stream) if data != "[DONE]"]
    completion: Json = {field: chunks[0][field] for field in ("id", "created", "model")}
    message: Json = {"content": None, "refusal": None}
    choice: Json = {}
    for chunk in chunks:
        for streamed in chunk["choices"]:
            _add(message, streamed.pop("delta"))
            choice |= streamed
        if chunk.get("usage") is not None:
            completion["usage"] = chunk["usage"]
    for call in message.get("tool_calls", []):
        del call["index"]
    return {**completion, "object": "chat.completion", "choices": [{**choice, "message": message}]}


def accumulate_responses(stream: bytes) -> Json:
    """The response object in the last event."""
    _, data = read_sse(stream)[-1]
    response = json.loads(data)["response"]
    assert isinstance(response, dict)
    return response


def _add(whole: Json, delta: Json) -> None:
    for field, value in delta.items():
        known = whole.get(field)
        if known is None:
            whole[field] = value
        elif field in ("index", "type"):
            assert value == known, f"{field} changed"
        elif isinstance(value, str):
            whole[field] = known + value
        elif isinstance(value, dict):
            _add(known, value)
        elif isinstance(value, list):
            for entry in value:
                if entry["index"] == len(known):
                    known.append(entry)
                else:
                    _add(known[entry["index"]], entry)
