"""What each family of Claude models accepts in a request, as far as translation must know.

Source: Anthropic's model pages, the thinking support table, the effort and structured-output pages (autumn 2026).
"""

from enum import Enum
from typing import Final

import msgspec

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
"""Every level of ``output_config.effort``, lowest first."""


class Thinking(Enum):
    """How a model is asked to think."""

    NONE = "none"
    BUDGET = "budget"
    """``{"type":"enabled","budget_tokens":N}``"""

    ADAPTIVE = "adaptive"
    """``{"type":"adaptive"}``; depth is a matter of effort."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """One family's answers."""

    output_tokens: int
    """The ``max_tokens`` that is sent when the client names none: what the family can write at most, or a bit less
    where the family's members differ."""

    thinking: Thinking = Thinking.ADAPTIVE
    efforts: tuple[str, ...] = ()
    """Accepted levels of effort, lowest first; empty where the parameter is refused."""

    hides_thinking: bool = False
    """Thinking text comes back empty unless ``thinking.display`` asks for it."""

    sampling: bool = True
    """``temperature``, ``top_p`` and ``top_k`` are accepted."""

    temperature_with_top_p: bool = False
    """Both may be set in one request."""

    structured_outputs: bool = True
    """``output_config.format`` is accepted."""

    system_turns: bool = False
    """A message with role ``system`` is accepted after a user turn."""


CURRENT: Final = Capabilities(
    output_tokens=128_000, efforts=EFFORTS, hides_thinking=True, sampling=False, system_turns=True
)
"""The present generation, and what is taken for granted of a model nobody here has heard of: newer models accept
what this one accepts, and a parameter left out (sampling) is refused by none."""

_OPUS_4_7: Final = Capabilities(output_tokens=128_000, efforts=EFFORTS, hides_thinking=True, sampling=False)
_CLAUDE_4_6: Final = Capabilities(output_tokens=64_000, efforts=("low", "medium", "high", "max"))
_OPUS_4_5: Final = Capabilities(output_tokens=64_000, thinking=Thinking.BUDGET, efforts=("low", "medium", "high"))
_CLAUDE_4_5: Final = Capabilities(output_tokens=64_000, thinking=Thinking.BUDGET)
_OPUS_4_1: Final = Capabilities(output_tokens=32_000, thinking=Thinking.BUDGET, structured_outputs=False)
_OPUS_4: Final = Capabilities(
    output_tokens=32_000, thinking=Thinking.BUDGET, structured_outputs=False, temperature_with_top_p=True
)
_SONNET_4: Final = Capabilities(
    output_tokens=64_000, thinking=Thinking.BUDGET, structured_outputs=False, temperature_with_top_p=True
)
_CLAUDE_3_5: Final = Capabilities(
    output_tokens=8_192, thinking=Thinking.NONE, structured_outputs=False, temperature_with_top_p=True
)
_CLAUDE_3: Final = Capabilities(
    output_tokens=4_096, thinking=Thinking.NONE, structured_outputs=False, temperature_with_top_p=True
)

FAMILIES: Final = {
    "claude-3-": _CLAUDE_3,
    "claude-3-5-": _CLAUDE_3_5,
    "claude-3-7-": _SONNET_4,
    "claude-sonnet-4-": _SONNET_4,
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-sonnet-4-6": _CLAUDE_4_6,
    "claude-sonnet-5": _OPUS_4_7,
    "claude-sonnet-5-5": CURRENT,
    "claude-opus-4-": _OPUS_4,
    "claude-opus-4-1": _OPUS_4_1,
    "claude-opus-4-5": _OPUS_4_5,
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _OPUS_4_7,
    "claude-opus-4-8": CURRENT,
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-mythos-preview": _OPUS_4_7,
}
"""By the beginning of the model's id; the longest one that fits counts, and ``CURRENT`` where none does."""

_LONGEST_FIRST: Final = sorted(FAMILIES.items(), key=lambda family: len(family[0]), reverse=True)


def capabilities_of(model: str) -> Capabilities:
    """What the model with this upstream id accepts."""
    for prefix, capabilities in _LONGEST_FIRST:
        if model.startswith(prefix):
            return capabilities
    return CURRENT
