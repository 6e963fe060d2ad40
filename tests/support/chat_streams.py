"""Whole chat completions, and the streams that tell them: in any of the spellings that servers are known for."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

FINISH_REASONS = ("stop", "length", "tool_calls", "function_call", "content_filter", "a_reason_of_tomorrow")
DONE = b"data: [DONE]\n\n"

_WORDS = st.text(max_size=20)
_INPUTS = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | _WORDS | st.lists(_WORDS, max_size=2), max_size=3
)
_TOKENS = st.integers(0, 300_000)


@dataclass(frozen=True)
class Spelling:
    """How a server tells a completion, where servers differ."""

    piece: int = 6
    """Characters in a delta."""

    interleaved: tuple[int, ...] = ()
    """Which call goes on next, as picks among those that have something left; what remains comes call by call."""

    arguments_with_name: bool = False
    """A call's first piece comes in the chunk that names it."""

    text_with_call: bool = False
    """The last piece of text comes in one chunk with the first call."""

    reasoning: str = "reasoning_content"
    usage: str = "last"
    """``last``: in a chunk of its own; ``finish``: with the finish reason; ``every``: in each chunk, counting up."""

    empty_fields: bool = False
    """Deltas hold the fields that they say nothing with: ``content: null``, ``tool_calls: []``, ``refusal: null``."""

    ids: bool = True
    done: bool = True
    comments: bool = False
    ascii_only: bool = False
    second_choice: bool = False
    line_end: bytes = b"\n"


@dataclass(frozen=True)
class Answer:
    """One answer in both forms, their JSON spelled alike."""

    completion: Json
    stream: bytes
    ascii_only: bool

    @property
    def body(self) -> bytes:
        return json.dumps(self.completion, ensure_ascii=self.ascii_only).encode()


def completion(finish_reason: str | None = "stop", **message: Any) -> Json:
    """A whole completion with this message."""
    return {
        "id": "chatcmpl-01ABC",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "served-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish_reason}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def call(name: str, arguments: str = "{}", call_id: str = "call_1") -> Json:
    """A tool call of a whole completion."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chunk(delta: Json | None = None, finish_reason: str | None = None, **fields: Any) -> bytes:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish_reason}
    return frame({"id": "chatcmpl-01ABC", "object": "chat.completion.chunk", "choices": [choice], **fields})


def piece(index: int | None, arguments: str | None = None, name: str | None = None, call_id: str | None = None) -> Json:
    """A delta with a piece of one call."""
    given = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [{field: value for field, value in given.items() if value is not None}]}


def frame(fields: Any, *, ascii_only: bool = False) -> bytes:
    return f"data: {json.dumps(fields, ensure_ascii=ascii_only)}\n\n".encode()


def tell(completion: Json, spelling: Spelling | None = None) -> bytes:
    """The stream that tells a completion."""
    spelling = spelling or Spelling()
    written = b""
    chunks = list(_chunks(completion, spelling))
    for number, fields in enumerate(chunks):
        if spelling.comments and number % 3 == 1:
            written += b": PROCESSING\n\n"
        if spelling.usage == "every" and fields["choices"]:
            counted = completion["usage"] if number == len(chunks) - 1 else {"prompt_tokens": number}
            fields = {**fields, "usage": counted}
        if not spelling.ids:
            del fields["id"]
        written += frame(fields, ascii_only=spelling.ascii_only)
    return (written + (DONE if spelling.done else b"")).replace(b"\n", spelling.line_end)


def spellings() -> st.SearchStrategy[Spelling]:
    return st.builds(
        Spelling,
        piece=st.integers(1, 12),
        interleaved=st.lists(st.integers(0, 3), max_size=20).map(tuple),
        arguments_with_name=st.booleans(),
        text_with_call=st.booleans(),
        reasoning=st.sampled_from(["reasoning_content", "reasoning"]),
        usage=st.sampled_from(["last", "finish", "every"]),
        empty_fields=st.booleans(),
        ids=st.booleans(),
        done=st.booleans(),
        comments=st.booleans(),
        ascii_only=st.booleans(),
        second_choice=st.booleans(),
        line_end=st.sampled_from([b"\n", b"\r\n"]),
    )


@st.composite
def completions(draw: st.DrawFn, names: Sequence[str] = ("get_weather", "run")) -> Json:
    """A whole completion whose message and finish reason go together."""
    message: Json = {"content": draw(st.none() | st.text(max_size=60))}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(st.text(max_size=60))
    if draw(st.integers(0, 4)) == 0:
        message["refusal"] = draw(st.text(min_size=1, max_size=30))
    inputs = draw(st.lists(_INPUTS, max_size=4))
    if inputs:
        message["tool_calls"] = [
            call(draw(st.sampled_from(names)), _arguments(draw, fields), f"call_{number}")
            for number, fields in enumerate(inputs)
        ]
    made = completion(draw(st.sampled_from(FINISH_REASONS)), **message)
    made["usage"] = draw(usages())
    return made


@st.composite
def answers(draw: st.DrawFn, names: Sequence[str] = ("get_weather", "run")) -> Answer:
    """A completion and a stream that tells it."""
    made, spelling = draw(completions(names)), draw(spellings())
    told = tell(made, spelling)
    if not spelling.ids:
        del made["id"]
    return Answer(made, told, spelling.ascii_only)


@st.composite
def usages(draw: st.DrawFn) -> Json:
    prompt, written = draw(_TOKENS), draw(_TOKENS)
    usage: Json = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    if draw(st.booleans()):
        usage["prompt_tokens_details"] = {"cached_tokens": draw(st.none() | st.integers(0, prompt))}
    if draw(st.booleans()):
        usage["completion_tokens_details"] = {"reasoning_tokens": draw(st.none() | _TOKENS)}
    return usage


def _arguments(draw: st.DrawFn, fields: Json) -> str:
    """JSON text, as compact or as airy as a model may write it; of no arguments, also nothing."""
    if not fields and draw(st.booleans()):
        return draw(st.sampled_from(["", " ", "\n"]))
    return json.dumps(fields, indent=draw(st.sampled_from([None, 0, 2])), ensure_ascii=draw(st.booleans()))


def _chunks(completion: Json, spelling: Spelling) -> Iterator[Json]:
    constant = {"id": completion["id"], "object": "chat.completion.chunk", "created": 1, "model": completion["model"]}
    [choice] = completion["choices"]
    deltas = [{"role": "assistant", "content": ""}, *_deltas(choice["message"], spelling)]
    for delta in deltas:
        if spelling.empty_fields:
            delta = {"content": None, "refusal": None, "tool_calls": [], **delta}
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
        if spelling.second_choice:
            choices.insert(0, {"index": 1, "delta": {"content": "noise"}, "finish_reason": None})
        yield {**constant, "choices": choices}
    finish = {**constant, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    yield {**finish, "usage": completion["usage"]} if spelling.usage == "finish" else finish
    if spelling.usage == "last":
        yield {**constant, "choices": [], "usage": completion["usage"]}


def _deltas(message: Json, spelling: Spelling) -> list[Json]:
    def pieces(text: str | None) -> list[str]:
        return [text[at : at + spelling.piece] for at in range(0, len(text or ""), spelling.piece)] if text else []

    deltas: list[Json] = [{spelling.reasoning: thought} for thought in pieces(message.get("reasoning_content"))]
    deltas += [{"content": text} for text in pieces(message.get("content"))]
    deltas += [{"refusal": text} for text in pieces(message.get("refusal"))]
    left: list[tuple[int, list[Json]]] = []
    for index, made in enumerate(message.get("tool_calls", [])):
        opening, *arguments = ["", *pieces(made["function"]["arguments"])]
        if spelling.arguments_with_name and arguments:
            opening, *arguments = arguments
        named = {**made, "index": index, "function": {"name": made["function"]["name"], "arguments": opening}}
        told = [named, *({"index": index, "function": {"arguments": piece}} for piece in arguments)]
        left.append((index, told))
    calls = [{"tool_calls": [told]} for told in _interleaved(left, spelling.interleaved)]
    if spelling.text_with_call and calls and deltas:
        deltas[-1] = {**deltas[-1], **calls.pop(0)}
    return deltas + calls


def _interleaved(left: list[tuple[int, list[Json]]], picks: Sequence[int]) -> Iterator[Json]:
    """The pieces of all calls, each call's in order; a call begins only after the one before it has begun."""
    begun = 0
    for pick in picks:
        open_calls = [told for index, told in left if told and index <= begun]
        if open_calls:
            told = open_calls[pick % len(open_calls)]
            begun = max(begun, told[0]["index"] + 1)
            yield told.pop(0)
    for _, told in left:
        yield from told
