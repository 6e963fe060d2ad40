"""Bodies on an HTTP/1.1 connection: what each framing takes, refuses and writes."""

import pytest

from protocol.errors import LocalError, Refusal
from protocol.wire.h1_body import (
    MAX_CHUNK_LINE,
    MAX_TRAILER_BYTES,
    BodyReader,
    BodyWriter,
    ChunkedReader,
    ChunkedWriter,
    LengthReader,
    LengthWriter,
    NoBodyWriter,
    UntilCloseReader,
    UntilCloseWriter,
)
from tests.support.splits import byte_by_byte


def read_all(reader: BodyReader, reads: list[bytes]) -> tuple[bytes, bytes]:
    """The payload and what came after it."""
    payload = rest = b""
    for read in reads:
        if reader.done:
            rest += read
        else:
            payload += reader.feed(read)
            rest += reader.take_rest()
    return payload, rest


def refusal_of(data: bytes, fault_status: int = 400) -> Refusal:
    refusals = []
    for reads in ([data], byte_by_byte(data)):
        with pytest.raises(Refusal) as caught:
            read_all(ChunkedReader(fault_status), reads)
        refusals.append(caught.value)
    assert refusals[0].message == refusals[1].message
    return refusals[0]


# Chunks, in ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
        (b"0000000000000005\r\nhello\r\n00000\r\n\r\n", b"hello"),
        (b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b'5;name="quoted \xff\t";x\r\nhello\r\n0\r\n\r\n', b"hello"),
        (b"5\r\nhello\r\n0\r\nx-checksum: 1\r\nempty:\r\n\r\n", b"hello"),
    ],
)
def test_chunks_are_joined_into_the_body_wherever_the_reads_are_cut(wire: bytes, payload: bytes) -> None:
    following = b"GET / HTTP/1.1\r\n"
    for reads in ([wire + following], byte_by_byte(wire + following), [wire, following]):
        reader = ChunkedReader(400)
        assert read_all(reader, reads) == (payload, following)
        assert reader.done


def test_every_part_of_a_chunk_is_passed_on_at_once() -> None:
    reader = ChunkedReader(502)
    assert reader.feed(b"b\r\nhell") == b"hell"
    assert reader.feed(b"o wor") == b"o wor"
    assert reader.feed(b"ld\r") == b"ld"
    assert reader.feed(b"\n1\r\n!") == b"!"
    assert (reader.feed(b"\r\n0\r\n\r"), reader.done) == (b"", False)
    assert (reader.feed(b"\n"), reader.done) == (b"", True)


def test_the_middle_of_a_large_chunk_is_not_copied() -> None:
    reader = ChunkedReader(502)
    reader.feed(b"100000\r\n")
    middle = b"x" * 65536
    assert reader.feed(middle) is middle


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"+5", id="plus sign"),
        pytest.param(b"-5", id="minus sign"),
        pytest.param(b" 5", id="leading space"),
        pytest.param(b"5 ", id="trailing space"),
        pytest.param(b"5\t", id="trailing tab"),
        pytest.param(b"5 ;x", id="space before an extension"),
        pytest.param(b"0x5", id="0x prefix"),
        pytest.param(b"1_0", id="underscore"),
        pytest.param(b"5h", id="not a hexadecimal digit"),
        pytest.param(b"\xd9\xa5", id="digit of another script"),
        pytest.param(b";x", id="extension without a size"),
        pytest.param(b"00000000000000005", id="seventeen digits"),
        pytest.param(b"00000000000000005;x", id="seventeen digits and an extension"),
        pytest.param(b"5;a\nb", id="line feed in an extension"),
        pytest.param(b"5;a\rb", id="carriage return in an extension"),
        pytest.param(b"5;a\0", id="NUL in an extension"),
    ],
)
def test_a_chunk_size_is_nothing_but_up_to_sixteen_hexadecimal_digits(line: bytes) -> None:
    assert refusal_of(line + b"\r\nhello\r\n0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"5\nhello\n0\n\n", id="bare line feeds"),
        pytest.param(b"5\rhello", id="bare carriage return"),
        pytest.param(b"5\r\nhello!", id="chunk longer than its size"),
        pytest.param(b"5\r\nhello\n", id="bare line feed after a chunk"),
        pytest.param(b"5\r\nhello\r0", id="bare carriage return after a chunk"),
        pytest.param(b"5\r\nhell\r\n0\r\n\r\n", id="chunk shorter than its size"),
        pytest.param(b"0\r\n\n", id="bare line feed ends the body"),
        pytest.param(b"0\r\nname: 1\n", id="bare line feed in the trailers"),
        pytest.param(b"0\r\nname: 1\r2\r\n", id="bare carriage return in the trailers"),
        pytest.param(b"0\r\nname: 1\r\n folded\r\n\r\n", id="folded trailer"),
        pytest.param(b"0\r\nname : 1\r\n\r\n", id="space before the colon of a trailer"),
        pytest.param(b"0\r\n: 1\r\n\r\n", id="trailer without a name"),
        pytest.param(b"0\r\nname\r\n\r\n", id="trailer without a colon"),
        pytest.param(b"0\r\nname: \0\r\n\r\n", id="NUL in a trailer"),
    ],
)
def test_broken_chunks_are_refused_at_once(wire: bytes) -> None:
    assert refusal_of(wire).status == 400


def test_a_broken_response_blames_the_upstream() -> None:
    refusal = refusal_of(b"zz\r\n", 502)
    assert refusal.status == 502
    assert "upstream" in refusal.message


def test_a_chunk_size_line_is_bounded_with_its_extensions() -> None:
    longest = b"5;".ljust(MAX_CHUNK_LINE - 2, b"x") + b"\r\n"
    for reads in ([longest + b"hello"], byte_by_byte(longest + b"hello")):
        assert read_all(ChunkedReader(400), reads) == (b"hello", b"")
    assert refusal_of(b"5;".ljust(MAX_CHUNK_LINE - 1, b"x") + b"\r\nhello").status == 400


def test_the_trailer_section_is_bounded() -> None:
    longest = b"x:".ljust(MAX_TRAILER_BYTES - 6, b"y") + b"\r\n\r\n"
    for reads in ([b"0\r\n" + longest], [b"0\r\n", *byte_by_byte(longest)]):
        assert read_all(ChunkedReader(400), reads) == (b"", b"")
    assert refusal_of(b"0\r\n" + b"x:".ljust(MAX_TRAILER_BYTES - 5, b"y") + b"\r\n\r\n").status == 400


@pytest.mark.parametrize("received", [b"", b"5", b"5\r\nhe", b"5\r\nhello\r\n", b"0\r\n", b"0\r\na: 1\r\n"])
def test_a_chunked_body_without_its_last_chunk_was_cut_short(received: bytes) -> None:
    reader = ChunkedReader(502)
    reader.feed(received)
    assert not reader.finish()


# The other framings, in ---------------------------------------------------------------------------------------------


def test_a_body_of_known_length_ends_with_its_last_byte() -> None:
    reader = LengthReader(5)
    assert reader.length == 5
    assert (reader.feed(b"he"), reader.done, reader.finish()) == (b"he", False, False)
    assert (reader.feed(b"llo, next"), reader.done, reader.finish()) == (b"llo", True, True)
    assert reader.take_rest() == b", next"
    assert reader.take_rest() == b""


def test_a_body_of_length_zero_is_whole_before_it_begins() -> None:
    assert LengthReader(0).done


def test_a_body_until_close_is_completed_by_the_close() -> None:
    reader = UntilCloseReader()
    assert (reader.feed(b"hello"), reader.done) == (b"hello", False)
    assert (reader.finish(), reader.done) == (True, True)
    assert reader.take_rest() == b""


def test_only_a_body_with_an_end_of_its_own_leaves_the_connection_reusable() -> None:
    assert ChunkedReader(502).reusable
    assert LengthReader(1).reusable
    assert not UntilCloseReader().reusable
    assert not ChunkedReader(502, reusable=False).reusable


def test_a_body_that_has_ended_takes_no_more_bytes() -> None:
    chunked = ChunkedReader(400)
    chunked.feed(b"0\r\n\r\n")
    counted = LengthReader(1)
    counted.feed(b"x")
    open_ended = UntilCloseReader()
    open_ended.finish()
    for reader in (chunked, counted, open_ended):
        with pytest.raises(LocalError):
            reader.feed(b"more")


# Out ----------------------------------------------------------------------------------------------------------------


def test_each_part_of_a_chunked_body_is_a_chunk_and_an_empty_part_is_none() -> None:
    writer = ChunkedWriter()
    assert writer.frame(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert writer.frame(b"") == b""
    assert writer.end() == b"0\r\n\r\n"


def test_nothing_can_follow_the_last_chunk() -> None:
    writer = ChunkedWriter()
    writer.end()
    with pytest.raises(LocalError):
        writer.frame(b"x")
    with pytest.raises(LocalError):
        writer.end()


def test_a_body_may_be_neither_longer_nor_shorter_than_announced() -> None:
    writer = LengthWriter(5)
    assert writer.frame(b"hell") == b"hell"
    with pytest.raises(LocalError):
        writer.end()
    with pytest.raises(LocalError):
        writer.frame(b"oh")
    assert writer.frame(b"o") == b"o"
    assert writer.end() == b""


def test_a_body_until_close_goes_out_as_it_is() -> None:
    writer = UntilCloseWriter()
    assert writer.frame(b"hello") + writer.end() == b"hello"


def test_a_message_without_a_body_sends_none() -> None:
    writer = NoBodyWriter()
    assert writer.frame(b"hello") + writer.end() == b""


@pytest.mark.parametrize(
    ("writer", "open_ended", "cut_is_visible"),
    [
        (ChunkedWriter(), True, True),
        (LengthWriter(5), False, True),
        (UntilCloseWriter(), True, False),
        (NoBodyWriter(), False, True),
    ],
)
def test_a_writer_tells_what_can_be_done_when_the_body_breaks_off(
    writer: BodyWriter, open_ended: bool, cut_is_visible: bool
) -> None:
    assert writer.open_ended is open_ended
    assert writer.cut_is_visible is cut_is_visible
