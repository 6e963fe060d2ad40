"""Any bytes as an event stream: the events that the standard gives, however they arrive, or a 502 for the long one.

An error added by ``closing_error`` is the last event, wherever the bytes end.
"""

from typing import Final

from fuzz import fuzz
from protocol.errors import Refusal
from protocol.wire.sse import EventBoundary, SseDecoder, SseEvent, encode_sse
from tests.support.grammar import read_sse
from tests.support.splits import every_way

SMALL_LIMIT: Final = 24
FRAME: Final = encode_sse(b"error", b"{}")


def check(data: bytes) -> None:
    cuts = [len(data) // 2, len(data) // 3]
    told = [SseEvent(event.encode(), text.encode()) for event, text in read_sse(data)]
    limited = []
    for reads in every_way(data, cuts):
        decoder = SseDecoder()
        events = [event for read in reads for event in decoder.feed(read)]
        if data.isascii():
            assert events == told
        assert len(events) == len(told)
        limited.append(_read_with_limit(reads))
    assert limited[0] == limited[1] == limited[2]
    _closing_error_is_seen(data)


def _read_with_limit(reads: list[bytes]) -> tuple[list[SseEvent], int | None]:
    decoder = SseDecoder(SMALL_LIMIT)
    events: list[SseEvent] = []
    try:
        for read in reads:
            events += decoder.feed(read)
        decoder.finish()
    except Refusal as refusal:
        return events, refusal.status
    return events, None


def _closing_error_is_seen(data: bytes) -> None:
    boundary = EventBoundary()
    boundary.seen(data)
    event, text = read_sse(data + boundary.closing_error(FRAME))[-1]
    assert event == "error"
    assert text.split("\n")[-1] == "{}"


if __name__ == "__main__":
    fuzz(check)
