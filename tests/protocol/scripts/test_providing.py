"""Which provider is asked, with which key, and who stands in for one that cannot answer."""

import json

import pytest

from protocol.commands import Loss
from protocol.egress import Destination, Proxy
from protocol.values import Origin
from tests.protocol.scripts.conftest import OpenProvided
from tests.support.chat_streams import chunk
from tests.support.provided import ASKED, CHAT, KEY, MESSAGES, QUESTION, Json, at, cut_off, told
from tests.support.requests import post

ANSWER = b'{"object":"chat.completion","choices":[]}'
ERROR = b'{"error":{"message":"no","type":"server_error","param":null,"code":null}}'

TWO = (at("alpha", default_model="a-1", models=["a-1", "shared"]), at("beta", models=["b-1", "shared"]))
ALPHA = {"OPENAI_COMPATIBLE_PROVIDER_NAME": "alpha"}


def naming(model: str) -> Json:
    return {"model": model, "messages": []}


# --- which one --------------------------------------------------------------------------------------------------------


def test_a_stored_provider_answers_instead_of_the_one_in_the_settings(provided: OpenProvided) -> None:
    scene = provided(at("litellm"))
    scene.asks(CHAT, QUESTION)
    request = scene.asked()
    assert (request.host, request.headers[b"authorization"]) == (b"litellm", b"Bearer sk-litellm")


@pytest.mark.parametrize(
    ("model", "host", "sent"),
    [
        ("a-1", b"alpha", "a-1"),
        ("b-1", b"beta", "b-1"),
        ("shared", b"alpha", "shared"),
        ("beta/shared", b"beta", "shared"),
        ("beta/org/some-model", b"beta", "org/some-model"),
        ("unknown", b"alpha", "unknown"),
        ("org/unknown", b"alpha", "org/unknown"),
        ("", b"alpha", "a-1"),
    ],
)
def test_the_model_says_which_provider_answers(provided: OpenProvided, model: str, host: bytes, sent: str) -> None:
    scene = provided(*TWO, **ALPHA)
    client = scene.asks(CHAT, naming(model))
    request = scene.asked()
    assert (request.host, request.json["model"]) == (host, sent)
    assert request.headers[b"authorization"] == b"Bearer sk-" + host
    request.answers(ANSWER)
    assert client.saw(200)[b"x-router-provider"] == host


def test_a_prefix_of_its_own_stands_for_a_providers_name(provided: OpenProvided) -> None:
    scene = provided(TWO[0], at("beta", models_prefix="fast"), **ALPHA)
    scene.asks(CHAT, naming("fast/m"))
    request = scene.asked()
    assert (request.host, request.json["model"]) == (b"beta", "m")


@pytest.mark.parametrize("path", [CHAT, b"/v1/responses", b"/v1/embeddings"])
def test_a_disabled_provider_is_told_to_openai_clients(provided: OpenProvided, path: bytes) -> None:
    scene = provided(at("litellm", enabled=False))
    assert told(scene.asks(path, QUESTION), 503)["error"]["code"] == "provider_disabled"
    assert scene.asked_nobody()


def test_a_disabled_provider_is_told_to_anthropic_clients(provided: OpenProvided) -> None:
    scene = provided(at("litellm", enabled=False))
    answer = told(scene.asks(MESSAGES, ASKED), 503)
    assert (answer["type"], answer["error"]["type"]) == ("error", "api_error")
    assert answer["error"]["message"] == "provider 'litellm' is disabled"


def test_a_disabled_provider_that_is_named_is_told_even_if_others_could_answer(provided: OpenProvided) -> None:
    scene = provided(TWO[0], at("beta", enabled=False), PROVIDER_FALLBACKS="alpha", **ALPHA)
    assert told(scene.asks(CHAT, naming("beta/m")), 503)["error"]["code"] == "provider_disabled"


# --- changes while running --------------------------------------------------------------------------------------------


def test_a_record_that_somebody_changes_counts_a_second_later(provided: OpenProvided) -> None:
    scene = provided(at("litellm"))
    client = scene.asks(CHAT, QUESTION)
    scene.asked().answers(ANSWER)
    client.saw(200)
    scene.store(at("litellm", base_url="http://elsewhere/v1", api_key="sk-new"))
    scene.passes(1)
    scene.asks(CHAT, QUESTION)
    request = scene.asked()
    assert (request.host, request.headers[b"authorization"]) == (b"elsewhere", b"Bearer sk-new")


def test_a_provider_that_is_stored_while_running_is_there(provided: OpenProvided) -> None:
    scene = provided()
    scene.store(at("beta"))
    scene.passes(1)
    scene.asks(CHAT, naming("beta/m"))
    assert scene.asked().host == b"beta"


def test_a_store_that_makes_no_sense_any_more_leaves_what_was_known(provided: OpenProvided) -> None:
    scene = provided(at("litellm"))
    path = next(path for path in scene.shell.files if path.endswith("providers.lenv"))
    scene.shell.files[path] = b"PROVIDER: {\n"
    scene.passes(1)
    scene.asks(CHAT, QUESTION)
    assert scene.asked().host == b"litellm"


# --- keys and places --------------------------------------------------------------------------------------------------


def test_a_key_goes_to_its_own_providers_origin_only(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    scene.asks(CHAT, naming("a-1"))
    first = scene.asked()
    first.answers(ERROR, b"500 Oops")
    second = scene.asked()
    assert (first.host, first.headers[b"authorization"]) == (b"alpha", b"Bearer sk-alpha")
    assert (second.host, second.headers[b"authorization"]) == (b"beta", b"Bearer sk-beta")


def test_the_key_of_the_settings_is_not_for_stored_providers(provided: OpenProvided) -> None:
    scene = provided({"name": "beta", "base_url": "http://beta/v1"})
    scene.asks(CHAT, naming("beta/m"))
    request = scene.asked()
    assert request.host == b"beta"
    assert b"authorization" not in request.headers
    assert KEY.encode() not in b"".join(request.headers.values())


def test_a_key_that_was_sealed_for_another_place_is_a_503_without_a_request(provided: OpenProvided) -> None:
    scene = provided(at("litellm"))
    path, content = next((path, content) for path, content in scene.shell.files.items() if path.endswith(".lenv"))
    assert isinstance(content, bytes)
    scene.shell.files[path] = content.replace(b"http://litellm/v1", b"http://thief/v1")
    scene.passes(1)
    scene.asks(CHAT, QUESTION).saw(503)
    assert scene.asked_nobody()


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/v1", "http://metadata.google.internal/v1", "http://0.0.0.0/v1"]
)
def test_a_stored_provider_may_not_be_where_clouds_keep_their_metadata(provided: OpenProvided, url: str) -> None:
    scene = provided(at("litellm", base_url=url))
    error = told(scene.asks(CHAT, QUESTION), 503)["error"]
    assert error["message"] == "provider 'litellm' is at a place that is not allowed"
    assert scene.asked_nobody()


def test_a_host_that_the_operator_allows_may_be_anywhere(provided: OpenProvided) -> None:
    scene = provided(at("litellm", base_url="http://169.254.169.254/v1"), ALLOWED_PROVIDER_HOSTS="169.254.169.254")
    scene.asks(CHAT, QUESTION)
    assert scene.asked().host == b"169.254.169.254"


def test_addresses_are_looked_at_for_stored_providers_and_not_for_the_operators_own(provided: OpenProvided) -> None:
    guarded = []
    for scene in (provided(at("litellm")), provided()):
        scene.asks(CHAT, QUESTION)
        destination = scene.asked().upstream.peer.destination
        assert destination is not None
        guarded.append(destination.guarded)
    assert guarded == [True, False]


def test_a_provider_is_reached_through_its_own_proxy(provided: OpenProvided) -> None:
    scene = provided(at("litellm", proxy="socks5h://egress:1080"), at("beta"), HTTP_PROXY="http://common:3128")
    scene.asks(CHAT, naming("litellm/m"))
    via = scene.asked().upstream.peer.destination
    assert via == Destination(Origin("http", "litellm", 80), Proxy("socks5", "egress", 1080), guarded=True)
    scene.asks(CHAT, naming("beta/m"))
    via = scene.asked().upstream.peer.destination
    assert via is not None
    assert via.via == Proxy("http", "common", 3128)


# --- standing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"429 Too Many", b"500 Oops", b"503 No", b"401 Who", b"404 What", b"408 Late"])
def test_the_next_provider_answers_when_one_cannot(provided: OpenProvided, status: bytes) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    scene.asked().answers(ERROR, status)
    request = scene.asked()
    assert (request.host, request.json["model"]) == (b"beta", "b-1")
    request.answers(ANSWER)
    assert client.saw(200, ANSWER)[b"x-router-provider"] == b"beta"


@pytest.mark.parametrize("status", [b"400 Bad", b"413 Large", b"422 What"])
def test_what_is_the_clients_fault_is_asked_once(provided: OpenProvided, status: bytes) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    scene.asked().answers(ERROR, status)
    client.saw(int(status[:3]), ERROR)
    assert scene.asked_nobody()


@pytest.mark.parametrize("loss", [Loss.REFUSED, Loss.UNRESOLVED, Loss.TLS])
def test_the_next_provider_answers_when_one_cannot_be_connected_to(provided: OpenProvided, loss: Loss) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    scene.shell.connect_hangs = True
    client = scene.asks(CHAT, naming("a-1"))
    (conn,) = scene.shell.connecting
    scene.shell.connect_hangs = False
    scene.shell.apply(scene.shell._fail(conn, loss))
    request = scene.asked()
    assert request.host == b"beta"
    request.answers(ANSWER)
    client.saw(200, ANSWER)


def test_a_disabled_default_is_stood_in_for(provided: OpenProvided) -> None:
    scene = provided(at("alpha", enabled=False), TWO[1], PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    scene.asks(CHAT, naming("whatever"))
    request = scene.asked()
    assert (request.host, request.json["model"]) == (b"beta", "b-1")


def test_the_last_ones_answer_is_the_clients(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    scene.asked().answers(ERROR, b"503 No")
    scene.asked().answers(ERROR, b"429 Too Many", b"Retry-After: 9")
    assert client.saw(429, ERROR)[b"retry-after"] == b"9"


def test_no_more_are_asked_than_the_attempts_allow(provided: OpenProvided) -> None:
    scene = provided(*TWO, at("gamma"), PROVIDER_FALLBACKS="beta/b-1,gamma/g", FAILOVER_ATTEMPTS="2", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    scene.asked().answers(ERROR, b"503 No")
    scene.asked().answers(ERROR, b"503 No")
    client.saw(503, ERROR)
    assert scene.asked_nobody()


def test_the_time_that_a_body_took_is_none_of_the_time_for_other_providers(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", FAILOVER_SECS="20", BODY_TIMEOUT_SECS="60", **ALPHA)
    request = post(scene.token, json.dumps(naming("a-1")).encode(), CHAT)
    client = scene.client().sends(request[:-2])
    for piece in (request[-2:-1], request[-1:]):
        scene.passes(15)
        client.sends(piece)
    scene.asked().answers(ERROR, b"503 No")
    scene.asked().answers(ANSWER)
    client.saw(200)


def test_nobody_stands_in_once_the_answer_has_begun(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    upstream = scene.asked().upstream.streams(chunk({"content": "a"}))
    upstream.peer.breaks()
    assert b'"error"' in cut_off(client)
    assert scene.asked_nobody()


def test_a_connection_that_is_lost_before_the_answer_is_not_asked_elsewhere(provided: OpenProvided) -> None:
    """The provider may have done what it was asked to."""
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    upstream = scene.asked().upstream
    upstream.peer.breaks()
    assert told(client, 502)["error"]["type"] == "server_error"
    assert scene.asked_nobody()


def test_a_provider_whose_key_is_of_no_use_is_passed_over(provided: OpenProvided) -> None:
    useless = {"name": "alpha", "base_url": "http://alpha/v1", "encrypted_api_key": "aes256gcm:AAAA"}
    scene = provided(useless, at("beta"), PROVIDER_FALLBACKS="beta", **ALPHA)
    client = scene.asks(CHAT, naming("m"))
    request = scene.asked()
    assert request.host == b"beta"
    request.answers(ANSWER)
    client.saw(200)


def test_anthropic_clients_are_stood_in_for_too(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(MESSAGES, ASKED)
    scene.asked().answers(ERROR, b"429 Too Many")
    request = scene.asked()
    assert (request.host, request.json["model"]) == (b"beta", "b-1")
    completion = {"id": "c", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    request.answers(completion)
    assert told(client)["content"] == [{"type": "text", "text": "hi"}]


def test_a_request_that_another_provider_cannot_be_asked_is_refused_by_its_name(provided: OpenProvided) -> None:
    """A provider of Responses only has no stop sequences."""
    scene = provided(at("litellm", api="responses"))
    answer = told(scene.asks(MESSAGES, {**ASKED, "stop_sequences": ["x"]}), 400)
    assert answer["error"]["message"].startswith("stop_sequences: ")
    assert scene.asked_nobody()


def test_the_log_says_who_was_asked_for_what(provided: OpenProvided) -> None:
    scene = provided(*TWO, PROVIDER_FALLBACKS="beta/b-1", **ALPHA)
    client = scene.asks(CHAT, naming("a-1"))
    scene.asked().answers(ERROR, b"503 No")
    scene.asked().answers(ANSWER)
    client.saw(200)
    entry = scene.requests()[-1]
    assert (entry["provider"], entry["model"]) == ("beta", "b-1")
    assert KEY not in json.dumps(entry)
