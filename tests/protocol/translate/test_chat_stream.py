"""A chat stream frame by frame, its honest ends, and what the official SDK's accumulator makes of it."""

import json
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from protocol.errors import Refusal
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.chat_chunks import ChatChunks
from protocol.translate.chat_stream import ChatStream
from tests.support.anthropic_streams import message, sse, tell, text, thinking, tool_use
from tests.support.grammar import End, check_chat, read_sse
from tests.support.openai_sdk import CREATED, MODEL, Upstream, openai_sdk

Json = dict[str, Any]
HELLO: Any = [{"role": "user", "content": "Hi"}]
START: Json = {"type": "message_start", "message": message() | {"stop_reason": None}}
TEXT: Json = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
STOP: Json = {"type": "message_stop"}


def stream(*, include_usage: bool = False, **notes: Any) -> ChatStream:
    request = TranslatedRequest(
        dialect=Dialect.CHAT,
        body=b"",
        requested_model="gpt-4o",
        upstream_model=MODEL,
        stream=True,
        include_usage=include_usage,
        notes=Notes(**notes),
    )
    return ChatStream(request, created=CREATED)


def frames(written: bytes) -> list[Json]:
    return [json.loads(data) for _, data in read_sse(written) if data != "[DONE]"]


def deltas(written: bytes) -> list[Json]:
    return [chunk["choices"][0]["delta"] for chunk in frames(written) if chunk["choices"]]


def told(answer: Json, **options: Any) -> bytes:
    """The frames for a whole message; that they are legal is checked, too."""
    relay = stream(**options)
    written = relay.feed(tell(answer)) + relay.finish()
    assert check_chat(written, include_usage=options.get("include_usage", False)) is End.COMPLETE
    return written


def calls_of(written: bytes) -> list[Json]:
    return [call for delta in deltas(written) for call in delta.get("tool_calls", [])]


def test_the_frames_of_a_plain_answer() -> None:
    constant = {"id": "chatcmpl-01ABC", "object": "chat.completion.chunk", "created": CREATED, "model": "gpt-4o"}
    written = told(message(text("Hello there")))
    assert frames(written) == [
        constant | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
        for delta in ({"role": "assistant"}, {"content": "Hello th"}, {"content": "ere"})
    ] + [
        constant
        | {
            "choices": [
                {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop", "native_finish_reason": "end_turn"}
            ]
        }
    ]
    assert written.endswith(b"data: [DONE]\n\n")


def test_every_read_is_answered_at_once_and_in_one_piece() -> None:
    relay = stream()
    assert deltas(relay.feed(sse(START))) == [{"role": "assistant"}]
    assert relay.feed(sse(TEXT)) == b""
    piece = sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}})
    assert deltas(relay.feed(piece * 3)) == [{"content": "x"}] * 3
    assert relay.feed(sse({"type": "ping"})) == b""


def test_usage_comes_last_only_if_it_was_asked_for_and_is_null_before() -> None:
    answer = message(text("Hi"), usage={"input_tokens": 3, "cache_read_input_tokens": 90, "output_tokens": 5})
    *before, last = frames(told(answer, include_usage=True))
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 93
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 90, "cache_write_tokens": 0}
    assert all(chunk["usage"] is None for chunk in before)
    assert all("usage" not in chunk for chunk in frames(told(answer)))


def test_calls_count_from_zero_whatever_came_before_them() -> None:
    answer = message(
        thinking("Hm."),
        text("See."),
        tool_use("a", {"x": 1}, "toolu_1"),
        tool_use("b", {}, "toolu_2"),
        stop_reason="tool_use",
    )
    first, *arguments, second, empty = calls_of(told(answer))
    assert first == {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "a", "arguments": ""}}
    assert "".join(call["function"]["arguments"] for call in arguments) == '{"x": 1}'
    assert second == {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "b", "arguments": ""}}
    assert empty == {"index": 1, "function": {"arguments": "{}"}}


def test_an_input_that_comes_with_its_block_is_not_lost() -> None:
    relay = stream()
    relay.feed(sse(START))
    whole = relay.feed(
        sse({"type": "content_block_start", "index": 0, "content_block": tool_use("run", {"x": 1})})
        + sse({"type": "content_block_stop", "index": 0})
    )
    assert "".join(call["function"]["arguments"] for call in calls_of(whole)) == '{"x": 1}'


def test_thinking_flows_as_reasoning_and_its_blocks_follow_whole_before_the_finish() -> None:
    first, second = thinking("Thinking hard.", "c2lnMQ=="), {"type": "redacted_thinking", "data": "b3BhcXVl"}
    shown = deltas(told(message(first, second, text("Done"))))
    assert "".join(delta.get("reasoning_content", "") for delta in shown) == "Thinking hard."
    assert shown[-2:] == [{"thinking_blocks": [first, second]}, {}]


def test_thinking_that_was_cut_is_shown_but_never_carried() -> None:
    assert deltas(told(message(thinking("Cut", ""), stop_reason="max_tokens"))) == [
        {"role": "assistant"},
        {"reasoning_content": "Cut"},
        {"content": ""},
        {},
    ]


def test_details_that_are_no_text_are_left_out() -> None:
    end = b'{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"explanation":"\xff"}}}'
    written = stream().feed(sse(START) + b"event: message_delta\ndata: " + end + b"\n\n" + sse(STOP))
    assert check_chat(written) is End.COMPLETE
    assert "stop_details" not in frames(written)[-1]["choices"][0]


def test_a_refusal_is_told_before_the_finish() -> None:
    written = told(message(text("Well"), stop_reason="refusal"))
    assert deltas(written)[-2:] == [{"refusal": "The model declined to answer."}, {}]
    assert frames(written)[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_the_answer_tool_streams_as_content() -> None:
    written = told(message(tool_use("answer", {"ok": True}), stop_reason="tool_use"), answer_tool="answer")
    assert "".join(delta.get("content", "") for delta in deltas(written)) == '{"ok": true}'
    assert frames(written)[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_custom_tools_text_comes_in_one_piece() -> None:
    tools = {"patch": ClientTool(ToolKind.CUSTOM, "apply_patch")}
    written = told(message(tool_use("patch", {"input": "*** Begin Patch"}), stop_reason="tool_use"), tools=tools)
    assert calls_of(written) == [
        {"index": 0, "id": "toolu_1", "type": "custom", "custom": {"name": "apply_patch", "input": ""}},
        {"index": 0, "custom": {"input": "*** Begin Patch"}},
    ]


def test_two_legacy_calls_are_an_error_rather_than_one_lost() -> None:
    relay = stream(legacy_functions=True)
    two = message(tool_use("a", {}), tool_use("b", {}, "toolu_2"), stop_reason="tool_use")
    written = relay.feed(tell(two)) + relay.finish()
    assert relay.failed
    assert check_chat(written) is End.FAILED


def error_of(written: bytes) -> Json:
    assert check_chat(written) is End.FAILED
    assert b"[DONE]" not in written
    error: Json = frames(written)[-1]["error"]
    return error


def test_an_upstream_error_keeps_its_kind_and_ends_the_stream() -> None:
    relay = stream()
    busy = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    written = relay.feed(sse(START) + busy + sse(STOP))
    assert error_of(written) == {
        "message": "Overloaded",
        "type": "server_error",
        "param": None,
        "code": "server_is_overloaded",
    }
    assert relay.failed
    assert relay.feed(sse(STOP)) + relay.finish() == b""


def test_an_end_without_message_stop_is_an_error() -> None:
    relay = stream()
    error = error_of(relay.feed(tell(message(text("Hi")))[: -len(sse(STOP))]) + relay.finish())
    assert "before the message was complete" in error["message"]


def test_an_empty_stream_is_an_error() -> None:
    assert error_of(stream().finish())["type"] == "server_error"


def test_a_cut_says_why() -> None:
    relay = stream()
    error = error_of(relay.feed(sse(START)) + relay.abort(Refusal(504, "nothing came for 300 seconds")))
    assert error["message"] == "nothing came for 300 seconds"
    assert relay.abort(Refusal(502, "again")) == b""


def test_a_cut_after_the_whole_message_changes_nothing() -> None:
    relay = stream()
    relay.feed(tell(message(text("Hi"))))
    assert relay.abort(Refusal(502, "cut")) == b""
    assert relay.feed(b"garbage\n\n") + relay.finish() == b""
    assert not relay.failed


@pytest.mark.parametrize(
    "broken",
    [
        b"data: not json\n\n",
        b"data: []\n\n",
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}\n\n',
        sse({"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}}),
        sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}),
        sse({"type": "content_block_start", "index": 1}),
        sse(START),
        b"data: " + b"x" * (17 << 20),
    ],
    ids=["not-json", "no-object", "not-utf8", "not-open", "wrong-type", "no-block", "second-start", "too-long"],
)
def test_a_broken_event_is_an_error_after_what_was_sound(broken: bytes) -> None:
    sound = sse(START) + sse(TEXT)
    sound += sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "sound"}})
    relay = stream()
    written = relay.feed(sound + broken) + relay.finish()
    assert error_of(written)["type"] == "server_error"
    assert {"content": "sound"} in [frame["choices"][0]["delta"] for frame in frames(written)[:-1]]


def test_an_event_before_the_message_starts_is_an_error() -> None:
    assert "out of order" in error_of(stream().feed(sse(TEXT)))["message"]


def test_content_that_the_message_starts_with_is_not_lost() -> None:
    relay = stream()
    begun = message(text("Once"), thinking("Hm."), stop_reason="end_turn")
    written = relay.feed(sse({"type": "message_start", "message": begun}) + sse(STOP))
    assert deltas(written) == [
        {"role": "assistant"},
        {"content": "Once"},
        {"reasoning_content": "Hm."},
        {"thinking_blocks": [thinking("Hm.")]},
        {},
    ]


def test_a_block_that_is_never_stopped_is_closed_by_the_next() -> None:
    relay = stream()
    run: Json = {"type": "content_block_start", "index": 1, "content_block": tool_use("run", {})}
    end: Json = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}
    written = relay.feed(b"".join(map(sse, [START, TEXT, run, end, STOP])))
    assert check_chat(written) is End.COMPLETE
    assert calls_of(written)[-1] == {"index": 0, "function": {"arguments": "{}"}}


def test_a_keep_alive_may_come_until_the_end() -> None:
    relay = stream()
    assert relay.comment() == b": keep-alive\n\n"
    relay.feed(tell(message(text("Hi"))))
    assert relay.comment() is None


@given(
    piece=st.text(),
    index=st.integers(0, 99),
    model=st.text(),
    identity=st.text(),
    created=st.integers(0, 1 << 40),
    with_usage=st.booleans(),
)
def test_spliced_frames_equal_the_plain_dump(
    piece: str, index: int, model: str, identity: str, created: int, with_usage: bool
) -> None:
    chunks = ChatChunks(identity, model, created, with_usage=with_usage)

    def dump(choices: list[Json], usage: Json | None = None) -> bytes:
        constant = {"id": identity, "object": "chat.completion.chunk", "created": created, "model": model}
        named = {"usage": usage} if with_usage or usage is not None else {}
        return b"data: " + msgspec.json.encode({**constant, "choices": choices, **named}) + b"\n\n"

    def with_delta(delta: Json) -> bytes:
        return dump([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    assert chunks.text(piece) == with_delta({"content": piece})
    assert chunks.reasoning(piece) == with_delta({"reasoning_content": piece})
    assert chunks.arguments(index)(piece) == with_delta(
        {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    )
    assert chunks.legacy_arguments()(piece) == with_delta({"function_call": {"arguments": piece}})
    assert chunks.delta({"role": piece}) == with_delta({"role": piece})
    assert chunks.finish({"finish_reason": piece}) == dump(
        [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": piece}]
    )
    assert chunks.usage({"total_tokens": index}) == dump([], {"total_tokens": index})


EVERYTHING = message(
    thinking("Hm."),
    text("Two calls."),
    tool_use("a", {"x": [1]}, "toolu_1"),
    tool_use("b", {}, "toolu_2"),
    stop_reason="tool_use",
)


def test_the_sdk_accumulates_what_the_message_says() -> None:
    state = ChatCompletionStreamState()
    for chunk in frames(told(EVERYTHING, include_usage=True)):
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    whole = state.get_final_completion()
    [only] = whole.choices
    assert only.finish_reason == "tool_calls"
    assert only.message.content == "Two calls."
    assert [(call.id, call.function.name, call.function.arguments) for call in only.message.tool_calls or []] == [
        ("toolu_1", "a", '{"x": [1]}'),
        ("toolu_2", "b", "{}"),
    ]
    assert whole.usage is not None
    assert whole.usage.total_tokens == 15
    assert only.message.model_extra is not None
    assert only.message.model_extra["reasoning_content"] == "Hm."
    assert only.message.model_extra["thinking_blocks"] == [thinking("Hm.")]


def test_the_sdks_stream_helper_reads_to_the_end() -> None:
    with (
        openai_sdk(Upstream(message(text("Hello there")))) as client,
        client.chat.completions.stream(model=MODEL, messages=HELLO, stream_options={"include_usage": True}) as events,
    ):
        pieces = [event.delta for event in events if event.type == "content.delta"]
        whole = events.get_final_completion()
    assert pieces == ["Hello th", "ere"]
    assert whole.choices[0].message.content == "Hello there"
    assert whole.usage is not None


def test_the_sdk_raises_on_a_cut_stream() -> None:
    upstream = Upstream(message(text("Hello there, this will break off")), cut_at=700)
    with openai_sdk(upstream) as client:
        chunks = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the upstream connection broke"):
            list(chunks)
