"""Many accounts as one: which of them the next request goes to, and what their answers say about them.

The pool never asks anybody. It is told what was sent and what came back, and keeps the accounts that can answer sorted,
so that choosing is a look at the first. The passing of time is noticed when a method is called with a later ``now``
(monotonic seconds).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from math import ceil
from typing import Final, TypeAlias, final

from protocol.config import Strategy
from protocol.errors import LocalError, Refusal
from protocol.identity.cooldowns import NEVER, Cause, Cooldown
from protocol.identity.limits import Window, read_limits
from protocol.identity.standing import AccountSnapshot, Standing
from protocol.identity.strategies import Rank, rank
from protocol.kinds import ANY_ACCOUNT
from protocol.values import Headers, Tokens

NOBODY: Final[frozenset[str]] = frozenset()
ALWAYS: Final = float("inf")

STATUSES: Final = {
    Cause.WINDOW: 429,
    Cause.RETRY_AFTER: 429,
    Cause.RATE_LIMITED: 429,
    Cause.REQUEST_LIMIT: 429,
    Cause.OVERLOADED: 529,
    Cause.CONCURRENCY: 529,
    Cause.TRIED: 529,
    Cause.UNREACHABLE: 503,
    Cause.UNAUTHORIZED: 502,
    Cause.NO_CREDENTIAL: 502,
    Cause.UNKNOWN_ACCOUNT: 502,
}
"""What a client is told when nobody is left."""

MESSAGES: Final = {
    429: "every account that could answer is rate limited; try again later",
    529: "every account that could answer is overloaded; try again shortly",
    503: "the upstream cannot be reached; try again shortly",
    502: "no account has a usable upstream credential; the router's operator has to log in or set an API key",
}

PROBE_SECONDS: Final = 60.0
"""While nobody can answer, how often an account is asked all the same."""

REASONS: Final = {
    Cause.UNKNOWN_ACCOUNT: "the account that this token is bound to does not exist",
    Cause.REQUEST_LIMIT: "every account that could answer has been sent as many requests as its limit allows",
    Cause.CONCURRENCY: "every account that could answer has as many requests under way as it may; try again shortly",
}
"""Where there is more to say than that."""

BUSY_SECONDS: Final = 1.0
"""When to ask again while every account has as many requests in flight as it may."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No account can take the request. ``retry_at`` (monotonic seconds) is when the first one can, if that is known;
    ``account`` is that one.
    """

    cause: Cause
    retry_at: float | None = None
    window: Window | None = None
    account: str | None = field(default=None, compare=False)

    @property
    def status(self) -> int:
        return STATUSES[self.cause]

    def refusal(self, now: float) -> Refusal:
        """The answer to the client, as the provider gives it: with its error type, ``retry-after``, and the window that
        Claude Code shows to its user.
        """
        headers: Headers = []
        if self.retry_at is not None:
            headers.append((b"retry-after", b"%d" % max(1, ceil(self.retry_at - now))))
        if self.window is not None and self.window.resets_at is not None:
            reset = b"%d" % ceil(self.window.resets_at)
            prefix = b"anthropic-ratelimit-unified-"
            headers += [(prefix + b"status", b"rejected"), (prefix + b"reset", reset)]
            if self.window.name in _CLAIMS:
                name = self.window.name.encode()
                headers += [(prefix + name + b"-status", b"rejected"), (prefix + name + b"-reset", reset)]
                headers.append((prefix + b"representative-claim", _CLAIMS[self.window.name]))
        return Refusal(self.status, REASONS.get(self.cause, MESSAGES[self.status]), headers=headers)


_CLAIMS: Final = {"5h": b"five_hour", "7d": b"seven_day"}

Choice: TypeAlias = str | Unavailable
"""The name of an account, or why there is none."""


@dataclass(frozen=True, slots=True)
class Change:
    """The health of an account, or of one model of it, changed: it is ``out``, for ``seconds`` if that is known, or
    back because the cause is over.
    """

    account: str
    cause: Cause
    out: bool
    seconds: float | None = None
    model: str | None = None
    window: str | None = None

    def __str__(self) -> str:
        """A sentence for the log."""
        whom = f"account {self.account}" if self.model is None else f"account {self.account} for {self.model}"
        why = self.cause.value if self.window is None else f"{self.cause.value} ({self.window})"
        if not self.out:
            return f"{whom} is back, it was out: {why}"
        return f"{whom} is out: {why}" if self.seconds is None else f"{whom} is out for {ceil(self.seconds)} s: {why}"


@final
class AccountPool:
    """The accounts by name, in the operator's order.

    :param request_limits: how many requests an account may be sent in all, by name; the name ``*`` (ANY_ACCOUNT) stands
        for every account that is not named.
    :param concurrency_limits: how many at the same time, likewise.
    :param entropy: returns that many random bytes; the jitter of back-offs.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        strategy: Strategy = Strategy.ROUND_ROBIN,
        request_limits: Mapping[str, int] | None = None,
        concurrency_limits: Mapping[str, int] | None = None,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._strategy = strategy
        self._request_limits: Mapping[str, int] = request_limits or {}
        self._concurrency_limits: Mapping[str, int] = concurrency_limits or {}
        self._entropy = entropy
        self._turns = 0
        self._standings: dict[str, Standing] = {}
        self._listed: list[Standing] = []
        self._ranks: list[Rank] = []
        self._ranked: list[Standing] = []
        self._stale_at = ALWAYS
        self._recovery_at = ALWAYS
        self.set_accounts(names, NEVER)

    def set_rules(
        self, strategy: Strategy, request_limits: Mapping[str, int], concurrency_limits: Mapping[str, int], now: float
    ) -> None:
        """Choose by these from now on; what was counted stays."""
        self._strategy = strategy
        self._request_limits, self._concurrency_limits = request_limits, concurrency_limits
        for standing in self._standings.values():
            standing.request_limit = request_limits.get(standing.name, request_limits.get(ANY_ACCOUNT))
            standing.concurrency_limit = concurrency_limits.get(standing.name, concurrency_limits.get(ANY_ACCOUNT))
        self.set_accounts([standing.name for standing in self._listed], now)

    def set_accounts(self, names: Iterable[str], now: float, *, anew: AbstractSet[str] = NOBODY) -> None:
        """These are the accounts from now on. Those that stay keep their standing, and so do dropped ones until their
        last request has ended.

        :param anew: of which of these nothing is known, though there may have been others by these names. What those
            have in flight counts on.
        """
        listed = list(names)
        if len(set(listed)) < len(listed):
            raise LocalError("two accounts have the same name")
        for standing in self._standings.values():
            standing.position = -1
            standing.rank = None
        self._ranks, self._ranked = [], []
        for name in anew & self._standings.keys():
            in_flight = self._standings[name].in_flight
            self._standings[name] = standing = self._new(name)
            standing.in_flight = in_flight
        self._listed = [self._standings.get(name) or self._new(name) for name in listed]
        departed = [standing for standing in self._standings.values() if standing.in_flight]
        self._standings = {standing.name: standing for standing in [*departed, *self._listed]}
        for position, standing in enumerate(self._listed):
            standing.position = position
            self._watch(standing, now)

    # --- choosing

    def choose(
        self,
        now: float,
        *,
        model: str | None = None,
        pin: str | None = None,
        preferred: str | None = None,
        tried: AbstractSet[str] = NOBODY,
        inference: bool = True,
    ) -> Choice:
        """The account to send a request for ``model`` to; ``began`` has to follow at once.

        :param pin: no other account will do.
        :param preferred: this one if it is free, as affinity has it.
        :param tried: those that this request has failed with already.
        :param inference: other requests do not count against the limits of inference: they go to the preferred account
            also while that is limited, and for want of another to any that is.
        """
        if now >= self._stale_at:
            self._refresh(now)
        if pin is not None:
            return self._pinned(pin, model, tried, now, inference=inference)
        if preferred is not None and preferred not in tried:
            wanted = self._standings.get(preferred)
            if wanted is not None:
                if wanted.rank is not None and wanted.serves(model, now):
                    return preferred
                if not inference and wanted.takes_others(now):
                    return preferred
        # What serves() says, without the call: at worst all accounts but the last are out for this model.
        wanted_model = model or ""
        for standing in self._ranked:
            models = standing.model_until
            if models and models.get(wanted_model, NEVER) > now:
                continue
            if standing.name not in tried:
                return standing.name
        return self._last_resort(self._listed, model, tried, now, inference=inference)

    def without_credential(self, now: float) -> list[str]:
        """The accounts whose credential is missing or refused: worth a look at their files now and then."""
        return [
            standing.name
            for standing in self._listed
            if not standing.usable
            or any(cooldown.cause is Cause.UNAUTHORIZED for cooldown in standing.cooldowns.running(now))
        ]

    def __contains__(self, name: str) -> bool:
        standing = self._standings.get(name)
        return standing is not None and standing.position >= 0

    def _pinned(self, pin: str, model: str | None, tried: AbstractSet[str], now: float, *, inference: bool) -> Choice:
        standing = self._standings.get(pin)
        if standing is None or standing.position < 0:
            return Unavailable(Cause.UNKNOWN_ACCOUNT)
        if standing.rank is not None and pin not in tried and standing.serves(model, now):
            return pin
        return self._last_resort([standing], model, tried, now, inference=inference)

    def _last_resort(
        self,
        standings: Iterable[Standing],
        model: str | None,
        tried: AbstractSet[str],
        now: float,
        *,
        inference: bool,
    ) -> Choice:
        """Of accounts that are only guessed to be out, the first to be free again; then one that has not been asked
        for a while, since a limit may have been lifted before its time; else why nobody is left.
        """
        able = [
            standing for standing in standings if standing.usable and standing.has_room and standing.name not in tried
        ]
        guessed = [
            standing
            for standing in able
            if not inference or (standing.cooldowns.firm_until <= now and standing.serves(model, now))
        ]
        if guessed:
            return min(guessed, key=lambda standing: standing.cooldowns.until).name
        overdue = [standing for standing in able if standing.asked_at + PROBE_SECONDS <= now]
        if overdue:
            return min(overdue, key=lambda standing: standing.asked_at).name
        reasons = [_obstacle(standing, model, now) for standing in standings]
        return min(reasons, key=_hopelessness, default=Unavailable(Cause.NO_CREDENTIAL))

    # --- what happened

    def began(self, name: str, now: float) -> None:
        """A request goes out with this account: its place is taken at once, so that no two get the last one."""
        standing = self._standings[name]
        self._turns += 1
        standing.last_turn = float(self._turns)
        standing.asked_at = now
        standing.used += 1
        standing.in_flight += 1
        self._place(standing, now)

    def ended(self, name: str, now: float) -> None:
        """It is over, however it ended."""
        standing = self._standings[name]
        if standing.in_flight == 0:
            raise LocalError(f"no request of account {name} is in flight")
        standing.in_flight -= 1
        if standing.position < 0 and standing.in_flight == 0:
            del self._standings[name]
        self._place(standing, now)

    def answered(
        self,
        name: str,
        *,
        status: int,
        headers: Headers,
        model: str | None = None,
        counts: bool = True,
        asked_at: float,
        now: float,
        wall: float,
    ) -> list[Change]:
        """The provider's response head to a request that was sent at ``asked_at`` (monotonic) came at ``now``,
        ``wall`` in epoch seconds.

        :param counts: whether the request is inference; others, such as token counts, have limits of their own and say
            nothing about the account.
        """
        standing = self._standings.get(name)
        if standing is None or not counts:
            return []
        standing.asked_at = max(standing.asked_at, asked_at)
        limits = read_limits(headers, wall)
        news = standing.limits_read(limits, now, wall)
        begun: list[Cooldown] = []
        ended: list[Cooldown] = []
        if 200 <= status < 300:
            ended = standing.cooldowns.succeeded(model=model, asked_at=asked_at)
            if standing.usable and standing.error_at <= asked_at:
                standing.last_error = None
            if not (news or ended):
                return []
        elif status == 429:
            begun = standing.cooldowns.rate_limited(limits, model=model, asked_at=asked_at, now=now, wall=wall)
        elif status >= 500:
            begun = standing.cooldowns.set_back(
                Cause.OVERLOADED, asked_at=asked_at, now=now, retry_after=limits.retry_after
            )
        if status == 429 or status >= 500:
            self._erred(standing, f"upstream returned {status}", now)
        self._watch(standing, now)
        return _back(standing, ended, now) + _out(standing, begun)

    def failed(self, name: str, reason: str, *, asked_at: float, now: float) -> list[Change]:
        """No response came, for this reason, which is shown to the operator."""
        standing = self._standings.get(name)
        if standing is None:
            return []
        begun = standing.cooldowns.set_back(Cause.UNREACHABLE, asked_at=asked_at, now=now)
        self._erred(standing, reason, now)
        self._watch(standing, now)
        return _out(standing, begun)

    def unauthorized(self, name: str, now: float) -> list[Change]:
        """The provider refuses the account's credential, also after a refresh."""
        standing = self._standings.get(name)
        if standing is None:
            return []
        standing.asked_at = now
        begun = standing.cooldowns.unauthorized(now)
        self._erred(standing, "upstream returned 401", now)
        self._watch(standing, now)
        return _out(standing, begun)

    def credential_changed(self, name: str, now: float, *, usable: bool = True) -> list[Change]:
        """The account has another credential, or none. It may be another subscription's, so all that is known of its
        health is forgotten; if that was too much, the next request tells.
        """
        standing = self._standings.get(name)
        if standing is None:
            return []
        ended = standing.cooldowns.clear()
        changes = _back(standing, ended, now) if usable else []
        if standing.usable != usable:
            changes.append(Change(name, Cause.NO_CREDENTIAL, out=not usable))
        standing.usable = usable
        standing.last_error = None if usable else Cause.NO_CREDENTIAL.value
        standing.error_at = now
        self._watch(standing, now)
        return changes

    def spent(self, name: str, tokens: Tokens, now: float) -> None:
        """An answer was billed for so many tokens."""
        standing = self._standings.get(name)
        if standing is not None:
            standing.tokens += tokens
            standing.load.add(tokens.weighed, now)
            self._place(standing, now)

    def recoveries(self, now: float) -> list[Change]:
        """The accounts that came back because their time was over, each reported once."""
        if now < self._recovery_at:
            return []
        changes = [
            change for standing in self._listed for change in _back(standing, standing.cooldowns.expire(now), now)
        ]
        ends = [end for standing in self._listed if (end := standing.cooldowns.soonest_end) is not None]
        self._recovery_at = min(ends, default=ALWAYS)
        return changes

    def snapshot(self, now: float) -> list[AccountSnapshot]:
        """All accounts, in the operator's order."""
        return [standing.snapshot(now) for standing in self._listed]

    # --- the order

    def _new(self, name: str) -> Standing:
        return Standing(
            name,
            request_limit=self._request_limits.get(name, self._request_limits.get(ANY_ACCOUNT)),
            concurrency_limit=self._concurrency_limits.get(name, self._concurrency_limits.get(ANY_ACCOUNT)),
            entropy=self._entropy,
        )

    def _place(self, standing: Standing, now: float) -> None:
        """Put an account where it belongs in the order, or out of it."""
        wanted = rank(self._strategy, standing, now) if standing.free(now) else None
        if wanted == standing.rank:
            return
        if standing.rank is not None:
            position = bisect_left(self._ranks, standing.rank)
            del self._ranks[position], self._ranked[position]
        if wanted is not None:
            position = bisect_left(self._ranks, wanted)
            self._ranks.insert(position, wanted)
            self._ranked.insert(position, standing)
        standing.rank = wanted

    def _watch(self, standing: Standing, now: float) -> None:
        """After news about its health or limits: place it, and see when that will change by itself."""
        self._place(standing, now)
        changes_at = standing.changes_at(now)
        if changes_at is not None and changes_at < self._stale_at:
            self._stale_at = changes_at
        ends_at = standing.cooldowns.soonest_end
        if ends_at is not None and ends_at < self._recovery_at:
            self._recovery_at = ends_at

    def _refresh(self, now: float) -> None:
        self._stale_at = ALWAYS
        for standing in self._listed:
            self._watch(standing, now)

    def _erred(self, standing: Standing, error: str, now: float) -> None:
        standing.last_error = error
        standing.error_at = now


# --- why nobody is left -----------------------------------------------------------------------------------------------


def _obstacle(standing: Standing, model: str | None, now: float) -> Unavailable:
    """Why this one account cannot take the request."""
    name = standing.name
    if not standing.usable:
        return Unavailable(Cause.NO_CREDENTIAL, account=name)
    if standing.request_limit is not None and standing.used >= standing.request_limit:
        return Unavailable(Cause.REQUEST_LIMIT, account=name)
    cooldown = standing.cooldowns.blocking(model, now)
    if cooldown is not None:
        return Unavailable(cooldown.cause, cooldown.until, cooldown.window, name)
    if not standing.has_room:
        return Unavailable(Cause.CONCURRENCY, now + BUSY_SECONDS, account=name)
    return Unavailable(Cause.TRIED, now + BUSY_SECONDS, account=name)


def _hopelessness(obstacle: Unavailable) -> tuple[bool, float]:
    """A limit passes, the soonest first; a credential that is missing or refused needs the operator."""
    return obstacle.status == 502, ALWAYS if obstacle.retry_at is None else obstacle.retry_at


# --- for the log ------------------------------------------------------------------------------------------------------


def _out(standing: Standing, begun: Iterable[Cooldown]) -> list[Change]:
    return [_change(standing, cooldown, out=True) for cooldown in begun]


def _back(standing: Standing, ended: list[Cooldown], now: float) -> list[Change]:
    """One change for the account, and one for each model, that nothing else keeps out."""
    if not ended:
        return []
    out = {cooldown.model for cooldown in standing.cooldowns.running(now)}
    last = {cooldown.model: cooldown for cooldown in ended if cooldown.model not in out}
    return [_change(standing, cooldown, out=False) for cooldown in last.values()]


def _change(standing: Standing, cooldown: Cooldown, *, out: bool) -> Change:
    window = None if cooldown.window is None else cooldown.window.name
    seconds = cooldown.until - cooldown.since if out else None
    return Change(standing.name, cooldown.cause, out, seconds, cooldown.model, window)
