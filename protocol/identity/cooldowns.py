"""How long an account is left alone after a failure, by what the failure was about.

What the provider makes certain (a usage window, ``retry-after``) is firm: until then another request would fail as
well. The rest is a guess (a 401 can be the provider's own trouble): the account is only avoided while another one can
answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from protocol.identity.limits import LONGEST_WINDOW_SECONDS, Limits, Window


class Cause(Enum):
    """Why an account does not serve a request. The cooldowns come first; the others have no end of their own."""

    WINDOW = "usage window used up"
    RETRY_AFTER = "rate limited with retry-after"
    RATE_LIMITED = "rate limited"
    OVERLOADED = "upstream overloaded or failing"
    UNREACHABLE = "upstream unreachable"
    UNAUTHORIZED = "credential refused"

    REQUEST_LIMIT = "request limit reached"
    CONCURRENCY = "too many requests in flight"
    TRIED = "tried already"
    NO_CREDENTIAL = "no usable credential"
    UNKNOWN_ACCOUNT = "no such account"

    @property
    def firm(self) -> bool:
        """No request goes out against it, not even for want of another account."""
        return self not in _GUESSED


_GUESSED: Final = frozenset({Cause.RATE_LIMITED, Cause.OVERLOADED, Cause.UNREACHABLE, Cause.UNAUTHORIZED})


@dataclass(frozen=True, slots=True)
class Cooldown:
    """An account, or one model of it, is left alone from ``since`` to ``until`` (monotonic seconds)."""

    cause: Cause
    since: float
    until: float
    model: str | None = None
    window: Window | None = None


UNAUTHORIZED_SECONDS: Final = 60.0
"""After that a refused credential is as good as any again, unless it has changed before."""

RATE_LIMITED_SECONDS: Final = (2.0, 30.0)
OVERLOADED_SECONDS: Final = (1.0, 10.0)
UNREACHABLE_SECONDS: Final = (0.5, 5.0)
"""The first back-off and the longest; each next one is twice as long, give or take a quarter."""

_BACK_OFFS: Final = {
    Cause.RATE_LIMITED: RATE_LIMITED_SECONDS,
    Cause.OVERLOADED: OVERLOADED_SECONDS,
    Cause.UNREACHABLE: UNREACHABLE_SECONDS,
}

MAX_MODELS: Final = 32
"""Models of one account that cool down at the same time; beyond them the soonest to recover is let go."""

NEVER: Final = float("-inf")


@final
class Cooldowns:
    """The running cooldowns of one account."""

    __slots__ = ("_entropy", "_running", "_setbacks", "firm_until", "model_until", "until")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._running: dict[tuple[Cause, str, str | None], Cooldown] = {}
        self._setbacks: dict[Cause, tuple[int, float]] = {}
        self.until = NEVER
        """When the whole account is free again (monotonic seconds)."""
        self.firm_until = NEVER
        """When it may be used for want of another."""
        self.model_until: dict[str, float] = {}
        """When a model is free again, where only that one is left alone. Always the same dictionary."""

    def rate_limited(
        self, limits: Limits, *, model: str | None, asked_at: float, now: float, wall: float
    ) -> list[Cooldown]:
        """A 429 to a request for ``model`` sent at ``asked_at``: out until the last window that refused it resets, each
        window for itself; else for ``retry-after``; else for a growing back-off. Returns the cooldowns that are new.
        """
        refusing = limits.refusing()
        of_model = any(window.model_scoped for window in refusing)
        begun = []
        for window in refusing:
            seconds = _seconds(window, limits, wall)
            # Without a model nobody knows what a window that counts some models refused; the account is not to blame.
            if seconds and not (window.model_scoped and model is None):
                scope = model if window.model_scoped else None
                begun.append(Cooldown(Cause.WINDOW, now, now + seconds, scope, window))
        if not begun and limits.retry_after and not (of_model and model is None):
            # The quotas of an API key are counted for each model (or class of models) on its own.
            scope = model if of_model or any(quota.spent for quota in limits.quotas) else None
            begun.append(Cooldown(Cause.RETRY_AFTER, now, now + limits.retry_after, scope))
        if begun:
            return [cooldown for cooldown in begun if self._begin(cooldown)]
        return self.set_back(Cause.RATE_LIMITED, asked_at=asked_at, now=now)

    def set_back(
        self, cause: Cause, *, asked_at: float, now: float, retry_after: float | None = None
    ) -> list[Cooldown]:
        """A failure of which nobody knows how long it lasts. Requests that were on their way together count as one."""
        count, since = self._setbacks.get(cause, (0, NEVER))
        if asked_at >= since:
            count, since = count + 1, now
        self._setbacks[cause] = (count, since)
        first, longest = _BACK_OFFS[cause]
        seconds = first * 2 ** min(count - 1, 10) * (0.75 + int.from_bytes(self._entropy(2)) / 0x20000)
        cooldown = Cooldown(cause, now, now + min(max(seconds, retry_after or 0.0), longest))
        return [cooldown] if self._begin(cooldown) else []

    def unauthorized(self, now: float) -> list[Cooldown]:
        """The provider refuses the credential, and refreshing it did not help."""
        cooldown = Cooldown(Cause.UNAUTHORIZED, now, now + UNAUTHORIZED_SECONDS)
        return [cooldown] if self._begin(cooldown) else []

    def succeeded(self, *, model: str | None, asked_at: float) -> list[Cooldown]:
        """A request was answered; it disproves what was thought before it was sent, about the account and this model.
        Returns the cooldowns that end.
        """
        if not self._running and not self._setbacks:
            return []
        for cause in [cause for cause, (_, since) in self._setbacks.items() if since <= asked_at]:
            del self._setbacks[cause]
        return self._end(
            cooldown
            for cooldown in self._running.values()
            if cooldown.since <= asked_at and cooldown.model in (None, model)
        )

    def clear(self) -> list[Cooldown]:
        """Forget everything. Returns the cooldowns that end."""
        self._setbacks.clear()
        return self._end(self._running.values())

    def expire(self, now: float) -> list[Cooldown]:
        """Take out the cooldowns that are over, and return them."""
        return self._end(cooldown for cooldown in self._running.values() if cooldown.until <= now)

    def running(self, now: float) -> list[Cooldown]:
        """Those that are not over, the last to end first."""
        running = [cooldown for cooldown in self._running.values() if cooldown.until > now]
        return sorted(running, key=lambda cooldown: -cooldown.until)

    def blocking(self, model: str | None, now: float) -> Cooldown | None:
        """The one that a request for this model would have to wait for: a firm one, if there is any."""
        blocking = [cooldown for cooldown in self.running(now) if cooldown.model in (None, model)]
        return next((cooldown for cooldown in blocking if cooldown.cause.firm), blocking[0] if blocking else None)

    @property
    def soonest_end(self) -> float | None:
        """When the next one is over, or was if it has not been taken out yet."""
        return min(cooldown.until for cooldown in self._running.values()) if self._running else None

    def _begin(self, cooldown: Cooldown) -> bool:
        """Whether it is new: one of the same cause is never shortened, only prolonged."""
        key = (cooldown.cause, cooldown.window.name if cooldown.window is not None else "", cooldown.model)
        running = self._running.get(key)
        until = min(cooldown.until, cooldown.since + LONGEST_WINDOW_SECONDS)
        if running is not None and running.until >= until:
            return False
        self._running[key] = Cooldown(cooldown.cause, cooldown.since, until, cooldown.model, cooldown.window)
        of_models = [key for key in self._running if key[2] is not None]
        if len(of_models) > MAX_MODELS:
            del self._running[min(of_models, key=lambda key: self._running[key].until)]
        self._sum_up()
        return running is None or running.until <= cooldown.since

    def _end(self, cooldowns: Iterable[Cooldown]) -> list[Cooldown]:
        ended = list(cooldowns)
        if ended:
            self._running = {key: cooldown for key, cooldown in self._running.items() if cooldown not in ended}
            self._sum_up()
        return ended

    def _sum_up(self) -> None:
        cooldowns = self._running.values()
        of_account = [cooldown for cooldown in cooldowns if cooldown.model is None]
        self.until = max((cooldown.until for cooldown in of_account), default=NEVER)
        self.firm_until = max((cooldown.until for cooldown in of_account if cooldown.cause.firm), default=NEVER)
        self.model_until.clear()
        for cooldown in cooldowns:
            if cooldown.model is not None:
                self.model_until[cooldown.model] = max(cooldown.until, self.model_until.get(cooldown.model, NEVER))


def _seconds(window: Window, limits: Limits, wall: float) -> float | None:
    """How long a window goes on to refuse; a reset that is over already says as little as none."""
    if window.resets_at is not None and window.resets_at > wall:
        return window.resets_at - wall
    return limits.retry_after
