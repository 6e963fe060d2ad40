"""A TLS server in memory, with an authority made for the occasion."""

import ssl

import pytest
import trustme

from transports.tls import client_context

NAME = "upstream.test"
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def server_context(authority: trustme.CA = AUTHORITY, name: str = NAME) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name).configure_cert(context)
    return context


SERVER_CONTEXT = server_context()


def trusting_context(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = client_context(None)
    authority.configure_trust(context)
    return context


CLIENT_CONTEXT = trusting_context()


class Server:
    """The other side of a connection."""

    def __init__(self, context: ssl.SSLContext = SERVER_CONTEXT) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ready = False
        self.plain = b""

    def takes(self, data: bytes) -> bytes:
        """Ciphertext in; returns the ciphertext that answers it."""
        self.incoming.write(data)
        try:
            if not self.ready:
                self.tls.do_handshake()
                self.ready = True
            while piece := self.tls.read(65536):
                self.plain += piece
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def has_ended(self, data: bytes) -> bool:
        """The same for a peer that may say goodbye in it."""
        try:
            self.takes(data)
        except ssl.SSLZeroReturnError:
            return True
        return False

    def says(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def ends(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()
