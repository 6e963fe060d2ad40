"""Whole Anthropic messages, and the streams that tell them: every block type, split anywhere, in any legal spelling."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

ANSWER_TOOL = "structured_answer"
CUSTOM_TOOL = "patch"
STOP_REASONS = (
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "compaction",
    "refusal",
    "model_context_window_exceeded",
    "a_reason_of_tomorrow",
)

_WORDS = st.text(max_size=30)
_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)
_INPUTS = st.dictionaries(st.text(max_size=10), _JSON_VALUES, max_size=3)
_TOKENS = st.integers(0, 300_000)


@dataclass(frozen=True)
class Story:
    """One answer in both forms, their JSON spelled alike."""

    message: Json
    stream: bytes
    ascii_only: bool

    @property
    def body(self) -> bytes:
        return json.dumps(self.message, ensure_ascii=self.ascii_only).encode()


def sse(fields: Json, *, ascii_only: bool = False) -> bytes:
    """One event as the API frames it."""
    return f"event: {fields['type']}\ndata: {json.dumps(fields, ensure_ascii=ascii_only)}\n\n".encode()


def message(*content: Json, stop_reason: str = "end_turn", **fields: Any) -> Json:
    """A whole message that answers with these blocks."""
    return {
        "id": "msg_01ABC",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **fields,
    }


def text(text: str) -> Json:
    return {"type": "text", "text": text}


def thinking(text: str, signature: str = "c2lnbmVk") -> Json:
    return {"type": "thinking", "thinking": text, "signature": signature}


def tool_use(name: str, tool_input: Json, tool_id: str = "toolu_1") -> Json:
    return {"type": "tool_use", "id": tool_id, "name": name, "input": tool_input}


def tell(message: Json, *, piece: int = 8) -> bytes:
    """The stream that tells a message, so many characters at a time."""
    return b"".join(map(sse, _events_of(message, _Spelling(False, piece, False, False))))


def text_blocks() -> st.SearchStrategy[Json]:
    return st.builds(lambda text: {"type": "text", "text": text, "citations": None}, st.text(max_size=60))


def thinking_blocks() -> st.SearchStrategy[Json]:
    return st.builds(
        lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature},
        st.text(max_size=60),
        st.text("abcXYZ+/=", min_size=1, max_size=20),
    ) | st.builds(lambda data: {"type": "redacted_thinking", "data": data}, st.text("abc+/=", min_size=1, max_size=20))


def tool_blocks(names: Sequence[str]) -> st.SearchStrategy[Json]:
    """``tool_use`` blocks, by and large with inputs of the right shape for a custom tool."""

    def block(name: str, number: int, fields: Json, text: str, sound: bool) -> Json:
        custom = name == CUSTOM_TOOL and sound
        return {
            "type": "tool_use",
            "id": f"toolu_{number}",
            "name": name,
            "input": {"input": text} if custom else fields,
        }

    return st.builds(block, st.sampled_from(names), st.integers(0), _INPUTS, _WORDS, st.booleans())


def provider_blocks() -> st.SearchStrategy[Json]:
    """Blocks that no OpenAI dialect has a place for: known ones, and one that uses familiar field names its own way."""
    return st.sampled_from(
        [
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]},
            {"type": "hologram", "text": {"depth": 3}, "input": None, "name": 7, "thinking": []},
        ]
    )


@st.composite
def messages(draw: st.DrawFn, names: Sequence[str] = ("get_weather", "run"), max_tools: int = 4) -> Json:
    """A whole message whose blocks and stop reason go together."""
    blocks = draw(
        st.lists(text_blocks() | thinking_blocks() | tool_blocks(names) | provider_blocks(), max_size=6).filter(
            lambda blocks: sum(block["type"] == "tool_use" for block in blocks) <= max_tools
        )
    )
    called = any(block["type"] == "tool_use" for block in blocks)
    reason = draw(st.sampled_from([reason for reason in STOP_REASONS if reason != "tool_use" or called]))
    details = draw(st.sampled_from([None, {"type": "refusal", "category": "cyber", "explanation": "Not this."}]))
    return {
        "id": "msg_" + draw(st.text("abcdef0123456789", min_size=1, max_size=24)),
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": draw(st.none() | _WORDS.filter(bool)) if reason == "stop_sequence" else None,
        "stop_details": details if reason == "refusal" else None,
        "usage": draw(usages()),
    }


@st.composite
def usages(draw: st.DrawFn) -> Json:
    usage: Json = {"input_tokens": draw(_TOKENS), "output_tokens": draw(_TOKENS)}
    for field in ("cache_read_input_tokens", "cache_creation_input_tokens"):
        if draw(st.booleans()):
            usage[field] = draw(st.none() | _TOKENS)
    if draw(st.booleans()):
        usage["output_tokens_details"] = {"thinking_tokens": draw(_TOKENS)}
    return usage


@st.composite
def stories(draw: st.DrawFn, names: Sequence[str] = ("get_weather", "run"), max_tools: int = 4) -> Story:
    """A message and a legal stream that tells it, with pings, unknown events and empty deltas in between."""
    message = draw(messages(names, max_tools))
    spelling = draw(_SPELLINGS)
    noise = draw(st.sampled_from([{"type": "ping"}, {"type": "weather_report", "delta": "sunny", "index": "x"}]))
    every = draw(st.integers(1, 8))
    stream = b""
    for number, event in enumerate(_events_of(message, spelling)):
        if number % every == every - 1:
            stream += sse(noise)
        stream += sse(event, ascii_only=spelling.ascii_only)
    return Story(message, stream, spelling.ascii_only)


@dataclass(frozen=True)
class _Spelling:
    """How an upstream tells a message, where the API leaves it a choice."""

    ascii_only: bool
    piece: int
    """Characters in a delta."""

    first_piece_in_start: bool
    """A block starts with its first text, and a tool with its whole input."""

    all_counts_in_delta: bool


_SPELLINGS = st.builds(_Spelling, st.booleans(), st.integers(1, 20), st.booleans(), st.booleans())


def _events_of(message: Json, spelling: _Spelling) -> Iterator[Json]:
    usage = message["usage"]
    early = {**usage, "output_tokens": 1, "output_tokens_details": None}
    empty: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    yield {"type": "message_start", "message": {**message, **empty, "usage": early}}
    for index, block in enumerate(message["content"]):
        start, deltas = _told(block, spelling)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    late = usage if spelling.all_counts_in_delta else {k: v for k, v in usage.items() if k.startswith("output")}
    end = {field: message[field] for field in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": end, "usage": late}
    yield {"type": "message_stop"}


def _told(block: Json, spelling: _Spelling) -> tuple[Json, list[Json]]:
    """How a block is announced, and the deltas that complete it."""
    match block["type"]:
        case "text":
            first, *pieces = ["", *_pieces(block["text"], spelling)]
            if spelling.first_piece_in_start and pieces:
                first, *pieces = pieces
            return {**block, "text": first}, [{"type": "text_delta", "text": piece} for piece in pieces]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"], spelling)]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signature]
        case "tool_use" | "server_tool_use":
            if spelling.first_piece_in_start:
                return block, []
            written = json.dumps(block["input"], ensure_ascii=spelling.ascii_only) if block["input"] else ""
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(written, spelling)]
            ]
            return {**block, "input": {}}, deltas
        case _:
            return block, [{"type": "hologram_delta", "text": {"depth": 4}}]


def _pieces(text: str, spelling: _Spelling) -> list[str]:
    return [text[at : at + spelling.piece] for at in range(0, len(text), spelling.piece)]
