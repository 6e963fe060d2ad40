"""Requests of OpenAI's two APIs that the live tests share, as arguments of the SDK's methods."""

from typing import Any, Final

from tests.live.asks import PIXEL

MODEL: Final = "gpt-4o"
THINKER: Final = "gpt-5"

PARAMETERS: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
NOTHING: Final = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
TITLE: Final = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "pages": {"type": "integer"}},
    "required": ["title", "pages"],
    "additionalProperties": False,
}
PDF: Final = "data:application/pdf;base64,JVBERi0xLjcK"
PNG: Final = f"data:image/png;base64,{PIXEL}"


def chat_function(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """A tool as Chat Completions declares it; strict, so that the SDK's helpers take it."""
    function = {"name": name, "description": f"Tells the {name}.", "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


def function(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """A tool as the Responses API declares it."""
    return {"type": "function", "name": name, "parameters": parameters, "strict": True}


CHAT_TOOLS: Final = [chat_function("weather", PARAMETERS), chat_function("clock", NOTHING)]
TOOLS: Final = [function("weather", PARAMETERS), function("clock", NOTHING)]


def says(text: str) -> dict[str, Any]:
    """One user message."""
    return {"role": "user", "content": text}


def chat(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A small Chat Completions request; ``fields`` add to it or replace."""
    return {"model": MODEL, "messages": [says(text)], **fields}


def response(said: str = "hello", /, **fields: Any) -> dict[str, Any]:
    """A small Responses request."""
    return {"model": MODEL, "input": said, **fields}


CHATS: Final[dict[str, dict[str, Any]]] = {
    "plain": chat(),
    "unicode": chat("naïve 漢字 🎉 \u2028 end"),
    "instructions": chat(messages=[{"role": "system", "content": "Be brief."}, says("hello")]),
    "numbers": chat(temperature=0.7, max_completion_tokens=500),
    "thinking": chat(reasoning_effort="high", model=THINKER),
    "a forced tool": chat(
        tools=CHAT_TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}}, max_tokens=300
    ),
    "parallel tools": chat("go\n/tools", tools=CHAT_TOOLS),
    "a call without arguments": chat("go\n/tools clock", tools=CHAT_TOOLS),
    "thinking and tools": chat("go\n/tools\n/think redacted", tools=CHAT_TOOLS),
    "structured output": chat(
        "Rain", response_format={"type": "json_schema", "json_schema": {"name": "t", "strict": True, "schema": TITLE}}
    ),
    "any JSON": chat(response_format={"type": "json_object"}),
    "an image": chat(
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}, says("what is it?")]
    ),
    "a long answer": chat("/size 200"),
    "small writes": chat("hello\n/split 7"),
}
"""One request for each thing that an answer can hold, which ends by itself."""

CUT_SHORT: Final[dict[str, dict[str, Any]]] = {
    "a stop sequence": chat("one STOP two", stop=["STOP"]),
    "too few tokens": chat(max_completion_tokens=3),
    "a refusal": chat("/stop refusal"),
    "a pause": chat("/stop pause_turn"),
    "a custom tool": chat("go\n/tools", tools=[{"type": "custom", "custom": {"name": "shell"}}]),
    "the legacy function": chat("go\n/tools", functions=[{"name": "clock", "parameters": NOTHING}]),
}
"""What the SDK's stream helper does not take, or answers with an exception."""

RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "plain": response(),
    "unicode": response("naïve 漢字 🎉 \u2028 end"),
    "instructions": response(instructions="Be brief.", temperature=0.2, max_output_tokens=500),
    "messages": response(
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        ]
    ),
    "thinking": response(model=THINKER, reasoning={"effort": "high", "summary": "auto"}),
    "thinking that is not shown": response(
        model=THINKER, reasoning={"effort": "high"}, include=["reasoning.encrypted_content"], store=False
    ),
    "redacted thinking": response("go\n/think redacted", include=["reasoning.encrypted_content"]),
    "a forced tool": response(tools=TOOLS, tool_choice={"type": "function", "name": "weather"}),
    "parallel tools": response("go\n/tools", tools=TOOLS),
    "thinking and tools": response("go\n/tools\n/think", tools=TOOLS),
    "a custom tool": response("go\n/tools", tools=[{"type": "custom", "name": "shell"}]),
    "structured output": response(
        "Rain", text={"format": {"type": "json_schema", "name": "t", "strict": True, "schema": TITLE}}
    ),
    "an image": response(
        input=[{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "auto"}]}]
    ),
    "too few tokens": response(max_output_tokens=3),
    "a refusal": response("/stop refusal"),
    "a pause": response("/stop pause_turn"),
    "a long answer": response("/size 200"),
    "small writes": response("hello\n/split 7"),
}
"""One request for each thing that a response can hold."""
