"""One GET without a credential, over a connection as the router makes them: the answer's head, or why there is none.

Nothing here is on the router's path; it is plain and blocks.
"""

import socket
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import h11
import trio

from protocol.egress import Destination
from transports.dialler import CheckAddress, NotConnected
from transports.tls import TlsPump, Trust
from transports.trio.shell import TrioDialler

ANSWER_SECONDS: Final = 15.0
READ_BYTES: Final = 64 * 1024


class Unreachable(Exception):
    """Nobody answered; the text says why, and holds nothing of what the other side sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a response: its status, and what it says the time is."""

    status: int
    date: str


def ask(
    destination: Destination, target: str, *, ca_file: str | None, check_address: CheckAddress, patience: float
) -> Answer:
    """GET ``target`` there.

    :param patience: seconds for the connection, TLS not included.
    :raises Unreachable: it cannot be reached, its certificate is not accepted, or it does not speak HTTP.
    """
    dialler = TrioDialler(Trust(ca_file), check_address)

    async def dial() -> tuple[socket.socket, TlsPump | None]:
        with trio.fail_after(patience):
            return await dialler.dial(destination)

    try:
        connection, pump = trio.run(dial)
        with closing(connection):
            connection.settimeout(ANSWER_SECONDS)
            return Conversation(connection, pump).ask(destination.origin.authority, target)
    except (trio.TooSlowError, TimeoutError):
        raise Unreachable("it is silent") from None
    except NotConnected as failure:
        raise Unreachable(failure.detail) from None
    except TlsPump.Failure as failure:
        raise Unreachable(str(failure)) from None
    except h11.RemoteProtocolError:
        raise Unreachable("it does not speak HTTP") from None
    except OSError as error:
        raise Unreachable(error.strerror or type(error).__name__) from None


class Conversation:
    """Plain bytes over a connection, in TLS where there is a pump."""

    def __init__(self, connection: socket.socket, pump: TlsPump | None) -> None:
        self._connection = connection
        self._pump = pump

    def ask(self, authority: str, target: str) -> Answer:
        """Send a request, and read as far as the end of the response's head."""
        peer = h11.Connection(h11.CLIENT)
        fields = [("Host", authority), ("Accept", "*/*"), ("Connection", "close")]
        self._send(peer.send(h11.Request(method="GET", target=target, headers=fields)) or b"")
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                peer.receive_data(self._receive())
            elif isinstance(event, h11.Response):
                dates = [value.decode("latin-1") for name, value in event.headers if name == b"date"]
                return Answer(event.status_code, dates[0] if dates else "")

    def _send(self, data: bytes) -> None:
        if self._pump is None:
            self._connection.sendall(data)
            return
        self._connection.sendall(self._pump.start())
        while not self._pump.ready:
            if self._read() is None:
                raise Unreachable("the connection was closed while TLS was agreed on")
        self._connection.sendall(self._pump.encrypt(data))

    def _receive(self) -> bytes:
        """Some bytes; b"" at the end."""
        while (received := self._read()) == b"":
            continue
        return received or b""

    def _read(self) -> bytes | None:
        """What one read brings, which may be nothing yet; None at the end."""
        received = self._connection.recv(READ_BYTES)
        if self._pump is None or not received:
            return received or None
        try:
            return self._pump.decrypt(received)
        finally:
            self._connection.sendall(self._pump.take_output())  # an alert, if that failed
