"""Thinking blocks as the opaque text of a Responses ``reasoning`` item, so that a client can hand them back.

The text is ``anthropic-thinking.v1.`` and the base64url form (no padding) of the block's JSON. Nothing in it is
secret or sealed: the provider's own signature inside guards it. A block travels whole or not at all.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

PREFIX: Final = "anthropic-thinking.v1."

_REQUIRED: Final = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}


class ForeignReasoning(ValueError):
    """The text was made by another provider; nothing here can read it."""


def encode_reasoning(block: Mapping[str, object]) -> str:
    """The opaque text for a ``thinking`` or ``redacted_thinking`` content block, every field as it is."""
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(block)).rstrip(b"=").decode("ascii")


def decode_reasoning(text: str) -> dict[str, object]:
    """The content block that ``encode_reasoning`` was given.

    :raises ForeignReasoning: the text is not ours.
    :raises ValueError: the text is ours but damaged.
    """
    if not text.startswith(PREFIX):
        raise ForeignReasoning("made by another provider")
    encoded = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        block = msgspec.json.decode(raw, type=dict[str, object])
    except (binascii.Error, ValueError, RecursionError) as error:
        raise ValueError("the encrypted reasoning is damaged") from error
    if not is_thinking_block(block):
        raise ValueError("the encrypted reasoning holds no thinking block")
    return block


def is_thinking_block(block: Mapping[str, object]) -> bool:
    """Whether a ``thinking`` block has its text and signature, or a ``redacted_thinking`` block its data."""
    kind = block.get("type")
    required = _REQUIRED.get(kind) if isinstance(kind, str) else None
    return required is not None and all(isinstance(block.get(name), str) for name in required)
