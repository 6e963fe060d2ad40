"""What the provider says about an account's limits, in the header fields of any of its responses.

A Claude subscription is limited by usage windows (``anthropic-ratelimit-unified-*``): five hours, seven days, and some
that count only certain models. An API key has quotas of requests and tokens. Both are hints: whatever the bytes are,
what cannot be read is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Final

from protocol.values import Headers

LONGEST_WINDOW_SECONDS: Final = 7 * 24 * 3600 + 3600
"""The longest real window, and an hour for clocks that disagree. No limit is believed to last longer."""


class WindowStatus(Enum):
    """What the provider does with requests that count against a window."""

    ALLOWED = "allowed"
    WARNING = "allowed_warning"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Window:
    """A usage window by the provider's name for it, such as ``5h``. ``utilization`` is a share, 1.0 when it is used up;
    ``resets_at`` is in epoch seconds; ``model_scoped`` windows, such as ``7d_oi``, count only some models.
    """

    name: str
    status: WindowStatus | None = None
    utilization: float | None = None
    resets_at: float | None = None
    model_scoped: bool = False

    @property
    def spent(self) -> bool:
        """No more requests are let through. Without a status the utilization has to say it."""
        if self.status is None:
            return self.utilization is not None and self.utilization >= 1
        return self.status is WindowStatus.REJECTED


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of an API key: ``requests``, ``tokens``, ``input-tokens`` or ``output-tokens``; epoch seconds."""

    name: str
    limit: float | None = None
    remaining: float | None = None
    resets_at: float | None = None

    @property
    def spent(self) -> bool:
        return self.remaining == 0

    @property
    def utilization(self) -> float | None:
        """The share that is used, 0..1."""
        if self.limit is None or self.remaining is None or self.limit <= 0:
            return None
        return min(1.0, max(0.0, 1 - self.remaining / self.limit))


@dataclass(frozen=True, slots=True)
class Limits:
    """All of it. ``status``, ``resets_at`` (epoch seconds) and ``claim`` sum the windows up: the claim names the window
    that decided. ``retry_after`` is in seconds from now, at most ``LONGEST_WINDOW_SECONDS``.
    """

    windows: tuple[Window, ...] = ()
    quotas: tuple[Quota, ...] = ()
    status: WindowStatus | None = None
    resets_at: float | None = None
    claim: str | None = None
    overage: WindowStatus | None = None
    retry_after: float | None = None

    def refusing(self) -> list[Window]:
        """The windows because of which a 429 was sent, each with the best known reset; none if it was not for them."""
        spent = [window for window in self.windows if window.spent]
        if not spent and self.status is WindowStatus.REJECTED:
            spent = [self._claimed()]
        return [window if window.resets_at is not None else replace(window, resets_at=self.resets_at)
                for window in spent]  # fmt: skip

    def _claimed(self) -> Window:
        """The window that the summary alone tells of."""
        name = _window_name(self.claim or "")
        known = {window.name: window for window in self.windows}
        if name is not None and (name not in known or known[name].status is None):
            return known.get(name) or Window(name, model_scoped="_" in name)
        # With the shared windows open it can only be one that counts the model asked for.
        return Window("unified", model_scoped=any(not window.model_scoped for window in self.windows))


NO_LIMITS: Final = Limits()


def read_limits(headers: Headers, wall: float) -> Limits:
    """The limits that a response's fields tell of, ``wall`` (epoch seconds) being when it came."""
    # A slice of the prefix's length: startswith() doubles what this line costs.
    fields = [field for field in headers if field[0][:20] == _PREFIX or field[0][:11] == b"retry-after"]
    if not fields:
        return NO_LIMITS
    limits = _limits(tuple(fields))
    retry_after = _retry_after(dict(fields), wall)
    return limits if retry_after is None else replace(limits, retry_after=retry_after)


# --- fields -----------------------------------------------------------------------------------------------------------

MAX_DATE_BYTES: Final = 40
"""Longer than any date and time; what goes on after it is none."""

MAX_WINDOWS: Final = 16
MOST_UTILIZATION: Final = 2.0
"""Extra usage goes somewhat beyond 1.0. A larger number is no share, so it says nothing."""

_PREFIX: Final = b"anthropic-ratelimit-"
_FIELD: Final = re.compile(
    r"anthropic-ratelimit-(?:"
    r"unified-(?:(?P<window>[0-9]{1,3}[mhdw](?:_[a-z0-9_]{1,24})?)-(?P<of_window>status|utilization|reset)"
    r"|(?P<summary>status|reset|representative-claim|overage-status))"
    r"|(?P<quota>(?:(?:input-|output-)?tokens)|requests)-(?P<of_quota>limit|remaining|reset))"
)
_CLAIM: Final = re.compile(r"[a-z0-9_]{1,48}")
_NUMBER: Final = re.compile(rb"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_STATUSES: Final = {status.value.encode(): status for status in WindowStatus}
_CLAIMS: Final = {"five_hour": "5h", "seven_day": "7d"}

FIRST_MILLISECONDS: Final = 1e11
"""From here on a moment is in milliseconds: as seconds it would be the year 5138, which is never meant."""


class _Group(Enum):
    WINDOW = "window"
    QUOTA = "quota"
    SUMMARY = "summary"
    OTHER = "other"


# An account's windows look the same in one response after another: shares come in whole per cent.
@lru_cache(maxsize=128)
def _limits(fields: tuple[tuple[bytes, bytes], ...]) -> Limits:
    """All but ``retry_after``, which depends on the time."""
    windows: dict[str, dict[str, bytes]] = {}
    quotas: dict[str, dict[str, bytes]] = {}
    summary: dict[str, bytes] = {}
    for name, value in fields:
        group, subject, part = _meaning(name)
        if group is _Group.WINDOW:
            windows.setdefault(subject, {})[part] = value
        elif group is _Group.QUOTA:
            quotas.setdefault(subject, {})[part] = value
        elif group is _Group.SUMMARY:
            summary[part] = value
    return Limits(
        windows=tuple(_window(name, parts) for name, parts in list(windows.items())[:MAX_WINDOWS]),
        quotas=tuple(_quota(name, parts) for name, parts in quotas.items()),
        status=_status(summary.get("status")),
        resets_at=_moment(summary.get("reset")),
        claim=_claim(summary.get("representative-claim")),
        overage=_status(summary.get("overage-status")),
    )


# Providers send the same few names with every response.
@lru_cache(maxsize=128)
def _meaning(field: bytes) -> tuple[_Group, str, str]:
    """Of which window or quota a field tells, and what."""
    match = _FIELD.fullmatch(field.decode("latin-1"))
    if match is None:
        return _Group.OTHER, "", ""
    if match["window"]:
        return _Group.WINDOW, match["window"], match["of_window"]
    if match["quota"]:
        return _Group.QUOTA, match["quota"], match["of_quota"]
    return _Group.SUMMARY, "", match["summary"]


def _window(name: str, parts: Mapping[str, bytes]) -> Window:
    share = _number(parts.get("utilization"))
    return Window(
        name,
        _status(parts.get("status")),
        share if share is not None and share <= MOST_UTILIZATION else None,
        _moment(parts.get("reset")),
        model_scoped="_" in name,
    )


def _quota(name: str, parts: Mapping[str, bytes]) -> Quota:
    return Quota(name, _number(parts.get("limit")), _number(parts.get("remaining")), _moment(parts.get("reset")))


def _status(value: bytes | None) -> WindowStatus | None:
    return None if value is None else _STATUSES.get(value.strip().lower())


def _claim(value: bytes | None) -> str | None:
    text = (value or b"").decode("latin-1").strip().lower()
    return text if _CLAIM.fullmatch(text) else None


def _window_name(claim: str) -> str | None:
    """``seven_day`` is the window ``7d``, ``seven_day_opus`` the window ``7d_opus``."""
    for spelled, name in _CLAIMS.items():
        if claim == spelled or claim.startswith(f"{spelled}_"):
            return name + claim[len(spelled) :]
    return None


def _retry_after(fields: Mapping[bytes, bytes], wall: float) -> float | None:
    """Seconds from now; the field in milliseconds is the more exact one. A date may be the past, which is now."""
    exact, value = fields.get(b"retry-after-ms"), fields.get(b"retry-after")
    milliseconds = None if exact is None else _number(exact)
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WINDOW_SECONDS)
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        until = _http_date(value.strip().lower())
        if until is None or not isfinite(wall):
            return None
        seconds = max(0.0, until - wall)
    return min(seconds, LONGEST_WINDOW_SECONDS)


def _number(value: bytes | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None


def _moment(value: bytes | None) -> float | None:
    """Epoch seconds from a number, or from a date and time (RFC 3339)."""
    if value is None:
        return None
    number = _number(value)
    if number is not None:
        moment = number / 1000 if number >= FIRST_MILLISECONDS else number
        return moment if moment < FIRST_MILLISECONDS else None
    try:
        date = datetime.fromisoformat(value[:MAX_DATE_BYTES].decode("ascii").strip())
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# --- dates ------------------------------------------------------------------------------------------------------------

_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_TIME: Final = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES: Final = (
    re.compile(rb"[a-z]{3}, (?P<day>[0-9]{2}) (?P<month>[a-z]{3}) (?P<year>[0-9]{4}) " + _TIME + rb" gmt"),
    re.compile(rb"[a-z]{6,9}, (?P<day>[0-9]{2})-(?P<month>[a-z]{3})-(?P<year>[0-9]{2}) " + _TIME + rb" gmt"),
    re.compile(rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ 0-9][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"),
)
"""The three forms that a recipient has to read (RFC 9110 section 5.6.7), in lower case."""


def _http_date(value: bytes) -> float | None:
    for form in _DATES:
        match = form.fullmatch(value)
        if match is None or match["month"] not in _MONTHS:
            continue
        year = int(match["year"])
        # Two digits: no response of today means another century.
        year += 2000 if year < 100 else 0
        month = _MONTHS.index(match["month"]) + 1
        try:
            day, hour, minute = (int(match[part]) for part in ("day", "hour", "minute"))
            # A leap second is a second that datetime does not know.
            return datetime(year, month, day, hour, minute, min(int(match["second"]), 59), tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            return None
    return None
