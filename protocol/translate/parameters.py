"""What becomes of every request parameter: the tables behind ``docs/openai.md``."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from protocol.translate.fields import Fields, refusal
from protocol.translate.scope import Scope


class Handling(Enum):
    """The fate of a parameter that is present and not null."""

    CARRIED = "carried"
    """Goes upstream with its meaning and value."""

    MAPPED = "mapped"
    """Goes upstream, or into the response, in another form."""

    OMITTED = "omitted"
    """A hint, which a provider may follow or not: accepted, left out, and noted as left out."""

    REFUSED = "refused"
    """400 naming it; left out where the drop setting is on."""

    ALWAYS_REFUSED = "always refused"
    """400 naming it even then, because the answer would be to another question."""


class Parameter(NamedTuple):
    """One row: what happens, why, and the values that ask for nothing and are accepted in silence."""

    handling: Handling
    note: str
    neutral: tuple[object, ...] = ()


_C, _M, _O, _R, _A = Handling.CARRIED, Handling.MAPPED, Handling.OMITTED, Handling.REFUSED, Handling.ALWAYS_REFUSED

_SHARED: Final = {
    "model": Parameter(_M, "resolved by `MODEL_MAP`; the response names the requested one"),
    "stream": Parameter(_C, "absent means false, unless the query string says `stream=true`"),
    "temperature": Parameter(
        _M, "0 to 2, above 1 becomes 1; left out where the model refuses sampling parameters or thinking is on"
    ),
    "top_p": Parameter(
        _M, "as temperature; left out beside a temperature on models that take only one of the two", (1,)
    ),
    "parallel_tool_calls": Parameter(_M, "false becomes `tool_choice.disable_parallel_tool_use`", (True,)),
    "user": Parameter(_M, "becomes `metadata.user_id`"),
    "safety_identifier": Parameter(_M, "becomes `metadata.user_id`, before `user`"),
    "prompt_cache_key": Parameter(_O, "routing hint of another provider's cache"),
    "prompt_cache_options": Parameter(_O, "as prompt_cache_key; use `cache_control`"),
    "prompt_cache_retention": Parameter(_O, "as prompt_cache_key; use `cache_control`"),
    "service_tier": Parameter(_O, "tiers of another provider", ("auto", "default")),
    "moderation": Parameter(_R, "there is no moderation verdict to return"),
    "thinking": Parameter(_C, "extension: Anthropic's own parameter, as it is; wins over the reasoning effort"),
    "cache_control": Parameter(_C, "extension: Anthropic's own parameter, as it is; also on parts, messages and tools"),
    "top_k": Parameter(_C, "extension: Anthropic's own parameter; left out where temperature would be"),
    "client_metadata": Parameter(_O, "sent by Codex for its own backend"),
}

CHAT: Final[Mapping[str, Parameter]] = _SHARED | {
    "messages": Parameter(_M, "see the tables of roles and parts"),
    "max_completion_tokens": Parameter(_M, "becomes `max_tokens`; absent means the model's own limit"),
    "max_tokens": Parameter(_C, "as max_completion_tokens, which wins"),
    "stop": Parameter(_M, "becomes `stop_sequences`; blank entries are left out"),
    "tools": Parameter(_M, "functions and custom tools; `strict` is not enforced"),
    "tool_choice": Parameter(_M, "auto, none, required, a named tool, allowed_tools; ignored without tools"),
    "functions": Parameter(_M, "the legacy form of tools; answered with `function_call`"),
    "function_call": Parameter(_M, "the legacy form of tool_choice"),
    "response_format": Parameter(_M, "json_schema: `output_config.format`, or a forced tool on models without it"),
    "reasoning_effort": Parameter(_M, "see reasoning"),
    "stream_options": Parameter(_M, "include_usage adds the usage chunk; include_obfuscation is ignored"),
    "n": Parameter(_R, "one choice per request", (1,)),
    "logprobs": Parameter(_R, "the upstream gives none", (False,)),
    "top_logprobs": Parameter(_R, "the upstream gives none", (0,)),
    "logit_bias": Parameter(_R, "no counterpart", ({},)),
    "frequency_penalty": Parameter(_R, "no counterpart", (0,)),
    "presence_penalty": Parameter(_R, "no counterpart", (0,)),
    "modalities": Parameter(_R, "text only", (["text"],)),
    "audio": Parameter(_R, "text only"),
    "web_search_options": Parameter(_R, "no built-in search"),
    "seed": Parameter(_O, "best effort at OpenAI too; no counterpart"),
    "prediction": Parameter(_O, "speeds up, changes no answer"),
    "verbosity": Parameter(_O, "a style hint", ("medium",)),
    "metadata": Parameter(_O, "labels a stored completion; nothing is stored", ({},)),
    "store": Parameter(_O, "nothing is stored", (False,)),
}
"""Every parameter of ``POST /v1/chat/completions``."""

RESPONSES: Final[Mapping[str, Parameter]] = _SHARED | {
    "input": Parameter(_M, "see the table of items"),
    "instructions": Parameter(_M, "the first block of `system`"),
    "max_output_tokens": Parameter(_M, "becomes `max_tokens`; absent means the model's own limit"),
    "tools": Parameter(_M, "function, custom, and namespaces of these; every other type is left out and reported"),
    "tool_choice": Parameter(_M, "auto, none, required, a named tool, allowed_tools; ignored without tools"),
    "text": Parameter(_M, "format as response_format in chat; verbosity is a hint and left out"),
    "reasoning": Parameter(_M, "effort: see reasoning; summary: whether thinking text is shown"),
    "include": Parameter(_M, "reasoning.encrypted_content; logprobs are refused, the rest concerns absent tools"),
    "metadata": Parameter(_M, "repeated in the response, not sent upstream"),
    "store": Parameter(_M, "accepted; nothing is stored, and the response says so"),
    "stream_options": Parameter(_O, "include_obfuscation only", ({"include_obfuscation": False},)),
    "truncation": Parameter(_O, "nothing is cut; a conversation that is too long is refused upstream", ("disabled",)),
    "max_tool_calls": Parameter(_O, "counts built-in tools, of which there are none"),
    "context_management": Parameter(_O, "no compaction happens"),
    "image": Parameter(_O, "a compression hint"),
    "access_programs": Parameter(_R, "programmes of another provider"),
    "background": Parameter(_A, "there is nothing to poll", (False,)),
    "background_options": Parameter(_A, "as background"),
    "previous_response_id": Parameter(_A, "nothing is stored: send the whole conversation in `input`"),
    "conversation": Parameter(_A, "nothing is stored: send the whole conversation in `input`"),
    "prompt": Parameter(_A, "templates live at another provider"),
    "top_logprobs": Parameter(_R, "the upstream gives none", (0,)),
}
"""Every parameter of ``POST /v1/responses``."""


def sift(request: Fields, table: Mapping[str, Parameter], scope: Scope) -> None:
    """Hold every parameter against its row; what is to be carried or mapped is left to the caller.

    :raises Refusal: 400 for the first parameter that is unknown or cannot be carried.
    """
    for name, value in request.values.items():
        if value is None:
            continue
        parameter = table.get(name)
        if parameter is None:
            scope.cannot_carry(name, "unknown parameter", "unknown_parameter")
        elif parameter.handling in (_C, _M) or value in parameter.neutral:
            continue
        elif parameter.handling is _A:
            raise refusal(name, f"not supported: {parameter.note}", "unsupported_parameter")
        elif parameter.handling is _R:
            scope.cannot_carry(name, f"not supported: {parameter.note}", "unsupported_parameter")
        else:
            scope.omit(name)
