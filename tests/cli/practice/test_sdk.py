"""The practice upstream as the official SDK sees it, with nothing in between."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from cli.practice import PRACTICE_API_KEY, PRACTICE_TOKEN, PracticeUpstream
from tests.support.practice import MODEL

WEATHER: ToolParam = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    },
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[PracticeUpstream]:
    with PracticeUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def client(upstream: PracticeUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=PRACTICE_API_KEY, base_url=upstream.origin, max_retries=0) as opened:
        yield opened


def says(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=100, messages=says("hello"))
    assert message.id.startswith("msg_01")
    assert (message.model, message.stop_reason, message.content[0].type) == (MODEL, "end_turn", "text")
    assert message.usage.input_tokens > 0


def test_a_session_token_with_its_beta_flag(upstream: PracticeUpstream) -> None:
    with anthropic.Anthropic(auth_token=PRACTICE_TOKEN, base_url=upstream.origin, max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="OAuth"):
            client.messages.create(model=MODEL, max_tokens=100, messages=says("hello"))
        flags = {"anthropic-beta": "oauth-2025-04-20"}
        assert client.messages.create(model=MODEL, max_tokens=100, messages=says("hello"), extra_headers=flags).id


def test_a_stream_with_thinking_and_parallel_tools(client: anthropic.Anthropic) -> None:
    clock: ToolParam = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
    with client.messages.stream(
        model=MODEL, max_tokens=500, messages=says("go\n/tools\n/think redacted"), tools=[WEATHER, clock]
    ) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert {"thinking", "signature", "input_json"} <= set(kinds)
    assert [block.type for block in message.content] == ["thinking", "redacted_thinking", "tool_use", "tool_use"]
    assert [block.input for block in message.content if block.type == "tool_use"] == [
        {"city": "practice", "days": 2},
        {},
    ]
    assert message.stop_reason == "tool_use"


def test_a_tool_runner_comes_to_a_text(client: anthropic.Anthropic) -> None:
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: where.
        """
        return f"rain in {city}"

    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "go\n/tools"}], tools=[weather]
    )
    final = runner.until_done()
    assert "rain in practice" in "".join(block.text for block in final.content if block.type == "text")


def test_structured_output(client: anthropic.Anthropic) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    message = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=says("Rain"),
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert message.content[0].type == "text"
    assert message.content[0].text == '{"title":"Rain"}'


def test_counted_tokens_are_the_messages_input_tokens(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=says("hello"), tools=[WEATHER])
    message = client.messages.create(model=MODEL, max_tokens=100, messages=says("hello"), tools=[WEATHER])
    assert counted.input_tokens == message.usage.input_tokens


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
def test_errors_by_status(client: anthropic.Anthropic, status: int, kind: type[anthropic.APIStatusError]) -> None:
    with pytest.raises(kind) as failed:
        client.messages.create(model=MODEL, max_tokens=100, messages=says(f"/error {status} code=some_code"))
    assert (failed.value.status_code, failed.value.error_code) == (status, "some_code")
    assert failed.value.request_id == failed.value.response.headers["request-id"]


def test_a_retry_after_is_heeded() -> None:
    with (
        PracticeUpstream() as upstream,
        anthropic.Anthropic(api_key=PRACTICE_API_KEY, base_url=upstream.origin, max_retries=1) as client,
        pytest.raises(anthropic.RateLimitError),
    ):
        client.messages.create(model=MODEL, max_tokens=100, messages=says("/error 429 retry-after=0"))
    assert len(upstream.requests) == 2


def test_an_error_event_and_a_cut_are_failures(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        client.messages.stream(model=MODEL, max_tokens=100, messages=says("/error-event")) as stream,
    ):
        stream.get_final_message()
    with (
        pytest.raises(Exception, match="incomplete chunked read"),
        client.messages.stream(model=MODEL, max_tokens=100, messages=says("/cut 5")) as stream,
    ):
        stream.get_final_message()


def test_models(client: anthropic.Anthropic) -> None:
    names = [model.id for model in client.models.list(limit=2)]
    assert len(names) == 3
    assert client.models.retrieve(names[-1]).id == names[-1]
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-nonesuch")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.models.list(limit=0)


def batch_of(*texts: str) -> Any:
    return [
        {"custom_id": text, "params": {"model": MODEL, "max_tokens": 100, "messages": says(text)}} for text in texts
    ]


def test_a_batch_from_creation_to_deletion(upstream: PracticeUpstream, client: anthropic.Anthropic) -> None:
    batches = client.messages.batches
    created = batches.create(requests=batch_of("one", "/error 500"))
    assert (created.processing_status, created.results_url, created.request_counts.processing) == (
        "in_progress",
        None,
        2,
    )
    with pytest.raises(anthropic.BadRequestError, match="not ended"):
        batches.delete(created.id)
    ended = batches.retrieve(created.id)
    assert ended.processing_status == "ended"
    assert ended.results_url == f"{upstream.origin}/v1/messages/batches/{created.id}/results"
    assert (ended.request_counts.succeeded, ended.request_counts.errored) == (1, 1)
    results = {line.custom_id: line.result for line in batches.results(created.id)}
    assert {name: result.type for name, result in results.items()} == {"one": "succeeded", "/error 500": "errored"}
    assert created.id in [batch.id for batch in batches.list(limit=1)]
    assert batches.delete(created.id).id == created.id
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(created.id)


def test_a_canceled_batch_ends_without_answers(client: anthropic.Anthropic) -> None:
    batches = client.messages.batches
    created = batches.create(requests=batch_of("one"))
    assert batches.cancel(created.id).processing_status == "canceling"
    assert [line.result.type for line in batches.results(created.id)] == ["canceled"]
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        batches.cancel(created.id)


def test_custom_ids_of_a_batch_are_unique(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="unique"):
        client.messages.batches.create(requests=batch_of("one", "one"))


def test_results_can_lie_elsewhere() -> None:
    with (
        PracticeUpstream(results_origin="https://api.anthropic.com") as upstream,
        anthropic.Anthropic(api_key=PRACTICE_API_KEY, base_url=upstream.origin, max_retries=0) as client,
    ):
        created = client.messages.batches.create(requests=batch_of("one"))
        url = client.messages.batches.retrieve(created.id).results_url
    assert url == f"https://api.anthropic.com/v1/messages/batches/{created.id}/results"


def test_a_file_from_upload_to_deletion(client: anthropic.Anthropic) -> None:
    content = b"a,b\r\n1,2\n\xff\x00"
    stored = client.files.upload(file=("table.csv", content, "text/csv"), expires_in_seconds=60)
    assert (stored.filename, stored.mime_type, stored.size_bytes) == ("table.csv", "text/csv", len(content))
    assert stored.expires_at is not None
    assert (stored.expires_at - stored.created_at).total_seconds() == 60
    other = client.files.upload(file=("other", b"", "text/plain"))
    assert client.files.download(stored.id).read() == content
    assert client.files.retrieve_metadata(stored.id) == stored
    assert [file.id for file in client.files.list(limit=1)][:2] == [other.id, stored.id]
    assert client.files.delete(stored.id).id == stored.id
    with pytest.raises(anthropic.NotFoundError):
        client.files.download(stored.id)


def test_the_beta_endpoints(client: anthropic.Anthropic) -> None:
    message = client.beta.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "hello"}])
    assert message.content[0].type == "text"
    assert client.beta.files.list().data is not None
    assert client.beta.models.list().data


def test_the_async_client(upstream: PracticeUpstream) -> None:
    async def conversation() -> tuple[str, str, int]:
        async with anthropic.AsyncAnthropic(
            api_key=PRACTICE_API_KEY, base_url=upstream.origin, max_retries=0
        ) as client:
            whole = await client.messages.create(model=MODEL, max_tokens=100, messages=says("hello"))
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=says("hello")) as stream:
                streamed = await stream.get_final_text()
            counted = await client.messages.count_tokens(model=MODEL, messages=says("hello"))
            assert whole.content[0].type == "text"
            return whole.content[0].text, streamed, counted.input_tokens

    whole, streamed, counted = asyncio.run(conversation())
    assert whole == streamed
    assert counted > 0
