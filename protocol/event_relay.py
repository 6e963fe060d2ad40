"""Answers relayed byte for byte, whose tokens are counted as they pass, and whose end is an honest one."""

from collections.abc import Callable
from typing import final

from protocol.errors import Refusal, anthropic_error
from protocol.relays import Relay
from protocol.usage_tap import StreamUsage, UsageTap
from protocol.values import Tokens
from protocol.wire.sse import COMMENT, START, EventBoundary, encode_sse


def error_event(error: Refusal) -> bytes:
    """An ``error`` event of the Messages API."""
    return encode_sse(b"error", anthropic_error(error))


@final
class EventStreamPassthrough(Relay):
    """An event stream, untouched. ``abort`` adds an event that tells of the cut, visible wherever that fell.

    :param broken_off: writes that event; Anthropic's unless said otherwise.
    :param joined: clients see the error also where it is joined to a torn event. Those who do not, because they read
        the data of an event before its name, get a broken connection then.
    """

    __slots__ = ("_broken_off", "_joined", "_tail", "_usage", "_usage_seen")

    failed = False

    def __init__(self, broken_off: Callable[[Refusal], bytes] = error_event, *, joined: bool = True) -> None:
        self._broken_off = broken_off
        self._joined = joined
        self._tail = START
        self._usage = StreamUsage()
        self._usage_seen = self._usage.seen  # bound once: this is the path of every chunk

    def feed(self, data: bytes) -> bytes:
        self._tail = data[-4:] if len(data) > 3 else (self._tail + data)[-4:]
        self._usage_seen(data)
        return data

    def finish(self) -> bytes:
        return b""

    def abort(self, error: Refusal) -> bytes | None:
        boundary = EventBoundary(self._tail)
        if not self._joined and not boundary.at_boundary:
            return None
        return boundary.closing_error(self._broken_off(error))

    @property
    def tokens(self) -> Tokens | None:
        return self._usage.tokens

    @property
    def answer_id(self) -> str | None:
        return self._usage.answer_id

    def comment(self) -> bytes | None:
        """A keep-alive between two events; None inside one, where it would tear a line apart."""
        return COMMENT if EventBoundary(self._tail).at_boundary else None


@final
class MeteredPassthrough(Relay):
    """Any other answer of inference, untouched."""

    __slots__ = ("_tap",)

    failed = False

    def __init__(self, tap: UsageTap) -> None:
        self._tap = tap

    def feed(self, data: bytes) -> bytes:
        self._tap.seen(data)
        return data

    def finish(self) -> bytes:
        return b""

    def abort(self, error: Refusal) -> bytes | None:
        return None

    @property
    def tokens(self) -> Tokens | None:
        return self._tap.tokens

    @property
    def answer_id(self) -> str | None:
        return self._tap.answer_id
