"""Where a provider may be: the base URLs that administrators supply, read and judged.

Whoever may add a provider makes the router connect to an address of their choice and sees what comes back. Loopback and
private networks are what providers on the same site need, so they are open. Closed are the addresses where no provider
can be but something else answers: cloud metadata services, which hand out the machine's own credentials, and the rest
of the link-local range; multicast, reserved and unspecified addresses.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final, Self, TypeAlias, final

from protocol.values import BaseUrl, Origin

Address: TypeAlias = IPv4Address | IPv6Address


def base_url(text: str) -> BaseUrl:
    """Read a base URL, with its host in the one spelling that :func:`host_name` gives it.

    :raises ValueError: it is none. The message holds nothing of the text: people put passwords and keys into URLs.
    """
    try:
        parsed = BaseUrl.parse(text)
    except ValueError:
        raise ValueError("expected http(s)://host[:port][/path], without a user name, query or fragment") from None
    origin = parsed.origin
    return BaseUrl(Origin(origin.scheme, host_name(origin.host), origin.port), parsed.prefix)


def host_name(text: str) -> str:
    """A host as a resolver understands it: an address as it is usually written, or a name in lower-case ASCII.

    Resolvers also take ``2852039166``, ``0xa9.254.43518`` or ``0251.0376.0251.0376`` for an IPv4 address, and digits
    and dots of other scripts for ASCII ones. All that becomes the address itself, so what was judged is what is
    connected to. An IPv4-mapped IPv6 address becomes the IPv4 address it reaches.

    :raises ValueError: neither an address nor a name.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        return str(_mapped(_ipv6_address(bare)))
    name = _ascii_name(bare)
    labels = _absolute(name).split(".")
    if NUMBER.fullmatch(labels[-1]):
        return str(_ipv4_address(labels))
    if not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError(NO_HOST)
    return name


@dataclass(frozen=True, slots=True)
class ProxyUrl:
    """The proxy through which a provider is reached; ``host`` has no brackets, also for IPv6."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http(s)://host[:port]``, ``socks5://...`` or ``socks5h://...``.

        :raises ValueError: anything else, also a user name or password: this text is stored and shown as it is.
        """
        parts = PROXY.fullmatch(text.strip())
        if parts is None or not 0 < int(parts["port"] or 1) < 65536:
            raise ValueError("expected http://, https://, socks5:// or socks5h://, then host[:port] and nothing else")
        scheme = parts["scheme"].lower()
        return cls(scheme, host_name(parts["host"]), int(parts["port"] or PROXY_PORTS[scheme]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@final
class OriginGuard:
    """Judges where connections may go.

    :param allowed: hosts (names or addresses) that the operator has vouched for; nothing is held against them.
    :raises ValueError: an allowed host is none.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_absolute(host_name(host)) for host in allowed)

    def check(self, host: str) -> None:
        """Return if a provider may be at ``host``, an address or a name, as far as that can be told unresolved.

        :raises ValueError: it may not, and why.
        """
        name = _absolute(host_name(host))
        if name in self._allowed:
            return
        address = _literal(name)
        fault = METADATA_NAMES.get(name) if address is None else _fault(address)
        if fault is not None:
            raise ValueError(f"no provider may be at {host}: it is {fault}, and not among the allowed hosts")

    def check_resolved(self, host: str, address: str) -> None:
        """Return if a connection to ``host`` may go to ``address``, which the resolver gave for it.

        To be asked of the very address that is connected to: a name can mean something else by the next look-up.

        :raises ValueError: it may not, and why.
        """
        if _absolute(host_name(host)) in self._allowed:
            return
        resolved = _literal(address.partition("%")[0])
        if resolved is None:
            raise ValueError(f"{host} was resolved to what is no address")
        fault = None if str(_mapped(resolved)) in self._allowed else _fault(resolved)
        if fault is not None:
            raise ValueError(f"no provider may be at {host}: its address {resolved} is {fault}")


# --- spellings --------------------------------------------------------------------------------------------------------

NO_HOST: Final = "expected a host name or an IP address"
NO_ADDRESS: Final = "the host looks like an IP address, but is none (an IPv6 zone is not allowed)"

MOST_NAME_CHARACTERS: Final = 253
LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes the whole host an address (WHATWG URL, "ends in a number checker")."""

PART: Final = re.compile(r"0x(?P<hex>[0-9a-f]+)|0(?P<octal>[0-7]*)|(?P<decimal>[1-9][0-9]*)")

PROXY: Final = re.compile(
    r"(?P<scheme>https?|socks5h?)://(?P<host>\[[^\]]*\]|[^\[\]:/@?#\s]+)(:(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def _ascii_name(text: str) -> str:
    try:
        if len(text) <= MOST_NAME_CHARACTERS:
            return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        pass
    raise ValueError(NO_HOST)


def _ipv4_address(parts: list[str]) -> IPv4Address:
    """One to four numbers, the last of which fills the bytes that are left, as ``inet_aton`` reads them."""
    numbers = [_number(part) for part in parts]
    *leading, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        raise ValueError(NO_ADDRESS)
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(leading)) + last)


def _number(part: str) -> int:
    matched = PART.fullmatch(part)
    if matched is None:
        raise ValueError(NO_ADDRESS)
    if matched["hex"] is not None:
        return int(matched["hex"], 16)
    return int(matched["decimal"]) if matched["decimal"] is not None else int(matched["octal"] or "0", 8)


def _ipv6_address(text: str) -> IPv6Address:
    try:
        if "%" not in text:  # a zone means an interface of one machine, and only link-local addresses need it
            return IPv6Address(text)
    except AddressValueError:
        pass
    raise ValueError(NO_ADDRESS)


def _literal(name: str) -> Address | None:
    """The address that a canonical host or a resolver's answer is; None for a name."""
    try:
        return IPv6Address(name) if ":" in name else IPv4Address(name)
    except AddressValueError:
        return None


def _absolute(name: str) -> str:
    """``name.`` and ``name`` mean one host, unless a search list intervenes."""
    return name.removesuffix(".")


def _mapped(address: Address) -> Address:
    """The IPv4 address behind ``::ffff:0:0/96``, for which a socket opens an IPv4 connection."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


# --- judgement --------------------------------------------------------------------------------------------------------

LINK_LOCAL: Final = "a link-local address, where cloud metadata services are"
METADATA: Final = "a cloud metadata service"
MULTICAST: Final = "a multicast address"
RESERVED: Final = "a reserved address"
UNSPECIFIED: Final = "an unspecified address (this machine is 127.0.0.1)"

CLOSED: Final = tuple(
    (network, fault)
    for fault, networks in (
        (LINK_LOCAL, ("169.254.0.0/16", "fe80::/10")),
        # Alibaba, Oracle and Azure outside the link-local range; Amazon's and Google's IPv6 addresses.
        (METADATA, ("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::/32", "fd20:ce::254/128")),
        (MULTICAST, ("224.0.0.0/4", "ff00::/8")),
        (RESERVED, ("240.0.0.0/4",)),
        (UNSPECIFIED, ("0.0.0.0/8", "::/128")),
    )
    for network in map(ip_network, networks)
)
METADATA_NAMES: Final = dict.fromkeys(
    (
        "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
        "metadata.tencentyun.com",
    ),
    METADATA,
)  # fmt: skip

LOW_32_BITS: Final = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible (RFC 4291 section 2.5.5.1)
        "::ffff:0:0/96",  # IPv4-mapped (section 2.5.5.2)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765 section 2.1)
        "64:ff9b::/96",  # NAT64 (RFC 6052 section 2.1)
        "64:ff9b:1::/48",  # NAT64 within a site (RFC 8215)
    )
)


def _fault(address: Address) -> str | None:
    """What is wrong with an address, or with the IPv4 address that packets to it end up at."""
    for meant in (address, *_embedded(address)):
        for network, fault in CLOSED:
            if meant.version == network.version and meant in network:
                return fault
    return None


def _embedded(address: Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address) or address.is_loopback:
        return []
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    found = [low] if any(address in network for network in LOW_32_BITS) else []
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    return found
