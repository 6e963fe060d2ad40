"""Work on a credential file that the core orders and the shell carries out, off the event loop.

One piece of work is under way for a file at a time. The lock spans several pieces: a refresh token is good for one use,
so nobody may send it while somebody else does.
"""

from enum import Enum
from typing import TypeAlias

import msgspec

from protocol.files import FileContent
from protocol.values import Secret


class Login(msgspec.Struct, frozen=True):
    """An OAuth session: the token that requests carry, and the one that buys the next pair.

    ``refresh`` is None for a session that cannot be prolonged; ``expires_at`` is in epoch seconds, None where nobody
    knows.
    """

    access: Secret
    refresh: Secret | None = None
    expires_at: float | None = None


class LockLogin(msgspec.Struct, frozen=True):
    """Take the lock of the file at ``path`` without waiting, then read it: LoginRead, LockBusy or WorkFailed."""

    path: str


class ReadLogin(msgspec.Struct, frozen=True):
    """Read the locked file again: LoginRead."""

    path: str


class SaveLogin(msgspec.Struct, frozen=True):
    """Put ``renewed`` into the locked file: LoginSaved, Superseded or WorkFailed.

    ``replaced`` is what the file held when it was read; a file that holds something newer by now is left alone.
    """

    path: str
    replaced: Login
    renewed: Login


class UnlockLogin(msgspec.Struct, frozen=True):
    """Let go of the lock: Unlocked."""

    path: str


FileWork: TypeAlias = LockLogin | ReadLogin | SaveLogin | UnlockLogin


class LoginRead(msgspec.Struct, frozen=True):
    """What the credential file holds now, and what is kept of it in the data directory if anything."""

    file: FileContent
    recovery: FileContent


class LockBusy(msgspec.Struct, frozen=True):
    """Another process, or another credential of this one, holds the lock."""


class Place(Enum):
    """Where a renewed login is kept."""

    FILE = "the credential file"
    RECOVERY = "the recovery copy in the data directory"


class LoginSaved(msgspec.Struct, frozen=True):
    """The login is kept in ``place``; ``reason`` is why not in the credential file, in the system's words."""

    place: Place
    reason: str = ""


class Superseded(msgspec.Struct, frozen=True):
    """The file holds a login that somebody wrote meanwhile; it was left alone."""

    file: FileContent


class Unlocked(msgspec.Struct, frozen=True):
    """The lock is free."""


class WorkFailed(msgspec.Struct, frozen=True):
    """It could not be done: why, in the system's words."""

    reason: str


FileResult: TypeAlias = LoginRead | LockBusy | LoginSaved | Superseded | Unlocked | WorkFailed
