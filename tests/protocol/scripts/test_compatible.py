"""OpenAI clients before an OpenAI-compatible provider: what it gets, and what they get of its answer."""

import gzip
import json

import pytest
from hypothesis import given

from tests.protocol.scripts.conftest import OpenProvided
from tests.support.chat_streams import DONE, chunk, completion, tell
from tests.support.grammar.chat import check_chat
from tests.support.grammar.rules import End
from tests.support.provided import CHAT, KEY, QUESTION, RESPONSES, Provided, asked, at, cut_off, events, streamed, told
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, reply
from tests.support.requests import chunk as framed
from tests.support.responses_answers import response, said, text
from tests.support.responses_answers import tell as tell_response
from tests.support.splits import cut_points, every_way

ANSWER = b'{ "object":"chat.completion","choices":[],\n"usage":{"prompt_tokens":7,"completion_tokens":2}}'
ERROR = b'{"error":{"message":"No such model","type":"invalid_request_error","param":"model","code":"nope"}, "x":1}'


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_passes_to_the_byte_with_the_providers_key(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    request = scene.asked()
    assert (request.method, request.target, request.host) == (b"POST", b"/v1/chat/completions", b"litellm:4000")
    assert request.body == QUESTION
    assert request.headers[b"authorization"] == b"Bearer " + KEY.encode()
    request.answers(ANSWER)
    assert client.saw(200, ANSWER)[b"x-router-provider"] == b"litellm"


def test_no_key_means_no_authorization(provided: OpenProvided) -> None:
    scene = provided(at("litellm") | {"api_key": ""}, OPENAI_COMPATIBLE_API_KEY="")
    scene = provided(OPENAI_COMPATIBLE_API_KEY="")
    scene.asks(CHAT, QUESTION)
    assert b"authorization" not in scene.asked().headers


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("http://h/v1", b"/v1/embeddings"),
        ("http://h", b"/v1/embeddings"),
        ("http://h/api/v1/", b"/api/v1/embeddings"),
        ("http://h/openai", b"/openai/v1/embeddings"),
    ],
)
def test_a_base_url_may_end_with_v1_or_not(provided: OpenProvided, base: str, target: bytes) -> None:
    scene = provided(OPENAI_COMPATIBLE_BASE_URL=base)
    scene.asks(b"/v1/embeddings", QUESTION)
    assert scene.asked().target == target


@pytest.mark.parametrize("path", [CHAT, RESPONSES, b"/v1/embeddings", b"/v1/completions"])
def test_every_endpoint_keeps_the_query(provided: OpenProvided, path: bytes) -> None:
    scene = provided()
    client = scene.asks(path + b"?api-version=2%2F3&stream=1", QUESTION)
    request = scene.asked()
    assert request.target == path + b"?api-version=2%2F3&stream=1"
    request.answers(ANSWER)
    client.saw(200, ANSWER)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"messages": [1.50]}', b'{"messages":[1.50],"model":"qwen"}'),
        (b'{"model":"","messages":[1.50]}', b'{"model":"qwen","messages":[1.50]}'),
        (b'{"n":1e2,"model":null,"text":"\\u00e9"}', b'{"n":1e2,"model":"qwen","text":"\\u00e9"}'),
    ],
)
def test_a_request_that_names_no_model_gets_the_default_and_keeps_every_other_value(
    provided: OpenProvided, body: bytes, sent: bytes
) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="qwen")
    scene.asks(CHAT, body)
    assert scene.asked().body == sent


def test_without_a_default_the_provider_is_left_to_say_what_it_misses(provided: OpenProvided) -> None:
    scene = provided()
    scene.asks(CHAT, b'{"messages": []}')
    assert scene.asked().body == b'{"messages": []}'


def test_a_model_that_is_no_text_is_refused(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="qwen")
    error = told(scene.asks(CHAT, b'{"model": 5}'), 400)["error"]
    assert (error["param"], error["code"]) == ("model", "invalid_type")
    assert scene.asked_nobody()


def test_a_body_that_is_no_object_cannot_get_the_default_model(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="qwen")
    assert told(scene.asks(CHAT, b"[1]"), 400)["error"]["code"] == "invalid_json"


def test_useful_fields_reach_the_provider_and_the_clients_credentials_do_not(provided: OpenProvided) -> None:
    scene = provided()
    fields = {
        b"user-agent": b"OpenAI/Python 3",
        b"openai-organization": b"org-1",
        b"idempotency-key": b"k1",
        b"x-stainless-retry-count": b"0",
    }
    private = {
        b"x-api-key": b"la_sk_x",
        b"cookie": b"a=b",
        b"x-forwarded-for": b"10.1.2.3",
        b"anthropic-beta": b"x",
        b"accept-encoding": b"br",
    }
    scene.asks(CHAT, QUESTION, *(name + b": " + value for name, value in {**fields, **private}.items()))
    headers = scene.asked().headers
    assert {name: headers[name] for name in fields} == fields
    assert not headers.keys() & (private.keys() - {b"accept-encoding"})
    assert headers[b"accept-encoding"] == b"identity"
    assert scene.token not in b"".join(headers.values())


def test_a_compressed_body_is_refused(provided: OpenProvided) -> None:
    scene = provided()
    scene.asks(CHAT, gzip.compress(QUESTION), b"Content-Encoding: gzip").saw(415)
    assert scene.asked_nobody()


def test_a_body_beyond_the_limit_is_refused(provided: OpenProvided) -> None:
    scene = provided(MAX_PROXY_REQUEST_BYTES="64")
    scene.asks(CHAT, b'{"model":"' + b"m" * 100 + b'"}').saw(413)
    assert scene.asked_nobody()


# --- answers ----------------------------------------------------------------------------------------------------------


def test_useful_fields_of_the_answer_reach_the_client(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    fields = {
        b"x-request-id": b"req_1",
        b"x-ratelimit-remaining-requests": b"9",
        b"openai-processing-ms": b"12",
        b"x-litellm-model-id": b"m1",
    }
    extra = [name + b": " + value for name, value in fields.items()]
    scene.asked().answers(ANSWER, b"200 OK", *extra, b"Connection: keep-alive, x-gone", b"X-Gone: 1")
    headers = client.saw(200, ANSWER)
    assert {name: headers[name] for name in fields} == fields
    assert b"x-gone" not in headers


STREAM = tell(completion(content="Grüße, 世界"))


@given(cuts=cut_points())
def test_a_stream_passes_to_the_byte_however_it_arrives(cuts: list[int]) -> None:
    for pieces in every_way(STREAM, cuts):
        scene = Provided()
        client = scene.asks(CHAT, QUESTION)
        upstream = scene.asked().upstream.sends(STREAM_HEAD)
        for piece in pieces:
            upstream.sends(framed(piece))
        upstream.sends(LAST_CHUNK)
        assert streamed(client) == STREAM
        scene.assert_faultless()


def test_a_streams_first_event_is_not_held_back(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().upstream.streams(chunk({"content": "a"}))
    _, fields = client.head()
    headers = dict(fields)
    assert (headers[b"x-accel-buffering"], headers[b"cache-control"]) == (b"no", b"no-cache")
    assert headers[b"x-router-provider"] == b"litellm"
    assert client.exactly(len(framed(chunk({"content": "a"})))) == framed(chunk({"content": "a"}))


def test_a_chat_stream_that_is_cut_between_events_ends_with_an_error_and_never_with_done(
    provided: OpenProvided,
) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    upstream = scene.asked().upstream.streams(chunk({"role": "assistant", "content": "a"}, created=1, model="m"))
    upstream.peer.breaks()
    body = cut_off(client)
    assert DONE not in body
    assert check_chat(body) is End.FAILED
    assert scene.requests()[-1]["ended"] == "cut"


def test_a_responses_stream_that_is_cut_between_events_ends_with_the_error_event(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(RESPONSES, QUESTION)
    whole = tell_response(response(said(text("hello"))))
    begun = whole[: whole.index(b"event: response.output_text.delta")]
    upstream = scene.asked().upstream.streams(begun)
    upstream.peer.breaks()
    body = cut_off(client)
    assert body.startswith(begun)
    assert b"response.completed" not in body
    error = events(body)[-1]
    assert body.endswith(b"event: error\ndata: " + body.rpartition(b"data: ")[2])
    assert (error["type"], error["code"], error["error"]["message"]) == ("error", "server_error", error["message"])


def test_a_stream_that_is_cut_inside_an_event_is_broken_off(provided: OpenProvided) -> None:
    """Nothing that followed could be read apart from the torn event."""
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    upstream = scene.asked().upstream.streams(chunk({"content": "a"}), b'data: {"id":"chatcmpl')
    upstream.peer.breaks()
    assert cut_off(client) == chunk({"content": "a"}) + b'data: {"id":"chatcmpl'


def test_an_answer_that_is_cut_is_broken_off(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    upstream = scene.asked().upstream.sends(reply(ANSWER)[:-5])
    upstream.peer.breaks()
    assert client.rest().endswith(ANSWER[:-5])


def test_a_redirect_is_not_handed_on(provided: OpenProvided) -> None:
    """The client would take its token there."""
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(b"", b"307 Temporary Redirect", b"Location: http://elsewhere/v1/chat/completions/")
    status, headers, body = client.response()
    assert (status, b"location" in headers) == (502, False)
    assert b"redirect" in body


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"429 Too Many Requests", b"500 Oops"])
def test_an_error_of_openais_shape_passes_to_the_byte(provided: OpenProvided, status: bytes) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(ERROR, status, b"Retry-After: 7", b"x-request-id: r1", b"x-ratelimit-reset-tokens: 6ms")
    headers = client.saw(int(status[:3]), ERROR)
    assert (headers[b"retry-after"], headers[b"x-request-id"]) == (b"7", b"r1")
    assert headers[b"x-ratelimit-reset-tokens"] == b"6ms"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":"model is loading"}', "model is loading"),
        (b"", "the upstream answered 500 without a message"),
    ],
)
def test_any_other_error_is_quoted_in_openais_shape(provided: OpenProvided, said: bytes, message: str) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(said, b"500 Internal Server Error")
    error = told(client, 500)["error"]
    assert error["message"] == message
    assert error.keys() == {"message", "type", "param", "code"}


def test_a_compressed_error_is_told_without_its_body(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(gzip.compress(ERROR), b"400 Bad Request", b"Content-Encoding: gzip")
    status, headers, body = client.response()
    assert (status, b"content-encoding" in headers) == (400, False)
    assert json.loads(body)["error"]["message"] == "the upstream answered 400 without a message"


def test_a_providers_401_is_not_about_the_clients_token(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(b'{"error":{"message":"Incorrect API key provided: sk-the-pro***"}}', b"401 Unauthorized")
    status, _, body = client.response()
    assert status == 502
    assert b"sk-" not in body
    assert "provider 'litellm' does not take the router's key" in json.loads(body)["error"]["message"]


def test_a_provider_that_is_out_of_reach_is_a_502_in_openais_shape(provided: OpenProvided) -> None:
    scene = provided()
    with scene.refusing():
        assert told(scene.asks(CHAT, QUESTION), 502)["error"]["type"] == "server_error"


# --- costs and limits -------------------------------------------------------------------------------------------------


def test_the_tokens_of_a_whole_answer_are_counted(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(ANSWER)
    client.saw(200)
    assert scene.billed() == (7, 2)
    assert scene.requests()[0]["model"] == "gpt-4o"


def test_the_tokens_of_a_stream_are_counted(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    scene.asked().upstream.streams(tell(completion(content="hi"))).sends(LAST_CHUNK)
    streamed(client)
    assert scene.billed() == (10, 5)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"/v1/embeddings", b'{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}'),
        (b"/v1/completions", b'{"object":"text_completion","usage":{"prompt_tokens":8,"completion_tokens":0}}'),
    ],
)
def test_the_tokens_of_embeddings_and_completions_are_counted(
    provided: OpenProvided, path: bytes, answer: bytes
) -> None:
    scene = provided()
    client = scene.asks(path, QUESTION)
    scene.asked().answers(answer)
    client.saw(200, answer)
    assert scene.billed() == (8, 0)


def test_a_token_for_other_models_is_refused(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="gpt-4o")
    token = scene.limited(models=["qwen*"])
    assert told(scene.asks(CHAT, QUESTION, token=token), 403)["error"]["param"] == "model"
    scene.asks(CHAT, b'{"messages":[]}', token=token).saw(403)
    assert scene.asked_nobody()


def test_a_token_for_the_default_model_need_not_name_it(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="qwen3")
    token = scene.limited(models=["qwen*"])
    client = scene.asks(CHAT, b'{"messages":[]}', token=token)
    scene.asked().answers(ANSWER)
    client.saw(200, ANSWER)


def test_a_token_budget_is_spent_by_what_the_provider_says(provided: OpenProvided) -> None:
    scene = provided()
    token = scene.limited(token_budget=60)
    client = scene.asks(CHAT, QUESTION, token=token)
    scene.asked().answers(b'{"object":"chat.completion","usage":{"prompt_tokens":50,"completion_tokens":10}}')
    client.saw(200)
    assert told(scene.asks(CHAT, QUESTION, token=token), 429)["error"]["type"] == "rate_limit_error"


def test_a_request_that_reached_nobody_costs_nothing(provided: OpenProvided) -> None:
    scene = provided(at("litellm", enabled=False))
    token = scene.limited(max_requests=1)
    for _ in range(2):
        scene.asks(CHAT, QUESTION, token=token).saw(503)


# --- lives ------------------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_takes_the_request_with_it(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    upstream = scene.asked().upstream.streams(chunk({"content": "a"}))
    client.head()
    client.leaves()
    assert upstream.gone()


def test_a_connection_is_used_again(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    first = scene.asked()
    first.answers(ANSWER)
    client.saw(200)
    client.posts(QUESTION, path=CHAT)
    asked(first.upstream).answers(ANSWER)
    client.saw(200, ANSWER)
    assert scene.asked_nobody()


def test_a_connection_that_the_provider_had_closed_is_replaced(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.asks(CHAT, QUESTION)
    first = scene.asked()
    first.answers(ANSWER)
    client.saw(200)
    client.posts(QUESTION, path=CHAT)
    asked(first.upstream)
    first.upstream.peer.breaks()
    scene.asked().answers(ANSWER)
    client.saw(200, ANSWER)
