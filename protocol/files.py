"""Files as the core sees them: by path and content. The shell reads and writes them, off the event loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec


class Missing(msgspec.Struct, frozen=True):
    """There is no such file."""


class Unreadable(msgspec.Struct, frozen=True):
    """There is such a file, but it could not be read: why, in the system's words."""

    reason: str


FileContent: TypeAlias = bytes | Missing | Unreadable

Contents: TypeAlias = Sequence[tuple[str, FileContent]]
"""Path and content, in the asked order."""


class FilesLoaded(msgspec.Struct, frozen=True):
    """What the files hold; ``fingerprint`` is for the next look at them."""

    files: Contents
    fingerprint: object


class FilesUnchanged(msgspec.Struct, frozen=True):
    """The fingerprint still holds."""


FilesSeen: TypeAlias = FilesLoaded | FilesUnchanged
"""What a look at files brings."""


class UpdateFailed(msgspec.Struct, frozen=True):
    """Nothing was changed: why, in a sentence for the operator."""

    reason: str


class CorruptFile(Exception):
    """A file of ours cannot be understood, so it must not be replaced.

    :param path: which file.
    :param place: where in it, such as ``line 3`` or ``byte 20``.
    :param reason: what is wrong there, in words that hold nothing of the content.
    """

    def __init__(self, path: str, place: str, reason: str) -> None:
        super().__init__(f"{path}, {place}: {reason}")


Update: TypeAlias = Callable[[Contents], Mapping[str, bytes]]
"""Pure: from what the files hold to new contents for those that change. Raises ``CorruptFile`` to change nothing."""
