"""What the router counts: every request that is over, for Prometheus and as JSON. It starts from 0 with the process.

The Prometheus page is open to everybody, so it names nobody: accounts appear by their place in the operator's list.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final, final

import msgspec

from protocol.exposition import Family, Format, Kind, Labels, Sample, render
from protocol.identity.standing import AccountSnapshot
from protocol.routing import LEGACY_PREFIX, Action, Route, Surface
from protocol.values import Tokens

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds, from a refusal made here to an answer after long thinking."""

NO_ROUTE: Final = "none"
"""The route of a request that was refused before one was found for it."""

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
ISSUE: Final = "/api/tokens"
REVOKE: Final = "/api/tokens/revoke"
METERED: Final = frozenset({"/v1/messages", f"{LEGACY_PREFIX}/v1/messages", CHAT, RESPONSES})
"""Routes whose answers cost tokens."""


RELAYED: Final = frozenset({Surface.ANTHROPIC, Surface.BEDROCK, Surface.VERTEX})


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is over. Sizes are of bodies, in bytes; times are in seconds since its head was whole.

    :param route: the pattern of its route; None where it was refused before one was found.
    :param status: of the answer; 0 where there was none, because the client left first.
    :param cut: the answer was broken off, visibly to the client.
    :param left: the client went away before the answer was complete.
    :param first_byte_seconds: None where there was no answer.
    :param sent_with: the account of each request that was sent upstream, in order; empty where none was.
    :param tokens: what the answer was billed for; None where it did not say.
    """

    route: str | None
    status: int
    seconds: float
    first_byte_seconds: float | None = None
    cut: bool = False
    left: bool = False
    from_client: int = 0
    to_client: int = 0
    from_upstream: int = 0
    to_upstream: int = 0
    sent_with: Sequence[str] = ()
    tokens: Tokens | None = None


@final
class Metrics:
    """Counts what it is told of, in bounded space: one call for each request.

    :param routes: all that are offered; what names another one counts for ``NO_ROUTE``.
    :param version: of the router.
    :param started_at: in epoch seconds.
    """

    def __init__(self, routes: Iterable[Route], *, version: str, started_at: float = 0.0) -> None:
        self._routes: set[str] = set()
        self._relayed: set[str] = set()
        self.offer(routes)
        self._version = version
        self.started_at = started_at
        self._sums = _Sums()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._account_calls: Counter[str] = Counter()
        self._durations: dict[str, _Histogram] = {}
        self._first_bytes: dict[str, _Histogram] = {}

    def offer(self, routes: Iterable[Route]) -> None:
        """These are offered, too."""
        for route in routes:
            self._routes.add(route.pattern)
            if route.surface in RELAYED and route.action is not Action.HELLO:
                self._relayed.add(route.pattern)

    def ended(self, request: Ended) -> None:
        """Count one request."""
        sums, status, tokens = self._sums, request.status, request.tokens
        route = request.route if request.route in self._routes else NO_ROUTE
        sums.errors_total += status >= 400
        sums.bytes_in += request.from_upstream
        sums.bytes_out += request.to_upstream
        sums.client_bytes_in += request.from_client
        sums.client_bytes_out += request.to_client
        sums.client_disconnects += request.left
        sums.answers_cut += request.cut
        if tokens is not None:
            sums.input_tokens += tokens.input
            sums.output_tokens += tokens.output
            sums.cache_creation_tokens += tokens.cache_creation
            sums.cache_read_tokens += tokens.cache_read
        elif route in METERED and 200 <= status < 300:
            sums.answers_without_usage += 1
        self._answers[route, status if 100 <= status < 600 else 0] += 1
        _of(self._durations, route).observe(request.seconds)
        if request.sent_with:
            self._account_calls.update(request.sent_with)
            sums.upstream_failovers += sum(before != after for before, after in pairwise(request.sent_with))
            if request.first_byte_seconds is not None:
                _of(self._first_bytes, route).observe(request.first_byte_seconds)

    def page(self, form: Format, *, in_flight: int, accounts: Sequence[AccountSnapshot]) -> bytes:
        """The body of ``/metrics``.

        :param in_flight: requests that have begun and are not over.
        :param accounts: how they stand now.
        """
        return render(self.families(in_flight=in_flight, accounts=accounts), form)

    def usage(self, *, in_flight: int, accounts: Sequence[AccountSnapshot]) -> dict[str, object]:
        """The body of ``/v1/usage``, to be encoded as JSON, for the operator alone: here accounts go by their names."""
        return {
            **self._totals(),
            "status_counts": {str(status): count for status, count in self._statuses()},
            "account_calls": dict(sorted(self._account_calls.items())),
            "route_counts": self._routes_by_status(),
            "accounts": _states(accounts),
            "in_flight": in_flight,
            "started_at": self.started_at,
            "version": self._version,
        }

    def _totals(self) -> dict[str, int]:
        """The plain sums, in the order of ``ABOUT``."""
        known = msgspec.structs.asdict(self._sums) | {
            "requests_total": self._answers.total(),
            "openai_chat_completions": self._count({CHAT}),
            "openai_responses": self._count({RESPONSES}),
            "anthropic_messages": self._count(self._relayed),
            "tokens_issued": self._count({ISSUE}, range(200, 300)),
            "tokens_revoked": self._count({REVOKE}, range(200, 300)),
            "upstream_attempts": self._account_calls.total(),
        }
        return {key: known[key] for key in ABOUT}

    def _count(self, routes: set[str], statuses: range = range(600)) -> int:
        return sum(count for (route, status), count in self._answers.items() if route in routes and status in statuses)

    def _statuses(self) -> list[tuple[int, int]]:
        counts: Counter[int] = Counter()
        for (_, status), count in self._answers.items():
            counts[status] += count
        return sorted((status, count) for status, count in counts.items() if status)

    def _routes_by_status(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for (route, status), count in sorted(self._answers.items()):
            counts.setdefault(route, {})[str(status or "none")] = count
        return counts

    def families(self, *, in_flight: int = 0, accounts: Sequence[AccountSnapshot] = ()) -> list[Family]:
        """All that is on the page, in its order."""
        places: Counter[str] = Counter()
        for name, count in self._account_calls.items():
            places[_place(name)] += count
        by_route = [
            Sample(count, (("route", route), ("code", code)))
            for route, counts in self._routes_by_status().items()
            for code, count in counts.items()
        ]
        started = [Sample(self.started_at)]
        return [
            *(_counter(key, ABOUT[key], [Sample(total)]) for key, total in self._totals().items()),
            _counter("status", "Answers by status, whoever gave them.", _samples("code", self._statuses()), "code"),
            _counter(
                "route_requests",
                "Requests by route and status; the code none stands for no answer.",
                by_route,
                "route",
                "code",
            ),
            _counter(
                "account_calls",
                "Requests sent upstream by account.",
                _samples("account", sorted(places.items())),
                "account",
            ),
            _histogram("request_duration_seconds", "From a request's head to the end of its answer.", self._durations),
            _histogram(
                "time_to_first_byte_seconds",
                "From a request's head to that of its answer, where an upstream was asked.",
                self._first_bytes,
            ),
            _gauge("in_flight_requests", "Requests that are not over; this one is among them.", [Sample(in_flight)]),
            _gauge(
                "accounts",
                "Accounts that can be used, have to wait, or have no usable credential.",
                _samples("state", _states(accounts).items()),
                "state",
            ),
            _gauge(
                "account_cooldown_seconds",
                "How long an account will still be left alone; 0 for one that is not.",
                _samples("account", _cooldowns(accounts).items()),
                "account",
            ),
            _gauge("start_time_seconds", "When the router started, in seconds since the epoch.", started),
            Family(
                f"{PREFIX}build",
                Kind.INFO,
                "What is running.",
                [Sample(1, (("version", self._version),))],
                ("version",),
            ),
        ]


PREFIX: Final = "link_assistant_"

ABOUT: Final[Mapping[str, str]] = {
    "requests_total": "Requests that are over, whoever answered them and however they ended.",
    "errors_total": "Requests answered with a status of 400 or more, by an upstream or by the router itself.",
    "bytes_in": "Bytes of response bodies received from upstreams.",
    "bytes_out": "Bytes of request bodies sent to upstreams.",
    "openai_chat_completions": "Requests for Chat Completions.",
    "openai_responses": "Requests for Responses.",
    "anthropic_messages": "Requests for any path of the Anthropic API.",
    "tokens_issued": "Access tokens issued over HTTP.",
    "tokens_revoked": "Access tokens revoked over HTTP.",
    "client_bytes_in": "Bytes of request bodies received from clients.",
    "client_bytes_out": "Bytes of response bodies sent to clients.",
    "client_disconnects": "Requests whose client went away before the answer was complete.",
    "answers_cut": "Answers that were broken off, visibly to the client.",
    "upstream_attempts": "Requests sent to upstreams, repeated ones included.",
    "upstream_failovers": "Requests sent again with another account.",
    "input_tokens": "Tokens of input that answers were billed for, without those of the prompt cache.",
    "output_tokens": "Tokens of output that answers were billed for.",
    "cache_creation_tokens": "Tokens that were written to the prompt cache.",
    "cache_read_tokens": "Tokens that were read from the prompt cache.",
    "answers_without_usage": "Successful answers that cost tokens but did not say, or not readably, how many.",
}
"""The plain sums: key in ``/v1/usage`` and, with ``PREFIX`` and ``_total``, name on the page; what each one counts."""


USAGE_ABOUT: Final[Mapping[str, str]] = {
    "status_counts": "Answers by status.",
    "account_calls": "Requests sent upstream by account.",
    "route_counts": "Requests by route, then by status; `none` stands for no answer, and for no route.",
    "accounts": "How many accounts can be used (`healthy`), have to wait (`cooling`), or cannot be used (`unusable`).",
    "in_flight": "Requests that are not over; this one is among them.",
    "started_at": "When the router started, in seconds since the epoch.",
    "version": "Of the router.",
    "tokens": "What each token has used, by its id.",
}
"""What is in ``/v1/usage`` besides the plain sums."""


class _Sums(msgspec.Struct):
    """Those of them that are not sums over all routes."""

    errors_total: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    client_bytes_in: int = 0
    client_bytes_out: int = 0
    client_disconnects: int = 0
    answers_cut: int = 0
    upstream_failovers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_tokens: int = 0
    cache_read_tokens: int = 0
    answers_without_usage: int = 0


@final
class _Histogram:
    """How many durations lie up to each of ``BUCKETS``, and beyond the last."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def samples(self, labels: Labels) -> list[Sample]:
        bounds = (*map(str, BUCKETS), "+Inf")
        reached = list(accumulate(self._counts))
        return [
            *(Sample(count, (*labels, ("le", bound)), "_bucket") for bound, count in zip(bounds, reached, strict=True)),
            Sample(reached[-1], labels, "_count"),
            Sample(self._seconds, labels, "_sum"),
        ]


def _of(histograms: dict[str, _Histogram], route: str) -> _Histogram:
    """The route's own."""
    found = histograms.get(route)
    if found is None:
        found = histograms[route] = _Histogram()
    return found


# --- accounts ---------------------------------------------------------------------------------------------------------

_PLACES: Final = re.compile("primary|account-[1-9][0-9]{0,3}")


def _place(name: str) -> str:
    """The name, which says nothing but a place in the list; should there ever be another kind, nothing at all."""
    return name if _PLACES.fullmatch(name) else "other"


def _states(accounts: Sequence[AccountSnapshot]) -> dict[str, int]:
    """How many accounts are in each state, those included that none is in."""
    counts = {"healthy": 0, "cooling": 0, "unusable": 0}
    for account in accounts:
        cooling = account.cooldown_remaining_seconds is not None
        counts["healthy" if account.healthy else "cooling" if cooling else "unusable"] += 1
    return counts


def _cooldowns(accounts: Sequence[AccountSnapshot]) -> dict[str, int]:
    """Whole seconds by place."""
    seconds: dict[str, int] = {}
    for account in accounts:
        place = _place(account.name)
        seconds[place] = max(seconds.get(place, 0), account.cooldown_remaining_seconds or 0)
    return seconds


# --- families ---------------------------------------------------------------------------------------------------------


def _samples(label: str, values: Iterable[tuple[object, int]]) -> list[Sample]:
    return [Sample(value, ((label, str(name)),)) for name, value in values]


def _counter(key: str, about: str, samples: list[Sample], *labels: str) -> Family:
    return Family(PREFIX + key.removesuffix("_total"), Kind.COUNTER, about, samples, labels)


def _gauge(name: str, about: str, samples: list[Sample], *labels: str) -> Family:
    return Family(PREFIX + name, Kind.GAUGE, about, samples, labels)


def _histogram(name: str, about: str, histograms: Mapping[str, _Histogram]) -> Family:
    samples = [sample for route in sorted(histograms) for sample in histograms[route].samples((("route", route),))]
    return Family(PREFIX + name, Kind.HISTOGRAM, about, samples, ("route",))
