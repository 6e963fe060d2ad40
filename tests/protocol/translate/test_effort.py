import pytest

from protocol.translate.capabilities import CURRENT, Capabilities, capabilities_of
from protocol.translate.effort import Reasoning, decide_reasoning
from protocol.translate.fields import Fields
from tests.support.openai_requests import HAIKU, OLD_SONNET, OPUS, SONNET, refused

OPUS_4_5 = "claude-opus-4-5-20251101"


def decided(
    wanted: str | None,
    model: str,
    *,
    max_tokens: int = 64_000,
    may_think: bool = True,
    forced_tool: bool = False,
    explicit: dict[str, object] | None = None,
) -> Reasoning:
    return decide_reasoning(
        wanted,
        shown=False,
        explicit=None if explicit is None else Fields(explicit, "thinking"),
        max_tokens=max_tokens,
        may_think=may_think,
        forced_tool=forced_tool,
        capabilities=capabilities_of(model),
    )


@pytest.mark.parametrize(
    ("wanted", "model", "effort"),
    [
        ("none", OPUS, "low"),
        ("minimal", OPUS, "low"),
        ("xhigh", OPUS, "xhigh"),
        ("max", OPUS, "max"),
        ("xhigh", SONNET, "high"),
        ("max", SONNET, "max"),
        ("max", OPUS_4_5, "high"),
        ("high", HAIKU, None),
    ],
)
def test_the_effort_is_the_nearest_the_model_takes_and_never_above(wanted: str, model: str, effort: str | None) -> None:
    assert decided(wanted, model).effort == effort


@pytest.mark.parametrize("wanted", [None, "none", "minimal"])
def test_thinking_is_not_switched_on_unasked(wanted: str | None) -> None:
    assert not decided(wanted, OPUS).on
    assert not decided(wanted, HAIKU).on


@pytest.mark.parametrize(
    ("max_tokens", "budget"), [(64_000, 16_384), (8_000, 4_000), (2_048, 1_024), (2_047, None), (1, None)]
)
def test_a_budget_takes_at_most_half_of_the_tokens_or_there_is_none(max_tokens: int, budget: int | None) -> None:
    thinking = decided("high", HAIKU, max_tokens=max_tokens).thinking
    assert thinking == (None if budget is None else {"type": "enabled", "budget_tokens": budget})


def test_a_model_with_budget_and_effort_gets_both() -> None:
    assert decided("low", OPUS_4_5) == Reasoning({"type": "enabled", "budget_tokens": 2_048}, "low")


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    assert decided("high", "claude-3-5-haiku-20241022") == Reasoning(None, None)


def test_a_forced_tool_is_called_without_thinking() -> None:
    assert decided("high", HAIKU, forced_tool=True) == Reasoning(None, None)
    assert decided("high", OPUS, forced_tool=True) == Reasoning(None, "high")


def test_only_models_with_a_budget_mind_missing_thinking() -> None:
    assert not decided("high", OLD_SONNET, may_think=False).on
    assert decided("high", SONNET, may_think=False).on


def test_the_clients_own_thinking_is_passed_as_it_is() -> None:
    own: dict[str, object] = {"type": "adaptive", "display": "omitted", "new": 1}
    assert decided("max", SONNET, explicit=own) == Reasoning(own, "max")
    assert not decided(None, SONNET, explicit={"type": "disabled"}).on


def test_the_clients_own_budget_must_be_below_max_tokens() -> None:
    own: dict[str, object] = {"type": "enabled", "budget_tokens": 4096}
    assert decided(None, HAIKU, explicit=own, max_tokens=4097).thinking == own
    error = refused(decided, None, HAIKU, explicit=own, max_tokens=4096)
    assert (error.status, error.param) == (400, "thinking.budget_tokens")


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-0", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-3-7-sonnet-latest", 64_000),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("claude-sonnet-4-5-20250929", 64_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-sonnet-5-5", 128_000),
        ("claude-fable-5-2", 128_000),
        ("something-else", 128_000),
    ],
)
def test_every_family_has_its_own_limit(model: str, tokens: int) -> None:
    assert capabilities_of(model).output_tokens == tokens


@pytest.mark.parametrize(
    ("older", "newer", "ability"),
    [
        ("claude-opus-4-1", "claude-opus-4-5", "structured_outputs"),
        ("claude-opus-4-7", "claude-opus-4-8", "system_turns"),
        ("claude-sonnet-5", "claude-sonnet-5-5", "system_turns"),
        ("claude-sonnet-4-6", "claude-sonnet-4-20250514", "temperature_with_top_p"),
        ("claude-opus-4-7", "claude-opus-4-6", "sampling"),
        ("claude-sonnet-4-6", "claude-opus-4-7", "hides_thinking"),
    ],
)
def test_what_one_model_has_and_the_other_lacks(older: str, newer: str, ability: str) -> None:
    assert not getattr(capabilities_of(older), ability)
    assert getattr(capabilities_of(newer), ability)


def test_a_model_nobody_has_heard_of_is_taken_for_a_current_one() -> None:
    unknown: Capabilities = capabilities_of("claude-next-9")
    assert unknown is CURRENT
