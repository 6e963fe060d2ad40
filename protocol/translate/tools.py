"""Tools that the client declares, under names that the upstream takes, and the choice among them."""

import hashlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self, final

import msgspec

from protocol.translate.call import CUSTOM_INPUT, ClientTool, ToolKind
from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.scope import Scope

LONGEST_NAME: Final = 128
"""Anthropic's limit on tool names, which are letters, digits, ``_`` and ``-``."""

NAMESPACE_SEPARATOR: Final = "__"
KINDS: Final = {kind.value: kind for kind in ToolKind}

_INVALID: Final = re.compile(r"[^a-zA-Z0-9_-]")
_ANY_OBJECT: Final[Block] = {"type": "object", "properties": {}}


class ToolKey(NamedTuple):
    """What tells a client's tools apart."""

    name: str
    namespace: str | None = None

    @classmethod
    def of(cls, call: Fields) -> Self:
        """The key of a call, a choice or a reference: ``{name, namespace}``."""
        return cls(call.text("name"), call.optional_text("namespace"))


class _Declaration(msgspec.Struct):
    tool: ClientTool
    definition: Block
    """Without its name, which is settled when all tools are known."""


@final
class Toolbox:
    """The declared tools; upstream names are settled by ``settle``, after the last declaration."""

    def __init__(self) -> None:
        self._declared: dict[ToolKey, _Declaration] = {}
        self._upstream: dict[ToolKey, str] = {}

    def declare(self, tool: ClientTool, definition: Block, path: str) -> None:
        if not tool.name:
            raise refusal(f"{path}.name", "a tool needs a name")
        key = ToolKey(tool.name, tool.namespace)
        if key in self._declared:
            raise refusal(f"{path}.name", f"the tool {tool.name!r} is declared twice")
        self._declared[key] = _Declaration(tool, definition)

    def settle(self) -> None:
        """Give every tool its upstream name: its own if it can be, else a spelling that nothing else has."""
        taken = {key.name for key in self._declared if upstream_name(key) == key.name}
        for key in self._declared:
            candidate = wanted = upstream_name(key)
            number = 2
            while wanted != key.name and candidate in taken:
                candidate, number = f"{wanted[: LONGEST_NAME - 8]}_{number}", number + 1
            taken.add(candidate)
            self._upstream[key] = candidate

    def name_of(self, key: ToolKey) -> str:
        """The upstream name of a tool, declared or long gone."""
        return self._upstream.get(key) or upstream_name(key)

    def restrict(self, keys: set[ToolKey]) -> None:
        """Offer only these tools."""
        self._declared = {key: declaration for key, declaration in self._declared.items() if key in keys}

    def find(self, call: Fields) -> ToolKey:
        """The key of a declared tool.

        :raises Refusal: 400, there is none.
        """
        key = ToolKey.of(call)
        if key not in self._declared:
            raise refusal(call.at("name"), f"no tool named {key.name!r} is declared")
        return key

    @property
    def names(self) -> list[str]:
        return [self._upstream[key] for key in self._declared]

    @property
    def definitions(self) -> list[Block]:
        """The upstream ``tools``."""
        return [{"name": self._upstream[key], **declaration.definition} for key, declaration in self._declared.items()]

    @property
    def renamed(self) -> dict[str, ClientTool]:
        """By upstream name, the tools whose calls are not written back as a function call under the same name."""
        return {
            self._upstream[key]: declaration.tool
            for key, declaration in self._declared.items()
            if declaration.tool != ClientTool(ToolKind.FUNCTION, self._upstream[key])
        }


def upstream_name(key: ToolKey) -> str:
    """A valid name that tells the same: ``namespace__name``, other characters as ``_``, too long ones with a digest."""
    full = f"{key.namespace}{NAMESPACE_SEPARATOR}{key.name}" if key.namespace else key.name
    valid = _INVALID.sub("_", full)
    if len(valid) <= LONGEST_NAME:
        return valid
    digest = hashlib.sha256(full.encode()).hexdigest()[:8]
    return f"{valid[: LONGEST_NAME - 9]}_{digest}"


def declare_function(tool: Fields, toolbox: Toolbox, *, namespace: Fields | None = None, marker: object = None) -> None:
    """A function: ``{name, description, parameters}``. ``strict`` is not enforced.

    :param namespace: the group it stands in, whose description goes before its own.
    :param marker: its ``cache_control``, where that stands elsewhere.
    """
    definition = _described(tool, namespace) | {"input_schema": _input_schema(tool.optional_section("parameters"))}
    _declare(ToolKind.FUNCTION, tool, definition, toolbox, namespace, marker)


def declare_custom(tool: Fields, toolbox: Toolbox, *, namespace: Fields | None = None, marker: object = None) -> None:
    """A custom tool, called with free text: offered as a function with one string. A grammar is told, not enforced."""
    text = {"type": "string", "description": "The whole input, as plain text."}
    schema = {"type": "object", "properties": {CUSTOM_INPUT: text}, "required": [CUSTOM_INPUT]}
    definition = _described(tool, namespace, _grammar(tool)) | {"input_schema": schema}
    _declare(ToolKind.CUSTOM, tool, definition, toolbox, namespace, marker)


def declare_called(names: Iterable[str], toolbox: Toolbox) -> None:
    """Tools that the history calls though the request declares none; the upstream refuses calls of the unknown."""
    for name in names:
        toolbox.declare(ClientTool(ToolKind.FUNCTION, name), {"input_schema": _ANY_OBJECT}, "tools")


def call_arguments(call: Fields) -> msgspec.Raw:
    """A call's ``arguments``, JSON text of an object, byte for byte; a blank text means ``{}``.

    :raises Refusal: 400, it is no JSON object.
    """
    text = call.optional_text("arguments")
    if text is None or not text.strip():
        return msgspec.Raw(b"{}")
    try:
        msgspec.json.decode(text, type=dict[str, object])
    except ValueError as error:
        raise refusal(call.at("arguments"), f"not a JSON object: {error}") from None
    return msgspec.Raw(text.encode())


def choose(request: Fields, toolbox: Toolbox, scope: Scope) -> Block | None:
    """``tool_choice``: none, auto, required, one tool by name, or a restriction to some of them.

    :raises Refusal: 400, the choice is malformed or names a tool that is not declared.
    """
    choice = request.value("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        return _mode(request.choice("tool_choice", "none", "auto", "required"), toolbox, request.at("tool_choice"))
    fields = Fields.of(choice, request.at("tool_choice"))
    kind = fields.text("type")
    if kind in KINDS:
        return {"type": "tool", "name": toolbox.name_of(_reference(fields, toolbox))}
    if kind == "allowed_tools":
        allowed = fields.optional_section("allowed_tools") or fields
        toolbox.restrict({_reference(tool, toolbox) for tool in allowed.sections("tools") if _is_callable(tool)})
        return _mode(allowed.choice("mode", "auto", "required") or "auto", toolbox, allowed.at("mode"))
    scope.cannot_carry(fields.at("type"), f"a tool of type {kind!r} cannot be chosen")
    return None


def _mode(mode: str | None, toolbox: Toolbox, path: str) -> Block | None:
    if mode == "required" and not toolbox.names:
        raise refusal(path, "a tool call is required, but no tool is declared that can be called")
    if not toolbox.names:
        return None
    return {"type": "any" if mode == "required" else mode}


def _is_callable(tool: Fields) -> bool:
    return tool.text("type") in KINDS


def _reference(fields: Fields, toolbox: Toolbox) -> ToolKey:
    """The tool that ``{"type":"function","function":{"name"}}`` (chat) or ``{"type","name"}`` (Responses) means."""
    return toolbox.find(fields.optional_section(fields.text("type")) or fields)


def _declare(
    kind: ToolKind, tool: Fields, definition: Block, toolbox: Toolbox, namespace: Fields | None, marker: object
) -> None:
    marker = marker if marker is not None else tool.value("cache_control")
    if marker is not None:
        definition["cache_control"] = marker
    client_tool = ClientTool(kind, tool.text("name"), namespace.text("name") if namespace else None)
    toolbox.declare(client_tool, definition, tool.path)


def _described(tool: Fields, namespace: Fields | None, *more: str) -> Block:
    told = [namespace.optional_text("description") if namespace else None, tool.optional_text("description"), *more]
    description = "\n\n".join(text for text in told if text)
    return {"description": description} if description else {}


def _grammar(tool: Fields) -> str:
    form = tool.optional_section("format")
    if form is None or form.text("type") == "text":
        return ""
    if form.text("type") != "grammar":
        raise refusal(form.at("type"), "expected text or grammar")
    # Chat wraps the grammar in an object; Responses does not.
    grammar = form.optional_section("grammar") or form
    return f"The input must match this {grammar.text('syntax')} grammar:\n{grammar.text('definition')}"


def _input_schema(parameters: Fields | None) -> Block:
    if parameters is None:
        return _ANY_OBJECT
    schema = dict(parameters.values)
    if not schema:
        return _ANY_OBJECT
    if schema.setdefault("type", "object") != "object":
        raise refusal(parameters.at("type"), "the parameters of a function are an object")
    return schema
