"""The model list for both SDKs on one path, and the names that requests may use."""

import anthropic
import openai
import pytest

from cli.practice import PracticeUpstream
from tests.live.openai.asks import chat
from tests.live.openai.raw import asked_upstream
from tests.live.routers import RunningRouter, new_token


@pytest.fixture(scope="module")
def anthropic_client(router: RunningRouter) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=new_token(), base_url=router.origin, max_retries=0)


def test_each_sdk_gets_the_list_in_its_own_shape(
    upstream: PracticeUpstream, client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    before = len(upstream.requests)
    with anthropic_client:
        mine, theirs = list(client.models.list()), list(anthropic_client.models.list(limit=100))
        assert [model.id for model in mine] == [model.id for model in theirs]
        assert {"gpt-4o", "claude-opus-5-5"} <= {model.id for model in mine}
        assert {model.object for model in mine} == {"model"}
        assert {model.type for model in theirs} == {"model"}
        assert min(model.created for model in mine) > 1_700_000_000
        for name in ("gpt-4o", "claude-opus-5-5", "claude-from-the-future"):
            assert client.models.retrieve(name).id == anthropic_client.models.retrieve(name).id == name
        with pytest.raises(openai.NotFoundError) as failed:
            client.models.retrieve("nonesuch")
        assert failed.value.code == "model_not_found"
        with pytest.raises(anthropic.NotFoundError) as refused:
            anthropic_client.models.retrieve("nonesuch")
        assert refused.value.type == "not_found_error"
    assert len(upstream.requests) == before, "the list is the router's own"


@pytest.mark.parametrize(
    ("asked", "answers"),
    [("gpt-4o-mini", "claude-haiku-4-5-20251001"), ("o3", "claude-opus-4-7"), ("claude-x-1", "claude-x-1")],
)
def test_the_answer_names_the_model_that_was_asked_and_a_header_the_real_one(
    upstream: PracticeUpstream, client: openai.OpenAI, asked: str, answers: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(**chat(model=asked))
    assert raw.parse().model == asked
    assert raw.headers["x-router-upstream-model"] == asked_upstream(upstream)["model"] == answers
    with client.chat.completions.with_streaming_response.create(**chat(model=asked), stream=True) as streamed:
        assert streamed.headers["x-router-upstream-model"] == answers
        assert {chunk.model for chunk in streamed.parse()} == {asked}


def test_an_unknown_model_is_a_404_unless_there_is_a_fallback(
    loop: str, upstream: PracticeUpstream, client: openai.OpenAI
) -> None:
    for ask in (
        lambda: client.chat.completions.create(**chat(model="nonesuch")),
        lambda: client.responses.create(model="nonesuch", input="hello"),
    ):
        with pytest.raises(openai.NotFoundError, match="'nonesuch' does not exist") as failed:
            ask()
        assert (failed.value.code, failed.value.param) == ("model_not_found", "model")
    settings = {"FALLBACK_MODEL": "claude-haiku-5-5", "MODEL_MAP": "fast*=claude-haiku-9"}
    with (
        RunningRouter(loop, upstream.origin, **settings) as router,
        openai.OpenAI(api_key=new_token(), base_url=f"{router.origin}/v1", max_retries=0) as lenient,
    ):
        for name, expected in (("nonesuch", "claude-haiku-5-5"), ("faster", "claude-haiku-9")):
            assert lenient.chat.completions.create(**chat(model=name)).model == name
            assert asked_upstream(upstream)["model"] == expected


def test_the_surface_can_be_switched_off(loop: str, upstream: PracticeUpstream) -> None:
    with (
        RunningRouter(loop, upstream.origin, DISABLE_OPENAI_API="true") as router,
        openai.OpenAI(api_key=new_token(), base_url=f"{router.origin}/v1", max_retries=0) as client,
    ):
        for ask in (
            lambda: client.chat.completions.create(**chat()),
            lambda: client.responses.create(model="gpt-4o", input="hello"),
            client.models.list,
            lambda: client.models.retrieve("gpt-4o"),
        ):
            with pytest.raises(openai.NotFoundError) as failed:
                ask()
            assert isinstance(failed.value.body, dict)
            assert set(failed.value.body) == {"message", "type", "param", "code"}
