"""HTTP/1.1 heads: which are taken, what they say about the message, and how they are written."""

import pytest

from protocol.errors import LocalError, Refusal
from protocol.values import Headers, RequestHead, ResponseHead
from protocol.wire.h1 import (
    CONTINUE,
    MAX_BLANK_LINES,
    HeadReader,
    encode_request,
    encode_response,
    expects_continue,
    parse_request_with_h11,
    parse_response_with_h11,
    request_body,
    request_keeps_alive,
    response_body,
    response_keeps_alive,
)
from protocol.wire.h1_body import ChunkedReader, LengthReader, UntilCloseReader
from tests.support.splits import byte_by_byte, every_way

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def request_reader(max_bytes: int = 1000, max_fields: int = 10) -> HeadReader[RequestHead]:
    return HeadReader(parse_request_with_h11, max_bytes=max_bytes, max_fields=max_fields)


def response_reader(max_bytes: int = 1000, max_fields: int = 10) -> HeadReader[ResponseHead]:
    return HeadReader(parse_response_with_h11, max_bytes=max_bytes, max_fields=max_fields, fault_status=502)


def request(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*lines, b""))


def status_refusing(head: bytes) -> int:
    """The status of the refusal, the same from the parser alone and from a reader."""
    with pytest.raises(Refusal) as alone:
        parse_request_with_h11(head)
    for reads in every_way(head):
        with pytest.raises(Refusal) as caught:
            reader = request_reader()
            for read in reads:
                reader.feed(read)
        assert caught.value.status == alone.value.status
    return alone.value.status


# Request heads ------------------------------------------------------------------------------------------------------


def test_a_request_head_keeps_its_target_values_and_order_and_lowers_its_names() -> None:
    head = parse_request_with_h11(
        request(
            b"POST /v1/messages?beta=true HTTP/1.1",
            b"X-Api-Key:  la_sk_1 ",
            b"anthropic-beta: a,b",
            b"Anthropic-Beta: \xe9t\xe9",
            b"Empty:",
            b"Host: router:8080",
            b"Content-Length: 5",
        )
    )
    assert head == RequestHead(
        b"POST",
        b"/v1/messages?beta=true",
        [
            (b"x-api-key", b"la_sk_1"),
            (b"anthropic-beta", b"a,b"),
            (b"anthropic-beta", b"\xe9t\xe9"),
            (b"empty", b""),
            (b"host", b"router:8080"),
            (b"content-length", b"5"),
        ],
        b"1.1",
    )


def test_http_1_0_needs_no_host() -> None:
    assert parse_request_with_h11(b"GET / HTTP/1.0\r\n\r\n") == RequestHead(b"GET", b"/", [], b"1.0")


@pytest.mark.parametrize(
    ("target", "origin_form", "host"),
    [
        (b"http://b", b"/", b"b"),
        (b"HTTPS://b.example:8443/v1/models?limit=5", b"/v1/models?limit=5", b"b.example:8443"),
        (b"http://[::1]:80?x", b"/?x", b"[::1]:80"),
    ],
)
def test_an_absolute_target_becomes_a_path_and_overrides_host(target: bytes, origin_form: bytes, host: bytes) -> None:
    head = parse_request_with_h11(request(b"GET " + target + b" HTTP/1.1", b"Accept: */*", b"Host: a"))
    assert head.target == origin_form
    assert head.headers == [(b"host", host), (b"accept", b"*/*")]


def test_options_may_be_about_the_whole_server() -> None:
    assert parse_request_with_h11(request(b"OPTIONS * HTTP/1.1", b"Host: a")).target == b"*"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"GET /", b"Host: a"], id="no version"),
        pytest.param([b"GET  / HTTP/1.1", b"Host: a"], id="two spaces"),
        pytest.param([b"GET / HTTP/1.1 ", b"Host: a"], id="space after the version"),
        pytest.param([b"GET / HTTP/11", b"Host: a"], id="version without a dot"),
        pytest.param([b"GET / http/1.1", b"Host: a"], id="lower-case protocol name"),
        pytest.param([b"G(T / HTTP/1.1", b"Host: a"], id="method that is no token"),
        pytest.param([b"GET /\xff HTTP/1.1", b"Host: a"], id="target beyond ASCII"),
        pytest.param([b"GET /a#b HTTP/1.1", b"Host: a"], id="fragment"),
        pytest.param([b"GET http://b#c HTTP/1.1", b"Host: a"], id="fragment after an authority"),
        pytest.param([b"GET a HTTP/1.1", b"Host: a"], id="relative target"),
        pytest.param([b"GET a:80 HTTP/1.1", b"Host: a"], id="authority as target"),
        pytest.param([b"GET * HTTP/1.1", b"Host: a"], id="asterisk without OPTIONS"),
        pytest.param([b"GET ftp://a/ HTTP/1.1", b"Host: a"], id="another scheme"),
        pytest.param([b"GET http:///x HTTP/1.1", b"Host: a"], id="absolute target without a host"),
        pytest.param([b"GET http://:80/x HTTP/1.1", b"Host: a"], id="absolute target with only a port"),
        pytest.param([b"GET http://me@a/ HTTP/1.1", b"Host: a"], id="user name in the target"),
        pytest.param([b"GET / HTTP/1.1"], id="no host"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"Host: a"], id="two hosts"),
        pytest.param([b"GET / HTTP/1.0", b"Host: a", b"Host: b"], id="two hosts in HTTP/1.0"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a, b"], id="list of hosts"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a/b"], id="path in host"),
        pytest.param([b"GET / HTTP/1.1", b"Host: me@a"], id="user name in host"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a:b"], id="port that is no number"),
        pytest.param([b"GET / HTTP/1.1", b"Host : a"], id="space before a colon"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"name"], id="field without a colon"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b": value"], id="field without a name"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"n@me: 1"], id="name that is no token"),
        pytest.param([b"GET / HTTP/1.1", b" Host: a"], id="folded first field"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: 1", b" 2"], id="field folded with a space"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: 1", b"\t2"], id="field folded with a tab"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: \0"], id="NUL"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: \x0b"], id="vertical tab"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: \x1b[31m"], id="escape"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: \x7f"], id="delete"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: 1\r2"], id="bare carriage return"),
        pytest.param([b"GET / HTTP/1.1\r", b"Host: a"], id="carriage return before CRLF"),
        pytest.param([b"GET / HTTP/1.1", b"Host: a", b"X: 1\nY: 2"], id="bare line feed"),
    ],
)
def test_a_request_head_outside_the_grammar_is_refused(lines: list[bytes]) -> None:
    assert status_refusing(request(*lines)) == 400


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param([b"Content-Length: 5", b"Content-Length: 6"], id="two lengths"),
        pytest.param([b"Content-Length: 5", b"content-length: 5"], id="a length repeated"),
        pytest.param([b"Content-Length: 5, 5"], id="list of lengths"),
        pytest.param([b"Content-Length: 5,5"], id="list of lengths without spaces"),
        pytest.param([b"Content-Length:"], id="empty length"),
        pytest.param([b"Content-Length: +5"], id="signed length"),
        pytest.param([b"Content-Length: -5"], id="negative length"),
        pytest.param([b"Content-Length: 1_0"], id="underscored length"),
        pytest.param([b"Content-Length: 0x5"], id="hexadecimal length"),
        pytest.param([b"Content-Length: 5 5"], id="length with a space"),
        pytest.param([b"Content-Length: \xb2"], id="superscript length"),
        pytest.param([b"Content-Length: 1000000000000000000"], id="length of nineteen digits"),
        pytest.param([b"Content-Length: 5", b"Transfer-Encoding: chunked"], id="length, then chunks"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 0"], id="chunks, then length"),
        pytest.param([b"Transfer-Encoding : chunked"], id="space before the colon of a coding"),
        pytest.param([b"Transfer-Encoding: \x0bchunked"], id="control character before a coding"),
    ],
)
def test_a_request_whose_length_two_parsers_may_read_differently_is_refused(framing: list[bytes]) -> None:
    assert status_refusing(request(b"POST / HTTP/1.1", b"Host: a", *framing)) == 400


@pytest.mark.parametrize(
    "framing",
    [
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity", b"Content-Length: 5"],
        [b"Transfer-Encoding: chunked;q=1"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding:"],
    ],
)
def test_a_transfer_coding_other_than_chunked_is_not_implemented(framing: list[bytes]) -> None:
    assert status_refusing(request(b"POST / HTTP/1.1", b"Host: a", *framing)) == 501


def test_http_1_0_has_no_chunks() -> None:
    assert status_refusing(request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")) == 400


@pytest.mark.parametrize(
    "head", [b"PRI * HTTP/2.0\r\n\r\n", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"]
)
def test_another_version_of_http_is_not_supported(head: bytes) -> None:
    assert status_refusing(head) == 505


def test_a_tunnel_is_not_opened() -> None:
    assert status_refusing(request(b"CONNECT a:443 HTTP/1.1", b"Host: a:443")) == 501


def test_a_refusal_does_not_quote_the_head() -> None:
    with pytest.raises(Refusal) as caught:
        parse_request_with_h11(request(b"GET / HTTP/1.1", b"Host: a", b"x-api-key : la_sk_secret"))
    assert "la_sk_secret" not in caught.value.message
    assert caught.value.__suppress_context__


# Response heads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "reason", "version"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK", b"1.1"),
        (b"HTTP/1.1 529 ", 529, b"", b"1.1"),
        (b"HTTP/1.1 429", 429, b"", b"1.1"),
        (b"HTTP/1.0 404 Not  Found", 404, b"Not  Found", b"1.0"),
        (b"HTTP/1.1 100 Continue", 100, b"Continue", b"1.1"),
        (b"HTTP/1.1 103 Early Hints", 103, b"Early Hints", b"1.1"),
    ],
)
def test_a_response_head_keeps_status_reason_version_and_fields(
    line: bytes, status: int, reason: bytes, version: bytes
) -> None:
    head = parse_response_with_h11(line + b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n")
    assert head == ResponseHead(status, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")], reason, version)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="status of two digits"),
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="status below 100"),
        pytest.param(b"HTTP/1.1 200OK\r\n\r\n", id="no space before the reason"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="HTTP/2"),
        pytest.param(b"ICY 200 OK\r\n\r\n", id="another protocol"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="blank line first"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", id="protocols switched unasked"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n", id="a length repeated"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", id="list of lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", id="compressed chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\n\r\n", id="folded field"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n", id="NUL"),
        pytest.param(b"HTTP/1.1 200 OK\nx: 1\n\n", id="bare line feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: 1\r\r\n\r\n", id="bare carriage return"),
    ],
)
def test_a_response_head_outside_the_grammar_is_the_upstreams_fault(head: bytes) -> None:
    for reads in every_way(head):
        with pytest.raises(Refusal) as caught:
            reader = response_reader()
            for read in reads:
                reader.feed(read)
        assert caught.value.status == 502


# Finding heads ------------------------------------------------------------------------------------------------------


def test_heads_may_follow_each_other_closely() -> None:
    for reads in every_way(GET + GET, cuts=[5, 30]):
        reader = request_reader()
        heads = 0
        for read in reads:
            data = read
            while reader.feed(data) is not None:
                heads += 1
                data = reader.take_rest()
        assert heads == 2


def test_what_follows_a_head_is_handed_out() -> None:
    reader = request_reader()
    assert reader.feed(GET + b"body" + GET) is not None
    assert reader.take_rest() == b"body" + GET


def test_a_head_is_under_way_from_its_first_byte_to_its_last() -> None:
    reader = request_reader()
    started = [reader.started]
    for data in (GET[:1], GET[1:] + b"G"):
        reader.feed(data)
        started.append(reader.started)
    reader.feed(reader.take_rest())
    started.append(reader.started)
    assert started == [False, True, False, True]


def test_the_rest_must_be_taken_before_the_next_head() -> None:
    reader = request_reader()
    assert reader.feed(GET) is not None
    with pytest.raises(LocalError):
        reader.feed(b"")


def test_blank_lines_before_a_request_are_overlooked_and_start_nothing() -> None:
    reader = request_reader()
    for read in byte_by_byte(b"\r\n" * MAX_BLANK_LINES + b"\r"):
        assert reader.feed(read) is None
        assert not reader.started
    with pytest.raises(Refusal):
        reader.feed(b"\n")
    again = request_reader()
    assert again.feed(b"\r\n" * MAX_BLANK_LINES + GET) is not None


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\n", id="line feed alone"),
        pytest.param(b"\n", id="line feed first"),
        pytest.param(b"\r\r", id="carriage returns first"),
        pytest.param(b"GET / HTTP/1.1\rH", id="carriage return alone"),
        pytest.param(b"\x16\x03\x01\x02", id="TLS client hello"),
        pytest.param(b" GET", id="space first"),
    ],
)
def test_what_cannot_become_a_head_is_refused_at_once(start: bytes) -> None:
    for reads in every_way(start):
        with pytest.raises(Refusal) as caught:
            reader = request_reader()
            for read in reads:
                reader.feed(read)
        assert caught.value.status == 400


def test_a_head_may_have_just_so_many_bytes() -> None:
    for reads in every_way(GET):
        reader = request_reader(max_bytes=len(GET))
        assert any(reader.feed(read) for read in reads)
        small = request_reader(max_bytes=len(GET) - 1)
        with pytest.raises(Refusal) as caught:
            for read in reads:
                small.feed(read)
        assert caught.value.status == 431


def test_an_endless_head_is_refused_before_it_ends() -> None:
    reader = request_reader(max_bytes=100)
    with pytest.raises(Refusal) as caught:
        reader.feed(b"GET / HTTP/1.1\r\nx: " + b"y" * 100)
    assert caught.value.status == 431


def test_a_head_may_have_just_so_many_fields() -> None:
    head = request(b"GET / HTTP/1.1", b"Host: a", b"x: 1", b"x: 2")
    for reads in every_way(head):
        reader = request_reader(max_fields=3)
        assert any(reader.feed(read) for read in reads)
        small = request_reader(max_fields=2)
        with pytest.raises(Refusal) as caught:
            for read in reads:
                small.feed(read)
        assert caught.value.status == 431


def test_an_oversized_response_head_is_the_upstreams_fault() -> None:
    for reader in (response_reader(max_bytes=10), response_reader(max_fields=0)):
        with pytest.raises(Refusal) as caught:
            reader.feed(OK)
        assert caught.value.status == 502
        assert "upstream" in caught.value.message


# What a head says about the message ---------------------------------------------------------------------------------


def asking(*fields: tuple[bytes, bytes], version: bytes = b"1.1") -> RequestHead:
    return RequestHead(b"POST", b"/", [(b"host", b"a"), *fields], version)


def answering(status: int, *fields: tuple[bytes, bytes], version: bytes = b"1.1") -> ResponseHead:
    return ResponseHead(status, list(fields), b"", version)


LENGTH_5 = (b"content-length", b"5")
LENGTH_0 = (b"content-length", b"0")
CHUNKED = (b"transfer-encoding", b"chunked")


def test_a_request_body_is_framed_by_chunks_or_a_length_or_there_is_none() -> None:
    assert isinstance(request_body(asking(CHUNKED)), ChunkedReader)
    counted = request_body(asking(LENGTH_5))
    assert isinstance(counted, LengthReader)
    assert counted.length == 5
    assert request_body(asking(LENGTH_0)) is None
    assert request_body(asking()) is None


@pytest.mark.parametrize("fields", [[], [LENGTH_5], [CHUNKED]])
@pytest.mark.parametrize(
    ("status", "method"), [(200, b"HEAD"), (404, b"HEAD"), (100, b"POST"), (103, b"GET"), (204, b"GET"), (304, b"GET")]
)
def test_some_responses_never_have_a_body(status: int, method: bytes, fields: Headers) -> None:
    assert response_body(answering(status, *fields), method) is None


def test_a_response_body_is_framed_by_chunks_or_a_length_or_the_close() -> None:
    chunked = response_body(answering(200, CHUNKED), b"GET")
    assert isinstance(chunked, ChunkedReader)
    assert chunked.reusable
    assert isinstance(response_body(answering(200, LENGTH_5), b"GET"), LengthReader)
    assert response_body(answering(200, LENGTH_0), b"GET") is None
    assert isinstance(response_body(answering(200), b"GET"), UntilCloseReader)


@pytest.mark.parametrize(
    "head", [answering(200, LENGTH_5, CHUNKED), answering(200, CHUNKED, version=b"1.0")], ids=["length too", "1.0"]
)
def test_chunks_that_are_in_doubt_are_read_but_end_the_connection(head: ResponseHead) -> None:
    body = response_body(head, b"GET")
    assert isinstance(body, ChunkedReader)
    assert not body.reusable
    with pytest.raises(Refusal) as caught:
        body.feed(b"zz\r\n")
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"Close"], False),
        (b"1.1", [b"x-trace, close"], False),
        (b"1.1", [b"x-trace", b"close"], False),
        (b"1.1", [b"closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"keep-alive, close"], False),
    ],
)
def test_a_connection_is_kept_as_version_and_connection_options_say(
    version: bytes, connection: list[bytes], kept: bool
) -> None:
    fields = [(b"connection", value) for value in connection]
    assert request_keeps_alive(asking(*fields, version=version)) is kept
    assert response_keeps_alive(answering(200, *fields, version=version)) is kept


def test_only_an_http_1_1_client_can_wait_for_continue() -> None:
    assert expects_continue(asking((b"expect", b"100-Continue")))
    assert not expects_continue(asking())
    assert not expects_continue(asking((b"expect", b"100-continue"), version=b"1.0"))
    assert not expects_continue(asking((b"expect", b"miracles"), version=b"1.0"))


@pytest.mark.parametrize("values", [[b"miracles"], [b"100-continue, miracles"], [b"100-continue", b"miracles"], [b""]])
def test_any_other_expectation_fails(values: list[bytes]) -> None:
    with pytest.raises(Refusal) as caught:
        expects_continue(asking(*((b"expect", value) for value in values)))
    assert caught.value.status == 417
    assert caught.value.kind == "invalid_request_error"


# Writing heads ------------------------------------------------------------------------------------------------------


def test_a_request_head_is_written_as_http_1_1() -> None:
    head = RequestHead(b"POST", b"/v1/messages", [(b"host", b"a"), (b"x", b""), (b"x", b"\xe9")], b"1.0")
    assert encode_request(head) == b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx: \r\nx: \xe9\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (ResponseHead(200, []), b"HTTP/1.1 200 OK"),
        (ResponseHead(200, [], b"Fine"), b"HTTP/1.1 200 Fine"),
        (ResponseHead(429, []), b"HTTP/1.1 429 Too Many Requests"),
        (ResponseHead(529, []), b"HTTP/1.1 529 "),
        (ResponseHead(200, [], b"OK", b"1.0"), b"HTTP/1.1 200 OK"),
    ],
)
def test_a_response_head_is_written_as_http_1_1_with_a_reason_where_one_is_known(
    head: ResponseHead, line: bytes
) -> None:
    assert encode_response(head) == line + b"\r\n\r\n"


def test_the_interim_response_is_a_head_of_its_own() -> None:
    assert parse_response_with_h11(CONTINUE) == ResponseHead(100, [], b"Continue")


@pytest.mark.parametrize("target", [b"/a b", b"/ HTTP/1.1\r\nx: 1", b"/\n", b"/\0"])
def test_a_target_that_would_break_the_request_line_is_not_sent(target: bytes) -> None:
    with pytest.raises(LocalError):
        encode_request(RequestHead(b"GET", target, []))
