"""A stream chunk by chunk, its honest ends, and what the official SDK makes of it."""

import json
from typing import Any

import anthropic
import pytest

from protocol.errors import Refusal
from protocol.translate.onto_openai.blocks import MAX_WAITING
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED
from protocol.values import Tokens
from tests.support.anthropic_accumulator import accumulate_message
from tests.support.anthropic_sdk import OpenAIServer, anthropic_sdk
from tests.support.chat_streams import DONE, Spelling, call, chunk, completion, frame, piece, tell
from tests.support.grammar import End, check_anthropic, read_sse
from tests.support.messages_requests import WEATHER
from tests.support.splits import byte_by_byte

Json = dict[str, Any]
STOP = chunk({}, "stop")
CALLS = chunk({}, "tool_calls")
MESSAGE: Any = [{"role": "user", "content": "Hi"}]
CUT = Refusal(502, "the upstream connection broke")


def stream(**facts: Any) -> MessagesFromChat:
    asked = CarriedRequest(body=b"", requested_model="claude-opus-5-5", upstream_model="served", stream=True, **facts)
    return MessagesFromChat(asked, identity="req_1")


def events(written: bytes) -> list[Json]:
    return [json.loads(data) for _, data in read_sse(written)]


def kinds(written: bytes) -> list[str]:
    return [event["type"] for event in events(written)]


def told(*chunks: bytes, **facts: Any) -> Json:
    """The message that a complete stream of these chunks adds up to; that it is legal is checked, too."""
    relay = stream(**facts)
    written = relay.feed(b"".join(chunks) + DONE) + relay.finish()
    assert check_anthropic(written) is End.COMPLETE
    assert relay.complete
    return accumulate_message(written)


def failed(*chunks: bytes) -> Json:
    """The error that a stream of these chunks ends with."""
    relay = stream()
    written = relay.feed(b"".join(chunks)) + relay.finish()
    assert check_anthropic(written) is End.FAILED
    assert relay.failed
    error: Json = events(written)[-1]["error"]
    return error


def test_the_events_of_a_plain_answer() -> None:
    relay = stream()
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    reads = (
        chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        STOP + frame({"choices": [], "usage": usage}) + DONE,
    )
    opening, more, ending = map(relay.feed, reads)
    zeros = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    assert events(opening) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_01ABC",
                "type": "message",
                "role": "assistant",
                "model": "claude-opus-5-5",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": zeros,
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    ]
    assert events(more) == [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}}]
    assert events(ending) == [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None},
            "usage": zeros | {"input_tokens": 9, "output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    assert relay.finish() == b""


def test_the_first_chunk_is_answered_at_once() -> None:
    assert kinds(stream().feed(chunk({"role": "assistant", "content": ""}))) == ["message_start"]
    assert kinds(stream().feed(chunk({"content": "H"}))) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]


def test_a_chunk_without_an_answer_does_not_begin_one() -> None:
    relay = stream()
    assert relay.feed(frame({"id": "", "choices": [], "prompt_filter_results": []})) == b""
    assert kinds(relay.feed(chunk({"content": "H"})))[0] == "message_start"


def test_arguments_that_come_with_the_name_are_not_lost() -> None:
    made = told(chunk(piece(0, '{"city": "Paris"}', "weather", "call_1")), CALLS)
    assert made["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}]
    assert made["stop_reason"] == "tool_use"


@pytest.mark.parametrize("calls", [[], None])
def test_text_beside_an_empty_list_of_calls_is_text(calls: Any) -> None:
    made = told(chunk({"content": "a", "tool_calls": calls}), chunk({"content": "b", "tool_calls": calls}), STOP)
    assert made["content"] == [{"type": "text", "text": "ab"}]
    assert made["stop_reason"] == "end_turn"


def test_a_chunk_with_thinking_text_and_a_call_has_all_three() -> None:
    both = {"content": "See.", "reasoning_content": "Hm."} | piece(0, "{}", "weather", "call_1")
    assert told(chunk(both), CALLS, shows_thinking=True)["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": UNSIGNED},
        {"type": "text", "text": "See."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
    ]


def test_two_calls_whose_arguments_interleave_are_two_calls() -> None:
    made = told(
        chunk(piece(0, '{"x":', "a", "call_1")),
        chunk(piece(1, '{"y":', "b", "call_2")),
        chunk(piece(0, "1}")),
        chunk(piece(1, "2}")),
        CALLS,
    )
    assert [(block["name"], block["input"]) for block in made["content"]] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_a_call_that_is_whole_ends_when_the_next_begins_and_not_later() -> None:
    relay = stream()
    relay.feed(chunk(piece(0, '{"x":"}\\"{"}', "a", "call_1")))
    assert kinds(relay.feed(chunk(piece(1, "", "b", "call_2")))) == ["content_block_stop", "content_block_start"]
    assert kinds(relay.feed(chunk(piece(1, "{")))) == ["content_block_delta"]


def test_a_call_that_is_not_whole_keeps_the_next_one_waiting() -> None:
    relay = stream()
    relay.feed(chunk(piece(0, '{"x":"}', "a", "call_1")))
    assert relay.feed(chunk(piece(1, '{"y":2}', "b", "call_2"))) == b""
    assert kinds(relay.feed(chunk(piece(0, '"}')))) == [
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]


def test_text_between_the_pieces_of_a_call_comes_after_it() -> None:
    made = told(
        chunk(piece(0, '{"x":', "a", "call_1")), chunk({"content": "Mean"}), chunk({"content": "while."}),
        chunk(piece(0, "1}")), CALLS,
    )  # fmt: skip
    assert [block["type"] for block in made["content"]] == ["tool_use", "text"]
    assert made["content"][1]["text"] == "Meanwhile."


def test_a_call_without_arguments_has_an_empty_input() -> None:
    for arguments in (None, "", " \n", "{}"):
        made = told(chunk(piece(0, arguments, "a", "call_1")), chunk(piece(1, "{}", "b", "call_2")), CALLS)
        assert [block["input"] for block in made["content"]] == [{}, {}]


def test_calls_that_share_an_index_are_told_apart_by_id_and_name() -> None:
    made = told(chunk(piece(0, '{"x":1}', "a", "call_1")), chunk(piece(0, '{"y":2}', "b", "call_2")), CALLS)
    assert [block["input"] for block in made["content"]] == [{"x": 1}, {"y": 2}]


def test_a_new_id_on_every_piece_is_still_one_call() -> None:
    made = told(chunk(piece(0, '{"x":', "a", "call_1")), chunk(piece(0, "1}", None, "call_2")), CALLS)
    assert [(block["id"], block["input"]) for block in made["content"]] == [("call_1", {"x": 1})]


def test_a_name_that_is_repeated_on_every_piece_is_still_one_call() -> None:
    made = told(chunk(piece(0, '{"x":', "a", "call_1")), chunk(piece(0, "1}", "a", "call_1")), CALLS)
    assert [(block["name"], block["input"]) for block in made["content"]] == [("a", {"x": 1})]


def test_calls_without_index_and_id_are_told_apart_by_their_names() -> None:
    made = told(chunk(piece(None, '{"x":', "a")), chunk(piece(None, "1}")), chunk(piece(None, "{}", "b")), CALLS)
    assert [(block["id"], block["input"]) for block in made["content"]] == [
        ("call_01ABC_0", {"x": 1}),
        ("call_01ABC_1", {}),
    ]


def test_a_name_that_comes_late_is_waited_for_and_one_that_never_comes_is_an_error() -> None:
    late = told(chunk(piece(0, '{"x":', None, "call_1")), chunk(piece(0, "1}", "a")), CALLS)
    assert late["content"] == [{"type": "tool_use", "id": "call_1", "name": "a", "input": {"x": 1}}]
    assert "without a name" in failed(chunk(piece(0, "{}", None, "call_1")), CALLS, DONE)["message"]


def test_more_of_a_call_that_is_over_is_an_error_unless_it_is_blank() -> None:
    over = (chunk(piece(0, "{}", "a", "call_1")), chunk(piece(1, "{}", "b", "call_2")))
    assert "that was over" in failed(*over, chunk(piece(0, "{}")), CALLS, DONE)["message"]
    assert len(told(*over, chunk(piece(0, "\n")), CALLS)["content"]) == 2


def test_what_waits_for_its_turn_is_bounded() -> None:
    relay = stream()
    relay.feed(chunk(piece(0, "{", "a", "call_1")))
    long = chunk(piece(1, "x" * (MAX_WAITING // 4), "b", "call_2"))
    assert b"".join(relay.feed(long) for _ in range(4)) == b""
    assert "out of order" in events(relay.feed(long))[-1]["error"]["message"]


def test_blank_text_is_never_told() -> None:
    assert told(chunk({"content": "\n"}), chunk({"content": " "}), STOP)["content"] == []
    called = told(chunk({"content": "\n\n"}), chunk(piece(0, "{}", "a", "call_1")), chunk({"content": "\n"}), CALLS)
    assert [block["type"] for block in called["content"]] == ["tool_use"]
    assert told(chunk({"content": "\n"}), chunk({"content": " a"}), STOP)["content"][0]["text"] == "\n a"


def test_thinking_is_passed_over_where_nobody_asked_for_it() -> None:
    thought = chunk({"reasoning_content": "Hm."})
    assert told(thought, chunk({"content": "a"}), STOP)["content"] == [{"type": "text", "text": "a"}]
    shown = told(thought, chunk({"reasoning": " So."}), chunk({"content": "a"}), STOP, shows_thinking=True)
    assert shown["content"][0] == {"type": "thinking", "thinking": "Hm. So.", "signature": UNSIGNED}


def test_a_refusal_streams_as_text_and_ends_as_one() -> None:
    made = told(chunk({"content": None, "refusal": "I can"}), chunk({"refusal": "not."}), STOP)
    assert made["content"] == [{"type": "text", "text": "I cannot."}]
    assert (made["stop_reason"], made["stop_details"]["explanation"]) == ("refusal", "I cannot.")


def test_the_sequence_that_ended_the_answer_is_told() -> None:
    ending = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "###"}
    made = told(chunk({"content": "a"}), frame({"choices": [ending]}), stop_sequences=("###",))
    assert (made["stop_reason"], made["stop_sequence"]) == ("stop_sequence", "###")


def test_usage_may_come_in_every_chunk_or_with_the_end_or_after_it() -> None:
    def usage(prompt: int, completion: int) -> Json:
        return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": {"cached_tokens": 4}}

    expected = {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 3,
    }
    told_so_far = (chunk({"content": "a"}, usage=usage(10, 1)), chunk({"content": "b"}, usage=usage(10, 2)))
    for end in (
        chunk({}, "stop", usage=usage(10, 3)),
        STOP + frame({"choices": [], "usage": usage(10, 3)}),
        STOP + frame({"choices": [], "usage": usage(10, 3)}) + frame({"choices": [], "usage": None}),
    ):
        assert told(*told_so_far, end)["usage"] == expected


def test_what_the_answer_cost_is_known_as_soon_as_the_server_says_so() -> None:
    relay = stream()
    relay.feed(chunk({"content": "a"}))
    assert relay.tokens is None
    relay.feed(frame({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}))
    assert relay.tokens == Tokens(input=9, output=2, cache_creation=0, cache_read=0)


def test_other_choices_are_passed_over() -> None:
    other = {"index": 1, "delta": {"content": "x"}, "finish_reason": "length"}
    first = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    made = told(frame({"choices": [other]}), frame({"choices": [other, first]}), STOP, frame({"choices": [other]}))
    assert (made["content"][0]["text"], made["stop_reason"]) == ("a", "end_turn")


def test_chunks_without_an_id_make_a_message_with_one() -> None:
    made = told(frame({"choices": [{"delta": piece(0, "{}", "a"), "finish_reason": "tool_calls"}]}))
    assert made["id"] == "msg_req_1"
    assert made["content"][0]["id"] == "call_req_1_0"


def test_characters_cut_by_reads_stay_whole() -> None:
    relay = stream()
    text = "日本語 “and” 🙂"
    told = tell(completion(content=text), Spelling(piece=100))
    written = b"".join(map(relay.feed, byte_by_byte(told)))
    assert accumulate_message(written)["content"][0]["text"] == text


def test_a_long_chunk_does_not_kill_the_stream() -> None:
    text = "a" * 2_000_000
    assert told(chunk({"content": text}), STOP)["content"][0]["text"] == text


def test_a_chunk_over_the_limit_is_an_error() -> None:
    assert "more than" in failed(b"data: " + b"a" * (17 * 1024 * 1024))["message"]


def test_comments_and_pings_mean_nothing() -> None:
    made = told(b": PROCESSING\n\n", chunk({"content": "a"}), b"event: ping\n\n", b": x\n\n", STOP)
    assert made["content"] == [{"type": "text", "text": "a"}]


def test_lines_may_end_in_any_way() -> None:
    plain = tell(completion("stop", content="Hello there"))
    for line_end in (b"\r\n", b"\r"):
        relay = stream()
        written = relay.feed(plain.replace(b"\n", line_end)) + relay.finish()
        assert accumulate_message(written)["content"][0]["text"] == "Hello there"


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_stream_without_a_finish_reason_is_an_error_and_never_a_finished_message() -> None:
    for end in (b"", DONE, frame({"choices": [], "usage": {"prompt_tokens": 1}}) + DONE):
        error = failed(chunk({"content": "a"}), end)
        assert error == {
            "type": "api_error",
            "message": "the upstream ended its stream before the answer was complete",
        }


def test_a_body_that_ends_after_the_finish_reason_is_complete_and_one_that_breaks_there_is_not() -> None:
    relay = stream()
    written = relay.feed(chunk({"content": "a"}) + STOP)
    assert not relay.complete
    assert kinds(relay.finish())[-1] == "message_stop"
    relay = stream()
    relay.feed(chunk({"content": "a"}) + STOP)
    assert kinds(written + relay.abort(CUT))[-1] == "error"
    assert relay.failed


def test_a_message_that_was_told_to_its_end_stays_whole_whatever_comes() -> None:
    relay = stream()
    relay.feed(chunk({"content": "a"}) + STOP + DONE)
    assert relay.complete
    assert relay.feed(chunk({"content": "b"})) == b""
    assert relay.finish() == relay.abort(CUT) == b""
    assert not relay.failed
    assert relay.comment() is None


def test_nothing_follows_an_error() -> None:
    relay = stream()
    assert kinds(relay.feed(frame({"error": {"message": "m"}}) + chunk({"content": "a"}) + STOP + DONE)) == ["error"]
    assert relay.feed(STOP) == relay.finish() == relay.abort(CUT) == b""
    assert relay.comment() is None


def test_a_comment_may_be_sent_while_the_message_is_told() -> None:
    relay = stream()
    assert relay.comment() == b": keep-alive\n\n"
    relay.feed(chunk({"content": "a"})[:40])
    assert relay.comment() == b": keep-alive\n\n"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({"error": {"message": "Busy", "code": "server_is_overloaded"}}, "overloaded_error", "Busy"),
        ({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, "rate_limit_error", "Slow down"),
        ({"error": {"message": "Slow down", "code": 429}}, "rate_limit_error", "Slow down"),
        ({"error": {"message": "Hm", "type": "server_error"}}, "api_error", "Hm"),
        ({"error": "Broke"}, "api_error", "Broke"),
        ({"object": "error", "message": "Broke", "code": 400}, "invalid_request_error", "Broke"),
        (
            {
                "error": {"code": 502, "message": "Down"},
                "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
            },
            "api_error",
            "Down",
        ),
    ],
)
def test_an_error_object_keeps_its_kind_and_words(body: Json, kind: str, message: str) -> None:
    assert failed(chunk({"content": "a"}), frame(body), DONE) == {"type": kind, "message": message}
    assert failed(frame(body)) == {"type": kind, "message": message}


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource"])
def test_a_finish_reason_that_is_a_failure_is_an_error(reason: str) -> None:
    assert reason in failed(chunk({"content": "a"}), chunk({}, reason), DONE)["message"]


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: 5\n\n", b"data: \n\n", b'data: {"choices":5}\n\n', b"data: [DONE\n\n"]
)
def test_a_broken_chunk_is_an_error(data: bytes) -> None:
    assert "not of the Chat Completions API" in failed(chunk({"content": "a"}), data, DONE)["message"]


# --- the official SDK -------------------------------------------------------------------------------------------------

ANSWER = completion(
    "tool_calls",
    content="Two calls — “now”.",
    reasoning_content="Hm.",
    tool_calls=[call("weather", '{"city": "Paris"}'), call("weather", '{"city": "Rome"}', "call_2")],
)


@pytest.mark.parametrize("interleaved", [(), (0, 1, 0, 1, 0, 1, 0, 1)])
def test_the_official_sdk_reads_a_stream_as_it_reads_the_whole(interleaved: tuple[int, ...]) -> None:
    server = OpenAIServer(ANSWER, tell(ANSWER, Spelling(interleaved=interleaved)))
    thinking: Any = {"type": "adaptive"}
    asked: Any = {
        "model": "claude-opus-5-5",
        "max_tokens": 99,
        "messages": MESSAGE,
        "thinking": thinking,
        "tools": [WEATHER],
    }
    with anthropic_sdk(server) as client:
        with client.messages.stream(**asked) as answer:
            streamed = answer.get_final_message()
        whole = client.messages.create(**asked)
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert streamed.to_dict() == whole.to_dict()
    assert server.request["tools"][0]["function"]["name"] == "weather"


def test_the_official_sdk_raises_where_the_stream_was_cut() -> None:
    with (
        anthropic_sdk(OpenAIServer(ANSWER, tell(ANSWER)[:400])) as client,
        pytest.raises(anthropic.APIStatusError, match="before the answer was complete"),
        client.messages.stream(model="m", max_tokens=99, messages=MESSAGE) as answer,
    ):
        answer.get_final_message()


def test_the_official_sdk_sees_the_servers_error_as_anthropics() -> None:
    server = OpenAIServer({"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}, status=429)
    with anthropic_sdk(server) as client, pytest.raises(anthropic.RateLimitError, match=r"Slow down\."):
        client.messages.create(model="m", max_tokens=99, messages=MESSAGE)
