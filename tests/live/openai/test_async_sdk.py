"""The current SDK's asynchronous client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
import pytest
from pydantic import BaseModel

from cli.practice import Ending, PracticeUpstream
from tests.live.openai.asks import CHAT_TOOLS, TOOLS, chat, response, says
from tests.live.routers import new_token
from tests.support.practice import last_request

T = TypeVar("T")


class Title(BaseModel):
    title: str
    pages: int


def with_client(base_url: str, story: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
    """Run a story with an asynchronous client and a token."""

    async def run() -> T:
        async with openai.AsyncOpenAI(api_key=new_token(), base_url=base_url, max_retries=0) as client:
            return await story(client)

    return asyncio.run(run())


def test_completions_whole_streamed_and_parsed(base_url: str) -> None:
    async def story(client: openai.AsyncOpenAI) -> None:
        whole = (await client.chat.completions.create(**chat("go\n/tools", tools=CHAT_TOOLS))).choices[0]
        async with client.chat.completions.stream(**chat("go\n/tools", tools=CHAT_TOOLS)) as stream:
            streamed = (await stream.get_final_completion()).choices[0]
        assert whole.finish_reason == streamed.finish_reason == "tool_calls"
        calls = streamed.message.tool_calls or []
        assert [call.function.name for call in calls] == ["weather", "clock"]
        turns: list[Any] = [says("go"), streamed.message]
        turns += [{"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name} done"} for call in calls]
        last = await client.chat.completions.create(**chat(messages=turns, tools=CHAT_TOOLS))
        assert "clock done" in (last.choices[0].message.content or "")
        parsed = await client.chat.completions.parse(**chat("Rain"), response_format=Title)
        assert isinstance(parsed.choices[0].message.parsed, Title)

    with_client(base_url, story)


def test_responses_whole_streamed_and_parsed(base_url: str) -> None:
    async def story(client: openai.AsyncOpenAI) -> None:
        whole = await client.responses.create(**response("go\n/tools\n/think", tools=TOOLS))
        async with client.responses.stream(**response("go\n/tools\n/think", tools=TOOLS)) as stream:
            streamed = await stream.get_final_response()
        assert [item.type for item in streamed.output] == ["reasoning", "function_call", "function_call"]
        assert [item.type for item in whole.output] == [item.type for item in streamed.output]
        assert streamed.usage is not None
        assert whole.usage is not None
        assert streamed.usage.output_tokens == whole.usage.output_tokens
        parsed = await client.responses.parse(**response("Rain"), text_format=Title)
        assert isinstance(parsed.output_parsed, Title)

    with_client(base_url, story)


def test_models_errors_and_cuts(base_url: str) -> None:
    async def story(client: openai.AsyncOpenAI) -> None:
        assert "gpt-4o" in [model.id async for model in client.models.list()]
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**chat("/error 429"))
        with pytest.raises(openai.APIError, match="lost before the answer was complete"):
            async for _ in await client.chat.completions.create(**chat("/cut 5"), stream=True):
                pass
        kinds = []
        with pytest.raises(openai.APIConnectionError):
            async for event in await client.responses.create(**response("/cut 5"), stream=True):
                kinds.append(event.type)  # noqa: PERF401  # the exception is the point
        assert kinds[-1] == "response.failed"

    with_client(base_url, story)


def test_a_cancelled_task_cancels_the_request(upstream: PracticeUpstream, base_url: str) -> None:
    async def story(client: openai.AsyncOpenAI) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in await client.chat.completions.create(**chat("/size 10000\n/slow 5"), stream=True):
                begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    with_client(base_url, story)
    assert last_request(upstream, lambda seen: seen.ending is not None).ending is Ending.CLIENT_LEFT


def test_streams_of_both_apis_run_at_once(base_url: str) -> None:
    """Each stands in the middle of its answer until all do; the provider's own gaps keep them open."""
    count = 20

    async def story(client: openai.AsyncOpenAI) -> list[str]:
        everyone = asyncio.Barrier(count)

        async def read(number: int) -> str:
            if number % 2:
                chunks = await client.chat.completions.create(**chat(f"stream {number}\n/slow 2"), stream=True)
                await anext(chunks)
                await everyone.wait()
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            events = await client.responses.create(**response(f"stream {number}\n/slow 2"), stream=True)
            await anext(events)
            await everyone.wait()
            return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])

        return await asyncio.gather(*(read(number) for number in range(count)))

    texts = with_client(base_url, story)
    assert [f"You said: “stream {number}”." in text for number, text in enumerate(texts)] == [True] * count
