"""A Responses stream event by event, its honest ends, and what the official SDK's accumulator makes of it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from protocol.errors import Refusal
from protocol.translate.call import ClientTool, Dialect, Notes, ToolKind, TranslatedRequest
from protocol.translate.reasoning import decode_reasoning
from protocol.translate.responses_events import DeltaEvents, ResponseEvents
from protocol.translate.responses_stream import ResponsesStream
from tests.support.anthropic_streams import message, sse, tell, text, thinking, tool_use
from tests.support.grammar import End, check_responses, read_sse
from tests.support.openai_sdk import CREATED, MODEL, Upstream, openai_sdk

Json = dict[str, Any]
ECHO: Json = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
START: Json = {"type": "message_start", "message": message() | {"stop_reason": None}}
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def stream(**notes: Any) -> ResponsesStream:
    request = TranslatedRequest(
        dialect=Dialect.RESPONSES,
        body=b"",
        requested_model="gpt-4o",
        upstream_model=MODEL,
        stream=True,
        notes=Notes(echo=ECHO, **notes),
    )
    return ResponsesStream(request, created=CREATED)


def events_of(written: bytes) -> list[Json]:
    return [json.loads(data) for _, data in read_sse(written)]


def told(answer: Json, **notes: Any) -> list[Json]:
    """The events for a whole message; that they are legal, and of the SDK's types, is checked, too."""
    relay = stream(**notes)
    written = relay.feed(tell(answer)) + relay.finish()
    assert check_responses(written) is End.COMPLETE
    events = events_of(written)
    for event in events:
        SDK_EVENT.validate_python(event)
    return events


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_the_lifecycle_of_a_plain_answer() -> None:
    events = told(message(text("Hello there")))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[4] == {
        "type": "response.output_text.delta",
        "item_id": "msg_01ABC_0",
        "output_index": 0,
        "content_index": 0,
        "logprobs": [],
        "delta": "Hello th",
        "sequence_number": 4,
    }
    assert events[6]["text"] == "Hello there"


def test_every_event_is_named_in_its_event_line_and_there_is_no_done_marker() -> None:
    relay = stream()
    written = relay.feed(tell(message(text("Hi"))))
    assert all(event == json.loads(data)["type"] for event, data in read_sse(written))
    assert b"[DONE]" not in written


def test_the_lifecycle_of_a_call() -> None:
    events = told(message(tool_use("weather", {"city": "Rome"}), stop_reason="tool_use"))
    assert kinds(events)[2:] == [
        "output_item.added",
        *["function_call_arguments.delta"] * 2,
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[2]["item"]["arguments"] == ""
    assert events[5]["arguments"] == '{"city": "Rome"}'


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    events = told(message(tool_use("run", {}), stop_reason="tool_use"))
    assert [event["delta"] for event in events if "delta" in event] == ["{}"]


def test_a_custom_tools_text_comes_in_one_piece() -> None:
    tools = {"patch": ClientTool(ToolKind.CUSTOM, "apply_patch", "files")}
    events = told(message(tool_use("patch", {"input": "*** Begin"}), stop_reason="tool_use"), tools=tools)
    assert kinds(events)[2:6] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert events[4]["input"] == "*** Begin"
    assert events[5]["item"]["namespace"] == "files"


@pytest.mark.parametrize(
    ("summary", "lifecycle"),
    [
        (
            True,
            [
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ],
        ),
        (False, ["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"]),
    ],
)
def test_the_lifecycle_of_reasoning(summary: bool, lifecycle: list[str]) -> None:
    events = told(message(thinking("Hm.")), reasoning_summary=summary, encrypted_reasoning=True)
    assert kinds(events)[2:-1] == ["output_item.added", *lifecycle, "output_item.done"]
    assert decode_reasoning(events[-2]["item"]["encrypted_content"]) == thinking("Hm.")


def test_thinking_that_is_not_shown_is_still_carried() -> None:
    events = told(message(thinking("")), reasoning_summary=True, encrypted_reasoning=True)
    assert kinds(events)[2:-1] == ["output_item.added", "output_item.done"]
    assert decode_reasoning(events[-2]["item"]["encrypted_content"]) == thinking("")


def test_a_message_item_opens_with_its_first_text_and_not_before() -> None:
    assert (
        kinds(told(message(text(""), tool_use("run", {}), text(""), stop_reason="tool_use")))[2] == "output_item.added"
    )
    assert "content_part.added" not in kinds(told(message(text(""))))


def test_text_blocks_in_a_row_are_one_item() -> None:
    events = told(message(text("He"), text("llo")))
    assert [event["text"] for event in events if event["type"] == "response.output_text.done"] == ["Hello"]


def test_an_item_is_done_when_the_next_begins_and_the_last_one_ends_as_the_response_does() -> None:
    events = told(message(text("Now"), tool_use("run", {}), stop_reason="max_tokens"))
    assert [event["item"]["status"] for event in events if event["type"] == "response.output_item.done"] == [
        "completed",
        "incomplete",
    ]
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_refusal_is_a_part_after_the_text() -> None:
    events = told(message(text("Well"), stop_reason="refusal"))
    assert kinds(events)[5:] == [
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    assert events[8]["delta"] == "The model declined to answer."


def test_the_first_frame_is_answered_at_once() -> None:
    assert kinds(events_of(stream().feed(sse(START)))) == ["created", "in_progress"]


def failure_of(written: bytes) -> Json:
    assert check_responses(written) is End.FAILED
    response: Json = events_of(written)[-1]["response"]
    return response


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("overloaded_error", "server_is_overloaded"),
        ("rate_limit_error", "rate_limit_exceeded"),
        ("api_error", "server_error"),
        ("invalid_request_error", "invalid_prompt"),
    ],
)
def test_an_upstream_error_keeps_its_kind(kind: str, code: str) -> None:
    relay = stream()
    error = sse({"type": "error", "error": {"type": kind, "message": "No."}})
    response = failure_of(relay.feed(sse(START) + error) + relay.finish())
    assert response["error"] == {"code": code, "message": "No.", "type": kind}
    assert response["status"] == "failed"
    assert relay.failed


def test_a_cut_fails_the_response_and_keeps_what_was_complete() -> None:
    relay = stream()
    whole = tell(message(tool_use("run", {"x": 1}), text("And then")))
    cut = relay.feed(whole[: whole.index(b"And ") + 20])
    response = failure_of(cut + relay.abort(Refusal(502, "the upstream broke off")))
    assert [item["type"] for item in response["output"]] == ["function_call"]
    assert response["error"]["message"] == "the upstream broke off"
    assert relay.feed(whole) + relay.finish() == b""


def test_a_failure_before_the_message_began_is_still_a_whole_lifecycle() -> None:
    written = stream().abort(Refusal(529, "Overloaded"))
    assert kinds(events_of(written)) == ["created", "in_progress", "failed"]
    assert failure_of(written)["id"] == f"resp_{CREATED}"


def test_an_end_without_message_stop_is_a_failure() -> None:
    relay = stream()
    written = relay.feed(tell(message(text("Hi")))[:-1]) + relay.finish()
    assert "before the message was complete" in failure_of(written)["error"]["message"]


@given(piece=st.text(), identity=st.text(), skipped=st.integers(0, 20))
def test_spliced_deltas_equal_the_plain_dump(piece: str, identity: str, skipped: int) -> None:
    events = ResponseEvents()
    for _ in range(skipped):
        events.event("response.x", {})
    kind = "response.output_text.delta"
    fields: Json = {"item_id": identity, "output_index": 0, "logprobs": []}
    written = DeltaEvents(events, kind, fields).write(piece)
    dump = msgspec.json.encode({"type": kind, **fields, "delta": piece, "sequence_number": skipped})
    assert written == b"event: " + kind.encode() + b"\ndata: " + dump + b"\n\n"
    assert json.loads(read_sse(events.event("response.x", {}))[0][1])["sequence_number"] == skipped + 1


class Weather(BaseModel):
    city: str
    degrees: float


def test_the_sdks_stream_helper_accumulates_what_the_message_says() -> None:
    answer = message(
        thinking("Hm."),
        text("See."),
        tool_use("weather", {"city": "Rome"}),
        tool_use("weather", {}, "toolu_2"),
        stop_reason="tool_use",
    )
    with (
        openai_sdk(Upstream(answer)) as client,
        client.responses.stream(
            model=MODEL,
            input="Hi",
            tools=[TOOL],
            reasoning={"summary": "auto"},
            include=["reasoning.encrypted_content"],
        ) as events,
    ):
        seen = list(events)
        final = events.get_final_response()
    assert final.output_text == "See."
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    snapshots = [event.snapshot for event in seen if event.type == "response.function_call_arguments.delta"]
    assert snapshots[-1] == "{}"
    assert final.usage is not None
    assert final.usage.total_tokens == 15


def test_the_sdk_parses_streamed_structured_output() -> None:
    with (
        openai_sdk(Upstream(message(text('{"city": "Rome", "degrees": 21.5}')))) as client,
        client.responses.stream(model=MODEL, input="Hi", text_format=Weather) as events,
    ):
        final = events.get_final_response()
    assert final.output_parsed == Weather(city="Rome", degrees=21.5)


def test_the_sdk_sees_a_cut_stream_fail() -> None:
    with openai_sdk(Upstream(message(text("This will break off")), cut_at=700)) as client:
        *_, last = client.responses.create(model=MODEL, input="Hi", stream=True)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "the upstream connection broke"
