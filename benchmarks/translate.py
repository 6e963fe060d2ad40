"""What the translation of a stream costs per event, against reading and writing the same JSON in the plain way.

``python -m benchmarks.translate`` prints it as JSON. A translation reads the event stream, too, and writes frames; the
yardstick does neither, only ``json.loads`` and ``json.dumps`` of each event's data. Both take turns in one run.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, Final

from benchmarks.report import Result, Table, Target, as_json, paired_ratio
from protocol.relays import Relay
from protocol.translate.call import Dialect, Notes, TranslatedRequest
from protocol.translate.chat_stream import ChatStream
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.responses_stream import ResponsesStream

EVENTS: Final = 1000
"""Deltas in a stream: text, thinking and arguments of a tool, in the proportions of an agent's turn."""

EVENTS_PER_READ: Final = (1, 16)
LIMIT_RATIO: Final = 0.6
CREATED: Final = 1_795_000_000

REQUEST: Final = TranslatedRequest(
    dialect=Dialect.CHAT,
    body=b"",
    requested_model="gpt-4o",
    upstream_model="claude-opus-5-5",
    stream=True,
    notes=Notes(reasoning_summary=True, echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}),
)
CALL: Final = CarriedRequest(
    body=b"", requested_model="claude-opus-5-5", upstream_model="gpt-4o", stream=True, shows_thinking=True
)
TRANSLATIONS: Final[Mapping[str, Mapping[str, Callable[[], Relay]]]] = {
    "Messages": {
        "chat": lambda: ChatStream(REQUEST, created=CREATED),
        "responses": lambda: ResponsesStream(REQUEST, created=CREATED),
    },
    "Chat Completions": {"messages": lambda: MessagesFromChat(CALL, identity="benchmark")},
    "Responses": {"messages": lambda: MessagesFromResponses(CALL, identity="benchmark")},
}
"""By what the upstream speaks: what the client gets instead."""

PLAIN: Final = "json.loads + json.dumps"

BLOCKS: Final = (
    (
        {"type": "thinking", "thinking": "", "signature": ""},
        "thinking_delta",
        "thinking",
        "I should look at the file. ",
    ),
    ({"type": "text", "text": ""}, "text_delta", "text", " Let me see what “main.py” does"),
    (
        {"type": "tool_use", "id": "toolu_1", "name": "edit", "input": {}},
        "input_json_delta",
        "partial_json",
        '"old": "x',
    ),
)
"""Each block's start, and the type, the field and the text of its deltas."""


def measure(*, quick: bool) -> Result:
    streams = {"Messages": agent_turn(), "Chat Completions": chat_turn(), "Responses": responses_turn()}
    spent = {spoken: _spent(events, TRANSLATIONS[spoken], 3 if quick else 60) for spoken, events in streams.items()}
    tables = tuple(_table(f"Translating a stream of {spoken}", costs) for spoken, costs in spent.items())
    return Result(tables, tuple(target for spoken, costs in spent.items() for target in _targets(spoken, costs)))


def _spent(
    events: Sequence[dict[str, Any]], translations: Mapping[str, Callable[[], Relay]], rounds: int
) -> dict[str, list[float]]:
    """CPU microseconds per event in each round, of the yardstick and of every translation."""
    data = [json.dumps(event) for event in events]
    frames = [_frame(event, text) for event, text in zip(events, data, strict=True)]
    steps: dict[str, Callable[[], None]] = {PLAIN: partial(_plainly, data)}
    for name, translation in translations.items():
        for size in EVENTS_PER_READ:
            reads = [b"".join(frames[at : at + size]) for at in range(0, len(frames), size)]
            steps[_row_name(name, size)] = partial(_relayed, translation, reads)
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begin = time.process_time_ns()
            step()
            spent[name].append((time.process_time_ns() - begin) / len(events) / 1000)
    return spent


def _frame(event: dict[str, Any], data: str) -> bytes:
    named = f"event: {event['type']}\n" if "type" in event else ""
    return f"{named}data: {data}\n\n".encode()


def agent_turn() -> list[dict[str, Any]]:
    """The events of a stream that thinks, talks and calls a tool, with as many deltas in each."""
    message = {"id": "msg_01", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 9}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, (start, kind, field, text) in enumerate(BLOCKS):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}
        events += [delta] * (EVENTS // len(BLOCKS))
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": EVENTS}})
    events.append({"type": "message_stop"})
    return events


def chat_turn() -> list[dict[str, Any]]:
    """The chunks of the same turn, as a server of OpenAI's protocol would stream it."""
    constant = {"id": "chatcmpl-01", "object": "chat.completion.chunk", "created": CREATED, "model": "gpt-4o"}
    call = {"index": 0, "id": "call_01", "type": "function", "function": {"name": "edit", "arguments": ""}}
    (*_, thought), (*_, text), (*_, piece) = BLOCKS
    told: list[tuple[dict[str, Any], int]] = [
        ({"role": "assistant", "content": ""}, 1),
        ({"reasoning_content": thought}, EVENTS // len(BLOCKS)),
        ({"content": text}, EVENTS // len(BLOCKS)),
        ({"tool_calls": [call]}, 1),
        ({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, EVENTS // len(BLOCKS)),
        ({}, 1),
    ]
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta, n in told for _ in range(n)
    ]
    choices[-1]["finish_reason"] = "tool_calls"
    usage = {"prompt_tokens": 9, "completion_tokens": EVENTS, "total_tokens": EVENTS + 9}
    return [*(constant | {"choices": [choice]} for choice in choices), constant | {"choices": [], "usage": usage}]


def responses_turn() -> list[dict[str, Any]]:
    """The events of the same turn, as a server of the Responses API would stream it."""
    response = {"id": "resp_01", "object": "response", "created_at": CREATED, "model": "gpt-5", "output": []}
    usage = {"input_tokens": 9, "output_tokens": EVENTS, "total_tokens": EVENTS + 9}
    (*_, thought), (*_, text), (*_, piece) = BLOCKS
    items: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"id": "rs_01", "type": "reasoning", "summary": []}, "reasoning_summary_text", thought),
        ({"id": "msg_01", "type": "message", "content": []}, "output_text", text),
        ({"id": "fc_01", "type": "function_call", "call_id": "c", "name": "edit"}, "function_call_arguments", piece),
    )
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response | {"status": "in_progress"}}]
    for place, (item, kind, delta) in enumerate(items):
        at = {"item_id": item["id"], "output_index": place}
        events.append({"type": "response.output_item.added", "output_index": place, "item": item})
        more = {"logprobs": [], "obfuscation": "aXk3vQ2"}
        events += [{"type": f"response.{kind}.delta", **at, "delta": delta, **more}] * (EVENTS // len(BLOCKS))
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    events.append({"type": "response.completed", "response": response | {"status": "completed", "usage": usage}})
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def _plainly(data: Sequence[str]) -> None:
    for text in data:
        json.dumps(json.loads(text))


def _relayed(translation: Callable[[], Relay], reads: Sequence[bytes]) -> None:
    relay = translation()
    for read in reads:
        relay.feed(read)
    relay.finish()


def _row_name(translation: str, events_per_read: int) -> str:
    return f"{translation}, {events_per_read} a read"


def _table(title: str, spent: dict[str, list[float]]) -> Table:
    rows = tuple(
        (name, min(costs), median(costs), 1e6 / median(costs), paired_ratio(costs, spent[PLAIN]))
        for name, costs in spent.items()
    )
    columns = ("", "us per event, min", "median", "events per second", "ratio to plain JSON")
    return Table(title, columns, rows, "CPU time; the ratio is the median over the rounds.")


def _targets(spoken: str, spent: dict[str, list[float]]) -> list[Target]:
    what = "CPU of a translated event against plain JSON of the same"
    return [
        Target(what, f"{spoken} to {name}", paired_ratio(spent[_row_name(name, 1)], spent[PLAIN]), LIMIT_RATIO, "times")
        for name in TRANSLATIONS[spoken]
    ]


if __name__ == "__main__":
    json.dump(as_json(measure(quick="--quick" in sys.argv)), sys.stdout, indent=2)
    print()
