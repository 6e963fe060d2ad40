"""What an answer cost does not depend on how its bytes arrive, on its compression, or on which path it takes."""

import json
import zlib
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from protocol.translate.call import Dialect, TranslatedRequest
from protocol.translate.chat_stream import ChatStream
from protocol.translate.events import read_message
from protocol.translate.outcomes import ThinkingCount, Usage, billed, chat_usage, responses_usage
from protocol.usage_tap import BodyUsage, InflatedUsage, StreamUsage, UsageTap
from protocol.values import Tokens
from tests.support.anthropic_streams import Story, sse, stories
from tests.support.splits import cut_points, split

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
COUNTS = st.none() | st.integers(0, 10**9)
USAGES = st.builds(Usage, st.integers(0, 10**9), COUNTS, COUNTS, COUNTS, st.none() | st.builds(ThinkingCount, COUNTS))
PIECES = st.sampled_from(
    [
        b"data: ", b"data:", b"event: message_start\n", b'{"type":"message_delta",', b'"usage":', b"}", b"{", b"[",
        b'{"output_tokens":7}', b'{"type":"message_start","message":', b'{"type":"response.completed","response":',
        b'{"object":"chat.completion.chunk",', b'"usage"', b"null", b"\n", b"\r", b"\r\n", b"\n\n", b"\xff", b":",
        b"\x1f\x8b",
    ]
)  # fmt: skip


def after(tap: UsageTap, reads: list[bytes]) -> Tokens | None:
    for read in reads:
        tap.seen(read)
    return tap.tokens


def parsed(stream: bytes) -> Tokens | None:
    """The same by way of every line and the standard library."""
    usage: dict[str, Any] = {}
    *lines, _ = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines:
        if line.startswith(b"data:"):
            event = json.loads(line[5:])
            told = {"message_start": event.get("message", {}), "message_delta": event}.get(event["type"], {})
            usage |= {name: count for name, count in told.get("usage", {}).items() if count is not None}
    if not usage:
        return None
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return Tokens(*(usage.get(name, 0) for name in names))


def translated() -> ChatStream:
    request = TranslatedRequest(
        dialect=Dialect.CHAT,
        body=b"{}",
        requested_model="gpt-4o",
        upstream_model="claude-opus-5-5",
        stream=True,
        include_usage=True,
    )
    return ChatStream(request, created=1_790_000_000)


@given(story=stories(), line_end=LINE_ENDS, cuts=cut_points(), length=st.integers(0))
def test_a_stream_costs_what_a_full_parse_of_it_says(
    story: Story, line_end: bytes, cuts: list[int], length: int
) -> None:
    stream = story.stream.replace(b"\n", line_end)
    for told in (stream, stream[: length % len(stream)]):
        assert after(StreamUsage(), split(told, cuts)) == parsed(told)


@given(story=stories(), cuts=cut_points(), length=st.integers(0))
def test_a_relayed_stream_costs_what_the_same_one_does_translated(story: Story, cuts: list[int], length: int) -> None:
    ends = [at for at in range(2, len(story.stream) + 1) if story.stream[at - 2 : at] == b"\n\n"]
    stream = story.stream[: ends[length % len(ends)]]
    translation = translated()
    translation.feed(stream)
    assert after(StreamUsage(), split(stream, cuts)) == billed(translation.message.usage)


@given(story=stories(), cuts=cut_points())
def test_a_whole_answer_costs_what_the_same_one_does_translated(story: Story, cuts: list[int]) -> None:
    assert after(BodyUsage(), split(story.body, cuts)) == billed(read_message(story.body).usage)


@given(story=stories(), cuts=cut_points(), packing=cut_points(), flush=st.booleans(), gzip=st.booleans())
def test_compression_changes_no_count(
    story: Story, cuts: list[int], packing: list[int], flush: bool, gzip: bool
) -> None:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if gzip else 0))
    mode = zlib.Z_SYNC_FLUSH if flush else zlib.Z_NO_FLUSH
    pieces = [compressor.compress(piece) + compressor.flush(mode) for piece in split(story.stream, packing)]
    compressed = b"".join([*pieces, compressor.flush()])
    assert after(InflatedUsage(StreamUsage()), split(compressed, cuts)) == parsed(story.stream)


@given(usage=USAGES, cuts=cut_points())
def test_what_we_tell_an_openai_client_reads_back_as_what_it_cost(usage: Usage, cuts: list[int]) -> None:
    chat = chat_usage(usage)
    chunks: list[dict[str, Any]] = [
        {"object": "chat.completion.chunk", "choices": [], "usage": counts} for counts in (None, chat)
    ]
    responses: list[dict[str, Any]] = [
        {"type": kind, "response": {"object": "response", "usage": counts}}
        for kind, counts in (("response.created", None), ("response.completed", responses_usage(usage)))
    ]
    streams = [
        b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n",
        b"".join(map(sse, responses)),
    ]
    assert [after(StreamUsage(), split(stream, cuts)) for stream in streams] == [billed(usage)] * 2
    bodies = [{"object": "chat.completion", "usage": chat}, responses[1]["response"]]
    assert [after(BodyUsage(), split(json.dumps(body).encode(), cuts)) for body in bodies] == [billed(usage)] * 2


@given(pieces=st.lists(PIECES | st.binary(max_size=20), max_size=40), cuts=cut_points())
@example(pieces=[b'data: {"type":"message_delta","usage":', b'{"output_tokens":7}', b"}", b"\n"], cuts=[])
def test_any_bytes_are_read_alike_in_any_reads(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    for new in (StreamUsage, BodyUsage):
        assert after(new(), split(data, cuts)) == after(new(), [data])
    after(InflatedUsage(StreamUsage()), split(data, cuts))
