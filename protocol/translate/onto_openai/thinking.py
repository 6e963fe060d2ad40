"""Thinking in both directions: how much of it is asked for, and how a client is given what a server thought.

What a server thought becomes a thinking block, and goes back to the server when the client hands the block back. Where
Anthropic would sign, the block says where it came from: ``UNSIGNED`` for thoughts in plain text, or the server's own
encrypted reasoning. Nothing is signed, and Anthropic's API refuses both.
"""

import base64
import binascii
from typing import Final

import msgspec

from protocol.translate.effort import BUDGETS, REASONING_EFFORTS
from protocol.translate.fields import Fields

UNSIGNED: Final = "unsigned.openai-reasoning"
"""The signature of thoughts that came in plain text."""

ENCRYPTED_PREFIX: Final = "openai-reasoning.v1."

OFF: Final = "none"
THINKING: Final = frozenset({"enabled", "adaptive", "between_tools"})


class EncryptedReasoning(msgspec.Struct, frozen=True):
    """A reasoning item of the Responses API, as far as its server must get it back."""

    id: str
    encrypted_content: str

    @property
    def signature(self) -> str:
        """The same as the signature of a thinking block: the prefix and the base64url form of its JSON."""
        return ENCRYPTED_PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode("ascii")


def encrypted_reasoning(signature: object) -> EncryptedReasoning | None:
    """What a signature holds; None where it is another's, or damaged."""
    if not isinstance(signature, str) or not signature.startswith(ENCRYPTED_PREFIX):
        return None
    try:
        item = base64.b64decode(signature.removeprefix(ENCRYPTED_PREFIX), altchars=b"-_", validate=True)
        return msgspec.json.decode(item, type=EncryptedReasoning)
    except (binascii.Error, ValueError, RecursionError):
        return None


def asks_to_think(thinking: Fields | None) -> bool:
    """Whether the answer may hold thinking blocks: Anthropic's API sends none unless asked."""
    return thinking is not None and thinking.choice("type", *sorted(THINKING), "disabled") in THINKING


def wanted_effort(thinking: Fields | None, effort: str | None) -> str | None:
    """The effort that a request asks for: its own word for it, else its thinking budget, else none at all.

    ``disabled`` thinking asks for no effort, whatever else is said.
    """
    if thinking is None:
        return effort
    if thinking.optional_text("type") == "disabled":
        return OFF
    budget = thinking.integer("budget_tokens")
    if effort is not None or budget is None:
        return effort
    return next((level for level, tokens in BUDGETS.items() if budget <= tokens), REASONING_EFFORTS[-1])


def nearest_effort(wanted: str, accepted: tuple[str, ...]) -> str | None:
    """The highest accepted level that is not above the wanted one, else the lowest; None where none is accepted."""
    rank = REASONING_EFFORTS.index
    below = [level for level in accepted if level in REASONING_EFFORTS and rank(level) <= rank(wanted)]
    return below[-1] if below else next(iter(accepted), None)
