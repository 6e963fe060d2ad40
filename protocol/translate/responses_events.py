"""The frames of a Responses API stream: what is constant is serialised once, what varies is spliced in."""

from collections.abc import Mapping
from typing import Final, final

import msgspec

_json: Final = msgspec.json.Encoder().encode


@final
class ResponseEvents:
    """Writes the events of one stream and numbers them from 0 (OpenAI API reference, "Streaming").

    ``written`` is how many there are, which is the ``sequence_number`` of the next.
    """

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = 0

    def event(self, kind: str, fields: Mapping[str, object]) -> bytes:
        """Any event, named by its type."""
        body = _json({"type": kind, **fields, "sequence_number": self.written})
        self.written += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode("ascii"), body)


@final
class DeltaEvents:
    """Writes the many deltas of one part: all but the piece and the number is the same in each."""

    __slots__ = ("_before", "_events")

    def __init__(self, events: ResponseEvents, kind: str, fields: Mapping[str, object]) -> None:
        constant = _json({"type": kind, **fields})
        self._events = events
        self._before = b"event: %b\ndata: %b" % (kind.encode("ascii"), constant[:-1]) + b',"delta":'

    def write(self, piece: str) -> bytes:
        events = self._events
        number = events.written
        events.written = number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (self._before, _json(piece), number)
