"""How an answer ended, and what it cost, in Anthropic's words: the other direction's tables, inverted."""

from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.onto_openai.chat_completions import Choice
from protocol.translate.onto_openai.responses_answers import Response
from protocol.translate.outcomes import ENDINGS, Ending, Usage, stop_reason

JsonObject = dict[str, object]

FAILURES: Final = {"error": 502, "insufficient_system_resource": 529}
"""Finish reasons by which some servers say that the answer failed (OpenRouter, DeepSeek), and what status that is."""

INCOMPLETE: Final = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}
"""Every reason for which a response of the Responses API may be incomplete."""


class Stop(msgspec.Struct, frozen=True):
    """The three fields of a message that tell how it ended."""

    stop_reason: str
    stop_sequence: str | None = None
    stop_details: JsonObject | None = None


def stop_of_choice(choice: Choice, *, called: bool, refusal: str, sequences: tuple[str, ...]) -> Stop:
    """How a chat completion ended.

    An answer with calls that ended of itself wants them made, whatever the server calls that; one that is said to want
    calls and has none is not whole.

    :param refusal: why the model declined, ``""`` where it did not.
    :param sequences: the stop sequences that the client asked for.
    :raises Refusal: the server says that the answer failed.
    """
    failure = FAILURES.get(choice.finish_reason or "")
    if failure is not None:
        raise Refusal(failure, f"the model's provider broke off the answer: {choice.finish_reason}")
    if refusal:
        return refused(refusal)
    reason = stop_reason(choice.finish_reason)
    if reason in ("end_turn", "tool_use"):
        if called or reason == "tool_use":
            return Stop("tool_use" if called else "max_tokens")
        for matched in (choice.stop_reason, choice.matched_stop, choice.stop_sequence):
            if isinstance(matched, str) and matched in sequences:
                return Stop("stop_sequence", matched)
    native = _native_ending(choice.native_finish_reason)
    agrees = native is not None and native.finish_reason == choice.finish_reason
    return Stop(str(choice.native_finish_reason) if agrees else reason)


def stop_of_response(response: Response, *, called: bool, refusal: str) -> Stop:
    """How a response of the Responses API ended. A reason for which it is incomplete that is unknown or missing is an
    answer that was cut short.
    """
    if refusal:
        return refused(refusal)
    complete, incomplete = response.status == "completed", response.incomplete
    if complete and called:
        return Stop("tool_use")
    native = _native_ending(response.native_finish_reason)
    if native is not None and native.incomplete == incomplete:
        return Stop(str(response.native_finish_reason))
    return Stop("end_turn" if complete else INCOMPLETE.get(incomplete or "", "max_tokens"))


def refused(explanation: str) -> Stop:
    """The model declined."""
    return Stop("refusal", None, {"type": "refusal", "category": None, "explanation": explanation})


def usage_of(usage: Usage | None) -> JsonObject:
    """The ``usage`` of a message; of a server that counts nothing, zeros."""
    usage = usage or Usage()
    told: JsonObject = {
        "input_tokens": max(0, usage.input_tokens or 0),
        "cache_creation_input_tokens": max(0, usage.cache_written),
        "cache_read_input_tokens": max(0, usage.cached),
        "output_tokens": max(0, usage.output),
    }
    if usage.thinking is not None:
        told["output_tokens_details"] = {"thinking_tokens": max(0, usage.thinking)}
    return told


def _native_ending(native: object) -> Ending | None:
    """What a server's native reason means where it is one of Anthropic's.

    It counts where it says no other thing than the reason in OpenAI's words, and then it says more.
    """
    return ENDINGS.get(native) if isinstance(native, str) and native != "tool_use" else None
