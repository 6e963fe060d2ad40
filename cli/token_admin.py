"""Where tokens are administered: in the files of this machine, or by a running router. Both speak the API's JSON."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, final
from urllib.parse import quote

from cli.output import ConfigurationError, NotFound, Report, RuntimeFailure
from cli.remote import RemoteFailure, RemoteRouter
from cli.secret_file import token_secret
from protocol.config import Config
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FilesLoaded, UpdateFailed
from protocol.identity.ledger import Ledger
from protocol.identity.token_desk import DAY
from protocol.identity.token_files import token_files
from protocol.identity.token_record import TokenRecord, expiration, issuance, revocation
from protocol.identity.token_usage import TokenUsage, read_usage
from protocol.identity.tokens import issue
from protocol.scripts.tokens import shown
from transports import data_files, disk


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """A token as somebody wants it; None is without that limit, no ``models`` are all models."""

    ttl_hours: float
    label: str = ""
    account: str | None = None
    max_requests: int | None = None
    requests_per_minute: int | None = None
    token_budget: int | None = None
    models: tuple[str, ...] = ()

    @property
    def limits(self) -> dict[str, Any]:
        """Those that are set, as the API names them."""
        limits = {
            "max_requests": self.max_requests,
            "requests_per_minute": self.requests_per_minute,
            "token_budget": self.token_budget,
            "models": list(self.models) or None,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}


class TokenAdmin(ABC):
    """Who issues tokens and ends them. Every method may raise a ``click.ClickException`` for the operator."""

    @abstractmethod
    def issue(self, order: TokenOrder) -> dict[str, Any]:
        """The answer of ``POST /api/tokens``; the token is recorded by then.

        :raises Refusal: no token can be like this.
        """

    @abstractmethod
    def records(self) -> list[Any]:
        """All records, the oldest first."""

    @abstractmethod
    def record(self, token_id: str) -> Any:
        """One of them.

        :raises NotFound: there is none.
        """

    @abstractmethod
    def revoke(self, token_id: str) -> bool:
        """From now on the token is refused; whether it was known before.

        :raises Refusal: this cannot be an id.
        :raises NotFound: it is not known, and nothing was done.
        """

    @abstractmethod
    def expire(self, token_id: str) -> bool:
        """The token ends now; whether it was known before.

        :raises Refusal: this cannot be an id.
        :raises NotFound: it is not known, and nothing was done.
        """


# --- the files of this machine ----------------------------------------------------------------------------------------


@final
class StoredTokens(TokenAdmin):
    """The token files of the data directory, which running routers read again when they change."""

    def __init__(self, config: Config, report: Report) -> None:
        self._config = config
        self._report = report
        self._files = token_files(config.storage_policy, config.data_dir)

    @property
    def kept(self) -> bool:
        """There are files; without them every router knows its own tokens only."""
        return bool(self._files.records)

    def issue(self, order: TokenOrder) -> dict[str, Any]:
        if order.limits and not self.kept:
            raise ConfigurationError(f"{IN_MEMORY}: a limit would be unknown to the router; issue it there, with --url")
        issued = issue(
            token_secret(self._config, self._report),
            ttl_hours=order.ttl_hours,
            label=order.label,
            account=order.account,
            limited=bool(order.limits),
            wall=time.time(),
            entropy=os.urandom,
        )
        record = issuance(
            issued.claims,
            max_requests=order.max_requests,
            requests_per_minute=order.requests_per_minute,
            token_budget=order.token_budget,
            models=order.models,
        )
        if self.kept:
            self._enter(record)
        return {
            "token": issued.token.reveal(),
            "ttl_hours": order.ttl_hours,
            "label": order.label,
            "account": order.account,
            "id": record.id,
            "expires_at": record.expires_at,
            **order.limits,
        }

    def records(self) -> list[Any]:
        used = self._usage()
        return [shown(record, used.get(record.id, TokenUsage())) for record in self._ledger().records()]

    def record(self, token_id: str) -> Any:
        record = self._ledger().find(token_id)
        if record is None:
            raise NotFound(token_id)
        return shown(record, self._usage().get(record.id, TokenUsage()))

    def revoke(self, token_id: str) -> bool:
        return self._end(revocation(token_id))

    def expire(self, token_id: str) -> bool:
        return self._end(expiration(token_id, time.time()))

    def _end(self, change: TokenRecord) -> bool:
        if not self.kept:
            raise ConfigurationError(f"{IN_MEMORY}: no router would see a change made here; use --url")
        known = self._ledger().find(change.id) is not None
        self._enter(change)
        return known

    def _enter(self, change: TokenRecord) -> None:
        """Put a change into the files, durably and beside what others write."""
        ledger = self._empty_ledger()
        ledger.apply(change)
        outcome = data_files.update(self._files.lock, self._files.records, ledger.saving(time.time()))
        if isinstance(outcome, UpdateFailed):
            raise RuntimeFailure(outcome.reason)

    def _ledger(self) -> Ledger:
        ledger = self._empty_ledger()
        try:
            ledger.loaded(contents(self._files.records), time.time())
        except CorruptFile as error:
            raise RuntimeFailure(str(error)) from None
        return ledger

    def _empty_ledger(self) -> Ledger:
        return Ledger(keep_seconds=self._config.token_keep_days * DAY)

    def _usage(self) -> Mapping[str, TokenUsage]:
        try:
            return read_usage(contents(self._files.usage))
        except CorruptFile as error:
            raise RuntimeFailure(str(error)) from None


IN_MEMORY: Final = "STORAGE_POLICY is memory, so there are no files with tokens"


def contents(paths: tuple[str, ...]) -> Contents:
    """What files hold now."""
    loaded = disk.load(paths, None)
    if not isinstance(loaded, FilesLoaded):
        raise LocalError("a first look at files finds what they hold")
    return loaded.files


# --- a running router -------------------------------------------------------------------------------------------------


@final
class RouterTokens(TokenAdmin):
    """The tokens of a router that is asked over HTTP."""

    def __init__(self, router: RemoteRouter) -> None:
        self._router = router

    def issue(self, order: TokenOrder) -> dict[str, Any]:
        asked = {"ttl_hours": order.ttl_hours, "label": order.label, "account": order.account, **order.limits}
        answer = self._router.ask("POST", "/api/tokens", asked)
        if not isinstance(answer, dict) or not isinstance(answer.get("token"), str):
            raise self._strange()
        return answer

    def records(self) -> list[Any]:
        answer = self._router.ask("GET", "/api/tokens/list")
        records = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(records, list):
            raise self._strange()
        return records

    def record(self, token_id: str) -> Any:
        return self._of(token_id, "GET", f"/api/tokens/{quote(token_id, safe='')}")

    def revoke(self, token_id: str) -> bool:
        self._of(token_id, "POST", "/api/tokens/revoke", {"id": token_id})
        return True

    def expire(self, token_id: str) -> bool:
        self._of(token_id, "POST", "/api/tokens/expire", {"id": token_id})
        return True

    def _of(self, token_id: str, method: str, path: str, body: object = None) -> Any:
        try:
            return self._router.ask(method, path, body)
        except RemoteFailure as failure:
            if failure.status == HTTPStatus.NOT_FOUND:
                raise NotFound(token_id) from None
            raise

    def _strange(self) -> RemoteFailure:
        return RemoteFailure(f"no router answers at {self._router}: its answer has another shape")
