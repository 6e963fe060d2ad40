"""Requests of the Messages API, read as far as a practice answer needs, and refused where the provider would refuse."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw

from cli.practice.directives import Wishes, in_text
from protocol.errors import Refusal

T = TypeVar("T")
JsonObject: TypeAlias = dict[str, Any]

_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")


class Turn(msgspec.Struct, frozen=True):
    """One entry of ``messages``; the content is only parsed where it is looked at."""

    role: str
    content: Raw


class Tool(msgspec.Struct, frozen=True):
    """A tool definition. One that the provider runs itself has no input schema."""

    name: str = ""
    input_schema: JsonObject | None = None


class Prompt(msgspec.Struct, frozen=True):
    """What ``count_tokens`` takes."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: Raw = Raw(b"")
    tools: Raw = Raw(b"")

    @property
    def tokens(self) -> int:
        """An estimate of the input tokens: a quarter of the prompt's JSON in bytes."""
        return 1 + sum(map(_size, [self.system, self.tools, *(turn.content for turn in self.messages)])) // 4

    @property
    def cacheable_tokens(self) -> int:
        """Those of them that the prompt cache holds: tools, system and the first turn, when a cache marker is set."""
        prefix = [self.system, self.tools, self.messages[0].content]
        marked = any(b'"cache_control"' in bytes(raw) for raw in [*prefix, self.messages[-1].content])
        return min(sum(map(_size, prefix)) // 4, self.tokens - 1) if marked else 0

    @property
    def continued(self) -> bool:
        """The model has spoken before."""
        return any(turn.role == "assistant" for turn in self.messages)

    def custom_tools(self) -> list[Tool]:
        """The tools that the client runs.

        :raises Refusal: 400 when they are not a list of definitions.
        """
        if bytes(self.tools) in {b"", b"null"}:
            return []
        return [tool for tool in parse(self.tools, list[Tool]) if tool.input_schema is not None]


class MessagesRequest(Prompt, frozen=True, kw_only=True):
    """What ``/v1/messages`` takes."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    thinking: JsonObject | None = None
    tool_choice: JsonObject | None = None
    output_config: JsonObject | None = None
    output_format: JsonObject | None = None

    @property
    def thinks(self) -> bool:
        return self.thinking is not None and self.thinking.get("type") in {"enabled", "adaptive"}

    @property
    def shows_thinking(self) -> bool:
        return self.thinking is None or self.thinking.get("display") != "omitted"

    @property
    def output_schema(self) -> object:
        """The JSON schema that the answer's text must fit, or None. ``output_format`` is its name in older betas."""
        wanted = (self.output_config or {}).get("format") or self.output_format
        if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
            return None
        return wanted.get("schema")


@dataclass(frozen=True, slots=True)
class Said:
    """The last user turn: its words without directive lines, the wishes in those, and what the tools answered."""

    words: str
    wishes: Wishes
    tool_results: tuple[str, ...]


def parse(body: bytes | Raw, shape: type[T]) -> T:
    """Read JSON of this shape.

    :raises Refusal: 400 in the provider's manner, naming the field at fault.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        missing = _MISSING.match(str(error))
        raise Refusal(400, f"{missing[1]}: Field required" if missing else str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "The request body is not valid JSON") from None


def heard(prompt: Prompt) -> Said:
    """The last user turn of a prompt.

    :raises Refusal: 400 when that turn's content is neither a text nor a list of blocks.
    """
    last = next((turn for turn in reversed(prompt.messages) if turn.role == "user"), prompt.messages[-1])
    blocks = _blocks(last.content)
    wishes: Wishes = {}
    words = ""
    for block in blocks:
        wished, rest = in_text(_text(block))
        wishes |= wished
        words = rest.strip() or words
    results = [_result(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    return Said(words, wishes, tuple(results))


def _blocks(content: Raw) -> list[JsonObject]:
    """The content as blocks; a bare text is one text block."""
    if bytes(content).lstrip().startswith(b'"'):
        return [{"type": "text", "text": parse(content, str)}]
    return parse(content, list[JsonObject])


def _text(block: JsonObject) -> str:
    text = block.get("text")
    return text if block.get("type") == "text" and isinstance(text, str) else ""


def _result(content: object) -> str:
    """A tool result as text; pictures and documents in it are named by their type."""
    if isinstance(content, str):
        return content
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return "\n".join(_text(block) or f"[{block.get('type')}]" for block in blocks)


def _size(raw: Raw) -> int:
    return len(memoryview(raw))
