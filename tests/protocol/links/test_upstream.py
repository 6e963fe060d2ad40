"""Upstream connections: how long they may take, when they serve again, and what answers they accept."""

import pytest

from protocol.commands import Close, Connect, Loss
from protocol.effects import Failed
from protocol.errors import LocalError
from protocol.links.upstream import UpstreamLink
from protocol.ports import UpstreamEvents
from protocol.values import Origin, RequestHead, ResponseHead
from tests.protocol.conftest import OpenScene
from tests.support.requests import EVENT, LAST_CHUNK, STREAM_HEAD, chunk, get
from tests.support.scene import Scene
from tests.support.splits import byte_by_byte

# --- deadlines --------------------------------------------------------------------------------------------------------


def test_a_connection_that_is_not_made_in_time_is_a_504_and_given_up(scene: Scene) -> None:
    scene.shell.connect_hangs = True
    client = scene.client().posts()
    (connect,) = scene.orders(Connect)
    assert isinstance(connect, Connect)
    scene.passes(9.9)
    client.saw_nothing()
    scene.passes(0.1)
    assert b"10 s" in client.response()[2]
    assert scene.orders(Close) == [Close(connect.conn, reset=True)]
    scene.shell.connects()
    assert scene.asked_nobody()


def test_an_upstream_that_is_silent_before_its_answer_is_a_504(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    scene.passes(299.9)
    client.saw_nothing()
    scene.passes(0.1)
    client.saw(504)
    assert upstream.gone()


def test_an_upstream_that_falls_silent_amid_its_answer_is_cut(scene: Scene) -> None:
    client, upstream = scene.streaming()
    for _ in range(3):
        scene.passes(299)
        upstream.sends(chunk(b": ping\n\n"))
    scene.passes(299.9)
    assert not client.gone()
    scene.passes(0.1)
    rest = client.rest()
    assert b'"type":"timeout_error"' in rest
    assert not rest.endswith(LAST_CHUNK)
    assert upstream.gone()


def test_half_an_answers_head_counts_as_a_sign_of_life(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    scene.passes(200)
    upstream.sends(b"HTTP/1.1 ")
    scene.passes(200)
    upstream.sends(b"200 OK\r\nContent-Length: 2\r\n\r\nok")
    client.saw(200, b"ok")


def test_a_long_upload_is_no_silence(scene: Scene) -> None:
    client = scene.client().begins(20)
    upstream = scene.upstream()
    for _ in range(20):
        scene.passes(50)
        client.sends(b"x")
    upstream.replies()
    client.saw(200)


def test_a_client_that_takes_nothing_for_as_long_is_given_up(scene: Scene) -> None:
    client, upstream = scene.streaming()
    client.stops_reading()
    upstream.sends(chunk(b"x" * 65_000)).sends(chunk(b"x" * 65_000))
    assert upstream.held()
    scene.passes(299.9)
    assert not upstream.gone()
    scene.passes(0.1)
    assert upstream.gone()
    assert "the client took nothing" in str(scene.requests()[-1]["error"])
    client.reads()
    assert client.gone()


def test_an_idle_connection_is_closed_after_its_time(scene: Scene) -> None:
    client, upstream = scene.used_before()
    scene.passes(29.9)
    client.posts()
    upstream.got()
    upstream.replies()
    client.saw(200)
    scene.passes(29.9)
    assert not upstream.gone()
    scene.passes(0.1)
    assert upstream.gone()


def test_more_idle_connections_than_allowed_are_not_kept(scene_with: OpenScene) -> None:
    scene = scene_with(UPSTREAM_IDLE_CONNECTIONS="1")
    clients = [scene.client().posts() for _ in range(2)]
    upstreams = [scene.upstream() for _ in range(2)]
    for client, upstream in zip(clients, upstreams, strict=True):
        upstream.replies()
        client.saw(200)
    assert [upstream.gone() for upstream in upstreams] == [True, False]


def test_no_idle_connection_may_be_allowed_at_all(scene_with: OpenScene) -> None:
    scene = scene_with(UPSTREAM_IDLE_CONNECTIONS="0")
    _, upstream = scene.used_before()
    assert upstream.gone()


# --- reuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\nsurplus",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok surplus",
    ],
)
def test_a_connection_that_cannot_be_trusted_serves_once(scene: Scene, answer: bytes) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().sends(answer)
    assert client.head()[0].startswith(b"HTTP/1.1 20")
    assert upstream.gone()


def test_an_answer_before_the_whole_request_makes_its_connection_useless(scene: Scene) -> None:
    scene.client().begins(10)
    upstream = scene.upstream().replies()
    assert upstream.gone()


def test_bytes_that_answer_nothing_close_their_connection(scene: Scene) -> None:
    client, upstream = scene.used_before()
    upstream.sends(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert upstream.gone()
    client.posts()
    assert scene.upstream().got()


def test_an_idle_connection_that_ends_or_breaks_is_forgotten(scene: Scene) -> None:
    for how in ("half_close", "reset"):
        client, upstream = scene.used_before()
        getattr(upstream, how)()
        client.leaves()
        scene.assert_empty()


def test_the_freshest_idle_connection_serves_first(scene: Scene) -> None:
    clients = [scene.client().posts() for _ in range(2)]
    upstreams = [scene.upstream() for _ in range(2)]
    for client, upstream in zip(clients, upstreams, strict=True):
        upstream.got()
        upstream.replies()
        client.saw(200)
    clients[0].posts()
    upstreams[1].got()


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
    ids=["another protocol", "blank lines", "upgrade", "too large", "bare line feeds"],
)
def test_an_answer_that_is_malformed_is_a_502_that_blames_the_upstream(scene: Scene, answer: bytes) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().sends(answer)
    status, _, body = client.response()
    assert status == 502
    assert b"the upstream" in body
    assert b"the request" not in body
    assert upstream.gone()


def test_a_body_that_is_malformed_cuts_the_answer(scene: Scene) -> None:
    client, upstream = scene.streaming()
    upstream.sends(b"no size\r\n")
    rest = client.rest()
    assert b"malformed" in rest
    assert not rest.endswith(LAST_CHUNK)
    assert upstream.gone()


def test_an_answer_may_arrive_byte_by_byte(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    for byte in byte_by_byte(interim + STREAM_HEAD + chunk(EVENT) + LAST_CHUNK):
        upstream.sends(byte)
    client.head()
    body = client.until(LAST_CHUNK)
    assert b"".join(body.split(b"\r\n")[1::2]).replace(b"\r\n", b"") == EVENT
    client.gets().saw(200)


def test_interim_answers_are_not_the_answer(scene: Scene) -> None:
    client = scene.client().posts()
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    scene.upstream().sends(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client.saw(200, b"ok")


def test_a_request_without_a_body_has_no_framing(scene: Scene) -> None:
    client = scene.client().sends(get(b"/v1/files", b"X-Api-Key: " + scene.token))
    upstream = scene.upstream()
    line, fields = upstream.head()
    assert line == b"GET /v1/files HTTP/1.1"
    assert not {b"content-length", b"transfer-encoding"} & {name for name, _ in fields}
    upstream.replies()
    client.saw(200)


def test_a_post_without_a_body_says_so(scene: Scene) -> None:
    scene.client().posts(b"", path=b"/v1/messages/batches/b1/cancel")
    assert scene.upstream().got(b"")[b"content-length"] == b"0"


# --- our own faults ---------------------------------------------------------------------------------------------------


class Nobody(UpstreamEvents):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.failures: list[Failed] = []

    def upstream_ready(self) -> None:
        pass

    def upstream_head(self, head: ResponseHead) -> None:
        raise AssertionError(head)

    def upstream_body(self, data: bytes) -> None:
        raise AssertionError(data)

    def upstream_end(self) -> None:
        raise AssertionError

    def upstream_failed(self, failure: Failed) -> None:
        self.failures.append(failure)

    def upstream_full(self, full: bool) -> None:
        raise AssertionError(full)


class Impatient(Nobody):
    """Has enough when the head has come."""

    def __init__(self, link: UpstreamLink) -> None:
        super().__init__()
        self._link = link

    def upstream_head(self, head: ResponseHead) -> None:
        self._link.cancel()


def bare_link(scene: Scene) -> UpstreamLink:
    return scene.shell.gateway.open_channel(Origin("http", "upstream", 80), fresh=True)


def test_a_connection_carries_one_request_at_a_time(scene: Scene) -> None:
    link = bare_link(scene)
    head = RequestHead(b"GET", b"/", [(b"host", b"x")])
    link.request(head, 0, Nobody())
    with pytest.raises(LocalError):
        link.request(head, 0, Nobody())


def test_a_body_needs_a_head_first(scene: Scene) -> None:
    link = bare_link(scene)
    with pytest.raises(LocalError):
        link.send_body(b"x")
    with pytest.raises(LocalError):
        link.send_end()


def test_a_fault_of_ours_fails_the_request_as_one(scene: Scene) -> None:
    """A head that must not go on the wire is stopped at the last moment, when the connection has been made."""
    gateway, events = scene.shell.gateway, Nobody()
    link = bare_link(scene)
    link.request(RequestHead(b"GET", b"/", [(b"x", b"a\r\nb: c")]), 0, events)
    commands = gateway.connected(link.conn, scene.shell.now)
    assert [failure.kind.name for failure in events.failures] == ["CRASHED"]
    assert commands[-1] == Close(link.conn, reset=True)


def test_an_answer_that_is_given_up_at_its_head_is_not_read(scene: Scene) -> None:
    gateway, link = scene.shell.gateway, bare_link(scene)
    link.request(RequestHead(b"GET", b"/", []), 0, Impatient(link))
    gateway.connected(link.conn, scene.shell.now)
    assert gateway.received(link.conn, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0.0) == [
        Close(link.conn, reset=True)
    ]
    link.hold(True)
    assert gateway.timed_out(0.0) == [], "nothing is ordered of a closed connection"


def test_a_lost_connection_is_not_closed_again(scene: Scene) -> None:
    link, events = bare_link(scene), Nobody()
    link.request(RequestHead(b"GET", b"/", []), 0, events)
    link.lost(Loss.REFUSED, "no one there")
    assert [failure.detail for failure in events.failures] == ["no one there"]
    link.close()
    link.vanished()
    assert scene.orders(Close) == []
