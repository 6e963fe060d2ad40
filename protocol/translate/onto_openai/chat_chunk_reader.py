"""The data of the events in a stream of Chat Completions, which names no event and sends each chunk on one line."""

from typing import Final, final

from protocol.wire.sse import MAX_EVENT_BYTES, SseDecoder

_FIELD: Final = b"data: "
_AFTER_FIELD: Final = len(_FIELD)
_LINES_OF_A_CHUNK: Final = 2
"""A data line and a blank line."""


@final
class ChunkReader:
    """Turns a body into the data of its events, wherever the reads were cut."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = SseDecoder()

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that these bytes complete.

        :raises Refusal: 502, an event is longer than a translation holds.
        """
        # Nearly every read is whole events of one line each that come after whole events, mostly a single one.
        if data.endswith(b"\n\n") and len(data) <= MAX_EVENT_BYTES and self._decoder.finish():
            lines = data.splitlines()
            if len(lines) == _LINES_OF_A_CHUNK and lines[0].startswith(_FIELD):
                return [lines[0][_AFTER_FIELD:]]
            chunks = [line[_AFTER_FIELD:] for line in lines[::2] if line.startswith(_FIELD)]
            if len(lines) == _LINES_OF_A_CHUNK * len(chunks) and not any(lines[1::2]):
                return chunks
        return [event.data for event in self._decoder.feed(data)]
