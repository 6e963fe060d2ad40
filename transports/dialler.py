"""How connections come to be that are more than one step: through a proxy, or to an address that has to be allowed.

What both loops do alike is here; a loop adds how to look a name up, and a ``Line`` whose bytes can be awaited. Once a
connection stands, its socket leaves the line and becomes a stream like any other.
"""

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from errno import ETIMEDOUT
from math import inf
from typing import Any, Final, TypeAlias

from protocol.commands import Loss
from protocol.egress import Destination, Proxy
from protocol.identity.upstream_url import OriginGuard
from transports.tls import TlsPump, Trust

ATTEMPT_SECONDS: Final = 2.0
"""How long an address may take to accept a connection before the next one is tried; the last one may take longer."""

CheckAddress: TypeAlias = Callable[[str, str], None]
"""Takes a host and an address it was resolved to; raises ValueError if that must not be connected to."""

ALLOWED: Final[CheckAddress] = OriginGuard().check_resolved
"""What may be connected to unless the operator has allowed more."""

Found: TypeAlias = tuple[Any, Any, int, str, tuple[Any, ...]]
"""An entry of ``getaddrinfo``."""


class NotConnected(Exception):
    """A connection could not be made; ``detail`` is for people, and free of secrets."""

    def __init__(self, reason: Loss, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Line(ABC):
    """A connected socket, while what it is to be connected with is still being talked about."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Some bytes; b"" at the end.

        :raises OSError: the connection broke.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """All of it.

        :raises OSError: the connection broke.
        """

    @abstractmethod
    def detach(self) -> socket.socket:
        """The socket; the line has it no more."""


class Dialler(ABC):
    """Makes connections. ``check_address`` judges those that are guarded."""

    def __init__(self, trust: Trust, check_address: CheckAddress) -> None:
        self._trust = trust
        self._check_address = check_address

    @abstractmethod
    async def look_up(self, host: str, port: int) -> Sequence[Found]:
        """The addresses of a host, the best first.

        :raises OSError: it has none.
        """

    @abstractmethod
    async def try_address(self, found: Found, seconds: float) -> Line | None:
        """Connect to one address; None if that takes longer than so many seconds.

        :raises OSError: it failed.
        """

    async def dial(self, destination: Destination) -> tuple[socket.socket, TlsPump | None]:
        """A socket that leads to the destination, and the TLS that is to be spoken over it.

        :raises NotConnected: it could not be made.
        """
        proxy = destination.via
        try:
            if proxy is not None:
                return await self._dial_through(proxy, destination)
            pump = self._trust.pump(destination.origin)
            line = await self._line(destination.origin.host, destination.origin.port, destination)
            return line.detach(), pump
        except NotConnected:
            raise
        except Exception as error:  # one connection's trouble must not end the others
            reason, detail = why_not(error)
            raise NotConnected(reason, detail if proxy is None else f"proxy {proxy.authority}: {detail}") from None

    async def _dial_through(self, proxy: Proxy, destination: Destination) -> tuple[socket.socket, TlsPump | None]:
        from transports.tunnel import open_tunnel  # most routers have no proxy, and its libraries take a while to load

        line = await self._line(proxy.host, proxy.port, destination)
        try:
            pump = self._trust.pump(destination.origin, await open_tunnel(line, proxy, destination.origin, self._trust))
        except BaseException:
            line.detach().close()
            raise
        return line.detach(), pump

    async def _line(self, host: str, port: int, destination: Destination) -> Line:
        found = await self.look_up(host, port)
        if destination.guarded:
            found = [entry for entry in found if self._allows(host, entry)]
            if not found:
                raise NotConnected(Loss.FAILED, "address not allowed")
        failures: list[OSError] = []
        for entry in found:
            try:
                line = await self.try_address(entry, inf if entry is found[-1] else ATTEMPT_SECONDS)
            except OSError as error:
                failures.append(error)
                continue
            if line is not None:
                return line
            failures.append(TimeoutError(ETIMEDOUT, os.strerror(ETIMEDOUT)))
        raise OSError("no address answers") from ExceptionGroup("", failures)

    def _allows(self, host: str, entry: Found) -> bool:
        try:
            self._check_address(host, entry[4][0])
        except ValueError:
            return False
        return True


def why_not(error: Exception) -> tuple[Loss, str]:
    """What a failed connection attempt means to the core, and for people."""
    if isinstance(error, NotConnected):
        return error.reason, error.detail
    if isinstance(error, UnicodeError):
        return Loss.UNRESOLVED, "not a host name"
    causes = list(_causes(error))
    if not causes:
        return Loss.FAILED, type(error).__name__  # our fault or a library's, whose words could quote what was sent
    detail = ", ".join(dict.fromkeys(map(_words, causes)))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Loss.REFUSED, detail
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Loss.UNRESOLVED, detail
    return Loss.FAILED, detail


def _words(cause: OSError) -> str:
    """The system's own words; asyncio's would name the address."""
    return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(cause)


def _causes(error: BaseException) -> Iterator[OSError]:
    """The errors behind one that stands for several addresses."""
    if isinstance(error.__cause__, BaseException):
        yield from _causes(error.__cause__)
    elif isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    elif isinstance(error, OSError):
        yield error
