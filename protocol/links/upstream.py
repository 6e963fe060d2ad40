"""A connection to an upstream: one request out, its response in, then idle until the next (RFC 9112)."""

from typing import Final, Protocol, final

from protocol.commands import Loss
from protocol.config import Config
from protocol.effects import Failed, FailureKind
from protocol.egress import Destination
from protocol.errors import LocalError, Refusal
from protocol.links.link import Holding, Link, LinkHouse
from protocol.ports import Channel, UpstreamEvents
from protocol.timers import Timer
from protocol.values import ConnId, RequestHead
from protocol.wire.h1 import (
    HeadReader,
    encode_request,
    parse_response_with_h11,
    response_body,
    response_keeps_alive,
)
from protocol.wire.h1_body import BodyReader, BodyWriter, ChunkedWriter, LengthWriter, NoBodyWriter

STALE_SECONDS: Final = 1.0
"""How soon after a request a kept connection has to break for the request not to have been looked at."""

METHODS_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class UpstreamHouse(LinkHouse, Protocol):
    """What the gateway does for upstream connections."""

    def release_upstream(self, link: "UpstreamLink") -> None:
        """The connection is ready for another request."""


@final
class UpstreamLink(Link, Channel):
    """Sends requests and reads responses; reports to whoever asked."""

    __slots__ = (
        "_active_at",
        "_body",
        "_config",
        "_connected",
        "_events",
        "_heads",
        "_host",
        "_method",
        "_request",
        "_request_done",
        "_reusable",
        "_served",
        "_touched",
        "_writer",
        "destination",
    )

    def __init__(self, conn: ConnId, destination: Destination, config: Config, house: UpstreamHouse) -> None:
        super().__init__(conn, house)
        self._host = house
        self.destination = destination
        self._config = config
        self._heads = HeadReader(
            parse_response_with_h11,
            max_bytes=config.max_head_bytes,
            max_fields=config.max_header_fields,
            fault_status=502,
        )
        self._connected = False
        self._events: UpstreamEvents | None = None
        self._request: tuple[RequestHead, int | None] | None = None
        self._request_done = False
        self._method = b""
        self._writer: BodyWriter | None = None
        self._body: BodyReader | None = None
        self._reusable = False
        self._served = 0
        self._touched = False
        self._active_at = house.now
        house.timers.set(self, Timer.CONNECT, house.now + config.upstream_connect_timeout_secs)

    # The request ---------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """The shell has a connection, TLS included."""
        self._connected = True
        self._house.timers.clear(self, Timer.CONNECT)
        if self._request is not None:
            self._send_request(*self._request)

    def request(self, head: RequestHead, body_length: int | None, events: UpstreamEvents) -> None:
        if self._events is not None:
            raise LocalError("an upstream connection carries one request at a time")
        self._events = events
        self._request_done = False
        if self._connected:
            self._house.timers.clear(self, Timer.IDLE)
            self._send_request(head, body_length)
        else:
            self._request = (head, body_length)

    def _send_request(self, head: RequestHead, body_length: int | None) -> None:
        if self._events is None:
            raise LocalError("a request that nobody waits for")
        self._request = None
        self._method = head.method
        self._touched = False
        headers = head.headers
        if body_length is None:
            self._writer = ChunkedWriter()
            headers = [*headers, (b"transfer-encoding", b"chunked")]
        elif body_length or head.method in METHODS_WITH_BODY:
            self._writer = LengthWriter(body_length)
            headers = [*headers, (b"content-length", b"%d" % body_length)]
        else:
            self._writer = NoBodyWriter()
        self._active_at = self._house.now
        self._house.timers.set(self, Timer.SILENCE, self._house.now + self._config.upstream_read_timeout_secs)
        self.write(encode_request(RequestHead(head.method, head.target, headers)))
        self._events.upstream_ready()

    def send_body(self, data: bytes) -> None:
        if self._writer is None:
            raise LocalError("a request body before its head")
        self._active_at = self._house.now
        self.write(self._writer.frame(data))

    def send_end(self) -> None:
        if self._writer is None:
            raise LocalError("the end of a request before its head")
        last = self._writer.end()
        if last:
            self.write(last)
        self._request_done = True

    def hold(self, held: bool) -> None:
        self.hold_reading(Holding.BACKLOG, held)

    def cancel(self) -> None:
        self._events = None
        self._break_off()

    # The response --------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._active_at = self._house.now
        body = self._body
        if body is None:
            self._take_head(data)
            return
        try:
            payload = body.feed(data)
        except Refusal as refusal:
            self._fail(FailureKind.MALFORMED, refusal.message)
            return
        events = self._events
        if payload and events is not None:
            events.upstream_body(payload)
        if body.done and not self.closed:
            self._response_complete(body)

    def received_eof(self) -> None:
        body = self._body
        if body is not None and body.finish():
            self._reusable = False
            self._response_complete(body)
        else:
            self._fail(self._loss_kind(), "closed by the upstream")

    def lost(self, reason: Loss, detail: str) -> None:
        kind = self._loss_kind() if self._connected else FailureKind.UNREACHABLE
        self._fail(kind, detail or reason.value, gone=True)

    def backlog_changed(self, full: bool) -> None:
        if self._events is not None:
            self._events.upstream_full(full)

    def crashed(self) -> None:
        self._fail(FailureKind.CRASHED, "")

    def timer_fired(self, timer: Timer) -> None:
        match timer:
            case Timer.CONNECT:
                self._fail(FailureKind.CONNECT_TIMEOUT, f"{self._config.upstream_connect_timeout_secs:g} s")
            case Timer.SILENCE:
                self._check_silence()
            case _:
                self.close()

    def _take_head(self, data: bytes) -> None:
        events = self._events
        if events is None or not self._connected:
            self.close()  # bytes that answer no request: nothing on this connection can be trusted now
            return
        self._touched = True
        try:
            head = self._heads.feed(data)
            while head is not None and head.status < 200:
                head = self._heads.feed(self._heads.take_rest())
            if head is None:
                return
            rest = self._heads.take_rest()
            body = response_body(head, self._method)
        except Refusal as refusal:
            self._fail(FailureKind.MALFORMED, refusal.message)
            return
        self._body = body
        self._reusable = response_keeps_alive(head) and not (body is None and rest)
        events.upstream_head(head)
        if self.closed:
            return
        if body is None:
            self._response_complete(None)
        elif rest:
            self.received(rest)

    def _response_complete(self, body: BodyReader | None) -> None:
        events = self._events
        reusable = self._reusable and self._request_done
        if body is not None:
            reusable = reusable and body.reusable and not body.take_rest()
        self._events = None
        self._body = None
        self._writer = None
        self._served += 1
        self._house.timers.clear(self, Timer.SILENCE)
        self.hold_reading(Holding.BACKLOG, False)
        if reusable and not self._house.draining:
            self._house.timers.set(self, Timer.IDLE, self._house.now + self._config.upstream_idle_secs)
            self._host.release_upstream(self)
        else:
            self.close()
        if events is not None:
            events.upstream_end()

    def _check_silence(self) -> None:
        limit = self._config.upstream_read_timeout_secs
        due = self._active_at + limit
        if due > self._house.now:
            self._house.timers.set(self, Timer.SILENCE, due)
        elif self.held:
            self._fail(FailureKind.SILENT, f"the client took nothing for {limit:g} s")
        else:
            self._fail(FailureKind.SILENT, f"{limit:g} s")

    def _break_off(self) -> None:
        """Close; abruptly where part of the request is still unsent, lest the upstream gets it whole and acts on it."""
        self.close(reset=self.full or not self._request_done)

    def _loss_kind(self) -> FailureKind:
        """A connection that served before and breaks within a moment of the request, before a byte of an answer, was
        closed by an upstream that had had enough of it. One that breaks later may have been at work.
        """
        at_once = self._house.now - self._active_at <= STALE_SECONDS
        return FailureKind.STALE if self._served and at_once and not self._touched else FailureKind.LOST

    def _fail(self, kind: FailureKind, detail: str, *, gone: bool = False) -> None:
        events = self._events
        self._events = None
        if gone:
            self.vanished()
        else:
            self._break_off()
        if events is not None:
            events.upstream_failed(Failed(kind, detail, self._house.now))
