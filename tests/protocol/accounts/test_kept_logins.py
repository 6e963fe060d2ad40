"""A renewed login is kept where others find it, though clients leave and the router is stopped, and nobody sees it."""

import json

from protocol.commands import LogLevel, WorkOnLogin
from protocol.files import FileContent
from protocol.gateway import LAST_SECONDS
from protocol.identity.login_file import recovery_path
from tests.protocol.accounts.conftest import OpenPool
from tests.protocol.accounts.logins import LIFETIME, answers, login, one
from tests.support.pooled import (
    LIMITED,
    UNAUTHORIZED,
    access,
    file_of,
    plain,
    refresh,
)
from tests.support.requests import EVENT, LAST_CHUNK, post

# --- where it is kept -------------------------------------------------------------------------------------------------


def test_what_else_is_in_the_file_is_kept(pool_of: OpenPool) -> None:
    scene = one(pool_of, 10)
    before = scene.shell.files[file_of("primary")]
    assert isinstance(before, bytes)
    client = scene.client().posts()
    scene.asked().replies()
    client.saw(200)
    scene.renews().grants("primary")
    after = scene.shell.files[file_of("primary")]
    assert isinstance(after, bytes)
    assert json.loads(after)["mcpOAuth"] == json.loads(before)["mcpOAuth"]
    assert json.loads(after)["claudeAiOauth"]["scopes"] == ["user:inference"]
    assert json.loads(after)["claudeAiOauth"]["refreshToken"] == refresh("primary", 1)


def test_in_memory_mode_no_file_is_written_and_the_renewed_login_is_used(pool_of: OpenPool) -> None:
    scene = one(pool_of, 10, OAUTH_REFRESH="memory")
    before = dict(scene.shell.files)
    answers(scene)
    scene.renews().grants("primary")
    answers(scene, number=1)
    scene.passes(LIFETIME - 100)
    answers(scene, number=1)
    again = scene.renews()
    assert json.loads(again.body)["refresh_token"] == refresh("primary", 1), "the chain goes on"
    again.grants("primary", 2)
    answers(scene, number=2)
    assert scene.shell.files == before


def test_switched_off_no_login_is_renewed_and_an_expired_token_is_tried(pool_of: OpenPool) -> None:
    scene = one(pool_of, OAUTH_REFRESH="off")
    scene.passes(LIFETIME + 100)
    client = scene.client().posts()
    scene.asked().by("primary").says(UNAUTHORIZED)
    client.saw(401)
    assert scene.asked_nobody()


def test_where_the_home_is_read_only_a_copy_is_kept_and_found_again_by_the_next_process(pool_of: OpenPool) -> None:
    scene = one(pool_of, 10)
    scene.shell.disk.read_only.add(file_of("primary"))
    answers(scene)
    scene.renews().grants("primary")
    answers(scene, number=1)
    assert scene.login_in("primary")["accessToken"] == access("primary")
    copy = recovery_path("/data", file_of("primary"))
    assert copy in scene.shell.files
    (warning,) = scene.logs("is kept in the recovery copy")
    assert (warning.level, warning.fields) == (LogLevel.WARN, {"reason": "Read-only file system"})

    files: dict[str, FileContent] = dict(scene.shell.files)
    second = pool_of(1, {"primary": files[file_of("primary")]}, recovery=files)
    answers(second, number=1)
    assert second.asked_nobody()


def test_a_login_that_is_removed_while_it_is_renewed_does_not_come_back(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    renewal = scene.renews()
    del scene.shell.files[file_of("primary")]
    scene.passes(2)
    scene.client().posts()
    renewal.grants("primary")
    assert file_of("primary") not in scene.shell.files
    client.saw(502)
    assert scene.asked_nobody()


# --- who leaves, and shutdown -----------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_its_account_is_renewed_does_not_stop_the_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    renewal = scene.renews()
    client.leaves()
    renewal.grants("primary")
    assert scene.login_in("primary")["accessToken"] == access("primary", 1)
    assert scene.asked_nobody()
    answers(scene, number=1)


def test_a_client_that_leaves_after_a_401_does_not_stop_the_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    client = scene.client().posts()
    scene.asked().says(UNAUTHORIZED)
    renewal = scene.renews()
    client.leaves()
    assert scene.in_flight() == [0]
    renewal.grants("primary")
    answers(scene, number=1)


def test_a_shutdown_waits_until_the_renewed_login_is_kept(pool_of: OpenPool) -> None:
    """The old refresh token is spent: whoever left now would take the login along."""
    scene = one(pool_of, 10)
    client = scene.client().posts()
    scene.asked().replies()
    client.saw(200)
    renewal = scene.renews()
    scene.drains(60)
    assert not scene.stopped()
    scene.shell.disk_hangs = True
    renewal.grants("primary")
    assert not scene.stopped()
    scene.shell.reads()
    assert scene.stopped()
    assert client.gone()
    assert scene.login_in("primary")["accessToken"] == access("primary", 1)


def test_a_shutdown_ends_a_request_that_waits_for_a_renewal_when_the_grace_is_over(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME + 1)
    client = scene.client().posts()
    renewal = scene.renews()
    scene.drains(30)
    scene.passes(31)
    client.saw(503)
    scene.passes(LAST_SECONDS)
    assert scene.stopped()
    renewal.upstream.reset()


def test_a_shutdown_does_not_wait_for_a_lock_that_somebody_else_has(pool_of: OpenPool) -> None:
    scene = one(pool_of)
    scene.passes(LIFETIME - 100)
    scene.shell.disk.locked.add(file_of("primary"))
    scene.orders()
    answers(scene)
    assert scene.orders(WorkOnLogin)
    scene.drains(60)
    assert scene.stopped()


def test_a_request_that_streams_goes_on_over_a_renewal(pool_of: OpenPool) -> None:
    scene = one(pool_of, 400)
    client = scene.client().posts()
    upstream = scene.asked().by("primary").streams(EVENT)
    client.head()
    scene.passes(150)
    other = scene.client().posts()
    scene.asked().by("primary").replies()
    other.saw(200)
    scene.renews().grants("primary")
    upstream.sends(LAST_CHUNK)
    client.until(LAST_CHUNK)
    assert scene.requests()[-1]["ended"] == "done"


# --- what nobody may see ----------------------------------------------------------------------------------------------


def test_no_token_is_in_any_log_line_or_any_answer(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login(lifetime=10), "account-1": login("account-1", 10)})
    client = scene.client()
    for status in (UNAUTHORIZED, LIMITED):
        client.posts()
        while not scene.asked_nobody():
            pending = scene.next_of("tokens")
            if pending is not None:
                pending.denies()
            else:
                scene.asked().says(status, body=b"{}")
        scene.passes(10)
    scene.accounts_page()
    scene.passes(10)
    shown = repr(scene.shell.logs) + repr(scene.accounts_page()) + repr(bytes(client.peer.inbox))
    assert "sk-ant-" not in shown
    assert plain("primary").decode() not in shown


def test_a_bound_token_waits_for_its_account_s_renewal(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": login()})
    scene.passes(LIFETIME + 1)
    client = scene.client().sends(post(scene.token_for("primary")))
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).replies()
    client.saw(200)
