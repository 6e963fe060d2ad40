"""The official SDKs before a router before a real LiteLLM proxy."""

import json
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.live.openai.asks import CHAT_TOOLS, PARAMETERS, TOOLS

HELLO: Final = "Hello from LiteLLM."
ASK: Final[list[Any]] = [{"role": "user", "content": "hi"}]
CALL: Final[list[Any]] = [{"role": "user", "content": "/tools weather,clock\nWhat now?"}]
"""The practice upstream calls these tools."""

ANTHROPIC_TOOLS: Final[list[Any]] = [
    {"name": "weather", "input_schema": PARAMETERS},
    {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
]


FUNCTIONS: Final[list[Any]] = list(CHAT_TOOLS)


def blocks_of(message: anthropic.types.Message) -> list[dict[str, Any]]:
    """The content as JSON."""
    return [block.to_dict() for block in message.content]


def arguments_fit(text: str) -> bool:
    fields = json.loads(text)
    return isinstance(fields.get("city"), str) and fields.get("days", 0) >= 2


# --- Chat Completions -------------------------------------------------------------------------------------------------


def test_chat(openai_client: openai.OpenAI) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model="claude-sonnet", messages=ASK)
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (HELLO, "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert raw.headers["x-router-provider"] == "litellm"
    assert raw.headers["x-litellm-version"]


def test_chat_streamed(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        model="claude-sonnet",
        messages=ASK,
        stream_options={"include_usage": True},
    ) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content == HELLO
    assert answer.usage is not None


def test_chat_without_a_model_gets_the_default(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="", messages=ASK)
    assert (answer.model, answer.choices[0].message.content) == ("claude-sonnet", HELLO)


def test_chat_calls_a_tool(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="gpt-4o", messages=ASK, tools=FUNCTIONS)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert arguments_fit(call.function.arguments)


def test_chat_calls_tools_in_a_stream(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(model="practice", messages=CALL, tools=FUNCTIONS) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert arguments_fit(calls[0].function.arguments)


# --- Responses --------------------------------------------------------------------------------------------------------


def test_responses(openai_client: openai.OpenAI) -> None:
    answer = openai_client.responses.create(model="claude-sonnet", input="hi")
    assert answer.status == "completed"
    assert answer.output_text


@pytest.mark.parametrize("tools", [[], TOOLS])
def test_responses_streamed(openai_client: openai.OpenAI, tools: list[Any]) -> None:
    said = "/tools weather,clock\nWhat now?" if tools else "hi"
    with openai_client.responses.stream(model="practice", input=said, tools=tools) as stream:
        answer = stream.get_final_response()
    assert answer.status == "completed"
    if tools:
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [call.name for call in calls] == ["weather", "clock"]
        assert arguments_fit(calls[0].arguments)
    else:
        assert answer.output_text


# --- Messages ---------------------------------------------------------------------------------------------------------


def test_messages(anthropic_client: anthropic.Anthropic) -> None:
    message = anthropic_client.messages.create(model="claude-sonnet", max_tokens=64, messages=ASK)
    assert [(block.type, getattr(block, "text", "")) for block in message.content] == [("text", HELLO)]
    assert (message.stop_reason, message.model) == ("end_turn", "claude-sonnet")
    assert message.usage.output_tokens > 0


def test_messages_streamed(anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(model="claude-sonnet", max_tokens=64, messages=ASK) as stream:
        message = stream.get_final_message()
    assert (blocks_of(message)[0]["text"], message.stop_reason) == (HELLO, "end_turn")
    assert message.usage.output_tokens > 0


def test_messages_to_a_model_that_nobody_has_get_the_default(anthropic_client: anthropic.Anthropic) -> None:
    """As Claude Code's own names do."""
    message = anthropic_client.messages.create(model="claude-opus-5-5", max_tokens=64, messages=ASK)
    assert (blocks_of(message)[0]["text"], message.model) == (HELLO, "claude-opus-5-5")


def test_messages_call_a_tool(anthropic_client: anthropic.Anthropic) -> None:
    message = anthropic_client.messages.create(
        model="gpt-4o",
        max_tokens=64,
        messages=ASK,
        tools=ANTHROPIC_TOOLS,
    )
    used = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in used] == [("weather", {"city": "Paris", "days": 2})]
    assert message.stop_reason == "tool_use"


def test_messages_call_tools_in_a_stream_and_get_their_results(anthropic_client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "practice", "max_tokens": 64, "tools": ANTHROPIC_TOOLS}
    with anthropic_client.messages.stream(**asked, messages=CALL) as stream:
        message = stream.get_final_message()
    used = [block for block in message.content if block.type == "tool_use"]
    assert [block.name for block in used] == ["weather", "clock"]
    assert arguments_fit(json.dumps(used[0].input))
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in used]
    turn = [*CALL, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    answer = anthropic_client.messages.create(**asked, messages=turn)
    assert answer.stop_reason == "end_turn"


def test_tokens_are_counted_by_an_estimate(anthropic_client: anthropic.Anthropic) -> None:
    counted = anthropic_client.messages.count_tokens(model="claude-sonnet", messages=ASK)
    assert counted.input_tokens > 0


# --- models, embeddings, errors ---------------------------------------------------------------------------------------


def test_models_are_litellms_own(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    served = {"claude-sonnet", "gpt-4o", "practice", "embedder", "limited"}
    assert {model.id for model in openai_client.models.list()} == served
    assert {model.id for model in anthropic_client.models.list()} == served
    assert openai_client.models.retrieve("practice").id == "practice"


def test_embeddings(openai_client: openai.OpenAI) -> None:
    raw = openai_client.embeddings.with_raw_response.create(model="embedder", input="hi", encoding_format="float")
    assert raw.status_code == 200
    assert b'"embedding"' in raw.content


def test_errors_are_litellms_own(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(openai.BadRequestError, match="Invalid model name"):
        openai_client.chat.completions.create(model="nobody", messages=ASK)
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(model="limited", messages=ASK)
    with pytest.raises(anthropic.BadRequestError, match="top_k"):
        anthropic_client.messages.create(
            model="gpt-4o",
            max_tokens=9,
            messages=ASK,
            extra_body={"top_k": 1},
        )
