"""A router that goes out through a proxy, which the test plays together with the upstream behind it."""

import socket
import ssl

from protocol.config import Config
from tests.support.stage import End, SocketEnd, SocketStage
from tests.support.tls import Server


class ProxiedStage(SocketStage):
    """``upstream`` is the far end of a tunnel; ``proxy`` is one that was not made yet.

    :param proxy: the proxy's URL up to its port.
    """

    def __init__(self, transport: str, settings: dict[str, str], proxy: str = "http://127.0.0.1") -> None:
        super().__init__(transport, settings)
        self._proxy = proxy

    def config(self, home: str, upstream_port: int) -> Config:
        self.settings = {
            "UPSTREAM_BASE_URL": "http://upstream.test",
            "ALL_PROXY": f"{self._proxy}:{upstream_port}",
            **self.settings,
        }
        return super().config(home, upstream_port)

    def proxy(self) -> SocketEnd:
        """Accept the router's next connection to the proxy."""
        return super().upstream()

    def upstream(self) -> SocketEnd:
        end = self.proxy()
        assert end.until(b"\r\n\r\n").startswith(b"CONNECT upstream.test:80 HTTP/1.1\r\n")
        end.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return end


class SecureEnd(End):
    """The server's side of TLS over another end, which may be one of these itself."""

    def __init__(self, carrier: End, context: ssl.SSLContext) -> None:
        super().__init__()
        self.carrier = carrier
        self._server = Server(context)
        while not self._server.ready:
            data = carrier.receive()
            assert data, "ended amid the handshake"
            carrier.send(self._server.takes(data))

    def send(self, data: bytes) -> None:
        self.carrier.send(self._server.says(data))

    def receive(self) -> bytes:
        while not self._server.plain:
            data = self.carrier.receive()
            if not data or self._server.has_ended(data):
                return b""
        plain, self._server.plain = self._server.plain, b""
        return plain

    def half_close(self) -> None:
        self.carrier.send(self._server.ends())

    def close(self) -> None:
        """Without a word in TLS, as if somebody had cut the line."""
        self.carrier.close()

    def reset(self) -> None:
        self.carrier.reset()


def socket_of(end: End) -> socket.socket:
    """The socket at the bottom."""
    while isinstance(end, SecureEnd):
        end = end.carrier
    assert isinstance(end, SocketEnd)
    return end.socket
