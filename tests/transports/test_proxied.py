"""Through a proxy an upstream is what it is without: every way to end, and the ways in which only a proxy can fail."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from protocol.commands import LogLevel

# Each of these runs here once more, on a stage whose connections are tunnels.
from tests.conformance.test_endings import (  # noqa: F401
    test_a_body_with_a_length_that_is_cut_stays_short,
    test_a_client_that_breaks_off_its_body_cancels_the_request,
    test_a_client_that_leaves_mid_stream_cancels_the_request,
    test_a_client_that_leaves_while_it_waits_cancels_the_request,
    test_a_connection_that_was_reset_while_idle_is_not_used,
    test_a_drain_without_grace_ends_streams_visibly,
    test_a_slow_reader_holds_the_upstream,
    test_a_slow_upstream_holds_the_client,
    test_a_stale_connection_costs_one_retry_on_a_fresh_one,
    test_a_stream_that_is_cut_ends_with_an_error_event_and_no_last_chunk,
    test_an_early_answer_reaches_a_client_that_is_still_sending,
    test_an_upstream_that_closes_without_an_answer_is_a_502,
)
from tests.support.proxied import ProxiedStage, SecureEnd
from tests.support.requests import BODY, EVENT, LAST_CHUNK, REPLY, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import End, Stage
from tests.support.tls import AUTHORITY, STRANGER, server_context

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
UPSTREAM_TLS = server_context(name="upstream.test")
PROXY_TLS = server_context(name="localhost")
SECRETS = {"ada", "hush", "YWRhOmh1c2g"}
"""User, password, and how both look in Basic credentials."""


@pytest.fixture(params=["trio", "asyncio"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    return str(file)


OpenStage = Callable[..., ProxiedStage]


@pytest.fixture
def stage_with(transport: str) -> Iterator[OpenStage]:
    """Open a router with settings of the test's own."""
    with ExitStack() as stack:

        def open_with(proxy: str = "http://127.0.0.1", **settings: str) -> ProxiedStage:
            return stack.enter_context(ProxiedStage(transport, settings, proxy))

        yield open_with


@pytest.fixture
def stage(stage_with: OpenStage) -> ProxiedStage:
    return stage_with()


def asks(stage: Stage) -> End:
    client = stage.client()
    client.send(post(stage.token()))
    return client


def said(stage: Stage) -> str:
    """The whole log."""
    return "\n".join(f"{log.event} {dict(log.fields)}" for log in stage.logs)


# --- what is carried --------------------------------------------------------------------------------------------------


def test_the_upstream_sees_a_request_like_any_other(stage: ProxiedStage) -> None:
    client = asks(stage)
    upstream = stage.upstream()
    line, fields = upstream.head()
    assert line == b"POST /v1/messages HTTP/1.1"
    assert dict(fields)[b"host"] == b"upstream.test"
    assert not any(name.startswith(b"proxy-") for name, _ in fields)
    assert upstream.exactly(len(BODY)) == BODY
    upstream.send(reply())
    assert client.response()[2] == REPLY


def test_a_tunnel_serves_request_after_request(stage: ProxiedStage) -> None:
    client = asks(stage)
    upstream = stage.upstream()
    for _ in range(3):
        upstream.until(BODY)
        upstream.send(reply())
        assert client.response()[0] == 200
        client.send(post(stage.token()))
    assert stage.no_upstream()


@pytest.mark.parametrize("base_url", ["http://upstream.test", "https://upstream.test"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1", "https://localhost", "socks5://127.0.0.1"])
def test_every_kind_of_proxy_carries_every_kind_of_upstream(
    stage_with: OpenStage, authority: str, proxy: str, base_url: str
) -> None:
    stage = stage_with(proxy, UPSTREAM_BASE_URL=base_url, UPSTREAM_CA_FILE=authority)
    client = asks(stage)
    line: End = stage.proxy()
    if proxy.startswith("https"):
        line = SecureEnd(line, PROXY_TLS)
    if proxy.startswith("socks5"):
        line.exactly(3)
        line.send(b"\x05\x00")
        line.exactly(4 + 1 + len("upstream.test") + 2)
        line.send(b"\x05\x00\x00\x01" + bytes(6))
    else:
        line.until(b"\r\n\r\n")
        line.send(TUNNEL)
    if base_url.startswith("https"):
        line = SecureEnd(line, UPSTREAM_TLS)
    line.until(BODY)
    line.send(STREAM_HEAD + chunk(EVENT) + LAST_CHUNK)
    client.head()
    assert client.until(LAST_CHUNK) == chunk(EVENT) + LAST_CHUNK
    client.send(post(stage.token(), large := b"x" * 300_000))
    assert line.until(b"\r\n\r\n").startswith(b"POST ")
    assert line.exactly(len(large)) == large
    line.send(reply(large))
    assert client.response()[2] == large
    client.send(post(stage.token()))
    line.until(BODY)
    line.send(STREAM_HEAD + chunk(EVENT))
    client.until(EVENT)
    line.close()
    assert b"event: error\n" in client.rest(), "a cut is a cut"


def test_what_no_proxy_names_is_asked_directly(stage_with: OpenStage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        there = f"127.0.0.1:{listener.getsockname()[1]}"
        stage = stage_with(UPSTREAM_BASE_URL=f"http://{there}", NO_PROXY="localhost,127.0.0.0/8")
        client = asks(stage)
        with listener.accept()[0] as upstream:
            assert upstream.recv(5) == b"POST "
            upstream.sendall(reply())
            assert client.response()[2] == REPLY
        assert stage.no_upstream()


# --- what only a proxy can do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it refuses the credentials (407)"),
        (b"HTTP/1.1 403 hush\r\n\r\nhush", "it answered 403 Forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\n", "it answered 502 Bad Gateway"),
        (b"hush hush\r\n\r\n", "it does not speak the protocol that was expected of it"),
        (b"", "it closed the connection"),
    ],
)
def test_a_proxy_that_does_not_connect_is_a_502_that_says_why(stage_with: OpenStage, answer: bytes, words: str) -> None:
    stage = stage_with("http://ada:hush@127.0.0.1")
    client = asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    line.send(answer)
    line.half_close()
    status, _, body = client.response()
    message = json.loads(body)["error"]["message"]
    assert (status, words in message, "proxy 127.0.0.1:" in message) == (502, True, True)
    assert line.rest() == b"", "the connection is not left behind"
    everything = f"{body!r}{said(stage)}"
    assert not any(secret in everything for secret in SECRETS)


def test_a_proxy_that_wants_a_login_says_so_to_whom_it_concerns(stage: ProxiedStage) -> None:
    client = asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    line.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    assert b"it wants credentials (407)" in client.response()[2]


@pytest.mark.parametrize(
    ("proxy", "words"), [("http://127.0.0.1:9", "refused"), ("socks5://nowhere.invalid:1080", "nowhere.invalid:1080")]
)
def test_a_proxy_that_is_out_of_reach_is_a_502_that_names_it(stage_with: OpenStage, proxy: str, words: str) -> None:
    stage = stage_with(ALL_PROXY=proxy.replace("//", "//ada:hush@"))
    status, _, body = asks(stage).response()
    assert status == 502
    assert words in body.decode()
    assert f"proxy {proxy.partition('//')[2]}" in body.decode()
    assert not any(secret in f"{body!r}{said(stage)}" for secret in SECRETS)


def test_a_proxy_that_says_nothing_is_given_up_in_time(stage_with: OpenStage) -> None:
    stage = stage_with(UPSTREAM_CONNECT_TIMEOUT_SECS="0.2")
    client = asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    assert client.response()[0] == 504
    assert line.rest() == b""


@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_leaves_ends_the_tunnel_or_the_wish_for_one(stage: ProxiedStage, answered: bool) -> None:
    client = asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    if answered:
        line.send(TUNNEL)
        line.until(BODY)
    client.close()
    assert line.rest() == b""


def test_a_shutdown_does_not_wait_for_a_proxy(stage: ProxiedStage) -> None:
    asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    stage.drain(0)
    assert line.rest() == b""
    stage.join()


def test_a_stranger_in_the_proxys_place_learns_nothing(stage_with: OpenStage, authority: str) -> None:
    stage = stage_with("https://ada:hush@localhost", UPSTREAM_CA_FILE=authority)
    client = asks(stage)
    line = stage.proxy()
    with pytest.raises(ssl.SSLError, match="ALERT"):
        SecureEnd(line, server_context(STRANGER, "localhost"))
    status, _, body = client.response()
    assert (status, b"certificate not accepted" in body) == (502, True)


def test_a_proxy_cannot_stand_in_for_the_upstream(stage_with: OpenStage, authority: str) -> None:
    stage = stage_with(UPSTREAM_BASE_URL="https://upstream.test", UPSTREAM_CA_FILE=authority)
    client = asks(stage)
    line = stage.proxy()
    line.until(b"\r\n\r\n")
    line.send(TUNNEL)
    with pytest.raises(ssl.SSLError, match="ALERT"):
        SecureEnd(line, server_context(name="proxy.test"))
    assert b"certificate not accepted" in client.response()[2]


def test_others_are_served_while_a_proxy_is_thinking(stage: ProxiedStage) -> None:
    asks(stage)
    stage.proxy().until(b"\r\n\r\n")
    other = stage.client()
    other.send(get(b"/health"))
    assert other.response()[2] == b"ok"
    assert not [log for log in stage.logs if log.level is LogLevel.ERROR]
