"""Whole responses of the Responses API and the streams that tell them, as OpenAI's API reference has them."""

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def event(kind: str, **fields: Any) -> bytes:
    """One event; what numbers the events of a stream is left out, because nothing depends on it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def response(*output: Json, status: str = "completed", **fields: Any) -> Json:
    """A whole response with these items."""
    return {
        "id": "resp_01ABC",
        "object": "response",
        "created_at": 1_790_000_000,
        "model": "served-model",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": list(output),
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        },
        **fields,
    }


def said(*parts: Json, **fields: Any) -> Json:
    """A message item."""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {**item, "content": list(parts), **fields}


def text(words: str) -> Json:
    return {"type": "output_text", "text": words, "annotations": []}


def refusal(words: str) -> Json:
    return {"type": "refusal", "refusal": words}


def called(name: str, arguments: str = "{}", call_id: str = "call_1", **fields: Any) -> Json:
    """A function call item."""
    item = {"id": f"fc_{call_id}", "type": "function_call", "status": "completed", "call_id": call_id}
    return item | {"name": name, "arguments": arguments} | fields


def reasoned(*summary: str, encrypted: str | None = None, **fields: Any) -> Json:
    """A reasoning item."""
    texts = [{"type": "summary_text", "text": one} for one in summary]
    return {"id": "rs_1", "type": "reasoning", "summary": texts, "encrypted_content": encrypted} | fields


def tell(answer: Json, *, piece: int = 6) -> bytes:
    """The stream that tells a response, so many characters at a time."""
    begun = answer | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None, "error": None}
    told = [event("response.created", response=begun), event("response.in_progress", response=begun)]
    for place, item in enumerate(answer["output"]):
        told += _told(place, item, piece)
    return b"".join(told) + event(f"response.{answer['status']}", response=answer)


def _told(place: int, item: Json, piece: int) -> Iterator[bytes]:
    at = {"output_index": place, "item_id": item.get("id")}
    empty: Json = {"content": [], "summary": [], "arguments": "", "encrypted_content": None}
    begun = {name: empty[name] if name in empty and value is not None else value for name, value in item.items()}
    yield event("response.output_item.added", output_index=place, item=begun)
    for index, part in enumerate(item.get("content") or []):
        kind = {"output_text": "output_text", "refusal": "refusal", "reasoning_text": "reasoning_text"}[part["type"]]
        words = part.get("text", "") + part.get("refusal", "")
        for one in _pieces(words, piece):
            yield event(f"response.{kind}.delta", **at, content_index=index, delta=one)
        yield event(f"response.{kind}.done", **at, content_index=index)
    for index, part in enumerate(item.get("summary") or []):
        yield event("response.reasoning_summary_part.added", **at, summary_index=index)
        for one in _pieces(part["text"], piece):
            yield event("response.reasoning_summary_text.delta", **at, summary_index=index, delta=one)
        yield event("response.reasoning_summary_text.done", **at, summary_index=index)
    for one in _pieces(item.get("arguments") or "", piece):
        yield event("response.function_call_arguments.delta", **at, delta=one)
    yield event("response.output_item.done", output_index=place, item=item)


def _pieces(words: str, piece: int) -> list[str]:
    return [words[at : at + piece] for at in range(0, len(words), piece)]
