"""The kinds of value a setting can take: how a text is read, and what to say is allowed when it cannot be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from protocol.egress import DirectHosts, Proxy
from protocol.values import BaseUrl, Secret

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a text becomes a value.

    :param metavar: stands for the value in help.
    :param allowed: completes "allowed: ..." for people.
    :param read: raises ValueError, with a reason where there is more to say than ``allowed``.
    :param verbatim: blanks at either end belong to the value; other kinds ignore them.
    :param secret: the text must not be shown, not even when it is wrong.
    """

    metavar: str
    allowed: str
    read: Callable[[str], T]
    verbatim: bool = False
    secret: bool = False


def whole(low: int, high: int) -> Kind[int]:
    """A decimal number without a sign."""

    def read(text: str) -> int:
        return within(low, int(matched(DIGITS, text)[0]), high)

    return Kind("NUMBER", f"a whole number from {low} to {high}", read)


def size(low: int, high: int) -> Kind[int]:
    """A number of bytes, plain or with a binary unit; ``high`` is at least a GiB."""

    def read(text: str) -> int:
        number, unit = matched(SIZE, text.lower()).groups()
        return within(low, int(number) * UNITS[unit], high)

    return Kind("SIZE", f"a number of bytes, also with KiB, MiB or GiB, from {low} to {high >> 30} GiB", read)


def choice(spellings: Mapping[E, tuple[str, ...]], planned: tuple[str, ...] = ()) -> Kind[E]:
    """A member of an enum, by its value or another spelling, in any case.

    ``planned`` spellings are known and refused, because what they stand for does not exist yet.
    """
    members = {name: member for member, others in spellings.items() for name in (str(member.value), *others)}

    def read(text: str) -> E:
        name = text.lower()
        if name in planned:
            raise ValueError("not available in this version")
        if name not in members:
            raise ValueError
        return members[name]

    allowed = ", ".join(
        f"{member.value} (also {', '.join(others)})" if others else str(member.value)
        for member, others in spellings.items()
    )
    return Kind("|".join(str(member.value) for member in spellings), allowed, read)


def listed(item: Kind[T]) -> Kind[tuple[T, ...]]:
    """Values with commas between them; blanks around a value do not count, empty values are dropped."""

    def read(text: str) -> tuple[T, ...]:
        return tuple(item.read(part.strip()) for part in text.split(",") if part.strip())

    return Kind(f"{item.metavar},...", f"values separated by commas, each {item.allowed}", read)


def matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError
    return match


def within(low: N, value: N, high: N) -> N:
    if not low <= value <= high:
        raise ValueError
    return value


# ASCII digits only: int() and float() also take underscores, signs, exponents and the digits of other scripts.
DIGITS: Final = re.compile(r"[0-9]{1,18}")
DECIMAL: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
SIZE: Final = re.compile(r"([0-9]{1,18}) ?(kib|mib|gib|)")
UNITS: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

HOST_NAME: Final = re.compile(r"[^\s\[\]/@\x00-\x1f\x7f]+")
MODEL_NAME: Final = re.compile(r"[^\s=,\x00-\x1f\x7f]+")
VISIBLE: Final = re.compile(r"[!-~]+")

# Longer than any wait that is meant, and short enough for every event loop's timers.
A_YEAR: Final = 366 * 24 * 3600.0


def read_boolean(text: str) -> bool:
    word = text.lower()
    if word not in BOOLEAN_WORDS:
        raise ValueError
    return BOOLEAN_WORDS[word]


def read_text(text: str) -> str:
    text.encode()  # an environment that is not UTF-8 arrives as lone surrogates; UnicodeEncodeError is a ValueError
    return text


def read_host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return matched(HOST_NAME, read_text(bare))[0]


def read_path(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def read_url(text: str) -> BaseUrl:
    try:
        return BaseUrl.parse(read_text(text))
    except ValueError:
        raise ValueError from None  # the reason may quote a password


def read_proxy(text: str) -> Proxy:
    try:
        return Proxy.parse(read_text(text))
    except ValueError:
        raise ValueError from None  # the reason may quote a password


def read_no_proxy(text: str) -> DirectHosts:
    try:
        return DirectHosts.parse(read_text(text))
    except ValueError:
        raise ValueError from None  # somebody may have put a proxy's URL here


def read_model_names(text: str) -> tuple[tuple[str, str], ...]:
    names: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in re.split(r"[,\n]", read_text(text)))):
        name, _, model = (part.strip() for part in entry.partition("="))
        if not MODEL_NAME.fullmatch(name) or not MODEL_NAME.fullmatch(model) or "*" in model:
            raise ValueError(f"{entry!r} is not a mapping of one name to one model")
        if name in names:
            raise ValueError(f"the model name {name!r} is mapped twice")
        names[name] = model
    return tuple(names.items())


def read_provider_key(text: str) -> Secret:
    if text.startswith("sk-ant-ort"):
        raise ValueError("it is a refresh token, which no request can be sent with")
    return Secret(matched(VISIBLE, text)[0])


def read_account_limits(text: str) -> tuple[tuple[str, int], ...]:
    limits: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, divider, number = (part.strip() for part in entry.rpartition("="))
        account = name if divider else ANY_ACCOUNT
        if not account or not DIGITS.fullmatch(number):
            raise ValueError(f"{entry!r} is not a limit of an account")
        if account in limits:
            raise ValueError(f"the account {account!r} has two limits")
        limits[account] = within(1, int(number), 10**12)
    return tuple(limits.items())


def read_seconds(text: str) -> float:
    seconds = read_seconds_from_zero(text)
    if seconds == 0:
        raise ValueError
    return seconds


def read_seconds_from_zero(text: str) -> float:
    return within(0.0, float(matched(DECIMAL, text)[0]), A_YEAR)


BOOLEAN_WORDS: Final = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip

PROVIDER_KEY: Final = Kind("KEY", "a key of visible ASCII characters", read_provider_key, secret=True)

ANY_ACCOUNT: Final = "*"
"""In a list of limits: every account that is not named."""

BOOLEAN: Final = Kind("BOOLEAN", "true, false (also 1, 0, yes, no, on, off)", read_boolean)
TEXT: Final = Kind("TEXT", "any text", read_text)
HOST: Final = Kind("HOST", "an IPv4 or IPv6 address, or a host name", read_host)
PORT: Final = whole(0, 65535)
PATH: Final = Kind("PATH", "a path of the file system", read_path, verbatim=True)
PATHS: Final = listed(PATH)
URL: Final = Kind("URL", "an http:// or https:// URL without user name, password, query or fragment", read_url)
PROXY: Final = Kind(
    "URL",
    "`http://`, `https://` or `socks5://`, `user:password@` (percent-encoded) if the proxy wants that, a host, and `:` "
    "with a port, if it is not the usual one",
    read_proxy,
    secret=True,
)
NO_PROXY: Final = Kind(
    "HOST,...",
    "host names, IP addresses and networks such as 10.0.0.0/8, separated by commas; `*` for all",
    read_no_proxy,
)
ROUTE: Final = Kind(  # read as a pattern by the module that has the routes
    "PATTERN",
    "a path such as `/v1/agents`, `/v1/agents/{id}` or `/v1/agents/*`, maybe after a method and a blank",
    read_text,
)
MODEL_NAMES: Final = Kind(
    "NAME=MODEL,...",
    "name=model entries separated by commas; * in a name stands for any characters",
    read_model_names,
)
ACCOUNT_LIMITS: Final = Kind(
    "NAME=NUMBER,...",
    "name=number entries separated by commas; a number alone, or the name *, is for every other account",
    read_account_limits,
)
MODEL: Final = Kind("MODEL", "the name of a model", lambda text: matched(MODEL_NAME, read_text(text))[0])
WORD: Final = Kind("WORD", "visible ASCII characters", lambda text: matched(VISIBLE, text)[0])
SECONDS: Final = Kind("SECONDS", "a number of seconds above 0 and at most a year, decimals allowed", read_seconds)
SECONDS_FROM_ZERO: Final = Kind(
    "SECONDS", "a number of seconds from 0 to a year, decimals allowed", read_seconds_from_zero
)
SECONDS_OR_OFF: Final[Kind[float | None]] = Kind(
    "SECONDS",
    "a number of seconds up to a year, decimals allowed; 0 switches it off",
    lambda text: read_seconds_from_zero(text) or None,
)
SECRET: Final = Kind("SECRET", "any text in UTF-8", lambda text: Secret(read_text(text)), verbatim=True, secret=True)
API_KEY: Final = Kind(
    "KEY", "a key of visible ASCII characters", lambda text: Secret(matched(VISIBLE, text)[0]), secret=True
)
