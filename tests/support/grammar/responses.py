"""Responses API streams (OpenAI API reference, "Streaming events")."""

from typing import Any

from tests.support.grammar.items import ITEMS, Item
from tests.support.grammar.rules import End, count, json_object, name, reading, require, text
from tests.support.grammar.sse import read_sse

ENDS = {
    "response.completed": ("completed", End.COMPLETE),
    "response.incomplete": ("incomplete", End.COMPLETE),
    "response.failed": ("failed", End.FAILED),
}


def check_responses(stream: bytes) -> End:
    """``created``, ``in_progress``, items one after the other, each with its own lifecycle, then one end.

    Every event names its type twice and counts ``sequence_number`` up from 0. The response that ends the stream repeats
    exactly the items that were told.
    """
    response = _Response()
    for number, (event, data) in enumerate(read_sse(stream)):
        with reading(f"event {number}, {event}"):
            require(response.end is None, "an event after the end")
            fields = json_object(data)
            require(fields["type"] == event, f"data says {fields['type']}")
            require(fields["sequence_number"] == number, f"sequence_number is {fields['sequence_number']}")
            response.take(event, fields, number)
    return response.end or End.CUT


class _Response:
    def __init__(self) -> None:
        self.end: End | None = None
        self._constant: tuple[object, ...] | None = None
        self._item: Item | None = None
        self._done: list[dict[str, Any]] = []

    def take(self, event: str, fields: dict[str, Any], number: int) -> None:
        opening = {0: "response.created", 1: "response.in_progress"}.get(number)
        require(event == opening if opening else event not in ("response.created", "response.in_progress"), "order")
        if opening:
            response = fields["response"]
            self._check_constant(response)
            require(response["status"] == "in_progress", "a response that begins is in progress")
            require(response["output"] == [] and response["usage"] is None, "a response begins empty")
        elif event in ENDS:
            self._check_end(event, fields["response"])
        elif event == "response.output_item.added":
            self._check_added(fields)
        elif event == "response.output_item.done":
            self._check_done(fields)
        else:
            require(self._item is not None, "no item is open")
            assert self._item is not None
            require(fields["item_id"] == self._item.id, "an event for an item that is not open")
            require(fields["output_index"] == len(self._done), "output_index")
            self._item.take(event, fields)

    def _check_constant(self, response: dict[str, Any]) -> None:
        constant = tuple(response[field] for field in ("id", "object", "created_at", "model"))
        require(self._constant in (None, constant), f"{constant} does not continue {self._constant}")
        require(response["object"] == "response", "not a response")
        require(name(response["id"], "id").startswith("resp_"), "id")
        count(response["created_at"], "created_at")
        name(response["model"], "model")
        require(isinstance(response["parallel_tool_calls"], bool), "parallel_tool_calls")
        require("tool_choice" in response and isinstance(response["tools"], list), "tools and tool_choice are required")
        self._constant = constant

    def _check_added(self, fields: dict[str, Any]) -> None:
        require(self._item is None, "an item begins before the previous one is done")
        require(fields["output_index"] == len(self._done), "output_index")
        item = fields["item"]
        require(item["type"] in ITEMS, f"an item of type {item['type']}")
        require(all(item["id"] != done["id"] for done in self._done), "two items with one id")
        self._item = ITEMS[item["type"]](item)

    def _check_done(self, fields: dict[str, Any]) -> None:
        require(self._item is not None, "no item is open")
        assert self._item is not None
        require(fields["output_index"] == len(self._done), "output_index")
        self._item.check_done(fields["item"])
        self._done.append(fields["item"])
        self._item = None

    def _check_end(self, event: str, response: dict[str, Any]) -> None:
        status, self.end = ENDS[event]
        self._check_constant(response)
        require(response["status"] == status, f"{event} with status {response['status']}")
        require(response["output"] == self._done, "the response does not repeat its items")
        if status == "failed":
            name(response["error"]["code"], "error.code")
            text(response["error"]["message"], "error.message")
            return
        require(self._item is None, "an item was never done")
        require(response["error"] is None, "an error in a response that did not fail")
        details = response["incomplete_details"]
        require((details is not None) == (status == "incomplete"), "incomplete_details go with incomplete")
        if details is not None:
            require(details["reason"] in ("max_output_tokens", "content_filter"), f"reason {details['reason']!r}")
        usage = response["usage"]
        given = count(usage["input_tokens"], "input_tokens")
        made = count(usage["output_tokens"], "output_tokens")
        require(usage["total_tokens"] == given + made, "the total is not the sum")
        require(
            count(usage["input_tokens_details"]["cached_tokens"], "cached_tokens") <= given, "more cached than sent"
        )
        count(usage["output_tokens_details"]["reasoning_tokens"], "reasoning_tokens")
