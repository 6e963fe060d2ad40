"""All accounts and what is known of them: who is asked next, who was asked, and what became of it."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias, final

from protocol.call import Call
from protocol.config import Config, RefreshMode
from protocol.errors import LocalError
from protocol.identity.accounts import Account, NewRefresher
from protocol.identity.affinity import AffinityMap, Hints
from protocol.identity.credentials import Kind, from_api_key
from protocol.identity.limits import read_limits
from protocol.identity.pool import AccountPool, Change, Unavailable
from protocol.identity.refresh import Refresher, RefreshSettings
from protocol.identity.standing import AccountSnapshot
from protocol.values import ResponseHead, Secret, Tokens

PRIMARY: Final = "primary"

AFFINITY_CAPACITY: Final = 50_000
"""Conversations (and as many files and batches) that are remembered; about 200 bytes each."""

SWEEP_SECONDS: Final = 1.0
"""How often at most the accounts that cannot be used are looked at again."""

Report: TypeAlias = Callable[[Change], None]

RESTRICTED_HINT: Final = (
    "a 429 that names no limit, to a subscription's token: the provider may not accept it from this kind of client"
)


@final
class Roster:
    """The accounts by name, the pool that chooses among them, and the map that keeps conversations together.

    :param report: is told each change of an account's health.
    """

    def __init__(self, config: Config, *, entropy: Callable[[int], bytes], report: Report) -> None:
        self._entropy = entropy
        self._accounts = self._made(config)
        self._pool = AccountPool(
            self._accounts,
            strategy=config.account_routing_strategy,
            request_limits=dict(config.account_request_limits),
            concurrency_limits=dict(config.account_concurrency_limits),
            entropy=entropy,
        )
        self.has_choice = len(self._accounts) > 1
        """There is more than one account, so it is worth knowing what a request belongs to."""
        ttl = config.session_affinity_ttl_secs
        self._affinity = AffinityMap(ttl or 0.0, AFFINITY_CAPACITY)
        self._keeps_conversations = ttl is not None and self.has_choice
        self._tokens: dict[str, Secret | None] = {}
        self._usable: dict[str, bool] = {}
        self._swept_at = float("-inf")
        self._report = report

    def reconfigured(self, config: Config, now: float) -> list[Account]:
        """Go on with these accounts and rules; returns the accounts that are new, or have another home or key."""
        before, self._accounts = self._accounts, self._made(config)
        for name, account in self._accounts.items():
            if name in before and before[name].same_as(account):
                self._accounts[name] = before[name]
        self.has_choice = len(self._accounts) > 1
        self._keeps_conversations = config.session_affinity_ttl_secs is not None and self.has_choice
        for name, account in before.items():
            if self._accounts.get(name) is not account:
                self._affinity.forget(name)
        self._pool.set_rules(
            config.account_routing_strategy,
            dict(config.account_request_limits),
            dict(config.account_concurrency_limits),
            now,
        )
        new = [account for name, account in self._accounts.items() if before.get(name) is not account]
        self._pool.set_accounts(self._accounts, now, anew={account.name for account in new})
        for account in new:
            self._usable.pop(account.name, None)
        return new

    def _made(self, config: Config) -> dict[str, Account]:
        """The accounts that a configuration names."""
        api_key = None if config.anthropic_api_key is None else from_api_key(config.anthropic_api_key.reveal())
        new_refresher = refresher_for(config, self._entropy)
        homes = [config.claude_code_home, *config.additional_account_dirs]
        accounts = [
            Account(name_of(position), home, config.data_dir, new_refresher, None if position else api_key)
            for position, home in enumerate(homes)
        ]
        return {account.name: account for account in accounts}

    def __getitem__(self, name: str) -> Account:
        return self._accounts[name]

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    @property
    def first(self) -> str:
        """The account that is preferred where nothing else is said."""
        return PRIMARY

    # Choosing --------------------------------------------------------------------------------------------------------

    def choose(
        self,
        hints: Hints,
        model: str | None,
        tried: AbstractSet[str],
        now: float,
        *,
        only: str | None = None,
        preferred: str | None = None,
        inference: bool = True,
    ) -> Account | Unavailable:
        """The account to ask next; ``model`` is the upstream's name of it, ``only`` the one account that will do, and
        ``preferred`` the one to ask where the hints say nothing.
        """
        for change in self._pool.recoveries(now):
            self._report(change)
        if self.has_choice:
            preferred = self._affinity.preferred(hints, now) or preferred
        choice = self._pool.choose(now, model=model, pin=only, preferred=preferred, tried=tried, inference=inference)
        return choice if isinstance(choice, Unavailable) else self._accounts[choice]

    def to_look_at(self, now: float) -> list[Account]:
        """Accounts that cannot be used as they are, and whose files nobody has looked at for a while."""
        if now < self._swept_at + SWEEP_SECONDS:
            return []
        self._swept_at = now
        return self.without_credential(now)

    def without_credential(self, now: float) -> list[Account]:
        """Accounts whose credential is missing or refused, as far as is known."""
        return [self._accounts[name] for name in self._pool.without_credential(now)]

    def holder(self, resource: str) -> str | None:
        """The account that made a file or a batch, while it is one of ours."""
        name = self._affinity.resource(resource)
        return name if name in self._accounts else None

    @property
    def holds_resources(self) -> bool:
        """The account of some file or batch is known."""
        return self._affinity.holds_resources

    # What happens ----------------------------------------------------------------------------------------------------

    def began(self, call: Call, account: Account, hints: Hints, now: float) -> None:
        """The call is going to be sent with this account."""
        if call.holds is not None:
            raise LocalError("a call is in flight with one account at a time")
        call.account = call.holds = account.name
        self._pool.began(account.name, now)
        if hints.affinity is not None and self._keeps_conversations:
            self._affinity.remember(hints.affinity, account.name, now)

    def ended(self, call: Call, now: float) -> None:
        """The account that has the call in flight, if there is one, is done with it."""
        if call.holds is not None:
            self._pool.ended(call.holds, now)
            call.holds = None

    def answered(
        self, call: Call, account: Account, head: ResponseHead, *, model: str | None, counts: bool, asked_at: float,
        now: float,
    ) -> None:  # fmt: skip
        """The provider's response head has come; ``counts`` as for the pool."""
        if self._is_gone(account):
            return
        wall = call.wall_at(now)
        changes = self._pool.answered(
            account.name,
            status=head.status,
            headers=head.headers,
            model=model,
            counts=counts,
            asked_at=asked_at,
            now=now,
            wall=wall,
        )
        for change in changes:
            self._report(change)
        if head.status == 429 and names_no_limit(head, wall):
            credential = account.credential
            if credential is not None and credential.kind is Kind.OAUTH:
                call.annotations["hint"] = RESTRICTED_HINT

    def failed(self, account: Account, reason: str, *, asked_at: float, now: float) -> None:
        """No response came."""
        if self._is_gone(account):
            return
        for change in self._pool.failed(account.name, reason, asked_at=asked_at, now=now):
            self._report(change)

    def unauthorized(self, account: Account, now: float) -> None:
        """The provider refuses the account's credential, also after a renewal."""
        if self._is_gone(account):
            return
        for change in self._pool.unauthorized(account.name, now):
            self._report(change)

    def spent(self, name: str, tokens: Tokens, now: float) -> None:
        """An answer of this account was billed for so many tokens."""
        self._pool.spent(name, tokens, now)

    def remember_message(self, message: str, name: str, now: float) -> None:
        """The account answered with a message that a thread may go on from."""
        if self._keeps_conversations:
            self._affinity.remember_message(message, name, now)

    def remember_resource(self, resource: str, name: str) -> None:
        """The account made a file or a batch."""
        if self.has_choice:
            self._affinity.remember_resource(resource, name)

    def forget_resource(self, resource: str, name: str) -> None:
        """The account does not have a file or a batch."""
        self._affinity.forget_resource(resource, name)

    def credential_seen(self, account: Account, wall: float, now: float) -> None:
        """The account was looked at: tell the pool what is new about its credential."""
        if self._is_gone(account):
            return
        credential = account.credential
        token = None if credential is None else credential.token
        usable = account.worth_sending(wall) or account.renewing
        first = account.name not in self._usable
        if first or usable != self._usable[account.name] or token != self._tokens[account.name]:
            self._usable[account.name], self._tokens[account.name] = usable, token
            changes = self._pool.credential_changed(account.name, now, usable=usable)
            if not first:
                for change in changes:
                    self._report(change)

    def snapshots(self, now: float) -> list[AccountSnapshot]:
        """All accounts, for the operator's eyes."""
        return self._pool.snapshot(now)

    def _is_gone(self, account: Account) -> bool:
        """It is none of ours any more, though somebody else may go by its name."""
        return self._accounts.get(account.name) is not account


def names_no_limit(head: ResponseHead, wall: float) -> bool:
    """A response that came at ``wall`` (epoch seconds) does not say which limit was reached, or when to come back."""
    limits = read_limits(head.headers, wall)
    return not limits.windows and not limits.quotas and limits.retry_after is None


def name_of(position: int) -> str:
    """``primary``, then ``account-1``, ``account-2`` in the order of the directories."""
    return PRIMARY if position == 0 else f"account-{position}"


def refresher_for(config: Config, entropy: Callable[[int], bytes]) -> NewRefresher | None:
    """How logins are renewed by this configuration; None = not at all."""
    if config.oauth_refresh is RefreshMode.OFF:
        return None
    settings = RefreshSettings(
        endpoint=config.oauth_token_url,
        client_id=config.oauth_client_id,
        ahead=config.oauth_refresh_ahead_secs,
        keep=config.oauth_refresh is RefreshMode.FILE,
    )
    return lambda path: Refresher(path, settings, entropy)
