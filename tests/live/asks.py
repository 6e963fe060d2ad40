"""Requests of the Messages API that the live tests share, as arguments of the SDK's methods."""

from typing import Any, Final

from anthropic.types import MessageParam, ToolParam

from tests.support.practice import MODEL

WEATHER: Final[ToolParam] = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    },
}
CLOCK: Final[ToolParam] = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def says(text: str) -> list[MessageParam]:
    """One user turn."""
    return [{"role": "user", "content": text}]


def ask(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A small request; ``fields`` add to it or replace."""
    return {"model": MODEL, "max_tokens": 500, "messages": says(text), **fields}


SCHEMA: Final = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}

ASKS: Final[dict[str, dict[str, Any]]] = {
    "plain": ask(),
    "unicode": ask("naïve 漢字 🎉 \u2028 end"),
    "system with a cache marker": ask(
        system=[{"type": "text", "text": "Be brief. " * 50, "cache_control": {"type": "ephemeral"}}]
    ),
    "thinking": ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
    "redacted thinking": ask("go\n/think redacted"),
    "a forced tool": ask(tools=[WEATHER, CLOCK], tool_choice={"type": "tool", "name": "weather"}),
    "parallel tools": ask("go\n/tools", tools=[WEATHER, CLOCK]),
    "structured output": ask("Rain", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    "a stop sequence": ask("one STOP two", stop_sequences=["STOP"]),
    "too few tokens": ask(max_tokens=3),
    "a refusal": ask("/stop refusal"),
    "an image": ask(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "text", "text": "what is it?"},
                ],
            }
        ]
    ),
    "a long answer": ask("/size 1100"),
    "small writes": ask("hello\n/split 7"),
}
"""One request for each thing that a message can hold."""
