"""The current SDK's asynchronous client, alone and in crowds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anthropic
import pytest

from cli.practice import Ending, PracticeUpstream
from tests.live.asks import CLOCK, WEATHER, ask
from tests.live.clients import LONGEST_SILENCE
from tests.live.routers import RunningRouter, new_token
from tests.support.practice import MODEL, last_request

T = TypeVar("T")


def with_client(base_url: str, story: Callable[[anthropic.AsyncAnthropic], Awaitable[T]]) -> T:
    """Run a story with an asynchronous client and a token."""

    async def run() -> T:
        async with anthropic.AsyncAnthropic(
            api_key=new_token(), base_url=base_url, max_retries=0, timeout=LONGEST_SILENCE
        ) as client:
            return await story(client)

    return asyncio.run(run())


def test_messages_streams_and_counts(base_url: str) -> None:
    async def story(client: anthropic.AsyncAnthropic) -> None:
        whole = await client.messages.create(**ask("go\n/tools\n/think", tools=[WEATHER, CLOCK]))
        async with client.messages.stream(**ask("go\n/tools\n/think", tools=[WEATHER, CLOCK])) as stream:
            streamed = await stream.get_final_message()
        assert [block.type for block in streamed.content] == ["thinking", "tool_use", "tool_use"]
        assert [block.type for block in whole.content] == [block.type for block in streamed.content]
        assert (await client.messages.count_tokens(model=MODEL, messages=ask()["messages"])).input_tokens > 0

    with_client(base_url, story)


def test_batches_and_files(base_url: str) -> None:
    async def story(client: anthropic.AsyncAnthropic) -> None:
        created = await client.messages.batches.create(requests=[{"custom_id": "one", "params": ask()}])  # type: ignore[typeddict-item]
        assert (await client.messages.batches.retrieve(created.id)).processing_status == "ended"
        assert [line.custom_id async for line in await client.messages.batches.results(created.id)] == ["one"]
        stored = await client.files.upload(file=("a.txt", b"content", "text/plain"))
        assert await (await client.files.download(stored.id)).read() == b"content"
        await client.files.delete(stored.id)

    with_client(base_url, story)


def test_errors_and_cuts(base_url: str) -> None:
    async def story(client: anthropic.AsyncAnthropic) -> None:
        with pytest.raises(anthropic.OverloadedError):
            await client.messages.create(**ask("/error 529"))
        with pytest.raises(anthropic.APIStatusError, match="lost before the answer was complete"):
            async with client.messages.stream(**ask("/cut 5")) as stream:
                await stream.get_final_message()
        with pytest.raises(anthropic.APIConnectionError):
            await client.messages.create(**ask("/cut 50"))

    with_client(base_url, story)


def test_a_cancelled_task_cancels_the_request(upstream: PracticeUpstream, base_url: str) -> None:
    async def story(client: anthropic.AsyncAnthropic) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with client.messages.stream(**ask("/size 10000\n/slow 5")) as stream:
                async for _ in stream.text_stream:
                    begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    with_client(base_url, story)
    assert last_request(upstream, lambda seen: seen.ending is not None).ending is Ending.CLIENT_LEFT


@pytest.mark.slow
def test_a_hundred_streams_run_at_once(upstream: PracticeUpstream, router: RunningRouter) -> None:
    """Each stands in the middle of its answer until all do; the provider's own gaps keep them open."""
    count = 100

    async def story(client: anthropic.AsyncAnthropic) -> list[str]:
        everyone = asyncio.Barrier(count)

        async def read(number: int) -> str:
            async with client.messages.stream(**ask(f"stream {number}\n/slow 2")) as stream:
                pieces = stream.text_stream
                text = await anext(pieces)
                await everyone.wait()
                return text + "".join([piece async for piece in pieces])

        return await asyncio.gather(*(read(number) for number in range(count)))

    texts = with_client(router.origin, story)
    assert [f"You said: “stream {number}”." in text for number, text in enumerate(texts)] == [True] * count
    assert upstream.until(lambda: upstream.connections <= 64), "more idle connections are kept than configured"


@pytest.mark.slow
def test_fifty_whole_answers_do_not_mix(router: RunningRouter) -> None:
    async def story(client: anthropic.AsyncAnthropic) -> None:
        async def one(number: int) -> None:
            message = await client.messages.create(**ask(f"message {number}"))
            assert message.content[0].type == "text"
            assert f"You said: “message {number}”." in message.content[0].text

        await asyncio.gather(*(one(number) for number in range(50)))

    with_client(router.origin, story)
