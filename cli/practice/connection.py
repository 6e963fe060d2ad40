"""One client connection of the practice upstream: requests are read by h11, answers written by hand.

By hand, because a practice upstream must be able to misbehave: to stop in the middle of a body, to reset the
connection, to cut events in two. A well-behaved HTTP library forbids all of that.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Final, cast

import h11

from cli.practice.answers import Answer
from cli.practice.provider import Provider, wants_early_answer
from cli.practice.records import Ending, Journal, Record
from protocol.errors import Refusal
from protocol.values import RequestHead

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""The provider's limit for a request (API reference, "Request size limits")."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
WRITES_BETWEEN_YIELDS: Final = 128
"""A stream without gaps lets other connections run after so many writes."""

ABORTIVE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER's value for a reset in place of an orderly end."""


class Connection(asyncio.Protocol):
    """Reads requests one after another and plays out their answers. A client that half-closes has left."""

    def __init__(self, provider: Provider, journal: Journal, connections: "set[Connection]") -> None:
        self._provider = provider
        self._journal = journal
        self._connections = connections
        self._parser = _parser()
        self._number = 0
        self._served = 0
        self._head: RequestHead | None = None
        self._record: Record | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._answering: asyncio.Task[None] | None = None
        self._refused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    # What the event loop reports.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # asyncio sets it only where the socket shows TCP's protocol number, which accepted ones need not: 40 ms lost.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)
        self._number = self._journal.connected()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            self._parser.receive_data(data)
            self._read()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._journal.progressed()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.cancel()
        if self._record is not None:
            self._journal.ended(self._record, Ending.CLIENT_LEFT)
        self._connections.discard(self)
        self._journal.disconnected()

    def abort(self) -> None:
        """Close at once, whatever is going on."""
        self._transport.abort()

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    # Reading.

    def _read(self) -> None:
        while self._answering is None and not self._refused:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(Refusal(error.error_status_hint, f"Malformed HTTP request: {error}"))
                return
            if isinstance(event, h11.Request):
                self._head_received(event)
            elif isinstance(event, h11.Data):
                self._body_received(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._body_ended()
            else:
                return

    def _head_received(self, request: h11.Request) -> None:
        self._head = RequestHead(request.method, request.target, list(request.headers), request.http_version)
        self._record = Record(
            self._number, request.method.decode(), request.target.decode("latin-1"), list(request.headers.raw_items())
        )
        self._journal.began(self._record)
        if wants_early_answer(self._head):
            self._refused = True
            self._answer(self._provider.answer(self._head, b"", time.time()))
        elif self._parser.they_are_waiting_for_100_continue:
            self._transport.write(CONTINUE)

    def _body_received(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > MAX_BODY_BYTES:
            self._refuse(Refusal(413, "Request exceeds the maximum size"))

    def _body_ended(self) -> None:
        assert self._head is not None
        assert self._record is not None
        body = b"".join(self._body)
        self._journal.body_ended(self._record, body)
        self._answer(self._provider.answer(self._head, body, time.time()))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that will not be read any further."""
        self._refused = True
        if self._head is None or self._record is None:
            self._head = RequestHead(b"", b"", [])
            self._record = Record(self._number, "", "", [])
            self._journal.began(self._record)
        self._answer(self._provider.refuse(self._head, refusal, time.time()))

    # Answering.

    def _answer(self, answer: Answer) -> None:
        self._answering = asyncio.get_running_loop().create_task(self._play(answer))
        self._answering.add_done_callback(self._answered)
        if answer.ended is not None:
            self._answering.add_done_callback(partial(self._tell_ended, answer.ended))

    def _tell_ended(self, ended: Callable[[], None], _: asyncio.Task[None]) -> None:
        ended()
        self._journal.progressed()

    def _answered(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._transport.abort()
            raise bug

    async def _play(self, answer: Answer) -> None:
        """Send the answer, with the mishaps it asks for."""
        head, record, wanted = self._head, self._record, answer.wanted
        assert head is not None
        assert record is not None
        await self._pause(wanted.wait)
        if wanted.drop == "always" or (wanted.drop == "reused" and self._served):
            self._drop(record, reset=wanted.reset_cut)
            return
        closing = wanted.close or self._refused or self._parser.their_state is h11.MUST_CLOSE
        chunked = not isinstance(answer.body, bytes) and head.http_version != b"1.0"
        closing = closing or not (chunked or isinstance(answer.body, bytes))
        record.status = answer.status
        self._transport.write(_head_bytes(answer, chunked=chunked, closing=closing))
        if head.method != b"HEAD":
            for piece in _writes(answer):
                if not await self._continues(record, answer):
                    return
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                record.writes += 1
            if not await self._continues(record, answer):
                return
            if chunked:
                self._transport.write(LAST_CHUNK)
        self._finish(record, closing=closing, hanging_up=wanted.hangup)

    async def _continues(self, record: Record, answer: Answer) -> bool:
        """Wait for the moment of the next write; False if there will be none."""
        wanted = answer.wanted
        if record.writes == wanted.cut:
            self._drop(record, reset=wanted.reset_cut)
            return False
        if record.writes == wanted.stall:
            self._journal.progressed()
            await asyncio.get_running_loop().create_future()  # ends when the client leaves
        if record.writes:
            await self._pause(wanted.slow)
        if record.writes % WRITES_BETWEEN_YIELDS == WRITES_BETWEEN_YIELDS - 1:
            await asyncio.sleep(0)
        await self._writable.wait()
        return not self._transport.is_closing()

    async def _pause(self, milliseconds: int) -> None:
        if milliseconds:
            self._journal.progressed()
            await asyncio.sleep(milliseconds / 1000)

    def _drop(self, record: Record, *, reset: bool) -> None:
        """Close after what has been written, or throw that away too with a reset."""
        self._journal.ended(record, Ending.DROPPED)
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
            self._transport.abort()
        else:
            self._transport.close()

    def _finish(self, record: Record, *, closing: bool, hanging_up: bool) -> None:
        self._journal.ended(record, Ending.COMPLETE)
        if self._refused and self._transport.can_write_eof():
            self._transport.write_eof()  # a full close with unread bytes would be a reset, which may eat the answer
            return
        if closing or hanging_up:
            self._transport.close()
            return
        self._served += 1
        self._head, self._record, self._answering = None, None, None
        self._body, self._body_size = [], 0
        rest, _ = self._parser.trailing_data
        self._parser = _parser()
        if rest:
            self.data_received(rest)


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)


def _head_bytes(answer: Answer, *, chunked: bool, closing: bool) -> bytes:
    headers = [*answer.headers, (b"connection", b"close" if closing else b"keep-alive")]
    if isinstance(answer.body, bytes):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    elif chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    lines = b"".join(b"%b: %b\r\n" % field for field in headers)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (answer.status, _reason(answer.status), lines)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Overloaded" if status == 529 else b""


def _writes(answer: Answer) -> Iterator[bytes]:
    """The body in the portions in which it goes out."""
    wanted, whole = answer.wanted, isinstance(answer.body, bytes)
    parts = filter(None, [answer.body] if isinstance(answer.body, bytes) else answer.body)
    if wanted.split is not None:
        return _slices(parts, wanted.split)
    return _slices(parts, 1) if whole and (wanted.cut is not None or wanted.stall is not None) else parts


def _slices(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The joined parts, in slices of ``size`` bytes."""
    pending = b""
    for part in parts:
        pending += part
        whole = len(pending) - len(pending) % size
        for start in range(0, whole, size):
            yield pending[start : start + size]
        pending = pending[whole:]
    if pending:
        yield pending
