"""Chat completion streams (OpenAI API reference, "Chat completion chunk")."""

from typing import Any

from tests.support.grammar.rules import End, count, json_object, name, reading, require, text
from tests.support.grammar.sse import read_sse

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}


def check_chat(stream: bytes, *, include_usage: bool = False) -> End:
    """Chunks of one completion, the role first, then deltas, one finish reason, a usage chunk if asked for, ``[DONE]``.

    An ``error`` object ends the stream, and nothing follows it: no finish, no ``[DONE]``.
    """
    completion = _Completion(include_usage)
    for number, (event, data) in enumerate(read_sse(stream)):
        with reading(f"frame {number}"):
            require(completion.end is None, "a frame after the end")
            require(event == "message", f"an event line: {event}")
            if data == "[DONE]":
                completion.done()
            else:
                completion.take(json_object(data))
    return completion.end or End.CUT


class _Completion:
    def __init__(self, include_usage: bool) -> None:
        self.end: End | None = None
        self._include_usage = include_usage
        self._constant: tuple[object, ...] | None = None
        self._finish: str | None = None
        self._usage_seen = False
        self._calls: dict[int, str] = {}
        self._open_call = -1
        self._function_named = False
        self._thinking_told = False

    def take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self._check_error(chunk)
            return
        constant = tuple(chunk[field] for field in ("id", "object", "created", "model"))
        require(chunk["object"] == "chat.completion.chunk", "not a chunk")
        name(chunk["id"], "id")
        name(chunk["model"], "model")
        count(chunk["created"], "created")
        require(self._constant in (None, constant), f"{constant} does not continue {self._constant}")
        if chunk["choices"] == []:
            self._check_usage(chunk["usage"])
        else:
            self._check_choice(chunk, first=self._constant is None)
        self._constant = constant

    def done(self) -> None:
        require(self._finish is not None, "[DONE] without a finish reason")
        require(self._usage_seen == self._include_usage, "the usage chunk is there if and only if it was asked for")
        self.end = End.COMPLETE

    def _check_error(self, chunk: dict[str, Any]) -> None:
        require(set(chunk) == {"error"}, "an error frame with other fields")
        error = chunk["error"]
        require(set(error) == {"message", "type", "param", "code"}, "not OpenAI's error object")
        text(error["message"], "error.message")
        name(error["type"], "error.type")
        self.end = End.FAILED

    def _check_choice(self, chunk: dict[str, Any], *, first: bool) -> None:
        require(not self._usage_seen, "a choice after the usage chunk")
        require(self._finish is None, "a choice after the finish reason")
        if self._include_usage:
            require(chunk["usage"] is None, "usage in a chunk with a choice")
        else:
            require("usage" not in chunk, "usage that nobody asked for")
        [choice] = chunk["choices"]
        require(choice["index"] == 0, "a choice that nobody asked for")
        delta = choice["delta"]
        require(("role" in delta) == first, "the role is in the first chunk and in no other")
        self._check_delta(delta)
        if choice["finish_reason"] is not None:
            require(choice["finish_reason"] in FINISH_REASONS, f"finish_reason {choice['finish_reason']!r}")
            require(delta == {}, "the finishing chunk has a delta")
            self._finish = choice["finish_reason"]
            if self._finish == "tool_calls":
                require(bool(self._calls), "finished for calls without a call")
            if self._finish == "function_call":
                require(self._function_named, "finished for a call without a call")

    def _check_delta(self, delta: dict[str, Any]) -> None:
        if "role" in delta:
            require(delta["role"] == "assistant", "not the assistant's")
        for field in ("content", "refusal", "reasoning_content"):
            if delta.get(field) is not None:
                text(delta[field], field)
        for call in delta.get("tool_calls") or []:
            self._check_call(call)
        if "function_call" in delta:
            self._check_function_call(delta["function_call"])
        if "thinking_blocks" in delta:
            require(not self._thinking_told, "thinking blocks come in one frame")
            for block in delta["thinking_blocks"]:
                name(block["signature" if block["type"] == "thinking" else "data"], "what proves a thinking block")
            self._thinking_told = True

    def _check_call(self, call: dict[str, Any]) -> None:
        index = count(call["index"], "tool call index")
        if index not in self._calls:
            require(index == len(self._calls), f"call {index} is not the next after {len(self._calls)}")
            self._calls[index] = call["type"]
            require(call["type"] in ("function", "custom"), f"a call of type {call['type']}")
            name(call["id"], "tool call id")
            name(call[call["type"]]["name"], "tool name")
            self._open_call = index
        else:
            require(index == self._open_call, f"call {index} goes on after call {self._open_call} began")
            require("id" not in call and "type" not in call, "a call is named twice")
        body = call[self._calls[index]]
        text(body["arguments" if self._calls[index] == "function" else "input"], "what a call is made with")

    def _check_function_call(self, call: dict[str, Any]) -> None:
        if not self._function_named:
            name(call["name"], "function name")
            self._function_named = True
        else:
            require("name" not in call, "a function call is named twice")
        text(call["arguments"], "arguments")

    def _check_usage(self, usage: dict[str, Any]) -> None:
        require(self._include_usage, "a usage chunk that nobody asked for")
        require(self._finish is not None and not self._usage_seen, "the usage chunk comes once, after the finish")
        prompt = count(usage["prompt_tokens"], "prompt_tokens")
        completion = count(usage["completion_tokens"], "completion_tokens")
        require(usage["total_tokens"] == prompt + completion, "the total is not the sum")
        require(
            count(usage["prompt_tokens_details"]["cached_tokens"], "cached_tokens") <= prompt, "more cached than sent"
        )
        self._usage_seen = True
