"""The practice model: a Messages request in, a message out, whole or as the events of a stream.

Nothing here reads a clock or draws a random number: the same request gives the same bytes, ids included.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle, islice
from typing import Final

import msgspec

from cli.practice.blocks import Block, Json, RedactedThinking, Text, Thinking, ToolUse, pieces
from cli.practice.directives import Directives, StopReason
from cli.practice.examples import example
from cli.practice.prompts import MessagesRequest, Prompt, Said, Tool
from protocol.errors import Refusal

FILLER: Final = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".")

LONGEST_QUOTE: Final = 300
"""Characters of the user's words, or of a tool's answer, that a reply repeats."""

LARGEST_CACHED_STREAM: Final = 1000
"""Deltas. Longer streams are rendered as they are sent, so that they take no memory."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; ``fresh``, ``written`` and ``read`` add up to the prompt."""

    fresh: int
    written: int
    read: int
    output: int = 1
    thinking: int = 0

    @classmethod
    def of(cls, prompt: Prompt) -> "Usage":
        """A first turn writes what is cacheable to the prompt cache, later turns read it there."""
        cached = prompt.cacheable_tokens
        written, read = (0, cached) if prompt.continued else (cached, 0)
        return cls(prompt.tokens - cached, written, read)

    def totals(self) -> Json:
        """As ``message_delta`` reports it."""
        return {
            "input_tokens": self.fresh,
            "cache_creation_input_tokens": self.written,
            "cache_read_input_tokens": self.read,
            "output_tokens": self.output,
            "output_tokens_details": {"thinking_tokens": self.thinking},
        }

    def details(self) -> Json:
        """As a message reports it."""
        by_lifetime = {"ephemeral_5m_input_tokens": self.written, "ephemeral_1h_input_tokens": 0}
        return {**self.totals(), "cache_creation": by_lifetime, "service_tier": "standard"}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the practice model."""

    id: str
    model: str
    blocks: tuple[Block, ...]
    stop: StopReason
    stop_sequence: str | None
    usage: Usage


def compose(request: MessagesRequest, said: Said, wanted: Directives, seed: bytes) -> Reply:
    """Answer a request. ``seed``, such as the request's body, is what the answer's ids are made of.

    :raises Refusal: 400 when a tool is asked for that the request does not define.
    """
    blocks: list[Block] = _thoughts(request, said, wanted)
    calls = _calls(request, wanted, seed)
    stop: StopReason = "end_turn"
    stop_sequence: str | None = None
    if calls:
        blocks += calls
        stop = "tool_use"
    elif wanted.size is not None:
        blocks.append(Text(_filler(wanted.size)))
    else:
        text, stop_sequence = _stopped(_words(request, said), request.stop_sequences or [])
        blocks += [Text(pieces(text))] if text else []
        stop = "stop_sequence" if stop_sequence is not None else stop
    if wanted.size is None and sum(block.tokens for block in blocks) > request.max_tokens:
        blocks, stop, stop_sequence = _shortened(blocks, request.max_tokens), "max_tokens", None
    if wanted.stop is not None:
        stop = wanted.stop
        stop_sequence = next(iter(request.stop_sequences or []), None) if stop == "stop_sequence" else None
    thinking = sum(block.tokens for block in blocks if isinstance(block, Thinking | RedactedThinking))
    output = max(1, sum(block.tokens for block in blocks))
    usage = replace(Usage.of(request), output=output, thinking=thinking)
    return Reply(identifier("msg", seed), request.model, tuple(blocks), stop, stop_sequence, usage)


def message(reply: Reply) -> Json:
    """The whole answer, as a request without ``stream`` gets it."""
    content = [block.whole() for block in reply.blocks]
    return {**_envelope(reply), "content": content, **_ending(reply), "usage": reply.usage.details()}


def events(reply: Reply) -> Iterator[Json]:
    """The answer as stream events, in the provider's order: one ping, and no block before the last one has stopped."""
    begun = replace(reply.usage, output=1, thinking=0).details()
    unfinished: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": begun}
    yield {"type": "message_start", "message": {**_envelope(reply), **unfinished}}
    for index, block in enumerate(reply.blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block.opened()}
        if index == 0:
            yield {"type": "ping"}
        for delta in block.deltas():
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": _ending(reply), "usage": reply.usage.totals()}
    yield {"type": "message_stop"}


def stream(reply: Reply) -> Iterable[bytes]:
    """The same events as server-sent events, one ``bytes`` each; repeated short ones come from a small cache."""
    if reply.usage.output <= LARGEST_CACHED_STREAM:
        return _rendered(reply)
    return map(server_sent_event, events(reply))


def server_sent_event(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def identifier(prefix: str, *parts: bytes) -> str:
    """An id in the provider's style, the same for the same parts: ``msg_01`` and 22 hexadecimal digits."""
    return f"{prefix}_01{hashlib.blake2b(b'/'.join(parts), digest_size=11).hexdigest()}"


@lru_cache(maxsize=32)
def _rendered(reply: Reply) -> tuple[bytes, ...]:
    return tuple(map(server_sent_event, events(reply)))


def _envelope(reply: Reply) -> Json:
    return {"id": reply.id, "type": "message", "role": "assistant", "model": reply.model}


def _ending(reply: Reply) -> Json:
    refused = {"type": "refusal", "category": None, "explanation": "The practice upstream was told to refuse."}
    return {
        "stop_reason": reply.stop,
        "stop_sequence": reply.stop_sequence,
        "stop_details": refused if reply.stop == "refusal" else None,
    }


def _thoughts(request: MessagesRequest, said: Said, wanted: Directives) -> list[Block]:
    if wanted.think is None and not request.thinks:
        return []
    text = f"The user wrote {len(said.words)} characters. A practice answer will do."
    signature = _opaque(text.encode())
    blocks: list[Block] = [Thinking(pieces(text) if request.shows_thinking else (), signature)]
    if wanted.think == "redacted":
        blocks.append(RedactedThinking(_opaque(signature.encode())))
    return blocks


def _calls(request: MessagesRequest, wanted: Directives, seed: bytes) -> list[Block]:
    """A call of each tool that the directives or the request's ``tool_choice`` demand."""
    return [
        ToolUse(
            identifier("toolu", str(index).encode(), seed),
            tool.name,
            msgspec.json.encode(example(tool.input_schema)).decode(),
        )
        for index, tool in enumerate(_demanded(request, wanted))
    ]


def _demanded(request: MessagesRequest, wanted: Directives) -> list[Tool]:
    choice = request.tool_choice or {}
    if wanted.tools == "all":
        return request.custom_tools()
    if wanted.tools is not None:
        return _named(request, wanted.tools.split(","))
    if choice.get("type") == "tool":
        return _named(request, [str(choice.get("name"))])
    return request.custom_tools()[:1] if choice.get("type") == "any" else []


def _named(request: MessagesRequest, names: list[str]) -> list[Tool]:
    tools = {tool.name: tool for tool in request.custom_tools()}
    for name in names:
        if name.strip() not in tools:
            raise Refusal(400, f"Tool '{name.strip()}' not found in provided tools")
    return [tools[name.strip()] for name in names]


def _words(request: MessagesRequest, said: Said) -> str:
    if request.output_schema is not None:
        return msgspec.json.encode(example(request.output_schema, said.words or "practice")).decode()
    heard = [f"The tool answered: “{_quote(result)}”." for result in said.tool_results]
    if said.words:
        heard.append(f"You said: “{_quote(said.words)}”.")
    return " ".join([*heard, "This is the practice upstream: no model is behind it, and nothing left this machine."])


def _quote(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"


def _stopped(text: str, sequences: list[str]) -> tuple[str, str | None]:
    """The text up to the first stop sequence in it, and that sequence."""
    found = [(text.index(sequence), sequence) for sequence in sequences if sequence and sequence in text]
    if not found:
        return text, None
    end, sequence = min(found)
    return text[:end], sequence


def _shortened(blocks: list[Block], budget: int) -> list[Block]:
    """What fits into a number of output tokens: text and thinking break off, other blocks are left out."""
    kept: list[Block] = []
    for block in blocks:
        if block.tokens <= budget:
            kept.append(block)
        elif isinstance(block, Text | Thinking) and budget > 0:
            kept.append(replace(block, pieces=block.pieces[:budget]))
        budget = max(0, budget - block.tokens)
    return kept


def _opaque(data: bytes) -> str:
    return base64.b64encode(hashlib.blake2b(data, digest_size=48).digest()).decode()


@lru_cache(maxsize=8)
def _filler(size: int) -> tuple[str, ...]:
    return tuple(islice(cycle(FILLER), size))
