"""What the operator's log says of the accounts' health: every change, but no more often than is worth reading."""

from dataclasses import dataclass
from typing import Final, TypeAlias, final

from protocol.identity.cooldowns import NEVER
from protocol.identity.pool import Change

QUIET_SECONDS: Final = 10.0
"""A change that repeats sooner than this waits; then the log tells how things stand, and how much was left out."""

MOST_SUBJECTS: Final = 1024

_Subject: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class _Story:
    """What was said of one account and one cause. ``held`` is the last change that was not, of ``unsaid``."""

    out_said_at: float = NEVER
    back_said_at: float = NEVER
    held: Change | None = None
    unsaid: int = 0


@final
class HealthLog:
    """Turns changes into sentences. All instants are monotonic seconds."""

    def __init__(self) -> None:
        self._stories: dict[_Subject, _Story] = {}
        self._tell_at = float("inf")

    def line(self, change: Change, now: float) -> str | None:
        """The sentence for the log, or None while it is too soon for another one like it."""
        subject = (change.account, change.cause, change.window, change.model)
        story = self._stories.get(subject)
        if story is None:
            self._make_room(now)
            story = self._stories[subject] = _Story()
        quiet_until = (story.out_said_at if change.out else story.back_said_at) + QUIET_SECONDS
        if story.held is None and now >= quiet_until:
            return self._said(story, change, now)
        story.held = change
        story.unsaid += 1
        self._tell_at = min(self._tell_at, _due(story))
        return None

    def overdue(self, now: float) -> list[tuple[Change, str]]:
        """What waited long enough: the last change of each kind, with its sentence. To be asked for now and then."""
        if now < self._tell_at:
            return []
        ripe = [
            (story, story.held) for story in self._stories.values() if story.held is not None and now >= _due(story)
        ]
        told = [(change, self._said(story, change, now)) for story, change in ripe]
        held = [_due(story) for story in self._stories.values() if story.held is not None]
        self._tell_at = min(held, default=float("inf"))
        return told

    def _said(self, story: _Story, change: Change, now: float) -> str:
        more = max(0, story.unsaid - 1)
        story.held, story.unsaid = None, 0
        if change.out:
            story.out_said_at = now
        else:
            story.back_said_at = now
        return f"{change} ({more} more of this since the last line)" if more else str(change)

    def _make_room(self, now: float) -> None:
        """Windows and models have names that others choose."""
        if len(self._stories) >= MOST_SUBJECTS:
            self._stories = {
                subject: story
                for subject, story in self._stories.items()
                if story.held is not None or now < _due(story)
            }


def _due(story: _Story) -> float:
    return max(story.out_said_at, story.back_said_at) + QUIET_SECONDS
