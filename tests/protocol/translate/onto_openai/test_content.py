"""Blocks of a user's turn and of tool results, one type at a time."""

from typing import Any

import pytest

from protocol.translate.onto_openai.content import CONTENT_BLOCKS
from tests.support.messages_requests import ask, assistant, chat_messages, image, result, text, use, user
from tests.support.openai_requests import refused

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}


def document(source: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": source} | fields


def parts_of(*blocks: Any) -> Any:
    [message] = chat_messages(user(*blocks))
    return message["content"]


def test_a_picture_by_value_is_a_data_url_and_one_by_url_keeps_it() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    assert parts_of(image("QUJD"), by_url) == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
    ]


def test_a_pdf_is_a_file_with_its_title_for_a_name_and_its_context_before_it() -> None:
    data = "data:application/pdf;base64,JVBERi0x"
    assert parts_of(document(PDF)) == [{"type": "file", "file": {"filename": "document.pdf", "file_data": data}}]
    assert parts_of(document(PDF, title="terms.pdf", context="Of 2024.", citations={"enabled": False})) == [
        {"type": "text", "text": "Of 2024."},
        {"type": "file", "file": {"filename": "terms.pdf", "file_data": data}},
    ]


def test_a_document_of_text_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Two pages."}
    assert parts_of(document(source)) == "<document>\nTwo pages.\n</document>"
    assert parts_of(document(source, title="Notes", context="Mine.")) == (
        "<document>\nTitle: Notes\nContext: Mine.\n\nTwo pages.\n</document>"
    )


def test_a_document_of_blocks_is_its_text_and_its_pictures() -> None:
    assert parts_of(document({"type": "content", "content": "Two pages."})) == "<document>\nTwo pages.\n</document>"
    mixed = {"type": "content", "content": [text("One."), image(), text("Two.")]}
    assert parts_of(document(mixed)) == [
        {"type": "text", "text": "<document>\nOne.\n\nTwo.\n</document>"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


def test_a_search_result_is_text_with_its_title_and_source() -> None:
    found = {"type": "search_result", "title": "Law", "source": "https://example.org", "content": [text("Article 1.")]}
    expected = "<search_result>\nTitle: Law\nSource: https://example.org\n\nArticle 1.\n</search_result>"
    assert parts_of(found) == expected
    [*_, told] = chat_messages(user(text("Hi")), assistant(use("toolu_1")), user(result("toolu_1", [found])))
    assert told["content"] == expected


def test_a_tool_reference_names_the_tool() -> None:
    found = [{"type": "tool_reference", "tool_name": "clock"}, {"type": "tool_reference", "tool_name": "weather"}]
    [*_, told] = chat_messages(user(text("Hi")), assistant(use("toolu_1")), user(result("toolu_1", found)))
    assert told["content"] == "Tool: clock\n\nTool: weather"


def test_a_compaction_speaks_through_its_summary_and_a_fallback_says_nothing() -> None:
    spoken = ({"type": "compaction", "content": "So far: A."}, {"type": "compaction", "content": None})
    assert parts_of(*spoken, {"type": "fallback", "from": {}, "to": {}}) == "So far: A."


def test_what_a_hint_marks_is_noted_once() -> None:
    marker = {"cache_control": {"type": "ephemeral"}}
    blocks = [image() | marker, text("a", **marker), document(PDF, **marker, citations={"enabled": True})]
    assert ask(user(*blocks)).omitted == ("cache_control", "citations")


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, "messages.0.content.0.source"),
        (document({"type": "file", "file_id": "file_1"}), "messages.0.content.0.source"),
        (document({"type": "url", "url": "https://example.org/a.pdf"}), "messages.0.content.0.source"),
        (document(PDF | {"media_type": "application/msword"}), "messages.0.content.0.source"),
        ({"type": "container_upload", "file_id": "file_1"}, "messages.0.content.0"),
        ({"type": "browser_state"}, "messages.0.content.0"),
    ],
)
def test_what_has_no_part_is_refused_where_it_stands_or_dropped(block: dict[str, Any], place: str) -> None:
    error = refused(ask, user(block, text("a")))
    assert (error.status, error.kind, error.param) == (400, "invalid_request_error", place)
    dropped = ask(user(block, text("a")), drop=True)
    assert dropped.omitted == (place,)


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({}, "messages.0.content.0.type"),
        ("text", "messages.0.content.0"),
        ({"type": "text"}, "messages.0.content.0.text"),
        ({"type": "image"}, "messages.0.content.0.source"),
        ({"type": "image", "source": {"type": "base64", "data": "A"}}, "messages.0.content.0.source.media_type"),
        ({"type": "document", "source": {"type": "text"}}, "messages.0.content.0.source.data"),
        ({"type": "search_result", "content": []}, "messages.0.content.0.title"),
        ({"type": "tool_result"}, "messages.0.content.0.tool_use_id"),
        ({"type": "tool_result", "tool_use_id": "a", "content": 5}, "messages.0.content.0.content"),
        ({"type": "tool_result", "tool_use_id": "a", "is_error": "yes"}, "messages.0.content.0.is_error"),
    ],
)
def test_a_malformed_block_is_refused_at_its_fault(block: Any, place: str) -> None:
    assert refused(ask, user(block)).param == place


def test_every_content_block_is_met_here() -> None:
    met = {"text", "image", "document", "search_result", "tool_reference", "compaction", "fallback"}
    assert met == CONTENT_BLOCKS
