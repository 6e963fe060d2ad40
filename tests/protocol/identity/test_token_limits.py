import pytest

from protocol.errors import LocalError, Refusal
from protocol.identity.attachments import Attachments
from protocol.identity.token_limits import Reservation, TokenLimits, at_least, estimate, require_model
from protocol.identity.token_record import TokenRecord
from protocol.identity.token_usage import UsageBook
from protocol.values import Tokens

WALL = 1_700_000_000.0
FOR_GOOD = [(b"x-should-retry", b"false")]


class Router:
    """One router's limits under a clock that moves when told."""

    def __init__(self) -> None:
        self.usage = UsageBook()
        self.limits = TokenLimits(self.usage)
        self.now = 0.0

    def reserve(self, record: TokenRecord, tokens: Tokens | None = None) -> Reservation:
        return self.limits.reserve(record, tokens, now=self.now)

    def refuses(self, record: TokenRecord, tokens: Tokens | None = None) -> Refusal:
        with pytest.raises(Refusal) as refused:
            self.reserve(record, tokens)
        assert (refused.value.status, refused.value.kind) == (429, "rate_limit_error")
        return refused.value

    def settle(self, reservation: Reservation, used: Tokens | None = None) -> None:
        reservation.settle(used, now=self.now, wall=WALL)


@pytest.fixture
def router() -> Router:
    return Router()


def test_a_token_without_limits_is_counted(router: Router) -> None:
    record = TokenRecord("a")
    reservation = router.reserve(record)
    assert router.limits.in_flight("a") == 1
    router.settle(reservation, Tokens(input=3))
    assert router.limits.in_flight("a") == 0
    assert (router.usage.of("a").requests, router.usage.of("a").tokens) == (1, 3)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_of_200_requests_at_once_exactly_as_many_as_allowed_get_in(router: Router) -> None:
    record = TokenRecord("a", max_requests=137)
    reserved, refused = [], 0
    for _ in range(200):
        try:
            reserved.append(router.reserve(record))
        except Refusal:
            refused += 1
    assert (len(reserved), refused) == (137, 63)
    for reservation in reserved[:37]:
        reservation.release()
    reserved[:37] = [router.reserve(record) for _ in range(37)]
    router.refuses(record)
    for reservation in reserved:
        router.settle(reservation, Tokens())
    assert router.usage.of("a").requests == 137
    assert router.limits.in_flight("a") == 0
    router.refuses(record)


def test_when_no_request_is_left_retrying_is_pointless(router: Router) -> None:
    record = TokenRecord("a", max_requests=1)
    reservation = router.reserve(record)
    refusal = router.refuses(record)
    assert (refusal.message, refusal.headers) == ("Token has reached its request limit", [])
    router.settle(reservation)
    refusal = router.refuses(record)
    assert (refusal.message, refusal.headers) == ("Token has reached its request limit", FOR_GOOD)


def test_a_request_that_was_never_sent_on_is_given_back(router: Router) -> None:
    record = TokenRecord("a", max_requests=1)
    router.reserve(record).release()
    assert router.usage.of("a").requests == 0
    router.reserve(record)


def test_no_token_is_limited_by_another(router: Router) -> None:
    router.reserve(TokenRecord("a", max_requests=1))
    router.reserve(TokenRecord("b", max_requests=1))
    router.refuses(TokenRecord("a", max_requests=1))


def test_a_restart_changes_nothing_for_what_was_saved(router: Router) -> None:
    record = TokenRecord("a", max_requests=2, token_budget=100)
    router.settle(router.reserve(record), Tokens(input=60))
    content = router.usage.saving(known=(), wall=WALL)([("/data/token_usage.json", b"")])
    again = Router()
    again.usage.loaded(list(content.items()))
    assert again.refuses(record, Tokens(input=41)).headers == FOR_GOOD
    again.settle(again.reserve(record, Tokens(input=40)), Tokens())
    again.refuses(record)


@pytest.mark.parametrize("end", ["settle", "release"])
def test_a_reservation_ends_once(router: Router, end: str) -> None:
    reservation = router.reserve(TokenRecord("a"))
    router.settle(reservation) if end == "settle" else reservation.release()
    with pytest.raises(LocalError):
        router.settle(reservation)
    with pytest.raises(LocalError):
        reservation.release()
    assert router.limits.in_flight("a") == 0


# --- requests per minute ----------------------------------------------------------------------------------------------


def test_no_sixty_seconds_see_more_requests_than_allowed(router: Router) -> None:
    record = TokenRecord("a", requests_per_minute=2)
    admitted = []
    for router.now in [moment * 7.0 for moment in range(40)]:
        try:
            router.settle(router.reserve(record), Tokens())
        except Refusal:
            continue
        admitted.append(router.now)
    assert all(third - first >= 60.0 for first, third in zip(admitted, admitted[2:], strict=False))
    assert len(admitted) == 10


def test_whoever_comes_too_often_is_told_when_to_come_back(router: Router) -> None:
    record = TokenRecord("a", requests_per_minute=2)
    router.now = 10.0
    router.reserve(record)
    router.now = 20.5
    router.reserve(record)
    router.now = 30.0
    refusal = router.refuses(record)
    assert refusal.message == "Token has reached its limit of 2 requests per minute"
    assert refusal.headers == [(b"retry-after", b"40")]
    router.now = 69.9
    assert router.refuses(record).headers == [(b"retry-after", b"1")]
    router.now = 70.0
    router.reserve(record)
    assert router.refuses(record).headers == [(b"retry-after", b"11")]


def test_a_request_that_was_never_sent_on_does_not_count_for_the_minute(router: Router) -> None:
    record = TokenRecord("a", requests_per_minute=1)
    router.reserve(record).release()
    router.settle(router.reserve(record))
    router.refuses(record)


def test_a_refused_request_does_not_count_for_the_minute(router: Router) -> None:
    record = TokenRecord("a", requests_per_minute=1)
    router.reserve(record)
    router.now = 59.0
    router.refuses(record)
    router.now = 60.0
    router.reserve(record)


def test_a_minute_later_the_token_is_forgotten(router: Router) -> None:
    record = TokenRecord("a", requests_per_minute=1)
    reservation = router.reserve(record)
    router.limits.purge(61.0)
    assert router.limits.in_flight("a") == 1
    router.settle(reservation)
    router.now = 61.0
    router.settle(router.reserve(record))
    router.limits.purge(100.0)
    router.now = 100.0
    router.refuses(record)
    router.limits.purge(121.0)
    router.reserve(record)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_budget_counts_tokens_of_every_kind(router: Router) -> None:
    record = TokenRecord("a", token_budget=10)
    router.settle(router.reserve(record), Tokens(1, 2, 3, 4))
    refusal = router.refuses(record)
    assert (refusal.message, refusal.headers) == ("Token has reached its token budget", FOR_GOOD)


def test_requests_in_flight_reserve_what_they_may_use(router: Router) -> None:
    record = TokenRecord("a", token_budget=100)
    reservations = [router.reserve(record, Tokens(input=20, output=20)) for _ in range(2)]
    refusal = router.refuses(record, Tokens(output=21))
    assert "in flight" in refusal.message
    assert refusal.headers == []
    reservations.append(router.reserve(record, Tokens(output=20)))
    router.refuses(record)
    for reservation in reservations:
        router.settle(reservation, Tokens(output=5))
    assert router.usage.of("a").tokens == 15
    router.reserve(record, Tokens(output=85))


def test_a_request_that_cannot_fit_is_told_what_is_left(router: Router) -> None:
    record = TokenRecord("a", token_budget=100)
    refusal = router.refuses(record, estimate(400, 1))
    assert refusal.message == ("Token has 100 tokens left of its budget, and the request may use 101: lower max_tokens")
    assert refusal.headers == FOR_GOOD
    router.reserve(record, estimate(400, 0))


def test_what_nobody_knows_costs_what_was_reserved(router: Router) -> None:
    record = TokenRecord("a", token_budget=100)
    router.settle(router.reserve(record, Tokens(input=10, output=20)), None)
    assert (router.usage.of("a").input_tokens, router.usage.of("a").output_tokens) == (10, 20)


def test_a_request_given_back_costs_nothing(router: Router) -> None:
    record = TokenRecord("a", token_budget=100)
    router.reserve(record, Tokens(output=100)).release()
    router.reserve(record, Tokens(output=100))


@pytest.mark.parametrize(
    ("body_bytes", "most_output", "tokens"),
    [(0, 0, Tokens()), (4003, 50, Tokens(input=1000, output=50)), (8, -1, Tokens(input=2))],
)
def test_a_request_is_estimated_by_its_body_and_what_it_asks_for(
    body_bytes: int, most_output: int, tokens: Tokens
) -> None:
    assert estimate(body_bytes, most_output) == tokens


def test_what_was_streamed_has_cost_something_whatever_was_told() -> None:
    told = Tokens(input=7, output=3, cache_read=5)
    assert at_least(told, 64 * 3) == told
    assert at_least(told, 64 * 100) == Tokens(input=7, output=100, cache_read=5)


def test_what_is_attached_costs_what_it_is_taken_for_and_not_its_bytes() -> None:
    attached = Attachments(size=4_000_000, tokens=2000)
    assert estimate(4_000_400, 50, attached) == Tokens(input=2100, output=50)


def test_tokens_that_are_used_no_more_are_forgotten(router: Router) -> None:
    for number in range(50):
        router.settle(router.reserve(TokenRecord(f"{number}", requests_per_minute=5)))
    router.now += 61
    router.settle(router.reserve(TokenRecord("last")))
    assert len(router.limits) == 0


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("claude-x", "claude-x", True),
        ("claude-x", "claude-x-2", False),
        ("claude-x", "Claude-x", False),
        ("claude-*", "claude-", True),
        ("claude-*", "claude-haiku", True),
        ("claude-*", "my-claude-haiku", False),
        ("*", "", True),
        ("*-haiku", "claude-haiku", True),
        ("*-haiku", "claude-haiku-4", False),
        ("a*b*c", "a1b2c", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("a*ab*b", "aab", False),
        ("a*ab*b", "aabb", True),
        ("*b*b*", "ab", False),
        ("**", "x", True),
        ("a.c", "abc", False),
        ("[a]?", "a1", False),
        ("*" * 250 + "x", "y" * 100_000, False),
    ],
)
def test_an_asterisk_stands_for_any_characters(pattern: str, model: str, allowed: bool) -> None:
    record = TokenRecord("a", models=("no-such-model", pattern))
    if allowed:
        require_model(record, model)
        return
    with pytest.raises(Refusal) as refused:
        require_model(record, model)
    assert (refused.value.status, refused.value.kind, refused.value.param) == (403, "permission_error", "model")
    assert len(refused.value.message) < 200


def test_a_token_for_certain_models_is_for_no_request_without_one() -> None:
    require_model(TokenRecord("a"), None)
    require_model(TokenRecord("a"), "anything")
    with pytest.raises(Refusal) as refused:
        require_model(TokenRecord("a", models=("*",)), None)
    assert refused.value.status == 403
