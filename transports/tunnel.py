"""Has a proxy connect a line to an origin. httpcore speaks HTTP with it, socksio writes and reads the words of SOCKS.

Loaded only where there is a proxy, because the two libraries and what they stand on take a while.
"""

import base64
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Final, final

import httpcore
from socksio.socks5 import (
    SOCKS5AuthMethod,
    SOCKS5AuthMethodsRequest,
    SOCKS5Command,
    SOCKS5CommandRequest,
    SOCKS5UsernamePasswordReply,
    SOCKS5UsernamePasswordRequest,
)

from protocol.commands import Loss
from protocol.egress import Proxy
from protocol.values import Origin
from transports.dialler import Line, NotConnected
from transports.tls import TlsPump, Trust


async def open_tunnel(line: Line, proxy: Proxy, origin: Origin, trust: Trust) -> TlsPump | None:
    """Have ``proxy``, at the other end of ``line``, connect it to ``origin``; from then on the line is the origin's.

    :returns: the TLS that is spoken with the proxy itself, if any.
    :raises NotConnected: the proxy did not do it.
    :raises OSError: the connection with the proxy broke.
    """
    talk = Conversation(line)
    try:
        if proxy.scheme == "https":
            await talk.secure(TlsPump(trust.context(), proxy.host))
        await (_ask_http if proxy.scheme in {"http", "https"} else _ask_socks)(talk, proxy, origin)
    except Refused as refused:
        raise NotConnected(Loss.FAILED, f"proxy {proxy.authority}: {refused}") from None
    except TlsPump.Failure as failure:
        raise NotConnected(Loss.TLS, f"proxy {proxy.authority}: {failure}") from None
    if talk.unread:  # an origin says nothing before it is asked
        raise NotConnected(Loss.FAILED, f"proxy {proxy.authority}: {NONSENSE}")
    return talk.tls


class Refused(Exception):
    """The proxy did not do what it was asked; the text says why, without a word of what was sent or answered."""


@final
class Conversation(httpcore.AsyncNetworkStream):
    """The words that are exchanged with a proxy, over TLS or not; as httpcore has its streams."""

    def __init__(self, line: Line) -> None:
        self.tls: TlsPump | None = None
        self.unread = b""
        self._line = line

    async def secure(self, pump: TlsPump) -> None:
        """Speak TLS from now on.

        :raises TlsPump.Failure: the proxy's certificate or its bytes are not acceptable.
        """
        await self._line.send(pump.start())
        self.tls = pump
        while not pump.ready:
            await self._hear()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's
        """At most one head: what follows it is the origin's."""
        while (head := END_OF_HEAD.search(self.unread)) is None and len(self.unread) < max_bytes:
            await self._hear()
        return self._take(max_bytes if head is None else min(head.end(), max_bytes))

    async def exactly(self, size: int) -> bytes:
        while len(self.unread) < size:
            await self._hear()
        return self._take(size)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's
        await self._line.send(buffer if self.tls is None else self.tls.encrypt(buffer))

    async def aclose(self) -> None:
        """The line is closed by whoever opened it."""

    async def _hear(self) -> None:
        data = await self._line.receive()
        if not data:
            raise Refused("it closed the connection")
        if self.tls is None:
            self.unread += data
            return
        try:
            self.unread += self.tls.decrypt(data)
        except TlsPump.Failure:
            with suppress(OSError):
                await self._line.send(self.tls.take_output())  # the alert
            raise
        await self._line.send(self.tls.take_output())

    def _take(self, size: int) -> bytes:
        taken, self.unread = self.unread[:size], self.unread[size:]
        return taken


# --- HTTP (RFC 9110 section 9.3.6) ------------------------------------------------------------------------------------

END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
NONSENSE: Final = "it does not speak the protocol that was expected of it"


async def _ask_http(talk: Conversation, proxy: Proxy, origin: Origin) -> None:
    target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{_ascii(origin.host)}:{origin.port}"
    headers = [("Host", target)]
    if proxy.login is not None:
        login = f"{proxy.login.user.reveal()}:{proxy.login.password.reveal()}"
        headers.append(("Proxy-Authorization", f"Basic {base64.b64encode(login.encode()).decode()}"))
    there = httpcore.URL(scheme=proxy.scheme, host=_ascii(proxy.host), port=proxy.port, target=target)
    connection = httpcore.AsyncHTTP11Connection(origin=there.origin, stream=talk)
    try:
        response = await connection.handle_async_request(httpcore.Request("CONNECT", there, headers=headers))
    except (httpcore.ProtocolError, UnicodeError):
        raise Refused(NONSENSE) from None
    if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Refused("it wants credentials (407)" if proxy.login is None else "it refuses the credentials (407)")
    if not 200 <= response.status < 300:
        raise Refused(f"it answered {response.status} {_phrase(response.status)}".rstrip())


def _ascii(host: str) -> str:
    return host if ":" in host else host.encode("idna").decode("ascii")


def _phrase(status: int) -> str:
    """The usual words for a status: those that came with it could be any."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


# --- SOCKS (RFC 1928, RFC 1929) ---------------------------------------------------------------------------------------

REPLIES: Final = {
    1: "it failed",
    2: "its rules forbid this connection",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the host refused the connection",
    6: "the host is too far away",
    7: "it does not make connections",
    8: "it does not know this type of address",
}
NO_CREDENTIALS: Final = SOCKS5AuthMethod.NO_AUTH_REQUIRED[0]
USERNAME_PASSWORD: Final = SOCKS5AuthMethod.USERNAME_PASSWORD[0]
ADDRESS_BYTES: Final = {1: 4, 4: 16}
"""Of IPv4 and IPv6 addresses; a name, which is type 3, says its length."""


async def _ask_socks(talk: Conversation, proxy: Proxy, origin: Origin) -> None:
    """Replies are read to the byte; httpcore's own dialogue takes them to be whole in what one read brings."""
    methods = [SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if proxy.login is not None:
        methods.append(SOCKS5AuthMethod.USERNAME_PASSWORD)
    await talk.write(SOCKS5AuthMethodsRequest(methods).dumps())
    version, method = await talk.exactly(2)
    if version != 5:
        raise Refused(NONSENSE)
    if method == USERNAME_PASSWORD and proxy.login is not None:
        user, password = proxy.login.user.reveal(), proxy.login.password.reveal()
        await talk.write(SOCKS5UsernamePasswordRequest(user.encode(), password.encode()).dumps())
        if not SOCKS5UsernamePasswordReply.loads(await talk.exactly(2)).success:
            raise Refused("it refuses the credentials")
    elif method != NO_CREDENTIALS:
        raise Refused("it wants credentials" if proxy.login is None else "it does not take a password")
    there = (_ascii(origin.host), origin.port)
    await talk.write(SOCKS5CommandRequest.from_address(SOCKS5Command.CONNECT, there).dumps())
    version, reply, _, kind = await talk.exactly(4)
    if version != 5:
        raise Refused(NONSENSE)
    if reply != 0:
        raise Refused(REPLIES.get(reply, NONSENSE))
    size = ADDRESS_BYTES.get(kind) or (await talk.exactly(1))[0]
    await talk.exactly(size + 2)  # the proxy's own address and port on the way out
