"""The Messages request, from the parts that both dialects are read into."""

from collections.abc import Mapping, Sequence

import msgspec

from protocol.translate.call import Dialect, Notes, TranslatedRequest, TranslationOptions
from protocol.translate.content import text_block
from protocol.translate.effort import Reasoning, decide_reasoning
from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.history import History, continues_unsigned_tool_turn
from protocol.translate.output_format import OutputFormat, with_answer_tool
from protocol.translate.scope import Scope
from protocol.translate.tools import Toolbox, declare_called


class Draft(msgspec.Struct, kw_only=True):
    """A request, read but not yet put together."""

    dialect: Dialect
    request: Fields
    requested_model: str
    upstream_model: str
    history: History
    history_path: str
    toolbox: Toolbox
    choice: Block | None
    output_format: OutputFormat
    effort: str | None
    shows_thinking: bool
    max_tokens: int | None
    stop: Sequence[str] = ()
    sequential_calls: bool = False
    """At most one tool call per answer."""

    include_usage: bool = False
    legacy_functions: bool = False
    reasoning_summary: bool = False
    encrypted_reasoning: bool = False
    echo: Mapping[str, object] = {}


def assemble(draft: Draft, options: TranslationOptions, scope: Scope) -> TranslatedRequest:
    """Close the conversation, settle what depends on everything else, and write the body.

    :raises Refusal: 400, the conversation is not well-formed or a shared parameter is out of range.
    """
    request = draft.request
    system, messages = draft.history.finish(draft.history_path)
    if draft.output_format.instruction is not None:
        system.append(text_block(draft.output_format.instruction))
    tools, choice, answer_tool = _tools(draft)
    max_tokens = draft.max_tokens or scope.capabilities.output_tokens
    reasoning = decide_reasoning(
        draft.effort,
        shown=draft.shows_thinking,
        explicit=request.optional_section("thinking"),
        max_tokens=max_tokens,
        may_think=not continues_unsigned_tool_turn(messages),
        forced_tool=choice is not None and choice["type"] in ("any", "tool"),
        capabilities=scope.capabilities,
    )
    stream = _stream(request, options)
    body = {
        "model": draft.upstream_model,
        "max_tokens": max_tokens,
        "system": system or None,
        "messages": messages,
        "tools": tools or None,
        "tool_choice": choice,
        "thinking": reasoning.thinking,
        "output_config": _output_config(reasoning, draft.output_format),
        **_sampling(request, reasoning, scope),
        "stop_sequences": list(draft.stop) or None,
        "metadata": _metadata(request),
        "cache_control": request.value("cache_control"),
        "stream": stream or None,
    }
    return TranslatedRequest(
        dialect=draft.dialect,
        body=msgspec.json.encode({name: value for name, value in body.items() if value is not None}),
        requested_model=draft.requested_model,
        upstream_model=draft.upstream_model,
        stream=stream,
        include_usage=draft.include_usage,
        betas=tuple(sorted(scope.betas)),
        notes=Notes(
            tools=draft.toolbox.renamed,
            answer_tool=answer_tool,
            legacy_functions=draft.legacy_functions,
            reasoning_summary=draft.reasoning_summary,
            encrypted_reasoning=draft.encrypted_reasoning,
            echo=draft.echo,
            omitted=tuple(scope.omitted),
        ),
    )


def token_limit(request: Fields, *names: str) -> int | None:
    """The first of these parameters that is present.

    :raises Refusal: 400, it is not a positive integer.
    """
    for name in names:
        limit = request.integer(name)
        if limit is not None:
            if limit < 1:
                raise refusal(request.at(name), "expected at least 1")
            return limit
    return None


def _tools(draft: Draft) -> tuple[list[Block], Block | None, str | None]:
    """The tools, the choice among them, and the name of the one whose input is the answer."""
    tools, choice = draft.toolbox.definitions, draft.choice
    if not tools:
        # A history with calls needs its tools; none of them may be called anew.
        declare_called(draft.history.called_names(), draft.toolbox)
        draft.toolbox.settle()
        tools = draft.toolbox.definitions
        choice = {"type": "none"} if tools else None
    if draft.sequential_calls and tools and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    answer_tool = draft.output_format.answer_tool
    if answer_tool is not None:
        answering = with_answer_tool(choice if choice or not tools else {"type": "auto"}, answer_tool)
        if answering is not None:
            return [*tools, answer_tool], answering, str(answer_tool["name"])
    return tools, choice, None


def _output_config(reasoning: Reasoning, output_format: OutputFormat) -> Block | None:
    config: Block = {}
    if reasoning.effort is not None:
        config["effort"] = reasoning.effort
    if output_format.native is not None:
        config["format"] = output_format.native
    return config or None


def _sampling(request: Fields, reasoning: Reasoning, scope: Scope) -> Block:
    """``temperature``, ``top_p`` and ``top_k`` as far as the model takes them; defaults need not be said."""
    temperature = request.number("temperature", 0, 2)
    sampling: Block = {
        "temperature": 1 if temperature is not None and temperature > 1 else temperature,
        "top_p": request.number("top_p", 0, 1),
        "top_k": request.integer("top_k"),
    }
    if sampling["top_p"] == 1:
        del sampling["top_p"]
    refused: tuple[str, ...] = ()
    if reasoning.on or not scope.capabilities.sampling:
        refused = ("temperature", "top_p", "top_k")
    elif temperature is not None and not scope.capabilities.temperature_with_top_p:
        refused = ("top_p",)
    for name in refused:
        if sampling.pop(name, None) is not None and (name, request.value(name)) != ("temperature", 1):
            scope.omit(name)
    return sampling


def _metadata(request: Fields) -> Block | None:
    user = request.optional_text("safety_identifier") or request.optional_text("user")
    return {"user_id": user} if user else None


def _stream(request: Fields, options: TranslationOptions) -> bool:
    stream = request.flag("stream")
    return bool(options.stream) if stream is None else stream
