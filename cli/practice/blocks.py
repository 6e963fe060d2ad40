"""Content blocks as the Messages API sends them: whole in a message, or opened empty and filled by deltas."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

Json: TypeAlias = dict[str, Any]

_PIECE: Final = re.compile(r"\s*\S{1,12}|\s+")


def pieces(text: str) -> tuple[str, ...]:
    """The text in the portions that a stream delivers; joined they are the text, and each counts as one token."""
    return tuple(_PIECE.findall(text))


class Block(ABC):
    """One block of an answer. The opened block with all its deltas says the same as the whole one."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """How many output tokens the block counts for."""

    @abstractmethod
    def whole(self) -> Json:
        """As it stands in a message that is sent at once."""

    @abstractmethod
    def opened(self) -> Json:
        """As ``content_block_start`` shows it."""

    @abstractmethod
    def deltas(self) -> Iterator[Json]:
        """What the ``content_block_delta`` events bring."""


@dataclass(frozen=True, slots=True)
class Text(Block):
    pieces: tuple[str, ...]

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    def whole(self) -> Json:
        return {"type": "text", "text": "".join(self.pieces)}

    def opened(self) -> Json:
        return {"type": "text", "text": ""}

    def deltas(self) -> Iterator[Json]:
        for piece in self.pieces:
            yield {"type": "text_delta", "text": piece}


@dataclass(frozen=True, slots=True)
class Thinking(Block):
    """Reasoning with its signature. Without pieces it is the omitted form, of which only the signature is sent."""

    pieces: tuple[str, ...]
    signature: str

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    def whole(self) -> Json:
        return {"type": "thinking", "thinking": "".join(self.pieces), "signature": self.signature}

    def opened(self) -> Json:
        return {"type": "thinking", "thinking": "", "signature": ""}

    def deltas(self) -> Iterator[Json]:
        for piece in self.pieces:
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": self.signature}


@dataclass(frozen=True, slots=True)
class RedactedThinking(Block):
    """Reasoning that only the provider can read; it has no deltas."""

    data: str

    @property
    def tokens(self) -> int:
        return 1

    def whole(self) -> Json:
        return {"type": "redacted_thinking", "data": self.data}

    def opened(self) -> Json:
        return self.whole()

    def deltas(self) -> Iterator[Json]:
        return iter(())


@dataclass(frozen=True, slots=True)
class ToolUse(Block):
    """A call of one tool; ``arguments`` is the JSON text of its input, an object."""

    id: str
    name: str
    arguments: str

    @property
    def tokens(self) -> int:
        return 1 + len(self._partials())

    def whole(self) -> Json:
        return {**self.opened(), "input": msgspec.Raw(self.arguments.encode())}

    def opened(self) -> Json:
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}, "caller": {"type": "direct"}}

    def deltas(self) -> Iterator[Json]:
        yield {"type": "input_json_delta", "partial_json": ""}  # the provider's first one is empty
        for partial in self._partials():
            yield {"type": "input_json_delta", "partial_json": partial}

    def _partials(self) -> list[str]:
        return re.findall(r"(?s).{1,10}", self.arguments)
