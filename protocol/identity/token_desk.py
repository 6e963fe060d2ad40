"""Who may come in: tokens by their signature, their record, and what is left of their limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import msgspec

from protocol.call import Call
from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import Contents, Update
from protocol.identity.ledger import Ledger
from protocol.identity.token_files import token_files
from protocol.identity.token_limits import TokenLimits, estimate, require_model
from protocol.identity.token_record import TokenRecord, issuance
from protocol.identity.token_usage import UsageBook
from protocol.identity.tokens import TokenVerifier, present_token
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

        :raises Refusal: 401 or 403.
        """
        claims = self._verifier.verify(present_token(call.head.headers), call.wall)
        call.token_id, call.pin = claims.sub, claims.account
        return Bearer(self.ledger.admit(claims, call.wall), self.limits)

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


@dataclass(frozen=True, slots=True)
class Bearer:
    """The holder of a token, with one request."""

    record: TokenRecord
    limits: TokenLimits

    @property
    def must_show_body(self) -> bool:
        """Whether the request may be made depends on what is in its body."""
        return bool(self.record.models) or self.record.token_budget is not None

    def reserve(
        self, call: Call, body: bytes | None = None, *, model: str | None = None, inference: bool = True
    ) -> None:
        """Take what the request may use out of what the token has left; ``body`` is one of inference.

        :param model: the one that is asked, where the body does not say.
        :param inference: the answer costs tokens.
        :raises Refusal: 403 for a model that the token is not for, 429 where it has used up a limit.
        """
        share = None
        if body is not None and self.must_show_body:
            asked = read_ask(body)
            require_model(self.record, model or asked.model)
            share = estimate(len(body), asked.most) if inference else None
        call.share = self.limits.reserve(self.record, share, now=call.at)

    def require_unlimited(self, what: str) -> None:
        """Return unless the token has limits that nobody could watch over there.

        :raises Refusal: 403.
        """
        if self.must_show_body:
            raise Refusal(
                403, f"Token is limited to certain models or a token budget, so it may not be used for {what}"
            )


class Ask(msgspec.Struct):
    """What a request says of its cost; in OpenAI's dialects the most output has other names."""

    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def most(self) -> int:
        """The most output that is asked for; 0 where nothing is said."""
        return max(self.max_tokens or 0, self.max_completion_tokens or 0, self.max_output_tokens or 0)


_ASK: Final = msgspec.json.Decoder(Ask)


def read_ask(body: bytes) -> Ask:
    """The model and the most output that a request asks for; nothing for what is none."""
    try:
        return _ASK.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Ask()
