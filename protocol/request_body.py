"""A request body on its way to the upstream: forwarded as it comes, and kept for a replay while that is cheap."""

from typing import Final, final

from protocol.errors import Refusal

WAITING_LIMIT: Final = 64 * 1024
"""How many bytes may wait for an upstream connection, at least, before the client is held."""


@final
class RequestBody:
    """Counts, keeps and hands on one request body.

    :param length: announced length in bytes, None when chunked, 0 when there is no body.
    :param limit: longest body accepted, in bytes.
    :param replay_limit: longest body kept whole, so that it can be sent a second time.
    """

    __slots__ = ("_kept", "_limit", "_replay_limit", "complete", "handed_on", "length", "received", "replayable")

    def __init__(self, length: int | None, limit: int, replay_limit: int) -> None:
        self.length = length
        self._limit = limit
        self._replay_limit = replay_limit
        self._kept: list[bytes] = []
        self.handed_on = False
        self.received = 0
        self.complete = length == 0
        self.replayable = True

    def admit(self) -> None:
        """Check the announced length.

        :raises Refusal: 413 when it is beyond the limit.
        """
        self._check(self.length or 0)

    def add(self, data: bytes) -> None:
        """Take the next bytes from the client.

        :raises Refusal: 413 when the body grows beyond its limit.
        """
        self.received += len(data)
        self._check(self.received)
        if self.replayable:
            self._kept.append(data)
            self._drop_if_long()

    def hand_on(self) -> bytes:
        """Everything received so far, for a channel that is ready now; later bytes go to it directly."""
        everything = self.whole()
        self.handed_on = True
        self._drop_if_long()
        return everything

    def restart(self) -> None:
        """The body is going to be handed on from its first byte again."""
        self.handed_on = False

    def whole(self) -> bytes:
        """All bytes received; joins them once."""
        if len(self._kept) > 1:
            self._kept = [b"".join(self._kept)]
        return self._kept[0] if self._kept else b""

    def forget(self) -> None:
        """No replay can happen any more."""
        self.replayable = False
        self._kept.clear()

    @property
    def overfull(self) -> bool:
        """So much waits for an upstream connection that the client has to be held."""
        return not self.handed_on and self.received > max(self._replay_limit, WAITING_LIMIT)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise Refusal(413, f"request body exceeds the limit of {self._limit} bytes")

    def _drop_if_long(self) -> None:
        if self.handed_on and self.received > self._replay_limit:
            self.forget()
