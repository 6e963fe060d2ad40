"""An accepted HTTP/1.1 connection: requests in, one after the other, responses out (RFC 9112)."""

from enum import Enum
from typing import Final, Protocol, final

from protocol.commands import Loss
from protocol.config import ClientHalfClose, Config
from protocol.errors import LocalError, Refusal
from protocol.exchange import Exchange
from protocol.links.link import HIGH_WATER, Holding, Link, LinkHouse
from protocol.ports import Responder
from protocol.timers import Timer
from protocol.values import ConnId, Peer, RequestHead, ResponseHead
from protocol.wire.h1 import (
    CONTINUE,
    HeadReader,
    encode_response,
    expects_continue,
    parse_request_with_h11,
    request_body,
    request_keeps_alive,
)
from protocol.wire.h1_body import (
    BodyReader,
    BodyWriter,
    ChunkedWriter,
    LengthWriter,
    NoBodyWriter,
    UntilCloseWriter,
)

LINGER_SECONDS: Final = 2.0
"""How long to swallow what a client still sends after a final response, lest a reset destroy that response."""


class ClientHouse(LinkHouse, Protocol):
    """What the gateway does for client connections."""

    def begin(self, head: RequestHead, length: int | None, peer: Peer, responder: Responder) -> Exchange:
        """Route, admit and set up one request; the exchange still has to be started."""

    def begin_unreadable(self, refusal: Refusal, peer: Peer, responder: Responder) -> Exchange:
        """An exchange that answers a request head nobody could read."""


class Mode(Enum):
    """What the next bytes from the client are."""

    HEAD = "a request head"
    BODY = "the current request's body"
    ANSWERING = "a pipelined request, kept until the current one is answered"
    LINGERING = "of no interest"


@final
class ClientLink(Link, Responder):
    """Reads requests and writes responses; the exchange in between is the house's."""

    __slots__ = (
        "_awaits_continue",
        "_body",
        "_body_at",
        "_config",
        "_exchange",
        "_half_closed",
        "_head",
        "_heads",
        "_host",
        "_mode",
        "_peer",
        "_persistent",
        "_pipelined",
        "_taking",
        "_writer",
    )

    def __init__(self, conn: ConnId, peer: Peer, config: Config, house: ClientHouse) -> None:
        super().__init__(conn, house)
        self._host = house
        self._peer = peer
        self._config = config
        self._heads = HeadReader(
            parse_request_with_h11, max_bytes=config.max_head_bytes, max_fields=config.max_header_fields
        )
        self._mode = Mode.HEAD
        self._head: RequestHead | None = None
        self._body: BodyReader | None = None
        self._body_at = 0.0
        self._writer: BodyWriter | None = None
        self._exchange: Exchange | None = None
        self._persistent = True
        self._awaits_continue = False
        self._half_closed = False
        self._pipelined = b""
        self._taking = False
        house.timers.set(self, Timer.HEAD, house.now + config.head_timeout_secs)

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing of the next one received."""
        return self._exchange is None and self._mode is Mode.HEAD and not self._heads.started

    @property
    def _ready(self) -> bool:
        """Another request may begin: not while the client leaves the answers it has got already lying about."""
        return self._mode is Mode.HEAD and not self.full

    # Requests ------------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._mode is Mode.BODY:
            self._body_at = self._house.now
        self._take(data)

    def received_eof(self) -> None:
        self._half_closed = True
        exchange = self._exchange
        if exchange is None:
            self.close()
        elif self._mode is Mode.BODY or self._config.client_half_close is ClientHalfClose.CANCEL:
            self._leave(exchange)
            self._break_off()

    def lost(self, reason: Loss, detail: str) -> None:
        if self._exchange is not None:
            self._leave(self._exchange)
        self.vanished()

    def backlog_changed(self, full: bool) -> None:
        if self._exchange is not None:
            self._exchange.client_full(full)
        elif self._ready:
            self._take(b"")

    def shut(self, refusal: Refusal) -> None:
        """Break off whatever goes on here and close."""
        if self._exchange is not None:
            self._persistent = False
            self._exchange.refuse(refusal)
        self.close()

    def crashed(self) -> None:
        self.shut(Refusal(500, "internal error in the router"))

    def timer_fired(self, timer: Timer) -> None:
        match timer:
            case Timer.HEAD if self._heads.started:
                self._unreadable(Refusal(408, "the request head did not arrive in time"))
            case Timer.BODY:
                self._check_body_pace()
            case _:
                self.close()

    def _take(self, data: bytes) -> None:
        """Work through ``data`` and, as answers complete, through what was pipelined behind it."""
        if self._taking:
            raise LocalError("a client connection was entered twice")
        self._taking = True
        while True:
            rest = self._take_some(data)
            if self.closed or (rest is None and not self._ready):
                break
            if rest is None:
                rest, self._pipelined = self._pipelined, b""
                if not rest:
                    break
                self.hold_reading(Holding.PIPELINE, False)
            data = rest
        self._taking = False
        if self._half_closed and self._exchange is None and not self.closed:
            self.close()

    def _take_some(self, data: bytes) -> bytes | None:
        """Use ``data`` as the current mode has it; returns what is left over for the mode that follows."""
        if not data:
            return None
        match self._mode:
            case Mode.HEAD if self._ready:
                return self._take_head(data)
            case Mode.BODY:
                return self._take_body(data)
            case Mode.HEAD | Mode.ANSWERING:
                self._pipelined += data
                if len(self._pipelined) > HIGH_WATER:
                    self.hold_reading(Holding.PIPELINE, True)
                return None
            case Mode.LINGERING:
                return None

    def _take_head(self, data: bytes) -> bytes | None:
        was_started = self._heads.started
        try:
            head = self._heads.feed(data)
            if head is None:
                if not was_started and self._heads.started:
                    self._house.timers.clear(self, Timer.KEEPALIVE)
                    self._house.timers.set(self, Timer.HEAD, self._house.now + self._config.head_timeout_secs)
                return None
            rest = self._heads.take_rest()
            body = request_body(head)
            awaits_continue = expects_continue(head)
        except Refusal as refusal:
            self._unreadable(refusal)
            return None
        self._house.timers.clear(self, Timer.HEAD)
        self._house.timers.clear(self, Timer.KEEPALIVE)
        self._head = head
        self._body = body
        self._persistent = request_keeps_alive(head)
        self._awaits_continue = awaits_continue and not rest
        self._mode = Mode.ANSWERING if body is None else Mode.BODY
        exchange = self._exchange = self._host.begin(head, 0 if body is None else body.length, self._peer, self)
        after: bytes | None = rest
        if body is not None and rest:  # a short body often comes with its head: then no refusal costs the connection
            after = self._take_body(rest)
        if self._mode is Mode.BODY:
            self._body_at = self._house.now
            self._house.timers.set(self, Timer.BODY, self._house.now + self._config.body_timeout_secs)
        exchange.start()
        return after

    def _take_body(self, data: bytes) -> bytes | None:
        body, exchange = self._body, self._exchange
        if body is None or exchange is None:
            raise LocalError("a request body without a request")
        self._awaits_continue = False
        try:
            payload = body.feed(data)
        except Refusal as refusal:
            self._persistent = False
            exchange.refuse(refusal)
            return None
        if payload:
            exchange.request_body(payload)
        if not body.done or self._mode is not Mode.BODY:
            return None
        self._house.timers.clear(self, Timer.BODY)
        self.hold_reading(Holding.BACKLOG, False)
        self._mode = Mode.ANSWERING
        exchange.request_end()
        return body.take_rest()

    def _unreadable(self, refusal: Refusal) -> None:
        self._house.timers.clear(self, Timer.HEAD)
        self._head = None
        self._persistent = False
        self._mode = Mode.BODY
        self._exchange = self._host.begin_unreadable(refusal, self._peer, self)
        self._exchange.start()

    def _check_body_pace(self) -> None:
        due = self._body_at + self._config.body_timeout_secs
        if self._exchange is None or self._mode is not Mode.BODY:
            return
        if self.held:
            due = self._house.now + self._config.body_timeout_secs
        if due > self._house.now:
            self._house.timers.set(self, Timer.BODY, due)
        else:
            self._persistent = False
            self._exchange.refuse(Refusal(408, "the request body did not arrive in time"))

    def _leave(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.client_left()

    # Responses -----------------------------------------------------------------------------------------------------

    def want_body(self) -> None:
        if self._awaits_continue:
            self._awaits_continue = False
            self.write(CONTINUE)

    def hold_body(self, held: bool) -> None:
        if self._mode is Mode.BODY or not held:
            self.hold_reading(Holding.BACKLOG, held)

    def send_head(self, head: ResponseHead, length: int | None) -> None:
        if self._mode is Mode.BODY or self._house.draining:
            self._persistent = False
        request = self._head
        headers = head.headers
        if (request is not None and request.method == b"HEAD") or head.status in (204, 304):
            self._writer = NoBodyWriter()
            if length is not None and head.status not in (204, 304):
                headers.append((b"content-length", b"%d" % length))
        elif length is not None:
            self._writer = LengthWriter(length)
            headers.append((b"content-length", b"%d" % length))
        elif request is not None and request.http_version == b"1.0":
            self._writer = UntilCloseWriter()
            self._persistent = False
        else:
            self._writer = ChunkedWriter()
            headers.append((b"transfer-encoding", b"chunked"))
        if not self._persistent:
            headers.append((b"connection", b"close"))
        elif request is not None and request.http_version == b"1.0":
            headers.append((b"connection", b"keep-alive"))
        self.write(encode_response(head))

    def send_body(self, data: bytes) -> None:
        if self._writer is None:
            raise LocalError("a response body before its head")
        framed = self._writer.frame(data)
        if framed:
            self.write(framed)

    def send_end(self) -> None:
        if self._writer is None:
            raise LocalError("the end of a response before its head")
        last = self._writer.end()
        if last:
            self.write(last)
        self._writer = None
        self._exchange = None
        if self._mode is Mode.BODY:
            self._linger()
        elif not self._persistent:
            self.close()
        else:
            self._mode = Mode.HEAD
            self._house.timers.set(self, Timer.KEEPALIVE, self._house.now + self._config.client_keepalive_secs)
            if not self._taking:
                self._take(b"")

    def cut(self, frame: bytes | None) -> None:
        writer = self._writer
        self._exchange = None
        if frame and writer is not None and writer.open_ended:
            self.write(writer.frame(frame))
        self._break_off()

    def _break_off(self) -> None:
        """Close in a way that nobody takes for the end of the response under way, if there is one."""
        writer = self._writer
        self.close(reset=writer is not None and not writer.cut_is_visible)

    def _linger(self) -> None:
        """The client is still sending: end our side, swallow the rest for a moment, then close."""
        self._mode = Mode.LINGERING
        self._house.timers.clear(self, Timer.BODY)
        self.hold_reading(Holding.BACKLOG, False)
        self.end_writing()
        self._house.timers.set(self, Timer.LINGER, self._house.now + LINGER_SECONDS)
