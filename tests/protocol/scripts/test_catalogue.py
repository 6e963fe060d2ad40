"""``/v1/models`` before OpenAI-compatible providers: what they list, else what the operator lists for them."""

import json

import pytest

from tests.protocol.scripts.conftest import OpenProvided
from tests.support.provided import KEY, Json, Provided, asked, at, told

OWN = {"OPENAI_COMPATIBLE_MODELS": "claude-sonnet,gpt-4o", "OPENAI_COMPATIBLE_MODEL": "claude-sonnet"}
ANTHROPIC = b"anthropic-version: 2023-06-01"


def page(*names: str) -> Json:
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "them"} for name in names],
    }


def names(listed: Json) -> list[str]:
    return [entry["id"] for entry in listed["data"]]


def test_the_providers_own_list_is_shown(provided: OpenProvided) -> None:
    scene = provided(**OWN)
    client = scene.lists()
    request = scene.asked()
    assert (request.method, request.target, request.host) == (b"GET", b"/v1/models", b"litellm:4000")
    assert request.headers[b"authorization"] == b"Bearer " + KEY.encode()
    assert scene.token not in b"".join(request.headers.values())
    request.answers(page("qwen3", "org/llama"))
    assert told(client) == page("qwen3", "org/llama")


def test_a_list_is_good_for_a_minute(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.lists()
    scene.asked().answers(page("one"))
    told(client)
    scene.passes(59)
    assert names(told(scene.lists())) == ["one"]
    scene.passes(1)
    client = scene.lists()
    scene.asked().answers(page("two"))
    assert names(told(client)) == ["two"]


@pytest.mark.parametrize(
    "said",
    [b"<html>", b"[]", b'{"data":[]}', b'{"data":[{"name":"x"}]}', b'{"data":[1]}', b"[" * 9000],
)
def test_the_operators_list_stands_in_for_one_that_makes_no_sense(provided: OpenProvided, said: bytes) -> None:
    scene = provided(**OWN)
    client = scene.lists()
    scene.asked().answers(said)
    assert names(told(client)) == ["claude-sonnet", "gpt-4o"]


def test_the_operators_list_stands_in_while_the_provider_cannot_be_asked(provided: OpenProvided) -> None:
    scene = provided(**OWN)
    with scene.refusing():
        assert names(told(scene.lists())) == ["claude-sonnet", "gpt-4o"]
    assert names(told(scene.lists())) == ["claude-sonnet", "gpt-4o"]
    assert scene.asked_nobody(), "that is good for a minute too"


@pytest.mark.parametrize("status", [b"401 Who", b"404 What", b"500 Oops", b"302 Found"])
def test_the_operators_list_stands_in_where_the_provider_has_none(provided: OpenProvided, status: bytes) -> None:
    scene = provided(**OWN)
    client = scene.lists()
    scene.asked().answers(page("x"), status)
    assert names(told(client)) == ["claude-sonnet", "gpt-4o"]


def test_the_default_model_is_a_list_of_one(provided: OpenProvided) -> None:
    scene = provided(OPENAI_COMPATIBLE_MODEL="claude-sonnet")
    with scene.refusing():
        assert names(told(scene.lists())) == ["claude-sonnet"]


def test_without_any_list_there_are_no_models(provided: OpenProvided) -> None:
    scene = provided()
    with scene.refusing():
        assert told(scene.lists()) == {"object": "list", "data": []}
        empty = {"data": [], "has_more": False, "first_id": None, "last_id": None}
        assert told(scene.lists(b"/v1/models", ANTHROPIC)) == empty


@pytest.mark.parametrize("path", [b"/v1/models", b"/v1/models?limit=1000", b"/api/latest/anthropic/v1/models"])
def test_anthropic_clients_get_their_own_shape(provided: OpenProvided, path: bytes) -> None:
    scene = provided()
    client = scene.lists(path, ANTHROPIC)
    scene.asked().answers(page("a", "b"))
    listed = told(client)
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("a", "b", False)
    assert listed["data"][0] == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "2023-11-14T22:13:20Z",
    }


@pytest.mark.parametrize("created", [None, "soon", -1, 2**60, 1.5, True])
def test_a_time_that_makes_no_sense_does_no_harm(provided: OpenProvided, created: object) -> None:
    scene = provided()
    client = scene.lists(b"/v1/models", ANTHROPIC)
    scene.asked().answers(json.dumps({"data": [{"id": "a", "created": created}]}).encode())
    assert told(client)["data"][0]["created_at"].startswith("1970-01-01T00:00:0")


def ask_all(scene: Provided, *answers: Json) -> Json:
    client = scene.lists()
    for answer in answers:
        scene.asked().answers(answer)
    return told(client)


def test_several_providers_are_listed_together(provided: OpenProvided) -> None:
    scene = provided(
        at("alpha"), at("beta", models=["shared", "b"]), at("gamma", models_prefix="g"), at("off", enabled=False),
        OPENAI_COMPATIBLE_PROVIDER_NAME="beta",
    )  # fmt: skip
    listed = ask_all(scene, page("shared", "b"), page("a"), page("c", "shared"))
    assert names(listed) == ["shared", "b", "alpha/a", "g/c", "g/shared"]


def test_every_listed_name_reaches_its_provider(provided: OpenProvided) -> None:
    scene = provided(at("litellm"), at("beta", models=["b"]))
    client, upstreams = scene.lists(), {}
    for listed in (page("a"), page("b", "c")):
        request = scene.asked()
        upstreams[request.host] = request.upstream
        request.answers(listed)
    for name in names(told(client)):
        client = scene.asks(b"/v1/chat/completions", {"model": name})
        host = b"litellm" if name == "a" else b"beta"
        request = asked(upstreams[host])
        request.answers({"object": "chat.completion"})
        assert client.saw(200)[b"x-router-provider"] == host
        assert request.json["model"] == name.removeprefix("beta/")


def test_a_model_is_shown(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.lists(b"/v1/models/qwen3")
    scene.asked().answers(page("llama", "qwen3"))
    assert told(client)["id"] == "qwen3"
    assert told(scene.lists(b"/v1/models/qwen3", ANTHROPIC))["type"] == "model"
    assert told(scene.lists(b"/api/latest/anthropic/v1/models/qwen3", ANTHROPIC))["type"] == "model"


def test_a_model_that_nobody_lists_is_a_404_in_either_shape(provided: OpenProvided) -> None:
    scene = provided()
    client = scene.lists(b"/v1/models/nobody")
    scene.asked().answers(page("qwen3"))
    assert told(client, 404)["error"]["code"] == "model_not_found"
    assert told(scene.lists(b"/v1/models/nobody", ANTHROPIC), 404)["error"]["type"] == "not_found_error"


def test_a_record_that_changes_is_asked_anew(provided: OpenProvided) -> None:
    scene = provided(at("litellm"))
    assert names(ask_all(scene, page("a"))) == ["a"]
    scene.store(at("litellm", base_url="http://elsewhere/v1"))
    scene.passes(1)
    assert names(ask_all(scene, page("b"))) == ["b"]


def test_a_list_needs_a_token(provided: OpenProvided) -> None:
    scene = provided()
    assert told(scene.client().gets(b"/v1/models"), 401)["error"]["code"] == "invalid_api_key"
    assert scene.asked_nobody()
