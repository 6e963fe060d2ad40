"""Which story a request with a token starts, by what stands behind the router."""

import pytest

from protocol.routing import LEGACY_PREFIX
from tests.protocol.conftest import OpenScene
from tests.support.provided import ASKED, CHAT, MESSAGES, QUESTION, RESPONSES, Provided, told
from tests.support.requests import post
from tests.support.responses_answers import response, said, text

PREFIX = LEGACY_PREFIX.encode()
WHOLE = {"id": "c", "object": "chat.completion", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


@pytest.fixture
def scene() -> Provided:
    return Provided()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (CHAT, CHAT),
        (RESPONSES, RESPONSES),
        (b"/v1/embeddings", b"/v1/embeddings"),
        (b"/v1/completions", b"/v1/completions"),
        (MESSAGES, CHAT),
        (PREFIX + MESSAGES, CHAT),
    ],
)
def test_a_provider_is_asked_for_what_it_has(scene: Provided, path: bytes, target: bytes) -> None:
    client = scene.asks(path, ASKED)
    request = scene.asked()
    assert request.target == target
    request.answers(WHOLE)
    client.saw(200)
    scene.assert_faultless()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"GET", b"/v1/files"),
        (b"POST", b"/v1/files"),
        (b"GET", b"/v1/files/file_1/content"),
        (b"POST", MESSAGES + b"/batches"),
        (b"GET", MESSAGES + b"/batches/b_1/results"),
        (b"GET", PREFIX + b"/v1/skills"),
        (b"POST", b"/model/claude/invoke"),
        (b"POST", b"/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict"),
    ],
)
def test_what_no_provider_has_is_a_404_in_anthropics_words(scene: Provided, method: bytes, path: bytes) -> None:
    answer = told(scene.client().sends(post(scene.token, b"{}", path).replace(b"POST", method, 1)), 404)
    assert answer["error"]["type"] == "not_found_error"
    assert scene.asked_nobody()
    scene.assert_faultless()


@pytest.mark.parametrize("path", [b"/v1/audio/speech", b"/v1/images/generations", b"/v1/responses/resp_1", b"/v1/nope"])
def test_what_nobody_knows_is_a_404(scene: Provided, path: bytes) -> None:
    scene.asks(path, QUESTION).saw(404)
    assert scene.asked_nobody()


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/v1/completions"])
def test_the_anthropic_api_has_no_embeddings_or_completions(scene_with: OpenScene, path: bytes) -> None:
    scene = scene_with()
    scene.client().posts(QUESTION, path=path).saw(404)
    assert scene.asked_nobody()


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, b"/v1/embeddings", MESSAGES + b"/count_tokens"])
def test_nobody_is_asked_without_a_token(scene: Provided, path: bytes) -> None:
    scene.asks(path, ASKED, token=b"la_sk_wrong").saw(401)
    assert scene.asked_nobody()


def test_a_surface_that_is_disabled_is_a_404() -> None:
    scene = Provided(DISABLE_OPENAI_API="true")
    for path in (CHAT, RESPONSES, b"/v1/embeddings"):
        scene.asks(path, ASKED).saw(404)
    scene = Provided(DISABLE_ANTHROPIC_API="true")
    scene.asks(MESSAGES, ASKED).saw(404)


def test_the_routers_own_login_never_reaches_a_provider() -> None:
    scene = Provided()
    scene.writes_credentials(b'{"accessToken": "sk-ant-oat01-private"}')
    scene.asks(MESSAGES, ASKED)
    assert b"sk-ant" not in b"".join(scene.asked().headers.values())


def test_a_provider_with_one_api_answers_in_three() -> None:
    whole = response(said(text("hello")))
    for path, kind in ((CHAT, "chat.completion"), (MESSAGES, "message"), (RESPONSES, "response")):
        scene = Provided(OPENAI_COMPATIBLE_API="responses")
        client = scene.asks(path, {"model": "m", "input": "hi"} if path == RESPONSES else ASKED)
        request = scene.asked()
        assert request.target == RESPONSES
        request.answers(whole)
        answer = told(client)
        assert kind in (answer.get("object"), answer.get("type"))
