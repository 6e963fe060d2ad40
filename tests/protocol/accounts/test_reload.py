"""Accounts come and go with the operator's settings while requests and renewals are under way."""

from dataclasses import replace

from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import LIMITED, NOT_FOUND, UNAUTHORIZED, Pooled, access, plain, session
from tests.support.requests import EVENT, LAST_CHUNK, get
from transports.memory import EPOCH

EXPIRED = EPOCH - 5.0


def reload(scene: Pooled, *dirs: str, home: str = "/home") -> None:
    """The operator names these directories now."""
    scene.names = ["primary", *(f"account-{place + 1}" for place in range(len(dirs)))]
    config = replace(scene.shell.gateway._config, claude_code_home=home, additional_account_dirs=dirs)
    scene.shell.reload(config)


def test_a_new_directory_is_an_account_at_once(pool_of: OpenPool) -> None:
    scene = pool_of(1)
    scene.has_login("account-1", plain("account-1"))
    reload(scene, "/account-1")
    for name in ("primary", "account-1"):
        client = scene.client().posts()
        scene.asked().by(name).replies()
        client.saw(200)


def test_a_request_goes_on_with_an_account_that_is_dropped_and_no_new_one_goes_there(pool_of: OpenPool) -> None:
    scene = pool_of(2, ACCOUNT_ROUTING_STRATEGY="priority")
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED)
    upstream = scene.asked().by("account-1").streams(EVENT)
    client.head()
    reload(scene)
    other = scene.client().posts()
    scene.asked().by("primary").replies()
    other.saw(200)
    upstream.sends(LAST_CHUNK)
    client.until(LAST_CHUNK)
    assert scene.requests()[-1]["account"] == "account-1"
    assert list(scene.shell.gateway._roster._pool._standings) == ["primary"]


def test_an_account_that_is_dropped_before_its_answer_is_judged_by_nobody(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.client().posts()
    asked = scene.asked().by("primary")
    reload(scene, "/account-1", home="/elsewhere")
    asked.says(UNAUTHORIZED)
    scene.asked().by("account-1").replies()
    client.saw(200)


def test_a_client_that_waits_for_an_account_that_is_dropped_is_told(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"account-1": session("account-1", expires_at=EXPIRED)})
    renewal = scene.renews()
    client = scene.client().sends(scene.request_as("account-1"))
    client.saw_nothing()
    reload(scene)
    renewal.grants("account-1")
    status, _, body = client.response()
    assert (status, b"does not exist" in body) == (502, True)
    assert scene.login_in("account-1")["accessToken"] == access("account-1", 1), "the login is not lost"


def test_what_a_dropped_account_held_is_asked_around(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.fetches(b"/v1/files/file_1")
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies()
    client.saw(200)
    reload(scene)
    client.sends(get(b"/v1/files/file_1", b"X-Api-Key: " + scene.token))
    scene.asked().by("primary").says(NOT_FOUND)
    client.saw(404)


def test_nothing_that_was_known_of_a_name_is_believed_of_another_home(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").says(LIMITED)
    scene.asked().by("account-1").replies(b'{"id":"file_1"}')
    client.saw(200)
    client.sends(scene.request_as("account-1"))
    scene.asked().by("account-1").says(LIMITED, b"Retry-After: 600")
    client.saw(429)
    scene.shell.files["/new/credentials.json"] = plain("new")
    reload(scene, "/new", "/account-1")
    assert (scene.account("account-1").healthy, scene.account("account-1").used) == (True, 0)
    assert scene.shell.gateway._roster.holder("file_1") is None
    warnings = [log.event for log in scene.shell.logs if "another home" in log.event]
    assert warnings == ["account account-1 has another home or key now, and tokens bound to it go there"]


def test_what_is_under_way_with_a_name_counts_on_when_that_gets_another_home(pool_of: OpenPool) -> None:
    scene = pool_of(1, ACCOUNT_CONCURRENCY_LIMITS="primary=1")
    client = scene.client().posts()
    asked = scene.asked().by("primary")
    scene.shell.files["/new/credentials.json"] = plain("new")
    reload(scene, home="/new")
    assert scene.in_flight() == [1]
    asked.says(LIMITED, b"Retry-After: 600")
    client.saw(429)
    assert scene.in_flight() == [0]
    assert scene.account("primary").healthy, "that was about another"


def test_a_shutdown_waits_for_a_renewal_that_began_two_settings_ago(pool_of: OpenPool) -> None:
    scene = pool_of(1, {"primary": session("primary", expires_at=EXPIRED)})
    renewal = scene.renews()
    for home in ("/elsewhere", "/further"):
        reload(scene, home=home)
    scene.drains(60)
    assert not scene.stopped()
    renewal.grants("primary")
    assert scene.stopped()


def test_a_shutdown_waits_for_the_renewal_of_a_login_whose_account_was_moved(pool_of: OpenPool) -> None:
    scene = pool_of(1, {"primary": session("primary", expires_at=EXPIRED)})
    renewal = scene.renews()
    reload(scene, home="/elsewhere")
    scene.drains(60)
    assert not scene.stopped()
    renewal.grants("primary")
    assert scene.stopped()
    assert scene.login_in("primary")["accessToken"] == access("primary", 1)


def test_the_renewal_of_a_login_whose_account_was_moved_is_no_news_of_the_account(pool_of: OpenPool) -> None:
    scene = pool_of(1, {"primary": session("primary", expires_at=EXPIRED)})
    renewal = scene.renews()
    reload(scene, home="/elsewhere")
    assert not scene.account("primary").healthy
    renewal.grants("primary")
    assert not scene.account("primary").healthy
    scene.client().posts().saw(502)
