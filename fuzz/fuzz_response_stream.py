"""Any bytes from an upstream that should be a stream of the Responses API: a legal Anthropic stream comes of it.

It is complete or it has failed, and says so itself; reads make no difference; and a client of Chat Completions that is
served through the same stream gets a legal one, too. The same bytes are taken twice: as a stream, and as a recipe in
which each byte stands for an event, so that whole streams are met and not only broken ones.
"""

from collections.abc import Callable
from typing import Final

from fuzz import fuzz
from protocol.relays import Relay
from protocol.translate.call import Dialect, TranslatedRequest
from protocol.translate.chained import ChainedRelay
from protocol.translate.chat_stream import ChatStream
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest
from tests.support.grammar import End, check_anthropic, check_chat
from tests.support.responses_answers import called, event, reasoned, response, said, text
from tests.support.splits import byte_by_byte

RECIPE: Final = 30
"""The longest recipe, in events; more of them take longer and show nothing new."""

SLOWLY: Final = 400
"""How much of a stream arrives byte by byte."""

CALL: Final = CarriedRequest(body=b"", requested_model="m", upstream_model="m", stream=True, shows_thinking=True)
REQUEST: Final = TranslatedRequest(dialect=Dialect.CHAT, body=b"", requested_model="m", upstream_model="m", stream=True)


def _delta(kind: str, place: int, delta: object, summary_index: int = 0) -> bytes:
    return event(f"response.{kind}.delta", output_index=place, delta=delta, summary_index=summary_index)


def _item(step: str, place: int, item: object) -> bytes:
    return event(f"response.output_item.{step}", output_index=place, item=item)


EVENTS: Final = (
    event("response.created", response=response(status="in_progress")),
    event("response.in_progress", response=response(status="in_progress")),
    _item("added", 0, said()),
    _delta("output_text", 0, "a"),
    _delta("output_text", 0, " "),
    _delta("output_text", 4, "b"),
    _delta("refusal", 0, "c"),
    _item("done", 0, said(text("a"))),
    _item("added", 1, called("run", "")),
    _delta("function_call_arguments", 1, '{"a":"\\\\'),
    _delta("function_call_arguments", 1, '"}"}'),
    _delta("function_call_arguments", 1, " "),
    _item("done", 1, called("run", '{"a":1}')),
    _item("added", 2, called("", "")),
    _item("done", 2, called("late", "{}", "call_2")),
    _delta("function_call_arguments", 2, "{}"),
    _delta("reasoning_summary_text", 3, "d"),
    _delta("reasoning_summary_text", 3, "e", 1),
    _delta("reasoning_text", 3, ""),
    _item("done", 3, reasoned("d", "e")),
    _item("done", 3, reasoned(encrypted="f")),
    _item("done", 5, reasoned(encrypted="g", id="rs_2")),
    _item("done", 6, {"type": "web_search_call", "id": 5}),
    event("response.completed", response=response()),
    event("response.incomplete", response=response(status="incomplete")),
    event("response.failed", response=response(status="failed", error={"code": "server_error", "message": "m"})),
    event("response.completed", response=response(status="queued")),
    event("error", code=None, message="m"),
    event("response.output_text.annotation.added", output_index="x"),
    event("response.novelty", delta={"a": 1}),
    _delta("output_text", 0, 5),
    b"data: {}\n\n",
    b"data: " + b"[" * 1100 + b"\n\n",
)
"""What a byte of the recipe stands for."""


def check(data: bytes) -> None:
    for stream in (data, b"".join(EVENTS[byte % len(EVENTS)] for byte in data[:RECIPE])):
        _translates(stream, lambda: MessagesFromResponses(CALL, identity="req_1"), check_anthropic)
        _translates(
            stream,
            lambda: ChainedRelay(MessagesFromResponses(CALL, identity="req_1"), ChatStream(REQUEST, created=1)),
            check_chat,
        )


def _translates(stream: bytes, translator: Callable[[], Relay], grammar: Callable[[bytes], End]) -> None:
    written = set()
    for reads in ([stream], [*byte_by_byte(stream[:SLOWLY]), stream[SLOWLY:]]):
        relay = translator()
        written.add(b"".join(map(relay.feed, reads)) + relay.finish())
        assert relay.feed(b"data: more\n\n") == b""
        assert relay.complete is not relay.failed
        assert grammar(min(written)) is (End.FAILED if relay.failed else End.COMPLETE)
    assert len(written) == 1


if __name__ == "__main__":
    fuzz(check)
