"""Whatever happens to its accounts, the pool keeps its promises.

What is true is read from the pool's snapshot, which is made from each account's own state and not from the order that
choices are made by; requests are counted here.
"""

from collections import Counter
from collections.abc import Set as AbstractSet

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from protocol.config import Strategy
from protocol.identity.affinity import AffinityMap
from protocol.identity.cooldowns import Cause
from protocol.identity.limits import LONGEST_WINDOW_SECONDS
from protocol.identity.pool import NOBODY, PROBE_SECONDS, AccountPool, Unavailable
from protocol.identity.standing import AccountSnapshot
from protocol.values import Headers, Tokens

WALL = 1_795_000_000.0
NAMES = ["a", "b", "c", "d", "e"]
MODELS = ["opus", "haiku"]
UNIFIED = b"anthropic-ratelimit-unified-"
GUESSES = {cause.value for cause in Cause if not cause.firm}
CAPACITY = 4

ACCOUNTS = st.sampled_from(NAMES)
STATUSES = st.sampled_from([200, 200, 400, 401, 413, 429, 429, 500, 529])
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 3.0, 10.0, 31.0, 300.0, 5 * 3600.0, 7 * 24 * 3600.0])
MOMENTS = st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0, 31.0, 5 * 3600.0])
SHARES = st.sampled_from([b"0", b"0.5", b"0.99", b"1.01"])
REQUEST_LIMITS = st.dictionaries(ACCOUNTS, st.integers(0, 8), max_size=1)
NO_LIMITS: dict[str, int] = {}
CONCURRENCY_LIMITS = st.just(NO_LIMITS) | st.dictionaries(st.sampled_from([*NAMES, "*"]), st.integers(1, 3), max_size=2)
CONVERSATIONS = st.none() | st.sampled_from([b"%d" % number for number in range(CAPACITY + 2)])
MOSTLY = st.sampled_from([True, True, True, False])
Request = tuple[str, str, float]
"""An account's name, a model, and when it was sent."""


class PoolMachine(RuleBasedStateMachine):
    """Requests that come and end in any order, over accounts that come, go, fail and recover."""

    in_flight = Bundle("in_flight")

    @initialize(
        strategy=st.sampled_from(Strategy),
        requests=REQUEST_LIMITS,
        concurrency=CONCURRENCY_LIMITS,
        entropy=st.binary(min_size=2, max_size=2),
    )
    def open(self, strategy: Strategy, requests: dict[str, int], concurrency: dict[str, int], entropy: bytes) -> None:
        self.now = 0.0
        self.listed = NAMES
        self.requests, self.concurrency = requests, concurrency
        self.pool = AccountPool(
            self.listed,
            strategy=strategy,
            request_limits=requests,
            concurrency_limits=concurrency,
            entropy=lambda _: entropy,
        )
        self.affinity = AffinityMap(ttl=60, capacity=CAPACITY)
        self.sent: Counter[str] = Counter()
        self.asked_at: dict[str, float] = {}
        self.open_requests: Counter[str] = Counter()
        self.without_credential: set[str] = set()

    # --- requests

    @rule(
        target=in_flight,
        model=st.sampled_from(MODELS),
        pin=st.sampled_from([None, None, None, *NAMES]),
        conversation=CONVERSATIONS,
        tried=st.just(NOBODY) | st.sets(ACCOUNTS, max_size=2),
    )
    def send(self, model: str, pin: str | None, conversation: bytes | None, tried: AbstractSet[str]) -> Request | None:
        return self.ask(model, pin, conversation, tried)

    @rule(
        model=st.sampled_from(MODELS),
        conversation=CONVERSATIONS,
        window=st.sampled_from([b"5h", b"7d_oi"]),
        reset=SECONDS,
        retry_after=st.none() | SECONDS,
    )
    def send_and_be_limited(
        self, model: str, conversation: bytes | None, window: bytes, reset: float, retry_after: float | None
    ) -> None:
        request = self.ask(model, None, conversation, NOBODY)
        if request is not None:
            limits = self.limits(window, b"rejected", b"1", reset, retry_after)
            self.take_answer(request, 429, limits, counts=True)

    def ask(self, model: str, pin: str | None, conversation: bytes | None, tried: AbstractSet[str]) -> Request | None:
        preferred = None if conversation is None else self.affinity.account(conversation, self.now)
        choice = self.pool.choose(self.now, model=model, pin=pin, preferred=preferred, tried=tried)
        candidates = self.candidates(model, pin, tried)
        healthy = [name for name, account in candidates.items() if not self.benched(account, model)]
        if isinstance(choice, Unavailable):
            assert not healthy
            assert choice.retry_at is None or choice.retry_at > self.now
            return None
        assert choice in candidates
        if healthy:
            assert choice in healthy
        else:
            probed = self.asked_at.get(choice, -1e9) + PROBE_SECONDS <= self.now
            assert probed or self.benched(candidates[choice], model) <= GUESSES
        if preferred in healthy and pin is None:
            assert choice == preferred
        if conversation is not None:
            self.affinity.remember(conversation, choice, self.now)
        self.pool.began(choice, self.now)
        self.asked_at[choice] = self.now
        self.sent[choice] += 1
        self.open_requests[choice] += 1
        return choice, model, self.now

    @rule(
        request=consumes(in_flight),
        status=STATUSES,
        share=SHARES,
        reset=SECONDS,
        retry_after=st.none() | SECONDS,
        counts=MOSTLY,
        tokens=st.integers(0, 10**6),
    )
    def answer(
        self, request: Request | None, status: int, share: bytes, reset: float, retry_after: float | None,
        counts: bool, tokens: int,
    ) -> None:  # fmt: skip
        if request is not None:
            name, _, _ = request
            health = self.health(name)
            self.pool.spent(name, Tokens(output=tokens), self.now)
            limits = self.limits(b"7d", b"allowed", share, reset, retry_after)
            self.take_answer(request, status, limits, counts=counts)
            if not counts or (400 <= status < 500 and status != 429):
                assert self.health(name) == health

    @rule(request=consumes(in_flight), refused=st.booleans())
    def fail(self, request: Request | None, refused: bool) -> None:
        if request is None:
            return
        name, _, asked_at = request
        if refused:
            self.pool.unauthorized(name, self.now)
        else:
            self.pool.failed(name, "connection refused", asked_at=asked_at, now=self.now)
        self.end(name)

    # --- the world

    @rule(seconds=MOMENTS)
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def report_recoveries(self) -> None:
        assert all(not change.out for change in self.pool.recoveries(self.now))
        assert self.pool.recoveries(self.now) == []

    @precondition(lambda self: not self.without_credential)
    @rule(added=st.sets(ACCOUNTS, min_size=2), dropped=ACCOUNTS)
    def change_accounts(self, added: set[str], dropped: str) -> None:
        names = [name for name in NAMES if name in {*self.listed, *added} - {dropped}]
        for name in {*self.listed} - {*names}:
            self.affinity.forget(name)
            if self.open_requests[name] == 0:
                self.gone(name)
        self.listed = names
        self.pool.set_accounts(names, self.now)

    @precondition(lambda self: not self.without_credential)
    @rule(name=ACCOUNTS)
    def lose_credential(self, name: str) -> None:
        if name in self.listed:
            self.pool.credential_changed(name, self.now, usable=False)
            self.without_credential.add(name)

    @precondition(lambda self: self.without_credential)
    @rule(name=ACCOUNTS)
    def find_credential(self, name: str) -> None:
        if name in self.without_credential:
            self.pool.credential_changed(name, self.now)
            self.without_credential.discard(name)

    # --- promises

    @invariant()
    def the_limits_hold(self) -> None:
        for name in NAMES:
            most = self.limit(self.requests, name)
            assert most is None or self.sent[name] <= most
            most = self.limit(self.concurrency, name)
            assert most is None or self.open_requests[name] <= most

    @invariant()
    def the_counters_add_up(self) -> None:
        for account in self.pool.snapshot(self.now):
            assert (account.used, account.in_flight) == (self.sent[account.name], self.open_requests[account.name])

    @invariant()
    def affinity_is_bounded(self) -> None:
        assert len(self.affinity) <= CAPACITY

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        for name in self.without_credential & {*self.listed}:
            self.pool.credential_changed(name, self.now)
        self.without_credential.clear()
        self.now += LONGEST_WINDOW_SECONDS + 1
        for model in MODELS:
            for name in self.candidates(model, None, set()):
                assert self.pool.choose(self.now, model=model, pin=name) == name
        assert all(account.healthy for account in self.pool.snapshot(self.now))

    # --- what is said

    def limits(self, window: bytes, status: bytes, share: bytes, reset: float, retry_after: float | None) -> Headers:
        headers: Headers = [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]
        return [
            *headers,
            (UNIFIED + window + b"-status", status),
            (UNIFIED + window + b"-utilization", share),
            (UNIFIED + window + b"-reset", b"%d" % (WALL + self.now + reset)),
        ]

    def take_answer(self, request: Request, status: int, headers: Headers, *, counts: bool) -> None:
        name, model, asked_at = request
        self.pool.answered(
            name, status=status, headers=headers, model=model, counts=counts, asked_at=asked_at, now=self.now,
            wall=WALL + self.now,
        )  # fmt: skip
        self.end(name)

    # --- what is true

    def candidates(self, model: str, pin: str | None, tried: AbstractSet[str]) -> dict[str, AccountSnapshot]:
        """The accounts that may be sent this request, healthy or not."""
        return {
            account.name: account
            for account in self.pool.snapshot(self.now)
            if account.name not in tried | self.without_credential
            and pin in (None, account.name)
            and self.has_room(self.requests, self.sent, account.name)
            and self.has_room(self.concurrency, self.open_requests, account.name)
        }

    def benched(self, account: AccountSnapshot, model: str) -> set[str]:
        """Why it is out for this model."""
        return {cooldown.cause for cooldown in account.cooldowns if cooldown.model in (None, model)}

    def health(self, name: str) -> list[object]:
        return [
            (account.healthy, account.last_error, account.cooldowns)
            for account in self.pool.snapshot(self.now)
            if account.name == name
        ]

    def has_room(self, limits: dict[str, int], counts: Counter[str], name: str) -> bool:
        most = self.limit(limits, name)
        return most is None or counts[name] < most

    def limit(self, limits: dict[str, int], name: str) -> int | None:
        return limits.get(name, limits.get("*"))

    def end(self, name: str) -> None:
        self.pool.ended(name, self.now)
        self.open_requests[name] -= 1
        if self.open_requests[name] == 0 and name not in self.listed:
            self.gone(name)

    def gone(self, name: str) -> None:
        """The pool has forgotten it; should it come back, it is new."""
        self.sent[name] = 0
        self.without_credential.discard(name)


TestPool = PoolMachine.TestCase
# Most of what can go wrong takes a failure, a choice and some time, in this order.
TestPool.settings = settings(stateful_step_count=80)
