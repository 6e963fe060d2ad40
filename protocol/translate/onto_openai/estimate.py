"""How many tokens a Messages request has, for upstreams that cannot say: an estimate, and marked as one.

A token is taken for four bytes of UTF-8. Counted are every text and name in ``system`` and ``messages`` and the JSON of
``tools`` and of the output format; an image and the page of a PDF have a fixed price, and thinking, which is not sent
upstream, has none.
"""

from typing import Final

import msgspec

from protocol.translate.fields import Block, decode_request, refusal

ESTIMATED: Final = (b"x-router-estimated", b"true")
"""The response header that marks an answer made here."""

BYTES_PER_TOKEN: Final = 4
TOKENS_PER_MESSAGE: Final = 4
"""What stands between two messages."""

TOKENS_PER_IMAGE: Final = 1_600
"""What Anthropic charges for an image of the largest size it does not scale down."""

TOKENS_PER_PDF_PAGE: Final = 2_000
BYTES_PER_PDF_PAGE: Final = 50_000
"""Of the base64 text; nothing else tells the pages without reading the file."""

_SPOKEN: Final = ("system", "messages")
_SCHEMAS: Final = ("tools", "output_config", "output_format")


def estimate_count(body: bytes) -> bytes:
    """The body of an answer to ``POST /v1/messages/count_tokens``.

    :raises Refusal: 400, the body is no JSON object, or has no messages.
    """
    return msgspec.json.encode({"input_tokens": estimated_tokens(body)})


def estimated_tokens(body: bytes) -> int:
    """Tokens of the prompt of a Messages request.

    :raises Refusal: 400, the body is no JSON object, or has no messages.
    """
    request = decode_request(body)
    messages = list(request.items("messages"))
    if not messages:
        raise refusal("messages", "this field is required", "missing_required_parameter")
    priced = TOKENS_PER_MESSAGE * len(messages)
    size = sum(len(msgspec.json.encode(request.value(name))) for name in _SCHEMAS if request.value(name) is not None)
    rest: list[object] = [request.value(name) for name in _SPOKEN]
    while rest:  # a loop, because the depth of a request is up to the client
        value = rest.pop()
        if isinstance(value, str):
            size += len(value.encode())
        elif isinstance(value, dict):
            price = _price(value)
            priced += price or 0
            if price is None:
                rest += value.keys()
                rest += value.values()
        elif isinstance(value, list):
            rest += value
        elif value is not None:
            size += BYTES_PER_TOKEN
    return priced + -(-size // BYTES_PER_TOKEN)


def _price(block: Block) -> int | None:
    """The tokens of what is not counted by its text; None for what is."""
    if block.get("type") in ("thinking", "redacted_thinking"):
        return 0
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") in ("text", "content"):
        return None
    if block.get("type") == "image":
        return TOKENS_PER_IMAGE
    data = source.get("data")
    pages = 1 + (len(data) // BYTES_PER_PDF_PAGE if isinstance(data, str) else 0)
    return TOKENS_PER_PDF_PAGE * pages
