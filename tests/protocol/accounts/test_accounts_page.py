"""``GET /v1/accounts``: what the operator sees of each account, and who may look."""

import json

import pytest

from protocol.commands import LoadFiles
from protocol.values import Peer, PeerKind
from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    HOUR,
    LIMITED,
    OK,
    OVERLOADED,
    UNAUTHORIZED,
    Pooled,
    access,
    file_of,
    refresh,
    session,
    window,
)
from tests.support.requests import EVENT, get
from tests.support.scene import Client
from transports.memory import EPOCH

REMOTE = Peer(PeerKind.NETWORK, "192.0.2.7")


def looks(scene: Pooled, *headers: bytes, peer: Peer | None = None, method: bytes = b"GET") -> Client:
    client = scene.client() if peer is None else Client(scene, scene.shell.client(peer))
    return client.sends(get(b"/v1/accounts", *headers).replace(b"GET", method, 1))


# --- who may look -----------------------------------------------------------------------------------------------------


def test_without_an_admin_key_only_somebody_on_this_machine_may_look(scene: Pooled) -> None:
    looks(scene).saw(200)
    looks(scene, b"X-Forwarded-For: 192.0.2.7").saw(401)
    remote = looks(scene, peer=REMOTE)
    remote.saw(401)
    remote.reset()


def test_with_an_admin_key_only_who_has_it_may_look(pool_of: OpenPool) -> None:
    scene = pool_of(2, TOKEN_ADMIN_KEY="an admin key")
    looks(scene).saw(401)
    looks(scene, b"Authorization: Bearer wrong").saw(401)
    looks(scene, b"Authorization: Bearer " + scene.token).saw(401)
    remote = looks(scene, b"Authorization: Bearer an admin key", peer=REMOTE)
    remote.saw(200)
    remote.reset()


def test_it_can_be_hidden(pool_of: OpenPool) -> None:
    looks(pool_of(2, DISABLE_METRICS="true")).saw(404)


def test_it_is_there_to_be_read_only(scene: Pooled) -> None:
    looks(scene, b"X-Api-Key: " + scene.token, b"Content-Length: 0", method=b"POST").saw(405)
    head = looks(scene, method=b"HEAD")
    assert head.head()[0] == b"HTTP/1.1 200 OK"


def test_no_cache_may_keep_it(scene: Pooled) -> None:
    headers = looks(scene).saw(200)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-type"] == b"application/json"


# --- what is seen -----------------------------------------------------------------------------------------------------

ORIGINAL = ["name", "home", "healthy", "used", "last_error", "cooldown_remaining_seconds"]


def test_it_has_the_fields_of_the_original_for_every_account_in_order(scene: Pooled) -> None:
    page = scene.accounts_page()
    assert [account["name"] for account in page] == ["primary", "account-1", "account-2"]
    assert [account["home"] for account in page] == ["/home", "/account-1", "/account-2"]
    for account in page:
        assert {field: account[field] for field in ORIGINAL[2:]} == {
            "healthy": True, "used": 0, "last_error": None, "cooldown_remaining_seconds": None,
        }  # fmt: skip


def test_one_account_is_shown_like_many(pool_of: OpenPool) -> None:
    (account,) = pool_of(1).accounts_page()
    assert (account["name"], account["home"]) == ("primary", "/home")


def test_what_was_sent_and_what_went_wrong_is_shown_until_it_is_over(scene: Pooled) -> None:
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, *window("5h", scene.wall + HOUR))
    scene.asked().by("account-1").replies()
    client.saw(200)
    scene.passes(0.5)
    shown = scene.shown("primary")
    assert (shown["healthy"], shown["used"], shown["last_error"]) == (False, 1, "upstream returned 429")
    assert (shown["cooldown_remaining_seconds"], shown["cooldown_cause"]) == (3600, "usage window used up")
    assert shown["cooldowns"] == [
        {"cause": "usage window used up", "remaining_seconds": 3600, "model": None, "window": "5h"}
    ]
    assert scene.shown("account-1")["used"] == 1
    scene.passes(HOUR)
    client = scene.client().posts()
    scene.asked().by("account-2").replies()
    client.saw(200)
    client.posts()
    scene.asked().by("primary").replies()
    client.saw(200)
    shown = scene.shown("primary")
    assert (shown["healthy"], shown["used"], shown["last_error"]) == (True, 2, None)
    assert (shown["cooldown_remaining_seconds"], shown["cooldowns"]) == (None, [])


def test_windows_quotas_and_what_is_under_way_are_shown(pool_of: OpenPool) -> None:
    scene = pool_of(1, ACCOUNT_CONCURRENCY_LIMITS="5", ACCOUNT_REQUEST_LIMITS="9")
    client = scene.client().posts()
    asked = scene.asked()
    lines = window("7d", scene.wall + HOUR, utilization=0.5, status="allowed_warning")
    asked.says(OK, *lines, b"anthropic-ratelimit-tokens-limit: 100", b"anthropic-ratelimit-tokens-remaining: 40")
    client.response()
    other = scene.client().posts()
    upstream = scene.asked().streams(EVENT)
    shown = scene.shown("primary")
    assert shown["windows"] == [
        {"name": "7d", "status": "allowed_warning", "utilization": 0.5, "resets_at": scene.wall + HOUR}
    ]
    assert shown["quotas"] == [{"name": "tokens", "limit": 100.0, "remaining": 40.0, "resets_at": None}]
    assert (shown["in_flight"], shown["concurrency_limit"]) == (1, 5)
    assert (shown["request_limit"], shown["remaining_requests"], shown["used"]) == (9, 7, 2)
    other.leaves()
    assert upstream.gone()
    assert scene.shown("primary")["in_flight"] == 0


def test_what_kind_of_credential_each_has_and_how_long_it_lasts_is_shown(pool_of: OpenPool) -> None:
    files = {
        "primary": session("primary", expires_at=EPOCH + 28_800),
        "account-1": b'{"primaryApiKey":"sk-ant-api03-key"}',
        "account-2": session("account-2", expires_at=EPOCH - 5, renewable=False),
        "account-3": None,
    }
    scene = pool_of(4, files)
    fields = ("kind", "source", "expires_at", "expired", "renewable", "needs_login", "healthy")
    shown = [tuple(account[field] for field in fields) for account in scene.accounts_page()]
    assert shown == [
        ("oauth", file_of("primary"), EPOCH + 28_800, False, True, False, True),
        ("api_key", file_of("account-1"), None, False, False, False, True),
        ("oauth", file_of("account-2"), EPOCH - 5, True, False, False, True),
        (None, None, None, False, False, True, False),
    ]


def test_an_api_key_of_the_environment_is_named_by_its_variable(pool_of: OpenPool) -> None:
    scene = pool_of(1, {"primary": None}, ANTHROPIC_API_KEY="sk-ant-api03-key")
    shown = scene.shown("primary")
    assert (shown["kind"], shown["source"]) == ("api_key", "ANTHROPIC_API_KEY")
    client = scene.client().posts()
    assert scene.asked().headers[b"x-api-key"] == b"sk-ant-api03-key"
    client.leaves()


def test_no_credential_is_on_the_page(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": session("primary", expires_at=EPOCH + 28_800)})
    page = json.dumps(scene.accounts_page())
    assert access("primary") not in page
    assert access("account-1") not in page
    assert refresh("primary") not in page


# --- how fresh it is --------------------------------------------------------------------------------------------------


def test_the_files_are_looked_at_before_it_is_shown(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"account-1": None})
    assert scene.shown("account-1")["needs_login"]
    scene.has_login("account-1", session("account-1", expires_at=EPOCH + 28_800))
    scene.passes(1)
    shown = scene.shown("account-1")
    assert (shown["needs_login"], shown["healthy"], shown["kind"]) == (False, True, "oauth")


def test_looking_often_reads_the_files_no_more_than_once_a_second(scene: Pooled) -> None:
    scene.passes(5)
    scene.orders()
    for _ in range(5):
        scene.accounts_page()
    assert len(scene.orders(LoadFiles)) == 3


def test_all_accounts_are_looked_at_at_the_same_time(scene: Pooled) -> None:
    scene.passes(5)
    scene.orders()
    scene.shell.disk_hangs = True
    client = looks(scene)
    assert len(scene.orders(LoadFiles)) == 3
    scene.shell.reads()
    client.saw(200)


@pytest.mark.parametrize("lifetime", [100, -100])
def test_a_token_endpoint_that_is_slow_does_not_keep_the_operator_waiting(pool_of: OpenPool, lifetime: float) -> None:
    scene = pool_of(2, {"primary": session("primary", expires_at=EPOCH + 1000)})
    scene.passes(1000 - lifetime)
    shown = scene.shown("primary")
    assert (shown["expired"], shown["renewable"], shown["needs_login"]) == (lifetime < 0, True, False)
    scene.renews().grants("primary")
    shown = scene.shown("primary")
    assert (shown["expired"], shown["expires_at"]) == (False, scene.wall + 28_800)


def test_asking_for_the_page_is_no_use_of_an_account(scene: Pooled) -> None:
    for status in (OVERLOADED, UNAUTHORIZED):
        client = scene.client().posts()
        scene.asked().says(status)
        scene.asked().replies()
        client.saw(200)
    before = scene.accounts_page()
    assert scene.accounts_page() == before
    assert scene.asked_nobody()
