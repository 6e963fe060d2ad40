"""Server-sent events on bytes (WHATWG HTML, "Server-sent events"): reading, writing, and cutting a stream visibly."""

from typing import Final, final

import msgspec

from protocol.errors import LocalError, Refusal

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""The longest event that a translation holds in memory. Pass-through holds none, so it has no such limit."""

COMMENT: Final = b": keep-alive\n\n"
"""A line that every client skips. Put into a relayed stream it may only stand between two events."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINES_OF_AN_EVENT: Final = 3
"""What the API sends: an event line, a data line and a blank line."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its type (``message`` where the stream names none) and its data lines joined by line feeds."""

    event: bytes
    data: bytes


@final
class SseDecoder:
    """Turns a body into events, whatever its line endings and wherever the reads were cut.

    Nothing is decoded to text. ``id`` and ``retry`` serve reconnecting browsers; they are passed over, as comments are.

    :param max_event_bytes: the longest event accepted, counted without the line ends around it.
    """

    __slots__ = ("_after_cr", "_buffer", "_limit", "_opening", "_plain", "_refusal", "_scanned")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._plain = False
        self._opening: bytes | None = b""
        self._after_cr = False
        self._buffer = bytearray()
        self._scanned = 0
        self._refusal: Refusal | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that these bytes complete.

        :raises Refusal: 502, an event is over the limit. If others came before it, these are returned and the next call
            raises.
        """
        # Most reads are whole events that come after whole events, and most of these are one event of two lines.
        if self._plain and data.endswith(b"\n\n"):
            lines = data.splitlines()
            if len(lines) != _LINES_OF_AN_EVENT or len(data) > self._limit:
                return self._events(data)
            name, _, event = lines[0].partition(b": ")
            field, _, payload = lines[1].partition(b": ")
            if name == b"event" and field == b"data":
                return [SseEvent(event or b"message", payload)]
            return _parse(lines)
        if self._refusal is not None:
            raise self._refusal
        if self._opening is not None:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        return self._split(data)

    def finish(self) -> bool:
        """The body ended: whether it did so between two events. An event left open is dropped, as the standard says.

        :raises Refusal: 502, an event was over the limit and no ``feed`` has said so yet.
        """
        if self._refusal is not None:
            raise self._refusal
        return not self._buffer and not self._opening

    def _without_mark(self, data: bytes) -> bytes:
        opening = (self._opening or b"") + data
        if len(opening) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(opening):
            self._opening = opening
            return b""
        self._opening = None
        return opening.removeprefix(_BYTE_ORDER_MARK)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """The same lines ended by LF. A CR counts at once; if its LF is still to come, that one is dropped then."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _split(self, data: bytes) -> list[SseEvent]:
        buffer = self._buffer
        buffer += data if buffer else data.lstrip(b"\n")
        end = buffer.rfind(b"\n\n", self._scanned) + 2
        events: list[SseEvent] = []
        if end >= 2:
            events = self._events(bytes(buffer[:end]))
            del buffer[:end]
        self._scanned = max(0, len(buffer) - 1)
        self._plain = self._opening is None and self._refusal is None and not self._after_cr and not buffer
        if len(buffer) > self._limit and len(buffer.rstrip(b"\n")) > self._limit:
            self._refuse(events)
        return events

    def _events(self, text: bytes) -> list[SseEvent]:
        """The events in text that ends with a blank line."""
        if len(text) > self._limit:
            return self._long_events(text)
        events: list[SseEvent] = []
        lines = text.splitlines()  # of bytes, hence by LF, CR and CRLF and by nothing else, as the standard has it
        for at in range(0, len(lines), _LINES_OF_AN_EVENT):
            name, _, event = lines[at].partition(b": ")
            if name != b"event":
                return events + _parse(lines[at:])
            field, _, payload = lines[at + 1].partition(b": ")
            if field != b"data" or lines[at + 2]:
                return events + _parse(lines[at:])
            events.append(SseEvent(event or b"message", payload))
        return events

    def _long_events(self, text: bytes) -> list[SseEvent]:
        """The events up to the one that is over the limit, in a text that is so long that one may be."""
        events: list[SseEvent] = []
        for block in text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
            if len(block.strip(b"\n")) > self._limit:
                self._refuse(events)
                break
            events += _parse([*block.split(b"\n"), b""])
        return events

    def _refuse(self, events: list[SseEvent]) -> None:
        self._refusal = Refusal(502, f"the upstream sent an event of more than {self._limit} bytes")
        self._plain = False
        self._buffer.clear()
        if not events:
            raise self._refusal


def encode_sse(event: bytes, data: bytes) -> bytes:
    """One event. An empty ``event`` writes no event line; each line of ``data`` becomes a data line.

    :raises LocalError: a carriage return in ``data`` or any line end in ``event``, which the format cannot carry.
    """
    if b"\r" in data or b"\r" in event or b"\n" in event:
        raise LocalError("a server-sent event cannot carry this line end")
    lines = b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
    return b"event: " + event + b"\n" + lines if event else lines


START: Final = b"\n\n"
"""The start of a stream is a place between two events."""


@final
class EventBoundary:
    """Watches a stream that is relayed byte for byte, so that something may be added where it means what it should.

    :param tail: the last bytes that went to the client, at least four where there were as many.
    """

    __slots__ = ("_tail",)

    def __init__(self, tail: bytes = START) -> None:
        self._tail = tail

    def seen(self, data: bytes) -> None:
        """These bytes went to the client."""
        self._tail = data[-4:] if len(data) > 3 else (self._tail + data)[-4:]

    @property
    def at_boundary(self) -> bool:
        """Whether the last event is complete and the next has not begun."""
        before = _before_line_end(self._tail)
        return before is not None and _before_line_end(before) is not None

    def closing_error(self, frame: bytes) -> bytes:
        """What to send so that every client sees the error, wherever the stream was cut.

        :param frame: an ``error`` event, its event line first.

        Inside a line, that line is ended first. Inside an event the frame's fields join those already sent: the last
        event line wins, so the interrupted event itself becomes the error, with the error's data as its last line.
        """
        return frame if _before_line_end(self._tail) is not None else b"\n" + frame


def _parse(lines: list[bytes]) -> list[SseEvent]:
    """The events in these lines by the standard's rules; what follows the last blank line is dropped."""
    events: list[SseEvent] = []
    event = b""
    data: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        if not line:
            if data:
                events.append(SseEvent(event or b"message", b"\n".join(data)))
            event, data = b"", []
        elif name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
    return events


def _before_line_end(text: bytes) -> bytes | None:
    """The text without the line end it closes with, or None where its last line is open."""
    if text.endswith(b"\r\n"):
        return text[:-2]
    return text[:-1] if text.endswith((b"\n", b"\r")) else None
