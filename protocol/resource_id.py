"""Whose a new file, batch or message is: its id, read from the answer to the request that made it."""

import re
from collections.abc import Callable
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.relays import Relay
from protocol.values import Tokens

MOST_BYTES: Final = 64 * 1024
"""How much of an answer is looked at: an object that was just made is a few hundred bytes, and a message begins with
what it is called."""

ReadId = Callable[[bytes], str | None]
"""Finds an id in the first ``MOST_BYTES`` of an answer."""


class _Made(msgspec.Struct):
    id: str


_MADE: Final = msgspec.json.Decoder(_Made)
_MESSAGE: Final = re.compile(rb'"id"[ \t\r\n]*:[ \t\r\n]*"(msg_[0-9A-Za-z_-]{1,128})"')


def made_id(answer: bytes) -> str | None:
    """The ``id`` of the object that was made, if the answer is one: a compressed one is not."""
    try:
        return _MADE.decode(answer).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def message_id(answer: bytes) -> str | None:
    """The id of the message in an answer, be it JSON or an event stream."""
    match = _MESSAGE.search(answer)
    return match[1].decode("ascii") if match else None


@final
class IdTap(Relay):
    """Relays an answer as ``inner`` does, and tells ``found`` the id in it once it is whole."""

    __slots__ = ("_found", "_inner", "_read", "_seen", "_size", "failed")

    def __init__(self, inner: Relay, found: Callable[[str], None], read: ReadId = made_id) -> None:
        self.failed = inner.failed
        self._inner = inner
        self._found = found
        self._read = read
        self._seen: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        if self._size < MOST_BYTES:
            self._seen.append(data[: MOST_BYTES - self._size])
            self._size += len(data)
        out = self._inner.feed(data)
        self.failed = self._inner.failed
        return out

    def finish(self) -> bytes:
        found = self._read(b"".join(self._seen))
        if found is not None:
            self._found(found)
        out = self._inner.finish()
        self.failed = self._inner.failed
        return out

    def abort(self, error: Refusal) -> bytes | None:
        return self._inner.abort(error)

    @property
    def complete(self) -> bool:
        return self._inner.complete

    @property
    def tokens(self) -> Tokens | None:
        return self._inner.tokens

    def comment(self) -> bytes | None:
        return self._inner.comment()
