"""What both OpenAI dialects make of Anthropic's thinking and tool blocks."""

from typing import Final, final

import msgspec

from protocol.translate.call import CUSTOM_INPUT, ClientTool, Notes, ToolKind
from protocol.translate.events import Block, Delta, read_fields

THINKING: Final = frozenset({"thinking", "redacted_thinking"})


@final
class Thinking:
    """A thinking block, gathered whole. It travels back as it came or not at all: the provider checks its signature."""

    __slots__ = ("_fields", "_pieces", "_signature")

    def __init__(self, raw: msgspec.Raw) -> None:
        self._fields = read_fields(raw)
        self._pieces: list[str] = []
        self._signature = ""

    def add(self, delta: Delta) -> None:
        if delta.thinking:
            self._pieces.append(delta.thinking)
        if delta.signature:
            self._signature = delta.signature

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def whole(self) -> dict[str, object] | None:
        """The block as the API sends it outside a stream, or None where it was cut before its signature."""
        if self._fields.get("type") == "thinking":
            self._fields["thinking"] = self.text
            self._fields["signature"] = self._signature or self._fields.get("signature", "")
        return self._fields if is_signed(self._fields) else None


@final
class Arguments:
    """The input of a tool, gathered whole as JSON text: its pieces, or what came with the block if there were none."""

    __slots__ = ("_block", "_pieces")

    def __init__(self, block: Block) -> None:
        self._block = block
        self._pieces: list[str] = []

    def add(self, delta: Delta) -> None:
        if delta.partial_json:
            self._pieces.append(delta.partial_json)

    @property
    def begun(self) -> bool:
        """Whether a piece came."""
        return bool(self._pieces)

    @property
    def text(self) -> str:
        return "".join(self._pieces) or self._block.arguments


def is_signed(fields: dict[str, object]) -> bool:
    """Whether the API would take this thinking block back."""
    proof = fields.get("signature" if fields.get("type") == "thinking" else "data")
    return isinstance(proof, str) and proof != ""


def called_tool(notes: Notes, name: str) -> ClientTool:
    """The client's own tool behind the name that a ``tool_use`` block has."""
    return notes.tools.get(name) or ClientTool(ToolKind.FUNCTION, name)


def custom_input(arguments: str) -> str:
    """The free text of a custom tool's call. Arguments of another shape are the model's mistake, shown as they are."""
    try:
        fields = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return arguments
    text = fields.get(CUSTOM_INPUT) if isinstance(fields, dict) else None
    return text if isinstance(text, str) else arguments
