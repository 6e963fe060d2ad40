"""Upstream connections that break: when a request is sent once more, and how one that is given up is broken off."""

import pytest

from protocol.commands import Connect
from protocol.links.upstream import STALE_SECONDS
from tests.protocol.conftest import OpenScene
from tests.support.requests import REPLY, STREAM_HEAD
from tests.support.scene import Scene

# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_stale_connection_costs_one_more_request_on_a_fresh_one(scene: Scene, how: str) -> None:
    client, stale = scene.used_before()
    client.posts()
    stale.got()
    getattr(stale, how)()
    fresh = scene.upstream()
    fresh.got()
    fresh.replies()
    client.saw(200, REPLY)


def test_a_request_is_sent_no_third_time(scene: Scene) -> None:
    client, stale = scene.used_before()
    client.posts()
    stale.half_close()
    scene.upstream().half_close()
    client.saw(502)
    assert scene.asked_nobody()


def test_the_second_attempt_never_takes_a_connection_that_was_used_before(scene: Scene) -> None:
    clients = [scene.client().posts() for _ in range(2)]
    upstreams = [scene.upstream() for _ in range(2)]
    for client, upstream in zip(clients, upstreams, strict=True):
        upstream.replies()
        client.saw(200)
    scene.orders()
    clients[0].posts()
    upstreams[1].half_close()
    assert len(scene.orders(Connect)) == 1
    scene.upstream().replies()
    clients[0].saw(200, REPLY)
    assert not upstreams[0].gone()


@pytest.mark.parametrize("byte", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", STREAM_HEAD])
def test_nothing_is_sent_again_after_a_byte_of_an_answer(scene: Scene, byte: bytes) -> None:
    client, stale = scene.used_before()
    client.posts()
    stale.got()
    stale.sends(byte).half_close()
    assert scene.asked_nobody()
    assert client.head()[0] in (b"HTTP/1.1 502 Bad Gateway", b"HTTP/1.1 200 OK")


def test_a_body_that_was_not_kept_is_not_sent_again(scene_with: OpenScene) -> None:
    scene = scene_with(REPLAY_LIMIT_BYTES="100")
    client, stale = scene.used_before()
    client.posts(b"x" * 101)
    stale.half_close()
    client.saw(502)
    assert scene.asked_nobody()


def test_a_body_at_the_replay_limit_is_sent_again(scene_with: OpenScene) -> None:
    scene = scene_with(REPLAY_LIMIT_BYTES="100")
    client, stale = scene.used_before()
    client.posts(b"x" * 100)
    stale.half_close()
    scene.upstream().got(b"x" * 100)


def test_a_half_sent_body_starts_over_and_goes_on(scene: Scene) -> None:
    client, stale = scene.used_before()
    client.begins(8).sends(b"half")
    stale.reset()
    client.sends(b"more")
    fresh = scene.upstream()
    fresh.got(b"halfmore")
    fresh.replies()
    client.saw(200)


@pytest.mark.parametrize("how", ["half_close", "reset"])
@pytest.mark.parametrize(("seconds", "again"), [(0.9, True), (STALE_SECONDS, True), (1.1, False), (60.0, False)])
def test_a_used_connection_that_breaks_late_may_have_been_at_work_on_the_request(
    scene: Scene, how: str, seconds: float, again: bool
) -> None:
    client, stale = scene.used_before()
    client.posts()
    stale.got()
    scene.passes(seconds)
    getattr(stale, how)()
    if again:
        scene.upstream().replies()
        client.saw(200, REPLY)
    else:
        client.saw(502)
        assert scene.asked_nobody()


def test_what_counts_is_the_time_since_the_last_byte_of_the_request(scene: Scene) -> None:
    client, stale = scene.used_before()
    client.begins(2)
    for _ in range(2):
        scene.passes(1)
        client.sends(b"x")
    stale.reset()
    scene.upstream().got(b"xx")


# --- breaking off -----------------------------------------------------------------------------------------------------


def test_a_request_that_is_whole_at_the_upstream_is_ended_plainly(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    upstream.got()
    client.leaves()
    assert upstream.ended_well


def test_a_request_that_is_not_whole_is_reset(scene: Scene) -> None:
    """After a plain end the upstream could take what it has for the whole and act on it."""
    client = scene.client().begins(10).sends(b"x")
    upstream = scene.upstream()
    upstream.got(b"x")
    client.leaves()
    assert upstream.broken_off() == b""


def test_a_request_of_which_much_is_unsent_is_reset_and_the_rest_does_not_follow(scene: Scene) -> None:
    client = scene.client().begins(300_000)
    upstream = scene.upstream()
    upstream.head()
    upstream.stops_reading()
    client.sends(b"x" * 300_000)
    client.reset()
    upstream.reads()
    assert upstream.broken_off() == b""


def test_a_whole_request_of_which_much_is_unsent_is_reset_too(scene: Scene) -> None:
    client = scene.client().begins(100_000)
    upstream = scene.upstream()
    upstream.head()
    upstream.stops_reading()
    client.sends(b"x" * 100_000)
    assert upstream.backlog == 100_000, "all of it has been read from the client"
    client.reset()
    upstream.reads()
    assert upstream.broken_off() == b""


def test_an_answer_that_fails_before_the_request_is_whole_is_reset(scene: Scene) -> None:
    client = scene.client().begins(10).sends(b"x")
    upstream = scene.upstream()
    upstream.sends(b"no HTTP at all\r\n\r\n")
    client.saw(502)
    assert upstream.broken_off().endswith(b"\r\n\r\nx")
