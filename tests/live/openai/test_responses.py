"""The Responses API through the current SDK: whole, streamed, parsed, and carried on without a store."""

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from cli.practice import PracticeUpstream
from protocol.translate.reasoning import decode_reasoning
from tests.live.openai.asks import MODEL, PDF, PNG, RESPONSES, THINKER, TOOLS, response, says
from tests.live.openai.raw import asked_upstream, raw_stream, without_ids
from tests.support.grammar import End, check_responses
from tests.support.openai_accumulators import accumulate_responses

INCOMPLETE = {"too few tokens": "max_output_tokens", "a refusal": "content_filter", "a pause": "max_output_tokens"}


@pytest.mark.parametrize("case", RESPONSES)
def test_a_stream_is_well_formed_and_ends_with_the_whole_response(client: openai.OpenAI, case: str) -> None:
    asked = RESPONSES[case]
    whole = client.responses.create(**asked)
    streamed = raw_stream(client, "responses", asked)
    assert check_responses(streamed) is End.COMPLETE
    assert without_ids(accumulate_responses(streamed)) == without_ids(whole.to_dict())
    assert whole.model == asked["model"]
    reason = INCOMPLETE.get(case)
    assert whole.status == ("completed" if reason is None else "incomplete")
    assert (whole.incomplete_details and whole.incomplete_details.reason) == reason


@pytest.mark.parametrize("case", [case for case in RESPONSES if case not in INCOMPLETE])
def test_the_stream_helper_comes_to_the_same_response(client: openai.OpenAI, case: str) -> None:
    asked = RESPONSES[case]
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        text = "".join([event.delta for event in stream if event.type == "response.output_text.delta"])
        streamed = stream.get_final_response()
    assert streamed.output_text == whole.output_text == text
    assert streamed.usage == whole.usage
    assert [item.type for item in streamed.output] == [item.type for item in whole.output]


@pytest.mark.parametrize("case", INCOMPLETE)
def test_an_incomplete_response_is_never_completed(client: openai.OpenAI, case: str) -> None:
    with client.responses.create(**RESPONSES[case], stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.incomplete"
    assert "response.completed" not in [event.type for event in events]
    refusals = [event for event in events if event.type == "response.refusal.done"]
    assert len(refusals) == (case == "a refusal")


def test_text_arrives_piece_by_piece(client: openai.OpenAI) -> None:
    with client.responses.create(**response("/size 50"), stream=True) as stream:
        assert [event.type for event in stream].count("response.output_text.delta") == 50


def test_an_event_arrives_while_the_provider_still_thinks_about_the_next(
    upstream: PracticeUpstream, client: openai.OpenAI
) -> None:
    with client.responses.create(**response("/stall 1"), stream=True) as stream:
        assert [next(stream).type for _ in range(2)] == ["response.created", "response.in_progress"]
        assert upstream.requests[-1].ending is None


class Proof(BaseModel):
    steps: list[str]
    answer: str
    unsure: bool | None


class Weather(BaseModel):
    """Tells the weather."""

    city: str
    days: int


@pytest.mark.parametrize("model", [MODEL, THINKER, "claude-3-7-sonnet-20250219"])
def test_parse_gives_an_object_of_the_clients_own_class(client: openai.OpenAI, model: str) -> None:
    parsed = client.responses.parse(**response("Prove it", model=model), text_format=Proof)
    assert isinstance(parsed.output_parsed, Proof)
    assert parsed.status == "completed"
    with client.responses.stream(**response("Prove it", model=model), text_format=Proof) as stream:
        done = [event.parsed for event in stream if event.type == "response.output_text.done"]
        assert done == [parsed.output_parsed] == [stream.get_final_response().output_parsed]


def test_parse_gives_the_arguments_of_tools_too(client: openai.OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Weather)]
    (call,) = client.responses.parse(**response("go\n/tools"), tools=tools).output
    assert call.type == "function_call"
    assert isinstance(call.parsed_arguments, Weather)


# --- conversations, which the client carries --------------------------------------------------------------------------


def test_parallel_calls_go_round(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    first = client.responses.create(**response("go\n/tools", tools=TOOLS))
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "practice", "days": 2}),
        ("clock", {}),
    ]
    turns: list[Any] = [says("go"), *first.output]
    turns += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"{call.name} done"}
        for call in reversed(calls)
    ]
    last = client.responses.create(**response(input=turns, tools=TOOLS))
    _, called, answered = asked_upstream(upstream)["messages"]
    ids = [call.call_id for call in calls]
    assert [block["id"] for block in called["content"]] == ids
    assert [block["tool_use_id"] for block in answered["content"]] == ids
    assert "weather done" in last.output_text
    assert "clock done" in last.output_text
    again = [*turns, *last.output, says("thanks")]
    assert client.responses.create(**response(input=again, tools=TOOLS)).status == "completed"
    assert [turn["role"] for turn in asked_upstream(upstream)["messages"]] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "reasoning", [{"effort": "high"}, {"effort": "high", "summary": "auto"}], ids=["silent", "shown"]
)
def test_reasoning_goes_back_as_it_came_so_that_a_turn_with_tools_continues(
    upstream: PracticeUpstream, client: openai.OpenAI, streamed: bool, reasoning: Any
) -> None:
    asked = response(
        model=THINKER, tools=TOOLS, reasoning=reasoning, include=["reasoning.encrypted_content"], store=False
    )
    turns: list[Any] = [says("go\n/tools clock\n/think redacted")]
    if streamed:
        output = accumulate_responses(raw_stream(client, "responses", asked | {"input": turns}))["output"]
    else:
        output = client.responses.create(**asked | {"input": turns}).to_dict()["output"]
    thinking, redacted, call = output
    assert bool(thinking["summary"]) is ("summary" in reasoning)
    turns = [says("go"), *output, {"type": "function_call_output", "call_id": call["call_id"], "output": "noon"}]
    again = client.responses.create(**asked | {"input": turns})
    sent = asked_upstream(upstream)
    blocks = [decode_reasoning(item["encrypted_content"]) for item in (thinking, redacted)]
    assert [block["type"] for block in blocks] == ["thinking", "redacted_thinking"]
    assert sent["messages"][1]["content"][:2] == blocks
    assert sent["messages"][1]["content"][2]["id"] == call["call_id"]
    assert sent["thinking"]["type"] == "adaptive"
    assert again.status == "completed"


def test_what_was_parsed_goes_back_and_tools_may_answer_with_pictures(
    upstream: PracticeUpstream, client: openai.OpenAI
) -> None:
    tools: Any = [openai.pydantic_function_tool(Weather)]
    first = client.responses.parse(**response("go\n/tools\n/think"), tools=tools, text_format=Proof)
    call = first.output[-1]
    assert call.type == "function_call"
    seen = [
        {"type": "input_text", "text": "a photo"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_file", "filename": "paper.pdf", "file_data": PDF},
    ]
    turns: Any = [says("go"), *first.output, {"type": "function_call_output", "call_id": call.call_id, "output": seen}]
    last = client.responses.parse(**response(input=turns), tools=tools, text_format=Proof)
    assert isinstance(last.output_parsed, Proof)
    _, called, answered = asked_upstream(upstream)["messages"]
    assert [block["id"] for block in called["content"]] == [call.call_id], (
        "thinking that was not asked back is left out"
    )
    assert [block["type"] for block in answered["content"][0]["content"]] == ["text", "image", "document"]


def test_instructions_come_before_what_the_items_say(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    items: Any = [{"role": "developer", "content": "Second."}, says("hello")]
    client.responses.create(**response(input=items, instructions="First."))
    assert [block["text"] for block in asked_upstream(upstream)["system"]] == ["First.", "Second."]


def test_pictures_and_documents_are_carried(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    parts: Any = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PNG, "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/a.jpg", "detail": "auto"},
        {"type": "input_file", "filename": "paper.pdf", "file_data": PDF},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]
    client.responses.create(**response(input=[{"role": "user", "content": parts}]))
    text, inline, linked, document, distant = asked_upstream(upstream)["messages"][0]["content"]
    assert text == {"type": "text", "text": "look"}
    assert inline["source"] == {"type": "base64", "media_type": "image/png", "data": PNG.partition(",")[2]}
    assert linked["source"] == {"type": "url", "url": "https://example.com/a.jpg"}
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": PDF.partition(",")[2]}
    assert (distant["type"], distant["source"]) == ("document", {"type": "url", "url": "https://example.com/b.pdf"})


def test_what_would_need_a_store_is_refused_with_the_way_out(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    before = len(upstream.requests)
    for parameter, value in (("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True)):
        with pytest.raises(openai.BadRequestError) as failed:
            client.responses.create(**response(**{parameter: value}))
        assert (failed.value.param, failed.value.code) == (parameter, "unsupported_parameter")
    with pytest.raises(openai.BadRequestError, match="send the whole conversation in `input`"):
        client.responses.create(**response(previous_response_id="resp_1"))
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            ask("resp_1")
    assert len(upstream.requests) == before


def test_storing_is_accepted_and_said_not_to_have_happened(client: openai.OpenAI) -> None:
    stored = client.responses.create(**response(store=True, metadata={"ticket": "7"}))
    assert stored.to_dict()["store"] is False
    assert stored.metadata == {"ticket": "7"}
