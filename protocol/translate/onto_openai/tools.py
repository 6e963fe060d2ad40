"""Tools of a Messages request as functions of Chat Completions, and the choice among them."""

import hashlib
from typing import Final, NamedTuple, final

import msgspec

from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.onto_openai.parameters import TOOL, sift
from protocol.translate.scope import Scope

LONGEST_NAME: Final = 64
"""OpenAI's limit on function names; Anthropic allows 128."""

_MODES: Final = {"auto": "auto", "any": "required", "none": "none"}


class Choice(NamedTuple):
    """The choice among the tools: a mode in OpenAI's word, or one tool by its name upstream, or neither."""

    mode: str | None = None
    name: str | None = None
    sequential: bool = False
    """At most one call may be made."""


@final
class Toolset:
    """The tools that the conversation has at its end: those declared, less those withdrawn on the way."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._functions: dict[str, Block] = {}
        self._withdrawn: set[str] = set()

    def declare(self, tool: Fields) -> None:
        """A tool of the client's own.

        :raises Refusal: 400, it runs at Anthropic, or under a contract that only its own models know.
        """
        kind = tool.optional_text("type")
        if kind not in (None, "custom"):
            self._scope.cannot_carry(
                tool.at("type"), f"a tool of type {kind!r} cannot be offered by this model's provider"
            )
            return
        sift(tool, TOOL, self._scope)
        name = tool.text("name")
        function: Block = {"name": short_name(name)}
        description, strict = tool.optional_text("description"), tool.flag("strict")
        if description:
            function["description"] = description
        function["parameters"] = tool.section("input_schema").values
        if strict is not None:
            function["strict"] = strict
        self._functions[name] = function

    def add(self, change: Fields) -> None:
        """A ``tool_addition``: offers a tool that is declared, or declares it."""
        tool = change.section("tool")
        if tool.text("type") == "tool_definition":
            self.declare(tool.section("definition"))
        else:
            self._withdrawn.discard(self._referred(tool))

    def remove(self, change: Fields) -> None:
        """A ``tool_removal``."""
        self._withdrawn.add(self._referred(change.section("tool")))

    @property
    def offered(self) -> list[Block]:
        """Every tool as a function: its name, its description, its parameters, whether it is strict."""
        return [fields for name, fields in self._functions.items() if name not in self._withdrawn]

    @property
    def shortened(self) -> dict[str, str]:
        """The client's names of the tools that have another upstream, by the other."""
        return {short: name for name in self._functions if (short := short_name(name)) != name}

    def choice(self, request: Fields) -> Choice:
        """``tool_choice``.

        :raises Refusal: 400, the choice is malformed, or a call is required and there is nothing to call.
        """
        choice = request.optional_section("tool_choice")
        if choice is None:
            return Choice()
        kind = choice.choice("type", *_MODES, "tool") or choice.text("type")
        sequential = choice.flag("disable_parallel_tool_use") is True
        if not self.offered:
            if kind in ("any", "tool"):
                raise refusal(choice.path, "a tool call is required, but no tool is offered that can be called")
            return Choice()
        if kind == "tool":
            return Choice(name=short_name(choice.text("name")), sequential=sequential)
        return Choice(mode=_MODES[kind], sequential=sequential and kind != "none")

    def _referred(self, tool: Fields) -> str:
        if tool.text("type") != "tool_reference":
            self._scope.cannot_carry(tool.path, "a tool of an MCP server cannot be offered by this model's provider")
            return ""
        return tool.text("name")


def arguments_of(call: Block) -> str:
    """The input of a ``tool_use`` block as JSON text."""
    return msgspec.json.encode(call["input"]).decode()


def input_of(arguments: str | None) -> msgspec.Raw | None:
    """The arguments of a call, byte for byte, where they are a JSON object; blank ones are ``{}``."""
    text = (arguments or "").strip()
    if not text:
        return msgspec.Raw(b"{}")
    try:
        msgspec.json.decode(text, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    return msgspec.Raw(text.encode())


def short_name(name: str) -> str:
    """The name itself if it is short enough, else its beginning and a digest."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
