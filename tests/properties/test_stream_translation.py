"""Streamed and whole answers are the same answer, in either dialect, however the bytes arrive."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import CORPUS, fuzz_chat_stream, fuzz_sse
from protocol.errors import Refusal
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.chat_response import translate_chat_response
from protocol.translate.chat_stream import ChatStream
from protocol.translate.message_stream import MessageStream
from protocol.translate.responses_response import translate_responses_response
from protocol.translate.responses_stream import ResponsesStream
from tests.support.anthropic_streams import ANSWER_TOOL, CUSTOM_TOOL, Story, sse, stories
from tests.support.grammar import End, check_anthropic, check_chat, check_responses
from tests.support.openai_accumulators import accumulate_chat, accumulate_responses
from tests.support.splits import cut_points, split

CREATED = 1_790_000_000
NAMES = ("get_weather", "run", CUSTOM_TOOL, "grouped__search", ANSWER_TOOL)
TOOLS = {
    CUSTOM_TOOL: ClientTool(ToolKind.CUSTOM, "apply_patch"),
    "grouped__search": ClientTool(ToolKind.FUNCTION, "search", "grouped"),
}
ECHO: dict[str, Any] = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": "Be kind."}


def requests(dialect: Dialect) -> st.SearchStrategy[TranslatedRequest]:
    notes = st.builds(
        Notes,
        tools=st.just(TOOLS),
        answer_tool=st.sampled_from([None, ANSWER_TOOL]),
        reasoning_summary=st.booleans(),
        encrypted_reasoning=st.booleans(),
        echo=st.just(ECHO if dialect is Dialect.RESPONSES else {}),
    )
    return st.builds(
        TranslatedRequest,
        dialect=st.just(dialect),
        body=st.just(b"{}"),
        requested_model=st.sampled_from(["gpt-4o", 'an "odd" name']),
        upstream_model=st.just("claude-opus-5-5"),
        stream=st.just(True),
        include_usage=st.booleans(),
        notes=notes,
    )


LEGACY = TranslatedRequest(
    dialect=Dialect.CHAT,
    body=b"{}",
    requested_model="gpt-4o",
    upstream_model="claude-opus-5-5",
    stream=True,
    include_usage=True,
    notes=Notes(legacy_functions=True),
)


def chat(request: TranslatedRequest) -> ChatStream:
    return ChatStream(request, created=CREATED)


def responses(request: TranslatedRequest) -> ResponsesStream:
    return ResponsesStream(request, created=CREATED)


def relayed(stream: MessageStream, reads: list[bytes]) -> bytes:
    return b"".join(stream.feed(read) for read in reads) + stream.finish()


@given(story=stories(NAMES))
def test_generated_streams_follow_the_api(story: Story) -> None:
    assert check_anthropic(story.stream) is End.COMPLETE


@given(story=stories(NAMES), request=requests(Dialect.CHAT))
def test_a_chat_stream_adds_up_to_the_whole_completion(story: Story, request: TranslatedRequest) -> None:
    stream = chat(request)
    written = relayed(stream, [story.stream])
    assert check_chat(written, include_usage=request.include_usage) is End.COMPLETE
    assert not stream.failed
    whole = json.loads(translate_chat_response(story.body, request, created=CREATED))
    if not request.include_usage:
        del whole["usage"]
    assert accumulate_chat(written) == whole


@given(story=stories(max_tools=1))
def test_a_legacy_function_stream_adds_up_to_the_whole_completion(story: Story) -> None:
    written = relayed(chat(LEGACY), [story.stream])
    assert check_chat(written, include_usage=True) is End.COMPLETE
    whole = json.loads(translate_chat_response(story.body, LEGACY, created=CREATED))
    assert accumulate_chat(written) == whole


@given(story=stories(NAMES), request=requests(Dialect.RESPONSES))
def test_a_responses_stream_ends_with_the_whole_response(story: Story, request: TranslatedRequest) -> None:
    stream = responses(request)
    written = relayed(stream, [story.stream])
    assert check_responses(written) is End.COMPLETE
    assert not stream.failed
    whole = json.loads(translate_responses_response(story.body, request, created=CREATED))
    assert accumulate_responses(written) == whole


@given(story=stories(NAMES), request=requests(Dialect.CHAT), cuts=cut_points())
def test_a_chat_stream_ignores_read_boundaries(story: Story, request: TranslatedRequest, cuts: list[int]) -> None:
    _ignores_read_boundaries(lambda: chat(request), story.stream, cuts)


@given(story=stories(NAMES), request=requests(Dialect.RESPONSES), cuts=cut_points())
def test_a_responses_stream_ignores_read_boundaries(story: Story, request: TranslatedRequest, cuts: list[int]) -> None:
    _ignores_read_boundaries(lambda: responses(request), story.stream, cuts)


def _ignores_read_boundaries(translator: Callable[[], MessageStream], stream: bytes, cuts: list[int]) -> None:
    whole = relayed(translator(), [stream])
    assert relayed(translator(), split(stream, cuts)) == whole
    assert relayed(translator(), [stream[at : at + 1] for at in range(len(stream))]) == whole


@given(story=stories(NAMES), request=requests(Dialect.CHAT), at=st.integers(0, 1 << 16), aborted=st.booleans())
def test_a_chat_stream_that_is_cut_anywhere_ends_with_an_error(
    story: Story, request: TranslatedRequest, at: int, aborted: bool
) -> None:
    stream = chat(request)
    written = _cut(stream, story.stream, at, aborted)
    assert check_chat(written, include_usage=request.include_usage) is End.FAILED
    assert stream.failed
    assert b"[DONE]" not in written.splitlines()[-2]


@given(story=stories(NAMES), request=requests(Dialect.RESPONSES), at=st.integers(0, 1 << 16), aborted=st.booleans())
def test_a_responses_stream_that_is_cut_anywhere_ends_as_failed(
    story: Story, request: TranslatedRequest, at: int, aborted: bool
) -> None:
    stream = responses(request)
    written = _cut(stream, story.stream, at, aborted)
    assert check_responses(written) is End.FAILED
    assert stream.failed


def _cut(stream: MessageStream, whole: bytes, at: int, aborted: bool) -> bytes:
    """What comes of a stream that ends before its last line end, which alone completes ``message_stop``."""
    written = stream.feed(whole[: at % (len(whole) - 1)])
    return written + (stream.abort(Refusal(502, "the upstream connection broke")) if aborted else stream.finish())


@given(story=stories(NAMES), request=requests(Dialect.CHAT), at=st.integers(0, 1 << 16))
def test_an_upstream_error_ends_both_dialects(story: Story, request: TranslatedRequest, at: int) -> None:
    events = story.stream.split(b"\n\n")
    events.insert(
        at % (len(events) - 1), sse({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}})[:-2]
    )
    told = b"\n\n".join(events)
    assert check_chat(relayed(chat(request), [told]), include_usage=request.include_usage) is End.FAILED
    with_echo = TranslatedRequest(
        dialect=Dialect.RESPONSES,
        body=b"",
        requested_model="m",
        upstream_model="m",
        stream=True,
        notes=Notes(echo=ECHO),
    )
    assert check_responses(relayed(responses(with_echo), [told])) is End.FAILED


@given(data=st.binary(max_size=20))
def test_any_bytes_give_a_legal_stream_or_a_legal_failure(data: bytes) -> None:
    fuzz_chat_stream.check(data)


@pytest.mark.parametrize("path", sorted((CORPUS / "chat_stream").iterdir()), ids=lambda path: path.name)
def test_the_stream_corpus_holds(path: Path) -> None:
    fuzz_chat_stream.check(path.read_bytes())


@given(
    data=st.lists(st.sampled_from([b"event: a", b"data: ", b"\n", b"\n\n", b"\r", b"x", b"\xef\xbb\xbf"])).map(b"".join)
)
def test_any_bytes_are_read_as_the_standard_says(data: bytes) -> None:
    fuzz_sse.check(data)


@pytest.mark.parametrize("path", sorted((CORPUS / "sse").iterdir()), ids=lambda path: path.name)
def test_the_event_stream_corpus_holds(path: Path) -> None:
    fuzz_sse.check(path.read_bytes())


@given(
    body=st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), st.from_type(type(None)) | st.text())
)
@example(body=b'{"type":"message","id":"msg_1","content":[' + b"[" * 3000)
@example(
    body=b'{"type":"message","id":"msg_1","content":[{"type":"tool_use","id":"t","name":"n","input":{"a":"\xff"}}]}'
)
@example(body=b'{"type":"message","id":7,"content":[]}')
@example(body=b'{"type":"message","id":"msg_1","content":[{"type":"text","text":null}]}')
def test_any_body_gives_an_answer_or_a_refusal(body: bytes) -> None:
    for translate in (translate_chat_response, translate_responses_response):
        with contextlib.suppress(Refusal):
            assert isinstance(json.loads(translate(body, LEGACY, created=CREATED)), dict)
