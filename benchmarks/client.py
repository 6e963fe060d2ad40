"""The load: requests on raw sockets, all from one thread of this process, as cheap as Python allows.

A client that costs little leaves the cores to what is measured. It checks that each answer is whole and has status
200, and nothing else. Every call ends within ``MOST_SECONDS``.
"""

import random
import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, final

from benchmarks.processes import Address
from benchmarks.subjects import CANNED, Subject, lineup
from benchmarks.traffic import LAST_CHUNK

MOST_SECONDS: Final = 60.0
READ_SIZE: Final = 256 * 1024

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_STAMP: Final = re.compile(rb'"text":"(\d{19})"')


@dataclass
class Answer:
    """One answer as it came; instants are of the monotonic clock in nanoseconds, which upstream and client share."""

    sent_at: int
    reads: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def first_byte_ms(self) -> float:
        """From the first byte of the request to the first of the answer."""
        return (self.reads[0][0] - self.sent_at) / 1e6

    @property
    def gaps_ms(self) -> list[float]:
        """Between events, for those that came in reads of their own."""
        at = [when for when, data in self.reads if b"event: content_block_delta" in data]
        return [(later - earlier) / 1e6 for earlier, later in pairwise(at)]

    @property
    def ways_ms(self) -> list[float]:
        """From the upstream's send of each delta to its arrival here."""
        return [(when - int(stamp)) / 1e6 for when, data in self.reads for stamp in _STAMP.findall(data)]

    @property
    def events_per_read(self) -> float:
        """1.0 when no two events of the body came together; the last one brings the end with it."""
        counts = [data.count(b"event: ") for _, data in self.reads]
        return sum(counts) / max(1, sum(1 for count in counts if count))


@final
class Connection:
    """One kept-alive connection; one request at a time."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self._head = b""
        self._missing: int | None = None
        self._tail = b""
        self._in_body = False

    def start(self, request: bytes) -> None:
        """Send as much of a request as the socket takes; ``go_on`` sends the rest."""
        self._head, self._tail, self._in_body = b"", b"", False
        self.unsent = memoryview(request)
        self.go_on()

    def go_on(self) -> None:
        while self.unsent:
            try:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            except BlockingIOError:
                return

    def received(self, data: bytes) -> bool:
        """Whether these bytes complete the answer.

        :raises RuntimeError: it is not a 200, or the connection has ended.
        """
        if not data:
            raise RuntimeError(f"the connection ended within an answer that began {self._head[:300]!r}")
        if not self._in_body:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return False
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"an answer that is no 200: {self._head[:1000]!r}")
            self._in_body = True
            length = _CONTENT_LENGTH.search(head)
            self._missing = int(length[1]) if length else None
        if self._missing is None:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            return self._tail == LAST_CHUNK
        self._missing -= len(data)
        return self._missing == 0


@contextmanager
def connected(address: Address, count: int) -> Iterator[list[Connection]]:
    """So many open connections."""
    connections: list[Connection] = []
    try:
        for _ in range(count):
            connections.append(Connection(address))  # noqa: PERF401  # those opened so far are closed on failure
        yield connections
    finally:
        for connection in connections:
            connection.socket.close()


@contextmanager
def connected_subjects(
    names: Sequence[str], count: int, upstream: Sequence[str] = CANNED
) -> Iterator[list[tuple[Subject, list[Connection]]]]:
    """A lineup with so many open connections to each."""
    with ExitStack() as stack:
        subjects = stack.enter_context(lineup(names, upstream))
        yield [(subject, stack.enter_context(connected(subject.address, count))) for subject in subjects]


def ask_in_turn(connections: Sequence[Connection], request: bytes, total: int) -> float:
    """Ask ``total`` times over, each connection again as soon as it has its answer; returns the seconds it took."""
    begin = time.monotonic()
    left = total - len(connections)
    unanswered = total
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            _start(selector, connection, request)
        while unanswered:
            for connection, data in _reads(selector, begin):
                if connection.received(data):
                    unanswered -= 1
                    if left > 0:
                        left -= 1
                        _start(selector, connection, request)
    return time.monotonic() - begin


def stream_one(connection: Connection, request: bytes) -> Answer:
    """Ask once and note when what arrives."""
    return stream_together([connection], request, spread=0.0)[0]


def stream_together(connections: Sequence[Connection], request: bytes, *, spread: float) -> list[Answer]:
    """Ask once on each connection, at random instants within ``spread`` seconds, and note when what arrives."""
    begin = time.monotonic()
    starts = sorted(begin + random.uniform(0.0, spread) for _ in connections)
    waiting = list(zip(starts, connections, strict=True))
    answers: dict[Connection, Answer] = {}
    unanswered = len(connections)
    with selectors.DefaultSelector() as selector:
        while unanswered:
            while waiting and waiting[0][0] <= time.monotonic():
                _, connection = waiting.pop(0)
                answers[connection] = Answer(time.monotonic_ns())
                _start(selector, connection, request)
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for connection, data in _reads(selector, begin, pause):
                answers[connection].reads.append((time.monotonic_ns(), data))
                if connection.received(data):
                    unanswered -= 1
                    selector.unregister(connection.socket)
    return list(answers.values())


def open_idle(connections: Sequence[Connection], request: bytes, marker: bytes) -> None:
    """Ask once on each connection and read up to ``marker``; the answers stay open."""
    begin = time.monotonic()
    seen: dict[Connection, bytes] = dict.fromkeys(connections, b"")
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            _start(selector, connection, request)
        while selector.get_map():
            for connection, data in _reads(selector, begin):
                connection.received(data)
                seen[connection] += data
                if marker in seen[connection]:
                    selector.unregister(connection.socket)


def _start(selector: selectors.BaseSelector, connection: Connection, request: bytes) -> None:
    connection.start(request)
    _watch(selector, connection)


def _watch(selector: selectors.BaseSelector, connection: Connection) -> None:
    """Wait for what there is to wait for on a connection."""
    interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
    key = selector.get_map().get(connection.socket)
    if key is None:
        selector.register(connection.socket, interest, connection)
    elif key.events != interest:
        selector.modify(connection.socket, interest, connection)


def _reads(
    selector: selectors.BaseSelector, begin: float, pause: float | None = None
) -> Iterator[tuple[Connection, bytes]]:
    """What has arrived, after a wait of at most ``pause`` seconds; requests that are not sent yet go on meanwhile.

    :raises TimeoutError: the measurement that began at ``begin`` takes longer than it may.
    """
    left = begin + MOST_SECONDS - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"no answer within {MOST_SECONDS:g} s")
    for key, events in selector.select(left if pause is None else min(left, pause)):
        connection: Connection = key.data
        if events & selectors.EVENT_WRITE:
            connection.go_on()
            _watch(selector, connection)
        if events & selectors.EVENT_READ:
            yield connection, connection.socket.recv(READ_SIZE)
