"""One translated call: what goes upstream, and what the answer's translation must know of the question."""

from collections.abc import Mapping
from enum import Enum

import msgspec

from protocol.translate.capabilities import Capabilities


class Dialect(Enum):
    """The API that the client speaks."""

    CHAT = "chat.completions"
    RESPONSES = "responses"


class ToolKind(Enum):
    """How the client declared a tool, hence how a call of it is written back."""

    FUNCTION = "function"
    """Called with JSON arguments: the ``tool_use`` input, as JSON text."""

    CUSTOM = "custom"
    """Called with free text: the string under ``CUSTOM_INPUT`` in the ``tool_use`` input."""


CUSTOM_INPUT = "input"
"""The one property of the schema under which a custom tool is offered upstream; its value is the call's free text."""


class ClientTool(msgspec.Struct, frozen=True):
    """A tool as the client names it; ``namespace`` only where the Responses API grouped it."""

    kind: ToolKind
    name: str
    namespace: str | None = None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What the response side needs to undo or to echo."""

    tools: Mapping[str, ClientTool] = {}
    """By the name sent upstream. A name that is missing here is the client's own name of a function."""

    answer_tool: str | None = None
    """The upstream tool whose input *is* the answer (structured output on a model without native support): its
    input is written as message text, and the ``tool_use`` stop that goes with it is a plain stop."""

    legacy_functions: bool = False
    """Chat only: the client declared ``functions``, so a call is written as ``function_call``."""

    reasoning_summary: bool = False
    """Responses only: the client asked to see thinking text in ``summary``."""

    encrypted_reasoning: bool = False
    """Responses only: the client asked for ``reasoning.encrypted_content`` (see ``translate.reasoning``)."""

    echo: Mapping[str, object] = {}
    """Responses only: the fields of the response object that repeat the request, every one always present:
    background, instructions, max_output_tokens, metadata, parallel_tool_calls, previous_response_id, prompt_cache_key,
    reasoning, safety_identifier, service_tier, store, temperature, text, tool_choice, tools, top_logprobs, top_p,
    truncation, user."""

    omitted: tuple[str, ...] = ()
    """Places in the request that were left out, by a documented rule or by the drop setting: ``seed``, ``tools.3``."""


class TranslatedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An Anthropic Messages request made from an OpenAI one."""

    dialect: Dialect
    body: bytes
    requested_model: str
    """As the client wrote it; the response names this one."""

    upstream_model: str
    stream: bool
    include_usage: bool = False
    """Chat only: end the stream with a usage chunk (``stream_options.include_usage``)."""

    betas: tuple[str, ...] = ()
    """Values that the ``anthropic-beta`` header must name."""

    notes: Notes = Notes()


class TranslationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's settings for translation."""

    drop_unsupported: bool = False
    """Leave out parameters that cannot be carried, instead of refusing the request with 400."""

    capabilities: Capabilities | None = None
    """What the upstream's models accept; None leaves that to their names, as Claude's."""

    stream: bool | None = None
    """What the query string says about streaming (``?stream=true``); the body's own field wins where it is present."""
