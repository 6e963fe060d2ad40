"""How an answer ended and what it cost are said by one table and one rule, total in both directions."""

from typing import get_args

import msgspec
import pytest
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CompletionUsage
from openai.types.chat.chat_completion import Choice
from openai.types.responses import ResponseUsage
from openai.types.responses.response import IncompleteDetails

from protocol.translate.outcomes import (
    ENDINGS,
    STOP_REASONS,
    ChatUsage,
    PromptDetails,
    ThinkingCount,
    Usage,
    anthropic_usage,
    chat_usage,
    ending,
    responses_usage,
    stop_reason,
)

FINISH_REASONS = set(get_args(Choice.model_fields["finish_reason"].annotation))
COUNTS = st.none() | st.integers(0, 10**9)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | st.builds(ThinkingCount, COUNTS))


def test_every_stop_reason_of_the_api_is_in_the_table() -> None:
    assert set(ENDINGS) == set(get_args(StopReason)) | set(get_args(BetaStopReason))


def test_every_finish_reason_of_openai_is_in_the_inverse() -> None:
    assert set(STOP_REASONS) == FINISH_REASONS


@pytest.mark.parametrize(
    ("reason", "finish_reason", "incomplete"),
    [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", None),
        ("tool_use", "tool_calls", None),
        ("max_tokens", "length", "max_output_tokens"),
        ("model_context_window_exceeded", "length", "max_output_tokens"),
        ("pause_turn", "length", "max_output_tokens"),
        ("compaction", "length", "max_output_tokens"),
        ("refusal", "content_filter", "content_filter"),
        ("a_reason_of_tomorrow", "length", "max_output_tokens"),
        (None, "length", "max_output_tokens"),
    ],
)
def test_a_stop_reason_says_the_same_in_both_dialects(
    reason: str | None, finish_reason: str, incomplete: str | None
) -> None:
    assert ending(reason).finish_reason == finish_reason
    assert ending(reason).incomplete == incomplete


@given(reason=st.none() | st.text())
def test_only_a_finished_answer_is_a_plain_stop(reason: str | None) -> None:
    assert (ending(reason).finish_reason == "stop") == (reason in ("end_turn", "stop_sequence"))
    assert (ending(reason).incomplete is None) == (reason in ("end_turn", "stop_sequence", "tool_use"))


@pytest.mark.parametrize("reason", ENDINGS)
def test_every_ending_is_one_that_openai_knows(reason: str) -> None:
    assert ending(reason).finish_reason in FINISH_REASONS
    IncompleteDetails.model_validate({"reason": ending(reason).incomplete}, strict=True)


@pytest.mark.parametrize("finish_reason", sorted(FINISH_REASONS - {"function_call"}))
def test_a_finish_reason_survives_the_way_there_and_back(finish_reason: str) -> None:
    assert ending(stop_reason(finish_reason)).finish_reason == finish_reason


@pytest.mark.parametrize("finish_reason", [None, "", "a_reason_of_tomorrow"])
def test_an_unknown_finish_reason_is_no_finished_turn(finish_reason: str | None) -> None:
    assert stop_reason(finish_reason) == "max_tokens"


def test_prompt_tokens_are_all_tokens_of_the_prompt() -> None:
    usage = Usage(100, 2000, 30, 7, ThinkingCount(4))
    assert chat_usage(usage) == {
        "prompt_tokens": 2130,
        "completion_tokens": 7,
        "total_tokens": 2137,
        "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert responses_usage(usage) == {
        "input_tokens": 2130,
        "input_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 30},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 2137,
    }


@given(usage=USAGES)
def test_counts_add_up_and_the_sdk_takes_them(usage: Usage) -> None:
    chat = CompletionUsage.model_validate(chat_usage(usage), strict=True)
    responses = ResponseUsage.model_validate(responses_usage(usage), strict=True)
    assert chat.total_tokens == chat.prompt_tokens + chat.completion_tokens == responses.total_tokens
    assert responses.input_tokens_details.cached_tokens == (usage.cache_read_input_tokens or 0)


@given(usage=USAGES)
def test_usage_survives_the_way_there_and_back(usage: Usage) -> None:
    counts = chat_usage(usage)
    assert anthropic_usage(_read(counts)).prompt == usage.prompt
    assert chat_usage(anthropic_usage(_read(counts))) == counts


@given(counts=st.builds(ChatUsage, st.integers(0, 9), st.integers(0, 9), st.builds(PromptDetails, COUNTS, COUNTS)))
def test_usage_from_elsewhere_never_gets_below_zero(counts: ChatUsage) -> None:
    usage = anthropic_usage(counts)
    assert usage.input_tokens is not None
    assert min(usage.input_tokens, usage.cached, usage.cache_written, usage.output) >= 0


def test_counts_without_details_are_all_new() -> None:
    assert anthropic_usage(ChatUsage(12, 3)) == Usage(12, 0, 0, 3)


@given(early=USAGES, late=USAGES)
def test_later_counts_replace_what_they_name(early: Usage, late: Usage) -> None:
    merged = early.updated(late)
    for field in Usage.__struct_fields__:
        assert getattr(merged, field) == (
            getattr(early, field) if getattr(late, field) is None else getattr(late, field)
        )


def _read(counts: dict[str, object]) -> ChatUsage:
    return msgspec.convert(counts, ChatUsage)
