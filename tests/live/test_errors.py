"""Failures through the current SDK: each shows as what it is, in the provider's own words."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anthropic
import httpx2
import msgspec
import pytest

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.routers import RunningRouter, new_token

KINDS = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    403: (anthropic.PermissionDeniedError, "permission_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    413: (anthropic.RequestTooLargeError, "request_too_large"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    529: (anthropic.OverloadedError, "overloaded_error"),
}
MESSAGE = "messages.1.output_config: Extra inputs are not permitted («as sent», \\u0041)"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", KINDS)
def test_an_error_is_the_providers_to_the_last_byte(client: anthropic.Anthropic, status: int, stream: bool) -> None:
    kind, name = KINDS[status]
    with pytest.raises(kind) as failed:
        client.messages.create(**ask(f"/error {status} message={MESSAGE}"), stream=stream)
    error = failed.value
    assert (error.status_code, error.type, error.api_message) == (status, name, MESSAGE)
    assert error.request_id == error.response.headers["request-id"]
    body = {"type": "error", "error": {"type": name, "message": MESSAGE}, "request_id": error.request_id}
    assert error.response.read() == msgspec.json.encode(body)


def test_an_error_code_finds_its_own_exception(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as failed:
        client.messages.create(**ask("/error 404 code=thread_not_found"))
    assert failed.value.error_code == "thread_not_found"
    assert type(failed.value).__name__ == "ThreadNotFoundError"


def test_the_limits_of_a_subscription_stay_in_the_headers(own_router: RunningRouter) -> None:
    with new_client(own_router.origin) as client, pytest.raises(anthropic.RateLimitError) as failed:
        client.messages.create(**ask("/error 429 retry-after=7 window=7d reset=60"))
    headers = failed.value.response.headers
    assert headers["retry-after"] == "7"
    assert headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert headers["anthropic-ratelimit-unified-representative-claim"] == "seven_day"


@pytest.mark.parametrize("status", [400, 404, 429, 529])
def test_every_endpoint_shows_its_errors(client: anthropic.Anthropic, status: int) -> None:
    wish = {"x-practice": f"error={status}; message=so it was wished"}
    for call in (
        lambda: client.messages.count_tokens(model="m", messages=[], extra_headers=wish),
        lambda: client.messages.batches.create(requests=[], extra_headers=wish),
        lambda: client.files.list(extra_headers=wish),
        lambda: client.files.upload(file=b"x", extra_headers=wish),
    ):
        with pytest.raises(KINDS[status][0], match="so it was wished"):
            call()


def test_errors_reach_the_sdk_compressed_as_they_were(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="so it was wished") as failed:
        client.files.list(extra_headers={"x-practice": "error=400; gzip; message=so it was wished"})
    assert failed.value.response.headers["content-encoding"] == "gzip"


# --- retries ----------------------------------------------------------------------------------------------------------


@contextmanager
def patient_client(
    base_url: str, retries: int, on_response: Callable[[httpx2.Response], None]
) -> Iterator[anthropic.Anthropic]:
    """An SDK client that asks again, and that lets the test see each response as it comes."""
    hooks = {"response": [on_response]}
    with (
        anthropic.DefaultHttpxClient(event_hooks=hooks) as http,
        new_client(base_url, max_retries=retries, http_client=http) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(("order", "least"), [("error=429; retry-after=1", 1.0), ("error=529", 0.3)])
def test_the_sdks_retry_succeeds_when_the_provider_has_recovered(
    upstream: PracticeUpstream, router: RunningRouter, order: str, least: float
) -> None:
    statuses: list[int] = []

    def recover(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        upstream.orders.clear()

    upstream.orders[PRACTICE_TOKEN] = order
    began = time.monotonic()
    with patient_client(router.origin, 2, recover) as client:
        assert client.messages.create(**ask()).content
    assert statuses == [int(order[6:9]), 200]
    assert time.monotonic() - began >= least
    assert [record.header("x-stainless-retry-count") for record in upstream.requests[-2:]] == [["0"], ["1"]]


@pytest.mark.slow
def test_the_router_does_not_multiply_the_sdks_retries(upstream: PracticeUpstream, router: RunningRouter) -> None:
    statuses: list[int] = []
    before = len([record for record in upstream.requests if b"once and once more" in record.body])
    with (
        patient_client(router.origin, 1, lambda response: statuses.append(response.status_code)) as client,
        pytest.raises(anthropic.OverloadedError),
    ):
        client.messages.create(**ask("/error 529\nonce and once more"))
    assert statuses == [529, 529]
    assert len([record for record in upstream.requests if b"once and once more" in record.body]) == before + 2


def test_a_connection_that_the_provider_hung_up_meanwhile_costs_the_client_nothing(
    client: anthropic.Anthropic,
) -> None:
    for _ in range(10):
        assert client.messages.create(**ask("/hangup")).content
        assert client.messages.create(**ask("/drop reused")).content
        with client.messages.stream(**ask("/drop reused")) as stream:
            assert stream.get_final_text()


# --- tokens -----------------------------------------------------------------------------------------------------------

BAD_TOKENS = {
    "not a token": ("hello", "must start with"),
    "signed by another router": (new_token("another secret of more than 32 bytes"), "signature"),
    "expired": (new_token(age=7200), "expired"),
    "cut short": (new_token()[:-10], "Invalid token"),
    "a provider's key": ("sk-ant-api03-my-own-key", "ANTHROPIC_AUTH_TOKEN"),
    "a provider's session": ("sk-ant-oat01-my-own-session", "ANTHROPIC_AUTH_TOKEN"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", BAD_TOKENS)
def test_without_a_good_token_nothing_reaches_the_provider(
    upstream: PracticeUpstream, client: anthropic.Anthropic, case: str, stream: bool
) -> None:
    token, reason = BAD_TOKENS[case]
    before = len(upstream.requests)
    with pytest.raises(anthropic.AuthenticationError, match=reason) as failed:
        client.with_options(api_key=token).messages.create(**ask("x" * 100_000), stream=stream)
    assert failed.value.type == "authentication_error"
    assert token not in failed.value.response.text
    assert len(upstream.requests) == before


def test_a_request_without_any_token_is_refused(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="Missing"):
        client.messages.create(**ask(), extra_headers={"Authorization": anthropic.Omit()})


def test_a_client_that_had_a_bad_token_may_go_on_with_a_good_one(client: anthropic.Anthropic) -> None:
    for _ in range(3):
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="la_sk_bad").messages.create(**ask())
        assert client.messages.create(**ask()).content


# --- the router's own limits ------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_a_413_even_while_it_is_being_sent(loop: str, upstream: PracticeUpstream) -> None:
    with (
        RunningRouter(loop, upstream.origin, MAX_PROXY_REQUEST_BYTES="100000") as router,
        new_client(router.origin) as client,
    ):
        with pytest.raises(anthropic.RequestTooLargeError, match="100000"):
            client.messages.create(**ask("x" * 5_000_000))
        assert client.messages.create(**ask()).content


def test_a_provider_that_is_not_there_is_a_502(loop: str) -> None:
    with PracticeUpstream() as gone:
        origin = gone.origin
    with (
        RunningRouter(loop, origin) as router,
        new_client(router.origin) as client,
    ):
        with pytest.raises(anthropic.InternalServerError, match="cannot be reached") as failed:
            client.messages.create(**ask())
        assert failed.value.status_code == 502
