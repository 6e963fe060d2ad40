"""``python -m benchmarks.upstream``: an upstream that does as little as possible, so that it is never the bottleneck.

It answers every request, by three of the directives that the practice upstream knows: ``size`` deltas, ``slow``
milliseconds before each event, ``stall`` after so many events; of a translated request only the user agent can carry
them. Without ``size`` the answer is one whole message. Each
event is a write of its own, so that it is a read of its own for whoever relays it.
"""

import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Final, final

from benchmarks.traffic import CLOSING_EVENTS, DELTA, LAST_CHUNK, OPENING_EVENTS, STREAM_HEAD, WHOLE_RESPONSE, chunk

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_WISHES: Final = re.compile(rb"\r\n(?:x-practice|user-agent):([^\r]*)", re.IGNORECASE)
_WISH: Final = re.compile(rb"(\w+)=(\d+)")


@final
class Connection:
    """One client: bytes of requests in, answers out."""

    def __init__(self, accepted: socket.socket, schedule: "Schedule") -> None:
        self.socket = accepted
        self._schedule = schedule
        self._head = b""
        self._wishes: dict[bytes, int] = {}
        self._missing = 0

    def received(self, data: bytes) -> None:
        """More of a request; when it is whole it is answered."""
        if not self._missing:
            self._head += data
            head, blank, body = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            self._head = b""
            length = _CONTENT_LENGTH.search(head)
            self._wishes = {name: int(value) for name, value in _WISH.findall(b"".join(_WISHES.findall(head)))}
            self._missing = int(length[1]) if length else 0
            data = body
        self._missing -= len(data)
        if not self._missing:
            self._answer(self._wishes)

    def _answer(self, wishes: dict[bytes, int]) -> None:
        if b"size" not in wishes:
            self.socket.sendall(WHOLE_RESPONSE)
            return
        self.socket.sendall(STREAM_HEAD)
        self._schedule.add(self, stream(wishes[b"size"], wishes.get(b"stall")), wishes.get(b"slow", 0) / 1000)


@final
class Schedule:
    """The events that are still to be sent, and when; a late one delays those after it, so none catch up in a burst."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Connection, Iterator[bytes], float]] = []
        self._order = count()

    def add(self, connection: Connection, events: Iterator[bytes], gap: float) -> None:
        heappush(self._due, (time.monotonic() + gap, next(self._order), connection, events, gap))

    def wait(self) -> float | None:
        """Seconds until the next event; None while there is none."""
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, connection, events, gap = heappop(self._due)
            event = next(events, None)
            if event is None or connection.socket.fileno() < 0:
                continue
            try:
                connection.socket.sendall(event)
            except OSError:
                continue
            self.add(connection, events, gap)


def stream(deltas: int, stall: int | None) -> Iterator[bytes]:
    """The writes of an answer after its head."""
    for number, event in enumerate(_events(deltas)):
        if number == stall:
            return
        yield chunk(event) if event is not CLOSING_EVENTS[-1] else chunk(event) + LAST_CHUNK


def serve(listener: socket.socket) -> None:
    """Answer until killed."""
    schedule = Schedule()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select(schedule.wait()):
            if key.data is None:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ, Connection(accepted, schedule))
                continue
            connection: Connection = key.data
            try:
                data = connection.socket.recv(256 * 1024)
                if data:
                    connection.received(data)
            except OSError:
                data = b""
            if not data:
                selector.unregister(connection.socket)
                connection.socket.close()
        schedule.send_due()


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(f"Listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        serve(listener)


def _events(deltas: int) -> Iterator[bytes]:
    yield from OPENING_EVENTS
    for _ in range(deltas):
        yield DELTA % time.monotonic_ns()
    yield from CLOSING_EVENTS


if __name__ == "__main__":
    main()
