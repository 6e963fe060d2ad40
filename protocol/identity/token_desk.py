"""Who may come in: tokens by their signature, their record, and what is left of their limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Final, final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from protocol.call import Call
from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import Contents, Update
from protocol.identity.attachments import attachments
from protocol.identity.ledger import Ledger
from protocol.identity.token_files import token_files
from protocol.identity.token_limits import TokenLimits, estimate, require_model
from protocol.identity.token_record import TokenRecord, issuance
from protocol.identity.token_usage import UsageBook
from protocol.identity.tokens import Claims, TokenVerifier, present_token
from protocol.values import Secret, Tokens

DAY: Final = 86_400.0


@final
class TokenDesk:
    """The tokens of one router: which are good, what each may use, what each has used."""

    def __init__(self, secret: Secret, config: Config) -> None:
        self.files = token_files(config.storage_policy, config.data_dir)
        kept = bool(self.files.records)
        self.ledger = Ledger(kept=kept, keep_seconds=config.token_keep_days * DAY)
        self.usage = UsageBook(kept=kept)
        self.limits = TokenLimits(self.usage)
        self._verifier = TokenVerifier(secret)

    # The book of records, as a store keeps it ------------------------------------------------------------------------

    @property
    def lock(self) -> str:
        return self.files.lock

    @property
    def paths(self) -> Sequence[str]:
        return self.files.records

    def loaded(self, files: Contents, wall: float) -> None:
        """The record files hold this now.

        :raises CorruptFile: one cannot be understood.
        """
        self.ledger.loaded(files, wall)

    def news(self, wall: float) -> Update | None:
        """What the record files lack."""
        return self.ledger.saving(wall) if self.ledger.unsaved else None

    def issued(self, record: TokenRecord, wall: float) -> Update | None:
        """Record a new token: with this change of the files, or without files at once. A token that cannot be recorded
        was never issued.
        """
        if self.paths:
            return self.ledger.saving(wall, record)
        self.ledger.apply(record)
        return None

    def ended_early(self, change: TokenRecord, wall: float) -> Update | None:
        """Revoke or end a token: here at once, whatever becomes of the files, which lack this change then."""
        self.ledger.apply(change)
        self.ledger.purge(wall)
        return self.news(wall)

    def presented(self, token: str, wall: float) -> TokenRecord:
        """A token by itself, whether there is a record of it or not.

        :raises Refusal: 400, it is none of this router's, or has ended.
        """
        try:
            claims = self._verifier.verify(token.encode("utf-8", "replace"), wall)
        except Refusal as refusal:
            raise Refusal(400, f"token: {refusal.message}", param="token") from None
        return self.ledger.find(claims.sub) or issuance(claims)

    # Requests --------------------------------------------------------------------------------------------------------

    def admit(self, call: Call) -> "Bearer":
        """Who presents a token that may be used.

        :raises Unrecorded: 401, a look at the files may help.
        :raises Refusal: 401 or 403.
        """
        claims = self._verifier.verify(present_token(call.head.headers), call.wall)
        call.token_id, call.pin = claims.sub, claims.account
        return Bearer(claims, self.ledger, self.limits, self.ledger.admit(claims, call.wall))

    def ended(self, call: Call, tokens: Tokens | None, now: float) -> None:
        """The call is over: settle what it had reserved, or give that back if it was never sent on. ``tokens`` None
        means that nobody knows what it cost: then it cost all of it.
        """
        share, call.share = call.share, None
        if share is None:
            return
        if call.went_upstream:
            share.settle(tokens, now=now, wall=call.wall_at(now))
        else:
            share.release()


@dataclass(slots=True)
class Bearer:
    """The holder of a token, with one request.

    :param record: of the token, as it was when that was looked at last.
    """

    claims: Claims
    ledger: Ledger
    limits: TokenLimits
    record: TokenRecord

    @property
    def must_show_body(self) -> bool:
        """Whether the request may be made depends on what is in its body."""
        return bool(self.record.models) or self.record.token_budget is not None

    def reserve(
        self, call: Call, at: float, body: bytes | None = None, *, model: str | None = None, inference: bool = True
    ) -> None:
        """Take what the request may use out of what the token has left; ``body`` is one of inference.

        :param at: the present (monotonic seconds): while a body was waited for, the token may have been revoked.
        :param model: the one that is asked, where the body does not say.
        :param inference: the answer costs tokens.
        :raises Refusal: 401 or 403 for a token that is good no more, 403 for a model that it is not for, 429 where it
            has used up a limit, 400 for a body that does not tell what that would take.
        """
        self.record = self.ledger.admit(self.claims, call.wall_at(at))
        share = None
        if body is not None and self.must_show_body:
            asked = read_ask(body)
            require_model(self.record, model or asked.model)
            for other in asked.others:
                require_model(self.record, other)
            share = self._share(body, asked.most) if inference else None
        call.share = self.limits.reserve(self.record, share, now=at)

    def require_unlimited(self, what: str, *, many: bool = False) -> None:
        """Return unless the token has limits that nobody could watch over there.

        :param many: one request there stands for any number of them.
        :raises Refusal: 403.
        """
        record = self.record
        if self.must_show_body:
            limits = "certain models or a token budget"
        elif many and (record.max_requests is not None or record.requests_per_minute is not None):
            limits = "a number of requests"
        else:
            return
        raise Refusal(403, f"Token is limited to {limits}, so it may not be used for {what}")

    def _share(self, body: bytes, most: int | None) -> Tokens:
        if self.record.token_budget is None:
            return Tokens()
        if most is None:
            message = "Token has a token budget, and the request does not tell how many tokens it may use"
            raise Refusal(400, f"{message}: {' or '.join(MOST_OUTPUT)} is not a number", param=MOST_OUTPUT[0])
        return estimate(len(body), most, attachments(body))


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request says of its cost: the model, and the most output, 0 if it says nothing of that; None for what it
    says in a way that is not understood. ``others`` are models that its tools ask.
    """

    model: str | None = None
    most: int | None = None
    others: tuple[str, ...] = ()


MOST_OUTPUT: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The names of the most output, Anthropic's first; it is the largest of them that counts."""


def read_ask(body: bytes) -> Ask:
    """The model and the most output that a request asks for."""
    try:
        fields = _FIELDS.decode(body)
        model = None if fields.model is UNSET else msgspec.json.decode(fields.model)
        counts = [_count(value) for name in MOST_OUTPUT if (value := getattr(fields, name)) is not UNSET]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Ask()
    most = max((count for count in counts if count is not None), default=0)
    return Ask(model if isinstance(model, str) else None, None if None in counts else most, _asked_by(fields.tools))


class _Fields(msgspec.Struct):
    """Each by itself: where one is nonsense, the others still hold."""

    model: Raw | UnsetType = UNSET
    tools: Raw = Raw(b"[]")
    max_tokens: Raw | UnsetType = UNSET
    max_completion_tokens: Raw | UnsetType = UNSET
    max_output_tokens: Raw | UnsetType = UNSET


class _Tool(msgspec.Struct):
    model: str | None = None


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_TOOLS: Final = msgspec.json.Decoder(list[_Tool])


def _asked_by(tools: Raw) -> tuple[str, ...]:
    """The models that tools name; nothing for what are no tools, which the upstream refuses."""
    try:
        return tuple(tool.model for tool in _TOOLS.decode(tools) if tool.model is not None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ()


def _count(raw: Raw) -> int | None:
    """A whole number, however it is written; 0 for null. Providers may be lenient, so this is too."""
    value = msgspec.json.decode(raw)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        number = float(value) if isinstance(value, float | str) else nan
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
