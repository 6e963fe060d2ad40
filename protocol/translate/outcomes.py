"""How an answer ended and what it cost: a table of stop reasons and a rule of token counting, each with its inverse."""

from collections.abc import Mapping
from typing import Final

import msgspec

from protocol.values import Tokens


class Ending(msgspec.Struct, frozen=True):
    """One stop reason in OpenAI's two dialects; ``incomplete`` is None where a response counts as completed."""

    finish_reason: str
    incomplete: str | None = None


CUT_SHORT: Final = Ending("length", "max_output_tokens")
"""The answer goes on where it stopped. OpenAI has one word for that, whatever the reason."""

ENDINGS: Final[Mapping[str, Ending]] = {
    "end_turn": Ending("stop"),
    "stop_sequence": Ending("stop"),
    "tool_use": Ending("tool_calls"),
    "max_tokens": CUT_SHORT,
    "model_context_window_exceeded": CUT_SHORT,
    "pause_turn": CUT_SHORT,
    "compaction": CUT_SHORT,
    "refusal": Ending("content_filter", "content_filter"),
}
"""Every stop reason of the Messages API. A paused turn is unfinished, so it is never written as a plain stop."""

STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""Every finish reason of Chat Completions."""

REFUSED: Final = "The model declined to answer."
"""Stands in for the explanation of a refusal that came without one."""


def ending(stop_reason: str | None) -> Ending:
    """What a stop reason means. One that is unknown or missing is no finished answer, so it is never a plain stop."""
    return CUT_SHORT if stop_reason is None else ENDINGS.get(stop_reason, CUT_SHORT)


def stop_reason(finish_reason: str | None) -> str:
    """The inverse; an unknown or missing finish reason is an answer that was cut short."""
    return "max_tokens" if finish_reason is None else STOP_REASONS.get(finish_reason, "max_tokens")


class ThinkingCount(msgspec.Struct, frozen=True):
    """``output_tokens_details`` of the Messages API."""

    thinking_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the Messages API reports them: ``input_tokens`` excludes what the cache read and wrote."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: ThinkingCount | None = None

    def updated(self, later: "Usage") -> "Usage":
        """These counts with those of a later event, which are cumulative and replace what they name."""
        named = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **named)

    @property
    def cached(self) -> int:
        return self.cache_read_input_tokens or 0

    @property
    def cache_written(self) -> int:
        return self.cache_creation_input_tokens or 0

    @property
    def prompt(self) -> int:
        """Every token of the prompt, which is what OpenAI counts: new, read from the cache and written to it."""
        return (self.input_tokens or 0) + self.cached + self.cache_written

    @property
    def output(self) -> int:
        return self.output_tokens or 0

    @property
    def thinking(self) -> int | None:
        """Output tokens spent on thinking, or None where the upstream does not say."""
        return None if self.output_tokens_details is None else self.output_tokens_details.thinking_tokens


def chat_usage(usage: Usage) -> dict[str, object]:
    """The ``usage`` object of Chat Completions; ``reasoning_tokens`` is there only when it is known."""
    counts: dict[str, object] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_written},
    }
    if usage.thinking is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.thinking}
    return counts


def responses_usage(usage: Usage) -> dict[str, object]:
    """The ``usage`` object of the Responses API, where every detail is required; an unknown one is 0."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.thinking or 0},
        "total_tokens": usage.prompt + usage.output,
    }


class PromptDetails(msgspec.Struct, frozen=True):
    """``prompt_tokens_details`` of Chat Completions."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct, frozen=True):
    """``completion_tokens_details`` of Chat Completions."""

    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct, frozen=True):
    """The ``usage`` object of Chat Completions, as far as it has a counterpart."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


def anthropic_usage(counts: ChatUsage) -> Usage:
    """The inverse of ``chat_usage``: what the cache read or wrote leaves the prompt again; never below zero."""
    prompt = counts.prompt_tokens_details or PromptDetails()
    completion = counts.completion_tokens_details or CompletionDetails()
    cached = prompt.cached_tokens or 0
    written = prompt.cache_write_tokens or 0
    return Usage(
        input_tokens=max(0, counts.prompt_tokens - cached - written),
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        output_tokens=counts.completion_tokens,
        output_tokens_details=None
        if completion.reasoning_tokens is None
        else ThinkingCount(completion.reasoning_tokens),
    )


def billed(usage: Usage) -> Tokens | None:
    """The counts as what they cost; None where there are none. A missing or negative one is 0."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    return Tokens(
        input=max(0, usage.input_tokens or 0),
        output=max(0, usage.output),
        cache_creation=max(0, usage.cache_written),
        cache_read=max(0, usage.cached),
    )
