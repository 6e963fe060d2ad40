"""Our HTTP/1.1 reading against h11's: never laxer, never different, on realistic messages and on mangled ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import CORPUS, fuzz_h1_body, fuzz_h1_request, fuzz_h1_response
from fuzz.h1_transcripts import request_read_by_us
from protocol.errors import LocalError
from protocol.values import Headers, RequestHead, ResponseHead
from protocol.wire.h1 import encode_request, encode_response
from tests.support.splits import cut_points, split

T = TypeVar("T")


@st.composite
def mostly(draw: st.DrawFn, usual: Sequence[T], odd: Sequence[T]) -> T:
    """One of ``usual`` nineteen times in twenty, so that a message of many parts still has a chance to be accepted."""
    return draw(st.sampled_from(odd if draw(st.integers(1, 20)) == 20 else usual))


METHODS = mostly([b"POST", b"GET", b"HEAD"], [b"OPTIONS", b"CONNECT", b"get", b"PRI", b"G(T"])
TARGETS = mostly(
    [b"/", b"/v1/messages?beta=true", b"/a%20b;c=d?e", b"http://a", b"http://[::1]:80?x", b"HTTPS://a:1/b"],
    [b"*", b"a:80", b"ftp://a/", b"http://a#b", b"http://a@b/", b"/\xff", b"/ /", b""],
)
VERSIONS = mostly([b"HTTP/1.1"] * 5 + [b"HTTP/1.0"], [b"HTTP/2.0", b"HTTP/1.2", b"HTTP/1", b"http/1.1"])
STATUSES = mostly([b"200", b"404", b"529", b"204", b"304", b"100", b"103"], [b"101", b"099", b"999", b"20", b"2000"])
REASONS = mostly([b"OK", b"Not  Found", b""], [b"\xe9", b"\x7f", b"\t"])
HOSTS = mostly([[b"Host: a"], [b"host:\t[::1]:80 "]], [[], [b"Host: a", b"Host: b"], [b"Host:"], [b"Host: a b"]])
FRAMINGS = mostly(
    [
        [],
        [b"Content-Length: 5"],
        [b"content-length:0"],
        [b"Transfer-Encoding: chunked"],
        [b"transfer-encoding:\tChunked "],
    ],
    [
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: +5"],
        [b"Content-Length: 00000000000000000005"],
        [b"Content-Length : 5"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding : chunked"],
    ],
)
VALUES = st.text(st.characters(codec="latin-1", min_codepoint=0x20, exclude_characters="\x7f"), max_size=20)
FIELDS = st.one_of(
    mostly(
        [b"Connection: keep-alive", b"connection: x, Close", b"Expect: 100-continue"], [b"name : 1", b"n@me: 1", b":"]
    ),
    st.builds(lambda value: b"x-value:" + value.encode("latin-1"), VALUES),
)
LINE_ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\n\r\n"])

CHUNKS = st.builds(
    lambda size, payload, end: size % len(payload) + b"\r\n" + payload + end,
    mostly([b"%x", b"%X", b"%04x", b"%x;name=value"], [b"%x ", b"+%x", b"0x%x", b"%x\t;x", b"%x;\n", b"%017x", b"g%x"]),
    st.binary(min_size=1, max_size=20),
    mostly([b"\r\n"], [b"\n", b"", b"\r", b"x\r\n"]),
)
CHUNKED_BODIES = st.builds(
    lambda chunks, *end: b"".join(chunks) + b"".join(end),
    st.lists(CHUNKS, max_size=4),
    mostly([b"0\r\n", b"0000\r\n", b"0;x\r\n"], [b"0\n", b""]),
    mostly([b"", b"a: 1\r\n"], [b"a: 1\r\n b\r\n", b"a : 1\r\n", b"a: 1\n"]),
    mostly([b"\r\n", b"\r\nGET / HTTP/1.1\r\n"], [b"\n", b""]),
)
BODIES = st.one_of(CHUNKED_BODIES, st.sampled_from([b"hello", b"he", b"hello, world", b""]))


@st.composite
def messages(draw: st.DrawFn, first_lines: st.SearchStrategy[bytes], hosts: st.SearchStrategy[list[bytes]]) -> bytes:
    fields = draw(st.permutations(draw(hosts) + draw(FRAMINGS) + draw(st.lists(FIELDS, max_size=3))))
    blank_lines = draw(mostly([b""], [b"\r\n", b"\r\n\r\n", b"\n", b"\r"]))
    lines = [draw(first_lines), *fields, b""]
    return blank_lines + b"".join(line + draw(LINE_ENDS) for line in lines) + draw(BODIES)


REQUESTS = messages(st.tuples(METHODS, TARGETS, VERSIONS).map(b" ".join), HOSTS)
RESPONSES = messages(st.tuples(VERSIONS, STATUSES, REASONS).map(b" ".join), st.just([]))


@st.composite
def mangled(draw: st.DrawFn, strategy: st.SearchStrategy[bytes]) -> bytes:
    """A message in which some bytes were lost, doubled or replaced."""
    data = bytearray(draw(strategy))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(b"\r\n \t\0:;,0_+x\xff")).to_bytes()
    return bytes(data)


@given(data=st.one_of(REQUESTS, mangled(REQUESTS), st.binary(max_size=50)))
def test_requests_are_read_as_h11_reads_them_or_refused(data: bytes) -> None:
    fuzz_h1_request.check(data)


@given(data=st.one_of(RESPONSES, mangled(RESPONSES), st.binary(max_size=50)))
def test_responses_are_read_as_h11_reads_them_or_refused(data: bytes) -> None:
    fuzz_h1_response.check(data)


@given(data=st.one_of(BODIES, mangled(BODIES), st.binary(max_size=50)))
def test_bodies_are_read_as_h11_reads_them_or_refused(data: bytes) -> None:
    fuzz_h1_body.check(data)


@given(data=st.one_of(REQUESTS, mangled(REQUESTS)), cuts=cut_points())
def test_a_message_does_not_depend_on_where_the_reads_were_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = request_read_by_us([data]), request_read_by_us(split(data, cuts))
    assert cut.heads == whole.heads
    assert (cut.refused is None) == (whole.refused is None)
    assert cut == whole or whole.refused is not None


@pytest.mark.parametrize("path", sorted((CORPUS / "h1_request").iterdir()), ids=lambda path: path.name)
def test_the_request_corpus_holds(path: Path) -> None:
    fuzz_h1_request.check(path.read_bytes())


@pytest.mark.parametrize("path", sorted((CORPUS / "h1_response").iterdir()), ids=lambda path: path.name)
def test_the_response_corpus_holds(path: Path) -> None:
    fuzz_h1_response.check(path.read_bytes())


@pytest.mark.parametrize("path", sorted((CORPUS / "h1_body").iterdir()), ids=lambda path: path.name)
def test_the_body_corpus_holds(path: Path) -> None:
    fuzz_h1_body.check(path.read_bytes())


SPOILT = st.lists(st.one_of(st.sampled_from(b"\r\n\0"), st.integers(0x21, 0x7E)), max_size=6).map(bytes)


@given(headers=st.lists(st.tuples(SPOILT, SPOILT), max_size=4), reason=SPOILT, target=SPOILT)
def test_no_head_is_written_with_a_line_break_or_nul_inside(headers: Headers, reason: bytes, target: bytes) -> None:
    fields = b"".join(name + value for name, value in headers)
    for sent, encode in (
        (fields + target, partial(encode_request, RequestHead(b"GET", target, headers))),
        (fields + reason, partial(encode_response, ResponseHead(200, headers, reason))),
    ):
        if set(sent) & set(b"\r\n\0"):
            with pytest.raises(LocalError):
                encode()
        else:
            assert encode().split(b"\r\n")[1:-2] == [name + b": " + value for name, value in headers]
