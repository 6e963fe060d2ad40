"""Failover: while nothing of an answer has gone to the client, another account is asked."""

import pytest

from protocol.commands import Connect, Loss
from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    FAILED,
    HOUR,
    LIMITED,
    NOT_FOUND,
    OVERLOADED,
    UNAUTHORIZED,
    Pooled,
    session,
    window,
)
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, chunk, post
from tests.support.scene import Client
from transports.memory import EPOCH

CANNOT_ANSWER = [LIMITED, OVERLOADED, FAILED, b"503 Service Unavailable", UNAUTHORIZED]


@pytest.mark.parametrize("status", CANNOT_ANSWER)
def test_an_account_that_cannot_answer_is_left_for_the_next_one(scene: Pooled, status: bytes) -> None:
    client = scene.client().posts()
    scene.asked().by("primary").says(status)
    again = scene.asked().by("account-1")
    assert (again.line, again.body) == (b"POST /v1/messages HTTP/1.1", BODY), "the same request"
    again.replies()
    client.saw(200, REPLY)
    assert scene.asked_nobody()
    assert scene.requests()[-1]["account"] == "account-1"


def test_an_answer_that_is_not_wanted_is_not_waited_for(scene: Pooled) -> None:
    client = scene.client().posts()
    first = scene.asked().by("primary")
    first.upstream.sends(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100000\r\n\r\nbegun")
    assert first.upstream.gone()
    scene.asked().by("account-1").replies()
    client.saw(200, REPLY)


def test_a_connection_that_is_not_made_in_time_is_a_reason_to_ask_another_account(scene: Pooled) -> None:
    scene.shell.connect_hangs = True
    client = scene.client().posts()
    scene.passes(10.5)
    assert len(scene.orders(Connect)) == 2
    scene.shell.connects()
    scene.asked().by("account-1").replies()
    client.saw(200, REPLY)
    assert scene.account("primary").last_error == "connect timeout"


def test_an_upstream_that_nobody_reaches_is_a_502_that_says_why(scene: Pooled) -> None:
    scene.shell.connect_fails = Loss.REFUSED
    client = scene.client().posts()
    status, _, body = client.response()
    assert (status, b"connection refused" in body) == (502, True)
    assert len(scene.orders(Connect)) == 3, "each account was tried"


@pytest.mark.parametrize("status", [b"400 Bad Request", b"403 Forbidden", NOT_FOUND, b"413 Too Large", b"422 No"])
def test_what_the_request_itself_is_to_blame_for_is_the_clients_to_see(scene: Pooled, status: bytes) -> None:
    client = scene.client().posts()
    scene.asked().by("primary").says(status, body=b'{"verbatim":1}')
    client.saw(int(status[:3]), b'{"verbatim":1}')
    assert scene.asked_nobody()


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_connection_that_breaks_without_an_answer_is_not_tried_again(scene: Pooled, how: str) -> None:
    """The account may have done, and billed, what it was asked for."""
    client = scene.client().posts()
    getattr(scene.asked().upstream, how)()
    client.saw(502)
    assert scene.asked_nobody()


def test_a_stale_connection_is_replaced_for_the_same_account(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_ROUTING_STRATEGY="priority")
    client = scene.client().posts()
    first = scene.asked().by("primary")
    first.replies()
    client.saw(200)
    client.posts()
    scene.asked().by("primary").upstream.half_close()
    scene.asked().by("primary").replies()
    client.saw(200)


# --- what bounds it ---------------------------------------------------------------------------------------------------


def test_once_a_byte_has_gone_to_the_client_nothing_is_repeated(scene: Pooled) -> None:
    client = scene.client().posts()
    upstream = scene.asked().streams(EVENT)
    client.head()
    upstream.reset()
    rest = client.rest()
    assert rest.startswith(chunk(EVENT))
    assert b"event: error" in rest
    assert not rest.endswith(LAST_CHUNK)
    assert scene.asked_nobody()


def test_a_request_is_tried_with_so_many_accounts_and_no_more(pool_of: OpenPool) -> None:
    scene = pool_of(FAILOVER_ATTEMPTS="2")
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, b"Retry-After: 3600")
    scene.asked().by("account-1").says(LIMITED, b"Retry-After: 7200")
    assert client.saw(429)[b"retry-after"] == b"1", "the third account would answer"
    assert scene.asked_nobody()
    client.posts()
    scene.asked().by("account-2").replies()
    client.saw(200)


def test_a_request_is_tried_only_for_so_long(pool_of: OpenPool) -> None:
    scene = pool_of(FAILOVER_SECS="20")
    client = scene.client().posts()
    for name in ("primary", "account-1"):
        asked = scene.asked().by(name)
        scene.passes(11)
        asked.says(FAILED, body=b'{"verbatim":1}')
    client.saw(500, b'{"verbatim":1}')
    assert scene.asked_nobody()


def test_the_time_that_a_body_took_is_none_of_the_time_for_other_accounts(pool_of: OpenPool) -> None:
    scene = pool_of(2, FAILOVER_SECS="20", BODY_TIMEOUT_SECS="60")
    request = post(scene.token)
    client = scene.client().sends(request[:-2])
    for piece in (request[-2:-1], request[-1:]):
        scene.passes(15)
        client.sends(piece)
    scene.asked().by("primary").says(LIMITED)
    scene.asked().by("account-1").replies()
    client.saw(200)


def test_an_answer_that_is_lost_once_it_is_of_no_use_is_missed_by_nobody(pool_of: OpenPool) -> None:
    """While the next account's login is renewed."""
    scene = pool_of(2, {"account-1": session("account-1", expires_at=EPOCH - 1)}, ACCOUNT_ROUTING_STRATEGY="priority")
    renewal = scene.renews()
    client = scene.client().posts()
    upstream = scene.asked().by("primary").upstream
    upstream.sends(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100\r\nRetry-After: 60\r\n\r\n{")
    upstream.peer.breaks()
    client.saw_nothing()
    renewal.grants("account-1")
    scene.asked().by("account-1", 1).replies()
    client.saw(200, REPLY)


def test_with_one_account_the_answer_is_the_clients_to_see(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    client = scene.client().posts()
    scene.asked().says(LIMITED, b"Retry-After: 7", body=b'{"verbatim":1}')
    assert client.saw(429, b'{"verbatim":1}')[b"retry-after"] == b"7"
    assert scene.asked_nobody()


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_long_to_be_kept_goes_to_one_account_and_the_client_is_told_to_come_again(
    pool_of: OpenPool,
) -> None:
    """Its own retry finds an account that can answer, so it must not hear of the other one's five hours."""
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = scene.client().posts(b"x" * 101)
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + HOUR))
    headers = client.saw(429)
    assert headers[b"retry-after"] == b"1"
    assert not [name for name in headers if name.startswith(b"anthropic-ratelimit")]
    assert scene.asked_nobody()
    client.posts(b"x" * 101)
    again = scene.asked().by("account-1")
    assert again.body == b"x" * 101
    again.replies()
    client.saw(200)


def test_a_refused_credential_of_one_account_is_not_told_to_a_client_that_another_can_serve(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = scene.client().posts(b"x" * 101)
    scene.asked().by("primary").says(UNAUTHORIZED)
    status, headers, body = client.response()
    assert (status, headers[b"retry-after"]) == (529, b"1")
    assert b"overloaded_error" in body
    client.posts(b"x" * 101)
    scene.asked().by("account-1").replies()
    client.saw(200)


def test_an_account_that_answers_before_the_body_is_whole_is_left_with_the_body_going_on(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = scene.client().begins(200).sends(b"a" * 50)
    first = scene.asked().by("primary")
    assert first.body == b"a" * 50
    first.says(LIMITED)
    assert first.upstream.gone()
    client.sends(b"b" * 150)
    again = scene.asked().by("account-1")
    assert again.body == b"a" * 50 + b"b" * 150
    again.replies()
    client.saw(200, REPLY)


def test_a_body_that_outgrows_the_limit_while_the_next_account_is_found_is_not_sent_in_part(pool_of: OpenPool) -> None:
    expired = {"account-1": session("account-1", expires_at=1, renewable=False)}
    scene = pool_of(2, expired, REPLAY_LIMIT_BYTES="100")
    scene.passes(5)
    client = scene.client().begins(200).sends(b"a" * 50)
    first = scene.asked().by("primary")
    scene.shell.disk_hangs = True
    first.says(LIMITED, b"Retry-After: 7", body=b'{"verbatim":1}')
    client.sends(b"b" * 100)
    scene.shell.reads()
    client.saw(429)
    assert scene.asked_nobody()


def begins_chunked(scene: Pooled, *headers: bytes) -> Client:
    lines = b"".join(header + b"\r\n" for header in (b"Transfer-Encoding: chunked", *headers))
    return scene.client().sends(
        b"POST /v1/messages HTTP/1.1\r\nHost: router.test\r\nX-Api-Key: %b\r\n%b\r\n" % (scene.token, lines)
    )


def test_a_chunked_body_is_sent_again_as_a_whole(scene: Pooled) -> None:
    client = begins_chunked(scene).sends(chunk(b"first "))
    assert scene.asked_nobody(), "it may name a conversation"
    client.sends(chunk(b"second") + LAST_CHUNK)
    for name in ("primary", "account-1"):
        asked = scene.asked().by(name)
        assert asked.body == b"first second"
        if name == "primary":
            asked.says(OVERLOADED)
        else:
            asked.replies()
    client.saw(200, REPLY)


def test_a_chunked_body_of_unknown_length_is_waited_for_only_up_to_what_may_be_kept(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = begins_chunked(scene).sends(chunk(b"x" * 100))
    assert scene.asked_nobody()
    client.sends(chunk(b"y"))
    asked = scene.asked().by("primary")
    assert asked.body == b"x" * 100 + b"y"
    client.sends(chunk(b"z" * 10) + LAST_CHUNK)
    asked.says(LIMITED)
    client.saw(429)


def test_a_client_that_waits_for_100_continue_is_told_to_go_on_once(scene: Pooled) -> None:
    client = scene.client().begins(len(BODY), b"Expect: 100-continue")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert scene.asked_nobody()
    client.sends(BODY)
    scene.asked().by("primary").says(LIMITED)
    asked = scene.asked().by("account-1")
    assert b"expect" not in asked.headers
    asked.replies()
    client.saw(200, REPLY)


def test_a_long_body_behind_100_continue_is_asked_for_when_somebody_is_there_to_take_it(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100", ACCOUNT_CONCURRENCY_LIMITS="1")
    others = [scene.client().posts(), scene.client().posts()]
    client = scene.client().begins(200, b"Expect: 100-continue")
    client.saw(529)
    assert client.gone() or client.ended_well, "it was never told to send the body"
    for other in others:
        scene.asked().replies()
        other.saw(200)


def test_pipelined_requests_are_answered_in_order_whatever_account_answers(scene: Pooled) -> None:
    client = scene.client()
    client.sends(post(scene.token, b"one") + post(scene.token, b"two"))
    scene.asked().by("primary").says(OVERLOADED)
    first = scene.asked().by("account-1")
    assert (first.body, scene.asked_nobody()) == (b"one", True)
    first.replies(b'{"first":1}')
    second = scene.asked().by("account-2")
    assert second.body == b"two"
    second.says(OVERLOADED)
    third = scene.asked()
    third.replies(b'{"second":1}')
    client.saw(200, b'{"first":1}')
    client.saw(200, b'{"second":1}')


# --- clients that leave -----------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_its_body_is_looked_at_leaves_nothing(scene: Pooled) -> None:
    client = scene.client().begins(100).sends(b"x" * 50)
    client.leaves()
    assert scene.asked_nobody()
    assert scene.requests()[-1]["ended"] == "left"
    scene.assert_empty()


def test_a_body_that_does_not_come_while_it_is_looked_at_is_a_408(scene: Pooled) -> None:
    client = scene.client().begins(100).sends(b"x" * 50)
    scene.passes(61)
    client.saw(408)
    assert scene.asked_nobody()


def test_a_client_that_leaves_during_the_second_attempt_leaves_nothing(scene: Pooled) -> None:
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED)
    second = scene.asked().by("account-1")
    assert scene.in_flight() == [0, 1, 0]
    client.leaves()
    assert second.upstream.gone()
    assert scene.in_flight() == [0, 0, 0]


@pytest.mark.parametrize("ending", ["done", "cut", "refused", "drained"])
def test_however_a_request_ends_it_is_in_flight_no_more(scene: Pooled, ending: str) -> None:
    client = scene.client().posts()
    asked = scene.asked()
    assert scene.in_flight() == [1, 0, 0]
    upstream = asked.streams(EVENT)
    client.head()
    match ending:
        case "done":
            upstream.sends(LAST_CHUNK)
        case "cut":
            upstream.reset()
        case "refused":
            upstream.sends(b"no size\r\n")
        case _:
            scene.drains(0)
    assert scene.in_flight() == [0, 0, 0]
