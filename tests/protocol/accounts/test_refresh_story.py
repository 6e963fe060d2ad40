"""Logins are kept alive: renewed ahead of expiry and after a 401, by one at a time, whatever the endpoint says."""

import json

import pytest

from protocol.commands import Connect, LogLevel, Loss
from tests.protocol.accounts.conftest import OpenPool
from tests.protocol.accounts.logins import LIFETIME, answers, login, one
from tests.support.pooled import (
    LIMITED,
    UNAUTHORIZED,
    access,
    file_of,
    refresh,
)
from tests.support.requests import REPLY

# --- when -------------------------------------------------------------------------------------------------------------


def test_a_login_is_renewed_ahead_of_its_expiry_while_requests_go_on_with_the_old_token(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME - 299)
    answers(scene)
    asked = scene.renews()
    answers(scene)
    asked.grants("primary")
    answers(scene, number=1)
    assert scene.login_in("primary")["expiresAt"] == round((scene.wall + LIFETIME) * 1000)
    assert scene.asked_nobody()


def test_a_token_that_is_valid_for_long_is_never_renewed(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    for _ in range(5):
        scene.passes((LIFETIME - 301) / 5)
        answers(scene)
    assert scene.asked_nobody()


def test_how_long_ahead_is_a_setting(pool_of: OpenPool) -> None:
    scene = one(pool_of, OAUTH_REFRESH_AHEAD_SECS="3600")
    scene.passes(LIFETIME - 3599)
    answers(scene)
    scene.renews().grants("primary")
    answers(scene, number=1)


def test_a_login_that_has_expired_overnight_is_renewed_before_the_first_request_is_sent(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 3600)
    client = scene.client().posts()
    renewal = scene.renews()
    assert scene.asked_nobody(), "the old token is good for nothing"
    renewal.grants("primary")
    scene.asked().by("primary", 1).replies()
    client.saw(200)


def test_a_401_renews_the_login_once_and_the_request_is_sent_again(pool_of: OpenPool) -> None:
    """The stored expiry is only a hint."""
    scene = one(pool_of)
    client = scene.client().posts()
    scene.asked().by("primary").says(UNAUTHORIZED)
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).replies()
    client.saw(200, REPLY)
    assert scene.account("primary").healthy


def test_a_401_for_a_renewed_token_is_not_followed_by_another_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    client = scene.client().posts()
    scene.asked().says(UNAUTHORIZED)
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).says(UNAUTHORIZED, body=b'{"verbatim":1}')
    client.saw(401, b'{"verbatim":1}')
    scene.passes(10)
    client.posts()
    scene.asked().by("primary", 1).says(UNAUTHORIZED, body=b'{"verbatim":2}')
    client.saw(401, b'{"verbatim":2}')
    assert scene.asked_nobody()


def test_a_401_after_a_renewal_is_a_reason_to_ask_another_account(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()})
    client = scene.client().posts()
    scene.asked().by("primary").says(UNAUTHORIZED)
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).says(UNAUTHORIZED)
    scene.asked().by("account-1").replies()
    client.saw(200)
    assert scene.account("primary").cooldown_cause == "credential refused"


@pytest.mark.parametrize("status", [LIMITED, UNAUTHORIZED])
def test_an_api_key_is_never_renewed(pool_of: OpenPool, status: bytes) -> None:
    scene = pool_of(1, {"primary": b'{"primaryApiKey":"sk-ant-api03-key","refreshToken":"sk-ant-ort01-x"}'})
    client = scene.client().posts()
    scene.asked().says(status)
    client.saw(int(status[:3]))
    assert scene.asked_nobody()


# --- what is asked, and where -----------------------------------------------------------------------------------------


def test_the_request_is_the_documented_one(pool_of: OpenPool) -> None:
    scene = one(pool_of, 10)
    client = scene.client().posts()
    scene.asked().replies()
    client.saw(200)
    asked = scene.renews()
    assert json.loads(asked.body) == {
        "grant_type": "refresh_token",
        "refresh_token": refresh("primary"),
        "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    }
    assert asked.headers[b"content-type"] == b"application/json"
    assert asked.headers[b"anthropic-beta"] == b"oauth-2025-04-20"
    assert not {b"authorization", b"x-api-key", b"cookie"} & set(asked.headers)
    asked.grants("primary")


def test_endpoint_and_client_are_settings(pool_of: OpenPool) -> None:
    scene = one(pool_of, 10, OAUTH_CLIENT_ID="another", OAUTH_TOKEN_URL="http://elsewhere:81/token")
    client = scene.client().posts()
    scene.asked().replies()
    client.saw(200)
    asked = scene.renews(b"POST /token HTTP/1.1", "elsewhere")
    assert json.loads(asked.body)["client_id"] == "another"
    assert asked.headers[b"host"] == b"elsewhere:81"
    asked.grants("primary")


def test_an_account_s_token_is_sent_nowhere_but_to_the_provider(pool_of: OpenPool) -> None:
    """A control path is never answered with a pooled account's identity."""
    scene = pool_of(2)
    client = scene.client()
    for path in (b"/api/oauth/profile", b"/api/oauth/usage", b"/v1/oauth/token", b"/api/claude_cli_profile"):
        for prefix in (b"", b"/api/latest/anthropic"):
            scene.fetches(prefix + path, client).saw(404)
    assert scene.asked_nobody()


# --- one at a time ----------------------------------------------------------------------------------------------------


def test_everybody_who_waits_shares_one_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    clients = [scene.client().posts() for _ in range(5)]
    renewal = scene.renews()
    scene.passes(2)
    clients += [scene.client().posts() for _ in range(5)]
    assert scene.asked_nobody()
    renewal.grants("primary")
    for client in clients:
        scene.asked().by("primary", 1).replies()
        client.saw(200)
    assert scene.asked_nobody()


def test_requests_wait_for_the_renewal_when_the_token_ends_while_it_is_under_way(pool_of: OpenPool) -> None:
    """Their files were looked at a moment ago, but what was found is over by now."""
    scene = one(pool_of)
    scene.passes(LIFETIME - 0.5)
    answers(scene)
    renewal = scene.renews()
    scene.passes(0.6)
    client = scene.client().posts()
    client.saw_nothing()
    renewal.grants("primary")
    scene.asked().by("primary", 1).replies()
    client.saw(200)


def test_many_401s_at_once_are_one_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    clients = [scene.client().posts() for _ in range(5)]
    for asked in [scene.asked() for _ in clients]:
        asked.by("primary").says(UNAUTHORIZED)
    scene.renews().grants("primary")
    for asked in [scene.asked() for _ in clients]:
        asked.by("primary", 1).replies()
    for client in clients:
        client.saw(200)
    assert scene.asked_nobody()


def test_two_accounts_that_share_a_file_share_its_renewal(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()}, ADDITIONAL_ACCOUNT_DIRS="/home")
    scene.passes(LIFETIME + 1)
    clients = [scene.client().posts() for _ in range(2)]
    scene.renews().grants("primary")
    scene.passes(1)
    for client in clients:
        scene.asked().by("primary", 1).replies()
        client.saw(200)
    assert scene.asked_nobody()


def test_another_process_that_has_the_lock_is_waited_for_and_what_it_got_is_used(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    scene.shell.disk.locked.add(file_of("primary"))
    client = scene.client().posts()
    scene.passes(3)
    assert scene.asked_nobody()
    scene.has_login("primary", login(lifetime=2 * LIFETIME, number=1))
    scene.shell.disk.locked.clear()
    scene.passes(0.2)
    scene.asked().by("primary", 1).replies()
    client.saw(200)
    assert scene.asked_nobody(), "the token endpoint least of all"


def test_a_login_that_claude_code_renewed_meanwhile_is_used_and_not_renewed_again(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    scene.has_login("primary", login(lifetime=2 * LIFETIME, number=1))
    answers(scene, number=1)
    assert scene.asked_nobody()


def test_a_token_on_the_disk_that_still_lives_is_used_without_waiting_for_its_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    scene.has_login("primary", login(lifetime=LIFETIME + 200, number=1))
    answers(scene, number=1)
    scene.renews().grants("primary", 2)
    answers(scene, number=2)


def test_a_refresh_token_that_claude_code_spent_first_is_no_loss(pool_of: OpenPool) -> None:
    """It takes no lock: its request was first, ours is denied, and what it got appears in the file a moment later."""
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    scene.renews().denies()
    scene.passes(1)
    client.saw_nothing()
    scene.has_login("primary", login(lifetime=2 * LIFETIME, number=1))
    scene.passes(0.3)
    scene.asked().by("primary", 1).replies()
    client.saw(200)
    assert scene.login_in("primary")["refreshToken"] == refresh("primary", 1)
    assert not scene.shown("primary")["needs_login"]


def test_a_newer_login_that_was_written_while_ours_was_on_its_way_is_left_alone(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    renewal = scene.renews()
    scene.has_login("primary", login(lifetime=3 * LIFETIME, number=7))
    renewal.grants("primary")
    scene.asked().replies()
    client.saw(200)
    assert scene.login_in("primary")["accessToken"] == access("primary", 7)
    scene.passes(2)
    answers(scene, number=7)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_login_that_is_spent_for_good_needs_the_operator_and_others_answer_meanwhile(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()})
    client = scene.client().posts()
    scene.asked().by("primary").says(UNAUTHORIZED)
    scene.renews().denies()
    scene.passes(6)
    scene.asked().by("account-1").replies()
    client.saw(200)
    (lost,) = scene.logs("has to be logged in again")
    assert (lost.level, lost.fields) == (
        LogLevel.ERROR, {"reason": "the token endpoint refused it: HTTP 400 invalid_grant"},
    )  # fmt: skip
    scene.passes(LIFETIME)
    for _ in range(3):
        answers(scene, "account-1")
    shown = scene.shown("primary")
    assert (shown["needs_login"], shown["renewable"], shown["healthy"]) == (True, False, False)
    scene.has_login("primary", login(lifetime=3 * LIFETIME, number=5))
    scene.passes(1)
    answers(scene, "account-1")
    answers(scene, number=5)


def test_a_login_that_is_spent_is_used_while_its_access_token_lives(pool_of: OpenPool) -> None:
    scene = one(pool_of, 200)
    answers(scene)
    scene.renews().denies()
    scene.passes(10)
    answers(scene)
    assert scene.asked_nobody(), "the endpoint is not asked again"
    scene.passes(200)
    scene.client().posts().saw(502)


def test_an_endpoint_that_asks_for_patience_gets_it_while_the_old_token_is_used(pool_of: OpenPool) -> None:
    scene = one(pool_of, 290)
    answers(scene)
    scene.renews().says(LIMITED, b"Retry-After: 120", body=b"{}")
    for _ in range(11):
        scene.passes(10)
        answers(scene)
        assert scene.asked_nobody()
    scene.passes(15)
    answers(scene)
    scene.renews().grants("primary")
    answers(scene, number=1)


@pytest.mark.parametrize("failure", ["500", "nonsense", "cut", "silent", "unreachable"])
def test_a_passing_failure_of_the_endpoint_costs_nothing_while_the_token_lives(pool_of: OpenPool, failure: str) -> None:
    scene = one(pool_of, 290)
    if failure == "unreachable":
        answers_over_idle = scene.client().posts()
        scene.asked().replies()
        answers_over_idle.saw(200)
        scene.renews().says(b"503 Service Unavailable", body=b"")
        scene.passes(20)
        scene.shell.connect_fails = Loss.REFUSED
        scene.orders()
        client = scene.client().posts()
        assert len(scene.orders(Connect)) == 1
        scene.asked().replies()
        client.saw(200)
        scene.shell.connect_fails = None
    else:
        answers(scene)
        asked = scene.renews()
        match failure:
            case "500":
                asked.says(b"500 Internal Server Error", body=b"{}")
            case "nonsense":
                asked.says(b"200 OK", body=b"<html>")
            case "cut":
                asked.upstream.reset()
            case _:
                scene.passes(61)
                assert asked.upstream.gone()
    answers(scene)
    scene.passes(20)
    answers(scene)
    scene.renews().grants("primary")
    answers(scene, number=1)
    assert scene.account("primary").healthy
    assert len(scene.logs("cannot be renewed now")) in (1, 2)


def test_an_answer_of_the_endpoint_that_has_no_end_is_given_up(pool_of: OpenPool) -> None:
    scene = one(pool_of, 290)
    answers(scene)
    asked = scene.renews()
    asked.upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b" " * 70_000)
    assert asked.upstream.gone()
    answers(scene)


def test_an_account_whose_login_is_being_renewed_is_not_waited_for_while_another_can_answer(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()}, ACCOUNT_ROUTING_STRATEGY="priority")
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    scene.asked().by("account-1").replies()
    client.saw(200)
    renewal = scene.renews()
    client.posts()
    scene.asked().by("account-1").replies()
    client.saw(200)
    renewal.grants("primary")
    answers(scene, number=1)


def test_it_is_waited_for_when_the_others_are_limited(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()}, ACCOUNT_ROUTING_STRATEGY="priority")
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    scene.asked().by("account-1").says(LIMITED, b"Retry-After: 3600")
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).replies()
    client.saw(200)
