"""The way out to an origin: directly, or through the proxy that the operator's settings name for it.

The settings are the ones that curl, pip and git know by the same names. Nothing is exempt by itself: an origin on this
machine is asked through the proxy too, unless NO_PROXY says otherwise, as curl and requests have it.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol, Self, TypeAlias
from urllib.parse import unquote

import msgspec

from protocol.values import Origin, Secret

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ProxyLogin:
    """What a proxy asks for before it serves: Basic credentials (RFC 7617), or those of RFC 1929."""

    user: Secret
    password: Secret


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; ``host`` has no brackets, also for IPv6. Its text form leaves the login out.

    :param scheme: ``http``, or ``https`` for one that is itself spoken to over TLS, or ``socks5``.
    """

    scheme: str
    host: str
    port: int
    login: ProxyLogin | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[scheme://][user:password@]host[:port]``; user and password are percent-encoded.

        Without a scheme it is an HTTP proxy. ``socks5h`` and ``socks`` mean ``socks5``: host names are always left to
        the proxy to resolve.

        :raises ValueError: it is none. The message may quote it.
        """
        parts = PROXY.fullmatch(text.strip())
        if parts is None:
            raise ValueError
        scheme = SCHEMES.get((parts["scheme"] or "http").lower())
        port = int(parts["port"] or PORTS.get(scheme or "", 0))
        if scheme is None or not 0 < port < 65536:
            raise ValueError
        user, password = (unquote(parts[name] or "", errors="strict") for name in ("user", "password"))
        return cls(scheme, _host(parts["host"]), port, _login(scheme, user, password))

    @property
    def authority(self) -> str:
        """``host:port``, to name it by."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Destination(msgspec.Struct, frozen=True):
    """Where a connection goes and how; connections of one destination can stand in for each other.

    :param via: the proxy to go through, if any.
    :param guarded: an administrator, not the operator, named the host that is connected to, which is the proxy's where
        there is one: only addresses that the guard lets pass may be connected to.
    """

    origin: Origin
    via: Proxy | None = None
    guarded: bool = False

    @property
    def plain(self) -> bool:
        """Any address of the origin will do, and nobody is in between."""
        return self.via is None and not self.guarded


@dataclass(frozen=True, slots=True)
class DirectHost:
    """One entry of NO_PROXY: a name with all below it, or the addresses of a network; on one port, or any."""

    host: str | Network
    port: int | None = None

    def covers(self, host: str | Address, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if isinstance(self.host, str):
            return isinstance(host, str) and (host == self.host or host.endswith(f".{self.host}"))
        return not isinstance(host, str) and host.version == self.host.version and host in self.host


@dataclass(frozen=True, slots=True)
class DirectHosts:
    """NO_PROXY: the hosts that are reached without a proxy; ``everything`` if it is one asterisk among others."""

    entries: tuple[DirectHost, ...]
    everything: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read entries with commas or blanks between them.

        An entry is ``*``, a host name (also with ``.`` or ``*.`` before it, which changes nothing), an IP address or a
        network such as ``10.0.0.0/8``; a name or address may have a port behind it.

        :raises ValueError: an entry is none of that. The message may quote it.
        """
        entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
        return cls(tuple(_direct_host(entry) for entry in entries if entry != "*"), "*" in entries)

    def cover(self, origin: Origin) -> bool:
        """Whether ``origin`` is to be reached directly."""
        host = _address(origin.host) or _ascii(origin.host).removesuffix(".")
        return self.everything or any(entry.covers(host, origin.port) for entry in self.entries)


class ProxySettings(Protocol):
    """The settings that decide; ``Config`` has them."""

    @property
    def https_proxy(self) -> Proxy | None: ...
    @property
    def http_proxy(self) -> Proxy | None: ...
    @property
    def all_proxy(self) -> Proxy | None: ...
    @property
    def no_proxy(self) -> DirectHosts | None: ...


def choose_proxy(origin: Origin, settings: ProxySettings) -> Proxy | None:
    """The proxy to reach ``origin`` through; None = directly."""
    proxy = (settings.https_proxy if origin.scheme == "https" else settings.http_proxy) or settings.all_proxy
    if proxy is None or (settings.no_proxy is not None and settings.no_proxy.cover(origin)):
        return None
    return proxy


# --- reading ----------------------------------------------------------------------------------------------------------

SCHEMES: Final = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5", "socks": "socks5"}
PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
PROXY: Final = re.compile(
    r"(?:(?P<scheme>[a-z0-9]+)://)?"
    r"(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?"
    r"(?P<host>\[[^\[\]@/?#\s]+\]|[^\[\]:@/?#\s]+)(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)
HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?")
NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
MOST_SOCKS_BYTES: Final = 255
"""Of a user name or password (RFC 1929 section 2)."""


def _login(scheme: str, user: str, password: str) -> ProxyLogin | None:
    if not user and not password:
        return None
    if any(character < " " or character == "\x7f" for character in user + password):
        raise ValueError
    if scheme == "socks5":
        if not user or max(len(user.encode()), len(password.encode())) > MOST_SOCKS_BYTES:
            raise ValueError
    elif ":" in user:
        raise ValueError  # the proxy would take what follows for the password
    return ProxyLogin(Secret(user), Secret(password))


def _host(text: str) -> str:
    """Without brackets, as a resolver takes it."""
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    name = _ascii(text)
    if NAME.fullmatch(name) is None:
        raise ValueError
    return name


def _direct_host(entry: str) -> DirectHost:
    if "/" in entry:
        return DirectHost(_network(entry))
    if entry.count(":") > 1 and not entry.startswith("["):
        return DirectHost(ip_network(str(IPv6Address(entry))))
    parts = HOST_AND_PORT.fullmatch(entry.removeprefix("*").removeprefix("."))
    if parts is None:
        raise ValueError
    host = _host(parts["host"])
    address = _address(host)
    port = None if parts["port"] is None else int(parts["port"])
    return DirectHost(host.removesuffix(".") if address is None else ip_network(str(address)), port)


def _network(text: str) -> Network:
    """Also with the last zeros of an IPv4 address left out: ``169.254/16``."""
    address, _, bits = text.partition("/")
    if ":" not in address:
        address += ".0" * (3 - address.count("."))
    return ip_network(f"{address}/{bits}", strict=False)


def _address(host: str) -> Address | None:
    """The address that a host is; None for a name. One that stands for an IPv4 address in IPv6 is that."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _ascii(name: str) -> str:
    """A name in lower-case ASCII (RFC 5890), if it can be one."""
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return name.lower()
