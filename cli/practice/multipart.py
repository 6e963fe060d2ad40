"""``multipart/form-data`` bodies (RFC 7578), as file uploads send them."""

from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from protocol.errors import Refusal


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; ``filename`` is None for a plain value."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


def form(content_type: bytes, body: bytes) -> dict[str, Part]:
    """The parts by field name; of repeated names the last one counts.

    :raises Refusal: 400 when this is no multipart form, or one that breaks off.
    """
    boundary = _header(content_type.decode("latin-1")).get_param("boundary", header="content-type")
    if not content_type.lower().startswith(b"multipart/form-data") or not isinstance(boundary, str) or not boundary:
        raise Refusal(400, "Expected a multipart/form-data body with a boundary")
    # The delimiter owns the line break before it (RFC 2046 section 5.1.1); the first one may lack it.
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise Refusal(400, "The multipart body breaks off")
    parts = [_part(section) for section in sections[1:-1]]
    return {part.name: part for part in parts}


def _part(section: bytes) -> Part:
    padding, line_break, rest = section.partition(b"\r\n")
    fields, blank, data = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not line_break or not blank:
        raise Refusal(400, "A part of the multipart body has no header")
    head = HeaderParser().parsestr(fields.decode("utf-8", "replace").strip())
    name = head.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise Refusal(400, "A part of the multipart body has no name")
    content_type = " ".join(head.get("content-type", "application/octet-stream").split())
    return Part(name, head.get_filename(), content_type, data)


def _header(content_type: str) -> Message:
    message = Message()
    message["content-type"] = content_type.replace("\r", "").replace("\n", "")
    return message
