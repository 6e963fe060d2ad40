"""What an answer cost is read from it, whatever its dialect and its compression, and never at the answer's expense."""

import json
import tracemalloc
import zlib
from typing import Any

import pytest

from protocol.translate.outcomes import Usage, billed
from protocol.usage_tap import (
    INFLATED_AT_ONCE,
    MAX_KEPT,
    BodyUsage,
    InflatedUsage,
    StreamUsage,
    UsageTap,
    read_identity,
    read_tokens,
    tap_for,
)
from protocol.values import Headers, Tokens
from tests.support.anthropic_streams import Json, message, sse, tell, text
from tests.support.splits import every_way

START = sse(
    {
        "type": "message_start",
        "message": message(
            stop_reason="",
            usage={
                "input_tokens": 25,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 3000,
                "output_tokens": 1,
            },
        ),
    }
)
PING = sse({"type": "ping"})
DELTA = sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}})
STOP = sse({"type": "message_stop"})

CHAT_USAGE = {"prompt_tokens": 30, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 20}}
RESPONSES_USAGE = {"input_tokens": 30, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 20}}
OF_OPENAI = Tokens(input=10, output=7, cache_read=20)


def message_delta(**usage: int | None) -> bytes:
    return sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})


def data(fields: dict[str, Any] | str) -> bytes:
    """One event of an OpenAI stream."""
    return b"data: %b\n\n" % (fields if isinstance(fields, str) else json.dumps(fields)).encode()


def chat_chunk(usage: dict[str, Any] | None) -> bytes:
    return data({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage})


def response_event(kind: str, usage: dict[str, Any] | None) -> bytes:
    return sse({"type": kind, "response": {"id": "r1", "object": "response", "output": [], "usage": usage}})


def after(tap: UsageTap, *reads: bytes) -> Tokens | None:
    for read in reads:
        tap.seen(read)
    return tap.tokens


def of_stream(stream: bytes) -> Tokens | None:
    """What a stream says it cost, however it is cut into reads."""
    (told,) = {after(StreamUsage(), *reads) for reads in every_way(stream)}
    return told


# --- event streams ----------------------------------------------------------------------------------------------------


def test_a_stream_costs_what_its_first_and_its_last_event_say() -> None:
    stream = START + DELTA * 3 + message_delta(output_tokens=170) + STOP
    assert of_stream(stream) == Tokens(input=25, output=170, cache_creation=100, cache_read=3000)


def test_nothing_is_known_before_the_first_event() -> None:
    assert of_stream(b"") is None
    assert of_stream(PING + DELTA) is None


def test_a_stream_that_is_cut_has_cost_what_was_told_until_then() -> None:
    assert of_stream(START + PING + DELTA) == Tokens(input=25, output=1, cache_creation=100, cache_read=3000)
    cut = START + message_delta(output_tokens=9) + DELTA + message_delta(output_tokens=12)[:-3]
    assert of_stream(cut) == Tokens(input=25, output=9, cache_creation=100, cache_read=3000)


def test_counts_are_cumulative_so_the_last_of_a_kind_holds() -> None:
    stream = START + message_delta(output_tokens=9) + message_delta(output_tokens=12, input_tokens=40) + STOP
    assert of_stream(stream) == Tokens(input=40, output=12, cache_creation=100, cache_read=3000)


def test_a_count_that_is_null_takes_nothing_back() -> None:
    stream = START + message_delta(output_tokens=9, cache_read_input_tokens=None)
    assert of_stream(stream) == Tokens(input=25, output=9, cache_creation=100, cache_read=3000)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_lines_may_end_as_the_standard_allows(line_end: bytes) -> None:
    stream = (START + PING + DELTA + message_delta(output_tokens=9)).replace(b"\n", line_end)
    assert of_stream(stream) == Tokens(input=25, output=9, cache_creation=100, cache_read=3000)


def test_an_answer_that_speaks_of_usage_costs_no_more() -> None:
    spoken = '"usage":{"output_tokens":999}'
    blocks: list[Json] = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {"usage": 999}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": spoken}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "usage"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"\ndata: {{{spoken}}}\n"}},
        {"type": "usage", "usage": {"output_tokens": 999}},
    ]
    assert of_stream(START + b"".join(map(sse, blocks))) == of_stream(START)


def test_an_error_event_costs_nothing() -> None:
    assert of_stream(sse({"type": "error", "error": {"type": "overloaded_error", "message": '"usage"'}})) is None


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"type":"message_delta","usage":{"output_tokens":"many"}}\n\n',
        b'data: {"type":"message_delta","usage":[1]}\n\n',
        b'data: {"type":"message_start","message":{"usage":7,"type":"message"}}\n\n',
        b'data: {"type":"message_delta","usage":{"output_tokens":7}\n\n',
        b'data: {"type":"message_delta\xff","usage":{"output_tokens":7}}\n\n',
        b'data: {"type":"message_delta","usage":{"output_tokens":%b}}\n\n' % (b"9" * 5000),
        b'data: {"type":"message_delta","more":%b,"usage":{"output_tokens":7}}\n\n' % (b"[" * 9000 + b"]" * 9000),
        b'event: {"type":"message_delta","usage":{"output_tokens":7}}\n\n',
        b': {"type":"message_delta","usage":{"output_tokens":7}}\n\n',
        b'note:{"type":"message_delta","usage":{"output_tokens":7}}\n\n',
    ],
)
def test_an_event_that_makes_no_sense_is_passed_over(broken: bytes) -> None:
    assert after(StreamUsage(), START, broken) == of_stream(START)


def test_a_line_that_is_too_long_is_passed_over_to_its_end_and_not_kept() -> None:
    piece = b'data: {"type":"message_delta","usage":{"output_tokens":7}}, '
    long_line = b"data: " + b"x" * MAX_KEPT
    tap = StreamUsage()
    tracemalloc.start()
    try:
        for at in range(0, len(long_line), 1 << 16):
            tap.seen(long_line[at : at + (1 << 16)])
        tap.seen(b"x" * MAX_KEPT)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < MAX_KEPT
    assert after(tap, piece, b"\n", b"\n") is None
    assert after(tap, START) == of_stream(START)


@pytest.mark.parametrize(("room", "output"), [(0, 7), (1, 1)])
def test_how_long_a_line_may_be_does_not_depend_on_the_reads(room: int, output: int) -> None:
    line = b'data: {"type":"message_delta","usage":{"output_tokens":7},"more":"%b"}'
    line %= b"x" * (MAX_KEPT + room - len(line) + 2)
    reads = [line[at : at + (1 << 16)] for at in range(0, len(line), 1 << 16)]
    for told in (after(StreamUsage(), START, line + b"\n"), after(StreamUsage(), START, *reads, b"\n")):
        assert told == Tokens(input=25, output=output, cache_creation=100, cache_read=3000)


def test_the_usage_of_chat_completions_is_read_from_its_last_chunk() -> None:
    stream = chat_chunk(None) * 2 + chat_chunk(CHAT_USAGE) + data("[DONE]")
    assert of_stream(stream) == OF_OPENAI


def test_a_chat_stream_that_counts_along_is_read_up_to_its_last_count() -> None:
    stream = chat_chunk(CHAT_USAGE | {"completion_tokens": 3}) + chat_chunk(CHAT_USAGE) + data("[DONE]")
    assert of_stream(stream) == OF_OPENAI


def test_a_chat_stream_without_a_usage_says_nothing() -> None:
    assert of_stream(chat_chunk(None) * 2 + data("[DONE]")) is None


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_the_usage_of_a_response_is_read_from_its_last_event(kind: str) -> None:
    stream = response_event("response.created", None) + response_event(kind, RESPONSES_USAGE)
    assert of_stream(stream) == OF_OPENAI


def test_a_response_that_failed_before_it_cost_anything_says_nothing() -> None:
    assert of_stream(response_event("response.created", None) + response_event("response.failed", None)) is None


# --- whole answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (message(text("Hello")), Tokens(input=10, output=5)),
        (
            message(usage={"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}),
            Tokens(input=1, output=2, cache_read=3),
        ),
        ({"object": "chat.completion", "choices": [], "usage": CHAT_USAGE}, OF_OPENAI),
        ({"object": "chat.completion", "choices": [], "usage": None}, None),
        ({"object": "response", "output": [], "usage": RESPONSES_USAGE}, OF_OPENAI),
        ({"object": "response", "output": [], "usage": None}, None),
        ({"object": "response", "output": []}, None),
        (message(usage=None), None),
        (message(usage={}), None),
        ({"type": "error", "error": {"type": "api_error", "message": "no"}}, None),
        ({"input_tokens": 2095}, None),
        ({"type": "message_batch", "usage": {"input_tokens": 1, "output_tokens": 1}}, None),
        ([], None),
    ],
)
def test_a_whole_answer_costs_what_it_says(answer: Any, tokens: Tokens | None) -> None:
    body = json.dumps(answer).encode()
    assert read_tokens(body) == tokens
    assert {after(BodyUsage(), *reads) for reads in every_way(body)} == {tokens}


def test_an_answer_that_is_not_whole_says_nothing() -> None:
    assert after(BodyUsage(), json.dumps(message(text("Hello"))).encode()[:-1]) is None
    assert after(BodyUsage()) is None


def test_an_answer_that_is_too_long_is_not_kept() -> None:
    body = json.dumps(message(text("x" * MAX_KEPT))).encode()
    tap = BodyUsage()
    assert after(tap, body[:MAX_KEPT], body[MAX_KEPT:]) is None
    assert after(tap, json.dumps(message()).encode()) is None
    assert after(BodyUsage(), json.dumps(message()).encode(), b" " * MAX_KEPT) is None


def test_a_negative_count_costs_nothing() -> None:
    assert billed(Usage(-1, -2, -3, -4)) == Tokens()
    assert read_tokens(b'{"object":"chat.completion","usage":{"prompt_tokens":-5}}') == Tokens()


# --- compressed answers -----------------------------------------------------------------------------------------------

GZIP, ZLIB = zlib.MAX_WBITS | 16, zlib.MAX_WBITS


def packed(*pieces: bytes, wbits: int = GZIP) -> list[bytes]:
    """The pieces compressed so that each can be unpacked as soon as it arrives, as a server does with events."""
    compressor = zlib.compressobj(wbits=wbits)
    reads = [compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*reads, compressor.flush()]


@pytest.mark.parametrize("wbits", [GZIP, ZLIB])
def test_a_compressed_stream_is_read_while_it_arrives(wbits: int) -> None:
    tap = InflatedUsage(StreamUsage())
    told = [after(tap, read) for read in packed(START, DELTA, message_delta(output_tokens=9), wbits=wbits)]
    assert [tokens and tokens.output for tokens in told] == [1, 1, 9, 9]


@pytest.mark.parametrize("wbits", [GZIP, ZLIB])
def test_a_compressed_answer_may_be_cut_into_any_reads(wbits: int) -> None:
    body = json.dumps(message(text("Hello " * 100))).encode()
    compressed = b"".join(packed(body, wbits=wbits))
    assert {after(InflatedUsage(BodyUsage()), *reads) for reads in every_way(compressed)} == {Tokens(10, 5)}


def test_what_cannot_be_unpacked_ends_the_reading_only() -> None:
    first, second, *_ = packed(START, message_delta(output_tokens=9))
    tap = InflatedUsage(StreamUsage())
    assert after(tap, first, b"\xff" * len(second), second) == of_stream(START)
    assert after(InflatedUsage(BodyUsage()), b"not compressed at all") is None


def test_what_follows_a_compressed_answer_is_not_kept() -> None:
    tap = InflatedUsage(StreamUsage())
    told = after(tap, *packed(tell(message(text("Hello")))))
    tracemalloc.start()
    try:
        for _ in range(100):
            tap.seen(b"x" * 10_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    assert tap.tokens == told == Tokens(10, 5)


def test_a_small_read_that_unpacks_to_a_large_one_is_read_to_its_end() -> None:
    reads = packed(START + b"\n" * (3 * INFLATED_AT_ONCE) + message_delta(output_tokens=9))
    assert after(InflatedUsage(StreamUsage()), *reads) == Tokens(25, 9, 100, 3000)


def test_a_small_read_that_unpacks_to_a_huge_one_takes_little_memory() -> None:
    bomb = b"".join(packed(b"\n" * (64 * INFLATED_AT_ONCE)))
    tap = InflatedUsage(StreamUsage())
    tracemalloc.start()
    try:
        tap.seen(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * INFLATED_AT_ONCE


# --- which answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([(b"content-type", b"text/event-stream; charset=utf-8")], StreamUsage),
        ([(b"content-type", b"application/json")], BodyUsage),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"identity")], BodyUsage),
        ([(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")], InflatedUsage),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"X-GZip")], InflatedUsage),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"deflate, identity")], InflatedUsage),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"br")], None),
        ([(b"content-type", b"text/event-stream"), (b"content-encoding", b"zstd")], None),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"gzip, br")], None),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"gzip, gzip")], None),
        ([(b"content-type", b"application/octet-stream")], None),
        ([], None),
    ],
)
def test_there_is_a_tap_for_what_can_be_read(headers: Headers, kind: type[UsageTap] | None) -> None:
    tap = tap_for(headers)
    assert (None if tap is None else type(tap)) is kind


@pytest.mark.parametrize(
    ("content_type", "answer"),
    [
        (b"text/event-stream", tell(message(text("Hello")))),
        (b"application/json", json.dumps(message(text("Hello"))).encode()),
    ],
)
@pytest.mark.parametrize("wbits", [GZIP, ZLIB])
def test_the_tap_reads_through_the_compression_that_the_headers_name(
    content_type: bytes, answer: bytes, wbits: int
) -> None:
    coding = b"gzip" if wbits == GZIP else b"deflate"
    tap = tap_for([(b"content-type", content_type), (b"content-encoding", coding)])
    assert tap is not None
    assert after(tap, *packed(answer, wbits=wbits)) == Tokens(10, 5)


# --- the message's id -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "identity"),
    [
        (b'{"type":"message","id":"msg_1","usage":{"input_tokens":1}}', "msg_1"),
        (b'{"type":"message_start","message":{"type":"message","id":"msg_2","usage":{}}}', "msg_2"),
        (b'{"type":"message_delta","usage":{}}', None),
        (b'{"id":7}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 9000, None),
    ],
)
def test_the_id_of_a_message_is_read_from_it_or_from_the_event_that_announces_it(
    document: bytes, identity: str | None
) -> None:
    assert read_identity(document) == identity


def test_the_first_message_of_a_stream_is_the_one() -> None:
    tap = StreamUsage()
    assert tap.answer_id is None
    tap.seen(START)
    tap.seen(b'data: {"type":"message_start","message":{"type":"message","id":"other","usage":{"input_tokens":1}}}\n\n')
    assert tap.answer_id == "msg_01ABC"
