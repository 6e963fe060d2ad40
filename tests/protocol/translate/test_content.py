import base64
from typing import Any

import pytest

from protocol.translate.capabilities import capabilities_of
from protocol.translate.content import FILES_BETA, Speaker, content_blocks, instruction_blocks
from protocol.translate.fields import Block
from protocol.translate.scope import Scope
from tests.support.openai_requests import SONNET, refused

PDF = "JVBERi0xLjcK"


def scope(*, drop: bool = False) -> Scope:
    return Scope(capabilities_of(SONNET), drop_unsupported=drop)


def block_of(part: dict[str, Any], speaker: Speaker = "user") -> Block:
    (block,) = content_blocks([part], "content", speaker, scope())
    return block


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def file(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": fields}


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_every_kind_of_text_is_text(kind: str) -> None:
    assert block_of({"type": kind, "text": "Hi"}) == {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    "content", [None, "", " \n", [], [{"type": "text", "text": " "}], [{"type": "refusal", "refusal": ""}]]
)
def test_blank_text_is_no_block(content: Any) -> None:
    assert content_blocks(content, "content", "user", scope()) == []


def test_a_refusal_is_text() -> None:
    assert block_of({"type": "refusal", "refusal": "No."}, "assistant") == {"type": "text", "text": "No."}


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://e.org/a.png", {"type": "url", "url": "https://e.org/a.png"}),
        ("HTTP://e.org/a", {"type": "url", "url": "HTTP://e.org/a"}),
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
        ("data:image/jpg;base64,AAAA", {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}),
        ("DATA:IMAGE/GIF;name=a.gif;BASE64, AAAA\n", {"type": "base64", "media_type": "image/gif", "data": "AAAA"}),
    ],
)
def test_an_image_goes_by_url_or_by_value(url: str, source: dict[str, Any]) -> None:
    assert block_of(image(url)) == {"type": "image", "source": source}
    assert block_of({"type": "input_image", "image_url": url, "detail": "low"}) == {"type": "image", "source": source}


@pytest.mark.parametrize("url", ["ftp://e.org/a.png", "a.png", "", "data:image/png,AAAA", "data:image/png;base64"])
def test_an_image_by_any_other_url_is_refused(url: str) -> None:
    assert refused(block_of, image(url)).param == "content.0.image_url.url"


@pytest.mark.parametrize("media_type", ["image/tiff", "image/svg+xml", "text/html", ""])
def test_an_image_of_a_type_without_counterpart_is_refused_or_dropped(media_type: str) -> None:
    part = image(f"data:{media_type};base64,AAAA")
    assert refused(block_of, part).param == "content.0.image_url.url"
    dropping = scope(drop=True)
    assert content_blocks([part], "content", "user", dropping) == []
    assert dropping.omitted == ["content.0.image_url.url"]


@pytest.mark.parametrize(
    "fields",
    [
        {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
        {"file_data": PDF, "filename": "a.pdf"},
        {"file_data": PDF, "filename": "a.bin"},
    ],
)
@pytest.mark.parametrize("speaker", ["user", "tool"])
def test_a_pdf_is_a_document_for_users_and_tools(fields: dict[str, Any], speaker: Speaker) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    document = {"type": "document", "source": source, "title": fields["filename"]}
    assert block_of(file(**fields), speaker) == document
    assert block_of({"type": "input_file", **fields}, speaker) == document


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.json", "A.XML"])
def test_a_text_file_is_a_document_of_its_text(name: str) -> None:
    encoded = base64.b64encode("Größe".encode()).decode()
    source = {"type": "text", "media_type": "text/plain", "data": "Größe"}
    assert block_of(file(file_data=encoded, filename=name)) == {"type": "document", "source": source, "title": name}


@pytest.mark.parametrize("data", ["data:text/plain;base64,!!!", "data:text/plain;base64,/w=="])
def test_a_text_file_that_is_no_text_is_refused(data: str) -> None:
    assert refused(block_of, file(file_data=data)).param == "content.0.file.file_data"


def test_an_image_sent_as_a_file_is_an_image() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    assert block_of(file(file_data="iVBO", filename="a.png")) == {"type": "image", "source": source}


def test_a_file_url_is_a_document_by_url() -> None:
    source = {"type": "url", "url": "https://e.org/a.pdf"}
    assert block_of({"type": "input_file", "file_url": "https://e.org/a.pdf"}) == {"type": "document", "source": source}
    assert refused(block_of, {"type": "input_file", "file_url": "file:///etc/passwd"}).param == "content.0.file_url"


@pytest.mark.parametrize(
    ("part", "kind"),
    [(file(file_id="file_011CNha8"), "document"), ({"type": "input_image", "file_id": "file_011CNha8"}, "image")],
)
def test_a_file_of_anthropics_own_is_named_with_the_beta_it_needs(part: dict[str, Any], kind: str) -> None:
    known = scope()
    blocks = content_blocks([part], "content", "user", known)
    assert blocks == [{"type": kind, "source": {"type": "file", "file_id": "file_011CNha8"}}]
    assert known.betas == {FILES_BETA}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (file(file_id="file-abc"), "content.0.file.file_id"),
        ({"type": "input_image", "file_id": "file-abc"}, "content.0.file_id"),
        (file(file_data="UEsDBA==", filename="a.docx"), "content.0.file.file_data"),
        (file(file_data="data:application/zip;base64,UEsDBA=="), "content.0.file.file_data"),
        (file(), "content.0.file.file_data"),
        ({"type": "file"}, "content.0.file"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "content.0"),
        ({"type": "video_url", "video_url": {"url": "https://e.org/a.mp4"}}, "content.0"),
        ({"type": "text"}, "content.0.text"),
        ({"text": "Hi"}, "content.0.type"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_its_place(part: dict[str, Any], param: str) -> None:
    error = refused(block_of, part)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("speaker", ["assistant", "instructions"])
def test_only_users_and_tools_show_pictures_and_files(speaker: Speaker) -> None:
    assert refused(block_of, image("https://e.org/a.png"), speaker).param == "content.0"
    assert refused(block_of, file(file_data=PDF), speaker).param == "content.0"


def test_thinking_may_stand_among_an_assistants_parts() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    assert block_of(thinking | {"cache_control": {"type": "ephemeral"}}, "assistant") == thinking
    assert refused(block_of, thinking).param == "content.0"


def test_the_drop_setting_leaves_out_what_it_cannot_carry_and_keeps_the_rest() -> None:
    dropping = scope(drop=True)
    parts = [
        {"type": "input_audio"},
        file(file_id="file-abc"),
        file(file_data="UEsDBA=="),
        {"type": "text", "text": "Hi"},
    ]
    assert content_blocks(parts, "content", "user", dropping) == [{"type": "text", "text": "Hi"}]
    assert dropping.omitted == ["content.0", "content.1.file.file_id", "content.2.file.file_data"]


def test_a_cache_marker_stays_with_its_part() -> None:
    marker = {"type": "ephemeral", "ttl": "1h"}
    assert block_of({"type": "text", "text": "Hi", "cache_control": marker})["cache_control"] == marker
    assert block_of(image("https://e.org/a.png") | {"cache_control": marker})["cache_control"] == marker


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x-anthropic-billing-header: cc_version=2.1; cch=abc;", []),
        ("x-anthropic-billing-header: cch=abc;\nBe brief.", ["Be brief."]),
        ("Never send x-anthropic-billing-header: lines.", ["Never send x-anthropic-billing-header: lines."]),
    ],
)
def test_a_line_that_differs_on_every_request_is_taken_off_instructions(text: str, kept: list[str]) -> None:
    assert [block["text"] for block in instruction_blocks(text, "content", scope())] == kept
