from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.practice.directives import Directives, StopReason, directives
from cli.practice.prompts import MessagesRequest, heard, parse
from cli.practice.replies import LARGEST_CACHED_STREAM, Reply, compose, events, identifier, message, stream
from protocol.errors import Refusal
from tests.support.practice import Json, assembled, server_sent_events, user_says

WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def reply_to(body: bytes) -> Reply:
    request = parse(body, MessagesRequest)
    said = heard(request)
    return compose(request, said, directives(said.wishes), body)


def answer_to(text: str, **fields: Any) -> Json:
    """The whole message, in the form in which it travels."""
    whole: Json = msgspec.json.decode(msgspec.json.encode(message(reply_to(user_says(text, **fields)))))
    return whole


def text_of(answer: Json) -> str:
    return "".join(block["text"] for block in answer["content"] if block["type"] == "text")


def kinds(answer: Json) -> list[str]:
    return [block["type"] for block in answer["content"]]


def test_the_answer_repeats_the_words_without_the_directives() -> None:
    assert "“hello there”" in text_of(answer_to("hello there\n/stop pause_turn"))


def test_the_last_text_of_the_last_user_turn_is_heard() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "well"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "reminder\n/think"},
                {"type": "image"},
                {"type": "text", "text": "last"},
            ],
        },
        {"role": "system", "content": "afterthought"},
    ]
    answer = answer_to("", messages=turns)
    assert kinds(answer) == ["thinking", "text"]
    assert "“last”" in text_of(answer)


def test_a_tool_result_is_answered_with_text() -> None:
    blocks = [
        {"type": "tool_result", "tool_use_id": "a", "content": "12 degrees\n/tools"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "rain"}, {"type": "image"}]},
        {"type": "tool_result", "tool_use_id": "c"},
    ]
    answer = answer_to("", messages=[{"role": "user", "content": blocks}], tools=[WEATHER])
    assert answer["stop_reason"] == "end_turn"
    assert "“12 degrees\n/tools”" in text_of(answer)
    assert "“rain\n[image]”" in text_of(answer)


def test_every_tool_of_the_client_is_called_in_parallel_on_demand() -> None:
    answer = answer_to("/tools", tools=[WEATHER, SEARCH, CLOCK])
    calls = answer["content"]
    assert answer["stop_reason"] == "tool_use"
    assert [(call["name"], call["input"]) for call in calls] == [("weather", {"city": "practice"}), ("clock", {})]
    assert len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("/tools clock", None, ["clock"]),
        ("/tools clock, weather", None, ["clock", "weather"]),
        ("go", {"type": "tool", "name": "clock"}, ["clock"]),
        ("go", {"type": "any"}, ["weather"]),
        ("go", {"type": "auto"}, []),
        ("go", {"type": "none"}, []),
    ],
)
def test_named_and_chosen_tools_are_called(text: str, choice: Json | None, called: list[str]) -> None:
    answer = answer_to(text, tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [block["name"] for block in answer["content"] if block["type"] == "tool_use"] == called


def test_a_tool_that_is_not_defined_cannot_be_called() -> None:
    with pytest.raises(Refusal, match="clock") as refused:
        answer_to("/tools clock", tools=[WEATHER])
    assert refused.value.status == 400


def test_thinking_comes_first_when_the_request_or_a_directive_wants_it() -> None:
    assert kinds(answer_to("hi", thinking={"type": "disabled"})) == ["text"]
    assert kinds(answer_to("hi", thinking={"type": "adaptive"})) == ["thinking", "text"]
    assert kinds(answer_to("hi", thinking={"type": "enabled", "budget_tokens": 9})) == ["thinking", "text"]
    assert kinds(answer_to("/think redacted")) == ["thinking", "redacted_thinking", "text"]


def test_omitted_thinking_is_a_signature_alone() -> None:
    block = answer_to("hi", thinking={"type": "adaptive", "display": "omitted"})["content"][0]
    assert block["thinking"] == ""
    assert block["signature"]


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_a_structured_answer_fits_its_schema(place: str) -> None:
    properties = {"title": {"type": "string"}, "score": {"type": "integer"}}
    wanted = {
        "type": "json_schema",
        "schema": {"type": "object", "properties": properties, "required": ["title", "score"]},
    }
    answer = answer_to("Rain", **{place: wanted if place == "output_format" else {"format": wanted}})
    assert msgspec.json.decode(text_of(answer)) == {"title": "Rain", "score": 1}


def test_max_tokens_and_stop_sequences_end_the_text() -> None:
    short = answer_to("hi", max_tokens=3)
    assert (short["stop_reason"], text_of(short), short["usage"]["output_tokens"]) == (
        "max_tokens",
        "You said: “hi”.",
        3,
    )
    stopped = answer_to("hi", stop_sequences=["model", "said", "absent"])
    assert (stopped["stop_reason"], stopped["stop_sequence"], text_of(stopped)) == ("stop_sequence", "said", "You ")
    assert answer_to("hi", stop_sequences=["You"])["content"] == []


def test_max_tokens_leaves_out_a_tool_call_that_does_not_fit() -> None:
    answer = answer_to("/tools\n/think", tools=[WEATHER], max_tokens=11)
    assert (answer["stop_reason"], kinds(answer)) == ("max_tokens", ["thinking"])


@pytest.mark.parametrize("reason", get_args(StopReason))
def test_every_stop_reason_can_be_had(reason: str) -> None:
    answer = answer_to(f"/stop {reason}", stop_sequences=["never"])
    assert answer["stop_reason"] == reason
    assert answer["stop_sequence"] == ("never" if reason == "stop_sequence" else None)
    assert (answer["stop_details"] is not None) == (reason == "refusal")


def test_size_is_the_number_of_deltas_whatever_the_budget() -> None:
    told = list(events(reply_to(user_says("/size 250", max_tokens=1))))
    assert sum(event["type"] == "content_block_delta" for event in told) == 250


def test_usage_adds_up_to_the_counted_tokens_and_later_turns_read_the_cache() -> None:
    system = [{"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral"}}]
    first = answer_to("hi", system=system)["usage"]
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "go"},
    ]
    later = answer_to("", system=system, messages=turns)["usage"]
    plain = answer_to("hi", system="long " * 50)["usage"]
    assert first["cache_creation_input_tokens"] == first["cache_creation"]["ephemeral_5m_input_tokens"] > 0
    assert first["cache_read_input_tokens"] == 0
    assert later["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert later["cache_creation_input_tokens"] == 0
    assert plain["cache_creation_input_tokens"] == plain["cache_read_input_tokens"] == 0
    counted = parse(user_says("hi", system=system), MessagesRequest).tokens
    assert first["input_tokens"] + first["cache_creation_input_tokens"] == counted


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": msgspec.UNSET}, "model: Field required"),
        ({"max_tokens": msgspec.UNSET}, "max_tokens: Field required"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "content: Field required"),
        ({"messages": [{"role": "user", "content": 3}]}, "array"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {"a": 1}, "tool_choice": {"type": "any"}}, "array"),
    ],
)
def test_a_request_at_fault_is_refused_by_the_name_of_the_field(change: Json, complaint: str) -> None:
    fields = {**msgspec.json.decode(user_says("hi")), **change}
    body = msgspec.json.encode({name: value for name, value in fields.items() if value is not msgspec.UNSET})
    with pytest.raises(Refusal, match=complaint) as refused:
        reply_to(body)
    assert (refused.value.status, refused.value.kind) == (400, "invalid_request_error")


@given(st.binary() | st.binary().map(lambda cut: user_says("hi")[: len(cut)] + cut))
def test_any_body_is_answered_or_refused(body: bytes) -> None:
    with suppress(Refusal):
        reply_to(body)


requests = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 60), "stream": st.booleans()},
    optional={
        "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "enabled", "display": "omitted"}]),
        "tools": st.lists(st.sampled_from([WEATHER, CLOCK, SEARCH]), max_size=3),
        "tool_choice": st.just({"type": "any"}),
        "stop_sequences": st.lists(st.text(max_size=2), max_size=2),
        "output_config": st.just({"format": {"type": "json_schema", "schema": WEATHER["input_schema"]}}),
        "system": st.just([{"type": "text", "text": "be kind" * 20, "cache_control": {"type": "ephemeral"}}]),
    },
)
orders = st.lists(st.sampled_from(["/tools", "/think", "/think redacted", "/size 7", "/stop refusal"]), max_size=3)


@given(text=st.text(), fields=requests, lines=orders)
def test_the_stream_tells_the_same_message_as_the_whole_answer(text: str, fields: Json, lines: list[str]) -> None:
    body = user_says("\n".join([text, *lines]), **fields)
    try:
        reply = reply_to(body)
    except Refusal:
        return
    whole = msgspec.json.decode(msgspec.json.encode(message(reply)))
    assert assembled(server_sent_events(b"".join(stream(reply)))) == whole


@given(text=st.text(), fields=requests)
def test_the_same_request_gets_the_same_bytes(text: str, fields: Json) -> None:
    body = user_says(text, **fields)
    with suppress(Refusal):
        assert list(stream(reply_to(body))) == list(stream(reply_to(body)))


def test_short_streams_are_rendered_once_and_long_ones_as_they_go() -> None:
    short = reply_to(user_says("/size 100"))
    assert stream(short) is stream(short)
    long = stream(reply_to(user_says(f"/size {LARGEST_CACHED_STREAM + 1}")))
    assert not isinstance(long, tuple)
    assert sum(1 for _ in long) == LARGEST_CACHED_STREAM + 1 + 6


def test_ids_have_the_providers_prefixes_and_depend_on_the_request() -> None:
    assert answer_to("one")["id"] != answer_to("two")["id"]
    assert identifier("msg", b"a").startswith("msg_01")
    assert compose_with(Directives(size=1)).id == compose_with(Directives(size=2)).id


def compose_with(wanted: Directives) -> Reply:
    request = parse(user_says("hi"), MessagesRequest)
    return compose(request, heard(request), wanted, b"seed")
