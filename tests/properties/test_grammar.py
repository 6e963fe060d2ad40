"""The three grammars are strict: a stream with an event missing, twice or out of place is not taken for a whole one."""

from collections.abc import Callable

import pytest

from protocol.translate.call import Dialect, Notes, TranslatedRequest
from protocol.translate.chat_stream import ChatStream
from protocol.translate.responses_stream import ResponsesStream
from tests.support.anthropic_streams import message, tell, text, thinking, tool_use
from tests.support.grammar import End, GrammarError, check_anthropic, check_chat, check_responses

STORY = message(
    thinking("Hm."),
    text("Two calls."),
    tool_use("a", {"x": 1}),
    tool_use("b", {"y": 2}, "toolu_2"),
    stop_reason="tool_use",
)
REQUEST = TranslatedRequest(
    dialect=Dialect.RESPONSES,
    body=b"",
    requested_model="m",
    upstream_model="m",
    stream=True,
    include_usage=True,
    notes=Notes(echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}, reasoning_summary=True),
)
TOLD = tell(STORY, piece=100)

Check = Callable[[bytes], End]


def check_chat_with_usage(stream: bytes) -> End:
    return check_chat(stream, include_usage=True)


ANTHROPIC = (check_anthropic, TOLD)
CHAT = (check_chat_with_usage, ChatStream(REQUEST, created=1).feed(TOLD))
RESPONSES = (check_responses, ResponsesStream(REQUEST, created=1).feed(TOLD))


def events_of(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n")[:-1]]


def required(check: Check, event: bytes) -> bool:
    """Whether one more or one less of this is no answer at all, rather than a longer or a shorter one.

    Only the Responses API tells everything twice, so that even the pieces of a text can be checked.
    """
    return check is check_responses or b'"role"' in event or not (b"_delta" in event or b'"delta":{"' in event)


EVENTS = [(check, stream, at) for check, stream in (ANTHROPIC, CHAT, RESPONSES) for at in range(len(events_of(stream)))]
REQUIRED = [(check, stream, at) for check, stream, at in EVENTS if required(check, events_of(stream)[at])]


def end_of(check: Check, events: list[bytes]) -> End | None:
    """How the stream ends, or None where it is not a legal one."""
    try:
        return check(b"".join(events))
    except GrammarError:
        return None


@pytest.mark.parametrize(("check", "stream"), [ANTHROPIC, CHAT, RESPONSES])
def test_a_whole_stream_is_complete(check: Check, stream: bytes) -> None:
    assert check(stream) is End.COMPLETE


@pytest.mark.parametrize(("check", "stream", "at"), REQUIRED)
def test_a_stream_without_one_of_its_events_is_not_whole(check: Check, stream: bytes, at: int) -> None:
    events = events_of(stream)
    assert end_of(check, events[:at] + events[at + 1 :]) in (None, End.CUT)


@pytest.mark.parametrize(("check", "stream", "at"), REQUIRED)
def test_a_stream_with_one_of_its_events_twice_is_not_whole(check: Check, stream: bytes, at: int) -> None:
    events = events_of(stream)
    assert end_of(check, events[: at + 1] + events[at:]) is None


@pytest.mark.parametrize(("check", "stream", "at"), EVENTS)
def test_a_stream_that_stops_early_is_cut(check: Check, stream: bytes, at: int) -> None:
    assert end_of(check, events_of(stream)[:at]) is End.CUT


CHAT_HEAD = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":['


@pytest.mark.parametrize(
    ("check", "stream"),
    [
        (check_chat, CHAT_HEAD + b'{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'),
        (check_chat, CHAT_HEAD + b'{"index":1,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'),
        (check_chat, CHAT_HEAD + b'{"index":0,"delta":{"role":"assistant"},"finish_reason":"eos"}]}\n\n'),
        (check_chat, b"data: [DONE]\n\n"),
        (check_chat, b'data: {"error":{"message":"m"}}\n\n'),
        (check_chat, b'data: {"error":{"message":"m","type":"t","param":null,"code":null}}\n\ndata: [DONE]\n\n'),
        (check_chat, b"data: not json\n\n"),
        (check_anthropic, b'event: ping\ndata: {"type":"pong"}\n\n'),
        (check_anthropic, b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'),
        (check_anthropic, b'event: error\ndata: {"type":"error"}\n\n'),
        (check_responses, b'event: response.completed\ndata: {"type":"response.completed","sequence_number":0}\n\n'),
        (check_responses, b"data: [DONE]\n\n"),
    ],
)
def test_what_no_api_would_send_is_refused(check: Check, stream: bytes) -> None:
    with pytest.raises(GrammarError):
        check(stream)


@pytest.mark.parametrize(
    ("spoiled", "into"),
    [
        (b'"sequence_number":4', b'"sequence_number":5'),
        (b'"output_index":1', b'"output_index":2'),
        (b'"text":"Two calls."', b'"text":"Two"'),
        (b'"total_tokens":15', b'"total_tokens":16'),
        (b'"status":"completed","error":null', b'"status":"failed","error":null'),
        (b'"id":"rs_', b'"id":"msg_'),
    ],
)
def test_a_responses_stream_that_contradicts_itself_is_refused(spoiled: bytes, into: bytes) -> None:
    check, stream = RESPONSES
    assert spoiled in stream
    with pytest.raises(GrammarError):
        check(stream.replace(spoiled, into, 1))
