"""A look at the files that comes too late for one request is not too early for the next one."""

from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import Pooled, session
from tests.support.requests import REPLY
from transports.memory import EPOCH

FAILED = b"503 Service Unavailable"


def expired(pool_of: OpenPool) -> Pooled:
    """A router whose only login is over."""
    return pool_of(1, {"primary": session("primary", expires_at=EPOCH - 60)})


def test_a_login_that_claude_code_renews_right_after_we_failed_to_is_used_at_once(pool_of: OpenPool) -> None:
    scene = expired(pool_of)
    client = scene.client().posts()
    scene.renews().says(FAILED)
    client.saw(502)
    scene.has_login("primary", session("primary", number=1, expires_at=EPOCH + 3600))
    client.posts()
    scene.asked().by("primary", 1).replies()
    client.saw(200, REPLY)


def test_an_endpoint_that_failed_is_left_alone_for_a_while_by_requests_that_would_need_it(pool_of: OpenPool) -> None:
    scene = expired(pool_of)
    client = scene.client().posts()
    scene.renews().says(FAILED)
    client.saw(502)
    for _ in range(3):
        client.posts().saw(502)
    assert scene.asked_nobody()


def test_a_shutdown_that_waits_no_longer_closes_what_a_renewal_waits_on(pool_of: OpenPool) -> None:
    scene = expired(pool_of)
    renewal = scene.renews()
    scene.drains(0)
    scene.passes(10)
    assert scene.stopped()
    assert renewal.upstream.peer.closed
    assert scene.shell.streams == {}
