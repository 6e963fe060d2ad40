"""One admitted or refused request, as everything above the wire sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from protocol.errors import Refusal, render_anthropic
from protocol.values import Peer, RequestHead, ResponseHead, Tokens

RenderError = Callable[[Refusal, str], tuple[int, bytes]]
"""Status and body for a refusal and the request's id, in one dialect."""


class Share(Protocol):
    """Part of what a token may use, held by one request until it is over."""

    def settle(self, used: Tokens | None, *, now: float, wall: float) -> None:
        """The request went upstream, and was billed for ``used``, if that is known."""

    def release(self) -> None:
        """It never did."""


@dataclass(slots=True)
class Call:
    """Who asks for what. ``at`` (monotonic) and ``wall`` (epoch) seconds are when the head was whole.

    ``pin`` is the only account that will do, ``account`` the one that was asked last, ``holds`` the one that has this
    call in flight.

    :param route: the pattern of its route, once that is known.
    :param sent_with: the account of each request that was made upstream for it.
    :param went_upstream: one of them was more than an attempt to connect.
    :param administers: it is an operator's, who has shown that he is one.
    :param share: what it has reserved of its token's limits.
    :param tokens: what the answer was billed for, where its relay does not tell.
    """

    head: RequestHead
    peer: Peer
    request_id: str
    at: float
    wall: float
    render_error: RenderError = render_anthropic
    token_id: str | None = None
    pin: str | None = None
    account: str | None = None
    holds: str | None = None
    route: str | None = None
    sent_with: list[str] = field(default_factory=list)
    went_upstream: bool = False
    administers: bool = False
    share: Share | None = None
    tokens: Tokens | None = None
    annotations: dict[str, str | int | float | None] = field(default_factory=dict)

    def wall_at(self, now: float) -> float:
        """Epoch seconds at monotonic second ``now``."""
        return self.wall + now - self.at

    def refuse(self, refusal: Refusal) -> tuple[ResponseHead, bytes]:
        """A refusal as a whole response in the caller's dialect, named so that either API's SDKs can quote it."""
        status, body = self.render_error(refusal, self.request_id)
        names = [(name, self.request_id.encode("ascii")) for name in (b"request-id", b"x-request-id")]
        return ResponseHead(status, [(b"content-type", b"application/json"), *names, *refusal.headers]), body


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> bytes:
    """``Tue, 15 Nov 1994 08:12:31 GMT`` for seconds since the epoch (RFC 9110 section 5.6.7)."""
    return _http_date(int(wall))


@lru_cache(maxsize=2)
def _http_date(second: int) -> bytes:
    at = datetime.fromtimestamp(second, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT".encode("ascii")
