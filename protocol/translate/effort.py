"""How hard the model is to think: OpenAI's reasoning effort as Anthropic's thinking and effort parameters."""

from typing import Final

import msgspec

from protocol.translate.capabilities import EFFORTS, Capabilities, Thinking
from protocol.translate.fields import Block, Fields, refusal

UNTHINKING: Final = ("none", "minimal")
REASONING_EFFORTS: Final = (*UNTHINKING, *EFFORTS)
"""What OpenAI clients may ask for, lowest first."""

BUDGETS: Final = {"low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""Tokens of thinking on models that take a budget, as long as half of ``max_tokens`` allows it."""

SMALLEST_BUDGET: Final = 1_024
"""The API's lower bound of ``budget_tokens``."""


class Reasoning(msgspec.Struct, frozen=True):
    """The upstream parameters: ``thinking`` and ``output_config.effort``; None means absent."""

    thinking: Block | None
    effort: str | None

    @property
    def on(self) -> bool:
        """Whether thinking was asked for, so that sampling parameters would be refused."""
        return self.thinking is not None and self.thinking.get("type") in ("enabled", "adaptive")


def decide_reasoning(
    wanted: str | None,
    *,
    shown: bool,
    explicit: Fields | None,
    max_tokens: int,
    may_think: bool,
    forced_tool: bool,
    capabilities: Capabilities,
) -> Reasoning:
    """The upstream parameters for a reasoning effort.

    The client's own ``thinking`` wins. Else ``none`` and ``minimal`` switch nothing on and ask for the lowest effort;
    higher levels think, unless a tool is forced, the budget would not fit twice into ``max_tokens``, or ``may_think``
    is false (tool results that must be continued without thinking, on a model with a budget).

    :param wanted: one of ``REASONING_EFFORTS``.
    :param shown: the client can show thinking text.
    :raises Refusal: 400, the client's own budget is not below ``max_tokens``.
    """
    effort = _nearest_effort(wanted, capabilities) if wanted else None
    if explicit is not None:
        budget = explicit.integer("budget_tokens")
        if budget is not None and budget >= max_tokens:
            raise refusal(explicit.at("budget_tokens"), f"the budget must be below max_tokens, which is {max_tokens}")
        return Reasoning(dict(explicit.values), effort)
    if wanted is None or wanted in UNTHINKING or forced_tool:
        return Reasoning(None, effort)
    if capabilities.thinking is Thinking.ADAPTIVE:
        thinking: Block = {"type": "adaptive"}
        if shown and capabilities.hides_thinking:
            thinking["display"] = "summarized"
        return Reasoning(thinking, effort)
    budget = min(BUDGETS[wanted], max_tokens // 2)
    if capabilities.thinking is Thinking.BUDGET and may_think and budget >= SMALLEST_BUDGET:
        return Reasoning({"type": "enabled", "budget_tokens": budget}, effort)
    return Reasoning(None, effort)


def _nearest_effort(wanted: str, capabilities: Capabilities) -> str | None:
    """The highest level the model takes that is not above the wanted one; its lowest for none and minimal."""
    accepted = capabilities.efforts
    if not accepted or wanted in accepted:
        return wanted if accepted else None
    below = [level for level in accepted if REASONING_EFFORTS.index(level) < REASONING_EFFORTS.index(wanted)]
    return below[-1] if below else accepted[0]
