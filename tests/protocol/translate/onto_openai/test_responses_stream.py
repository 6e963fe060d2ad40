"""A stream of the Responses API event by event, its honest ends, and what the official SDK makes of it."""

import json
from typing import Any

import anthropic
import pytest

from protocol.errors import Refusal
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED, EncryptedReasoning
from protocol.values import Tokens
from tests.support.anthropic_accumulator import accumulate_message
from tests.support.anthropic_sdk import OpenAIServer, anthropic_sdk
from tests.support.grammar import End, check_anthropic, read_sse
from tests.support.messages_requests import WEATHER
from tests.support.responses_answers import called, event, reasoned, refusal, response, said, tell, text

Json = dict[str, Any]
CUT = Refusal(502, "the upstream connection broke")
CREATED = event("response.created", response=response(status="in_progress"))
COMPLETED = event("response.completed", response=response())
MESSAGE: Any = [{"role": "user", "content": "Hi"}]


def stream(**facts: Any) -> MessagesFromResponses:
    asked = CarriedRequest(body=b"", requested_model="claude-opus-5-5", upstream_model="served", stream=True, **facts)
    return MessagesFromResponses(asked, identity="req_1")


def kinds(written: bytes) -> list[str]:
    return [kind for kind, _ in read_sse(written)]


def told(*events: bytes, **facts: Any) -> Json:
    """The message that a complete stream of these events adds up to; that it is legal is checked, too."""
    relay = stream(**facts)
    written = relay.feed(b"".join(events)) + relay.finish()
    assert check_anthropic(written) is End.COMPLETE
    assert relay.complete
    return accumulate_message(written)


def failed(*events: bytes) -> Json:
    """The error that a stream of these events ends with."""
    relay = stream()
    written = relay.feed(b"".join(events)) + relay.finish()
    assert check_anthropic(written) is End.FAILED
    assert relay.failed
    error: Json = json.loads(read_sse(written)[-1][1])["error"]
    return error


def added(item: Json, place: int = 0) -> bytes:
    return event("response.output_item.added", output_index=place, item=item)


def done(item: Json, place: int = 0) -> bytes:
    return event("response.output_item.done", output_index=place, item=item)


def arguments(piece: Any, place: int = 0) -> bytes:
    return event("response.function_call_arguments.delta", output_index=place, delta=piece)


def delta(piece: Any, place: int = 0, kind: str = "output_text", **fields: Any) -> bytes:
    return event(f"response.{kind}.delta", output_index=place, delta=piece, **fields)


def test_the_events_of_a_plain_answer_each_at_once() -> None:
    relay = stream()
    assert kinds(relay.feed(CREATED)) == ["message_start"]
    assert relay.feed(event("response.in_progress", response=response(status="in_progress"))) == b""
    assert relay.feed(added(said())) == b""
    assert kinds(relay.feed(delta("Hel"))) == ["content_block_start", "content_block_delta"]
    assert kinds(relay.feed(delta("lo"))) == ["content_block_delta"]
    assert relay.feed(done(said(text("Hello")))) == b""
    before = relay.tokens
    assert kinds(relay.feed(COMPLETED)) == ["content_block_stop", "message_delta", "message_stop"]
    assert before is None
    assert relay.tokens == Tokens(input=6, output=5, cache_creation=0, cache_read=4)
    assert relay.finish() == relay.abort(CUT) == relay.feed(CREATED) == b""
    assert relay.comment() is None


def test_thinking_text_and_calls_come_in_order_with_their_signatures() -> None:
    answer = response(
        reasoned("Two", "steps.", encrypted="gAAAA"),
        said(text("First.")),
        called("weather", '{"city": "Paris"}'),
        called("clock", "{}", "call_2"),
    )
    assert told(tell(answer), shows_thinking=True)["content"] == [
        {
            "type": "thinking",
            "thinking": "Two\n\nsteps.",
            "signature": EncryptedReasoning("rs_1", "gAAAA").signature,
        },
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_2", "name": "clock", "input": {}},
    ]


def test_reasoning_without_text_is_told_only_if_it_can_be_handed_back() -> None:
    hidden = told(tell(response(reasoned(encrypted="gAAAA"), said(text("a")))), shows_thinking=True)["content"]
    assert hidden[0] == {"type": "thinking", "thinking": "", "signature": EncryptedReasoning("rs_1", "gAAAA").signature}
    bare = told(tell(response(reasoned(), said(text("a")))), shows_thinking=True)["content"]
    assert [block["type"] for block in bare] == ["text"]


def test_reasoning_that_comes_only_with_its_end_is_not_lost() -> None:
    whole = told(CREATED, added(reasoned()), done(reasoned("Hm.")), COMPLETED, shows_thinking=True)
    assert whole["content"] == [{"type": "thinking", "thinking": "Hm.", "signature": UNSIGNED}]


def test_thinking_is_passed_over_where_nobody_asked_for_it() -> None:
    answer = response(reasoned("Hm.", encrypted="gAAAA"), said(text("a")))
    assert [block["type"] for block in told(tell(answer))["content"]] == ["text"]


def test_text_that_begins_before_the_thoughts_are_whole_waits_for_them() -> None:
    made = told(
        CREATED,
        delta("Hm.", 0, "reasoning_summary_text", summary_index=0),
        delta("a", 1),
        done(reasoned("Hm.", encrypted="gAAAA")),
        COMPLETED,
        shows_thinking=True,
    )
    assert [block["type"] for block in made["content"]] == ["thinking", "text"]
    assert made["content"][0]["signature"] != UNSIGNED


def test_two_calls_whose_arguments_interleave_are_two_calls() -> None:
    made = told(
        CREATED,
        added(called("a", "")),
        added(called("b", "", "call_2"), 1),
        arguments('{"x":'),
        arguments('{"y":', 1),
        arguments("1}"),
        arguments("2}", 1),
        COMPLETED,
    )
    assert [block["input"] for block in made["content"]] == [{"x": 1}, {"y": 2}]


def test_arguments_that_come_only_with_the_end_are_not_lost() -> None:
    made = told(CREATED, done(called("a", '{"x": 1}')), COMPLETED)
    assert made["content"][0]["input"] == {"x": 1}
    assert told(CREATED, added(called("a", "")), done(called("a", '{"x": 1}')), COMPLETED)["content"] == made["content"]
    assert told(CREATED, added(called("a", "")), done(called("a", "")), COMPLETED)["content"][0]["input"] == {}


def test_an_answer_that_comes_only_with_its_end_is_not_lost() -> None:
    items = (reasoned("Hm."), said(text("Well, "), refusal("no.")), called("a", '{"x": 1}'))
    ended = event("response.completed", response=response(*items))
    whole = told(tell(response(*items)), shows_thinking=True)
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
    assert told(CREATED, *(done(item, place) for place, item in enumerate(items)), ended, shows_thinking=True) == whole
    assert told(CREATED, ended, shows_thinking=True) == whole
    assert told(tell(response(*items, status="completed")) + ended, shows_thinking=True) == whole


def test_parts_of_thoughts_stand_apart() -> None:
    parts = [{"type": "reasoning_text", "text": "One."}, {"type": "reasoning_text", "text": "Two."}]
    made = told(tell(response(reasoned(content=parts, summary=[]))), shows_thinking=True)
    assert made["content"][0]["thinking"] == "One.\n\nTwo."


def test_a_refusal_streams_as_text_and_ends_as_one() -> None:
    made = told(tell(response(said(text("Well, "), refusal("no.")))))
    assert made["content"] == [{"type": "text", "text": "Well, no."}]
    assert (made["stop_reason"], made["stop_details"]["explanation"]) == ("refusal", "no.")


def test_an_incomplete_response_ends_as_cut_short() -> None:
    why: Any = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert told(tell(response(said(text("a")), **why)))["stop_reason"] == "max_tokens"


def test_what_is_unknown_or_empty_means_nothing() -> None:
    made = told(
        event("response.queued", response={}),
        CREATED,
        b": ping\n\n",
        added({"type": "web_search_call", "id": 7, "arguments": {}}),
        event("response.web_search_call.searching", output_index=0),
        done({"type": "web_search_call", "id": 7}),
        delta("", 1),
        delta("", 1, "reasoning_text"),
        delta("a", 1),
        event("response.output_text.annotation.added", output_index=1, delta={"x": 1}),
        COMPLETED,
        shows_thinking=True,
    )
    assert made["content"] == [{"type": "text", "text": "a"}]


def test_a_stream_that_begins_with_an_item_begins_a_message() -> None:
    assert told(delta("a"), COMPLETED)["id"] == "msg_req_1"
    assert told(COMPLETED)["id"] == "msg_01ABC"


def test_a_stream_without_an_end_is_an_error_and_never_a_finished_message() -> None:
    for events in ((), (CREATED,), (CREATED, delta("a")), (CREATED, delta("a"), done(said(text("a"))))):
        assert "before the answer was complete" in failed(*events)["message"]
        relay = stream()
        written = relay.feed(b"".join(events)) + relay.abort(CUT)
        assert check_anthropic(written) is End.FAILED


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (event("error", code="rate_limit_exceeded", message="Slow.", param=None), "rate_limit_error", "Slow."),
        (event("error", error={"code": "server_is_overloaded", "message": "Busy."}), "overloaded_error", "Busy."),
        (
            event(
                "response.failed", response=response(status="failed", error={"code": "server_error", "message": "No."})
            ),
            "api_error",
            "No.",
        ),
        (
            event("response.failed", response=response(status="failed", error={"code": "policy", "message": "No."})),
            "api_error",
            "No.",
        ),
        (event("response.failed", response=response(status="failed")), "api_error", "a response that is failed"),
        (event("response.completed", response={}), "api_error", "a response that is of no status"),
    ],
)
def test_an_error_keeps_its_kind_and_words(broken: bytes, kind: str, message: str) -> None:
    error = failed(CREATED, delta("a"), broken, COMPLETED)
    assert error["type"] == kind
    assert error["message"].endswith(message)


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {\n\n",
        b"data: 5\n\n",
        delta(5),
        arguments("{}"),
        arguments(None),
        added({"type": "function_call", "name": 5}),
        event("response.created", response=5),
        done(called("")),
    ],
)
def test_a_broken_event_is_an_error(broken: bytes) -> None:
    assert failed(CREATED, broken, COMPLETED)["type"] == "api_error"


def test_more_of_a_text_that_is_over_is_an_error() -> None:
    assert "that was over" in failed(CREATED, delta("a"), delta("b", 1), delta("a"), COMPLETED)["message"]


ANSWER = response(reasoned("Hm."), said(text("Two calls — “now”.")), called("weather", '{"city": "Paris"}'))


def test_the_official_sdk_reads_a_stream_as_it_reads_the_whole() -> None:
    server = OpenAIServer(ANSWER, tell(ANSWER), responses=True)
    thinking: Any = {"type": "adaptive"}
    asked: Any = {"model": "m", "max_tokens": 99, "messages": MESSAGE, "thinking": thinking, "tools": [WEATHER]}
    with anthropic_sdk(server) as client:
        with client.messages.stream(**asked) as answer:
            streamed = answer.get_final_message()
        whole = client.messages.create(**asked)
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert streamed.to_dict() == whole.to_dict()
    assert server.request["tools"][0]["name"] == "weather"


def test_the_official_sdk_raises_where_the_stream_was_cut() -> None:
    with (
        anthropic_sdk(OpenAIServer(ANSWER, tell(ANSWER)[:-400], responses=True)) as client,
        pytest.raises(anthropic.APIStatusError, match="before the answer was complete"),
        client.messages.stream(model="m", max_tokens=99, messages=MESSAGE) as answer,
    ):
        answer.get_final_message()
