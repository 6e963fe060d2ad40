"""What our HTTP/1.1 code, and what h11, makes of one message and the bytes behind it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import h11

from protocol.errors import Refusal
from protocol.values import RequestHead, ResponseHead
from protocol.wire.h1 import (
    MAX_BLANK_LINES,
    HeadReader,
    parse_request_with_h11,
    parse_response_with_h11,
    request_body,
    response_body,
)
from protocol.wire.h1_body import BodyReader
from tests.support.splits import every_way

MAX_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 100


@dataclass
class Transcript:
    """A message as it was understood.

    ``refused`` is a status, 0 standing for "by h11"; ``whole`` says that the message has ended, ``ends_at_close`` that
    it ends if the peer closes now; ``rest`` is what follows a message that has ended.
    """

    heads: list[RequestHead | ResponseHead] = field(default_factory=list)
    payload: bytes = b""
    whole: bool = False
    ends_at_close: bool = False
    rest: bytes = b""
    refused: int | None = None


def agreed(
    data: bytes,
    read_by_us: Callable[[Iterable[bytes]], Transcript],
    read_by_h11: Callable[[bytes], Transcript],
    refusals: set[int],
) -> Transcript:
    """Our transcript of ``data``, after these were asserted: reads do not matter, a refusal has one of the statuses in
    ``refusals``, and what we take h11 takes, and understands alike.
    """
    whole, *others = [read_by_us(reads) for reads in every_way(data, cuts=[len(data) // 2, len(data) // 3])]
    for other in others:
        assert other.heads == whole.heads
        assert (other.refused is None) == (whole.refused is None)
    if whole.refused is None:
        assert others == [whole, whole]
        assert read_by_h11(data) == whole
    else:
        assert whole.refused in refusals
    return whole


def request_read_by_us(reads: Iterable[bytes]) -> Transcript:
    heads = HeadReader(parse_request_with_h11, max_bytes=MAX_BYTES, max_fields=MAX_FIELDS)
    return _read_by_us(heads, reads, b"")


def response_read_by_us(reads: Iterable[bytes], request_method: bytes) -> Transcript:
    heads = HeadReader(parse_response_with_h11, max_bytes=MAX_BYTES, max_fields=MAX_FIELDS, fault_status=502)
    return _read_by_us(heads, reads, request_method)


def request_read_by_h11(data: bytes) -> Transcript:
    """As h11 reads it, but for two duties of a server that h11 leaves alone: blank lines first, absolute targets."""
    for _ in range(MAX_BLANK_LINES):
        data = data.removeprefix(b"\r\n")
    if data == b"\r":
        return Transcript()
    seen = _read_by_h11(h11.Connection(h11.SERVER, 2 * MAX_BYTES), data)
    seen.heads = [_in_origin_form(head) if isinstance(head, RequestHead) else head for head in seen.heads]
    return seen


def response_read_by_h11(data: bytes, request_method: bytes) -> Transcript:
    connection = h11.Connection(h11.CLIENT, 2 * MAX_BYTES)
    connection.send(h11.Request(method=request_method, target="/", headers=[("host", "any")]))
    connection.send(h11.EndOfMessage())
    return _read_by_h11(connection, data)


def _in_origin_form(head: RequestHead) -> RequestHead:
    if head.target.startswith(b"/") or head.target == b"*":
        return head
    after_scheme = head.target.partition(b"://")[2]
    authority = re.split(rb"[/?]", after_scheme, maxsplit=1)[0]
    path = after_scheme.removeprefix(authority)
    headers = [(b"host", authority), *(field for field in head.headers if field[0] != b"host")]
    return RequestHead(head.method, path if path.startswith(b"/") else b"/" + path, headers, head.http_version)


def _read_by_us(
    heads: HeadReader[RequestHead] | HeadReader[ResponseHead], reads: Iterable[bytes], request_method: bytes
) -> Transcript:
    seen = Transcript()
    body: BodyReader | None = None
    try:
        for read in reads:
            data = read
            while not seen.whole and body is None and (head := heads.feed(data)) is not None:
                seen.heads.append(head)
                data = heads.take_rest()
                if isinstance(head, ResponseHead) and head.status < 200:
                    continue
                body = request_body(head) if isinstance(head, RequestHead) else response_body(head, request_method)
                seen.whole = body is None
            if seen.whole:
                seen.rest += data
            elif body is not None:
                seen.payload += body.feed(data)
                seen.whole = body.done
                seen.rest = body.take_rest()
        seen.ends_at_close = seen.whole or (body is not None and body.finish())
    except Refusal as refusal:
        seen.refused = refusal.status
    return seen


def _read_by_h11(connection: h11.Connection, data: bytes) -> Transcript:
    seen = Transcript()
    try:
        if data:  # b"" would tell h11 that the peer has closed
            connection.receive_data(data)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                seen.heads.append(RequestHead(event.method, event.target, list(event.headers), event.http_version))
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                head = ResponseHead(event.status_code, list(event.headers), event.reason, event.http_version)
                seen.heads.append(head)
            elif isinstance(event, h11.Data):
                seen.payload += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen.whole = seen.ends_at_close = True
                seen.rest = connection.trailing_data[0]
                return seen
    except h11.RemoteProtocolError:
        seen.refused = 0
        return seen
    try:
        connection.receive_data(b"")
        seen.ends_at_close = isinstance(connection.next_event(), h11.EndOfMessage)
    except h11.RemoteProtocolError:
        seen.ends_at_close = False
    return seen
