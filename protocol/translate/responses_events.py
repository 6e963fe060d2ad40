"""The frames of a Responses API stream: what is constant is serialised once, what varies is spliced in."""

from collections.abc import Mapping
from typing import Final, final

import msgspec

_json: Final = msgspec.json.Encoder().encode


@final
class ResponseEvents:
    """Writes the events of one stream and counts ``sequence_number`` up from 0 (OpenAI API reference, "Streaming")."""

    __slots__ = ("_sequence",)

    def __init__(self) -> None:
        self._sequence = -1

    def next(self) -> int:
        """The number of the event that is written now."""
        self._sequence += 1
        return self._sequence

    def event(self, kind: str, fields: Mapping[str, object]) -> bytes:
        """Any event, named by its type."""
        body = _json({"type": kind, **fields, "sequence_number": self.next()})
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
        return b'%b%b,"sequence_number":%d}\n\n' % (self._before, _json(piece), self._events.next())
