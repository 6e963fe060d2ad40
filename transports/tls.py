"""TLS towards upstreams as a pump: ciphertext in, plaintext out, and back. It does no I/O, so both loops share it."""

import ssl
from contextlib import suppress
from typing import final

from protocol.values import Origin


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Verified TLS: the system's authorities (or those of ``SSL_CERT_FILE``), and those in ``ca_file`` besides.

    :raises OSError: ``ca_file`` cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise OSError(error.errno, f"cannot use the CA file {ca_file}: {reason}") from None
    return context


@final
class Trust:
    """Whom TLS connections trust. The authorities are read when they are first needed, which takes a while.

    :param ca_file: as for ``client_context``.
    """

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """For connections that verify whom they speak to.

        :raises OSError: the CA file cannot be used.
        """
        if self._context is None:
            self._context = client_context(self._ca_file)
        return self._context

    def pump(self, origin: Origin, proxy: "TlsPump | None" = None) -> "TlsPump | None":
        """What a connection to ``origin`` needs: TLS with it, within TLS with the proxy; None for plain text.

        :raises OSError: the CA file cannot be used.
        """
        return TlsPump(self.context(), origin.host, proxy) if origin.tls else proxy


@final
class TlsPump:
    """The client's side of one TLS connection (RFC 8446).

    :param outer: another that carries this one, as with a proxy that is itself spoken to over TLS.
    """

    __slots__ = ("_incoming", "_object", "_outer", "_outgoing", "ended", "ready")

    class Failure(Exception):
        """The handshake or a record was not acceptable; the text says why."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str, outer: "TlsPump | None" = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._outer = outer
        self.ready = False
        """The handshake is complete."""
        self.ended = False
        """The peer said in TLS that it will send no more."""

    def start(self) -> bytes:
        """The first bytes of the handshake."""
        self._shake_hands()
        return self.take_output()

    def decrypt(self, data: bytes) -> bytes:
        """Take ciphertext from the peer; returns the plaintext in it. ``take_output`` may have an answer afterwards.

        :raises Failure: the peer's certificate or its bytes are not acceptable.
        """
        self._incoming.write(data if self._outer is None else self._outer.decrypt(data))
        try:
            if not self.ready:
                self._shake_hands()
            return self._read() if self.ready else b""
        except ssl.SSLCertVerificationError as error:
            raise self.Failure(f"certificate not accepted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise self.Failure(error.reason or "TLS error") from None

    def encrypt(self, data: bytes) -> bytes:
        """Ciphertext for these bytes; the handshake has to be complete."""
        self._object.write(data)
        return self.take_output()

    def close(self) -> bytes:
        """The close alert, where the connection came that far."""
        if self.ready:
            with suppress(ssl.SSLError):  # the peer's own alert is not there yet, and nobody waits for it
                self._object.unwrap()
        output = self.take_output()
        return output if self._outer is None else output + self._outer.close()

    def take_output(self) -> bytes:
        """Bytes that have to go to the peer now."""
        output = self._outgoing.read()
        if self._outer is None:
            return output
        return self._outer.encrypt(output) if output else self._outer.take_output()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(256 * 1024):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
