"""Event streams are read as the WHATWG text says, however they arrive, and a cut in one can always be seen."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import LocalError, Refusal
from protocol.wire.sse import EventBoundary, SseDecoder, SseEvent, encode_sse
from tests.support.grammar import read_sse
from tests.support.splits import byte_by_byte, cut_points, every_way, split

TWO_EVENTS = b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n"
LINES = st.sampled_from(
    [
        b"event: message_stop",
        b"event:",
        b"data: {}",
        b"data:",
        b"data",
        b"data:  two spaces",
        b"data: \xe4\xbd\xa0",
        b"id: 7",
        b"retry: 5",
        b": comment",
        b"unknown: field",
        b"event: \xf0\x9f\x98\x80",
        b"",
        b"",
    ]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.builds(
    lambda mark, lines, rest: (b"\xef\xbb\xbf" if mark else b"") + b"".join(line + end for line, end in lines) + rest,
    st.booleans(),
    st.lists(st.tuples(LINES, LINE_ENDS), max_size=20),
    st.sampled_from([b"", b"data: cut", b"\r", b"\xef"]),
)


def decoded(reads: list[bytes], limit: int = 1 << 20) -> list[SseEvent]:
    decoder = SseDecoder(limit)
    return [event for read in reads for event in decoder.feed(read)]


@given(stream=STREAMS, cuts=cut_points())
@example(stream=b"\n\xef\xbb\xbfdata: x\n\n", cuts=[])
@example(stream=b"data: x\r\n\r\ndata: y\r\n\r\n", cuts=[8, 9, 10, 11])
@example(stream=b"data: x\n\r\ndata: y\r\n\n", cuts=[])
def test_any_stream_reads_as_the_standard_says_at_every_split(stream: bytes, cuts: list[int]) -> None:
    told = [SseEvent(event.encode(), data.encode()) for event, data in read_sse(stream)]
    for reads in every_way(stream, cuts):
        assert decoded(reads) == told


def test_an_event_is_given_out_with_its_last_byte() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"event: ping\ndata: {}\n") == []
    assert decoder.feed(b"\n") == [SseEvent(b"ping", b"{}")]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_endings_make_no_difference(line_end: bytes) -> None:
    stream = TWO_EVENTS.replace(b"\n", line_end)
    assert decoded([stream]) == decoded(byte_by_byte(stream)) == [SseEvent(b"a", b"1"), SseEvent(b"b", b"2")]


def test_the_byte_order_mark_is_skipped_once_even_when_cut() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: not a field\n\n"
    for reads in every_way(stream):
        assert decoded(reads) == [SseEvent(b"message", b"x")]


def test_data_lines_join_and_the_last_event_line_wins() -> None:
    assert decoded([b"event: a\ndata: 1\nevent: b\ndata:2\n\n"]) == [SseEvent(b"b", b"1\n2")]


def test_an_event_without_data_is_none() -> None:
    assert decoded([b"event: a\n\ndata: x\n\n"]) == [SseEvent(b"message", b"x")]


@pytest.mark.parametrize("lines", [b"data: 1\ndata: 2", b"event:a\ndata: 1\n2", b": x\ndata: 1\n2", b"event: a\nid: 7"])
def test_an_event_of_two_unusual_lines_is_read_as_any_other(lines: bytes) -> None:
    decoder = SseDecoder()
    decoder.feed(b": the start\n\n")
    told = [SseEvent(event.encode(), data.encode()) for event, data in read_sse(lines + b"\n\n")]
    assert decoder.feed(lines + b"\n\n") == told


def test_nothing_is_decoded_so_a_character_may_be_cut() -> None:
    stream = encode_sse(b"a", "你好 😀".encode())
    assert decoded(byte_by_byte(stream)) == [SseEvent(b"a", "你好 😀".encode())]


def test_the_end_tells_whether_an_event_was_cut() -> None:
    whole, cut, marked = SseDecoder(), SseDecoder(), SseDecoder()
    whole.feed(TWO_EVENTS)
    cut.feed(TWO_EVENTS[:-1])
    marked.feed(b"\xef")
    assert (whole.finish(), cut.finish(), marked.finish(), SseDecoder().finish()) == (True, False, False, True)


def test_an_event_of_the_limit_passes_and_one_byte_more_is_refused() -> None:
    fits, over = b"data: " + b"x" * 14 + b"\n\n", b"data: " + b"x" * 15 + b"\n\n"
    for reads in every_way(fits):
        assert decoded(reads, limit=20) == [SseEvent(b"message", b"x" * 14)]
    for reads in every_way(over):
        with pytest.raises(Refusal, match="more than 20 bytes") as refused:
            decoded(reads, limit=20)
        assert refused.value.status == 502


@given(stream=STREAMS, cuts=cut_points(), limit=st.integers(0, 60))
@example(stream=b"data: 1\n\n\ndata: 22\n\n", cuts=[10], limit=7)
def test_events_before_one_that_is_too_long_are_kept_at_every_split(stream: bytes, cuts: list[int], limit: int) -> None:
    def told(reads: list[bytes]) -> tuple[list[SseEvent], bool]:
        decoder = SseDecoder(limit)
        events: list[SseEvent] = []
        try:
            for read in reads:
                events += decoder.feed(read)
            decoder.finish()
        except Refusal:
            return events, True
        return events, False

    whole = told([stream])
    assert told(byte_by_byte(stream)) == whole
    assert told(split(stream, cuts)) == whole


def test_a_stream_that_never_ends_a_line_is_refused_and_stays_so() -> None:
    decoder = SseDecoder(100)
    with pytest.raises(Refusal):
        for _ in range(200):
            decoder.feed(b"x")
    with pytest.raises(Refusal):
        decoder.feed(b"\n\n")
    with pytest.raises(Refusal):
        decoder.finish()


@given(event=st.sampled_from([b"", b"error"]), lines=st.lists(st.text("ab: \x00é"), min_size=1))
def test_what_is_encoded_is_decoded(event: bytes, lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    assert decoded([encode_sse(event, data)]) == [SseEvent(event or b"message", data)]


@pytest.mark.parametrize(("event", "data"), [(b"a\nb", b""), (b"a\rb", b""), (b"a", b"x\ry")])
def test_a_line_end_that_the_format_cannot_carry_is_our_own_fault(event: bytes, data: bytes) -> None:
    with pytest.raises(LocalError):
        encode_sse(event, data)


FRAME = encode_sse(b"error", b'{"type":"error"}')


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_closing_error_is_seen_wherever_the_stream_was_cut(line_end: bytes) -> None:
    stream = (b": hello\n" + TWO_EVENTS + b'event: c\ndata: {"text":"' + "é".encode() + b'"}\n\n').replace(
        b"\n", line_end
    )
    for at in range(len(stream) + 1):
        boundary = EventBoundary()
        boundary.seen(stream[:at])
        *before, (event, data) = read_sse(stream[:at] + boundary.closing_error(FRAME))
        assert event == "error"
        assert data.endswith('{"type":"error"}')
        assert before == read_sse(stream[:at])[: len(before)]


@given(stream=STREAMS, cuts=cut_points())
def test_a_boundary_is_where_a_comment_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    boundary = EventBoundary()
    sent = b""
    for read in split(stream, cuts):
        boundary.seen(read)
        sent += read
        if boundary.at_boundary:
            sent += b": keep-alive\n\n"
    assert read_sse(sent + b"\n\n") == read_sse(stream + b"\n\n")


@given(stream=STREAMS, cuts=cut_points())
def test_a_boundary_is_found_at_every_split(stream: bytes, cuts: list[int]) -> None:
    found = set()
    for reads in every_way(stream, cuts):
        boundary = EventBoundary()
        for read in reads:
            boundary.seen(read)
        found.add((boundary.at_boundary, boundary.closing_error(FRAME)))
    assert len(found) == 1


def test_the_start_and_the_end_of_an_event_are_boundaries_and_nothing_inside_is() -> None:
    boundary = EventBoundary()
    places = [boundary.at_boundary]
    for byte in byte_by_byte(TWO_EVENTS):
        boundary.seen(byte)
        places.append(boundary.at_boundary)
    assert [at for at, between in enumerate(places) if between] == [0, 18, 36]
