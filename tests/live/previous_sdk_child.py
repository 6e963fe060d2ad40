"""What the previous major of the SDK experiences with routers; a program that prints it as a JSON array.

It runs with that major on ``PYTHONPATH``, so nothing here may need the current one. Its arguments are pairs of a base
URL and how the client holds its token, ``api_key`` or ``auth_token``; the token comes on stdin.
"""

import asyncio
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import anthropic
from anthropic.types import MessageParam, ToolParam

Options: TypeAlias = Mapping[str, Any]

CLOCK: ToolParam = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
CALENDAR: ToolParam = {"name": "calendar", "input_schema": {"type": "object", "properties": {}}}


def ask(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5-5", "max_tokens": 500, "messages": [{"role": "user", "content": text}], **fields}


def failure(call: Callable[[], object]) -> list[object]:
    """The class and text of the exception that the call ends with."""
    try:
        call()
    except anthropic.APIError as error:
        return [type(error).__name__, getattr(error, "status_code", None), str(error)]
    return ["none", None, ""]


def streams(client: anthropic.Anthropic) -> dict[str, object]:
    with client.messages.stream(**ask("go\n/tools\n/think", tools=[CLOCK, CALENDAR])) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    with client.messages.create(**ask("/size 40"), stream=True) as events:
        count = sum(event.type == "content_block_delta" for event in events)
    return {
        "kinds": kinds,
        "blocks": [block.type for block in final.content],
        "stop": final.stop_reason,
        "deltas": count,
    }


def tool_turn(client: anthropic.Anthropic) -> str:
    first = client.messages.create(**ask("go\n/tools", tools=[CLOCK, CALENDAR]))
    turns: list[MessageParam] = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": block.id, "content": f"{block.name} ran"}
                for block in first.content
                if block.type == "tool_use"
            ],
        },
    ]
    last = client.messages.create(**ask(messages=turns, tools=[CLOCK, CALENDAR]))
    return "".join(block.text for block in last.content if block.type == "text")


def batch(client: anthropic.Anthropic) -> list[str]:
    created = client.messages.batches.create(requests=[{"custom_id": "one", "params": ask()}])  # type: ignore[typeddict-item]  # a plain dict
    client.messages.batches.retrieve(created.id)
    return [f"{line.custom_id} {line.result.type}" for line in client.messages.batches.results(created.id)]


def file(client: anthropic.Anthropic) -> str:
    stored = client.beta.files.upload(file=("note.txt", b"a note", "text/plain"))
    content = client.beta.files.download(stored.id).read()
    client.beta.files.delete(stored.id)
    return content.decode()


def failures(client: anthropic.Anthropic, stranger: anthropic.Anthropic) -> dict[str, list[object]]:
    def final(text: str) -> None:
        with client.messages.stream(**ask(text)) as stream:
            stream.get_final_message()

    def refused(status: int) -> list[object]:
        return failure(lambda: client.messages.create(**ask(f"/error {status} message=as wished")))

    found = {str(status): refused(status) for status in (400, 401, 403, 404, 413, 429, 500, 529)}
    found["error event"] = failure(lambda: final("/error-event"))
    found["cut"] = failure(lambda: final("/cut 5"))
    found["cut whole"] = failure(lambda: client.messages.create(**ask("/cut 50")))
    found["bad token"] = failure(lambda: stranger.messages.create(**ask()))
    return found


async def asynchronously(options: Options) -> dict[str, object]:
    async with anthropic.AsyncAnthropic(**options) as client:
        whole = await client.messages.create(**ask())
        async with client.messages.stream(**ask()) as stream:
            streamed = await stream.get_final_text()
        crowd = await asyncio.gather(*(client.messages.create(**ask(f"number {number}")) for number in range(20)))
        return {
            "whole": "".join(block.text for block in whole.content if block.type == "text"),
            "streamed": streamed,
            "crowd": len({message.id for message in crowd}),
        }


def experience(base_url: str, holding: str, token: str) -> dict[str, object]:
    options: Options = {"base_url": base_url, "max_retries": 0, holding: token}
    with anthropic.Anthropic(**options) as client, anthropic.Anthropic(**{**options, holding: "la_sk_bad"}) as stranger:
        plain = client.messages.create(**ask(), extra_headers={"x-live-mark": base_url})
        beta = client.beta.messages.create(
            **ask(), betas=["effort-2025-11-24"], extra_headers={"x-live-mark": f"beta {base_url}"}
        )
        return {
            "version": anthropic.__version__,
            "text": "".join(block.text for block in plain.content if block.type == "text"),
            "beta": beta.stop_reason,
            "streams": streams(client),
            "tools": tool_turn(client),
            "tokens": client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}]).input_tokens,
            "batch": batch(client),
            "file": file(client),
            "failures": failures(client, stranger),
            "async": asyncio.run(asynchronously(options)),
        }


def main() -> None:
    warnings.simplefilter("error", ResourceWarning)
    token = sys.stdin.read()
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    json.dump([experience(base_url, holding, token) for base_url, holding in pairs], sys.stdout)


if __name__ == "__main__":
    main()
