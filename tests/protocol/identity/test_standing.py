"""What is known of one account, apart from the pool it is in."""

import pytest

from protocol.identity.cooldowns import Cause
from protocol.identity.limits import read_limits
from protocol.identity.standing import UNDATED_SECONDS, Load, Standing
from protocol.values import Headers

WALL = 1_795_000_000.0


def standing(*, requests: int | None = None, concurrency: int | None = None) -> Standing:
    """An account in the list."""
    account = Standing("a", request_limit=requests, concurrency_limit=concurrency, entropy=bytes)
    account.position = 0
    return account


def limited(account: Standing) -> None:
    limits = read_limits([(b"retry-after", b"60")], WALL)
    account.cooldowns.rate_limited(limits, model=None, asked_at=0.0, now=0.0, wall=WALL)


def test_a_limit_of_inference_keeps_an_account_from_inference_alone() -> None:
    account = standing()
    limited(account)
    assert not account.free(1.0)
    assert account.takes_others(1.0)


def test_what_keeps_an_account_from_everything() -> None:
    for spoil in ("usable", "position", "place", "credential"):
        account = standing(concurrency=1)
        assert account.takes_others(0.0)
        match spoil:
            case "usable":
                account.usable = False
            case "position":
                account.position = -1
            case "place":
                account.in_flight = 1
            case _:
                account.cooldowns.unauthorized(0.0)
        assert not account.takes_others(1.0), spoil
        assert not account.free(1.0), spoil


def test_a_refused_credential_is_tried_again_when_its_time_is_over() -> None:
    account = standing()
    (cooldown,) = account.cooldowns.unauthorized(0.0)
    assert cooldown.cause is Cause.UNAUTHORIZED
    assert account.takes_others(cooldown.until)


@pytest.mark.parametrize(("used", "in_flight", "room"), [(0, 0, True), (3, 0, False), (0, 2, False), (2, 1, True)])
def test_there_is_room_until_a_limit_is_reached(used: int, in_flight: int, room: bool) -> None:
    account = standing(requests=3, concurrency=2)
    account.used, account.in_flight = used, in_flight
    assert account.has_room == room


def shares(utilization: bytes, reset: bytes | None) -> Headers:
    fields: Headers = [(b"anthropic-ratelimit-unified-5h-utilization", utilization)]
    return fields if reset is None else [*fields, (b"anthropic-ratelimit-unified-5h-reset", reset)]


def test_a_share_is_believed_until_its_reset_or_for_a_while() -> None:
    for reset, until in ((b"%d" % (WALL + 1000), 1000.0), (None, UNDATED_SECONDS)):
        account = standing()
        assert account.limits_read(read_limits(shares(b"0.5", reset), WALL), 0.0, WALL)
        assert account.utilization(until - 1) == 0.5
        assert account.utilization(until) == 0.0
        assert account.changes_at(0.0) == until
        assert account.changes_at(until) is None


def test_the_same_limits_again_are_no_news() -> None:
    account = standing()
    headers = shares(b"0.5", b"%d" % (WALL + 1000))
    assert [account.limits_read(read_limits(headers, WALL), 0.0, WALL) for _ in range(2)] == [True, False]
    assert not account.limits_read(read_limits([], WALL), 0.0, WALL)


def test_the_load_of_late_halves_with_time_against_what_comes_later() -> None:
    early, late = Load(), Load()
    early.add(1000.0, 0.0)
    late.add(1000.0, 36_000.0)
    assert late.level > early.level
