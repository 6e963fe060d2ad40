"""Any bytes from an upstream that should be a Chat Completions stream: a legal Anthropic stream comes of it.

It is complete or it has failed, and says so itself; reads make no difference; and a client of the Responses API that is
served through the same stream gets a legal one, too. The same bytes are taken twice: as a stream, and as a recipe in
which each byte stands for a chunk, so that whole streams are met and not only broken ones.
"""

from collections.abc import Callable
from typing import Final

from fuzz import fuzz
from protocol.relays import Relay
from protocol.translate.call import Dialect, Notes, TranslatedRequest
from protocol.translate.chained import ChainedRelay
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.responses_stream import ResponsesStream
from tests.support.chat_streams import DONE, chunk, frame, piece
from tests.support.grammar import End, check_anthropic, check_responses
from tests.support.splits import byte_by_byte

RECIPE: Final = 30
"""The longest recipe, in chunks; more of them take longer and show nothing new."""

SLOWLY: Final = 400
"""How much of a stream arrives byte by byte."""

CALL: Final = CarriedRequest(body=b"", requested_model="m", upstream_model="m", stream=True, shows_thinking=True)
REQUEST: Final = TranslatedRequest(
    dialect=Dialect.RESPONSES,
    body=b"",
    requested_model="m",
    upstream_model="m",
    stream=True,
    notes=Notes(encrypted_reasoning=True, echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}),
)

CHUNKS: Final = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": " "}),
    chunk({"reasoning_content": "b"}),
    chunk({"reasoning": "c", "content": "d"}),
    chunk({"refusal": "e"}),
    chunk(piece(0, "", "run", "call_0")),
    chunk(piece(0, '{"a":"\\')),
    chunk(piece(0, '"}"}')),
    chunk(piece(0, " ")),
    chunk(piece(1, '{"b":[1,{"c":', "patch", "call_1")),
    chunk(piece(1, "2}]}")),
    chunk(piece(2, "{}")),
    chunk(piece(2, None, "late")),
    chunk(piece(0, "{}", "again", "call_9")),
    chunk(piece(None, "{}", "loose")),
    chunk({"content": "f"} | piece(3, "[]", "both", "call_3")),
    chunk({}, "stop"),
    chunk({}, "tool_calls"),
    chunk({}, "length"),
    chunk({"content": "g"}, "content_filter", usage={"prompt_tokens": 3, "completion_tokens": 4}),
    chunk({}, "error"),
    frame({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}),
    frame({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}),
    frame({"error": {"message": "m", "code": 429}}),
    frame({"object": "error", "message": "m"}),
    frame({"choices": [{"delta": {"content": 5}}]}),
    b": a comment\n\n",
    b"event: ping\ndata: {}\n\n",
    b"data: " + b"[" * 1100 + b"\n\n",
    DONE,
)
"""What a byte of the recipe stands for."""


def check(data: bytes) -> None:
    for stream in (data, b"".join(CHUNKS[byte % len(CHUNKS)] for byte in data[:RECIPE])):
        _translates(stream, lambda: MessagesFromChat(CALL, identity="req_1"), check_anthropic)
        _translates(
            stream,
            lambda: ChainedRelay(MessagesFromChat(CALL, identity="req_1"), ResponsesStream(REQUEST, created=1)),
            check_responses,
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
