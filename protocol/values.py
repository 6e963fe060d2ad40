"""The words everything else is written in: ids, headers, heads, origins and secrets, parsed once and then trusted."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType, Self, TypeAlias, final
from urllib.parse import urlsplit

import msgspec

ConnId = NewType("ConnId", int)
"""One byte stream that the shell holds open: a client's, an upstream's."""

JobId = NewType("JobId", int)
"""One piece of work the shell was asked to do off the wire, such as reading credential files."""

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in wire order, names in lower case, repeats kept (RFC 9110 section 5.3)."""


@final
class Secret:
    """A text that no log line, error, metric or ``repr`` can show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself; call it only where the bytes are put on the wire or under a key."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not serialisable")


class RequestHead(msgspec.Struct, frozen=True):
    """An HTTP request without its body. ``target`` is the raw request target: path, then ``?`` and query if any."""

    method: bytes
    target: bytes
    headers: Headers
    http_version: bytes = b"1.1"

    @property
    def path(self) -> bytes:
        """The target up to its query, percent-encoding untouched."""
        return self.target.partition(b"?")[0]


class ResponseHead(msgspec.Struct, frozen=True):
    """An HTTP response without its body."""

    status: int
    headers: Headers
    reason: bytes = b""
    http_version: bytes = b"1.1"


DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection goes: scheme, host and port (RFC 6454). ``host`` has no brackets, also for IPv6."""

    scheme: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The ``Host`` header's value (RFC 9110 section 7.2): the port is named only when it is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """An operator's base URL: an origin and a path prefix without a trailing slash (``""`` or ``"/gateway"``)."""

    origin: Origin
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http(s)://host[:port][/prefix]``.

        :raises ValueError: another scheme, no host, a bad port, user info, a query or a fragment.
        """
        parts = urlsplit(text.strip())
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError(f"expected an http:// or https:// URL, got {text!r}")
        if not parts.hostname:
            raise ValueError(f"the URL {text!r} names no host")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError(f"{parts.hostname!r} is not a host name") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError("a base URL must not carry a user name or password")
        if parts.query or parts.fragment:
            raise ValueError(f"a base URL has no query and no fragment: {text!r}")
        if not parts.path.isascii() or any(c <= " " for c in parts.path):
            raise ValueError(f"percent-encode the path of {text!r}")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(Origin(parts.scheme, parts.hostname, port), parts.path.rstrip("/"))

    def __str__(self) -> str:
        return f"{self.origin}{self.prefix}"


class PeerKind(Enum):
    """Where a client connection comes from, as far as trust goes."""

    LOOPBACK = "loopback"
    UNIX = "unix"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of an accepted connection; ``address`` is for log lines only."""

    kind: PeerKind
    address: str

    @property
    def local(self) -> bool:
        """On this machine: a loopback address or a Unix socket."""
        return self.kind is not PeerKind.NETWORK


OUTPUT_WEIGHT: Final = 5.0
CACHE_CREATION_WEIGHT: Final = 1.25
CACHE_READ_WEIGHT: Final = 0.1
"""What a token of a kind costs against one of input, by the provider's price list."""


class Tokens(msgspec.Struct, frozen=True):
    """What answers were billed for; ``input`` is without the cached ones."""

    input: int = 0
    output: int = 0
    cache_creation: int = 0
    cache_read: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_creation + other.cache_creation,
            self.cache_read + other.cache_read,
        )

    @property
    def weighed(self) -> float:
        """As so many tokens of input."""
        written = self.input + OUTPUT_WEIGHT * self.output
        return written + CACHE_CREATION_WEIGHT * self.cache_creation + CACHE_READ_WEIGHT * self.cache_read
