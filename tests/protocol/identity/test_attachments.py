"""Images and files among a request's text are priced by what they are, not by their bytes."""

import json
from typing import Any

import pytest

from protocol.identity.attachments import BYTES_PER_PAGE, TOKENS_PER_IMAGE, TOKENS_PER_PAGE, Attachments, attachments

DATA = "A" * 5 * BYTES_PER_PAGE
URL = "data:image/png;base64," + DATA


def said(*blocks: dict[str, Any]) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": list(blocks)}]}).encode()


def block(kind: str, data: object = DATA, source: str = "base64") -> dict[str, Any]:
    return {"type": kind, "source": {"type": source, "media_type": "x/y", "data": data}}


@pytest.mark.parametrize(
    ("content", "size", "tokens"),
    [
        (block("image"), len(DATA), TOKENS_PER_IMAGE),
        (block("document"), len(DATA), 6 * TOKENS_PER_PAGE),
        ({"type": "tool_result", "content": [block("image")]}, len(DATA), TOKENS_PER_IMAGE),
        ({"type": "image_url", "image_url": {"url": URL}}, len(URL), TOKENS_PER_IMAGE),
        ({"type": "input_image", "image_url": URL}, len(URL), TOKENS_PER_IMAGE),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, 32, TOKENS_PER_PAGE),
    ],
)
def test_an_image_has_a_price_and_a_document_one_for_each_page(content: dict[str, Any], size: int, tokens: int) -> None:
    assert attachments(said(content)) == Attachments(size, tokens)
    assert attachments(said(content, content)) == Attachments(2 * size, 2 * tokens)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"base64",
        b"\xff base64",
        b"[" * 5000 + b"base64",
        said({"type": "text", "text": "base64 " + DATA}),
        said(block("image", source="url"), {"type": "text", "text": "base64"}),
        said(block("image", data=7)),
        said(block("text")),
    ],
)
def test_all_else_is_text(body: bytes) -> None:
    assert attachments(body) == Attachments()
