"""Chat Completions through the current SDK: whole, streamed, parsed."""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from tests.live.openai.asks import (
    CHAT_TOOLS,
    CHATS,
    CUT_SHORT,
    MODEL,
    PARAMETERS,
    PDF,
    PNG,
    THINKER,
    chat,
    chat_function,
    says,
)
from tests.live.openai.raw import Json, asked_upstream, raw_stream, without_ids
from tests.support.grammar import End, check_chat
from tests.support.openai_accumulators import accumulate_chat

EVERY_CHAT = CHATS | CUT_SHORT


@pytest.mark.parametrize("case", EVERY_CHAT)
def test_a_stream_is_well_formed_and_adds_up_to_the_whole_answer(client: openai.OpenAI, case: str) -> None:
    asked = EVERY_CHAT[case]
    whole = client.chat.completions.create(**asked).to_dict()
    streamed = raw_stream(client, "chat/completions", asked | {"stream_options": {"include_usage": True}})
    assert check_chat(streamed, include_usage=True) is End.COMPLETE
    assert without_ids(accumulate_chat(streamed)) == without_ids(whole)
    assert whole["model"] == asked["model"]


@pytest.mark.parametrize("case", ["plain", "thinking and tools", "a refusal"])
def test_without_include_usage_there_is_no_usage_in_a_stream(client: openai.OpenAI, case: str) -> None:
    assert check_chat(raw_stream(client, "chat/completions", EVERY_CHAT[case])) is End.COMPLETE


@pytest.mark.parametrize("case", CHATS)
def test_the_stream_helper_comes_to_the_same_completion(client: openai.OpenAI, case: str) -> None:
    asked = CHATS[case]
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_completion()
    assert streamed.usage == whole.usage
    (mine,), (theirs,) = streamed.choices, whole.choices
    assert mine.finish_reason == theirs.finish_reason
    assert (mine.message.content or "") == (theirs.message.content or "")
    assert [(call.function.name, call.function.arguments) for call in mine.message.tool_calls or []] == [
        (call.function.name, call.function.arguments)
        for call in theirs.message.tool_calls or []
        if call.type == "function"
    ]
    done = {"tool_calls": "tool_calls.function.arguments.done"}.get(mine.finish_reason, "content.done")
    assert done in kinds


def test_text_arrives_piece_by_piece(client: openai.OpenAI) -> None:
    with client.chat.completions.create(**chat("/size 50"), stream=True) as stream:
        pieces = [chunk.choices[0].delta.content for chunk in stream]
    assert pieces[0] is None
    assert len([piece for piece in pieces if piece]) == 50


def test_a_chunk_arrives_while_the_provider_still_thinks_about_the_next(
    upstream: PracticeUpstream, client: openai.OpenAI
) -> None:
    with client.chat.completions.create(**chat("/stall 4"), stream=True) as stream:
        assert next(stream).choices[0].delta.role == "assistant"
        assert next(stream).choices[0].delta.content
        assert upstream.requests[-1].ending is None


@pytest.mark.parametrize(
    ("stop", "finish", "refused"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("model_context_window_exceeded", "length", False),
        ("pause_turn", "length", False),
        ("refusal", "content_filter", True),
    ],
)
def test_no_unfinished_answer_looks_finished(client: openai.OpenAI, stop: str, finish: str, refused: bool) -> None:
    asked = chat(f"hello\n/stop {stop}", stop="END")
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert whole.finish_reason == chunks[-1].choices[0].finish_reason == finish
    assert whole.to_dict()["native_finish_reason"] == stop
    assert (whole.message.refusal is not None) == refused
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == (whole.message.refusal or "")


def test_what_the_cache_wrote_and_read_is_part_of_the_prompt(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    marked = {
        "role": "system",
        "content": [{"type": "text", "text": "Rule. " * 200, "cache_control": {"type": "ephemeral"}}],
    }
    turns: list[Any] = [marked, says("one")]
    first = client.chat.completions.create(**chat(messages=turns))
    turns += [{"role": "assistant", "content": "1"}, says("two")]
    second = client.chat.completions.create(**chat(messages=turns))
    assert b'"cache_control":{"type":"ephemeral"}' in upstream.requests[-1].body
    for completion, written, read in ((first, True, False), (second, False, True)):
        usage = completion.usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens > 300
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert ((usage.prompt_tokens_details.cache_write_tokens or 0) > 200) is written
        assert ((usage.prompt_tokens_details.cached_tokens or 0) > 200) is read


# --- structured output ------------------------------------------------------------------------------------------------


class Step(BaseModel):
    explanation: str
    output: int


class Proof(BaseModel):
    steps: list[Step]
    answer: str
    unsure: bool | None


class Weather(BaseModel):
    """Tells the weather."""

    city: str
    days: int


@pytest.mark.parametrize("model", [MODEL, THINKER, "gpt-4o-mini", "claude-opus-5-5", "claude-3-7-sonnet-20250219"])
def test_parse_gives_an_object_of_the_clients_own_class(
    upstream: PracticeUpstream, client: openai.OpenAI, model: str
) -> None:
    """The last model has no structured outputs of its own, so a tool stands in."""
    completion = client.chat.completions.parse(**chat("Prove it", model=model), response_format=Proof)
    assert isinstance(completion.choices[0].message.parsed, Proof)
    assert completion.choices[0].finish_reason == "stop"
    asked = asked_upstream(upstream)
    native = not model.startswith("claude-3")
    assert ("output_config" in asked) is native
    assert ("tools" in asked) is not native
    with client.chat.completions.stream(**chat("Prove it", model=model), response_format=Proof) as stream:
        parsed = [event.parsed for event in stream if event.type == "content.done"]
        assert parsed == [completion.choices[0].message.parsed]
        assert stream.get_final_completion().choices[0].message.parsed == parsed[0]


def test_parse_gives_the_arguments_of_tools_too(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather)
    completion = client.chat.completions.parse(**chat("go\n/tools"), tools=[tool])
    (call,) = completion.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)


def test_parse_says_why_there_is_nothing_to_parse(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**chat(max_completion_tokens=1), response_format=Proof)
    with pytest.raises(openai.ContentFilterFinishReasonError):
        client.chat.completions.parse(**chat("/stop refusal"), response_format=Proof)


# --- what the provider is asked ---------------------------------------------------------------------------------------


def test_parallel_calls_go_round(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    turns: list[Any] = [says("go\n/tools")]
    first = client.chat.completions.create(**chat(messages=turns, tools=CHAT_TOOLS)).choices[0]
    calls = first.message.tool_calls or []
    assert first.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls if call.type == "function"] == [
        {"city": "practice", "days": 2},
        {},
    ]
    answers = [{"role": "tool", "tool_call_id": call.id, "content": f"result {call.id}"} for call in calls]
    turns += [first.message, *reversed(answers), says("and now?")]
    last = client.chat.completions.create(**chat(messages=turns, tools=CHAT_TOOLS))
    _, called, answered = asked_upstream(upstream)["messages"]
    assert [(block["type"], block["id"], block["name"]) for block in called["content"]] == [
        ("tool_use", call.id, name) for call, name in zip(calls, ["weather", "clock"], strict=True)
    ]
    assert answered["role"] == "user"
    assert [block.get("tool_use_id", block["type"]) for block in answered["content"]] == [
        calls[0].id,
        calls[1].id,
        "text",
    ]
    content = last.choices[0].message.content or ""
    assert [content.count(f"result {call.id}") for call in calls] == [1, 1]
    assert last.choices[0].finish_reason == "stop"
    turns += [last.choices[0].message, says("thanks")]
    assert client.chat.completions.create(**chat(messages=turns, tools=CHAT_TOOLS)).choices[0].finish_reason == "stop"
    assert [turn["role"] for turn in asked_upstream(upstream)["messages"]] == ["user", "assistant"] * 2 + ["user"]


def test_the_calls_of_a_stream_go_round(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**chat("go\n/tools", tools=CHAT_TOOLS)) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or []
    turns: list[Any] = [says("go"), message]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name} done"} for call in calls]
    text = client.chat.completions.create(**chat(messages=turns, tools=CHAT_TOOLS)).choices[0].message.content
    assert text is not None
    assert "weather done" in text
    assert "clock done" in text
    assert [block["id"] for block in asked_upstream(upstream)["messages"][1]["content"]] == [call.id for call in calls]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_thinking_goes_back_as_it_came_so_that_a_turn_with_tools_continues(
    upstream: PracticeUpstream, client: openai.OpenAI, streamed: bool
) -> None:
    asked = chat("go\n/tools clock\n/think redacted", model=THINKER, tools=CHAT_TOOLS, reasoning_effort="high")
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            answered: ChatCompletionMessage = stream.get_final_completion().choices[0].message
    else:
        answered = client.chat.completions.create(**asked).choices[0].message
    message: Json = json.loads(answered.to_json())
    thinking, redacted = message["thinking_blocks"]
    assert message["reasoning_content"] == thinking["thinking"] != ""
    turns = [says("go"), message, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "noon"}]
    again = client.chat.completions.create(**asked | {"messages": turns})
    sent = asked_upstream(upstream)
    assert sent["messages"][1]["content"][:2] == [thinking, redacted]
    assert sent["messages"][1]["content"][2]["type"] == "tool_use"
    assert json.dumps(thinking["signature"]).encode() in upstream.requests[-1].body
    assert sent["thinking"]["type"] == "adaptive"
    assert again.choices[0].finish_reason == "stop"
    assert again.choices[0].message.to_dict()["reasoning_content"]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gpt-5", "high", {"thinking": "adaptive", "effort": "high"}),
        ("gpt-5", "minimal", {"thinking": None, "effort": "low"}),
        ("gpt-4o-mini", "low", {"thinking": "enabled", "effort": None}),
        ("gpt-5", None, {"thinking": None, "effort": None}),
    ],
)
def test_reasoning_effort_becomes_thinking(
    upstream: PracticeUpstream, client: openai.OpenAI, model: str, effort: Any, expected: dict[str, Any]
) -> None:
    completion = client.chat.completions.create(**chat(model=model, **({"reasoning_effort": effort} if effort else {})))
    sent = asked_upstream(upstream)
    thinking = sent.get("thinking", {})
    assert thinking.get("type") == expected["thinking"]
    assert sent.get("output_config", {}).get("effort") == expected["effort"]
    assert thinking.get("budget_tokens", 0) < sent["max_tokens"]
    usage = completion.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert bool(usage.completion_tokens_details.reasoning_tokens) is (expected["thinking"] is not None)


def test_pictures_and_documents_are_carried(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        {"type": "file", "file": {"filename": "paper.pdf", "file_data": PDF}},
    ]
    client.chat.completions.create(**chat(messages=[{"role": "user", "content": parts}]))
    text, inline, linked, document = asked_upstream(upstream)["messages"][0]["content"]
    assert text == {"type": "text", "text": "look"}
    assert inline["source"] == {"type": "base64", "media_type": "image/png", "data": PNG.partition(",")[2]}
    assert linked["source"] == {"type": "url", "url": "https://example.com/a.jpg"}
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": PDF.partition(",")[2]}
    assert (document["type"], document["title"]) == ("document", "paper.pdf")


def test_numbers_and_limits_arrive_as_they_were_written(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    client.chat.completions.create(**chat(temperature=0.7, max_completion_tokens=77, stop=["A", "B"], user="u-1"))
    sent = asked_upstream(upstream)
    assert b'"temperature":0.7,' in upstream.requests[-1].body
    assert (sent["max_tokens"], sent["stop_sequences"], sent["metadata"]) == (77, ["A", "B"], {"user_id": "u-1"})
    assert sent["model"] == "claude-sonnet-4-6"
    assert "stream" not in sent


def test_an_agents_request_with_many_tools_streams(upstream: PracticeUpstream, client: openai.OpenAI) -> None:
    """As Qwen Code asks: a long system text, fourteen tools, usage at the end of the stream."""
    tools = [chat_function(f"tool_{number}", PARAMETERS) for number in range(14)]
    asked = {
        "model": MODEL,
        "messages": [{"role": "system", "content": "You are an agent. " * 2000}, says("list the files\n/tools tool_3")],
        "stream_options": {"include_usage": True},
        "max_tokens": 16384,
        "tools": tools,
    }
    streamed = raw_stream(client, "chat/completions", asked)
    assert check_chat(streamed, include_usage=True) is End.COMPLETE
    completion = accumulate_chat(streamed)
    (call,) = completion["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "tool_3", "arguments": '{"city":"practice","days":2}'}
    assert completion["usage"]["prompt_tokens"] > 9000
    assert [tool["name"] for tool in asked_upstream(upstream)["tools"]] == [f"tool_{number}" for number in range(14)]


def test_the_provider_sees_its_own_api_and_nothing_of_openais(
    upstream: PracticeUpstream, client: openai.OpenAI
) -> None:
    asking = client.with_options(default_headers={"OpenAI-Organization": "org-1", "OpenAI-Project": "proj-1"})
    asking.chat.completions.create(**chat())
    seen = upstream.requests[-1]
    assert seen.target == "/v1/messages"
    assert seen.header("authorization") == [f"Bearer {PRACTICE_TOKEN}"]
    assert seen.header("accept-encoding") == ["identity"]
    assert seen.header("user-agent")[0].startswith("OpenAI/Python ")
    names = {name.lower() for name, _ in seen.headers}
    assert not [name for name in names if name.startswith((b"openai-", b"x-stainless-"))]
    assert b"la_sk_" not in repr(seen).encode()
