"""What the official SDKs make of an OpenAI-compatible provider behind the router, on both loops."""

import gzip
import json
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.live.openai_compatible.conftest import KEY
from tests.support import responses_answers
from tests.support.chat_streams import DONE, call, chunk, completion, piece, tell
from tests.support.openai_server import OpenAIServer, body, stream
from tests.support.responses_answers import response, said, text

HI: Final[list[Any]] = [{"role": "user", "content": "hi"}]
TOOLS: Final[list[Any]] = [
    {"name": name, "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    for name in ("first", "second")
]
INTERLEAVED: Final = [
    chunk({"role": "assistant", "content": "Both.", **piece(0, '{"n"', "first", "call_a")}),
    chunk({"tool_calls": [], "content": None}),
    chunk(piece(1, '{"n"', "second", "call_b")),
    chunk(piece(0, ": 1}")),
    chunk(piece(1, ": 2}")),
    chunk(finish_reason="tool_calls", usage={"prompt_tokens": 10, "completion_tokens": 5}),
    DONE,
]
ERROR: Final = {"error": {"message": "too fast", "type": "rate_limit_error", "param": None, "code": "slow_down_please"}}


# --- OpenAI's ---------------------------------------------------------------------------------------------------------


def test_chat_whole(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(body(completion(content="héllo"), x_request_id="r1"))
    raw = openai_client.chat.completions.with_raw_response.create(model="m", messages=HI)
    assert raw.parse().choices[0].message.content == "héllo"
    assert raw.headers["x-request-id"] == "r1"
    path, headers, asked = server.requests[-1]
    assert (path, headers["authorization"], asked) == (
        "/v1/chat/completions",
        f"Bearer {KEY}",
        {"model": "m", "messages": HI},
    )
    assert headers["user-agent"].startswith("OpenAI/Python")


def test_chat_streamed(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(stream([tell(completion(content="héllo wörld"))]))
    with openai_client.chat.completions.stream(model="m", messages=HI) as streamed:
        assert streamed.get_final_completion().choices[0].message.content == "héllo wörld"


def test_chat_that_is_cut_between_events_is_an_error(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(stream([chunk({"role": "assistant", "content": "half"})], whole=False))
    seen: list[Any] = []
    with pytest.raises(openai.APIError, match="upstream connection was lost"):
        seen.extend(openai_client.chat.completions.create(model="m", messages=HI, stream=True))
    assert [event.choices[0].delta.content for event in seen] == ["half"]


def test_chat_that_is_cut_inside_an_event_is_a_lost_connection(
    server: OpenAIServer, openai_client: openai.OpenAI
) -> None:
    server.answers.append(stream([chunk({"content": "half"}), b'data: {"id":'], whole=False))
    with pytest.raises(openai.APIConnectionError):
        list(openai_client.chat.completions.create(model="m", messages=HI, stream=True))


def test_responses_streamed(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(stream([responses_answers.tell(response(said(text("hello"))))]))
    *_, last = openai_client.responses.create(model="m", input="hi", stream=True)
    assert last.type == "response.completed"
    assert last.response.output_text == "hello"
    assert server.requests[-1][0] == "/v1/responses"


def test_responses_that_are_cut_are_an_error(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    told = responses_answers.tell(response(said(text("hello"))))
    server.answers.append(stream([told[: told.index(b"event: response.output_text.done")]], whole=False))
    with pytest.raises(openai.APIError, match="upstream connection was lost"):
        list(openai_client.responses.create(model="m", input="hi", stream=True))


def test_errors_are_the_providers_own(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(body(ERROR, 429, retry_after="7"))
    with pytest.raises(openai.RateLimitError, match="too fast") as caught:
        openai_client.chat.completions.create(model="m", messages=HI)
    assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("slow_down_please", "7")


def test_a_compressed_error_is_an_error_all_the_same(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    server.answers.append(body(gzip.compress(json.dumps(ERROR).encode()), 400, content_encoding="gzip"))
    with pytest.raises(openai.BadRequestError, match="without a message"):
        openai_client.chat.completions.create(model="m", messages=HI)
    assert server.requests[-1][1]["accept-encoding"] == "identity"


def test_embeddings_and_models(server: OpenAIServer, openai_client: openai.OpenAI) -> None:
    vectors = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    server.answers.append(body({**vectors, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    server.answers.append(body({"object": "list", "data": [{"id": "m", "object": "model", "created": 1}]}))
    made = openai_client.embeddings.create(model="m", input="hi", encoding_format="float")
    assert made.data[0].embedding == [0.5]
    assert [model.id for model in openai_client.models.list()] == ["m"]
    assert [model.id for model in openai_client.models.list()] == ["m"]
    assert [path for path, _, _ in server.requests].count("/v1/models") <= 1


# --- Anthropic's ------------------------------------------------------------------------------------------------------


def test_messages_whole(server: OpenAIServer, anthropic_client: anthropic.Anthropic) -> None:
    server.answers.append(body(completion("tool_calls", content="So.", tool_calls=[call("first", '{"n": 1}')])))
    message = anthropic_client.messages.create(model="m", max_tokens=9, messages=HI, tools=TOOLS)
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.stop_reason == "tool_use"
    path, headers, asked = server.requests[-1]
    assert (path, headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["first", "second"]


def test_messages_streamed_with_interleaved_calls(server: OpenAIServer, anthropic_client: anthropic.Anthropic) -> None:
    server.answers.append(stream(INTERLEAVED))
    with anthropic_client.messages.stream(model="m", max_tokens=9, messages=HI, tools=TOOLS) as streamed:
        message = streamed.get_final_message()
    assert [block.to_dict().get("input", "Both.") for block in message.content] == ["Both.", {"n": 1}, {"n": 2}]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 5)


@pytest.mark.parametrize("whole", [True, False])
def test_messages_without_their_end_are_an_error(
    server: OpenAIServer, anthropic_client: anthropic.Anthropic, whole: bool
) -> None:
    server.answers.append(stream(INTERLEAVED[:-2], whole=whole))
    with (
        pytest.raises(anthropic.APIStatusError, match="upstream"),
        anthropic_client.messages.stream(model="m", max_tokens=9, messages=HI, tools=TOOLS) as streamed,
    ):
        streamed.get_final_message()


def test_messages_errors(server: OpenAIServer, anthropic_client: anthropic.Anthropic) -> None:
    server.answers.append(body(ERROR, 429, retry_after="7"))
    with pytest.raises(anthropic.RateLimitError, match="too fast") as caught:
        anthropic_client.messages.create(model="m", max_tokens=9, messages=HI)
    assert caught.value.response.headers["retry-after"] == "7"
    server.answers.append(body(gzip.compress(b"{}"), 503, content_encoding="gzip"))
    with pytest.raises(anthropic.OverloadedError):
        anthropic_client.messages.create(model="m", max_tokens=9, messages=HI)


def test_messages_are_counted_without_the_provider(server: OpenAIServer, anthropic_client: anthropic.Anthropic) -> None:
    assert anthropic_client.messages.count_tokens(model="m", messages=HI, tools=TOOLS).input_tokens > 0
    assert not server.requests
