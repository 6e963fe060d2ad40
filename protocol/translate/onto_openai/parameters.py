"""What becomes of every field of a Messages request: the tables behind ``docs/onto-openai.md``."""

from collections.abc import Mapping
from typing import Final

from protocol.translate.fields import Fields, refusal
from protocol.translate.parameters import Handling, Parameter
from protocol.translate.scope import Scope

_C, _M, _O, _R, _A = Handling.CARRIED, Handling.MAPPED, Handling.OMITTED, Handling.REFUSED, Handling.ALWAYS_REFUSED

ONTO_CHAT: Final = {
    "model": Parameter(_M, "resolved by the provider's names; the answer names the requested one"),
    "messages": Parameter(_M, "see the tables of messages and blocks"),
    "system": Parameter(_M, "one system message: its texts, with a blank line between them"),
    "max_tokens": Parameter(_M, "`max_tokens` or `max_completion_tokens`, at most what the server can answer"),
    "stream": Parameter(_M, "with `stream_options.include_usage`, so that the tokens are counted"),
    "stop_sequences": Parameter(_M, "becomes `stop`; more than the server takes are refused"),
    "temperature": Parameter(_C, "as it is"),
    "top_p": Parameter(_C, "as it is"),
    "top_k": Parameter(_M, "as it is where the server takes it, else refused"),
    "tools": Parameter(_M, "see tools"),
    "tool_choice": Parameter(_M, "see tools; ignored without tools"),
    "metadata": Parameter(_M, "`user_id` becomes `user`; one of more than 64 characters as its SHA-256"),
    "thinking": Parameter(_M, "becomes `reasoning_effort`, and decides whether thinking is shown: see thinking"),
    "output_config": Parameter(_M, "`format` becomes `response_format`, `effort` becomes `reasoning_effort`"),
    "output_format": Parameter(_M, "the older spelling of `output_config.format`"),
    "cache_control": Parameter(_O, "servers of this kind find what they have cached by themselves; also inside"),
    "context_management": Parameter(_O, "nothing is cleared or compacted on the way"),
    "diagnostics": Parameter(_O, "reports on the cache of another provider", ({},)),
    "fallback_credit_token": Parameter(_O, "a discount of another provider"),
    "fallbacks": Parameter(_O, "no other model is tried after a refusal", ([],)),
    "service_tier": Parameter(_O, "tiers of another provider", ("auto",)),
    "speed": Parameter(_O, "changes no answer", ("standard",)),
    "billing_policy": Parameter(_R, "accounts of another provider"),
    "container": Parameter(_R, "there is no code execution"),
    "inference_geo": Parameter(_R, "where the server computes is not known here", ("global",)),
    "mcp_servers": Parameter(_R, "the server calls no tools itself", ([],)),
    "compaction": Parameter(_A, "asks for a summary in a form of Anthropic's own"),
    "thread": Parameter(_A, "nothing is stored: send the whole conversation in `messages`"),
}
"""Every parameter of ``POST /v1/messages``, the betas' too, where Chat Completions is asked."""

ONTO_RESPONSES: Final[Mapping[str, Parameter]] = ONTO_CHAT | {
    "system": Parameter(_M, "becomes `instructions`: its texts, with a blank line between them"),
    "max_tokens": Parameter(_M, "`max_output_tokens`, at most what the server can answer and at least 16"),
    "stream": Parameter(_C, "absent means false"),
    "stop_sequences": Parameter(_R, "the Responses API has none", ([],)),
    "top_k": Parameter(_R, "the Responses API has none"),
    "thinking": Parameter(_M, "becomes `reasoning`, and decides whether thinking is shown: see thinking"),
    "output_config": Parameter(_M, "`format` becomes `text.format`, `effort` becomes `reasoning.effort`"),
}
"""The same, where the Responses API is asked."""

MESSAGE: Final[Mapping[str, Parameter]] = {
    "role": Parameter(_M, "user, assistant, or system"),
    "content": Parameter(_M, "a string or blocks"),
    "output_config": Parameter(_M, "`effort`, on a system message: counts for the answer that comes next"),
    "clear_at": Parameter(_M, "on a system message: left out once a later user message makes it void"),
}
"""Every field of a message."""

TOOL: Final[Mapping[str, Parameter]] = {
    "type": Parameter(_M, "`custom` or absent; every other type is refused"),
    "name": Parameter(_M, "as it is up to 64 characters, else shortened, and restored in the answer"),
    "description": Parameter(_C, "as it is"),
    "input_schema": Parameter(_C, "becomes `parameters`"),
    "strict": Parameter(_C, "as it is"),
    "cache_control": Parameter(_O, "as the parameter"),
    "defer_loading": Parameter(_O, "every tool is offered from the start", (False,)),
    "eager_input_streaming": Parameter(_O, "the server streams as it does", (False,)),
    "input_examples": Parameter(_O, "the description and the schema have to do", ([],)),
    "allowed_callers": Parameter(_R, "only the model calls tools", (["direct"],)),
}
"""Every field of a tool."""

OUTPUT_CONFIG: Final[Mapping[str, Parameter]] = {
    "effort": Parameter(_M, "`reasoning_effort`, at the nearest level that the server takes"),
    "format": Parameter(_M, "`response_format`"),
    "task_budget": Parameter(_O, "the model is told of no budget"),
}
"""Every field of ``output_config``."""

EXTRA: Final = "Extra inputs are not permitted"
"""Anthropic's own words for a field that its API does not know. Claude Code reads them, and asks again without it."""


def sift(fields: Fields, table: Mapping[str, Parameter], scope: Scope) -> None:
    """Hold every field against its row; what is to be carried or mapped is left to the caller.

    A hint is noted by its name alone; what is left out by the drop setting is noted by its place.

    :raises Refusal: 400 for the first field that is unknown or cannot be carried.
    """
    for name, value in fields.values.items():
        if value is None:
            continue
        parameter, place = table.get(name), fields.at(name)
        if parameter is None:
            scope.cannot_carry(place, EXTRA, "unknown_parameter")
        elif parameter.handling in (_C, _M) or value in parameter.neutral:
            continue
        elif parameter.handling is _O:
            omit_once(name, scope)
        else:
            message = f"not supported by this model's provider: {parameter.note}"
            if parameter.handling is _A:
                raise refusal(place, message, "unsupported_parameter")
            scope.cannot_carry(place, message, "unsupported_parameter")


CACHE_CONTROL: Final = "cache_control"


def omit_once(what: str, scope: Scope) -> None:
    """Note a hint by its name alone, because it may stand in hundreds of places of a request."""
    if what not in scope.omitted:
        scope.omit(what)
