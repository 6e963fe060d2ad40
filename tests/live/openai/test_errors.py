"""Failures through the current SDK: the right exception, its status, code and parameter, never a finished answer."""

from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from cli.practice import PRACTICE_TOKEN, Ending, PracticeUpstream
from tests.live.openai.asks import CHAT_TOOLS, MODEL, chat, response
from tests.live.openai.raw import asked_upstream, raw_stream
from tests.live.routers import RunningRouter, new_token
from tests.support.grammar import End, check_chat, check_responses
from tests.support.practice import last_request

KINDS: dict[int, tuple[type[openai.APIStatusError], int, str, str | None]] = {
    400: (openai.BadRequestError, 400, "invalid_request_error", None),
    401: (openai.AuthenticationError, 401, "invalid_request_error", "invalid_api_key"),
    402: (openai.RateLimitError, 429, "insufficient_quota", "insufficient_quota"),
    403: (openai.PermissionDeniedError, 403, "invalid_request_error", "permission_denied"),
    404: (openai.NotFoundError, 404, "invalid_request_error", None),
    413: (openai.APIStatusError, 413, "invalid_request_error", "request_too_large"),
    429: (openai.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    500: (openai.InternalServerError, 500, "server_error", "server_error"),
    504: (openai.InternalServerError, 504, "server_error", "timeout"),
    529: (openai.InternalServerError, 503, "server_error", "server_is_overloaded"),
}

Ask = Callable[..., Any]


@pytest.fixture(params=["chat", "responses"])
def ask(client: openai.OpenAI, request: pytest.FixtureRequest) -> Ask:
    """Asks either API for the answer to a text."""
    if request.param == "chat":
        return lambda text, **more: client.chat.completions.create(**chat(text), **more)
    return lambda text, **more: client.responses.create(**response(text), **more)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", KINDS)
def test_an_error_is_told_in_openais_words(ask: Ask, status: int, stream: bool) -> None:
    kind, told, name, code = KINDS[status]
    with pytest.raises(kind, match="«as sent»") as failed:
        ask(f"/error {status}{' kind=billing_error' if status == 402 else ''} message=no, «as sent»", stream=stream)
    error = failed.value
    assert (error.status_code, error.type, error.code, error.param) == (told, name, code, None)
    assert error.body == {"message": "no, «as sent»", "type": name, "param": None, "code": code}
    assert (error.request_id or "").startswith("req_")
    assert error.request_id == error.response.headers["request-id"]
    assert error.response.headers["content-type"] == "application/json"


def test_when_to_come_back_is_told_in_headers(own_router: RunningRouter) -> None:
    with (
        openai.OpenAI(api_key=new_token(), base_url=f"{own_router.origin}/v1", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as failed,
    ):
        client.chat.completions.create(**chat("/error 429 retry-after=7 window=5h"))
    headers = failed.value.response.headers
    assert headers["retry-after"] == "7"
    assert headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert headers["x-router-upstream-model"] == "claude-sonnet-4-6"


def test_an_answer_has_the_providers_limits_and_request_id_too(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**chat())
    assert raw.headers["anthropic-ratelimit-unified-status"] == "allowed"
    assert raw.request_id == raw.headers["request-id"] == raw.headers["x-request-id"]
    assert "anthropic-organization-id" not in raw.headers


def test_a_conversation_that_is_too_long_has_the_code_that_agents_wait_for(ask: Ask) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        ask("/error 400 message=prompt is too long: 210000 tokens > 200000 maximum")
    assert failed.value.code == "context_length_exceeded"


def test_the_routers_own_errors_have_a_request_id(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as failed:
        client.chat.completions.create(**chat(model="nonesuch"))
    assert failed.value.response.headers["x-router-request-id"]
    assert failed.value.request_id == failed.value.response.headers["x-router-request-id"]


def test_other_endpoints_of_openais_are_a_404_in_openais_words(client: openai.OpenAI) -> None:
    for call in (
        lambda: client.embeddings.create(model="text-embedding-3-small", input="hello"),
        lambda: client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hello"),
        lambda: client.chat.completions.retrieve("chatcmpl-1"),
    ):
        with pytest.raises(openai.NotFoundError) as failed:
            call()
        assert isinstance(failed.value.body, dict)
        assert set(failed.value.body) == {"message", "type", "param", "code"}


# --- parameters -------------------------------------------------------------------------------------------------------

UNSUPPORTED: dict[str, Any] = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "web_search_options": {},
}


@pytest.mark.parametrize("parameter", UNSUPPORTED)
def test_a_parameter_that_cannot_be_carried_is_named(
    upstream: PracticeUpstream, client: openai.OpenAI, parameter: str
) -> None:
    before = len(upstream.requests)
    with pytest.raises(openai.BadRequestError, match=parameter) as failed:
        client.chat.completions.create(**chat(**{parameter: UNSUPPORTED[parameter]}))
    assert (failed.value.param, failed.value.code) == (parameter, "unsupported_parameter")
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "invalid_value"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]}, "messages.0", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}]},
            "messages.0.content.0",
            "unsupported_value",
        ),
        ({"extra_body": {"nonesuch": 1}}, "nonesuch", "unknown_parameter"),
        ({"tools": CHAT_TOOLS * 2}, "tools.2.function.name", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "unsupported_value"),
    ],
)
def test_what_is_wrong_with_a_request_is_named_by_its_place(
    client: openai.OpenAI, fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        client.chat.completions.create(**chat(**fields))
    assert (failed.value.param, failed.value.code) == (param, code)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_hint_that_was_left_out_is_named_in_a_header(client: openai.OpenAI, stream: bool) -> None:
    hints: dict[str, Any] = {"seed": 7, "store": True, "verbosity": "low"}
    with client.chat.completions.with_streaming_response.create(**chat(**hints), stream=stream) as answered:
        assert set(hints) <= {name.strip() for name in answered.headers["x-router-omitted"].split(",")}


def test_an_operator_may_have_them_left_out(loop: str, upstream: PracticeUpstream) -> None:
    with (
        RunningRouter(loop, upstream.origin, DROP_UNSUPPORTED_PARAMETERS="true") as router,
        openai.OpenAI(api_key=new_token(), base_url=f"{router.origin}/v1", max_retries=0) as client,
    ):
        asked = chat(extra_body={"nonesuch": 1}, **UNSUPPORTED)
        assert client.chat.completions.create(**asked).choices
        assert set(asked_upstream(upstream)) == {"model", "max_tokens", "messages"}
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**response(previous_response_id="resp_1"))


def test_a_body_over_the_limit_is_a_413(loop: str, upstream: PracticeUpstream) -> None:
    with (
        RunningRouter(loop, upstream.origin, MAX_PROXY_REQUEST_BYTES="100000") as router,
        openai.OpenAI(api_key=new_token(), base_url=f"{router.origin}/v1", max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError, match="100000") as failed:
            client.chat.completions.create(**chat("x" * 5_000_000))
        assert (failed.value.status_code, failed.value.code) == (413, "request_too_large")
        assert client.chat.completions.create(**chat()).choices


# --- tokens -----------------------------------------------------------------------------------------------------------

BAD_TOKENS = {
    "not a token": "hello",
    "signed by another router": new_token("another secret of more than 32 bytes"),
    "expired": new_token(age=7200),
    "a provider's key": "sk-ant-api03-my-own-key",
    "a key of OpenAI's": "sk-proj-my-own-key",
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_without_a_good_token_nothing_reaches_the_provider(
    upstream: PracticeUpstream, client: openai.OpenAI, case: str
) -> None:
    before = len(upstream.requests)
    intruder = client.with_options(api_key=BAD_TOKENS[case])
    for ask in (
        lambda: intruder.chat.completions.create(**chat("x" * 100_000)),
        lambda: intruder.responses.create(**response(), stream=True),
        intruder.models.list,
        lambda: intruder.models.retrieve(MODEL),
    ):
        with pytest.raises(openai.AuthenticationError) as failed:
            ask()
        assert failed.value.code == "invalid_api_key"
        assert BAD_TOKENS[case] not in failed.value.response.text
    assert len(upstream.requests) == before


# --- streams ----------------------------------------------------------------------------------------------------------

CUTS = ["/cut 1", "/cut 5", "/cut 5 reset-cut=true", "/split 40 cut=1", "/split 40 cut=30"]
BROKEN = [*CUTS, "/error-event overloaded_error", "/error-event rate_limit_error after=0"]


@pytest.mark.parametrize("order", BROKEN)
def test_a_broken_stream_is_an_exception_and_never_a_completion(client: openai.OpenAI, order: str) -> None:
    with (
        client.chat.completions.create(**chat(order), stream=True) as stream,
        pytest.raises(openai.APIError, match=r"lost before the answer was complete|Overloaded"),
    ):
        for chunk in stream:
            assert chunk.choices[0].finish_reason is None
    with pytest.raises(openai.APIError), client.chat.completions.stream(**chat(order)) as helper:
        helper.get_final_completion()
    streamed = raw_stream(client, "chat/completions", chat(order))
    assert check_chat(streamed) is End.FAILED
    assert b"[DONE]" not in streamed


@pytest.mark.parametrize("order", BROKEN)
def test_a_broken_response_has_failed_and_is_never_completed(client: openai.OpenAI, order: str) -> None:
    kinds = []
    with client.responses.create(**response(order), stream=True) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.failed":
                assert event.response.status == "failed"
                assert event.response.error is not None
                assert event.response.error.message
                break
    assert kinds[-1] == "response.failed"
    with pytest.raises((openai.APIError, RuntimeError)), client.responses.stream(**response(order)) as helper:
        helper.get_final_response()
    assert check_responses(raw_stream(client, "responses", response(order))) is End.FAILED


@pytest.mark.parametrize(
    ("kind", "code"), [("overloaded_error", "server_is_overloaded"), ("rate_limit_error", "rate_limit_exceeded")]
)
def test_an_error_event_keeps_its_kind(client: openai.OpenAI, kind: str, code: str) -> None:
    with pytest.raises(openai.APIError, match="Too much") as failed:
        list(client.chat.completions.create(**chat(f"/error-event {kind} message=Too much"), stream=True))
    assert failed.value.code == code
    with client.responses.create(**response(f"/error-event {kind} message=Too much"), stream=True) as stream:
        failure = next(event for event in stream if event.type == "response.failed").response.error
    assert failure is not None
    assert (failure.code, failure.message) == (code, "Too much")


@pytest.mark.parametrize("cut", ["/cut 50", "/cut 50 reset-cut=true", "/drop", "/drop always reset-cut=true"])
def test_a_whole_answer_that_is_cut_is_a_502(ask: Ask, cut: str) -> None:
    with pytest.raises(openai.InternalServerError, match="upstream") as failed:
        ask(cut)
    assert failed.value.status_code == 502


def test_a_client_that_leaves_a_stream_cancels_it(upstream: PracticeUpstream, ask: Ask) -> None:
    with ask("/size 10000\n/slow 5", stream=True) as stream:
        for _, _ in zip(range(5), stream, strict=False):
            pass
        assert upstream.requests[-1].ending is None
    record = last_request(upstream, lambda seen: seen.ending is not None)
    assert record.ending is Ending.CLIENT_LEFT
    assert record.writes < 1000


def test_a_connection_that_the_provider_hung_up_meanwhile_costs_the_client_nothing(ask: Ask) -> None:
    for _ in range(5):
        assert ask("/hangup")
        assert ask("/drop reused")
        assert list(ask("/drop reused", stream=True))


@pytest.mark.slow
def test_the_sdks_own_retry_succeeds_when_the_provider_has_recovered(upstream: PracticeUpstream, base_url: str) -> None:
    statuses: list[int] = []

    def recover(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        upstream.orders.clear()

    upstream.orders[PRACTICE_TOKEN] = "error=529"
    with (
        openai.DefaultHttpxClient(event_hooks={"response": [recover]}) as http,
        openai.OpenAI(api_key=new_token(), base_url=base_url, max_retries=1, http_client=http) as client,
    ):
        before = len(upstream.requests)
        assert client.chat.completions.create(**chat()).choices
    assert statuses == [503, 200]
    assert [seen.status for seen in upstream.requests[before:]] == [529, 200], "the router adds no tries of its own"
