"""What is known of one account: its health, its use, its limits."""

from collections.abc import Callable
from math import ceil, log2
from typing import Final, final

import msgspec

from protocol.identity.cooldowns import NEVER, Cause, Cooldown, Cooldowns
from protocol.identity.limits import NO_LIMITS, Limits, Quota, Window
from protocol.values import Tokens


class CooldownSnapshot(msgspec.Struct, frozen=True):
    """Why and for how many seconds an account, or one model of it, is left alone."""

    cause: str
    remaining_seconds: int
    model: str | None
    window: str | None


class WindowSnapshot(msgspec.Struct, frozen=True):
    """A usage window as the provider last told of it; ``resets_at`` in epoch seconds."""

    name: str
    status: str | None
    utilization: float | None
    resets_at: float | None


class QuotaSnapshot(msgspec.Struct, frozen=True):
    """A quota as the provider last told of it; ``resets_at`` in epoch seconds."""

    name: str
    limit: float | None
    remaining: float | None
    resets_at: float | None


class AccountSnapshot(msgspec.Struct, frozen=True):
    """An account for the operator's eyes; encodes to JSON as it is.

    ``used`` counts requests; ``cooldown_remaining_seconds`` and ``cooldown_cause`` are null while the account as a
    whole is free.
    """

    name: str
    healthy: bool
    used: int
    last_error: str | None
    cooldown_remaining_seconds: int | None
    cooldown_cause: str | None
    cooldowns: list[CooldownSnapshot]
    windows: list[WindowSnapshot]
    quotas: list[QuotaSnapshot]
    tokens: Tokens
    in_flight: int
    concurrency_limit: int | None
    request_limit: int | None
    remaining_requests: int | None


@final
class Load:
    """Tokens spent of late: what was spent ``HALF_LIFE_SECONDS`` ago counts for half.

    All accounts fade alike, so instead of making the old ones smaller, new tokens are counted larger. ``level`` is the
    binary logarithm of that sum: of two accounts the one with the lower level has spent less, at any time.
    """

    __slots__ = ("level",)

    def __init__(self) -> None:
        self.level = NEVER

    def add(self, tokens: float, now: float) -> None:
        if tokens > 0:
            more = log2(tokens) + now / HALF_LIFE_SECONDS
            high, low = max(self.level, more), min(self.level, more)
            self.level = high + log2(1 + 2 ** (low - high))


HALF_LIFE_SECONDS: Final = 2.5 * 3600
"""Half of the provider's shortest window."""

UNDATED_SECONDS: Final = 300.0
"""How long a share is believed that came without the time of its reset."""


@final
class Standing:
    """The account's entry in the pool. The pool alone changes it."""

    __slots__ = (
        "_read",
        "_shares",
        "asked_at",
        "concurrency_limit",
        "cooldowns",
        "error_at",
        "in_flight",
        "last_error",
        "last_turn",
        "load",
        "model_until",
        "name",
        "position",
        "quotas",
        "rank",
        "request_limit",
        "tokens",
        "usable",
        "used",
        "windows",
    )

    def __init__(
        self,
        name: str,
        *,
        request_limit: int | None,
        concurrency_limit: int | None,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.name = name
        self.position = -1
        self.usable = True
        self.used = 0
        self.in_flight = 0
        self.request_limit = request_limit
        self.concurrency_limit = concurrency_limit
        self.last_turn = 0.0
        self.asked_at = NEVER
        self.last_error: str | None = None
        self.error_at = NEVER
        self.cooldowns = Cooldowns(entropy)
        self.model_until = self.cooldowns.model_until
        self.load = Load()
        self.tokens = Tokens()
        self.windows: dict[str, Window] = {}
        self.quotas: dict[str, Quota] = {}
        self.rank: tuple[float, float, int] | None = None
        self._read: Limits | None = None
        self._shares: dict[str, tuple[float, float]] = {}

    @property
    def has_room(self) -> bool:
        """None of the operator's limits is reached."""
        return (self.request_limit is None or self.used < self.request_limit) and (
            self.concurrency_limit is None or self.in_flight < self.concurrency_limit
        )

    def free(self, now: float) -> bool:
        """It is in the list and can be asked, for most models at least."""
        return self.position >= 0 and self.usable and self.cooldowns.until <= now and self.has_room

    def serves(self, model: str | None, now: float) -> bool:
        """Nothing is against this model in particular."""
        return model is None or self.model_until.get(model, NEVER) <= now

    def takes_others(self, now: float) -> bool:
        """It can be asked what does not count against the limits of inference."""
        refused = any(cooldown.cause is Cause.UNAUTHORIZED for cooldown in self.cooldowns.running(now))
        return self.position >= 0 and self.usable and self.has_room and not refused

    def limits_read(self, limits: Limits, now: float, wall: float) -> bool:
        """The provider told of the account's limits. Whether that is news: it says the same with many responses."""
        if limits is self._read or limits is NO_LIMITS:
            return False
        self._read = limits
        for window in limits.windows:
            self.windows[window.name] = window
            if not window.model_scoped:
                self._share_read(window.name, window.utilization, window.resets_at, now, wall)
        for quota in limits.quotas:
            self.quotas[quota.name] = quota
            self._share_read(quota.name, quota.utilization, quota.resets_at, now, wall)
        return True

    def utilization(self, now: float) -> float:
        """The largest share that is used of a window, of a quota or of the request limit."""
        share = self.used / self.request_limit if self.request_limit else 0.0
        for of_window, until in self._shares.values():
            if until > now and of_window > share:
                share = of_window
        return share

    def changes_at(self, now: float) -> float | None:
        """When the passing of time alone will next change what is said above, for the account as a whole."""
        moments = [until for _, until in self._shares.values() if until > now]
        if self.cooldowns.until > now:
            moments.append(self.cooldowns.until)
        return min(moments, default=None)

    def snapshot(self, now: float) -> AccountSnapshot:
        running = self.cooldowns.running(now)
        whole = next((cooldown for cooldown in running if cooldown.model is None), None)
        return AccountSnapshot(
            name=self.name,
            healthy=self.usable and whole is None,
            used=self.used,
            last_error=self.last_error,
            cooldown_remaining_seconds=None if whole is None else ceil(whole.until - now),
            cooldown_cause=None if whole is None else whole.cause.value,
            cooldowns=[_cooldown(cooldown, now) for cooldown in running],
            windows=[
                WindowSnapshot(w.name, None if w.status is None else w.status.value, w.utilization, w.resets_at)
                for w in self.windows.values()
            ],
            quotas=[QuotaSnapshot(q.name, q.limit, q.remaining, q.resets_at) for q in self.quotas.values()],
            tokens=self.tokens,
            in_flight=self.in_flight,
            concurrency_limit=self.concurrency_limit,
            request_limit=self.request_limit,
            remaining_requests=None if self.request_limit is None else max(0, self.request_limit - self.used),
        )

    def _share_read(self, name: str, share: float | None, resets_at: float | None, now: float, wall: float) -> None:
        if share is None:
            return
        if resets_at is None:
            self._read = None  # the next one like it prolongs this
        self._shares[name] = (share, now + UNDATED_SECONDS if resets_at is None else now + resets_at - wall)


def _cooldown(cooldown: Cooldown, now: float) -> CooldownSnapshot:
    window = None if cooldown.window is None else cooldown.window.name
    return CooldownSnapshot(cooldown.cause.value, ceil(cooldown.until - now), cooldown.model, window)
