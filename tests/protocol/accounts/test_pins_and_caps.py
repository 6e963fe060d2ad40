"""Which account is next: the operator's strategy, the limits of each account, and tokens bound to one."""

import json

import pytest

from protocol.values import Tokens
from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    HOUR,
    LIMITED,
    OK,
    OVERLOADED,
    UNAUTHORIZED,
    Asked,
    Pooled,
    access,
    file_of,
    session,
    window,
)
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, get, post
from tests.support.scene import Client
from transports.memory import EPOCH


def posts_as(scene: Pooled, account: str, client: Client | None = None) -> Client:
    """A request with a token that is bound to an account."""
    return (client or scene.client()).sends(scene.request_as(account))


def name_of(scene: Pooled, asked: Asked) -> str:
    return next(name for name in scene.names if access(name) == asked.token)


def sequence(scene: Pooled, requests: int, *headers: bytes) -> list[str]:
    """The accounts that so many requests, one after the other, go to."""
    client, names = scene.client(), []
    for _ in range(requests):
        client.posts()
        asked = scene.asked()
        names.append(name_of(scene, asked))
        asked.replies(REPLY, *headers)
        client.saw(200)
    client.leaves()
    return names


# --- pins -------------------------------------------------------------------------------------------------------------


def test_a_token_that_is_bound_to_an_account_is_served_by_it_alone(scene: Pooled) -> None:
    client = scene.client()
    for _ in range(4):
        posts_as(scene, "account-1", client)
        scene.asked().by("account-1").replies()
        client.saw(200)


@pytest.mark.parametrize("status", [LIMITED, OVERLOADED, UNAUTHORIZED])
def test_what_a_bound_token_s_account_says_is_the_clients_to_see(scene: Pooled, status: bytes) -> None:
    client = posts_as(scene, "account-1")
    scene.asked().by("account-1").says(status, b"Retry-After: 77", body=b'{"verbatim":1}')
    assert client.saw(int(status[:3]), b'{"verbatim":1}')[b"retry-after"] == b"77"
    assert scene.asked_nobody()


def test_a_bound_token_waits_for_its_own_account_s_limit_and_for_no_other(scene: Pooled) -> None:
    client = posts_as(scene, "account-1")
    scene.asked().says(LIMITED, *window("5h", scene.wall + HOUR))
    client.saw(429)
    assert posts_as(scene, "account-1", client).saw(429)[b"retry-after"] == b"3600"
    assert scene.asked_nobody()


def test_a_token_that_is_bound_to_an_account_that_does_not_exist_is_a_502_that_says_so(scene: Pooled) -> None:
    status, _, body = posts_as(scene, "account-9").response()
    assert (status, b"bound to does not exist" in body) == (502, True)
    assert scene.asked_nobody()


def test_a_bound_token_whose_account_has_no_credential_is_a_502_until_there_is_one(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"account-1": None})
    posts_as(scene, "account-1").saw(502)
    assert scene.asked_nobody()
    scene.has_login("account-1", b'{"accessToken":"%s"}' % access("account-1").encode())
    scene.passes(1)
    client = posts_as(scene, "account-1")
    scene.asked().by("account-1").replies()
    client.saw(200)


def test_a_bound_token_wins_over_the_conversation_s_account(scene: Pooled) -> None:
    client = scene.client()
    for account in ("account-2", "account-1", "account-2"):
        client.sends(post(scene.token_for(account), BODY, b"/v1/messages", b"x-session-id: one"))
        scene.asked().by(account).replies()
        client.saw(200)


def test_a_bound_token_cannot_reach_what_another_account_keeps(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").replies(b'{"id":"file_1"}')
    client.saw(200)
    client.sends(get(b"/v1/files/file_1", b"X-Api-Key: " + scene.token_for("account-1")))
    scene.asked().by("account-1").says(b"404 Not Found", body=b"{}")
    client.saw(404)
    assert scene.asked_nobody()


# --- strategies -------------------------------------------------------------------------------------------------------


def test_round_robin_takes_turns(scene: Pooled) -> None:
    assert sequence(scene, 6) == scene.names * 2


@pytest.mark.parametrize("spelling", ["priority", "prio", "Priority"])
def test_priority_asks_the_first_that_can_answer(pool_of: OpenPool, spelling: str) -> None:
    scene = pool_of(ACCOUNT_ROUTING_STRATEGY=spelling)
    assert sequence(scene, 3) == ["primary"] * 3
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, b"Retry-After: 60")
    scene.asked().by("account-1").replies()
    client.saw(200)
    assert sequence(scene, 3) == ["account-1"] * 3
    scene.passes(61)
    assert sequence(scene, 2) == ["primary"] * 2


@pytest.mark.parametrize("spelling", ["least-used", "leastused", "lru"])
def test_least_used_goes_by_what_the_provider_says_is_used(pool_of: OpenPool, spelling: str) -> None:
    scene = pool_of(ACCOUNT_ROUTING_STRATEGY=spelling)
    for name, share in (("primary", 0.8), ("account-1", 0.3), ("account-2", 0.5)):
        client = posts_as(scene, name)
        scene.asked().by(name).says(OK, *window("5h", scene.wall + HOUR, utilization=share, status="allowed"))
        client.response()
    same = window("5h", scene.wall + HOUR, utilization=0.3, status="allowed")
    assert sequence(scene, 3, *same) == ["account-1"] * 3
    client = posts_as(scene, "account-1")
    scene.asked().says(OK, *window("5h", scene.wall + HOUR, utilization=0.9, status="allowed"))
    client.response()
    assert sequence(scene, 2) == ["account-2"] * 2


def costing(tokens: int) -> bytes:
    """A message that was billed for so many tokens of input."""
    message = {"type": "message", "content": [], "usage": {"input_tokens": tokens, "output_tokens": 1}}
    return json.dumps(message).encode()


def test_least_used_goes_by_tokens_and_not_by_the_number_of_requests(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_ROUTING_STRATEGY="least-used")
    client = scene.client().posts()
    scene.asked().by("primary").replies(costing(100_000))
    client.response()
    for _ in range(5):
        client.posts()
        scene.asked().by("account-1").replies(costing(10))
        client.response()
    assert scene.account("primary").tokens == Tokens(input=100_000, output=1)
    assert scene.shown("account-1")["tokens"] == {"input": 50, "output": 5, "cache_creation": 0, "cache_read": 0}


def test_what_a_stream_cost_counts_for_its_account_also_when_the_request_failed_over(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    scene.asked().by("primary").says(OVERLOADED, body=costing(7))
    usage = b'{"type":"message_delta","usage":{"input_tokens":30,"output_tokens":4}}'
    upstream = scene.asked().by("account-1").streams(b"event: message_delta\ndata: %b\n\n" % usage)
    upstream.sends(LAST_CHUNK)
    client.head()
    assert scene.account("primary").tokens == Tokens()
    assert scene.account("account-1").tokens == Tokens(input=30, output=4)


def test_least_used_spreads_what_is_under_way(pool_of: OpenPool) -> None:
    scene = pool_of(ACCOUNT_ROUTING_STRATEGY="least-used")
    clients = [scene.client().posts() for _ in range(6)]
    asked = [scene.asked() for _ in clients]
    assert sorted(name_of(scene, one) for one in asked) == sorted(scene.names * 2)
    for one in asked:
        one.replies()
    for client in clients:
        client.saw(200)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_an_account_is_sent_no_more_requests_than_its_limit(pool_of: OpenPool) -> None:
    scene = pool_of(ACCOUNT_REQUEST_LIMITS="primary=1,account-1=2,account-2=1")
    assert sequence(scene, 4) == ["primary", "account-1", "account-2", "account-1"]
    status, headers, body = scene.client().posts().response()
    assert (status, b"retry-after" in headers) == (429, False), "no time will change it"
    assert b"as many requests as its limit allows" in body
    shown = [(account["request_limit"], account["remaining_requests"]) for account in scene.accounts_page()]
    assert shown == [(1, 0), (2, 0), (1, 0)]


def test_a_limit_without_a_name_is_for_every_account_that_is_not_named(pool_of: OpenPool) -> None:
    scene = pool_of(ACCOUNT_CONCURRENCY_LIMITS="2,account-1=1")
    clients = [scene.client().posts() for _ in range(5)]
    for asked in [scene.asked() for _ in clients]:
        asked.replies()
    for client in clients:
        client.saw(200)
    assert [scene.account(name).concurrency_limit for name in scene.names] == [2, 1, 2]


def test_an_account_has_no_more_requests_under_way_than_its_limit(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_CONCURRENCY_LIMITS="1")
    clients = [scene.client().posts() for _ in range(2)]
    first, second = scene.asked().by("primary"), scene.asked().by("account-1")
    status, headers, body = scene.client().posts().response()
    assert (status, headers[b"retry-after"]) == (529, b"1")
    assert json.loads(body)["error"]["type"] == "overloaded_error"
    upstream = first.streams(EVENT)
    scene.client().posts().saw(529)
    upstream.sends(LAST_CHUNK)
    third = scene.client().posts()
    scene.asked().by("primary").replies()
    third.saw(200)
    second.replies()
    clients[1].saw(200)


def test_a_request_that_failed_over_takes_no_place_with_the_account_it_left(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_CONCURRENCY_LIMITS="1", ACCOUNT_ROUTING_STRATEGY="priority")
    client = scene.client().posts()
    scene.asked().by("primary").says(OVERLOADED)
    under_way = scene.asked().by("account-1")
    scene.passes(2)
    other = scene.client().posts()
    scene.asked().by("primary").replies()
    other.saw(200)
    under_way.replies()
    client.saw(200)


def test_a_place_is_free_while_another_account_is_waited_for(pool_of: OpenPool) -> None:
    logins = {"account-1": session("account-1", expires_at=EPOCH - 1)}
    scene = pool_of(2, logins, ACCOUNT_ROUTING_STRATEGY="priority", ACCOUNT_CONCURRENCY_LIMITS="primary=1")
    renewal = scene.renews()
    client = scene.client().posts()
    scene.asked().by("primary").says(OVERLOADED)
    assert scene.in_flight() == [0, 0]
    renewal.grants("account-1")
    assert scene.in_flight() == [0, 1]
    scene.asked().by("account-1", 1).replies()
    client.saw(200)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_place_is_free_again_when_its_client_leaves(pool_of: OpenPool, leaves: bool) -> None:
    scene = pool_of(1, ACCOUNT_CONCURRENCY_LIMITS="1")
    first = scene.client().posts()
    scene.asked()
    if leaves:
        first.leaves()
    else:
        first.reset()
    second = scene.client().posts()
    scene.asked().replies()
    second.saw(200)


# --- accounts come and go ---------------------------------------------------------------------------------------------


def test_a_directory_that_appears_while_the_router_runs_is_used_within_a_second(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"account-1": None})
    assert sequence(scene, 3) == ["primary"] * 3
    scene.has_login("account-1", b'{"accessToken":"%s"}' % access("account-1").encode())
    scene.passes(1)
    assert set(sequence(scene, 3)) == {"primary", "account-1"}


def test_a_login_that_is_removed_while_the_router_runs_is_used_no_more(scene: Pooled) -> None:
    del scene.shell.files[file_of("account-1")]
    scene.passes(1)
    sequence(scene, 3)
    assert sequence(scene, 4) == ["primary", "account-2"] * 2
    assert scene.account("account-1").last_error == "no usable credential"
    assert "account account-1 is out: no usable credential" in scene.health()


def test_an_api_key_is_an_account_beside_logins(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"account-1": b'{"primaryApiKey":"sk-ant-api03-key"}'})
    client = scene.client().posts()
    scene.asked().by("primary").replies()
    client.saw(200)
    client.posts()
    asked = scene.asked()
    assert asked.headers[b"x-api-key"] == b"sk-ant-api03-key"
    assert b"authorization" not in asked.headers
    assert b"oauth" not in asked.headers.get(b"anthropic-beta", b"")
    asked.replies()
    client.saw(200)


def test_hundreds_of_accounts_without_a_credential_do_not_keep_the_others_from_answering(pool_of: OpenPool) -> None:
    scene = pool_of(400, {f"account-{place}": None for place in range(1, 399)})
    scene.passes(5)
    assert set(sequence(scene, 3)) == {"primary", "account-399"}
    assert scene.client().sends(post(scene.token_for("account-200"))).saw(502)
