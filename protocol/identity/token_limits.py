"""What a token may use: each request reserves its share before it is sent on, and settles when it is over.

A reservation counts from the moment it is made, so however many requests are in flight, together they stay within the
limits. What is promised:

- ``max_requests``: within one router never one too many. Routers that share a data directory learn of each other's
  requests once these are saved (``FLUSH_SECONDS`` while a router is busy), so together they may let through what each
  admitted meanwhile; and a router that is killed forgets what it had not saved.
- ``token_budget``: the sum of input, output and cached tokens. A request reserves what it may use at most, by the
  caller's estimate; so the budget is exceeded by no more than what requests in flight use beyond their estimates.
  Between routers as above.
- ``requests_per_minute``: in any sixty seconds, for each router by itself, and anew after a restart.
"""

from collections import deque
from math import ceil
from typing import Final, final

import msgspec

from protocol.errors import LocalError, Refusal
from protocol.identity.attachments import NO_ATTACHMENTS, Attachments
from protocol.identity.token_record import TokenRecord
from protocol.identity.token_usage import TokenUsage, UsageBook, usage_of
from protocol.values import Headers, Tokens

MINUTE: Final = 60.0

BYTES_PER_TOKEN: Final = 4
"""Of a request's JSON; English prose has a little more, code and other scripts less."""


def estimate(body_bytes: int, most_output: int, attached: Attachments = NO_ATTACHMENTS) -> Tokens:
    """What a request may use: its body as input, and the most output it asks for, 0 if it does not say."""
    text = body_bytes - attached.size
    return Tokens(input=text // BYTES_PER_TOKEN + attached.tokens, output=max(most_output, 0))


BYTES_PER_STREAMED_TOKEN: Final = 64
"""Of an event stream, where an event of more than a hundred bytes brings a few tokens."""


def at_least(told: Tokens, streamed_bytes: int) -> Tokens:
    """What a stream has cost whose client went away after so many bytes: the provider tells the output at the very end
    only, so whoever left just before would have it for nothing.
    """
    seen = streamed_bytes // BYTES_PER_STREAMED_TOKEN
    return told if told.output >= seen else msgspec.structs.replace(told, output=seen)


def require_model(record: TokenRecord, model: str | None) -> None:
    """Return if the token may be used for ``model``.

    :raises Refusal: 403, also where no model is named but only certain ones are allowed.
    """
    if not record.models:
        return
    if model is None:
        raise Refusal(403, "Token is limited to certain models, and the request names none", param="model")
    if not any(_matches(pattern, model) for pattern in record.models):
        raise Refusal(403, f"Token may not be used for the model {model[:MAX_SHOWN]!r}", param="model")


@final
class TokenLimits:
    """The requests in flight of each token, and what the tokens may still use."""

    def __init__(self, usage: UsageBook) -> None:
        self._usage = usage
        self._open: dict[str, _Open] = {}
        self._purge_at = 0.0

    def reserve(self, record: TokenRecord, tokens: Tokens | None = None, *, now: float) -> "Reservation":
        """A share for one request at ``now`` (monotonic seconds), ``tokens`` being what it may use at most, if known.

        :raises Refusal: 429, with ``retry-after`` where waiting helps for sure, and ``x-should-retry: false`` where it
            never does.
        """
        share = tokens or Tokens()
        if now >= self._purge_at:
            self._purge_at = now + MINUTE
            self.purge(now)
        open_ = self._open.get(record.id) or _Open()
        used = self._usage.of(record.id)
        _require_requests(record, used, open_)
        _require_budget(record, used, open_, share)
        _require_rate(record, open_, now)
        open_.begin(_sum(share), now, timed=record.requests_per_minute is not None)
        self._open[record.id] = open_
        return Reservation(self, record.id, share, now)

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._open)

    def in_flight(self, token_id: str) -> int:
        """Requests that have reserved and neither settled nor given back."""
        open_ = self._open.get(token_id)
        return open_.requests if open_ is not None else 0

    def purge(self, now: float) -> None:
        """Forget tokens that no request is in flight for, nor was begun with in the minute before ``now``; ``reserve``
        does so now and then.
        """
        for token_id, open_ in list(self._open.items()):
            open_.forget_until(now - MINUTE)
            if open_.idle:
                del self._open[token_id]

    def _end(self, reservation: "Reservation", *, sent: bool) -> None:
        open_ = self._open[reservation.token_id]
        open_.end(_sum(reservation.tokens), None if sent else reservation.began)
        if open_.idle:
            del self._open[reservation.token_id]

    def _settle(self, reservation: "Reservation", used: TokenUsage, now: float) -> None:
        self._end(reservation, sent=True)
        self._usage.add(reservation.token_id, used, now)


@final
class Reservation:
    """One request's share, from ``reserve`` to exactly one of ``settle`` and ``release``."""

    __slots__ = ("_limits", "_over", "began", "token_id", "tokens")

    def __init__(self, limits: TokenLimits, token_id: str, tokens: Tokens, began: float) -> None:
        self._limits = limits
        self._over = False
        self.token_id = token_id
        self.tokens = tokens
        self.began = began

    def settle(self, used: Tokens | None, *, now: float, wall: float) -> None:
        """The request was sent on, and was billed for ``used``; None if nobody knows: then for all it had reserved."""
        self._end_once()
        self._limits._settle(self, usage_of(self.tokens if used is None else used, wall), now)

    def release(self) -> None:
        """The request was never sent on: it counts as if it had not been made."""
        self._end_once()
        self._limits._end(self, sent=False)

    def _end_once(self) -> None:
        if self._over:
            raise LocalError("a reservation ends once")
        self._over = True


# --- the limits, one by one -------------------------------------------------------------------------------------------

MAX_SHOWN: Final = 100
_FOR_GOOD: Final[Headers] = [(b"x-should-retry", b"false")]


@final
class _Open:
    """A token's requests in flight, and when those of the last minute began."""

    __slots__ = ("recent", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.tokens = 0
        self.recent: deque[float] = deque()

    def begin(self, tokens: int, now: float, *, timed: bool) -> None:
        self.requests += 1
        self.tokens += tokens
        if timed:
            self.recent.append(now)

    def end(self, tokens: int, given_back: float | None) -> None:
        self.requests -= 1
        self.tokens -= tokens
        if given_back is not None and given_back in self.recent:
            self.recent.remove(given_back)

    def forget_until(self, moment: float) -> None:
        while self.recent and self.recent[0] <= moment:
            self.recent.popleft()

    @property
    def idle(self) -> bool:
        return not self.requests and not self.recent


def _require_requests(record: TokenRecord, used: TokenUsage, open_: _Open) -> None:
    most = record.max_requests
    if most is not None and used.requests + open_.requests >= most:
        # What is in flight may still be given back.
        raise Refusal(429, "Token has reached its request limit", headers=_FOR_GOOD if used.requests >= most else [])


def _require_budget(record: TokenRecord, used: TokenUsage, open_: _Open, share: Tokens) -> None:
    budget = record.token_budget
    if budget is None:
        return
    if used.tokens >= budget:
        raise Refusal(429, "Token has reached its token budget", headers=_FOR_GOOD)
    needed = max(_sum(share), 1)
    left = budget - used.tokens
    if needed > left:
        message = f"Token has {left} tokens left of its budget, and the request may use {needed}: lower max_tokens"
        raise Refusal(429, message, headers=_FOR_GOOD)
    if needed > left - open_.tokens:
        raise Refusal(429, "Token has reserved what is left of its token budget for requests in flight")


def _require_rate(record: TokenRecord, open_: _Open, now: float) -> None:
    most = record.requests_per_minute
    if most is None:
        return
    open_.forget_until(now - MINUTE)
    if len(open_.recent) >= most:
        seconds = max(1, ceil(open_.recent[-most] + MINUTE - now))
        message = f"Token has reached its limit of {most} requests per minute"
        raise Refusal(429, message, headers=[(b"retry-after", b"%d" % seconds)])


def _sum(tokens: Tokens) -> int:
    return tokens.input + tokens.output + tokens.cache_creation + tokens.cache_read


def _matches(pattern: str, model: str) -> bool:
    """``*`` stands for any characters. Takes the leftmost place for each piece, so no pattern makes it slow."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return model == pattern
    *middle, last = pieces
    if not model.startswith(first) or not model.endswith(last) or len(model) < len(first) + len(last):
        return False
    position, end = len(first), len(model) - len(last)
    for piece in middle:
        found = model.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
