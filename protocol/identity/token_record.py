"""What is known of one token, and how two reports of the same token become one.

Records only ever grow together: ``merge`` takes the join of two reports, field by field, so any number of reports in
any order, once or many times, make the same record. That is what lets several routers, the command line and two files
share the tokens without asking each other. A change is therefore nothing but a report that says little.

=====================  ================================================================================================
field                  of two that differ
=====================  ================================================================================================
revoked                true
expires_at             the earlier; 0 is not known
end of the signature   the later; 0 is not known
issued_at              the later
label, account         the shorter that is not empty: where the original router mistook UTF-8, its text is the longer
limits                 the lower; of two lists of models the shorter that is not empty
unknown fields         each by itself: the shorter
=====================  ================================================================================================
"""

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from protocol.errors import Refusal
from protocol.identity.tokens import Claims

MOST_CACHED: Final = 65_536
"""Records that each codec remembers with what it wrote or read: of a file that changes, most records did not."""

MAX_ID_LENGTH: Final = 256
MAX_MODELS: Final = 64
MAX_PATTERN_LENGTH: Final = 256
MOST: Final = 2**63 - 1

Seconds: TypeAlias = Annotated[int, Meta(ge=-MOST, le=MOST)]
"""Epoch seconds; the original issues tokens with any lifetime, so there may be negative ones."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MOST)]

Unknown: TypeAlias = tuple[tuple[str, str], ...]
"""Fields that a newer version wrote: name and what was written, sorted by name."""


class TokenRecord(msgspec.Struct, frozen=True):
    """One token's record, never the token. The first six fields are the original router's.

    :param id: the token's ``sub``.
    :param expires_at: until when the token is let in; 0 leaves that to its signature.
    :param account: the one account it is bound to, if any.
    :param signed_until: when the signature ends, where that is not ``expires_at``; 0 if nobody knows.
    :param models: patterns, ``*`` standing for any characters; none allow every model.
    :param unknown_links: of the text file.
    :param unknown_json: of the binary file.
    """

    id: Annotated[str, Meta(min_length=1)]
    label: str = ""
    issued_at: Seconds = 0
    expires_at: Seconds = 0
    revoked: bool = False
    account: str | None = None
    signed_until: Seconds | None = None
    max_requests: Count | None = None
    requests_per_minute: Annotated[int, Meta(ge=1, le=MOST)] | None = None
    token_budget: Count | None = None
    models: tuple[str, ...] = ()
    unknown_links: Unknown = ()
    unknown_json: Unknown = ()

    @property
    def ends_at(self) -> int:
        """When its signature ends, from when on it is worthless without its record too; 0 if nobody knows."""
        return self.expires_at if self.signed_until is None else self.signed_until

    def fields(self) -> dict[str, str | int | bool | list[str] | None]:
        """The original's six, then ours as far as they are set: as the files have them, and the answers of the API."""
        fields: dict[str, str | int | bool | list[str] | None] = {name: getattr(self, name) for name in ORIGINAL_FIELDS}
        fields |= {
            name: value for name in ("signed_until", *LIMIT_FIELDS) if (value := getattr(self, name)) is not None
        }
        if self.models:
            fields["models"] = list(self.models)
        return fields


ORIGINAL_FIELDS: Final = ("id", "label", "issued_at", "expires_at", "revoked", "account")
LIMIT_FIELDS: Final = ("max_requests", "requests_per_minute", "token_budget")
KNOWN_FIELDS: Final = frozenset({*ORIGINAL_FIELDS, "signed_until", *LIMIT_FIELDS, "models"})


def normal(record: TokenRecord) -> TokenRecord:
    """Of all forms that say the same, the one that is compared and merged; ``merge`` and the changes make no other."""
    signed_until = None if record.ends_at == record.expires_at else record.ends_at
    return msgspec.structs.replace(record, account=record.account or None, signed_until=signed_until)


def merge(one: TokenRecord, other: TokenRecord) -> TokenRecord:
    """What both together say about one token; both are ``normal``."""
    if one == other:
        return one
    expires_at = _earlier(one.expires_at, other.expires_at)
    ends_at = max(one.ends_at, other.ends_at)
    return TokenRecord(
        id=one.id,
        label=_shorter(one.label, other.label) or "",
        issued_at=max(one.issued_at, other.issued_at),
        expires_at=expires_at,
        revoked=one.revoked or other.revoked,
        account=_shorter(one.account, other.account),
        signed_until=None if ends_at == expires_at else ends_at,
        max_requests=_lower(one.max_requests, other.max_requests),
        requests_per_minute=_lower(one.requests_per_minute, other.requests_per_minute),
        token_budget=_lower(one.token_budget, other.token_budget),
        models=min(filter(None, (one.models, other.models)), key=lambda models: (len(models), models), default=()),
        unknown_links=_united(one.unknown_links, other.unknown_links),
        unknown_json=_united(one.unknown_json, other.unknown_json),
    )


def merge_all(records: Iterable[TokenRecord]) -> dict[str, TokenRecord]:
    """By id."""
    book: dict[str, TokenRecord] = {}
    for record in records:
        present = book.get(record.id)
        book[record.id] = record if present is None else merge(present, record)
    return book


def worthless(record: TokenRecord, wall: float, keep_seconds: float) -> bool:
    """The token ended so long before ``wall`` (epoch seconds) that the record may go: without it, it is refused too.

    An hour at least is kept, for clocks that disagree. What was revoked or ended early stays for ever, because a clock
    may be wrong for a moment, and without its record such a token would be good again.
    """
    ended_early = record.revoked or record.signed_until is not None
    return not ended_early and 0 < record.expires_at <= wall - max(keep_seconds, LEAST_KEPT_SECONDS)


LEAST_KEPT_SECONDS: Final = 3600.0


# --- changes ----------------------------------------------------------------------------------------------------------


def issuance(
    claims: Claims,
    *,
    max_requests: int | None = None,
    requests_per_minute: int | None = None,
    token_budget: int | None = None,
    models: Iterable[str] = (),
) -> TokenRecord:
    """A token was issued with these claims and limits.

    :raises Refusal: 400 for a limit that is none.
    """
    for name, limit in zip(LIMIT_FIELDS, (max_requests, requests_per_minute, token_budget), strict=True):
        if limit is not None and not 1 <= limit <= MOST:
            raise Refusal(400, f"{name} must be at least 1", param=name)
    patterns = tuple(models)
    if len(patterns) > MAX_MODELS or not all(_is_text(pattern, MAX_PATTERN_LENGTH) for pattern in patterns):
        message = f"models must be at most {MAX_MODELS} patterns of 1 to {MAX_PATTERN_LENGTH} characters"
        raise Refusal(400, message, param="models")
    return TokenRecord(
        claims.sub,
        claims.label,
        claims.iat,
        claims.exp,
        account=claims.account,
        max_requests=max_requests,
        requests_per_minute=requests_per_minute,
        token_budget=token_budget,
        models=patterns,
    )


def revocation(token_id: str, *, exp: int = 0) -> TokenRecord:
    """A token was revoked, one that is perhaps not recorded; ``exp`` is the end of its signature (epoch seconds), 0 if
    nobody knows it.

    :raises Refusal: 400 for what cannot be an id.
    """
    return TokenRecord(_token_id(token_id), expires_at=exp, revoked=True)


def expiration(token_id: str, wall: float, *, exp: int = 0) -> TokenRecord:
    """A token was ended at ``wall`` (epoch seconds), unless it had ended before; ``exp`` as for ``revocation``.

    :raises Refusal: 400 for what cannot be an id.
    """
    return TokenRecord(_token_id(token_id), expires_at=int(wall), signed_until=exp)


def _token_id(token_id: str) -> str:
    if not _is_text(token_id, MAX_ID_LENGTH):
        raise Refusal(400, f"a token's id has 1 to {MAX_ID_LENGTH} characters", param="id")
    return token_id


def _is_text(text: str, most: int) -> bool:
    """Whether it can be written into a file: lone surrogates cannot."""
    return 1 <= len(text) <= most and not any("\ud800" <= character <= "\udfff" for character in text)


# --- joins ------------------------------------------------------------------------------------------------------------


def _earlier(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _shorter(one: str | None, other: str | None) -> str | None:
    return min(filter(None, (one, other)), key=lambda text: (len(text), text), default=None)


def _united(one: Unknown, other: Unknown) -> Unknown:
    if one == other or not other:
        return one
    fields = dict(one)
    for name, value in other:
        fields[name] = _shorter(fields.get(name), value) or value
    return tuple(sorted(fields.items()))
