"""The parameters of a Messages request, one by one."""

import hashlib
import json
from typing import Any

import pytest

from protocol.errors import Refusal
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.servers import ChatServer, TokenLimit
from tests.support.messages_requests import HI, MODEL, SERVED, ask, assistant, chat_request, text
from tests.support.openai_requests import refused


def test_a_plain_question() -> None:
    assert chat_request() == {"model": SERVED, "max_tokens": 1000, "messages": [HI]}


def test_the_model_is_the_servers_and_the_answer_will_name_the_clients() -> None:
    call = ask()
    assert (call.requested_model, call.upstream_model) == (MODEL, SERVED)


def test_an_unknown_model_is_refused_by_whoever_knows_the_names() -> None:
    def unknown(model: str) -> str:
        raise Refusal(404, f"model: {model}")

    body = json.dumps({"model": "x", "max_tokens": 1, "messages": [HI]}).encode()
    error = refused(carry_onto_chat, body, resolve=unknown, server=ChatServer())
    assert (error.status, error.kind) == (404, "not_found_error")


def test_the_token_limit_goes_under_the_name_that_the_server_takes() -> None:
    newer = ChatServer(token_limit=TokenLimit.MAX_COMPLETION_TOKENS)
    body = chat_request(server=newer)
    assert body["max_completion_tokens"] == 1000
    assert "max_tokens" not in body


def test_a_token_limit_above_the_servers_is_lowered_to_it() -> None:
    server = ChatServer(output_tokens=32_768)
    assert chat_request(server=server, max_tokens=128_000)["max_tokens"] == 32_768
    assert chat_request(server=server, max_tokens=100)["max_tokens"] == 100


@pytest.mark.parametrize("limit", [None, 0, -1, "10", 1.5, True])
def test_a_token_limit_is_required_and_positive(limit: Any) -> None:
    assert refused(ask, max_tokens=limit).param == "max_tokens"


def test_sampling_is_carried_as_it_is() -> None:
    body = chat_request(temperature=0.7, top_p=0.95)
    assert (body["temperature"], body["top_p"]) == (0.7, 0.95)


def test_top_k_is_carried_where_the_server_takes_it_and_refused_elsewhere() -> None:
    assert chat_request(top_k=40, server=ChatServer(top_k=True))["top_k"] == 40
    assert refused(ask, top_k=40).param == "top_k"
    dropped = ask(top_k=40, drop=True)
    assert dropped.omitted == ("top_k",)
    assert b"top_k" not in dropped.body


def test_stop_sequences_become_stop() -> None:
    call = ask(stop_sequences=["a", "b", "c", "d", "e"])
    assert json.loads(call.body)["stop"] == ["a", "b", "c", "d", "e"]
    assert call.stop_sequences == ("a", "b", "c", "d", "e")
    assert "stop" not in chat_request(stop_sequences=[])
    assert refused(ask, stop_sequences=["a", 1]).param == "stop_sequences.1"


def test_more_stop_sequences_than_the_server_takes_are_refused_or_cut() -> None:
    server = ChatServer(stop_sequences=4)
    assert refused(ask, server=server, stop_sequences=list("abcde")).param == "stop_sequences"
    dropped = ask(server=server, stop_sequences=list("abcde"), drop=True)
    assert json.loads(dropped.body)["stop"] == list("abcd")
    assert dropped.omitted == ("stop_sequences",)


def test_a_stream_is_asked_for_with_its_usage_and_only_if_the_client_asks() -> None:
    body = chat_request(stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert ask(stream=True).stream
    for fields in ({}, {"stream": False}, {"stream": None}):
        assert "stream" not in chat_request(**fields)
        assert not ask(**fields).stream


def test_a_user_id_becomes_the_user_and_a_telling_one_is_hashed() -> None:
    telling = json.dumps({"device_id": "d" * 20, "account_uuid": "a" * 20, "session_id": "s" * 20})
    assert chat_request(metadata={"user_id": "user-1"})["user"] == "user-1"
    assert chat_request(metadata={"user_id": telling})["user"] == hashlib.sha256(telling.encode()).hexdigest()
    assert "user" not in chat_request(metadata={})
    assert "user" not in chat_request(metadata={"user_id": ""})


def test_a_prefill_is_refused_or_sent_as_it_is() -> None:
    prefill = (HI, assistant(text("The answer is")))
    assert refused(ask, *prefill).param == "messages.1"
    dropped = ask(*prefill, drop=True)
    assert json.loads(dropped.body)["messages"][1] == {"role": "assistant", "content": "The answer is"}
    assert dropped.omitted == ("messages.1",)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"max_tokens":1}', "model: this field is required"),
        (b'{"model":"m","max_tokens":1}', "messages: there is no message with content"),
        (b'{"model":"m","max_tokens":1,"messages":{}}', "messages: expected an array"),
        (
            b'{"model":"m","max_tokens":1,"messages":[{"role":"tool","content":"x"}]}',
            "messages.0.role: expected one of",
        ),
        (b'{"model":"m","max_tokens":1,"messages":[' + b'{"content":' * 2000, "nested too deeply"),
    ],
)
def test_what_is_no_messages_request_is_refused(body: bytes, message: str) -> None:
    error = refused(carry_onto_chat, body, resolve=lambda model: model, server=ChatServer())
    assert error.status == 400
    assert message in error.message
