"""Content blocks of a Messages request, as content parts of Chat Completions.

What a chat server has no part for becomes text where it is text, and is refused where it is not.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from protocol.translate.content import text_block
from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.onto_openai.parameters import CACHE_CONTROL, omit_once
from protocol.translate.scope import Scope

Parts: TypeAlias = list[Block]
"""Parts of a message: text, ``image_url`` and ``file``."""

BLANK_LINE: Final = "\n\n"
UNNAMED: Final = "document.pdf"
FAILED: Final = "The tool call failed:"
"""Begins the result of a call that the client marked with ``is_error``."""


def content_parts(content: object, path: str, scope: Scope) -> Parts:
    """A ``content`` field, a string or blocks, as parts; blank texts are left out.

    :raises Refusal: 400 that names the block: malformed, or impossible in Chat Completions.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return _text(content)
    if not isinstance(content, list):
        raise refusal(path, "expected a string or an array of content blocks", "invalid_type")
    blocks = (Fields.of(block, f"{path}.{index}") for index, block in enumerate(content))
    return [part for block in blocks for part in block_parts(block, scope)]


def block_parts(block: Fields, scope: Scope) -> Parts:
    """The parts that say what one block says."""
    note_marker(block, scope)
    read = _BLOCKS.get(block.text("type"))
    if read is not None:
        return read(block, scope)
    scope.cannot_carry(block.path, f"a block of type {block.text('type')!r} cannot be sent to this model's provider")
    return []


def note_marker(fields: Fields, scope: Scope) -> None:
    """A ``cache_control`` is a hint that these servers need none of."""
    if fields.value(CACHE_CONTROL) is not None:
        omit_once(CACHE_CONTROL, scope)


def joined_text(parts: Parts) -> str:
    """The texts among the parts, with a blank line between them."""
    return BLANK_LINE.join(str(part["text"]) for part in parts if part["type"] == "text")


def as_content(parts: Parts) -> str | Parts:
    """One string where the parts are text alone: the one form of ``content`` that every server takes."""
    return joined_text(parts) if all(part["type"] == "text" for part in parts) else parts


def answer_text(blocks: Parts) -> str:
    """The text of an assistant's turn: texts that were one, split for their citations, are one again; between others
    stands a blank line.
    """
    pieces: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if block["type"] == "text":
            adjoining = before is not None and before["type"] == "text"
            pieces += ["" if adjoining or not pieces else BLANK_LINE, str(block["text"])]
    return "".join(pieces)


def result_text(result: Block, parts: Parts) -> str:
    """The text among the parts of a result, which says so if the call failed: there is no field for that."""
    text = joined_text(parts)
    return BLANK_LINE.join(filter(None, [FAILED, text])) if result["failed"] else text


def _text(text: str) -> Parts:
    return [text_block(text)] if text.strip() else []


def _text_block(block: Fields, scope: Scope) -> Parts:
    if block.value("citations"):
        omit_once("citations", scope)
    return _text(block.text("text"))


def _image(block: Fields, scope: Scope) -> Parts:
    source = block.section("source")
    match source.text("type"):
        case "base64":
            url = f"data:{source.text('media_type')};base64,{source.text('data')}"
        case "url":
            url = source.text("url")
        case kind:
            scope.cannot_carry(source.path, f"an image by {kind!r} lies at another provider; send its data instead")
            return []
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: Fields, scope: Scope) -> Parts:
    """A PDF by value is a file; what is text becomes text; the rest has no counterpart."""
    source, title, context = block.section("source"), block.optional_text("title"), block.optional_text("context")
    citations = block.optional_section("citations")
    if citations is not None and citations.flag("enabled"):
        omit_once("citations", scope)
    match source.text("type"):
        case "base64" if source.text("media_type") == "application/pdf":
            data = f"data:application/pdf;base64,{source.text('data')}"
            file: Block = {"type": "file", "file": {"filename": title or UNNAMED, "file_data": data}}
            return [*_text(context or ""), file]
        case "text":
            return [text_block(_tagged("document", source.text("data"), Title=title, Context=context))]
        case "content":
            parts = content_parts(source.value("content"), source.at("content"), scope)
            heading = _tagged("document", joined_text(parts), Title=title, Context=context)
            return [text_block(heading), *(part for part in parts if part["type"] != "text")]
        case kind:
            scope.cannot_carry(
                source.path, f"a document by {kind!r} cannot be sent to this model's provider; send its data instead"
            )
            return []


def _search_result(block: Fields, scope: Scope) -> Parts:
    texts = joined_text(content_parts(block.value("content"), block.at("content"), scope))
    return [text_block(_tagged("search_result", texts, Title=block.text("title"), Source=block.text("source")))]


def _tool_reference(block: Fields, scope: Scope) -> Parts:
    """A tool that a search found; it is offered anyway."""
    return [text_block(f"Tool: {block.text('tool_name')}")]


def _compaction(block: Fields, scope: Scope) -> Parts:
    """The summary that stands for what came before; a failed one says nothing."""
    return _text(block.optional_text("content") or "")


def _fallback(block: Fields, scope: Scope) -> Parts:
    """Marks where another model took over, and says nothing to any."""
    return []


_BLOCKS: Final[dict[str, Callable[[Fields, Scope], Parts]]] = {
    "text": _text_block,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
    "compaction": _compaction,
    "fallback": _fallback,
}

CONTENT_BLOCKS: Final = frozenset(_BLOCKS)
"""What has a counterpart in any turn and in tool results."""


def _tagged(tag: str, text: str, **headings: str | None) -> str:
    """A text in tags, its headings first, so that the model can tell where it begins and ends."""
    lines = [f"{name}: {value}" for name, value in headings.items() if value]
    head = "\n".join(lines) + BLANK_LINE if lines else ""
    return f"<{tag}>\n{head}{text}\n</{tag}>"
