"""A running router, asked over HTTP by a command: the one that the settings describe, or the one at ``--url``."""

import http.client
import socket
import ssl
from contextlib import closing
from ipaddress import ip_address
from typing import Any, Final, final

import click
import msgspec

from cli.output import ConfigurationError, RuntimeFailure
from cli.results import printable
from protocol.config import Config
from protocol.kinds import URL
from protocol.values import BaseUrl, Origin, Secret
from transports.tls import client_context

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
"""Longest silence of a router; it may be renewing a login before it answers."""

MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024
MOST_MESSAGE_CHARACTERS: Final = 500


class RemoteFailure(RuntimeFailure):
    """A router did not do what it was asked for.

    ``status`` is that of its answer, None where nothing answered as a router does. The message holds no secret of ours.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def read_url(ctx: click.Context, param: click.Parameter, value: str | None) -> BaseUrl | None:
    """The value of ``--url``. What is wrong with it is not quoted: it may hold a password."""
    try:
        return None if value is None else URL.read(value)
    except ValueError:
        raise click.BadParameter(f"it has to be {URL.allowed}", ctx, param) from None


url_option: Final = click.option(
    "--url", metavar="URL", callback=read_url, help="Ask the router at this address, not the one of the settings."
)
"""For commands that ask a router; their parameter is ``url``, for ``router_at``."""


def router_at(url: BaseUrl | None, config: Config) -> "RemoteRouter":
    """The router at ``url``, or where a router with these settings listens; asked with the configured admin key.

    :raises ConfigurationError: the key cannot be sent, or the file of authorities cannot be used.
    """
    if url is not None:
        return RemoteRouter(url, config.admin_key, ca_file=config.upstream_ca_file)
    base = BaseUrl(Origin("http", reachable(config.host), config.port), "")
    return RemoteRouter(base, config.admin_key, unix_socket=config.unix_socket)


def reachable(host: str) -> str:
    """An address under which this machine reaches what listens on ``host``, which may stand for all addresses."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


@final
class RemoteRouter:
    """A router and the right to administer it.

    :param unix_socket: it listens there, and ``base`` says nothing but the path's prefix.
    :param ca_file: PEM file of authorities to trust besides the system's.
    :param patience: longest silence, in seconds.
    :raises ConfigurationError: the key cannot be sent, or ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        base: BaseUrl,
        admin_key: Secret | None,
        *,
        unix_socket: str | None = None,
        ca_file: str | None = None,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._base = base
        self._admin_key = admin_key
        self._authorization = {} if admin_key is None else {"Authorization": bearer(admin_key)}
        self._unix_socket = unix_socket
        self._patience = patience
        self._tls = tls_context(ca_file) if base.origin.tls else None

    def __str__(self) -> str:
        return str(self._base) if self._unix_socket is None else f"unix:{self._unix_socket}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that the router answers with.

        :param path: percent-encoded, such as ``/v1/accounts``.
        :param body: to be sent as JSON; None = nothing.
        :raises RemoteFailure: it refuses, or no router can be reached.
        """
        headers: dict[str, str | bytes] = {"Accept": "application/json", **self._authorization}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        try:
            with closing(self._connection()) as connection:
                connection.connect()
                connection.sock.settimeout(self._patience)
                connection.request(method, self._base.prefix + path, content, headers)
                response = connection.getresponse()
                status, answer = response.status, response.read(MOST_ANSWER_BYTES + 1)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise RemoteFailure(f"no router answers at {self}: {reason(error)}") from None
        return self._understood(status, answer)

    def _connection(self) -> http.client.HTTPConnection:
        origin = self._base.origin
        if self._unix_socket is not None:
            return UnixConnection(self._unix_socket)
        if self._tls is not None:
            return http.client.HTTPSConnection(origin.host, origin.port, timeout=CONNECT_SECONDS, context=self._tls)
        return http.client.HTTPConnection(origin.host, origin.port, timeout=CONNECT_SECONDS)

    def _understood(self, status: int, answer: bytes) -> Any:
        """The answer's JSON. A redirect is not followed: the key is for this address and no other."""
        if 300 <= status < 400:
            raise RemoteFailure(f"{self} redirects (HTTP {status}): give --url the address that it leads to")
        try:
            value = msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RemoteFailure(f"no router answers at {self}: HTTP {status}, and no JSON") from None
        if status >= 400:
            raise RemoteFailure(f"the router at {self} refuses: {self._told(value, status)}", status)
        return value

    def _told(self, value: Any, status: int) -> str:
        """The router's own words, unless it has none."""
        error = value.get("error") if isinstance(value, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        said = printable(message)[:MOST_MESSAGE_CHARACTERS] if isinstance(message, str) else ""
        if self._admin_key is not None:  # what answers there may show what it was sent
            said = said.replace(self._admin_key.reveal(), "...")
        hint = "; the key is taken from --admin-key or TOKEN_ADMIN_KEY" if status == 401 else ""
        return f"{said or 'no reason given'} (HTTP {status}){hint}"


def bearer(key: Secret) -> bytes:
    """The value of ``Authorization``.

    :raises ConfigurationError: the key holds what no header can carry.
    """
    text = key.reveal()
    if any(ord(character) < 0x20 or character == "\x7f" for character in text):
        raise ConfigurationError("TOKEN_ADMIN_KEY holds a control character, so no request can carry it")
    return b"Bearer " + text.encode("utf-8", "surrogateescape")


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except OSError as error:
        raise ConfigurationError(error.strerror or str(error)) from None


def reason(error: Exception) -> str:
    """Why a router could not be asked. What the other side sent is not quoted: whoever it is could write anything."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, TimeoutError):
        return "it is silent"
    if isinstance(error, OSError):
        return error.strerror or CLOSED
    if isinstance(error, http.client.IncompleteRead):
        return CLOSED
    return "not a host name" if isinstance(error, UnicodeError) else "it does not speak HTTP"


CLOSED: Final = "the connection was closed"


@final
class UnixConnection(http.client.HTTPConnection):
    """To a socket in the file system; ``Host`` is ``localhost``."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        self.sock.connect(self._path)
