"""What an upstream's endpoint takes, and what becomes of one request to it."""

from collections.abc import Mapping
from enum import Enum

import msgspec


class TokenLimit(Enum):
    """The parameter of Chat Completions that bounds an answer."""

    MAX_TOKENS = "max_tokens"
    """What nearly every server takes; OpenAI's reasoning models refuse it."""

    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    """OpenAI's newer name."""


class ReturnedThinking(Enum):
    """The field of an assistant message in which a server wants its own earlier thinking back."""

    NONE = "none"
    REASONING_CONTENT = "reasoning_content"
    """DeepSeek, Moonshot and others, which refuse a conversation with tool calls that comes without it."""

    REASONING = "reasoning"
    """vLLM in newer versions, OpenRouter."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The ways in which servers of either API differ. All defaults are what servers of every make take."""

    output_tokens: int | None = None
    """The most an answer can have; a client that asks for more gets this. None passes on what the client asks for."""

    efforts: tuple[str, ...] = ()
    """Accepted values of the reasoning effort, lowest first; empty where the parameter is refused."""


class ChatServer(Server, frozen=True, kw_only=True):
    """A server of Chat Completions."""

    token_limit: TokenLimit = TokenLimit.MAX_TOKENS
    returned_thinking: ReturnedThinking = ReturnedThinking.NONE
    top_k: bool = False
    """``top_k`` is accepted, which is no parameter of OpenAI's own."""

    stop_sequences: int | None = None
    """The most that ``stop`` may hold (4 at OpenAI); None where there is no limit."""

    system_turns: bool = False
    """A system message is accepted anywhere. The chat templates of many open models allow one at the start only."""


class ResponsesServer(Server, frozen=True, kw_only=True):
    """A server of the Responses API."""

    summaries: bool = False
    """It gives summaries of its reasoning to those who ask. OpenAI refuses organisations that it has not verified."""

    encrypted_reasoning: bool = False
    """It gives its reasoning encrypted, to be handed back. OpenAI's models that do not reason refuse to be asked."""


class CarriedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A Messages request in the words of another API, and what the answer's translation must know of it."""

    body: bytes
    requested_model: str
    """As the client wrote it; the answer names this one."""

    upstream_model: str
    stream: bool
    tools: Mapping[str, str] = {}
    """The client's names of the tools whose name had to be shortened, by the name that went upstream."""

    stop_sequences: tuple[str, ...] = ()
    """What the client wants the answer to stop at."""

    shows_thinking: bool = False
    """The client asked the model to think, so that it expects thinking blocks."""

    omitted: tuple[str, ...] = ()
    """What was left out of the request, by a documented rule or by the drop setting: ``diagnostics``, ``tools.3``."""
