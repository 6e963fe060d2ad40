"""Content parts of Chat Completions messages and Responses items, as Anthropic content blocks."""

import base64
import binascii
import re
from typing import Final, Literal, NamedTuple, TypeAlias

from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.reasoning import is_thinking_block
from protocol.translate.scope import Scope

Speaker: TypeAlias = Literal["user", "assistant", "tool", "instructions"]
"""Whose content it is: instructions hold text only, an assistant's has no pictures, the rest may hold everything."""

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What an Anthropic image block takes (Messages API, "Vision")."""

TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
IMAGE_PARTS: Final = frozenset({"image_url", "input_image"})
FILE_PARTS: Final = frozenset({"file", "input_file"})
THINKING_PARTS: Final = frozenset({"thinking", "redacted_thinking"})

FILES_BETA: Final = "files-api-2025-04-14"
ANTHROPIC_FILE_PREFIX: Final = "file_"
"""How ids of Anthropic's Files API begin; OpenAI's begin with ``file-``."""

_DATA_URL: Final = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]+=[^;,]*)*(?P<base64>;base64)?,", re.IGNORECASE)
_TYPES_BY_SUFFIX: Final = {
    "pdf": "application/pdf",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "xml": "application/xml",
}
_TEXTUAL_TYPES: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
_PDF_IN_BASE64: Final = "JVBERi0"
"""``%PDF-``, which every PDF file begins with (ISO 32000-2, 7.5.2)."""

_BILLING_HEADER: Final = re.compile(r"\Ax-anthropic-billing-header:[^\n]*\n?")
"""A line with a number of its own on every request, which some clients put in front of their instructions for the
API they think they talk to. On a translated route it means nothing and would spoil the prompt cache."""


class _Data(NamedTuple):
    media_type: str
    base64: str


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def content_blocks(content: object, path: str, speaker: Speaker, scope: Scope) -> list[Block]:
    """A ``content`` field: null, a string or an array of parts, without the blank texts that Anthropic refuses.

    :raises Refusal: 400 that names the part: of an unknown type, malformed, or impossible for this speaker.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [text_block(content)] if content.strip() else []
    if not isinstance(content, list):
        raise refusal(path, "expected a string or an array of content parts", "invalid_type")
    parts = (Fields.of(part, f"{path}.{index}") for index, part in enumerate(content))
    blocks = (_marked(_block(part, speaker, scope), part) for part in parts)
    return [block for block in blocks if block is not None]


def instruction_blocks(content: object, path: str, scope: Scope) -> list[Block]:
    """A system or developer message, or ``instructions``, as text blocks."""
    blocks = content_blocks(content, path, "instructions", scope)
    for block in blocks:
        block["text"] = _BILLING_HEADER.sub("", str(block["text"]), count=1)
    return [block for block in blocks if str(block["text"]).strip()]


def _block(part: Fields, speaker: Speaker, scope: Scope) -> Block | None:
    kind = part.text("type")
    if kind in TEXT_PARTS:
        return _text(part.text("text"))
    if kind == "refusal":
        return _text(part.text("refusal"))
    if kind in THINKING_PARTS and speaker == "assistant":
        return thinking_block(part)
    if speaker in ("user", "tool"):
        if kind in IMAGE_PARTS:
            return _image(part, scope)
        if kind in FILE_PARTS:
            return _file(part, scope)
    scope.cannot_carry(part.path, f"content of type {kind!r} cannot be sent here")
    return None


def _marked(block: Block | None, part: Fields) -> Block | None:
    """The block with the part's own ``cache_control``, which thinking blocks may not have."""
    marker = part.value("cache_control")
    if block is not None and marker is not None and block["type"] not in THINKING_PARTS:
        block["cache_control"] = marker
    return block


def _text(text: str) -> Block | None:
    return text_block(text) if text.strip() else None


def thinking_block(part: Fields) -> Block:
    """A thinking block that an earlier answer gave, every byte as it was.

    :raises Refusal: 400, it lacks its signature or data: half a block would be refused upstream.
    """
    block = {name: value for name, value in part.values.items() if name != "cache_control"}
    if not is_thinking_block(block):
        raise refusal(part.path, "a thinking block needs its text and signature, a redacted one its data")
    return block


def _image(part: Fields, scope: Scope) -> Block | None:
    """An image by http(s) URL, data URL or Anthropic file id."""
    file_id = part.optional_text("file_id")
    if file_id is not None:
        return _stored_file("image", file_id, part.at("file_id"), scope)
    # Chat wraps the URL in an object that also holds the level of detail; Responses does not.
    wrapped = part.value("image_url")
    url, path = part.at("image_url"), part.at("image_url")
    if isinstance(wrapped, dict):
        path = f"{path}.url"
        url = Fields(wrapped, part.at("image_url")).text("url")
    else:
        url = part.text("image_url")
    if _is_web_url(url):
        return {"type": "image", "source": {"type": "url", "url": url}}
    data = _data_url(url)
    if data is None:
        raise refusal(path, "expected an http(s) URL or a base64 data URL")
    return _inline_image(data, path, scope)


def _file(part: Fields, scope: Scope) -> Block | None:
    """A document, or an image sent as a file: inline, by URL or by Anthropic file id."""
    # Chat wraps the fields in an object; Responses does not.
    fields = part.section("file") if part.text("type") == "file" else part
    file_id, url = fields.optional_text("file_id"), fields.optional_text("file_url")
    title = fields.optional_text("filename")
    if file_id is not None:
        block = _stored_file("document", file_id, fields.at("file_id"), scope)
    elif url is not None:
        if not _is_web_url(url):
            raise refusal(fields.at("file_url"), "expected an http(s) URL")
        block = {"type": "document", "source": {"type": "url", "url": url}}
    else:
        text = fields.text("file_data")
        data = _data_url(text) or _Data(_guessed_type(title, text), text)
        block = _inline_file(data, fields.at("file_data"), scope)
    if block is not None and title and block["type"] == "document":
        block["title"] = title
    return block


def _stored_file(kind: str, file_id: str, path: str, scope: Scope) -> Block | None:
    if not file_id.startswith(ANTHROPIC_FILE_PREFIX):
        scope.cannot_carry(path, "the file lies at another provider; send its data instead")
        return None
    scope.betas.add(FILES_BETA)
    return {"type": kind, "source": {"type": "file", "file_id": file_id}}


def _inline_file(data: _Data, path: str, scope: Scope) -> Block | None:
    if data.media_type.startswith("image/"):
        return _inline_image(data, path, scope)
    if data.media_type == "application/pdf":
        return {"type": "document", "source": {"type": "base64", "media_type": data.media_type, "data": data.base64}}
    if data.media_type.startswith("text/") or data.media_type in _TEXTUAL_TYPES:
        source = {"type": "text", "media_type": "text/plain", "data": _decoded_text(data.base64, path)}
        return {"type": "document", "source": source}
    scope.cannot_carry(path, f"a file of type {data.media_type or 'unknown'} cannot be sent, only PDF, text and images")
    return None


def _inline_image(data: _Data, path: str, scope: Scope) -> Block | None:
    media_type = "image/jpeg" if data.media_type == "image/jpg" else data.media_type
    if media_type not in IMAGE_TYPES:
        scope.cannot_carry(
            path, f"an image of type {media_type or 'unknown'} cannot be sent, only JPEG, PNG, GIF, WebP"
        )
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data.base64}}


def _is_web_url(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _data_url(url: str) -> _Data | None:
    """The media type and base64 text of a data URL (RFC 2397), None for anything else."""
    match = _DATA_URL.match(url)
    if match is None or match["base64"] is None:
        return None
    return _Data(match["type"].strip().lower(), url[match.end() :].strip())


def _guessed_type(filename: str | None, data: str) -> str:
    """The type of a file that came as bare base64: by its first bytes, else by its name."""
    if data.startswith(_PDF_IN_BASE64):
        return "application/pdf"
    suffix = (filename or "").rpartition(".")[2].lower()
    return _TYPES_BY_SUFFIX.get(suffix, "")


def _decoded_text(encoded: str, path: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise refusal(path, "expected base64 of UTF-8 text") from None
