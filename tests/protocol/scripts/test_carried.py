"""Clients of the other API before an OpenAI-compatible provider: what it is asked, and how they are answered."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from protocol.commands import Loss
from tests.protocol.scripts.conftest import OpenProvided
from tests.support import responses_answers
from tests.support.chat_streams import DONE, answers, call, chunk, completion, frame, piece, tell
from tests.support.chat_streams import Answer as ChatAnswer
from tests.support.grammar.anthropic import check_anthropic
from tests.support.grammar.chat import check_chat
from tests.support.grammar.responses import check_responses
from tests.support.grammar.rules import End
from tests.support.provided import (
    ASKED,
    CHAT,
    MESSAGES,
    RESPONSES,
    Json,
    Provided,
    at,
    cut_off,
    events,
    streamed,
    told,
)
from tests.support.requests import LAST_CHUNK, STREAM_HEAD
from tests.support.requests import chunk as framed
from tests.support.responses_answers import response, said, text
from tests.support.scene import Client
from tests.support.splits import cut_points, every_way

TOOL = {"name": "get_weather", "description": "The weather", "input_schema": {"type": "object", "properties": {}}}
USE = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"a": 1}}
TURN: Json = {
    "model": "claude-sonnet",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"a": 1}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}]},
    ],
}
HI = completion(content="hi")
ERROR = b'{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}'


def answered(client: Client, scene: Provided, whole: Json) -> Json:
    scene.asked().answers(whole)
    return told(client)


# --- Messages onto Chat Completions -----------------------------------------------------------------------------------


def test_a_messages_request_is_asked_as_a_chat_completion(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, TURN, b"User-Agent: claude-cli/2", b"anthropic-beta: x", b"x-secret: y")
    request = scene.asked()
    assert request.target == CHAT
    assert request.json == {
        "model": "claude-sonnet",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call("get_weather", '{"a":1}')],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "description": "The weather",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
    }
    assert request.headers[b"user-agent"] == b"claude-cli/2"
    assert not request.headers.keys() & {b"anthropic-beta", b"x-secret", b"anthropic-version"}
    request.answers(HI, b"200 OK", b"x-request-id: r1", b"x-ratelimit-limit-tokens: 5")
    status, headers, _ = client.response()
    assert (status, headers[b"request-id"], headers[b"x-ratelimit-limit-tokens"]) == (200, b"r1", b"5")
    assert (headers[b"x-router-provider"], headers[b"x-router-upstream-model"]) == (b"litellm", b"claude-sonnet")


@pytest.mark.parametrize("path", [MESSAGES, b"/api/latest/anthropic/v1/messages", MESSAGES + b"?beta=true"])
def test_a_completion_is_answered_as_a_message(provided: OpenProvided, path: bytes) -> None:
    scene = provided()
    message = answered(scene.asks(path, TURN), scene, completion(content="Sunny.", finish_reason="length"))
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "claude-sonnet")
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "Sunny."}], "max_tokens")
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (10, 5)
    assert scene.billed() == (10, 5)


def test_a_tool_call_is_answered_as_tool_use(provided: OpenProvided) -> None:
    scene = provided()
    whole = completion(tool_calls=[call("get_weather", '{"city":"Paris"}')], finish_reason="tool_calls")
    message = answered(scene.asks(MESSAGES, TURN), scene, whole)
    block = {"type": "tool_use", "name": "get_weather", "input": {"city": "Paris"}}
    assert [{**used, **block} for used in message["content"]] == message["content"]
    assert message["stop_reason"] == "tool_use"


def streaming(
    scene: Provided, pieces: list[bytes], asked: Json = ASKED, read: Callable[[Client], bytes] = streamed
) -> bytes:
    """What a client sees of a stream that arrives in these pieces."""
    client = scene.asks(MESSAGES, {**asked, "stream": True})
    request = scene.asked()
    assert (request.json["stream"], request.json["stream_options"]) == (True, {"include_usage": True})
    assert request.headers[b"accept"] == b"text/event-stream"
    request.upstream.sends(STREAM_HEAD + b"".join(map(framed, pieces)) + LAST_CHUNK)
    return read(client)


@given(answer=answers(), cuts=cut_points())
def test_a_stream_is_told_as_an_anthropic_one_however_it_arrives(answer: ChatAnswer, cuts: list[int]) -> None:
    seen = set()
    for pieces in every_way(answer.stream, cuts):
        scene = Provided()
        body = streaming(scene, pieces)
        assert check_anthropic(body) is not End.CUT
        seen.add(body)
        scene.assert_faultless()
    assert len(seen) == 1


def test_interleaved_tool_calls_become_one_block_after_the_other(provided: OpenProvided) -> None:
    scene = provided()
    pieces = [
        chunk({"role": "assistant", "content": "Both."}),
        chunk(piece(0, '{"a"', "get_weather", "call_a")),
        chunk(piece(1, '{"b"', "get_weather", "call_b")),
        chunk(piece(0, ":1}")),
        chunk(piece(1, ":2}")),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]
    body = streaming(scene, pieces, {**TURN, "messages": TURN["messages"][:1]})
    assert check_anthropic(body) is End.COMPLETE
    arguments: dict[int, str] = {}
    for event in events(body):
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            arguments[event["index"]] = arguments.get(event["index"], "") + event["delta"]["partial_json"]
    assert arguments == {1: '{"a":1}', 2: '{"b":2}'}


def test_the_tokens_of_a_translated_stream_are_counted(provided: OpenProvided) -> None:
    scene = provided()
    streaming(scene, [tell(HI)])
    assert scene.billed() == (10, 5)


def test_a_stream_without_its_end_is_an_error(provided: OpenProvided) -> None:
    scene = provided()
    body = streaming(scene, [chunk({"content": "half"})], read=cut_off)
    assert check_anthropic(body) is End.FAILED
    assert events(body)[-1]["error"]["type"] == "api_error"


def test_a_stream_that_is_cut_is_an_error(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, {**ASKED, "stream": True})
    upstream = scene.asked().upstream.streams(chunk({"content": "half"}), b"data: {")
    upstream.peer.breaks()
    body = cut_off(client)
    assert check_anthropic(body) is End.FAILED
    assert b"message_stop" not in body


def test_an_error_in_a_stream_is_told_in_anthropics_words(provided: OpenProvided) -> None:
    scene = provided()
    error = {"error": {"message": "busy", "type": "server_error", "code": "server_is_overloaded"}}
    body = streaming(scene, [chunk({"content": "half"}), frame(error), DONE], read=cut_off)
    assert check_anthropic(body) is End.FAILED
    assert events(body)[-1]["error"] == {"type": "overloaded_error", "message": "busy"}


def test_a_client_that_leaves_takes_the_request_with_it(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, {**ASKED, "stream": True})
    upstream = scene.asked().upstream.streams(chunk({"content": "a"}))
    client.head()
    client.leaves()
    assert upstream.gone()


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "requested", "sent"),
    [
        ({}, "claude-opus-5-5", "claude-opus-5-5"),
        ({"default_model": "qwen3"}, "claude-opus-5-5", "qwen3"),
        ({"default_model": "qwen3"}, "qwen3-coder", "qwen3-coder"),
        ({"default_model": "qwen3", "models": ["claude-opus-5-5"]}, "claude-opus-5-5", "claude-opus-5-5"),
    ],
)
def test_an_anthropic_clients_model_is_the_providers_own_or_its_default(
    provided: OpenProvided, record: Json, requested: str, sent: str
) -> None:
    scene = provided(at("litellm", **record))
    client = scene.asks(MESSAGES, {**ASKED, "model": requested})
    request = scene.asked()
    assert request.json["model"] == sent
    request.answers(HI)
    assert told(client)["model"] == requested


def test_a_model_that_names_its_provider_is_not_replaced_by_the_default(provided: OpenProvided) -> None:
    scene = provided(at("litellm"), at("vllm", default_model="llama"))
    scene.asks(MESSAGES, {**ASKED, "model": "vllm/qwen3"})
    request = scene.asked()
    assert (request.host, request.json["model"]) == (b"vllm", "qwen3")


def test_a_messages_request_without_a_model_gets_the_default(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="qwen3")
    scene.asks(MESSAGES, {name: value for name, value in ASKED.items() if name != "model"})
    assert scene.asked().json["model"] == "qwen3"


def test_the_most_that_a_providers_models_answer_with_is_kept_to(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MAX_TOKENS="32")
    scene.asks(MESSAGES, ASKED)
    assert scene.asked().json["max_tokens"] == 32


def test_openais_own_server_gets_the_newer_name_of_the_limit(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_BASE_URL="http://api.openai.com/v1")
    scene.asks(MESSAGES, ASKED)
    sent = scene.asked().json
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (64, False)


def test_the_line_that_differs_in_every_request_of_claude_code_is_left_out(provided: OpenProvided) -> None:
    """It would make every request miss the prompt cache."""
    scene = provided()
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=abc12;"}
    scene.asks(MESSAGES, {**ASKED, "system": [billing, {"type": "text", "text": "Be brief."}]})
    assert scene.asked().json["messages"][0] == {"role": "system", "content": "Be brief."}


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_carried_is_a_400_that_names_it(provided: OpenProvided) -> None:
    scene = provided()
    answer = told(scene.asks(MESSAGES, {**ASKED, "top_k": 5}), 400)
    assert (answer["type"], answer["error"]["type"]) == ("error", "invalid_request_error")
    assert "top_k" in answer["error"]["message"]
    assert scene.asked_nobody()


def test_what_cannot_be_carried_is_left_out_where_the_operator_says_so(provided: OpenProvided) -> None:
    scene = provided(DROP_UNSUPPORTED_PARAMETERS="true")
    client = scene.asks(MESSAGES, {**ASKED, "top_k": 5})
    request = scene.asked()
    assert "top_k" not in request.json
    request.answers(HI)
    assert client.saw(200)[b"x-router-omitted"] == b"top_k"


@pytest.mark.parametrize("path", [MESSAGES, MESSAGES + b"/count_tokens"])
def test_a_body_that_is_no_request_is_a_400(provided: OpenProvided, path: bytes) -> None:
    scene = provided()
    assert told(scene.asks(path, b"[1]"), 400)["error"]["type"] == "invalid_request_error"
    scene.asks(path, gzip.compress(b"{}"), b"Content-Encoding: gzip").saw(415)
    assert scene.asked_nobody()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "seen", "kind"),
    [
        (b"429 Too Many", ERROR, 429, "rate_limit_error"),
        (b"401 Unauthorized", ERROR, 502, "api_error"),
        (b"503 Unavailable", b"<h1>down</h1>", 529, "overloaded_error"),
        (b"400 Bad", b'{"error":{"message":"m","code":"context_length_exceeded"}}', 400, "invalid_request_error"),
        (b"307 Temporary Redirect", b"", 502, "api_error"),
    ],
)
def test_an_error_of_the_providers_is_told_in_anthropics_words(
    provided: OpenProvided, status: bytes, body: bytes, seen: int, kind: str, stream: bool
) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, {**ASKED, "stream": stream})
    scene.asked().answers(body, status, b"Retry-After: 7")
    code, headers, said = client.response()
    answer = json.loads(said)
    assert (code, answer["type"], answer["error"]["type"]) == (seen, "error", kind)
    assert (b"retry-after" in headers) == (seen in (400, 429, 529))


def test_a_compressed_error_is_told_without_its_body(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, ASKED)
    scene.asked().answers(gzip.compress(ERROR), b"429 Too Many", b"Content-Encoding: gzip")
    assert told(client, 429)["error"]["message"] == "the upstream answered 429 without a message"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_the_wrong_form_is_a_502(provided: OpenProvided, stream: bool) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, {**ASKED, "stream": stream})
    request = scene.asked()
    if stream:
        request.answers(HI)
    else:
        request.upstream.sends(STREAM_HEAD + framed(tell(HI)) + LAST_CHUNK)
    assert "event stream" in told(client, 502)["error"]["message"]


def test_an_answer_that_is_compressed_or_no_completion_is_a_502(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES, ASKED)
    scene.asked().answers(b"zzz", b"200 OK", b"Content-Encoding: gzip")
    assert "compressed" in told(client, 502)["error"]["message"]
    client = scene.asks(MESSAGES, ASKED)
    scene.asked().answers(b"<html>")
    assert told(client, 502)["error"]["type"] == "api_error"


def test_a_provider_that_is_out_of_reach_is_told_in_anthropics_words(provided: OpenProvided) -> None:
    scene = provided()
    scene.shell.connect_fails = Loss.REFUSED
    assert told(scene.asks(MESSAGES, ASKED), 502)["error"]["type"] == "api_error"


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_token_for_other_models_is_refused(provided: OpenProvided) -> None:
    scene = provided()
    token = scene.limited(models=["qwen*"])
    for path in (MESSAGES, MESSAGES + b"/count_tokens"):
        assert told(scene.asks(path, ASKED, token=token), 403)["error"]["type"] == "permission_error"
    assert scene.asked_nobody()


def test_a_token_budget_is_spent_by_what_the_provider_says(provided: OpenProvided) -> None:
    scene = provided()
    token = scene.limited(token_budget=90)
    client = scene.asks(MESSAGES, {**ASKED, "max_tokens": 20}, token=token)
    scene.asked().answers({**HI, "usage": {"prompt_tokens": 60, "completion_tokens": 30}})
    told(client)
    assert told(scene.asks(MESSAGES, ASKED, token=token), 429)["error"]["type"] == "rate_limit_error"


# --- counting ---------------------------------------------------------------------------------------------------------


def test_tokens_are_counted_by_an_estimate_that_says_so(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(MESSAGES + b"/count_tokens?beta=true", {**TURN, "max_tokens": 1})
    status, headers, body = client.response()
    assert (status, headers[b"x-router-estimated"]) == (200, b"true")
    assert b'"input_tokens":' in body
    assert scene.asked_nobody()


def test_counting_tokens_costs_no_tokens(provided: OpenProvided) -> None:
    scene = provided()
    token = scene.limited(token_budget=1)
    scene.asks(MESSAGES + b"/count_tokens", TURN, token=token).saw(200)


COUNTS = {"OPENAI_COMPATIBLE_COUNTS_TOKENS": "yes", "OPENAI_COMPATIBLE_MODEL": "mapped"}


def test_a_provider_that_counts_is_asked_for_its_count(provided: OpenProvided) -> None:
    scene = provided(**COUNTS)
    client = scene.asks(MESSAGES + b"/count_tokens?beta=true", {**TURN, "model": "claude-opus-5"})
    request = scene.asked()
    assert request.target.endswith(b"/v1/messages/count_tokens?beta=true")
    assert request.json["model"] == "mapped"
    request.answers({"input_tokens": 77})
    status, headers, body = client.response()
    assert (status, b"x-router-estimated" in headers, json.loads(body)) == (200, False, {"input_tokens": 77})


@pytest.mark.parametrize("answer", [b'{"error":1}', b'{"input_tokens":-1}', b"[]", b'{"input_tokens":"7"}'])
def test_what_is_no_count_is_estimated(answer: bytes, provided: OpenProvided) -> None:
    scene = provided(**COUNTS)
    client = scene.asks(MESSAGES + b"/count_tokens", TURN)
    scene.asked().answers(answer)
    assert client.response()[1][b"x-router-estimated"] == b"true"


def test_a_provider_whose_counter_fails_is_estimated_for(provided: OpenProvided) -> None:
    scene = provided(**COUNTS)
    client = scene.asks(MESSAGES + b"/count_tokens", TURN)
    scene.asked().answers({"detail": "Not Found"}, status=b"404 Not Found")
    assert client.response()[1][b"x-router-estimated"] == b"true"


# --- Messages onto Responses ------------------------------------------------------------------------------------------

ONE_API = {"OPENAI_COMPATIBLE_API": "responses"}
HELLO = response(said(text("hello")))


def test_a_messages_request_is_asked_of_a_responses_server(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    client = scene.asks(MESSAGES, TURN)
    request = scene.asked()
    assert request.target == RESPONSES
    sent = request.json
    assert (sent["instructions"], sent["max_output_tokens"], sent["store"]) == ("Be brief.", 64, False)
    assert [item.get("type", item.get("role")) for item in sent["input"]] == [
        "user",
        "function_call",
        "function_call_output",
    ]
    request.answers(HELLO)
    message = told(client)
    assert message["content"] == [{"type": "text", "text": "hello"}]
    assert scene.billed() == (6, 5)


def test_a_responses_stream_is_told_as_an_anthropic_one(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    client = scene.asks(MESSAGES, {**TURN, "stream": True})
    whole = response(said(text("Both.")), responses_answers.called("get_weather", '{"a":1}'))
    scene.asked().upstream.streams(responses_answers.tell(whole)).sends(LAST_CHUNK)
    body = streamed(client)
    assert check_anthropic(body) is End.COMPLETE
    assert [event["content_block"]["type"] for event in events(body) if "content_block" in event] == [
        "text",
        "tool_use",
    ]
    assert scene.billed() == (6, 5)


# --- one of OpenAI's onto the other -----------------------------------------------------------------------------------

CHAT_TURN: Json = {
    "model": "m",
    "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "hi"}],
}


def test_a_chat_client_is_answered_by_a_responses_server(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    client = scene.asks(CHAT, CHAT_TURN)
    request = scene.asked()
    assert (request.target, request.json["instructions"], request.json["model"]) == (RESPONSES, "Brief.", "m")
    assert "max_output_tokens" not in request.json
    request.answers(HELLO)
    answer = told(client)
    assert (answer["object"], answer["choices"][0]["message"]["content"]) == ("chat.completion", "hello")
    assert answer["usage"]["prompt_tokens"] == 10
    assert scene.billed() == (6, 5)


def test_a_limit_that_the_client_sets_is_kept_in_crossing(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    scene.asks(CHAT, {**CHAT_TURN, "max_completion_tokens": 77})
    assert scene.asked().json["max_output_tokens"] == 77


def test_a_chat_client_streams_from_a_responses_server(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    client = scene.asks(CHAT, {**CHAT_TURN, "stream": True, "stream_options": {"include_usage": True}})
    scene.asked().upstream.streams(responses_answers.tell(HELLO)).sends(LAST_CHUNK)
    body = streamed(client)
    assert check_chat(body, include_usage=True) is End.COMPLETE
    assert scene.billed() == (6, 5)


def test_a_responses_client_streams_from_a_chat_server(provided: OpenProvided) -> None:
    scene = provided(at("litellm", api="chat"))
    client = scene.asks(RESPONSES, {"model": "m", "input": "hi", "stream": True})
    request = scene.asked()
    assert (request.target, request.json["messages"]) == (CHAT, [{"role": "user", "content": "hi"}])
    assert "max_tokens" not in request.json
    request.upstream.streams(tell(HI)).sends(LAST_CHUNK)
    body = streamed(client)
    assert check_responses(body) is End.COMPLETE


def test_a_responses_client_is_answered_by_a_chat_server(provided: OpenProvided) -> None:
    scene = provided(at("litellm", api="chat"))
    client = scene.asks(RESPONSES, {"model": "m", "input": "hi"})
    scene.asked().answers(HI)
    answer = told(client)
    assert (answer["object"], answer["status"]) == ("response", "completed")
    assert answer["output"][0]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("path", "api", "asked", "check"),
    [
        (CHAT, "responses", {**CHAT_TURN, "stream": True}, check_chat),
        (RESPONSES, "chat", {"model": "m", "input": "hi", "stream": True}, check_responses),
    ],
)
def test_a_crossed_stream_that_is_cut_is_an_error(
    provided: OpenProvided, path: bytes, api: str, asked: Json, check: Any
) -> None:
    scene = provided(OPENAI_COMPATIBLE_API=api)
    client = scene.asks(path, asked)
    told_so_far = tell(HI)[: -len(DONE) - 200] if api == "chat" else responses_answers.tell(HELLO)[:-300]
    upstream = scene.asked().upstream.streams(told_so_far[: told_so_far.rindex(b"\n\n") + 2])
    upstream.peer.breaks()
    body = cut_off(client)
    assert check(body) is End.FAILED
    assert DONE not in body


def test_an_error_on_the_way_across_passes_to_the_byte(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    client = scene.asks(CHAT, CHAT_TURN)
    scene.asked().answers(ERROR, b"429 Too Many", b"Retry-After: 7")
    assert client.saw(429, ERROR)[b"retry-after"] == b"7"


def test_what_cannot_cross_is_a_400_in_openais_shape(provided: OpenProvided) -> None:
    scene = provided(**ONE_API)
    assert told(scene.asks(CHAT, {**CHAT_TURN, "n": 2}), 400)["error"]["param"] == "n"
    assert scene.asked_nobody()


def test_what_is_left_out_on_either_half_of_the_way_is_said(provided: OpenProvided) -> None:
    scene = provided(**ONE_API, DROP_UNSUPPORTED_PARAMETERS="true")
    client = scene.asks(CHAT, {**CHAT_TURN, "n": 2, "stop": ["x"]})
    scene.asked().answers(HELLO)
    omitted = client.saw(200)[b"x-router-omitted"].split(b", ")
    assert {b"n", b"stop_sequences"} <= set(omitted)


def test_each_provider_is_asked_in_its_own_api(provided: OpenProvided) -> None:
    scene = provided(at("litellm"), at("other", api="responses"), PROVIDER_FALLBACKS="other/o")
    client = scene.asks(CHAT, CHAT_TURN)
    first = scene.asked()
    assert first.target == CHAT
    first.answers(ERROR, b"429 Too Many")
    second = scene.asked()
    assert (second.host, second.target, second.json["model"]) == (b"other", RESPONSES, "o")
    second.answers(HELLO)
    answer = told(client)
    assert answer["choices"][0]["message"]["content"] == "hello"


def test_a_crossing_client_without_a_model_gets_the_default(provided: OpenProvided) -> None:
    scene = provided(**ONE_API, OPENAI_COMPATIBLE_MODEL="qwen3")
    scene.asks(CHAT, {"messages": CHAT_TURN["messages"]})
    assert scene.asked().json["model"] == "qwen3"
