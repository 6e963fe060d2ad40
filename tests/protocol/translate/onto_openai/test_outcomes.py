"""How an answer ended, over all of both APIs' words, and what it cost."""

from typing import Any

import pytest

from protocol.translate.onto_openai.chat_completions import Choice
from protocol.translate.onto_openai.outcomes import FAILURES, Stop, stop_of_choice, usage_of
from protocol.translate.outcomes import (
    ENDINGS,
    STOP_REASONS,
    ChatUsage,
    CompletionDetails,
    PromptDetails,
    anthropic_usage,
)
from tests.support.openai_requests import refused


def stop(finish_reason: str | None, *, called: bool = False, refusal: str = "", **facts: Any) -> Stop:
    choice = Choice(finish_reason=finish_reason, **facts)
    return stop_of_choice(choice, called=called, refusal=refusal, sequences=("###", "END"))


@pytest.mark.parametrize(
    ("finish_reason", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "max_tokens"),
        ("function_call", "max_tokens"),
        ("a_reason_of_tomorrow", "max_tokens"),
        ("", "max_tokens"),
        (None, "max_tokens"),
    ],
)
def test_every_ending_of_an_answer_without_calls(finish_reason: str | None, expected: str) -> None:
    assert stop(finish_reason).stop_reason == expected


@pytest.mark.parametrize(
    ("finish_reason", "expected"),
    [
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("stop", "tool_use"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("a_reason_of_tomorrow", "max_tokens"),
        (None, "max_tokens"),
    ],
)
def test_every_ending_of_an_answer_with_calls(finish_reason: str | None, expected: str) -> None:
    assert stop(finish_reason, called=True).stop_reason == expected


def test_nothing_but_a_plain_stop_is_a_plain_end() -> None:
    for reason in [*STOP_REASONS, "eos", "abort", "", None]:
        for called in (True, False):
            assert stop(reason, called=called).stop_reason != "end_turn" or (reason == "stop" and not called)


@pytest.mark.parametrize("reason", FAILURES)
def test_a_failure_is_no_ending(reason: str) -> None:
    error = refused(stop, reason)
    assert error.status == FAILURES[reason]
    assert reason in error.message


@pytest.mark.parametrize("finish_reason", ["stop", "content_filter", "length", None])
def test_a_refusal_is_one_whatever_the_finish_reason(finish_reason: str | None) -> None:
    details: dict[str, object] = {"type": "refusal", "category": None, "explanation": "No."}
    assert stop(finish_reason, refusal="No.") == Stop("refusal", None, details)


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop", "stop_sequence"])
def test_the_sequence_that_ended_the_answer_is_told_if_it_is_the_clients(field: str) -> None:
    assert stop("stop", **_only(field, "###")) == Stop("stop_sequence", "###")
    for other in ("<|im_end|>", 151_645, None, ["###"]):
        assert stop("stop", **_only(field, other)) == Stop("end_turn")
    assert stop("length", **_only(field, "###")) == Stop("max_tokens")
    assert stop("stop", called=True, **_only(field, "###")) == Stop("tool_use")


def _only(field: str, value: Any) -> dict[str, Any]:
    return {field: value}


@pytest.mark.parametrize("reason", sorted(set(ENDINGS) - {"tool_use"}))
def test_a_native_reason_of_anthropics_counts_where_it_agrees(reason: str) -> None:
    finish_reason = ENDINGS[reason].finish_reason
    assert stop(finish_reason, native_finish_reason=reason).stop_reason == reason
    contrary = "length" if finish_reason != "length" else "stop"
    assert stop(contrary, native_finish_reason=reason).stop_reason != reason or reason == STOP_REASONS[contrary]


@pytest.mark.parametrize("native", ["STOP", "eos", 7, None, ["end_turn"]])
def test_another_native_reason_means_nothing(native: Any) -> None:
    assert stop("length", native_finish_reason=native) == Stop("max_tokens")


def test_cached_tokens_are_counted_once() -> None:
    counts = ChatUsage(100, 20, PromptDetails(60, 10), CompletionDetails(8))
    assert usage_of(anthropic_usage(counts)) == {
        "input_tokens": 30,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 8},
    }


def test_counts_that_nobody_made_are_zero_and_none_is_negative() -> None:
    zeros = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    assert usage_of(None) == zeros
    assert usage_of(anthropic_usage(ChatUsage(-1, -1, PromptDetails(-1)))) == zeros
    assert usage_of(anthropic_usage(ChatUsage(5, 0, PromptDetails(9))))["input_tokens"] == 0
    odd = usage_of(anthropic_usage(ChatUsage(0, 0, PromptDetails(0, -1), CompletionDetails(-1))))
    assert odd["cache_creation_input_tokens"] == 0
    assert odd["output_tokens_details"] == {"thinking_tokens": 0}
