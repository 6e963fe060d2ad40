"""How things end when they do not end well: cuts, departures, stale connections, slow readers, shutdowns."""

import json
import socket
import threading

import pytest

from tests.conformance.conftest import OpenStage
from tests.support.requests import BODY, EVENT, REPLY, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import End, MemoryEnd, SocketEnd, Stage


def streaming(stage: Stage) -> tuple[End, End]:
    """A client that has read the head and first event of a stream, and its upstream."""
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(STREAM_HEAD + chunk(EVENT))
    client.head()
    client.exactly(len(chunk(EVENT)))
    return client, upstream


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stream_that_is_cut_ends_with_an_error_event_and_no_last_chunk(stage: Stage, how: str) -> None:
    client, upstream = streaming(stage)
    getattr(upstream, how)()
    rest = client.rest()
    assert b"event: error\ndata: " in rest
    assert not rest.endswith(b"0\r\n\r\n")


def test_a_cut_inside_an_event_is_an_error_event_too(stage: Stage) -> None:
    client, upstream = streaming(stage)
    upstream.send(chunk(b'event: content_block_delta\ndata: {"type":"con'))
    upstream.close()
    rest = client.rest()
    assert b'{"type":"con\r\n' in rest
    assert b"\r\n\nevent: error\ndata: " in rest
    assert not rest.endswith(b"0\r\n\r\n")


def test_a_body_with_a_length_that_is_cut_stays_short(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.send(reply(b"x" * 100)[:-50])
    upstream.close()
    client.head()
    assert client.rest() == b"x" * 50


def test_an_upstream_that_closes_without_an_answer_is_a_502(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    upstream.close()
    status, _, body = client.response()
    assert (status, json.loads(body)["error"]["type"]) == (502, "api_error")
    assert stage.no_upstream(), "a request that may have been acted on is not repeated"


def test_a_malformed_answer_is_a_502(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    stage.upstream().send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    assert client.response()[0] == 502


def test_too_large_a_response_head_is_the_upstreams_fault(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    stage.upstream().send(reply(REPLY, b"200 OK", b"X-Long: " + b"a" * 70_000))
    status, _, body = client.response()
    assert status == 502
    assert b"response" in body


def test_a_stale_connection_costs_one_retry_on_a_fresh_one(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    stale = stage.upstream()
    stale.until(BODY)
    stale.send(reply())
    assert client.response()[0] == 200
    client.send(post(stage.token()))
    stale.until(BODY)
    stale.close()
    fresh = stage.upstream()
    fresh.until(BODY)
    fresh.send(reply())
    assert client.response()[2] == REPLY


def test_a_connection_that_was_reset_while_idle_is_not_used(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    first = stage.upstream()
    first.until(BODY)
    first.send(reply())
    assert client.response()[0] == 200
    first.reset()
    client.send(post(stage.token()))
    second = stage.upstream()
    second.until(BODY)
    second.send(reply())
    assert client.response()[2] == REPLY


def test_an_early_answer_reaches_a_client_that_is_still_sending(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token(), b"x" * 100_000)[:-50_000])
    upstream = stage.upstream()
    upstream.head()
    upstream.send(reply(b"{}", b"413 Content Too Large"))
    status, headers, _ = client.response()
    assert (status, headers[b"connection"]) == (413, b"close")
    client.send(b"x" * 1000)
    assert client.rest() == b""


def test_a_client_that_leaves_while_it_waits_cancels_the_request(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    client.close()
    assert upstream.rest() == b""


def test_a_client_that_leaves_mid_stream_cancels_the_request(stage: Stage) -> None:
    client, upstream = streaming(stage)
    client.close()
    assert upstream.rest() == b""


def test_a_client_that_is_reset_mid_stream_cancels_the_request(stage: Stage) -> None:
    client, upstream = streaming(stage)
    client.reset()
    assert upstream.rest() == b""


def test_a_client_that_breaks_off_its_body_cancels_the_request(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token(), b"x" * 1000)[:-500])
    upstream = stage.upstream()
    upstream.until(b"x" * 500)
    client.close()
    with pytest.raises(ConnectionResetError):  # a plain end could pass for a half-close, the request for a whole one
        upstream.rest()


def test_a_half_closed_client_is_answered_where_the_operator_wants_that(stage_with: OpenStage) -> None:
    stage = stage_with(CLIENT_HALF_CLOSE="answer")
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    client.half_close()
    upstream.send(reply())
    assert client.response()[2] == REPLY
    assert client.rest() == b""


def test_a_slow_reader_holds_the_upstream(stage: Stage) -> None:
    """Sixty-four megabytes are on offer; only what fits into the buffers on the way is taken."""
    client, upstream = streaming(stage)
    piece = chunk(b"x" * 65536)
    sent = 0
    if isinstance(client, MemoryEnd) and isinstance(upstream, MemoryEnd):
        client.peer.takes(0)
        while sent < 64 << 20 and not upstream.peer.untaken:
            upstream.send(piece)
            sent += len(piece)
        assert upstream.peer.untaken
        assert sent < 1 << 20
        client.peer.takes(None)
    elif isinstance(client, SocketEnd) and isinstance(upstream, SocketEnd):
        upstream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        upstream.socket.settimeout(0.3)
        try:
            while sent < 64 << 20:
                sent += upstream.socket.send(piece[sent % len(piece) :])
        except TimeoutError:
            pass
        assert sent < 32 << 20
        upstream.socket.settimeout(10)
    upstream.close()
    received = client.rest()
    assert received.count(b"x") >= sent // 2, "what was taken arrives once the reader goes on"


def test_a_slow_upstream_holds_the_client(stage_with: OpenStage) -> None:
    stage = stage_with(REPLAY_LIMIT_BYTES="1000")
    client = stage.client()
    body = b"y" * (32 << 20)
    request = post(stage.token(), body)
    if isinstance(client, MemoryEnd):
        head, _, _ = request.partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        upstream = stage.upstream()
        assert isinstance(upstream, MemoryEnd)
        upstream.head()
        upstream.peer.takes(0)
        sent = 0
        while sent < len(body) and not client.peer.untaken:
            client.send(body[:65536])
            sent += 65536
        assert sent < 1 << 20
        upstream.peer.takes(None)
        client.send(body[sent:])
    else:
        assert isinstance(client, SocketEnd)
        client.socket.settimeout(0.3)
        sent = 0
        try:
            while sent < len(request):
                sent += client.socket.send(request[sent : sent + 65536])
        except TimeoutError:
            pass
        assert sent < 24 << 20
        upstream = stage.upstream()
        upstream.head()
        client.socket.settimeout(10)
        sender = threading.Thread(target=client.send, args=(request[sent:],))
        sender.start()
        upstream.received[:0] = upstream.exactly(len(body))
        sender.join()
    assert upstream.exactly(len(body)) == body
    upstream.send(reply())
    assert client.response()[0] == 200


def test_a_slow_reader_that_leaves_takes_nobody_with_it(stage: Stage) -> None:
    """The upstream is held for it; then it is gone, and the router serves the others."""
    client, upstream = streaming(stage)
    piece = chunk(b"x" * 65536)
    if isinstance(client, MemoryEnd) and isinstance(upstream, MemoryEnd):
        client.peer.takes(0)
        while not upstream.peer.untaken:
            upstream.send(piece)
    elif isinstance(upstream, SocketEnd):
        upstream.socket.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                sent += upstream.socket.send(piece[sent % len(piece) :])
    client.reset()
    other = stage.client()
    other.send(get(b"/health"))
    assert other.response()[2] == b"ok"


def test_a_drain_lets_slow_readers_have_the_whole_answer(stage: Stage) -> None:
    client = stage.client()
    client.send(post(stage.token()))
    upstream = stage.upstream()
    upstream.until(BODY)
    body = b"z" * (6 << 20)
    if isinstance(client, MemoryEnd):
        client.peer.takes(0)
    sender = threading.Thread(target=upstream.send, args=(reply(body),))
    sender.start()
    if isinstance(client, MemoryEnd):
        sender.join()
        stage.drain(60)
        client.peer.takes(None)
        assert client.response()[2] == body
    else:
        client.head()
        stage.drain(60)
        assert client.rest() == body
        sender.join()
    stage.join()


def test_a_drained_router_finishes_what_runs_and_then_stops(stage: Stage) -> None:
    client, upstream = streaming(stage)
    idle = stage.client()
    idle.send(get(b"/health"))
    assert idle.response()[2] == b"ok"
    stage.drain(60)
    idle.send(get(b"/health"))
    status, headers, body = idle.response()
    assert (status, body, headers[b"connection"]) == (503, b"draining", b"close")
    upstream.send(chunk(EVENT) + b"0\r\n\r\n")
    assert client.rest() == chunk(EVENT) + b"0\r\n\r\n"
    stage.join()


def test_a_drain_without_grace_ends_streams_visibly(stage: Stage) -> None:
    client, upstream = streaming(stage)
    stage.drain(0)
    rest = client.rest()
    assert b"event: error\ndata: " in rest
    assert b"shutting down" in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert upstream.rest() == b""
    stage.join()


def test_a_second_drain_ends_the_grace(stage: Stage) -> None:
    client, _ = streaming(stage)
    stage.drain(60)
    stage.drain(0)
    assert b"event: error\n" in client.rest()
    stage.join()


def test_an_idle_router_stops_at_once(stage: Stage) -> None:
    client = stage.client()
    client.send(get(b"/health"))
    client.response()
    stage.drain(60)
    assert client.rest() == b""
    stage.join()
