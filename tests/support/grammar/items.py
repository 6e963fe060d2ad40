"""The lifecycles of the output items in a Responses API stream."""

from typing import Any, ClassVar

from tests.support.grammar.rules import GrammarError, name, require, text

STATUSES = ("completed", "incomplete")


class Item:
    """An item between ``output_item.added`` and ``output_item.done``."""

    prefix: str

    def __init__(self, item: dict[str, Any]) -> None:
        self.id = name(item["id"], "item id")
        require(self.id.startswith(self.prefix), f"id {self.id} of a {item['type']}")
        self.type = item["type"]

    def take(self, event: str, fields: dict[str, Any]) -> None:
        raise GrammarError(f"{event} in a {self.type} item")

    def check_done(self, item: dict[str, Any]) -> None:
        require(item["id"] == self.id and item["type"] == self.type, "done with another item than was added")


class Part:
    """A part that is announced, grows by deltas, is done, and is then confirmed.

    :param field: which field of the part holds what the deltas add up to, and what ``done`` calls it.
    """

    def __init__(self, part: dict[str, Any], field: str) -> None:
        self.type = part["type"]
        self._field = field
        self._pieces: list[str] = []
        self._whole: str | None = None
        require(part[field] == "", "a part begins empty")

    def delta(self, piece: object) -> None:
        require(self._whole is None, "a delta after done")
        self._pieces.append(text(piece, "delta"))

    def done(self, whole: object) -> None:
        require(self._whole is None, "done twice")
        self._whole = "".join(self._pieces)
        require(whole == self._whole, f"done says {whole!r}, the deltas {self._whole!r}")

    def confirm(self, part: dict[str, Any]) -> dict[str, Any]:
        require(self._whole is not None, "a part ends before its text does")
        require(part["type"] == self.type and part[self._field] == self._whole, "a part ends as another")
        return part


class Message(Item):
    prefix = "msg_"
    fields: ClassVar = {"output_text": "text", "refusal": "refusal"}
    contents = "content"
    index = "content_index"
    added, ended = "response.content_part.added", "response.content_part.done"

    def __init__(self, item: dict[str, Any]) -> None:
        super().__init__(item)
        self._check_empty(item)
        self._done: list[dict[str, Any]] = []
        self._part: Part | None = None

    def take(self, event: str, fields: dict[str, Any]) -> None:
        require(fields[self.index] == len(self._done), f"{self.index} is {fields[self.index]}")
        if event == self.added:
            require(self._part is None, "a part begins before the previous one is done")
            require(fields["part"]["type"] in self.fields, f"a part of type {fields['part']['type']}")
            self._part = Part(fields["part"], self.fields[fields["part"]["type"]])
            return
        require(self._part is not None, "no part is open")
        assert self._part is not None
        kind, field = self._part.type, self.fields[self._part.type]
        if event == self.ended:
            self._done.append(self._part.confirm(fields["part"]))
            self._part = None
        elif event == f"response.{self.event(kind)}.delta":
            self._part.delta(fields["delta"])
        elif event == f"response.{self.event(kind)}.done":
            self._part.done(fields[field])
        else:
            super().take(event, fields)

    def event(self, part: str) -> str:
        return part

    def check_done(self, item: dict[str, Any]) -> None:
        super().check_done(item)
        require(self._part is None, "an item ends before its part does")
        require((item.get(self.contents) or []) == self._done, "an item ends with other parts than were told")
        self._check_ended(item)

    def _check_empty(self, item: dict[str, Any]) -> None:
        require(item["content"] == [] and item["status"] == "in_progress", "a message begins empty and in progress")
        require(item["role"] == "assistant", "not the assistant's")

    def _check_ended(self, item: dict[str, Any]) -> None:
        require(bool(self._done), "a message that says nothing")
        require(item["status"] in STATUSES, f"status {item['status']}")


class Reasoning(Item):
    """Its text comes as a summary or as reasoning text: the first part decides."""

    prefix = "rs_"

    def __init__(self, item: dict[str, Any]) -> None:
        super().__init__(item)
        require(item["summary"] == [] and not item.get("content"), "reasoning begins empty")
        self._item = item
        self._form: Message | None = None

    def take(self, event: str, fields: dict[str, Any]) -> None:
        if self._form is None:
            self._form = _Summary(self._item) if "summary_index" in fields else _ReasoningText(self._item)
        self._form.take(event, fields)

    def check_done(self, item: dict[str, Any]) -> None:
        super().check_done(item)
        if self._form is not None:
            self._form.check_done(item)
        else:
            require(item["summary"] == [] and not item.get("content"), "reasoning that was never told")


class _ReasoningText(Message):
    prefix = "rs_"
    fields: ClassVar = {"reasoning_text": "text"}

    def _check_empty(self, item: dict[str, Any]) -> None:
        pass

    def _check_ended(self, item: dict[str, Any]) -> None:
        require(item["summary"] == [], "a summary that was never told")


class _Summary(Message):
    prefix = "rs_"
    fields: ClassVar = {"summary_text": "text"}
    contents = "summary"
    index = "summary_index"
    added, ended = "response.reasoning_summary_part.added", "response.reasoning_summary_part.done"

    def event(self, part: str) -> str:
        return "reasoning_summary_text"

    def _check_empty(self, item: dict[str, Any]) -> None:
        pass

    def _check_ended(self, item: dict[str, Any]) -> None:
        require(not item.get("content"), "reasoning text that was never told")


class Call(Item):
    prefix = "fc_"
    field = "arguments"
    event = "response.function_call_arguments"

    def __init__(self, item: dict[str, Any]) -> None:
        super().__init__(item)
        require(item["status"] == "in_progress", "a call begins in progress")
        self._named = {field: item.get(field) for field in ("call_id", "name", "namespace")}
        name(item["call_id"], "call_id")
        name(item["name"], "name")
        self._part = Part(item, self.field)

    def take(self, event: str, fields: dict[str, Any]) -> None:
        if event == f"{self.event}.delta":
            self._part.delta(fields["delta"])
        elif event == f"{self.event}.done":
            self._part.done(fields[self.field])
        else:
            super().take(event, fields)

    def check_done(self, item: dict[str, Any]) -> None:
        super().check_done(item)
        self._part.confirm(item)
        require(
            {field: item.get(field) for field in self._named} == self._named, "done with another call than was added"
        )
        require(item["status"] in STATUSES, f"status {item['status']}")


class CustomCall(Call):
    prefix = "ctc_"
    field = "input"
    event = "response.custom_tool_call_input"


ITEMS: dict[str, type[Item]] = {
    "message": Message,
    "reasoning": Reasoning,
    "function_call": Call,
    "custom_tool_call": CustomCall,
}
