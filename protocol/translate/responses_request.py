"""``POST /v1/responses`` to ``POST /v1/messages``."""

from collections.abc import Callable
from typing import Final, final

from protocol.translate.assembly import Draft, assemble, token_limit
from protocol.translate.call import CUSTOM_INPUT, Dialect, TranslatedRequest, TranslationOptions
from protocol.translate.capabilities import capabilities_of
from protocol.translate.content import content_blocks, instruction_blocks
from protocol.translate.effort import REASONING_EFFORTS
from protocol.translate.fields import Fields, decode_request, refusal
from protocol.translate.history import History
from protocol.translate.models import ModelTable
from protocol.translate.output_format import read_format
from protocol.translate.parameters import RESPONSES, sift
from protocol.translate.reasoning import ForeignReasoning, decode_reasoning
from protocol.translate.scope import Scope
from protocol.translate.tools import Toolbox, ToolKey, call_arguments, choose, declare_custom, declare_function

ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

ECHO_DEFAULTS: Final[dict[str, object]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the response object that repeat the request, with what they say when the request said nothing.

``store`` is not among them: nothing is stored, whatever was asked.
"""


def translate_responses_request(body: bytes, *, models: ModelTable, options: TranslationOptions) -> TranslatedRequest:
    """The Messages request that asks what this Responses request asks.

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
    sift(request, RESPONSES, scope)
    toolbox = _tools(request, scope)
    reasoning = request.optional_section("reasoning") or Fields({}, "reasoning")
    summary = (reasoning.optional_text("summary") or reasoning.optional_text("generate_summary")) is not None
    return assemble(
        Draft(
            dialect=Dialect.RESPONSES,
            request=request,
            requested_model=model,
            upstream_model=upstream,
            history=_Items(toolbox, scope).read(request),
            history_path="input",
            toolbox=toolbox,
            choice=choose(request, toolbox, scope),
            output_format=read_format(_text_format(request, scope), toolbox, scope),
            effort=reasoning.choice("effort", *REASONING_EFFORTS),
            shows_thinking=summary,
            max_tokens=token_limit(request, "max_output_tokens"),
            sequential_calls=request.flag("parallel_tool_calls") is False,
            reasoning_summary=summary,
            encrypted_reasoning=_includes_reasoning(request, scope),
            echo=_echo(request),
        ),
        options,
        scope,
    )


def _tools(request: Fields, scope: Scope) -> Toolbox:
    """Functions, custom tools and namespaces of them. Tools that would run at OpenAI, or that clients run under a
    contract of OpenAI's own, are left out: Codex always offers some, and works without them.
    """
    toolbox = Toolbox()
    for tool in request.sections("tools"):
        if tool.text("type") == "namespace":
            for nested in tool.sections("tools"):
                _declare(nested, toolbox, scope, namespace=tool)
        else:
            _declare(tool, toolbox, scope)
    toolbox.settle()
    return toolbox


def _declare(tool: Fields, toolbox: Toolbox, scope: Scope, namespace: Fields | None = None) -> None:
    kind = tool.text("type")
    if kind == "function":
        # Some clients send the nested form of Chat Completions here.
        function = tool.optional_section("function") or tool
        declare_function(function, toolbox, namespace=namespace, marker=tool.value("cache_control"))
    elif kind == "custom":
        declare_custom(tool, toolbox, namespace=namespace)
    else:
        scope.omit(tool.path)


def _text_format(request: Fields, scope: Scope) -> Fields | None:
    text = request.optional_section("text")
    if text is None:
        return None
    if text.choice("verbosity", "low", "medium", "high") not in (None, "medium"):
        scope.omit(text.at("verbosity"))
    return text.optional_section("format")


def _includes_reasoning(request: Fields, scope: Scope) -> bool:
    included = [value for _, value in request.items("include")]
    if LOGPROBS in included:
        scope.cannot_carry("include", f"{LOGPROBS} is not supported: the upstream gives no log probabilities")
    return ENCRYPTED_REASONING in included


def _echo(request: Fields) -> dict[str, object]:
    echo = ECHO_DEFAULTS | {"store": False}
    for name, default in ECHO_DEFAULTS.items():
        value = request.value(name)
        if isinstance(default, dict) and isinstance(value, dict):
            echo[name] = default | value
        elif value is not None:
            echo[name] = value
    return echo


@final
class _Items:
    """Reads ``input`` into a history."""

    def __init__(self, toolbox: Toolbox, scope: Scope) -> None:
        self._toolbox = toolbox
        self._scope = scope
        self._history = History(scope)

    def read(self, request: Fields) -> History:
        instructions = request.optional_text("instructions")
        self._history.instruct(instruction_blocks(instructions, "instructions", self._scope), "instructions")
        said = request.value("input")
        if said is None:
            raise refusal("input", "this field is required", "missing_required_parameter")
        if isinstance(said, str):
            self._history.user(content_blocks(said, "input", "user", self._scope), "input", plain=True)
            return self._history
        for item in request.sections("input"):
            kind = item.optional_text("type") or ("message" if item.value("role") is not None else "item_reference")
            read = _ITEMS.get(kind)
            if read is None:
                self._scope.cannot_carry(item.path, f"an item of type {kind!r} cannot be carried")
            else:
                read(self, item)
        return self._history

    def message(self, item: Fields) -> None:
        role, content, path = item.text("role"), item.value("content"), item.at("content")
        plain = isinstance(content, str)
        match role:
            case "system" | "developer":
                self._history.instruct(instruction_blocks(content, path, self._scope), path)
            case "user":
                self._history.user(content_blocks(content, path, "user", self._scope), path, plain=plain)
            case "assistant":
                self._history.assistant(content_blocks(content, path, "assistant", self._scope), path, plain=plain)
            case _:
                raise refusal(item.at("role"), f"expected user, assistant, system or developer; got {role!r}")

    def function_call(self, item: Fields) -> None:
        name = self._toolbox.name_of(ToolKey.of(item))
        self._history.call(item.text("call_id"), name, call_arguments(item), item.path)

    def custom_call(self, item: Fields) -> None:
        name = self._toolbox.name_of(ToolKey.of(item))
        self._history.call(item.text("call_id"), name, {CUSTOM_INPUT: item.text("input")}, item.path)

    def call_output(self, item: Fields) -> None:
        output = item.value("output")
        if not isinstance(output, str):
            output = content_blocks(output, item.at("output"), "tool", self._scope)
        self._history.result(item.text("call_id"), output, item.path)

    def reasoning(self, item: Fields) -> None:
        """Thinking that an earlier answer gave, whole or not at all: a summary alone has no signature, and what
        another provider encrypted means nothing here.
        """
        encrypted = item.optional_text("encrypted_content")
        try:
            block = decode_reasoning(encrypted) if encrypted is not None else None
        except ForeignReasoning:
            block = None
        except ValueError as error:
            raise refusal(item.at("encrypted_content"), str(error)) from None
        if block is None:
            self._scope.omit(item.path)
        else:
            self._history.assistant([block], item.path)

    def reference(self, item: Fields) -> None:
        raise refusal(item.path, "nothing is stored here: send the item itself instead of a reference")


_ITEMS: Final[dict[str, Callable[[_Items, Fields], None]]] = {
    "message": _Items.message,
    "function_call": _Items.function_call,
    "function_call_output": _Items.call_output,
    "custom_tool_call": _Items.custom_call,
    "custom_tool_call_output": _Items.call_output,
    "reasoning": _Items.reasoning,
    "item_reference": _Items.reference,
}
