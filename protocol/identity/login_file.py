"""The login inside a credential file: found, and replaced without touching anything else in there.

What else a file holds is kept as the bytes it was: unknown fields, other tools' data, numbers no parser can represent.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Raw

from protocol.files import FileContent
from protocol.identity.credentials import (
    API_KEY_PREFIX,
    EXPIRY_FIELDS,
    FIRST_MILLISECONDS,
    FLAT_TOKEN_FIELDS,
    KEY_FIELDS,
    NESTED_FIELDS,
    PROVIDER_PREFIX,
    REFRESH_PREFIX,
    TOKEN_FIELDS,
)
from protocol.login_jobs import Login
from protocol.values import Secret

REFRESH_FIELDS: Final = ("refreshToken", "refresh_token")

FIRST_PLAUSIBLE_SECONDS: Final = 1e9
"""A smaller number (0 for instance) says nothing about its unit; files as Claude Code writes them have milliseconds."""

RECOVERY_FOLDER: Final = "refresh-recovery"


class NotMergeable(Exception):
    """The file is not one that a login can be put into; the text says why and holds nothing of it."""


def read_login(content: FileContent) -> Login | None:
    """The session that ``find_credential`` finds in this file, with what prolongs it; None for an API key or nothing.

    Total on any content.
    """
    found = _find(content)
    return None if found is None else found.login


def merge_login(content: FileContent, replaced: Login, renewed: Login) -> bytes | None:
    """The file with ``renewed`` in place of its login, all else kept; None when it holds something newer.

    Newer is any other login but an older link of the same chain, that is one that expires no later than ``replaced``
    did: a program that rewrites the file from its memory brings such a link back.

    :raises NotMergeable: no login can be found in there.
    """
    found = _find(content)
    if found is None or not isinstance(content, bytes):
        raise NotMergeable("no login is in it any more")
    present = found.login
    if present.access != renewed.access and present.refresh not in (replaced.refresh, renewed.refresh):
        older = replaced.expires_at is not None and (present.expires_at or 0.0) <= replaced.expires_at
        if present.expires_at is None or not older:
            return None
    return _restyled(found.with_login(renewed), content)


def later(login: Login, other: Login) -> bool:
    """``login`` expires after ``other``; an unknown expiry counts as long past."""
    return (login.expires_at or 0.0) > (other.expires_at or 0.0)


def recovery_content(login: Login) -> bytes:
    """A credential file with this login and nothing else."""
    holder: dict[str, str | int] = {"accessToken": login.access.reveal()}
    if login.refresh is not None:
        holder["refreshToken"] = login.refresh.reveal()
    if login.expires_at is not None:
        holder["expiresAt"] = _milliseconds(login.expires_at)
    return msgspec.json.encode({NESTED_FIELDS[0]: holder})


def recovery_path(data_dir: str, path: str) -> str:
    """Where the login of a credential file that cannot be written is kept."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{data_dir.rstrip('/')}/{RECOVERY_FOLDER}/{digest[:32]}.json"


# --- where the login is -----------------------------------------------------------------------------------------------

_Fields = dict[str, Raw]


@dataclass(frozen=True, slots=True)
class _Found:
    """A login and the names it goes by; ``nested`` is the field that holds its object, None at the top."""

    login: Login
    top: _Fields
    nested: str | None
    holder: _Fields
    access_field: str
    refresh_field: str

    def with_login(self, renewed: Login) -> bytes:
        holder = dict(self.holder)
        holder[self.access_field] = _raw(renewed.access.reveal())
        if renewed.refresh is not None:
            holder[self.refresh_field] = _raw(renewed.refresh.reveal())
        if renewed.expires_at is not None:
            name, value = self._expiry_as_written(renewed.expires_at)
            holder[name] = _raw(value)
        if self.nested is None:
            return msgspec.json.encode(holder)
        return msgspec.json.encode({**self.top, self.nested: Raw(msgspec.json.encode(holder))})

    def _expiry_as_written(self, expires_at: float) -> tuple[str, int | str]:
        """Name and value in the notation that the file has already, else in Claude Code's."""
        present = [(name, _value(self.holder[name])) for name in EXPIRY_FIELDS if name in self.holder]
        for name, value in present:
            if _instant(value) is not None:
                return name, _like(value, expires_at)
        default = "expires_at" if "_" in self.access_field else "expiresAt"
        return (present[0][0] if present else default), _milliseconds(expires_at)


def _find(content: FileContent) -> _Found | None:
    top = _fields(content)
    for nested, holder, names in _holders(top):
        for name in names:
            value = _value(holder[name]) if name in holder else None
            token = value.strip() if isinstance(value, str) else ""
            if name in KEY_FIELDS and not token.startswith(PROVIDER_PREFIX):
                continue
            if _can_be_sent(token) and not token.startswith(REFRESH_PREFIX):
                if token.startswith(API_KEY_PREFIX):
                    return None
                refresh_field, refresh = _refresh(holder, name)
                login = Login(Secret(token), refresh, _expiry(holder))
                return _Found(login, top, nested, holder, name, refresh_field)
    return None


def _fields(content: FileContent) -> _Fields:
    if not isinstance(content, bytes):
        return {}
    try:
        text = content.decode("utf-8-sig")
        msgspec.json.decode(text)  # fields kept as they are would not be looked into
        return msgspec.json.decode(text, type=_Fields)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return {}


def _holders(top: _Fields) -> Iterator[tuple[str | None, _Fields, tuple[str, ...]]]:
    for nested in NESTED_FIELDS:
        try:
            yield nested, msgspec.json.decode(top.get(nested, b"null"), type=_Fields), TOKEN_FIELDS
        except msgspec.DecodeError:
            continue
    yield None, top, FLAT_TOKEN_FIELDS
    yield None, top, KEY_FIELDS


def _refresh(holder: _Fields, access_field: str) -> tuple[str, Secret | None]:
    for name in REFRESH_FIELDS:
        value = _value(holder[name]) if name in holder else None
        if isinstance(value, str) and _can_be_sent(value.strip()):
            return name, Secret(value.strip())
    return REFRESH_FIELDS["_" in access_field], None


def _can_be_sent(token: str) -> bool:
    return token != "" and all("!" <= character <= "~" for character in token)


def _expiry(holder: _Fields) -> float | None:
    """Epoch seconds, from the first of the fields that can be read."""
    instants = (_instant(_value(holder[name])) for name in EXPIRY_FIELDS if name in holder)
    return next((instant for instant in instants if instant is not None), None)


def _instant(value: object) -> float | None:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) / 1000 if abs(value) >= FIRST_MILLISECONDS else float(value)
    except (ValueError, OverflowError):
        pass
    return None


def _like(value: object, instant: float) -> int | str:
    """``instant`` (epoch seconds) in the notation of ``value``."""
    if isinstance(value, str):
        moment = datetime.fromtimestamp(instant, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, int | float) and FIRST_PLAUSIBLE_SECONDS <= value < FIRST_MILLISECONDS:
        return int(instant)
    return _milliseconds(instant)


def _milliseconds(instant: float) -> int:
    return round(instant * 1000)


def _value(raw: Raw) -> object:
    return msgspec.json.decode(raw)


def _raw(value: int | str) -> Raw:
    return Raw(msgspec.json.encode(value))


def _restyled(compact: bytes, original: bytes) -> bytes:
    """``compact`` on one line or indented, and with a line end or not, as ``original`` is."""
    body = original.strip()
    _, indented, rest = body.partition(b"\n")
    styled = compact
    if indented:
        margin = len(rest) - len(rest.lstrip(b" "))
        styled = msgspec.json.format(compact, indent=margin or 2)
    return styled + b"\n" if original.endswith(b"\n") else styled
