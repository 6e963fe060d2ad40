"""HTTP/1.1 heads: found in a connection's bytes, parsed by an engine, judged, and written (RFC 9112).

The engine (h11) sits behind one function for each direction. What it might let pass is refused here, before it and
after it, so that two hops can never disagree about where a message ends.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Generic, TypeAlias, TypeVar, final

import h11

from protocol.errors import LocalError, Refusal
from protocol.values import Headers, RequestHead, ResponseHead
from protocol.wire.h1_body import BodyReader, ChunkedReader, LengthReader, UntilCloseReader, count_lines, malformed
from protocol.wire.headers import all_values, first, has_token

ParseRequest: TypeAlias = Callable[[bytes], RequestHead]
ParseResponse: TypeAlias = Callable[[bytes], ResponseHead]
"""Parse exactly one head, up to and including its blank line, or raise a ``Refusal``."""

Head = TypeVar("Head")

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

MAX_BLANK_LINES: Final = 8
"""Empty lines to overlook before a request line; some clients end a body with a CRLF of their own (RFC 9112, 2.2)."""

_CONTROLS: Final = bytes(code for code in range(0x20) if code not in b"\t\r\n") + b"\x7f"
_CONTENT_LENGTH: Final = b"\ncontent-length:"
_TRANSFER_ENCODING: Final = b"\ntransfer-encoding:"
_MAX_LENGTH_DIGITS: Final = 18
_AUTHORITY: Final = rb"(?:[0-9A-Za-z\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
_HOST: Final = re.compile(rb"(?:%b)?" % _AUTHORITY)
_ABSOLUTE_FORM: Final = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://(%b)([/?][^#]*)?" % _AUTHORITY)
_STATUS_LINES: Final = {int(known): b"HTTP/1.1 %d %b" % (known, known.phrase.encode()) for known in HTTPStatus}
_ANY_REQUEST: Final = h11.Request(method="GET", target="/", headers=[("host", "any")])


@final
class HeadReader(Generic[Head]):
    """Finds one head after another in a connection's bytes and parses them.

    ``started`` tells whether a head is under way: something of it has come, blank lines apart, and not all.

    :param max_bytes: longest accepted head, its blank line included.
    :param max_fields: most header fields accepted in one head.
    :param fault_status: of the ``Refusal`` for malformed bytes: 400 from a client, 502 from an upstream. A client's
        head over the limits is refused with 431.
    """

    __slots__ = (
        "_blank_lines",
        "_buffer",
        "_complete",
        "_fault_status",
        "_lines",
        "_max_bytes",
        "_max_fields",
        "_parse",
        "_scanned",
        "started",
    )

    def __init__(
        self, parse: Callable[[bytes], Head], *, max_bytes: int, max_fields: int, fault_status: int = 400
    ) -> None:
        self._parse = parse
        self._max_bytes = max_bytes
        self._max_fields = max_fields
        self._fault_status = fault_status
        self._buffer = bytearray()
        self._complete = False
        self.started = False
        self._blank_lines = 0
        self._scanned = 0
        self._lines = 0

    def feed(self, data: bytes) -> Head | None:
        """The head, once these bytes complete it; then :meth:`take_rest` comes before the next ``feed``."""
        if self._complete:
            raise LocalError("take the rest of the last head first")
        buffer = self._buffer
        buffer += data
        if not self.started:
            self._look_for_start()
            if not self.started:
                return None
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        stop = len(buffer) if end < 0 else end + 4
        self._lines += count_lines(buffer, self._scanned, stop, self._fault_status)
        self._scanned = stop
        fields = self._lines - (1 if end < 0 else 2)
        if stop > self._max_bytes:
            raise self._too_large(f"longer than {self._max_bytes} bytes")
        if fields > self._max_fields:
            raise self._too_large(f"of more than {self._max_fields} fields")
        if end < 0:
            return None
        head = bytes(buffer[:stop])
        del buffer[:stop]
        self._complete = True
        self.started = False
        return self._parse(head)

    def take_rest(self) -> bytes:
        """The bytes that came after the head; from here on the next head is expected."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._complete = False
        self._blank_lines = 0
        self._scanned = 0
        self._lines = 0
        return rest

    def _look_for_start(self) -> None:
        buffer = self._buffer
        if self._fault_status == 400:
            while buffer.startswith(b"\r\n"):
                self._blank_lines += 1
                if self._blank_lines > MAX_BLANK_LINES:
                    raise malformed(400, "it is nothing but blank lines")
                del buffer[:2]
            if buffer == b"\r":
                return
        if buffer:
            if buffer[0] <= 0x20:  # a TLS client hello, for one
                raise malformed(self._fault_status, "this is not HTTP/1")
            self.started = True

    def _too_large(self, how: str) -> Refusal:
        if self._fault_status == 400:
            return Refusal(431, f"the request head is {how}")
        return Refusal(self._fault_status, f"the head of the upstream's response is {how}")


def parse_request_with_h11(head: bytes) -> RequestHead:
    """Parse exactly one request head, its blank line included; an absolute target comes back in origin form.

    :raises Refusal: 400 malformed; 501 CONNECT, or a transfer coding other than chunked; 505 not HTTP/1.0 or 1.1.
    """
    _require_strict_form(head, 400)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:  # its text may quote a credential
        raise malformed(400, "its head does not follow the grammar of HTTP/1.1") from None
    assert isinstance(event, h11.Request)
    fields = [(name.lower(), value) for name, value in event.headers.raw_items()]  # half the time of iterating headers
    return _judged_request(RequestHead(event.method, event.target, fields, event.http_version))


def parse_response_with_h11(head: bytes) -> ResponseHead:
    """Parse exactly one response head, its blank line included, informational ones too.

    :raises Refusal: 502 malformed, not HTTP/1.0 or 1.1, or 101, since nothing here asks to switch protocols.
    """
    _require_strict_form(head, 502)
    connection = h11.Connection(h11.CLIENT)
    if head[9:10] == b"1":  # h11 takes informational responses only after a request
        connection.send(_ANY_REQUEST)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:  # its text may quote a cookie
        raise malformed(502, "its head does not follow the grammar of HTTP/1.1") from None
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    if event.http_version not in (b"1.0", b"1.1"):
        raise malformed(502, "it is not HTTP/1.0 or HTTP/1.1")
    fields = [(name.lower(), value) for name, value in event.headers.raw_items()]
    return ResponseHead(event.status_code, fields, event.reason, event.http_version)


def request_body(head: RequestHead) -> BodyReader | None:
    """The reader for a request's body, None where it has none (RFC 9112 section 6.3)."""
    headers = head.headers
    if first(headers, b"transfer-encoding") is not None:
        return ChunkedReader(400)
    length = int(first(headers, b"content-length") or b"0")
    return LengthReader(length) if length else None


def response_body(head: ResponseHead, request_method: bytes) -> BodyReader | None:
    """The reader for the body of the response to a request of that method, None where it has none (RFC 9112, 6.3).

    Chunks win over a length; a response that has both, or chunks in HTTP/1.0, must be the last on its connection.
    """
    if request_method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        return None
    length = first(head.headers, b"content-length")
    if first(head.headers, b"transfer-encoding") is not None:
        return ChunkedReader(502, reusable=length is None and head.http_version == b"1.1")
    if length is None:
        return UntilCloseReader()
    return LengthReader(int(length)) if int(length) else None


def request_keeps_alive(head: RequestHead) -> bool:
    """Whether the client will send another request on this connection (RFC 9112 section 9.3)."""
    return _keeps_alive(head.http_version, head.headers)


def response_keeps_alive(head: ResponseHead) -> bool:
    """Whether the upstream will take another request, as far as the head goes; the body's ``reusable`` decides too."""
    return _keeps_alive(head.http_version, head.headers)


def expects_continue(head: RequestHead) -> bool:
    """Whether the client waits for ``CONTINUE`` before it sends the body (RFC 9110 section 10.1.1).

    :raises Refusal: 417, any other expectation.
    """
    if head.http_version == b"1.0":
        return False
    expectations = all_values(head.headers, b"expect")
    if any(value.lower() != b"100-continue" for value in expectations):
        raise Refusal(417, "only the expectation 100-continue can be met", "invalid_request_error")
    return bool(expectations)


def encode_request(head: RequestHead) -> bytes:
    """The head as HTTP/1.1, whatever version it came in.

    :raises LocalError: it would put more on the wire than itself.
    """
    line = b"%b %b HTTP/1.1" % (head.method, head.target)
    if line.count(b" ") != 2:
        raise LocalError("white space in a method or request target")
    return _encoded(line, head.headers)


def encode_response(head: ResponseHead) -> bytes:
    """The head as HTTP/1.1, with the usual reason phrase where it has none.

    :raises LocalError: it would put more on the wire than itself.
    """
    if head.reason:
        line = b"HTTP/1.1 %d %b" % (head.status, head.reason)
    else:
        line = _STATUS_LINES.get(head.status) or b"HTTP/1.1 %d " % head.status
    return _encoded(line, head.headers)


def _require_strict_form(head: bytes, fault_status: int) -> None:
    """Refuse what parsers are known to read in different ways, which is what request smuggling lives on."""
    if len(head.translate(None, _CONTROLS)) != len(head):
        raise malformed(fault_status, "a control character in its head")
    lines = head.count(b"\r\n")
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise malformed(fault_status, "a line does not end with CRLF")
    if b"\n " in head or b"\n\t" in head:
        raise malformed(fault_status, "a header field is folded over lines")
    lowered = head.lower()
    lengths = lowered.count(_CONTENT_LENGTH)
    if lengths > 1:
        raise malformed(fault_status, "more than one Content-Length")
    if lengths:
        length = _first_value(lowered, _CONTENT_LENGTH)
        if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
            raise malformed(fault_status, "its Content-Length is not a plain number")
    codings = lowered.count(_TRANSFER_ENCODING)
    if codings > 1 or (codings and _first_value(lowered, _TRANSFER_ENCODING) != b"chunked"):
        raise Refusal(501 if fault_status == 400 else fault_status, "chunked is the only transfer coding taken here")


def _first_value(lowered: bytes, field: bytes) -> bytes:
    start = lowered.index(field) + len(field)
    return lowered[start : lowered.find(b"\r", start)].strip(b" \t")


def _judged_request(head: RequestHead) -> RequestHead:
    if head.http_version not in (b"1.0", b"1.1"):
        raise Refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if head.method == b"CONNECT":
        raise Refusal(501, "this is no tunnel: CONNECT is not supported")
    hosts = all_values(head.headers, b"host")
    fewest = 1 if head.http_version == b"1.1" else 0
    if not fewest <= len(hosts) <= 1 or not all(map(_HOST.fullmatch, hosts)):
        raise malformed(400, "it needs exactly one Host that names a host")
    if first(head.headers, b"transfer-encoding") is not None:
        if head.http_version == b"1.0":
            raise malformed(400, "Transfer-Encoding in HTTP/1.0")
        if first(head.headers, b"content-length") is not None:
            raise malformed(400, "both Content-Length and Transfer-Encoding")
    if head.target.startswith(b"/") and b"#" not in head.target:
        return head
    if head.target == b"*" and head.method == b"OPTIONS":
        return head
    return _in_origin_form(head)


def _in_origin_form(head: RequestHead) -> RequestHead:
    """The request with its authority moved from the target to ``Host``, which it overrides (RFC 9112 section 3.2.2)."""
    match = _ABSOLUTE_FORM.fullmatch(head.target)
    if match is None:
        raise malformed(400, "its target is neither a path nor an http URL")
    target: bytes = match[2] or b"/"
    if target.startswith(b"?"):
        target = b"/" + target
    others: Headers = [field for field in head.headers if field[0] != b"host"]
    return RequestHead(head.method, target, [(b"host", match[1]), *others], head.http_version)


def _keeps_alive(http_version: bytes, headers: Headers) -> bool:
    if has_token(headers, b"connection", b"close"):
        return False
    return http_version != b"1.0" or has_token(headers, b"connection", b"keep-alive")


def _encoded(line: bytes, headers: Headers) -> bytes:
    head = b"\r\n".join([line, *map(b": ".join, headers), b"", b""])
    breaks = len(headers) + 2
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise LocalError("a line break or NUL in a head to be sent")
    return head
