"""What of a request is not text, although it stands among it: images and files in base64.

The provider charges for what they show, not for their bytes. Recognised are Anthropic's blocks with a base64
``source``, and the ``data:`` URLs of OpenAI's dialects.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

TOKENS_PER_IMAGE: Final = 2_000
"""A little more than Anthropic charges for an image of the largest size that it does not scale down."""

TOKENS_PER_PAGE: Final = 2_000
BYTES_PER_PAGE: Final = 50_000
"""Of base64; nothing else tells the pages of a document without reading it."""


@dataclass(frozen=True, slots=True)
class Attachments:
    """How many bytes of a body they take up, and how many tokens they are taken for."""

    size: int = 0
    tokens: int = 0


NO_ATTACHMENTS: Final = Attachments()


def attachments(body: bytes) -> Attachments:
    """Those of a request; none of what is no JSON."""
    if b"base64" not in body:
        return NO_ATTACHMENTS
    try:
        rest: list[object] = [msgspec.json.decode(body)]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NO_ATTACHMENTS
    size = tokens = 0
    while rest:  # a loop, because the depth of a request is up to the client
        value = rest.pop()
        if isinstance(value, dict):
            attached = _source(value)
            if attached is None:
                rest += value.values()
            else:
                size += len(attached)
                tokens += _price(attached, image=value.get("type") == "image")
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, str) and value.startswith("data:") and ";base64," in value[:MAX_DATA_PREFIX]:
            size += len(value)
            tokens += _price(value, image=value.startswith("data:image/"))
    return Attachments(size, tokens)


MAX_DATA_PREFIX: Final = 256
"""Of a ``data:`` URL, up to its data: a media type with parameters."""


def _source(block: dict[str, object]) -> str | None:
    """The base64 of Anthropic's image or document."""
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict) or source.get("type") != "base64":
        return None
    data = source.get("data")
    return data if isinstance(data, str) else None


def _price(data: str, *, image: bool) -> int:
    return TOKENS_PER_IMAGE if image else TOKENS_PER_PAGE * (1 + len(data) // BYTES_PER_PAGE)
