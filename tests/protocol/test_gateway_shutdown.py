"""How the core shuts down: what it lets finish, what it ends, and that it says so once."""

from protocol.commands import Drained, StopListening
from tests.support.requests import LAST_CHUNK, REPLY
from tests.support.scene import Scene


def test_an_unused_router_stops_at_once(scene: Scene) -> None:
    scene.drains()
    assert [type(order) for order in scene.orders(StopListening, Drained)] == [StopListening, Drained]
    scene.assert_empty()


def test_a_drain_closes_unused_connections_on_both_sides(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().replies()
    client.saw(200)
    scene.drains()
    assert upstream.gone()
    assert client.gone()
    assert scene.stopped()
    scene.assert_empty()


def test_a_drain_lets_running_answers_finish_and_announces_the_end_of_their_connections(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    scene.drains()
    scene.passes(59)
    upstream.replies()
    assert client.saw(200, REPLY)[b"connection"] == b"close"
    assert client.gone()
    assert upstream.gone(), "it is of no use any more"
    assert scene.stopped()
    scene.assert_empty()


def test_a_drain_lets_a_request_finish_that_is_half_received(scene: Scene) -> None:
    client = scene.client().begins(10)
    scene.upstream()
    scene.drains()
    client.sends(b"x" * 10)
    assert not scene.stopped()
    client.leaves()
    assert scene.stopped()


def test_a_drain_waits_for_a_head_that_is_half_received(scene: Scene) -> None:
    client = scene.client().sends(b"GET /health HTTP/1.1\r\n")
    scene.drains()
    assert not scene.stopped()
    client.sends(b"Host: x\r\n\r\n")
    assert client.saw(503, b"draining")[b"connection"] == b"close"
    assert scene.stopped()
    scene.assert_empty()


def test_a_drain_ends_what_still_runs_after_the_grace(scene: Scene) -> None:
    streaming, upstream = scene.streaming()
    waiting = scene.client().posts()
    scene.drains(60)
    scene.passes(59.9)
    assert not scene.stopped()
    scene.passes(0.1)
    rest = streaming.rest()
    assert b"shutting down" in rest
    assert not rest.endswith(LAST_CHUNK)
    waiting.saw(503)
    assert upstream.gone()
    assert scene.stopped()
    assert sorted(str(request["ended"]) for request in scene.requests()) == ["cut", "done"]
    scene.assert_empty()


def test_a_drain_without_grace_ends_everything_now(scene: Scene) -> None:
    streaming, _ = scene.streaming()
    uploading = scene.client().begins(10)
    half = scene.client().sends(b"GET /")
    scene.drains(0)
    assert b"event: error\n" in streaming.rest()
    uploading.saw(503)
    assert half.gone()
    assert scene.stopped()
    scene.assert_empty()


def test_a_second_drain_sets_a_new_grace_and_stops_listening_only_once(scene: Scene) -> None:
    client, _ = scene.streaming()
    scene.orders()
    scene.drains(60)
    scene.passes(1)
    scene.drains(5)
    scene.passes(5)
    assert b"event: error\n" in client.rest()
    assert len(scene.orders(StopListening)) == 1
    assert len(scene.logs("Shutting down")) == 1
    scene.assert_empty()


def test_the_end_is_told_once(scene: Scene) -> None:
    scene.drains(0)
    scene.drains(0)
    scene.passes(100)
    assert len(scene.orders(Drained)) == 1


def test_health_tells_of_the_shutdown_while_answers_run(scene: Scene) -> None:
    idle = scene.client()
    running, upstream = scene.streaming()
    scene.drains()
    idle.gets().saw(503, b"draining")
    late = scene.client().gets()
    late.saw(503, b"draining")
    upstream.sends(LAST_CHUNK)
    assert running.rest() == LAST_CHUNK
    assert scene.stopped()


def test_a_drain_ends_an_unread_connection_that_lingers(scene: Scene) -> None:
    client = scene.client().begins(10, b"X-Api-Key: la_sk_wrong").sends(b"")
    scene.upstream().replies()
    client.saw(200)
    scene.drains()
    assert not scene.stopped()
    scene.passes(2)
    assert scene.stopped()
    scene.assert_empty()
