"""What the operator's log says of the accounts' health: every change, but no more often than is worth reading."""

from typing import Final, final

from protocol.identity.pool import Change

QUIET_SECONDS: Final = 10.0
"""A change that repeats sooner than this is counted, and told with the next one."""


@final
class HealthLog:
    """Turns changes into sentences."""

    def __init__(self) -> None:
        self._said_at: dict[tuple[object, ...], float] = {}
        self._unsaid: dict[tuple[object, ...], int] = {}

    def line(self, change: Change, now: float) -> str | None:
        """The sentence for the log, or None for one that was said a moment ago."""
        kind = (change.account, change.cause, change.out, change.window)
        if now < self._said_at.get(kind, float("-inf")) + QUIET_SECONDS:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return None
        self._said_at[kind] = now
        more = self._unsaid.pop(kind, 0)
        return f"{change} ({more} more of this since the last line)" if more else str(change)
