"""The turns of a Messages request, read for an API that has other words for them.

Reading keeps to the blocks; their order, the pairing of calls and results and the place of instructions in the middle
are the shared ``History``'s. What comes out are turns of blocks of these types: the parts of ``content``, ``tool_use``
as it came, ``tool_result`` with ``parts`` and ``failed``, and whatever ``recall`` makes of thinking.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, final

from protocol.translate.content import instruction_blocks
from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.history import History
from protocol.translate.onto_openai.content import Parts, block_parts, content_parts, note_marker
from protocol.translate.onto_openai.parameters import MESSAGE, OUTPUT_CONFIG, omit_once, sift
from protocol.translate.onto_openai.tools import Toolset
from protocol.translate.scope import Scope

Recall: TypeAlias = Callable[[Fields], Block | None]
"""What a server is given back of a thinking block; None leaves it out."""


class Turn(NamedTuple):
    """What one role says before another has its turn."""

    role: str
    blocks: list[Block]


@final
class Conversation:
    """Reads ``system`` and ``messages``; ``turns`` is what was said.

    ``effort`` is the effort that the messages ask of the next answer, None where they leave it to the request.
    """

    def __init__(self, toolset: Toolset, recall: Recall, scope: Scope) -> None:
        self._toolset = toolset
        self._recall = recall
        self._scope = scope
        self._history = History(scope)
        self._last = "messages"
        self.effort: str | None = None

    def read(self, request: Fields) -> None:
        """Take in the whole request.

        :raises Refusal: 400 that names the message or the block.
        """
        self._instruct(request, "system")
        messages = list(request.sections("messages"))
        last_user = max((place for place, message in enumerate(messages) if _role(message) == "user"), default=-1)
        for place, message in enumerate(messages):
            sift(message, MESSAGE, self._scope)
            if message.choice("clear_at", "next_user_message", "never") != "next_user_message" or place > last_user:
                _ROLES[_role(message)](self, message)
            self._note_effort(message)
            self._last = message.path

    def turns(self) -> tuple[list[Block], list[Turn]]:
        """The instructions at the start, as text parts, and the turns.

        :raises Refusal: 400, nothing was said, calls and results do not pair up, or the last word is the assistant's.
        """
        system, messages = self._history.finish("messages")
        turns = []
        for message in messages:
            blocks = message["content"]
            assert isinstance(blocks, list)
            turns.append(Turn(str(message["role"]), blocks))
        if turns[-1].role == "assistant":
            self._scope.cannot_carry(
                self._last, "this model's provider cannot go on with an answer that has begun; end with a user message"
            )
        return system, turns

    def system(self, message: Fields) -> None:
        """Instructions in the middle, and changes of the tools."""
        self._instruct(message, "content")

    def user(self, message: Fields) -> None:
        path, content = message.at("content"), message.value("content")
        if isinstance(content, str):
            self._say("user", content_parts(content, path, self._scope), path)
            return
        for block in message.sections("content"):
            if block.text("type") == "tool_result":
                self._result(block)
            else:
                self._say("user", block_parts(block, self._scope), block.path)

    def assistant(self, message: Fields) -> None:
        path, content = message.at("content"), message.value("content")
        if isinstance(content, str):
            self._say("assistant", content_parts(content, path, self._scope), path)
            return
        for block in message.sections("content"):
            match block.text("type"):
                case "tool_use":
                    note_marker(block, self._scope)
                    arguments = block.section("input").values
                    self._history.call(block.text("id"), block.text("name"), arguments, block.path)
                case "thinking" | "redacted_thinking":
                    self._thinking(block)
                case _:
                    self._say("assistant", block_parts(block, self._scope), block.path)

    def _say(self, role: str, parts: Parts, path: str) -> None:
        """Parts of a turn; a block that says nothing has none, and is none."""
        if parts:
            add = self._history.user if role == "user" else self._history.assistant
            add(parts, path)

    def _instruct(self, fields: Fields, name: str) -> None:
        said = fields.value(name)
        if isinstance(said, str):
            self._history.instruct(instruction_blocks(said, fields.at(name), self._scope), fields.at(name))
            return
        for block in fields.sections(name):
            note_marker(block, self._scope)
            change = _CHANGES.get(block.text("type"))
            if change is not None:
                change(self._toolset, block)
            elif block.text("type") == "text":
                self._history.instruct(instruction_blocks(block.text("text"), block.path, self._scope), block.path)
            else:
                self._scope.cannot_carry(block.path, "instructions are text")

    def _result(self, block: Fields) -> None:
        note_marker(block, self._scope)
        result: Block = {
            "type": "tool_result",
            "tool_use_id": block.text("tool_use_id"),
            "parts": content_parts(block.value("content"), block.at("content"), self._scope),
            "failed": block.flag("is_error") is True,
        }
        self._history.user([result], block.path)

    def _thinking(self, block: Fields) -> None:
        """What a server thought goes back to it, if it wants it; what Anthropic signed means nothing there."""
        recalled = self._recall(block)
        if recalled is None:
            omit_once("thinking_blocks", self._scope)
        else:
            self._history.assistant([recalled], block.path)

    def _note_effort(self, message: Fields) -> None:
        if _role(message) == "assistant":
            self.effort = None
        config = message.optional_section("output_config")
        if config is not None:
            sift(config, OUTPUT_CONFIG, self._scope)
            self.effort = config.optional_text("effort") or self.effort


_ROLES: Final[dict[str, Callable[[Conversation, Fields], None]]] = {
    "user": Conversation.user,
    "assistant": Conversation.assistant,
    "system": Conversation.system,
}
_CHANGES: Final[dict[str, Callable[[Toolset, Fields], None]]] = {
    "tool_addition": Toolset.add,
    "tool_removal": Toolset.remove,
}


def _role(message: Fields) -> str:
    role = message.text("role")
    if role not in _ROLES:
        raise refusal(message.at("role"), f"expected one of {', '.join(_ROLES)}; got {role!r}")
    return role
