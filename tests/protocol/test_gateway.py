"""The core as a whole: who leaves, what is cancelled, and what it keeps: nothing."""

import json

import pytest

from protocol.commands import Close, Connect, Loss, Write
from tests.protocol.conftest import OpenScene
from tests.support.requests import EVENT, LAST_CHUNK, REPLY, chunk, post
from tests.support.scene import EXPIRED, Scene

# --- clients that leave -----------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_it_waits_cancels_the_request(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    upstream.got()
    scene.orders()
    client.leaves()
    assert scene.orders(Close) == [Close(upstream.peer.conn), Close(client.peer.conn)]
    assert scene.requests()[-1]["ended"] == "left"
    scene.assert_empty()


def test_a_client_that_leaves_while_the_connection_is_made_cancels_the_attempt(scene: Scene) -> None:
    scene.shell.connect_hangs = True
    client = scene.client().posts()
    assert scene.shell.connecting
    client.leaves()
    scene.assert_empty()


def test_a_client_that_leaves_mid_stream_cancels_it(scene: Scene) -> None:
    client, upstream = scene.streaming()
    client.leaves()
    assert upstream.gone()
    assert scene.requests()[-1]["ended"] == "left"
    scene.assert_empty()


def test_a_client_that_leaves_mid_upload_cancels_it(scene: Scene) -> None:
    client = scene.client().begins(1000).sends(b"x" * 500)
    upstream = scene.upstream()
    client.leaves()
    assert upstream.broken_off().endswith(b"\r\n\r\n" + b"x" * 500)
    assert scene.requests()[-1]["bytes_in"] == 500
    scene.assert_empty()


def test_a_client_whose_connection_breaks_is_not_written_to_any_more(scene: Scene) -> None:
    client, upstream = scene.streaming()
    scene.orders()
    client.reset()
    assert scene.orders(Write, Close) == [Close(upstream.peer.conn)]
    scene.assert_empty()


def test_a_client_that_leaves_during_the_credential_check_leaves_nothing(scene_with: OpenScene) -> None:
    scene = scene_with(EXPIRED)
    scene.passes(5)
    scene.shell.disk_hangs = True
    client = scene.client().posts()
    client.leaves()
    scene.shell.reads()
    assert scene.asked_nobody()
    scene.assert_empty()


def test_a_client_that_leaves_between_two_requests_leaves_no_trace(scene: Scene) -> None:
    client = scene.client().gets()
    client.saw(200, b"ok")
    client.leaves()
    assert len(scene.requests()) == 1
    scene.assert_empty()


@pytest.mark.parametrize("part", [b"", b"GE", b"GET /health HTTP/1.1\r\nHost: x"])
def test_a_client_that_leaves_before_its_request_is_whole_is_no_request(scene: Scene, part: bytes) -> None:
    client = scene.client().sends(part)
    client.leaves()
    assert client.gone()
    assert scene.requests() == []
    scene.assert_empty()


def test_a_half_close_cancels_by_default(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    client.half_close()
    assert upstream.gone()
    assert client.gone()


def test_a_half_closed_client_is_answered_and_closed_if_the_operator_wants_that(scene_with: OpenScene) -> None:
    scene = scene_with(CLIENT_HALF_CLOSE="answer")
    client = scene.client().posts().gets()
    client.half_close()
    scene.upstream().replies()
    client.saw(200, REPLY)
    client.saw(200, b"ok")
    assert client.gone()
    assert [request["ended"] for request in scene.requests()] == ["done", "done"]


def test_a_half_close_does_not_make_a_part_of_an_answer_look_whole(scene: Scene) -> None:
    client = scene.client().sends(post(scene.token).replace(b"HTTP/1.1", b"HTTP/1.0"))
    scene.upstream().streams(EVENT)
    client.half_close()
    assert client.peer.reset


def test_a_half_close_within_a_body_is_a_departure_under_either_policy(scene_with: OpenScene) -> None:
    scene = scene_with(CLIENT_HALF_CLOSE="answer")
    client = scene.client().begins(10).sends(b"x")
    client.half_close()
    assert client.gone()
    assert scene.requests()[-1]["ended"] == "left"
    scene.assert_empty()


# --- upstreams that end -----------------------------------------------------------------------------------------------


def test_an_upstream_that_ends_a_body_without_length_has_ended_it_well(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall there is")
    upstream.half_close()
    client.head()
    assert client.until(LAST_CHUNK) == chunk(b"all there is") + LAST_CHUNK
    assert scene.requests()[-1]["ended"] == "done"
    assert upstream.gone(), "such a connection serves once"


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_an_upstream_that_ends_amid_chunks_has_cut_them(scene: Scene, how: str) -> None:
    client, upstream = scene.streaming()
    getattr(upstream, how)()
    rest = client.rest()
    assert b"event: error\ndata: " in rest
    assert not rest.endswith(LAST_CHUNK)
    assert scene.requests()[-1]["ended"] == "cut"
    assert scene.requests()[-1]["error"]


def test_an_upstream_that_ends_short_of_its_length_has_cut_it(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().sends(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    upstream.half_close()
    client.head()
    assert client.rest() == b"12345"
    assert scene.requests()[-1]["ended"] == "cut"


def test_an_upstream_that_breaks_amid_a_body_without_length_has_cut_it(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsome")
    upstream.reset()
    client.head()
    assert client.rest() == chunk(b"some")


def test_a_cut_body_that_ends_with_its_connection_is_reset(scene: Scene) -> None:
    client = scene.client().sends(post(scene.token).replace(b"HTTP/1.1", b"HTTP/1.0"))
    upstream = scene.upstream().streams(EVENT)
    client.head()
    scene.orders()
    upstream.reset()
    assert scene.orders(Close) == [Close(client.peer.conn, reset=True)]
    assert client.peer.reset


def test_an_upstream_that_ends_before_its_answer_is_a_502_and_no_second_request(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    upstream.got()
    upstream.half_close()
    client.saw(502)
    assert scene.asked_nobody()


def test_an_upstream_that_ends_amid_its_head_is_a_502(scene: Scene) -> None:
    client = scene.client().posts()
    scene.upstream().sends(b"HTTP/1.1 200 OK\r\nContent-").half_close()
    client.saw(502)


@pytest.mark.parametrize("reason", [Loss.REFUSED, Loss.UNRESOLVED, Loss.TLS, Loss.FAILED])
def test_an_upstream_that_cannot_be_reached_is_a_502_that_says_why(scene: Scene, reason: Loss) -> None:
    scene.shell.connect_fails = reason
    client = scene.client().posts()
    status, _, body = client.response()
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (502, "api_error")
    assert reason.value in error["message"]
    assert len(scene.orders(Connect)) == 1, "nothing is repeated"
    client.gets().saw(200, b"ok")
