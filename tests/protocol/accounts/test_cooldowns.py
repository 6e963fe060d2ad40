"""Cooldowns: how long an account is left alone, by what it said, and what clients hear while nobody can answer."""

import json

import pytest

from protocol.call import http_date
from protocol.commands import LogLevel
from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    FAILED,
    HOUR,
    LIMITED,
    NOT_FOUND,
    OK,
    OVERLOADED,
    UNAUTHORIZED,
    Pooled,
    window,
)
from tests.support.requests import REPLY

DAY = 24 * HOUR
OPUS = b'{"model":"claude-opus-4-7","max_tokens":9,"messages":[]}'
HAIKU = b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[]}'


def limited(scene: Pooled, *headers: bytes, body: bytes = OPUS, status: bytes = LIMITED) -> None:
    """The primary account answers so, another one takes over."""
    client = scene.client().posts(body)
    scene.asked().by("primary").says(status, *headers)
    scene.asked().replies()
    client.saw(200, REPLY)
    client.leaves()


def cooldown(scene: Pooled, name: str = "primary") -> tuple[str | None, int | None]:
    account = scene.account(name)
    return account.cooldown_cause, account.cooldown_remaining_seconds


def is_asked(scene: Pooled, name: str, requests: int = 3) -> bool:
    """Whether one of so many requests, one after the other, goes to this account."""
    client = scene.client()
    tokens = []
    for _ in range(requests):
        client.posts()
        asked = scene.asked()
        tokens.append(asked.token)
        asked.replies()
        client.saw(200)
    client.leaves()
    return any(token.endswith("own" if name == "primary" else f"{name}-0") for token in tokens)


# --- by cause ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seconds"), [("5h", 5 * HOUR), ("7d", 7 * DAY)])
def test_a_used_up_window_keeps_an_account_out_until_it_resets_however_long_that_is(
    scene: Pooled, name: str, seconds: float
) -> None:
    limited(scene, *window(name, scene.wall + seconds), b"Retry-After: 60")
    assert cooldown(scene) == ("usage window used up", seconds)
    scene.passes(seconds - 1)
    assert not is_asked(scene, "primary")
    scene.passes(2)
    assert is_asked(scene, "primary")
    assert scene.account("primary").healthy


def test_two_windows_are_kept_apart_and_the_later_reset_counts(scene: Pooled) -> None:
    limited(scene, *window("5h", scene.wall + HOUR), *window("7d", scene.wall + DAY))
    running = [(found.window, found.remaining_seconds) for found in scene.account("primary").cooldowns]
    assert running == [("7d", DAY), ("5h", HOUR)]
    scene.passes(HOUR + 1)
    assert not is_asked(scene, "primary")
    assert [found.window for found in scene.account("primary").cooldowns] == ["7d"]


def test_a_window_that_is_not_used_up_keeps_nobody_out(scene: Pooled) -> None:
    allowed = window("5h", scene.wall + 5 * HOUR, utilization=0.9, status="allowed_warning")
    limited(scene, *allowed, b"Retry-After: 20")
    assert cooldown(scene) == ("rate limited with retry-after", 20)


@pytest.mark.parametrize("as_date", [False, True])
def test_without_a_window_retry_after_counts_in_seconds_or_as_a_date(scene: Pooled, as_date: bool) -> None:
    value = http_date(scene.wall + 90) if as_date else b"90"
    limited(scene, b"Retry-After: " + value)
    assert cooldown(scene) == ("rate limited with retry-after", 90)
    scene.passes(89)
    assert not is_asked(scene, "primary")
    scene.passes(2)
    assert is_asked(scene, "primary")


def test_a_bare_429_keeps_an_account_out_for_seconds_and_for_longer_each_time_up_to_half_a_minute(
    pool_of: OpenPool,
) -> None:
    """Not for hours, and not for no time at all."""
    scene = pool_of(2, ACCOUNT_ROUTING_STRATEGY="priority")
    lengths = []
    for _ in range(8):
        limited(scene)
        seconds = cooldown(scene)[1]
        assert seconds is not None
        lengths.append(seconds)
        scene.passes(seconds + 1)
    assert lengths == sorted(lengths)
    assert 1 <= lengths[0] <= 3
    assert lengths[-1] == 30


@pytest.mark.parametrize("status", [OVERLOADED, FAILED, b"503 Service Unavailable"])
def test_overload_is_no_quota_its_cooldown_is_short_whatever_a_window_says(pool_of: OpenPool, status: bytes) -> None:
    scene = pool_of(2, ACCOUNT_ROUTING_STRATEGY="priority")
    for _ in range(8):
        reset = [b"anthropic-ratelimit-unified-reset: %d" % (scene.wall + 5 * HOUR), b"Retry-After: 3600"]
        limited(scene, *reset, status=status)
        cause, seconds = cooldown(scene)
        assert cause == "upstream overloaded or failing"
        assert seconds is not None
        assert seconds <= 10
        scene.passes(seconds + 1)


def test_a_window_of_one_model_keeps_only_that_model_out(scene: Pooled) -> None:
    limited(scene, *window("7d_opus", scene.wall + DAY))
    standing = scene.account("primary")
    assert (standing.healthy, standing.cooldown_remaining_seconds) == (True, None)
    assert [(found.model, found.window) for found in standing.cooldowns] == [("claude-opus-4-7", "7d_opus")]
    client = scene.client()
    tokens = {OPUS: set[str](), HAIKU: set[str]()}
    for body in [OPUS, HAIKU] * 6:
        client.posts(body)
        asked = scene.asked()
        tokens[body].add(asked.token)
        asked.replies()
        client.saw(200)
    assert len(tokens[OPUS]) == 2
    assert len(tokens[HAIKU]) == 3


@pytest.mark.parametrize(
    "path", [b"/model/claude-opus-4-7/invoke", b"/v1/projects/p/models/claude-opus-4-7:rawPredict"]
)
def test_a_window_of_one_model_keeps_a_model_out_that_the_path_names(scene: Pooled, path: bytes) -> None:
    client = scene.uploads(path, HAIKU)
    scene.asked().by("primary").says(LIMITED, *window("7d_opus", scene.wall + DAY))
    scene.asked().replies()
    client.saw(200)
    assert [found.model for found in scene.account("primary").cooldowns] == ["claude-opus-4-7"]


@pytest.mark.parametrize(
    "status", [b"400 Bad Request", b"403 Forbidden", NOT_FOUND, b"413 Too Large", b"422 Unprocessable"]
)
def test_errors_caused_by_the_request_never_change_an_account_s_health(scene: Pooled, status: bytes) -> None:
    for _ in range(3):
        client = scene.client().posts()
        scene.asked().says(status, b"Retry-After: 3600")
        client.saw(int(status[:3]))
    assert all(scene.account(name).healthy for name in scene.names)
    assert all(scene.account(name).last_error is None for name in scene.names)
    assert scene.health() == []


@pytest.mark.parametrize("status", [LIMITED, OVERLOADED, FAILED, NOT_FOUND, UNAUTHORIZED])
def test_failures_of_count_tokens_never_change_an_account_s_health(scene: Pooled, status: bytes) -> None:
    """Counting has limits of its own, and upstreams that do not offer it."""
    client = scene.client().posts(OPUS, path=b"/v1/messages/count_tokens")
    while not scene.asked_nobody():
        scene.asked().says(status, *window("5h", scene.wall + HOUR))
    client.saw(int(status[:3]))
    assert all(scene.account(name).healthy for name in scene.names)
    assert scene.health() == []
    for name in scene.names:
        assert is_asked(scene, name)


def test_a_success_clears_what_was_guessed_before_and_the_last_error(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    client = scene.client().posts()
    scene.asked().says(OVERLOADED)
    client.saw(529)
    assert scene.account("primary").last_error == "upstream returned 529"
    client.posts()
    scene.asked().replies()
    client.saw(200)
    standing = scene.account("primary")
    assert (standing.healthy, standing.last_error, standing.cooldowns) == (True, None, [])
    assert scene.health()[-1].startswith("account primary is back")


def test_a_success_that_was_asked_for_before_the_limit_was_reached_clears_nothing(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    clients = [scene.client().posts() for _ in range(2)]
    early, late = scene.asked(), scene.asked()
    scene.passes(1)
    late.says(LIMITED, *window("5h", scene.wall + HOUR))
    early.replies()
    clients[0].saw(200)
    clients[1].saw(429)
    assert cooldown(scene) == ("usage window used up", HOUR)


def test_requests_that_failed_side_by_side_count_as_one_setback(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    clients = [scene.client().posts() for _ in range(6)]
    asked = [scene.asked() for _ in clients]
    for one in asked:
        scene.passes(0.1)
        one.says(LIMITED)
    for client in clients:
        client.saw(429)
    seconds = cooldown(scene)[1]
    assert seconds is not None
    assert seconds <= 3


def test_a_refused_credential_keeps_an_account_out_for_a_minute_or_until_it_has_changed(scene: Pooled) -> None:
    limited(scene, status=UNAUTHORIZED)
    assert cooldown(scene) == ("credential refused", 60)
    assert not is_asked(scene, "primary", 4)
    scene.has_login("primary", b'{"accessToken":"sk-ant-oat01-another-own"}')
    scene.passes(2)
    client = scene.client().posts()
    scene.asked().replies()
    client.saw(200)
    assert scene.account("primary").healthy
    assert is_asked(scene, "primary")


# --- when nobody is left ----------------------------------------------------------------------------------------------


def error_of(body: bytes) -> str:
    kind: str = json.loads(body)["error"]["type"]
    return kind


def test_a_used_up_pool_answers_429_with_the_soonest_real_reset_and_the_provider_s_error_type(scene: Pooled) -> None:
    client = scene.client().posts()
    for name, seconds in (("primary", 3 * HOUR), ("account-1", HOUR), ("account-2", DAY)):
        scene.asked().by(name).says(LIMITED, *window("5h", scene.wall + seconds), b"Retry-After: 77")
    status, headers, body = client.response()
    assert (status, error_of(body), headers[b"retry-after"]) == (429, "rate_limit_error", b"3600")
    prefix = b"anthropic-ratelimit-unified-"
    assert headers[prefix + b"status"] == b"rejected"
    assert headers[prefix + b"representative-claim"] == b"five_hour"
    assert headers[prefix + b"reset"] == b"%d" % (scene.wall + HOUR)
    scene.passes(50)
    status, headers, _ = scene.client().posts().response()
    assert (status, headers[b"retry-after"]) == (429, b"3550")
    assert scene.asked_nobody()


def test_the_last_account_s_own_answer_is_relayed_if_it_can_be_asked_the_soonest(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, b"Retry-After: 90")
    scene.asked().by("account-1").says(LIMITED, b"Retry-After: 30", b"X-Kept: 1", body=b'{"verbatim":1}')
    headers = client.saw(429, b'{"verbatim":1}')
    assert (headers[b"retry-after"], headers[b"x-kept"]) == (b"30", b"1")


def test_with_everybody_overloaded_the_answer_is_a_529(scene: Pooled) -> None:
    client = scene.client().posts()
    for _ in scene.names:
        scene.asked().says(OVERLOADED, body=b'{"error":{"type":"overloaded_error"}}')
    status, _, body = client.response()
    assert (status, error_of(body)) == (529, "overloaded_error")


def test_an_overloaded_account_is_sooner_there_again_than_one_with_a_used_up_window(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    scene.asked().by("primary").says(OVERLOADED)
    scene.asked().by("account-1").says(LIMITED, *window("7d", scene.wall + DAY))
    status, headers, body = client.response()
    assert (status, error_of(body), headers[b"retry-after"]) == (529, "overloaded_error", b"1")


def test_a_limited_account_is_worth_waiting_for_while_another_s_credential_is_refused(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + HOUR))
    scene.asked().by("account-1").says(UNAUTHORIZED)
    status, headers, body = client.response()
    assert (status, error_of(body), headers[b"retry-after"]) == (429, "rate_limit_error", b"3600")


def test_a_cooldown_that_was_only_guessed_does_not_keep_the_last_account_from_being_asked(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    for _ in range(2):
        scene.asked().says(LIMITED)
    client.saw(429)
    client.posts()
    scene.asked().replies()
    client.saw(200, REPLY)


def test_a_limit_that_was_lifted_before_its_time_is_noticed_within_a_minute(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    client = scene.client().posts()
    scene.asked().says(LIMITED, *window("7d", scene.wall + DAY))
    client.saw(429)
    client.posts().saw(429)
    scene.passes(61)
    client.posts()
    scene.asked().replies()
    client.saw(200)
    assert scene.account("primary").healthy


def test_a_502_is_for_a_router_without_any_credential(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": None, "account-1": b"{}"})
    client = scene.client().posts()
    status, headers, body = client.response()
    assert (status, error_of(body)) == (502, "api_error")
    assert b"retry-after" not in headers
    scene.has_login("account-1", b'{"accessToken":"sk-ant-oat01-account-1-0"}')
    scene.passes(1)
    client.posts()
    scene.asked().by("account-1").replies()
    client.saw(200)


# --- what is said about it --------------------------------------------------------------------------------------------


def test_every_change_of_health_is_a_line_in_the_log(scene: Pooled) -> None:
    limited(scene, *window("5h", scene.wall + HOUR))
    scene.passes(HOUR + 1)
    assert is_asked(scene, "primary")
    out, back = (log for log in scene.shell.logs if log.event in scene.health())
    assert (out.level, out.event) == (LogLevel.WARN, "account primary is out for 3600 s: usage window used up (5h)")
    assert (back.level, back.event) == (
        LogLevel.INFO, "account primary is back, it was out: usage window used up (5h)",
    )  # fmt: skip


def test_an_account_that_comes_and_goes_does_not_fill_the_log(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    for _ in range(50):
        client = scene.client().posts()
        asked = scene.asked()
        asked.says(FAILED)
        client.saw(500)
        client.posts()
        scene.asked().replies()
        client.saw(200)
        scene.passes(0.1)
        client.leaves()
    assert len(scene.health()) == 2
    scene.passes(10)
    assert is_asked(scene, "primary")
    assert scene.health()[-1].startswith("account primary is back")
    assert "97 more of this" in scene.health()[-1]


def test_a_429_that_names_no_limit_is_relayed_with_a_hint_in_the_log_for_a_subscription(pool_of: OpenPool) -> None:
    """The provider may refuse this kind of client so; it says nothing about the account."""
    scene = pool_of(1)
    client = scene.client().posts()
    scene.asked().says(LIMITED, body=b'{"verbatim":1}')
    client.saw(429, b'{"verbatim":1}')
    assert "subscription" in str(scene.requests()[-1]["hint"])


def test_quota_headers_reach_the_client_and_the_operator(scene: Pooled) -> None:
    client = scene.client().posts()
    lines = window("5h", scene.wall + HOUR, utilization=0.42, status="allowed")
    scene.asked().by("primary").says(OK, *lines, b"anthropic-ratelimit-requests-remaining: 7", body=REPLY)
    headers = client.saw(200)
    assert headers[b"anthropic-ratelimit-unified-5h-utilization"] == b"0.42"
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"7"
    (shown,) = scene.account("primary").windows
    assert (shown.name, shown.status, shown.utilization, shown.resets_at) == ("5h", "allowed", 0.42, scene.wall + HOUR)
