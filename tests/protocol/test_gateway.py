"""The core as a whole: who leaves, what is cancelled, how it shuts down, what it logs, and what it keeps: nothing."""

import json

import pytest

from protocol.commands import (
    Close,
    Connect,
    Drained,
    LoadFiles,
    LogLevel,
    Loss,
    StopListening,
    Unreadable,
    Write,
)
from tests.protocol.conftest import OpenScene
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, STREAM_HEAD, chunk, post
from tests.support.scene import CREDENTIAL_FILE, Scene
from tests.support.stage import OAUTH_TOKEN

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
    assert upstream.rest().endswith(b"\r\n\r\n" + b"x" * 500)
    assert scene.requests()[-1]["bytes_in"] == 500
    scene.assert_empty()


def test_a_client_whose_connection_breaks_is_not_written_to_any_more(scene: Scene) -> None:
    client, upstream = scene.streaming()
    scene.orders()
    client.reset()
    assert scene.orders(Write, Close) == [Close(upstream.peer.conn)]
    scene.assert_empty()


def test_a_client_that_leaves_during_the_credential_check_leaves_nothing(scene: Scene) -> None:
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


# --- credentials ------------------------------------------------------------------------------------------------------


def test_the_files_are_read_once_for_everybody_who_waits(scene: Scene) -> None:
    scene.passes(5)
    scene.orders()
    scene.shell.disk_hangs = True
    clients = [scene.client().posts() for _ in range(5)]
    assert len(scene.orders(LoadFiles)) == 1
    assert scene.asked_nobody()
    scene.shell.reads()
    for client in clients:
        scene.upstream().replies()
        client.saw(200, REPLY)
    assert scene.orders(LoadFiles) == []


def test_a_credential_is_looked_at_again_after_a_second(scene: Scene) -> None:
    assert len(scene.orders(LoadFiles)) == 1, "once at the start"
    for seconds, looks in ((0.9, 0), (0.1, 1), (0.9, 0), (30.0, 1)):
        scene.passes(seconds)
        client = scene.client().posts()
        assert len(scene.orders(LoadFiles)) == looks
        client.leaves()


def test_a_change_on_disk_is_picked_up(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    assert upstream.got()[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
    upstream.replies()
    client.saw(200)
    scene.writes_credentials(b'{"access_token": "sk-ant-oat01-second"}')
    scene.passes(2)
    client.posts()
    assert upstream.got()[b"authorization"] == b"Bearer sk-ant-oat01-second"
    assert len(scene.logs("uses the credential from")) == 2


@pytest.mark.parametrize("content", [b"{not JSON", b"[]", b"\xff", Unreadable("Permission denied")])
def test_a_file_that_cannot_be_used_is_a_warning_and_the_next_one_is_tried(
    scene: Scene, content: bytes | Unreadable
) -> None:
    scene.writes_credentials(content)
    scene.shell.files["/home/.credentials.json"] = b'{"claudeAiOauth":{"accessToken":"sk-ant-oat01-next"}}'
    scene.passes(2)
    scene.client().posts()
    assert scene.upstream().got()[b"authorization"] == b"Bearer sk-ant-oat01-next"
    assert len([log for log in scene.shell.logs if CREDENTIAL_FILE in log.event]) == 2, "found at first, then unusable"


def test_without_any_credential_there_is_a_warning_at_start_and_a_502_for_each_request(scene_with: OpenScene) -> None:
    scene = scene_with(None)
    (warning,) = scene.logs("no usable credential")
    assert warning.level is LogLevel.WARN
    client = scene.client().posts()
    client.saw(502)
    assert scene.asked_nobody()


# --- shutdown ---------------------------------------------------------------------------------------------------------


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


# --- logs -------------------------------------------------------------------------------------------------------------


def test_each_request_is_one_line_with_what_an_operator_asks_about(scene: Scene) -> None:
    client = scene.client().posts(BODY, path=b"/v1/messages?beta=true")
    upstream = scene.upstream()
    scene.passes(0.25)
    upstream.sends(STREAM_HEAD)
    scene.passes(0.5)
    upstream.sends(chunk(EVENT) + LAST_CHUNK)
    client.until(LAST_CHUNK)
    (line,) = scene.requests()
    request_id = line.pop("request")
    assert isinstance(request_id, str)
    assert request_id.startswith("req_")
    assert line == {
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "token": "00000000-0000-4000-8000-000000000000",
        "account": "primary",
        "upstream_ms": 250.0,
        "first_byte_ms": 250.0,
        "total_ms": 750.0,
        "bytes_in": len(BODY),
        "bytes_out": len(EVENT),
        "ended": "done",
        "peer": "memory",
    }


def test_a_refused_request_is_logged_like_any_other(scene: Scene) -> None:
    client = scene.client().gets(b"/nowhere?key=value").sends(b"\x16\x03\x01")
    client.saw(404)
    client.saw(400)
    known, unreadable = scene.requests()
    assert (known["method"], known["path"], known["status"]) == ("GET", "/nowhere", 404)
    assert (known["token"], known["account"], known["upstream_ms"]) == (None, None, None)
    assert (unreadable["method"], unreadable["path"], unreadable["status"]) == ("-", "-", 400)
    assert all(log.level is LogLevel.INFO for log in scene.shell.logs)


def test_a_cut_answer_is_a_warning(scene: Scene) -> None:
    _, upstream = scene.streaming()
    upstream.half_close()
    assert [log.level for log in scene.shell.logs if log.event == "request"] == [LogLevel.WARN]


def test_every_request_has_an_id_of_its_own_that_the_client_sees(scene: Scene) -> None:
    client = scene.client()
    seen = [client.gets(path).response()[1][b"x-router-request-id"] for path in (b"/health", b"/nowhere", b"/health")]
    assert len(set(seen)) == 3
    assert [str(request["request"]).encode() for request in scene.requests()] == seen


def test_the_wall_clock_can_be_set_while_the_router_runs(scene: Scene) -> None:
    client = scene.client().posts(b"")
    scene.upstream().replies()
    client.saw(200)
    scene.shell.gateway.clock_synced(4e9)
    status, _, body = client.posts(b"").response()
    assert (status, json.loads(body)["error"]["message"]) == (401, "Token has expired")
