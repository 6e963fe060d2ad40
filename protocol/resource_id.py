"""Whose a new file or batch is: its id, read from the answer to the request that made it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.relays import Relay

MOST_BYTES: Final = 64 * 1024
"""An object that was just made is a few hundred bytes; of a longer answer no id is read."""


class _Made(msgspec.Struct):
    id: str


@final
class IdTap(Relay):
    """Relays a JSON answer as ``inner`` does, and tells ``found`` the ``id`` in it once it is whole."""

    __slots__ = ("_found", "_inner", "_seen", "_size", "failed")

    def __init__(self, inner: Relay, found: Callable[[str], None]) -> None:
        self.failed = inner.failed
        self._inner = inner
        self._found = found
        self._seen: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size <= MOST_BYTES:
            self._seen.append(data)
        out = self._inner.feed(data)
        self.failed = self._inner.failed
        return out

    def finish(self) -> bytes:
        if self._size <= MOST_BYTES:
            # Nothing was made, or the answer is compressed: then a later request has to ask around.
            with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
                self._found(msgspec.json.decode(b"".join(self._seen), type=_Made).id)
        out = self._inner.finish()
        self.failed = self._inner.failed
        return out

    def abort(self, error: Refusal) -> bytes | None:
        return self._inner.abort(error)

    @property
    def complete(self) -> bool:
        return self._inner.complete

    def comment(self) -> bytes | None:
        return self._inner.comment()
