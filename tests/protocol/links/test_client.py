"""Client connections: every deadline, every order to stop and go on reading, and how much is ever kept for a client."""

import json
import re

import pytest

from protocol.commands import Close, Log, Pause, Resume, ShutdownWrite, Write
from protocol.config import Config
from protocol.errors import LocalError
from protocol.links.client import LINGER_SECONDS, ClientLink
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import ConnId, ResponseHead
from tests.protocol.conftest import OpenScene
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, STREAM_HEAD, chunk, get, post, reply
from tests.support.scene import EXPIRED, READ, Client, Scene, Upstream
from tests.support.splits import byte_by_byte
from transports.memory import LOCAL

MOST_KEPT = HIGH_WATER + READ + 1024
"""Unsent bytes on one connection: the watermark, one read of its source, and what framing adds to that."""


def slow_stream(scene: Scene) -> tuple[Client, Upstream]:
    """A stream whose client has stopped reading."""
    client, upstream = scene.streaming()
    scene.orders()
    return client.stops_reading(), upstream


# --- slow clients -----------------------------------------------------------------------------------------------------


def test_a_slow_client_holds_the_upstream_once_and_lets_it_go_once(scene: Scene) -> None:
    client, upstream = slow_stream(scene)
    for _ in range(10):
        upstream.sends(chunk(b"x" * 60_000))
    assert scene.orders(Pause, Resume) == [Pause(upstream.peer.conn)]
    kept = client.backlog
    assert HIGH_WATER < kept <= MOST_KEPT
    client.reads(kept - LOW_WATER - 1)
    assert scene.orders(Pause, Resume) == [], "still above the low watermark"
    client.reads(1)
    assert scene.orders(Pause, Resume) == [Resume(upstream.peer.conn), Pause(upstream.peer.conn)]
    client.reads()
    assert scene.orders(Pause, Resume)[-1] == Resume(upstream.peer.conn)
    upstream.sends(LAST_CHUNK)
    assert client.until(LAST_CHUNK) == chunk(b"x" * 60_000) * 10 + LAST_CHUNK


def test_a_client_just_below_the_watermark_holds_nobody(scene: Scene) -> None:
    client, upstream = slow_stream(scene)
    data = b"x" * (HIGH_WATER - len(b"fff0\r\n\r\n"))
    upstream.sends(chunk(data))
    assert client.backlog == HIGH_WATER
    assert scene.orders(Pause, Resume) == []


def test_pipelined_answers_are_bounded_together(scene: Scene) -> None:
    """The second answer begins while the first still waits to be read: its upstream is held from the start."""
    client = scene.client().posts().posts().stops_reading()
    first = scene.upstream()
    first.got()
    first.sends(reply(b"a" * 60_000)).sends(b"")
    first.got()
    first.sends(STREAM_HEAD)
    for _ in range(50):
        first.sends(chunk(b"b" * 60_000))
    assert client.backlog <= MOST_KEPT
    client.reads()
    first.sends(LAST_CHUNK)
    client.saw(200, b"a" * 60_000)
    client.head()
    assert client.until(LAST_CHUNK).count(b"b") == 50 * 60_000


def test_an_answer_that_begins_while_the_last_one_is_unread_holds_its_upstream(scene: Scene) -> None:
    client = scene.client().stops_reading().posts().posts()
    upstream = scene.upstream()
    upstream.got()
    scene.shell.connect_hangs = True
    short = reply(b"", b"200 OK", b"Connection: close", b"X-Pad: 1234")
    upstream.replies(b"a" * (READ - len(short)), b"200 OK", b"Connection: close")
    assert client.backlog > HIGH_WATER, "in one read with the end of the answer"
    scene.shell.connects()
    scene.orders()
    second = scene.upstream().streams(EVENT)
    assert scene.orders(Pause) == [Pause(second.peer.conn)]
    client.reads()
    assert scene.orders(Resume) == [Resume(second.peer.conn)]


def test_a_client_that_asks_without_reading_is_not_answered_without_bound(scene: Scene) -> None:
    """Each health check costs fewer bytes than its answer; nobody needs a token to ask."""
    client = scene.client().stops_reading()
    asked = get(b"/health") * (READ // len(get(b"/health")))
    for _ in range(3):
        client.sends(asked)
    longest_answer = 300
    assert client.backlog <= HIGH_WATER + 2 * asked.count(b"GET") * longest_answer, "two reads full of requests"
    assert client.held()
    client.reads()
    assert bytes(client.peer.inbox).count(b"HTTP/1.1 200 OK") == 3 * asked.count(b"GET")
    assert not client.held()


# --- slow upstreams ---------------------------------------------------------------------------------------------------


def test_a_slow_upstream_holds_the_client_once_and_lets_it_go_once(scene: Scene) -> None:
    client = scene.client().begins(1_000_000)
    upstream = scene.upstream()
    upstream.head()
    upstream.stops_reading()
    scene.orders()
    for _ in range(10):
        client.sends(b"x" * 50_000)
    assert scene.orders(Pause, Resume) == [Pause(client.peer.conn)]
    assert HIGH_WATER < upstream.backlog <= MOST_KEPT
    upstream.reads()
    assert scene.orders(Pause, Resume) == [Resume(client.peer.conn)]
    assert upstream.exactly(500_000) == b"x" * 500_000


def test_a_body_beyond_the_replay_limit_waits_outside_while_the_connection_is_made(scene_with: OpenScene) -> None:
    scene = scene_with(REPLAY_LIMIT_BYTES="100000")
    scene.shell.connect_hangs = True
    body = bytes(range(256)) * 2000
    client = scene.client().sends(post(scene.token, body))
    assert scene.orders(Pause, Resume) == [Pause(client.peer.conn)]
    assert client.peer.untaken >= len(body) - 100_000 - READ - 1024
    scene.shell.connects()
    assert scene.orders(Pause, Resume) == [Resume(client.peer.conn)]
    upstream = scene.upstream()
    assert upstream.got(body)[b"content-length"] == b"%d" % len(body)
    upstream.replies()
    client.saw(200, REPLY)


def test_a_held_client_whose_body_is_whole_is_read_again_after_a_failure(scene_with: OpenScene) -> None:
    """Its next request would otherwise never be seen."""
    scene = scene_with(REPLAY_LIMIT_BYTES="1000")
    scene.shell.connect_hangs = True
    head = len(post(scene.token, b"123456")) - len(b"123456") + len(b"131072") - len(b"6")
    client = scene.client().posts(b"x" * (2 * READ - head))
    assert client.peer.untaken == 0
    scene.passes(10)
    client.saw(504)
    assert not client.held()
    client.gets().saw(200, b"ok")


def test_more_requests_than_can_wait_are_left_outside(scene: Scene) -> None:
    client = scene.client().posts()
    scene.orders()
    more = get(b"/health") * 1800
    client.sends(more)
    assert scene.orders(Pause, Resume) == [Pause(client.peer.conn)]
    scene.upstream().replies()
    client.saw(200, REPLY)
    assert scene.orders(Resume) == [Resume(client.peer.conn)]
    assert bytes(client.received + client.peer.inbox).count(b" 200 OK\r\n") == 1800


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_a_head_that_does_not_arrive_in_time_is_a_408(scene: Scene) -> None:
    client = scene.client()
    scene.passes(29)
    client.sends(b"GET /health HTTP/1.1\r\n")
    scene.passes(29.9)
    client.saw_nothing()
    client.sends(b"Host: x\r\n")
    scene.passes(0.1)
    status, headers, body = client.response()
    assert (status, headers[b"connection"]) == (408, b"close")
    assert json.loads(body)["error"]["type"] == "timeout_error"
    assert client.peer.ended


@pytest.mark.parametrize("blank", [b"", b"\r\n", b"\r"])
def test_a_connection_that_was_never_used_is_closed_in_silence(scene: Scene, blank: bytes) -> None:
    client = scene.client().sends(blank)
    scene.passes(29.9)
    assert not client.gone()
    scene.passes(0.1)
    assert client.gone()
    assert client.rest() == b""
    assert scene.requests() == []
    scene.assert_empty()


def test_an_idle_connection_is_closed_after_its_time(scene: Scene) -> None:
    client = scene.client().gets()
    client.saw(200)
    scene.passes(74.9)
    client.gets().saw(200)
    scene.passes(74.9)
    assert not client.gone()
    scene.passes(0.1)
    assert client.gone()
    scene.assert_empty()


def test_a_second_head_has_the_time_of_a_head(scene: Scene) -> None:
    client = scene.client().gets()
    client.saw(200)
    scene.passes(74)
    client.sends(b"GET /hea")
    scene.passes(29.9)
    client.saw_nothing()
    scene.passes(0.1)
    client.saw(408)


def test_a_body_that_pauses_for_too_long_is_a_408(scene: Scene) -> None:
    client = scene.client().begins(10)
    upstream = scene.upstream()
    for _ in range(3):
        scene.passes(59.9)
        client.sends(b"x")
    scene.passes(59.9)
    client.saw_nothing()
    scene.passes(0.1)
    assert client.saw(408)[b"connection"] == b"close"
    assert upstream.gone()


def test_a_client_that_is_held_is_not_blamed_for_the_pause(scene: Scene) -> None:
    client = scene.client().begins(500_000)
    upstream = scene.upstream()
    upstream.stops_reading()
    client.sends(b"x" * 200_000)
    assert client.held()
    scene.passes(250)
    client.saw_nothing()
    upstream.reads()
    client.sends(b"x" * 300_000)
    upstream.replies()
    client.saw(200)


def test_a_held_client_is_answered_when_the_upstream_takes_nothing_for_too_long(scene: Scene) -> None:
    client = scene.client().begins(500_000)
    scene.upstream().stops_reading()
    client.sends(b"x" * 200_000)
    scene.passes(301)
    client.saw(504)


def test_a_body_deadline_does_not_outlive_its_body(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    scene.passes(299)
    upstream.replies()
    client.saw(200)


def test_a_client_that_is_still_sending_gets_its_answer_and_a_moment(scene: Scene) -> None:
    client = scene.client().begins(1000, b"X-Unused: 1").sends(b"x" * 10)
    upstream = scene.upstream()
    scene.orders()
    upstream.replies(b"{}", b"400 Bad Request")
    assert client.saw(400, b"{}")[b"connection"] == b"close"
    assert [type(order) for order in scene.orders(Write, ShutdownWrite, Close)] == [Close, Write, ShutdownWrite]
    assert client.peer.ended
    client.sends(b"x" * 10)
    scene.passes(LINGER_SECONDS - 0.1)
    assert not client.gone()
    scene.passes(0.1)
    assert client.gone()
    scene.assert_empty()


def test_a_client_that_ends_too_ends_the_moment(scene: Scene) -> None:
    client = scene.client().sends(post(b"la_sk_wrong", b"x" * 1000)[:-500])
    client.saw(401)
    client.half_close()
    assert client.gone()
    scene.assert_empty()


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_client_that_waits_is_told_to_continue_only_when_its_body_is_wanted(scene_with: OpenScene) -> None:
    scene = scene_with(EXPIRED)
    scene.passes(5)
    scene.shell.disk_hangs = True
    client = scene.client().begins(4, b"Expect: 100-continue")
    client.saw_nothing()
    scene.shell.reads()
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sends(b"body")
    upstream = scene.upstream()
    upstream.got(b"body")
    upstream.replies()
    client.saw(200)


def test_a_client_that_does_not_wait_is_not_told_to_continue(scene: Scene) -> None:
    client = scene.client().posts(BODY, b"Expect: 100-continue")
    scene.upstream().replies()
    client.saw(200)


def test_a_retry_does_not_tell_the_client_to_continue_twice(scene: Scene) -> None:
    client = scene.client().begins(4, b"Expect: 100-continue")
    client.until(b"100 Continue\r\n\r\n")
    client.sends(b"body")
    scene.writes_credentials(b'{"accessToken": "sk-ant-oat01-second"}')
    upstream = scene.upstream()
    upstream.got(b"body")
    upstream.replies(b"{}", b"401 Unauthorized")
    upstream.got(b"body")
    upstream.replies()
    client.saw(200)


def test_another_expectation_cannot_be_met(scene: Scene) -> None:
    client = scene.client().posts(BODY, b"Expect: a-miracle")
    assert client.saw(417)[b"connection"] == b"close"


def test_a_body_that_is_malformed_is_a_400_before_the_answer(scene: Scene) -> None:
    client = scene.client().begins_chunked().sends(b"4\r\nbody\r\n")
    upstream = scene.upstream()
    upstream.until(b"4\r\nbody\r\n")
    client.sends(b"not a size\r\n")
    client.saw(400)
    assert upstream.broken_off() == b""


def test_a_body_that_is_malformed_after_the_answer_has_begun_cuts_it(scene: Scene) -> None:
    client = scene.client().begins_chunked().sends(b"4\r\nbody\r\n")
    upstream = scene.upstream().streams(EVENT)
    client.sends(b"not a size\r\n")
    rest = client.rest()
    assert b"event: error\n" in rest
    assert not rest.endswith(LAST_CHUNK)
    assert upstream.gone()
    scene.assert_empty()


def test_the_rest_of_a_body_still_goes_to_an_upstream_that_answers_early(scene: Scene) -> None:
    client = scene.client().begins(8).sends(b"body")
    upstream = scene.upstream().streams(EVENT)
    client.sends(b"rest")
    upstream.got(b"bodyrest")
    upstream.sends(LAST_CHUNK)
    assert dict(client.head()[1])[b"connection"] == b"close"
    assert client.rest().endswith(LAST_CHUNK)
    assert client.gone()


def test_a_chunked_body_may_arrive_byte_by_byte(scene: Scene) -> None:
    client = scene.client().begins_chunked()
    upstream = scene.upstream()
    upstream.head()
    for byte in byte_by_byte(b"4;name=value\r\nbody\r\n0\r\nTrailer: 1\r\n\r\n"):
        client.sends(byte)
    assert upstream.until(LAST_CHUNK) == b"".join(map(chunk, byte_by_byte(b"body"))) + LAST_CHUNK
    upstream.replies()
    client.saw(200)


def test_a_client_whose_body_is_whole_is_not_held_for_a_slow_upstream(scene: Scene) -> None:
    client = scene.client().begins(90_000)
    upstream = scene.upstream().stops_reading()
    client.sends(b"x" * 60_000)
    scene.orders()
    client.sends(b"x" * 30_000)
    assert upstream.backlog > HIGH_WATER
    assert scene.orders(Pause) == []


def test_a_pipelined_request_behind_a_refused_one_is_served(scene: Scene) -> None:
    client = scene.client().gets(b"/nowhere").gets()
    client.saw(404)
    client.saw(200, b"ok")
    both = scene.client().sends(get(b"/nowhere") + get(b"/health"))
    both.saw(404)
    both.saw(200, b"ok")


def test_what_follows_the_last_request_is_not_looked_at(scene: Scene) -> None:
    client = scene.client().sends(get(b"/health", b"Connection: close") + get(b"/health"))
    client.saw(200)
    assert client.rest() == b""
    assert len(scene.requests()) == 1


# --- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_response_that_cannot_have_a_body_has_no_framing(scene: Scene, status: bytes) -> None:
    client = scene.client().posts().gets()
    scene.upstream().sends(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    line, fields = client.head()
    assert line == b"HTTP/1.1 " + status
    assert not {b"content-length", b"transfer-encoding"} & {name for name, _ in fields}
    client.saw(200, b"ok")


def test_the_answer_to_head_tells_the_length_and_sends_nothing(scene: Scene) -> None:
    path = b"/v1/files/file_1"
    request = get(path, b"X-Api-Key: " + scene.token).replace(b"GET", b"HEAD", 1)
    client = scene.client().sends(request).gets()
    upstream = scene.upstream()
    assert upstream.head()[0] == b"HEAD " + path + b" HTTP/1.1"
    upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    assert dict(client.head()[1])[b"content-length"] == b"1234"
    client.saw(200, b"ok")


def test_a_length_beside_chunks_does_not_count(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    assert b"content-length" not in dict(client.head()[1])
    assert client.until(LAST_CHUNK) == chunk(b"body") + LAST_CHUNK
    assert upstream.gone()


def test_an_http_1_0_client_reads_a_stream_to_its_end(scene: Scene) -> None:
    client = scene.client().sends(post(scene.token).replace(b"HTTP/1.1", b"HTTP/1.0"))
    scene.upstream().streams(EVENT, EVENT).sends(LAST_CHUNK)
    _, fields = client.head()
    assert dict(fields)[b"connection"] == b"close"
    assert b"transfer-encoding" not in dict(fields)
    assert client.rest() == EVENT + EVENT
    assert not client.peer.reset


def test_an_http_1_0_client_may_ask_again_if_it_wants(scene: Scene) -> None:
    request = b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    client = scene.client().sends(request)
    assert client.saw(200)[b"connection"] == b"keep-alive"
    client.sends(request).saw(200, b"ok")


def test_everything_said_in_one_turn_is_one_write(scene: Scene) -> None:
    scene.orders()
    client = scene.client().sends(get(b"/health") * 3)
    assert len(scene.orders(Write)) == 1
    assert len(re.findall(rb"HTTP/1\.1 200 OK", bytes(client.peer.inbox))) == 3


def test_a_response_out_of_order_is_a_fault_of_ours(scene: Scene) -> None:
    link = ClientLink(ConnId(1000), LOCAL, Config(), scene.shell.gateway)
    with pytest.raises(LocalError):
        link.send_body(b"x")
    with pytest.raises(LocalError):
        link.send_end()
    link.send_head(ResponseHead(200, []), 0)
    with pytest.raises(LocalError):
        link.send_body(b"longer than announced")


def test_no_access_line_is_lost_or_doubled(scene: Scene) -> None:
    client = scene.client().gets().posts().gets(b"/nowhere")
    scene.upstream().replies()
    client.leaves()
    logged = [command for command in scene.commands if isinstance(command, Log) and command.event == "request"]
    assert [log.fields["status"] for log in logged] == [200, 200, 404]
