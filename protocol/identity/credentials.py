"""The provider's credential: found in the files that a Claude login leaves behind, and put on an upstream request.

No text from inside a file ever reaches a warning: what is said is the file's name, the field and the reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from protocol.files import FileContent, Missing, Unreadable
from protocol.values import Headers, Secret
from protocol.wire.headers import all_values, first, list_items

CREDENTIAL_FILES: Final = ("credentials.json", ".credentials.json", "auth.json", "oauth.json", "config.json")
"""Where a session is looked for in the Claude home directory, in this order."""

API_KEY_PREFIX: Final = "sk-ant-api"
OAUTH_PREFIX: Final = "sk-ant-oat"
REFRESH_PREFIX: Final = "sk-ant-ort"
PROVIDER_PREFIX: Final = "sk-ant-"

OAUTH_BETA: Final = b"oauth-2025-04-20"
"""The beta flag without which the API takes no OAuth token."""

DEFAULT_API_VERSION: Final = b"2023-06-01"


class Kind(Enum):
    """How a credential travels."""

    OAUTH = "oauth"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True)
class Credential:
    """What the upstream takes for proof. ``expires_at`` is in epoch seconds, None where nobody knows."""

    kind: Kind
    token: Secret
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search: the credential if any, the file it came from (or ``""``), what to tell the operator."""

    credential: Credential | None
    source: str
    warnings: list[str]


def find_credential(files: Iterable[tuple[str, FileContent]], wall: float) -> Found:
    """The first credential among ``files`` (name and content, in search order), read no further than needed.

    A file that cannot be used is passed over with a warning. A credential that has expired by ``wall`` (epoch seconds)
    is returned all the same, with a warning: it may be refreshed, and the stored time is only a hint.
    """
    warnings: list[str] = []
    for name, content in files:
        for token, expires_at in _candidates(name, content, warnings):
            if expires_at is not None and expires_at <= wall:
                warnings.append(f"{name}: the access token has expired")
            return Found(Credential(_kind(token, Kind.OAUTH), Secret(token), expires_at), name, warnings)
    return Found(None, "", warnings)


def from_api_key(text: str) -> Credential:
    """The credential an operator gave as an API key: sent as one unless it is plainly an OAuth token.

    :raises ValueError: the text is empty, a refresh token, or holds what no header can carry.
    """
    token = text.strip()
    fault = "it is empty" if not token else _fault(token)
    if fault is not None:
        raise ValueError(f"not an API key: {fault}")
    return Credential(_kind(token, Kind.API_KEY), Secret(token))


def authorize(headers: Headers, credential: Credential) -> Headers:
    """``headers`` with this one credential and no other, the beta flag that goes with its kind, and an API version
    where the client named none.
    """
    authorized = [field for field in headers if field[0] not in (b"authorization", b"x-api-key")]
    token = credential.token.reveal().encode("ascii")
    if credential.kind is Kind.OAUTH:
        _add_beta(authorized, OAUTH_BETA)
        authorized.append((b"authorization", b"Bearer " + token))
    else:
        authorized = _without_beta(authorized, OAUTH_BETA)
        authorized.append((b"x-api-key", token))
    if first(authorized, b"anthropic-version") is None:
        authorized.append((b"anthropic-version", DEFAULT_API_VERSION))
    return authorized


# --- what a file may look like ----------------------------------------------------------------------------------------

NESTED_FIELDS: Final = ("claudeAiOauth", "claude_ai_oauth")
"""The object Claude Code keeps its session in; other tools' data may sit beside it."""

TOKEN_FIELDS: Final = ("accessToken", "access_token")
FLAT_TOKEN_FIELDS: Final = (*TOKEN_FIELDS, "oauthToken", "oauth_token")
KEY_FIELDS: Final = ("primaryApiKey", "apiKey", "api_key", "ANTHROPIC_API_KEY")
"""Read only where the value is Anthropic's by its prefix: other tools keep other keys under these names."""

EXPIRY_FIELDS: Final = ("expiresAt", "expires_at", "expiryDate", "expiry_date")

FIRST_MILLISECONDS: Final = 1e11
"""From here on a number is milliseconds (this many were over in 1973; as seconds it is the year 5138)."""


def _candidates(name: str, content: FileContent, warnings: list[str]) -> Iterator[tuple[str, float | None]]:
    """The usable tokens of one file with their expiry, best first; ``warnings`` gets what is wrong on the way."""
    fields = _parse(name, content, warnings)
    for path, holder, token_fields in _holders(fields):
        for field in token_fields:
            value = holder.get(field)
            token = value.strip() if isinstance(value, str) else ""
            if not token or (field in KEY_FIELDS and not token.startswith(PROVIDER_PREFIX)):
                continue
            fault = _fault(token)
            if fault is None:
                yield token, _expiry(holder)
            else:
                warnings.append(f"{name}: {path}{field} is not usable: {fault}")


def _parse(name: str, content: FileContent, warnings: list[str]) -> dict[str, object]:
    if isinstance(content, Missing):
        return {}
    if isinstance(content, Unreadable):
        warnings.append(f"{name}: cannot be read: {content.reason}")
        return {}
    try:
        # Some editors begin a UTF-8 file with a byte order mark.
        fields = msgspec.json.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        warnings.append(f"{name}: not UTF-8 text (byte {error.start})")
    except msgspec.DecodeError as error:
        warnings.append(f"{name}: not valid JSON: {str(error).removeprefix('JSON is malformed: ')}")
    except RecursionError:
        warnings.append(f"{name}: not valid JSON: nested too deeply")
    else:
        if isinstance(fields, dict):
            return fields
        warnings.append(f"{name}: not a JSON object")
    return {}


def _holders(fields: dict[str, object]) -> Iterator[tuple[str, dict[str, object], tuple[str, ...]]]:
    for nested in NESTED_FIELDS:
        session = fields.get(nested)
        if isinstance(session, dict):
            yield f"{nested}.", session, TOKEN_FIELDS
    yield "", fields, FLAT_TOKEN_FIELDS
    yield "", fields, KEY_FIELDS


def _fault(token: str) -> str | None:
    """Why this text cannot be a credential, in words that hold none of it."""
    if not all("!" <= character <= "~" for character in token):
        return "it holds white space, control or non-ASCII characters"
    if token.startswith(REFRESH_PREFIX):
        return "it is a refresh token"
    return None


def _kind(token: str, otherwise: Kind) -> Kind:
    if token.startswith(API_KEY_PREFIX):
        return Kind.API_KEY
    return Kind.OAUTH if token.startswith(OAUTH_PREFIX) else otherwise


def _expiry(holder: dict[str, object]) -> float | None:
    """Epoch seconds from the first expiry field that can be read: milliseconds, seconds, or ISO 8601."""
    for field in EXPIRY_FIELDS:
        value = holder.get(field)
        try:
            if isinstance(value, str):
                moment = datetime.fromisoformat(value.strip())
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value) / 1000 if abs(value) >= FIRST_MILLISECONDS else float(value)
        except (ValueError, OverflowError):
            continue
    return None


# --- the beta list ----------------------------------------------------------------------------------------------------


def _add_beta(headers: Headers, flag: bytes) -> None:
    """Append ``flag`` to the last ``anthropic-beta`` unless one has it; every other byte of the client's list stays."""
    if any(flag in list_items(value) for value in all_values(headers, b"anthropic-beta")):
        return
    for position in range(len(headers) - 1, -1, -1):
        name, value = headers[position]
        if name == b"anthropic-beta":
            headers[position] = (name, value + b"," + flag if value.strip() else flag)
            return
    headers.append((b"anthropic-beta", flag))


def _without_beta(headers: Headers, flag: bytes) -> Headers:
    """Take ``flag`` out: it says that the credential is an OAuth token, so it goes with the client's own."""
    kept: Headers = []
    for name, value in headers:
        if name == b"anthropic-beta" and flag in list_items(value):
            others = [item for item in list_items(value) if item != flag]
            if others:
                kept.append((name, b",".join(others)))
        else:
            kept.append((name, value))
    return kept
