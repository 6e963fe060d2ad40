"""``POST /v1/chat/completions`` to ``POST /v1/messages``."""

from collections.abc import Callable
from typing import Final, final

from protocol.translate.assembly import Draft, assemble, token_limit
from protocol.translate.call import CUSTOM_INPUT, Dialect, TranslatedRequest, TranslationOptions
from protocol.translate.capabilities import capabilities_of
from protocol.translate.content import content_blocks, instruction_blocks, text_block, thinking_block
from protocol.translate.effort import REASONING_EFFORTS
from protocol.translate.fields import Block, Fields, decode_request, refusal
from protocol.translate.history import History
from protocol.translate.models import ModelTable
from protocol.translate.output_format import read_format
from protocol.translate.parameters import CHAT, sift
from protocol.translate.scope import Scope
from protocol.translate.tools import Toolbox, ToolKey, call_arguments, choose, declare_custom, declare_function


def translate_chat_request(body: bytes, *, models: ModelTable, options: TranslationOptions) -> TranslatedRequest:
    """The Messages request that asks what this Chat Completions request asks.

    :raises Refusal: 400 naming what is malformed or cannot be carried; 404 for an unknown model.
    """
    try:
        return _translate(decode_request(body), models, options)
    except RecursionError:
        raise refusal("", "the request is nested too deeply", "invalid_json") from None


def _translate(request: Fields, models: ModelTable, options: TranslationOptions) -> TranslatedRequest:
    model = request.text("model")
    upstream = models.resolve(model)
    scope = Scope(options.capabilities or capabilities_of(upstream), drop_unsupported=options.drop_unsupported)
    sift(request, CHAT, scope)
    toolbox = _tools(request, scope)
    legacy = request.value("functions") is not None
    stream_options = request.optional_section("stream_options")
    return assemble(
        Draft(
            dialect=Dialect.CHAT,
            request=request,
            requested_model=model,
            upstream_model=upstream,
            history=_Messages(toolbox, scope).read(request),
            history_path="messages",
            toolbox=toolbox,
            choice=_legacy_choice(request, toolbox) if legacy else choose(request, toolbox, scope),
            output_format=read_format(request.optional_section("response_format"), toolbox, scope),
            effort=request.choice("reasoning_effort", *REASONING_EFFORTS),
            shows_thinking=True,
            max_tokens=token_limit(request, "max_completion_tokens", "max_tokens"),
            stop=_stop(request, scope),
            sequential_calls=legacy or request.flag("parallel_tool_calls") is False,
            include_usage=stream_options is not None and stream_options.flag("include_usage") is True,
            legacy_functions=legacy,
        ),
        options,
        scope,
    )


def _tools(request: Fields, scope: Scope) -> Toolbox:
    toolbox = Toolbox()
    if request.value("functions") is not None and request.value("tools") is not None:
        raise refusal("functions", "give either tools or functions")
    for function in request.sections("functions"):
        declare_function(function, toolbox)
    for tool in request.sections("tools"):
        kind = tool.text("type")
        if kind == "function":
            declare_function(tool.optional_section("function") or tool, toolbox, marker=tool.value("cache_control"))
        elif kind == "custom":
            declare_custom(tool.optional_section("custom") or tool, toolbox, marker=tool.value("cache_control"))
        else:
            scope.cannot_carry(tool.at("type"), f"a tool of type {kind!r} cannot be offered")
    toolbox.settle()
    return toolbox


def _legacy_choice(request: Fields, toolbox: Toolbox) -> Block | None:
    if isinstance(request.value("function_call"), str):
        mode = request.choice("function_call", "none", "auto")
        return {"type": mode} if toolbox.names else None
    call = request.optional_section("function_call")
    if call is None:
        return None
    return {"type": "tool", "name": toolbox.name_of(toolbox.find(call))}


def _stop(request: Fields, scope: Scope) -> list[str]:
    """Stop sequences; the upstream refuses blank ones."""
    stop = request.value("stop")
    given = [("stop", stop)] if isinstance(stop, str) else request.items("stop")
    sequences = [_stop_text(path, value) for path, value in given]
    kept = [sequence for sequence in sequences if sequence.strip()]
    if len(kept) < len(sequences):
        scope.omit("stop")
    return kept


def _stop_text(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise refusal(path, "expected a string", "invalid_type")
    return value


@final
class _Messages:
    """Reads ``messages`` into a history."""

    def __init__(self, toolbox: Toolbox, scope: Scope) -> None:
        self._toolbox = toolbox
        self._scope = scope
        self._history = History(scope)
        self._legacy_calls: list[tuple[str, str]] = []
        """Name and id of the legacy calls that await their result; such calls have no id of their own."""

    def read(self, request: Fields) -> History:
        if request.value("messages") is None:
            raise refusal("messages", "this field is required", "missing_required_parameter")
        for message in request.sections("messages"):
            role = message.text("role")
            read = _ROLES.get(role)
            if read is None:
                raise refusal(message.at("role"), f"expected one of {', '.join(_ROLES)}; got {role!r}")
            read(self, message)
        return self._history

    def instructions(self, message: Fields) -> None:
        blocks = instruction_blocks(message.value("content"), message.at("content"), self._scope)
        self._history.instruct(_marked(blocks, message), message.path)

    def user(self, message: Fields) -> None:
        blocks = content_blocks(message.value("content"), message.at("content"), "user", self._scope)
        self._history.user(_marked(blocks, message), message.at("content"), plain=_is_plain(message))

    def assistant(self, message: Fields) -> None:
        if message.value("audio") is not None:
            self._scope.cannot_carry(message.at("audio"), "an earlier audio answer lies at another provider")
        blocks = self._thinking(message)
        blocks += content_blocks(message.value("content"), message.at("content"), "assistant", self._scope)
        refused = message.optional_text("refusal")
        if refused and refused.strip():
            blocks.append(text_block(refused))
        calls = list(message.sections("tool_calls"))
        legacy_call = message.optional_section("function_call")
        plain = _is_plain(message) and len(blocks) == 1 and not calls and legacy_call is None
        self._history.assistant(_marked(blocks, message), message.at("content"), plain=plain)
        for call in calls:
            self._call(call)
        if legacy_call is not None:
            call_id = f"function_call_{message.path.rpartition('.')[2]}"
            self._legacy_calls.append((legacy_call.text("name"), call_id))
            self._function_call(call_id, legacy_call, legacy_call.path)

    def tool(self, message: Fields) -> None:
        self._result(message, message.text("tool_call_id"))

    def function(self, message: Fields) -> None:
        name = message.text("name")
        for pending in self._legacy_calls:
            if pending[0] == name:
                self._legacy_calls.remove(pending)
                return self._result(message, pending[1])
        raise refusal(message.at("name"), f"no call of the function {name!r} awaits a result here")

    def _thinking(self, message: Fields) -> list[Block]:
        """Thinking that the client hands back: signed blocks whole; text alone means nothing to the upstream."""
        blocks = [thinking_block(block) for block in message.sections("thinking_blocks")]
        if not blocks and message.optional_text("reasoning_content"):
            self._scope.omit(message.at("reasoning_content"))
        return blocks

    def _call(self, call: Fields) -> None:
        kind = call.optional_text("type") or "function"
        if kind == "custom":
            custom = call.section("custom")
            name = self._toolbox.name_of(ToolKey.of(custom))
            self._history.call(call.text("id"), name, {CUSTOM_INPUT: custom.text("input")}, call.path)
        elif kind == "function":
            self._function_call(call.text("id"), call.section("function"), call.path)
        else:
            raise refusal(call.at("type"), f"expected function or custom; got {kind!r}")

    def _function_call(self, call_id: str, function: Fields, path: str) -> None:
        name = self._toolbox.name_of(ToolKey.of(function))
        self._history.call(call_id, name, call_arguments(function), path)

    def _result(self, message: Fields, call_id: str) -> None:
        content = message.value("content")
        if not isinstance(content, str):
            content = content_blocks(content, message.at("content"), "tool", self._scope)
        self._history.result(call_id, content, message.path, message.value("cache_control"))


_ROLES: Final[dict[str, Callable[[_Messages, Fields], None]]] = {
    "system": _Messages.instructions,
    "developer": _Messages.instructions,
    "user": _Messages.user,
    "assistant": _Messages.assistant,
    "tool": _Messages.tool,
    "function": _Messages.function,
}


def _is_plain(message: Fields) -> bool:
    return isinstance(message.value("content"), str) and message.value("cache_control") is None


def _marked(blocks: list[Block], message: Fields) -> list[Block]:
    """A message's own ``cache_control`` marks its last block."""
    marker = message.value("cache_control")
    if blocks and marker is not None and "signature" not in blocks[-1] and "data" not in blocks[-1]:
        blocks[-1]["cache_control"] = marker
    return blocks
