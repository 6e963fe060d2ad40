from collections import Counter

import msgspec
import pytest

from protocol.config import Strategy
from protocol.errors import LocalError
from protocol.identity.cooldowns import Cause
from protocol.identity.pool import AccountPool, Change, Choice, Unavailable
from protocol.identity.standing import AccountSnapshot
from protocol.values import Headers, Tokens

WALL = 1_795_000_000.0
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
HOUR = 3600.0


def pool_of(
    *names: str, strategy: Strategy = Strategy.PRIORITY, requests: dict[str, int] | None = None,
    in_flight: dict[str, int] | None = None,
) -> AccountPool:  # fmt: skip
    """Back-offs of this pool have no jitter: the byte stands for its middle."""
    return AccountPool(
        names,
        strategy=strategy,
        request_limits=requests,
        concurrency_limits=in_flight,
        entropy=lambda size: b"\x80" + bytes(size - 1),
    )


def unified(**fields: str) -> Headers:
    return [(f"anthropic-ratelimit-unified-{name}".encode(), value.encode()) for name, value in fields.items()]


def rejected(window: str, seconds: float) -> Headers:
    return unified(**{f"{window}-status": "rejected", f"{window}-reset": str(WALL + seconds)})


def answers(
    pool: AccountPool, name: str, status: int, headers: Headers | None = None, *, at: float = 0.0,
    asked_at: float | None = None, model: str | None = OPUS, counts: bool = True,
) -> list[Change]:  # fmt: skip
    """The monotonic clock of these tests is 0 at ``WALL``."""
    return pool.answered(
        name, status=status, headers=headers or [], model=model, counts=counts, now=at, wall=WALL + at,
        asked_at=at if asked_at is None else asked_at,
    )  # fmt: skip


def take(pool: AccountPool, at: float = 0.0) -> Choice:
    """Choose and send."""
    choice = pool.choose(at, model=OPUS)
    if isinstance(choice, str):
        pool.began(choice, at)
    return choice


def finish(pool: AccountPool, name: str, tokens: int, at: float = 0.0) -> None:
    pool.spent(name, Tokens(input=tokens), at)
    pool.ended(name, at)


def shown(pool: AccountPool, name: str, at: float = 0.0) -> AccountSnapshot:
    return next(account for account in pool.snapshot(at) if account.name == name)


def out_until(pool: AccountPool, name: str) -> float:
    """When the account is free again, as the snapshot at 0 tells it."""
    return shown(pool, name).cooldown_remaining_seconds or 0


# --- strategies


def test_round_robin_gives_everybody_a_turn_in_order() -> None:
    pool = pool_of("a", "b", "c", strategy=Strategy.ROUND_ROBIN)
    assert [take(pool) for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_round_robin_does_not_make_a_recovered_account_catch_up() -> None:
    pool = pool_of("a", "b", "c", strategy=Strategy.ROUND_ROBIN)
    answers(pool, "b", 429, [(b"retry-after", b"10")])
    assert [take(pool) for _ in range(4)] == ["a", "c", "a", "c"]
    assert [take(pool, at=10) for _ in range(4)] == ["b", "a", "c", "b"]


def test_priority_uses_the_first_that_can_answer() -> None:
    pool = pool_of("a", "b", "c")
    assert [take(pool), take(pool)] == ["a", "a"]
    answers(pool, "a", 429, [(b"retry-after", b"10")])
    assert [take(pool), take(pool, at=10)] == ["b", "a"]


def test_least_used_counts_tokens_and_not_calls() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    for _ in range(10):
        pool.began("b", 0)
        finish(pool, "b", tokens=5)
    pool.began("a", 0)
    finish(pool, "a", tokens=10_000)
    assert take(pool) == "b"


def test_least_used_weighs_output_over_cached_input() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    pool.spent("a", Tokens(input=10, output=100), 0)
    pool.spent("b", Tokens(input=10, cache_read=1000), 0)
    assert take(pool) == "b"


def test_least_used_believes_the_provider_s_utilization_until_its_reset() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    answers(pool, "a", 200, unified(**{"5h-utilization": "0.8", "5h-reset": str(WALL + HOUR)}))
    answers(pool, "b", 200, unified(**{"5h-utilization": "0.3", "5h-reset": str(WALL + 2 * HOUR)}))
    pool.spent("b", Tokens(input=10**6), 0)
    assert pool.choose(1) == "b"
    assert pool.choose(HOUR) == "a"


def test_least_used_takes_an_api_key_s_quota_for_its_utilization() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    quota = [(b"anthropic-ratelimit-tokens-limit", b"100"), (b"anthropic-ratelimit-tokens-remaining", b"20")]
    answers(pool, "a", 200, quota)
    assert pool.choose(0) == "b"


def test_least_used_spreads_requests_that_come_together() -> None:
    pool = pool_of("a", "b", "c", "d", strategy=Strategy.LEAST_USED)
    assert Counter(take(pool) for _ in range(40)) == {"a": 10, "b": 10, "c": 10, "d": 10}


def test_tokens_spent_long_ago_count_less_than_those_of_late() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    pool.spent("a", Tokens(input=10_000), 0)
    pool.spent("b", Tokens(input=5_000), 10 * HOUR)
    assert pool.choose(10 * HOUR) == "a"


def test_an_answer_that_cost_nothing_changes_no_order() -> None:
    pool = pool_of("a", "b", strategy=Strategy.LEAST_USED)
    pool.spent("a", Tokens(), 0)
    assert pool.choose(0) == "a"


# --- who is asked


def test_affinity_is_followed_while_the_account_is_free() -> None:
    pool = pool_of("a", "b", in_flight={"b": 1})
    assert pool.choose(0, preferred="b") == "b"
    assert pool.choose(0, preferred="b", tried={"b"}) == "a"
    assert pool.choose(0, preferred="gone") == "a"
    pool.began("b", 0)
    assert pool.choose(0, preferred="b") == "a"
    pool.ended("b", 0)
    answers(pool, "b", 529)
    assert pool.choose(0, preferred="b") == "a"


def test_a_pin_is_strict() -> None:
    pool = pool_of("a", "b")
    assert pool.choose(0, pin="b", preferred="a") == "b"
    answers(pool, "b", 429, [(b"retry-after", b"10")])
    assert pool.choose(0, pin="b") == Unavailable(Cause.RETRY_AFTER, 10.0)
    assert pool.choose(10, pin="b") == "b"
    assert pool.choose(10, pin="nobody") == Unavailable(Cause.UNKNOWN_ACCOUNT)


def test_an_account_that_was_tried_is_not_tried_again() -> None:
    pool = pool_of("a", "b")
    assert pool.choose(0, tried={"a"}) == "b"
    left = pool.choose(0, tried={"a", "b"})
    assert isinstance(left, Unavailable)
    assert left.cause is Cause.TRIED


def test_the_request_limit_is_never_exceeded() -> None:
    pool = pool_of("a", "b", requests={"a": 2, "*": 3})
    assert [take(pool) for _ in range(5)] == ["a", "a", "b", "b", "b"]
    assert take(pool) == Unavailable(Cause.REQUEST_LIMIT)
    assert (shown(pool, "a").request_limit, shown(pool, "a").remaining_requests) == (2, 0)


def test_the_concurrency_limit_is_never_exceeded() -> None:
    pool = pool_of("a", "b", in_flight={"*": 1})
    assert [take(pool), take(pool)] == ["a", "b"]
    busy = take(pool, at=5)
    assert isinstance(busy, Unavailable)
    assert (busy.cause, busy.status, busy.retry_at) == (Cause.CONCURRENCY, 529, 6.0)
    pool.ended("b", 5)
    assert take(pool, at=5) == "b"


def test_an_account_without_a_credential_is_passed_over() -> None:
    pool = pool_of("a", "b")
    (change,) = pool.credential_changed("a", 0, usable=False)
    assert str(change) == "account a is out: no usable credential"
    assert (pool.choose(0), pool.without_credential(0), shown(pool, "a").healthy) == ("b", ["a"], False)
    pool.credential_changed("b", 0, usable=False)
    assert pool.choose(0) == Unavailable(Cause.NO_CREDENTIAL)
    assert [change.out for change in pool.credential_changed("a", 1)] == [False]
    assert pool.choose(1) == "a"


# --- rate limits


def test_a_rejected_window_benches_until_its_reset() -> None:
    pool = pool_of("a", "b")
    (change,) = answers(pool, "a", 429, [*rejected("5h", 2 * HOUR), (b"retry-after", b"3")])
    assert str(change) == "account a is out for 7200 s: usage window used up (5h)"
    assert pool.choose(2 * HOUR - 1) == "b"
    assert pool.choose(2 * HOUR) == "a"


def test_of_two_rejected_windows_the_later_reset_counts() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("5h", HOUR) + rejected("7d", 50 * HOUR))
    pool.began("a", HOUR)
    left = pool.choose(HOUR)
    assert isinstance(left, Unavailable)
    assert (left.cause, left.retry_at) == (Cause.WINDOW, 50 * HOUR)


def test_while_nobody_can_answer_an_account_is_asked_once_a_minute_all_the_same() -> None:
    """The operator may have bought more, or the provider may have been generous: a limit can end before its time."""
    pool = pool_of("a", "b")
    for name in ("a", "b"):
        answers(pool, name, 429, rejected("7d", 50 * HOUR))
    assert isinstance(pool.choose(59), Unavailable)
    assert pool.choose(60) == "a"
    pool.began("a", 60)
    assert pool.choose(61) == "b"
    pool.began("b", 61)
    assert isinstance(pool.choose(119), Unavailable)
    assert pool.choose(120) == "a"


def test_a_window_of_one_model_benches_that_model_only() -> None:
    pool = pool_of("a", "b")
    (change,) = answers(pool, "a", 429, rejected("7d_oi", 50 * HOUR), model=OPUS)
    assert str(change) == f"account a for {OPUS} is out for 180000 s: usage window used up (7d_oi)"
    assert (pool.choose(1, model=OPUS), pool.choose(1, model=HAIKU)) == ("b", "a")
    assert shown(pool, "a").healthy
    assert pool.choose(50 * HOUR, model=OPUS) == "a"


def test_a_window_of_one_model_without_a_model_benches_briefly() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("7d_oi", 50 * HOUR), model=None)
    assert out_until(pool, "a") == 2


def test_an_api_key_s_spent_quota_benches_the_model() -> None:
    pool = pool_of("a", "b")
    answers(pool, "a", 429, [(b"anthropic-ratelimit-tokens-remaining", b"0"), (b"retry-after", b"20")], model=OPUS)
    assert (pool.choose(1, model=OPUS), pool.choose(1, model=HAIKU)) == ("b", "a")


@pytest.mark.parametrize(("value", "seconds"), [(b"17", 17), (b"Wed, 18 Nov 2026 11:10:20 GMT", 220)])
def test_without_a_window_retry_after_counts(value: bytes, seconds: int) -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, [(b"retry-after", value)])
    assert pool.choose(0) == Unavailable(Cause.RETRY_AFTER, float(seconds))


def test_no_bench_is_longer_than_the_longest_window() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("7d", 1000 * HOUR))
    assert out_until(pool, "a") == 169 * HOUR


def test_a_reset_that_is_over_says_nothing() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("5h", -5))
    assert out_until(pool, "a") == 2


def test_a_bare_429_backs_off_for_seconds_that_grow_to_half_a_minute() -> None:
    pool = pool_of("a")
    lengths, now = [], 0.0
    for _ in range(7):
        (change,) = answers(pool, "a", 429, at=now)
        assert change.seconds is not None
        lengths.append(round(change.seconds, 1))
        now += change.seconds + 1
        pool.recoveries(now)
    assert lengths == [2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(("byte", "seconds"), [(b"\x00", 1.5), (b"\xff", 2.5)])
def test_jitter_is_a_quarter_at_most(byte: bytes, seconds: float) -> None:
    pool = AccountPool(["a"], entropy=lambda size: byte * size)
    (change,) = answers(pool, "a", 429)
    assert change.seconds == pytest.approx(seconds, abs=0.01)


def test_refusals_of_requests_sent_together_grow_the_back_off_once() -> None:
    pool = pool_of("a")
    for at in (1.0, 1.1, 1.2, 1.3):
        answers(pool, "a", 429, at=at, asked_at=0.5)
    assert shown(pool, "a", at=1.3).cooldown_remaining_seconds == 2


def test_a_bench_is_never_shortened_by_a_later_shorter_one() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("5h", HOUR))
    assert answers(pool, "a", 429, rejected("5h", 10)) == []
    assert answers(pool, "a", 429, [(b"retry-after", b"1")])
    assert out_until(pool, "a") == HOUR


# --- other failures


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_an_overload_benches_for_seconds_whatever_the_reset_says(status: int) -> None:
    pool = pool_of("a", "b")
    headers = [*rejected("5h", HOUR), *unified(status="rejected", reset=str(WALL + HOUR)), (b"retry-after", b"3600")]
    answers(pool, "a", status, headers)
    assert 0 < out_until(pool, "a") <= 10
    assert pool.choose(1) == "b"
    assert pool.choose(10) == "a"


def test_an_unreachable_upstream_benches_for_a_moment() -> None:
    pool = pool_of("a", "b")
    (change,) = pool.failed("a", "connection refused", asked_at=0, now=0)
    assert str(change) == "account a is out for 1 s: upstream unreachable"
    assert (pool.choose(0), shown(pool, "a").last_error) == ("b", "connection refused")
    assert pool.choose(1) == "a"


def test_a_guess_does_not_keep_the_only_account_from_being_asked() -> None:
    pool = pool_of("a", "b")
    answers(pool, "a", 529)
    answers(pool, "b", 429, [(b"retry-after", b"60")])
    assert pool.choose(0) == "a"
    assert pool.choose(0, pin="a") == "a"
    left = pool.choose(0, tried={"a"})
    assert isinstance(left, Unavailable)
    assert (left.cause, left.status, left.retry_at) == (Cause.OVERLOADED, 529, 1.0)


@pytest.mark.parametrize("status", [400, 404, 413, 422, 403, 401])
def test_a_faulty_request_says_nothing_about_the_account(status: int) -> None:
    pool = pool_of("a")
    before = pool.snapshot(0)
    assert answers(pool, "a", status, [(b"retry-after", b"60")]) == []
    assert pool.snapshot(0) == before


@pytest.mark.parametrize("status", [200, 400, 429, 500, 529])
def test_a_token_count_says_nothing_about_the_account(status: int) -> None:
    pool = pool_of("a")
    before = pool.snapshot(0)
    assert answers(pool, "a", status, rejected("5h", HOUR), counts=False) == []
    assert pool.snapshot(0) == before


def test_a_refused_credential_is_avoided_until_it_changes_or_a_minute_passes() -> None:
    pool = pool_of("a", "b", strategy=Strategy.PRIORITY)
    pool.unauthorized("a", 0)
    assert pool.choose(59) == "b"
    assert pool.choose(59, tried={"b"}) == "a", "the provider's own word is better than none"
    assert pool.without_credential(59) == ["a"]
    assert pool.choose(60) == "a"
    pool.unauthorized("a", 61)
    (change,) = pool.credential_changed("a", 62)
    assert str(change) == "account a is back, it was out: credential refused"
    assert pool.choose(62) == "a"


def test_a_limit_is_told_even_if_the_credential_was_refused_too() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("5h", 30))
    pool.unauthorized("a", 0)
    left = pool.choose(1)
    assert isinstance(left, Unavailable)
    assert (left.status, left.cause, left.retry_at) == (429, Cause.WINDOW, 30.0)


def test_what_is_no_inference_is_not_kept_from_a_limited_account() -> None:
    pool = pool_of("a", "b", strategy=Strategy.PRIORITY)
    answers(pool, "a", 429, rejected("5h", 30))
    assert pool.choose(1, inference=False) == "b"
    answers(pool, "b", 429, rejected("5h", 30))
    assert pool.choose(1, inference=False) == "a"
    assert isinstance(pool.choose(1), Unavailable)


def test_another_credential_starts_afresh() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("7d", 50 * HOUR))
    pool.credential_changed("a", 1)
    assert pool.choose(1) == "a"
    assert shown(pool, "a", at=1).last_error is None


# --- recovery


def test_a_success_clears_back_off_and_error() -> None:
    pool = pool_of("a")
    answers(pool, "a", 529)
    answers(pool, "a", 529, at=1)
    assert shown(pool, "a", at=1).last_error == "upstream returned 529"
    (change,) = answers(pool, "a", 200, at=2)
    assert str(change) == "account a is back, it was out: upstream overloaded or failing"
    assert (shown(pool, "a", at=2).last_error, shown(pool, "a", at=2).healthy) == (None, True)
    (change,) = answers(pool, "a", 529, at=3)
    assert change.seconds == pytest.approx(1.0)


def test_a_success_of_a_request_sent_before_the_failure_clears_nothing() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("5h", HOUR), at=5)
    assert answers(pool, "a", 200, at=6, asked_at=4) == []
    assert shown(pool, "a", at=6).last_error == "upstream returned 429"
    assert isinstance(pool.choose(6), Unavailable)


def test_a_success_with_one_model_does_not_free_another() -> None:
    pool = pool_of("a", "b")
    answers(pool, "a", 429, rejected("7d_oi", HOUR), model=OPUS)
    assert answers(pool, "a", 200, at=1, model=HAIKU) == []
    assert pool.choose(1, model=OPUS) == "b"


def test_each_recovery_is_reported_once() -> None:
    pool = pool_of("a", "b")
    answers(pool, "a", 429, [(b"retry-after", b"10")])
    answers(pool, "a", 429, rejected("5h", 20))
    assert pool.recoveries(9) == pool.recoveries(11) == []
    assert [str(change) for change in pool.recoveries(20)] == [
        "account a is back, it was out: usage window used up (5h)"
    ]
    assert pool.recoveries(21) == []


# --- when nobody is left


def test_the_soonest_real_retry_after_is_told_with_the_provider_s_error_type() -> None:
    pool = pool_of("a", "b", "c")
    answers(pool, "a", 429, rejected("7d", 50 * HOUR))
    answers(pool, "b", 429, rejected("5h", HOUR))
    pool.credential_changed("c", 0, usable=False)
    left = pool.choose(0.5)
    assert isinstance(left, Unavailable)
    refusal = left.refusal(0.5)
    assert (refusal.status, refusal.kind) == (429, "rate_limit_error")
    prefix = b"anthropic-ratelimit-unified-"
    assert refusal.headers == [
        (b"retry-after", b"3600"),
        (prefix + b"status", b"rejected"),
        (prefix + b"reset", b"1795003600"),
        (prefix + b"5h-status", b"rejected"),
        (prefix + b"5h-reset", b"1795003600"),
        (prefix + b"representative-claim", b"five_hour"),
    ]


def test_a_window_of_one_model_is_told_without_a_claim() -> None:
    pool = pool_of("a")
    answers(pool, "a", 429, rejected("7d_oi", HOUR))
    left = pool.choose(0, model=OPUS)
    assert isinstance(left, Unavailable)
    assert [name for name, _ in left.refusal(0).headers] == [
        b"retry-after", b"anthropic-ratelimit-unified-status", b"anthropic-ratelimit-unified-reset",
    ]  # fmt: skip


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_an_answer_for_the_client(cause: Cause) -> None:
    refusal = Unavailable(cause).refusal(0)
    assert refusal.status in (429, 502, 503, 529)
    assert refusal.headers == []


def test_a_pool_of_no_accounts_has_no_credential() -> None:
    assert pool_of().choose(0) == Unavailable(Cause.NO_CREDENTIAL)


# --- accounts that come and go


def test_accounts_that_stay_keep_their_standing() -> None:
    pool = pool_of("a", "b")
    answers(pool, "b", 429, [(b"retry-after", b"60")])
    pool.set_accounts(["b", "c"], 0)
    assert (pool.choose(0), "a" in pool, "c" in pool) == ("c", False, True)
    assert [account.healthy for account in pool.snapshot(0)] == [False, True]
    assert pool.choose(60) == "b"


def test_a_dropped_account_is_not_chosen_and_may_still_end_its_requests() -> None:
    pool = pool_of("a", "b", in_flight={"a": 1})
    pool.began("a", 0)
    pool.set_accounts(["b"], 0)
    pool.set_accounts(["b"], 0)
    answers(pool, "a", 529)
    pool.spent("a", Tokens(input=1), 0)
    assert pool.choose(0) == "b"
    assert pool.choose(0, pin="a") == Unavailable(Cause.UNKNOWN_ACCOUNT)
    pool.set_accounts(["a", "b"], 0)
    assert shown(pool, "a").in_flight == 1
    pool.set_accounts(["b"], 0)
    pool.ended("a", 0)
    assert answers(pool, "a", 529) == pool.failed("a", "lost", asked_at=0, now=0) == pool.unauthorized("a", 0) == []
    assert pool.credential_changed("a", 0) == []
    pool.spent("a", Tokens(input=1), 0)


def test_our_own_mistakes_are_told() -> None:
    pool = pool_of("a")
    with pytest.raises(LocalError):
        pool.ended("a", 0)
    with pytest.raises(LocalError):
        pool.set_accounts(["a", "a"], 0)


def test_models_that_cool_down_do_not_pile_up() -> None:
    pool = pool_of("a")
    for number in range(100):
        answers(pool, "a", 429, rejected("7d_oi", HOUR + number), model=f"model-{number}")
    assert len(shown(pool, "a").cooldowns) == 32
    assert isinstance(pool.choose(0, model="model-99"), Unavailable)


# --- the operator's view


def test_the_snapshot_has_the_documented_fields_and_more() -> None:
    pool = pool_of("a", requests={"a": 10})
    pool.began("a", 0)
    pool.spent("a", Tokens(input=5, output=7, cache_read=11), 0)
    answers(pool, "a", 200, unified(**{"5h-status": "allowed", "5h-utilization": "0.5", "5h-reset": str(WALL + 60)}))
    answers(pool, "a", 429, [(b"retry-after", b"10"), (b"anthropic-ratelimit-tokens-limit", b"100")], at=0.5)
    pool.ended("a", 0.5)
    assert msgspec.to_builtins(pool.snapshot(1)) == [
        {
            "name": "a",
            "healthy": False,
            "used": 1,
            "last_error": "upstream returned 429",
            "cooldown_remaining_seconds": 10,
            "cooldown_cause": "rate limited with retry-after",
            "cooldowns": [
                {"cause": "rate limited with retry-after", "remaining_seconds": 10, "model": None, "window": None}
            ],
            "windows": [{"name": "5h", "status": "allowed", "utilization": 0.5, "resets_at": WALL + 60}],
            "quotas": [{"name": "tokens", "limit": 100.0, "remaining": None, "resets_at": None}],
            "tokens": {"input": 5, "output": 7, "cache_creation": 0, "cache_read": 11},
            "in_flight": 0,
            "concurrency_limit": None,
            "request_limit": 10,
            "remaining_requests": 9,
        }
    ]
    assert (shown(pool, "a", at=11).healthy, shown(pool, "a", at=11).cooldown_remaining_seconds) == (True, None)
