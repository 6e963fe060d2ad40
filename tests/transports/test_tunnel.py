"""What is said to a proxy, byte for byte, and what is made of its answers, however they arrive."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar, final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import Loss
from protocol.egress import Proxy
from protocol.values import BaseUrl, Origin
from tests.support.splits import byte_by_byte, cut_points, every_way, split
from tests.support.tls import AUTHORITY, STRANGER, Server, server_context
from transports.dialler import Line, NotConnected
from transports.tls import TlsPump, Trust
from transports.tunnel import open_tunnel

T = TypeVar("T")
ORIGIN: Final = Origin("https", "upstream.test", 443)
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
CONNECT: Final = b"CONNECT upstream.test:443 HTTP/1.1\r\nHost: upstream.test:443\r\n\r\n"
GRANTED: Final = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


@final
class Script(Line):
    """A proxy that answers with these bytes, one piece a read, and then ends; ``sent`` is what it was told."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.sent = b""
        self._pieces: Iterator[bytes] = iter(pieces)

    async def receive(self) -> bytes:
        return next(self._pieces, b"")

    async def send(self, data: bytes) -> None:
        self.sent += data

    def detach(self) -> socket.socket:
        raise AssertionError("the line is its opener's")


@final
class SecureScript(Line):
    """The same over TLS."""

    def __init__(self, server: Server, answer: bytes) -> None:
        self.alert: str | None = None
        self._server = server
        self._answer = answer
        self._incoming = b""

    @property
    def sent(self) -> bytes:
        return self._server.plain

    async def receive(self) -> bytes:
        if not self._incoming and self._server.plain and self._answer:
            self._incoming, self._answer = self._server.says(self._answer), b""
        data, self._incoming = self._incoming, b""
        return data

    async def send(self, data: bytes) -> None:
        try:
            self._incoming += self._server.takes(data) if data else b""
        except ssl.SSLError as error:
            self.alert = error.reason

    def detach(self) -> socket.socket:
        raise AssertionError("the line is its opener's")


Run = Callable[..., Any]


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on one of the loops: httpcore has its locks from there."""

    def on_asyncio(function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
        return asyncio.run(function(*arguments))

    return trio.run if request.param == "trio" else on_asyncio


def connect(run: Run, proxy: str, pieces: Iterable[bytes], origin: Origin = ORIGIN) -> bytes:
    """What is said to the proxy until the tunnel stands."""
    line = Script(pieces)
    assert run(open_tunnel, line, Proxy.parse(proxy), origin, Trust(None)) is None
    return line.sent


def fails(run: Run, proxy: str, pieces: Iterable[bytes], origin: Origin = ORIGIN) -> str:
    """Why the tunnel does not come to be, in words."""
    parsed = Proxy.parse(proxy)
    with pytest.raises(NotConnected) as failed:
        run(open_tunnel, Script(pieces), parsed, origin, Trust(None))
    assert failed.value.reason is Loss.FAILED
    assert "hush" not in f"{failed.value!r}{failed.value.detail}"
    return failed.value.detail.removeprefix(f"proxy {parsed.authority}: ")


# --- HTTP -------------------------------------------------------------------------------------------------------------


def test_a_tunnel_is_asked_for_by_connect(run: Run) -> None:
    assert connect(run, "http://proxy.test:3128", [ESTABLISHED]) == CONNECT


def test_a_login_is_sent_as_basic_credentials(run: Run) -> None:
    said = connect(run, "http://ada:h%C3%BCsh%3A@proxy.test", [ESTABLISHED])
    (line,) = [line for line in said.split(b"\r\n") if line.startswith(b"Proxy-Authorization: ")]
    assert base64.b64decode(line.removeprefix(b"Proxy-Authorization: Basic ")).decode() == "ada:hüsh:"


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://upstream.test", b"upstream.test:80"),
        ("https://[::1]:8443", b"[::1]:8443"),
        ("https://bücher.test", b"xn--bcher-kva.test:443"),
    ],
)
def test_the_origin_is_named_with_its_port(run: Run, url: str, authority: bytes) -> None:
    said = connect(run, "http://proxy.test", [ESTABLISHED], BaseUrl.parse(url).origin)
    assert said == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
        b"HTTP/1.1 204 \r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=["old", "with a length", "interim", "bare line ends", "long"],
)
def test_every_success_will_do_however_it_arrives(run: Run, answer: bytes) -> None:
    cuts = [] if len(answer) > 1000 else byte_by_byte(answer)
    for pieces in (split(answer, [65536]), cuts or [answer]):
        assert connect(run, "http://proxy.test", pieces) == CONNECT


@pytest.mark.parametrize(
    ("proxy", "answer", "reason"),
    [
        ("proxy.test", b"HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\n", "it wants credentials (407)"),
        ("ada:hush@proxy.test", b"HTTP/1.1 407 No\r\n\r\n", "it refuses the credentials (407)"),
        ("ada:hush@proxy.test", b"HTTP/1.1 403 hush\r\nX: hush\r\n\r\nhush", "it answered 403 Forbidden"),
        ("proxy.test", b"HTTP/1.1 502 Bad\r\n\r\n", "it answered 502 Bad Gateway"),
        ("proxy.test", b"HTTP/1.1 302 Found\r\nLocation: http://a\r\n\r\n", "it answered 302 Found"),
        ("proxy.test", b"HTTP/1.1 599 What\r\n\r\n", "it answered 599"),
        ("proxy.test", b"", "it closed the connection"),
        ("proxy.test", b"HTTP/1.1 200 O", "it closed the connection"),
        ("ada:hush@proxy.test", b"hush\r\n\r\n", "it does not speak the protocol that was expected of it"),
        ("proxy.test", b"\x05\x00" * 1000, "it closed the connection"),
        ("proxy.test", b"x" * 200_000, "it does not speak the protocol that was expected of it"),
        ("proxy.test", ESTABLISHED + b"x", "it does not speak the protocol that was expected of it"),
    ],
)
def test_why_there_is_no_tunnel(run: Run, proxy: str, answer: bytes, reason: str) -> None:
    assert fails(run, proxy, [answer] if answer else []) == reason


@given(st.binary(max_size=200) | st.builds(lambda tail: b"HTTP/1.1 " + tail, st.binary(max_size=50)), cut_points())
def test_any_answer_makes_a_tunnel_or_a_reason(answer: bytes, cuts: list[int]) -> None:
    for proxy in ("http://proxy.test", "socks5://proxy.test"):
        with suppress(NotConnected):
            trio.run(open_tunnel, Script(split(answer, cuts)), Proxy.parse(proxy), ORIGIN, Trust(None))


# --- SOCKS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://upstream.test", b"\x03\x0dupstream.test\x01\xbb"),
        ("http://10.0.0.1:80", b"\x01\x0a\x00\x00\x01\x00\x50"),
        ("http://[::1]:1", b"\x04" + b"\x00" * 15 + b"\x01\x00\x01"),
    ],
)
def test_the_proxy_is_given_the_name_or_the_address(run: Run, url: str, address: bytes) -> None:
    said = connect(run, "socks5://proxy.test", [b"\x05\x00", GRANTED], BaseUrl.parse(url).origin)
    assert said == b"\x05\x01\x00" + b"\x05\x01\x00" + address


def test_a_login_is_shown_only_to_a_proxy_that_wants_one(run: Run) -> None:
    greeting, ask = b"\x05\x02\x00\x02", b"\x05\x01\x00\x03\x0dupstream.test\x01\xbb"
    login = b"\x01\x03ada\x05h:ush"
    proxy = "socks5://ada:h%3Aush@proxy.test"
    assert connect(run, proxy, [b"\x05\x02", b"\x01\x00", GRANTED]) == greeting + login + ask
    assert connect(run, proxy, [b"\x05\x00", GRANTED]) == greeting + ask


@pytest.mark.parametrize("bound", [b"\x01\x7f\x00\x00\x01", b"\x04" + b"\x00" * 16, b"\x03\x09localhost", b"\x03\x00"])
def test_replies_may_arrive_in_any_pieces(run: Run, bound: bytes) -> None:
    answer = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00" + bound + b"\x00\x50"
    for pieces in every_way(answer, [1, 5]):
        connect(run, "socks5://ada:hush@proxy.test", pieces)


@pytest.mark.parametrize(
    ("proxy", "answer", "reason"),
    [
        ("socks5://proxy.test", b"\x05\xff", "it wants credentials"),
        ("socks5://ada:hush@proxy.test", b"\x05\xff", "it does not take a password"),
        ("socks5://ada:hush@proxy.test", b"\x05\x01", "it does not take a password"),
        ("socks5://proxy.test", b"\x05\x02", "it wants credentials"),
        ("socks5://ada:hush@proxy.test", b"\x05\x02\x01\x01", "it refuses the credentials"),
        ("socks5://ada:hush@proxy.test", b"\x05\x02", "it closed the connection"),
        ("socks5://proxy.test", b"\x05\x00\x05\x05\x00\x01", "the host refused the connection"),
        ("socks5://proxy.test", b"\x05\x00\x05\x02\x00\x01" + b"\x00" * 6, "its rules forbid this connection"),
        ("socks5://proxy.test", b"\x05\x00\x05\x63\x00\x01", "it does not speak the protocol that was expected of it"),
        ("socks5://proxy.test", b"HTTP/1.1 400 Bad\r\n", "it does not speak the protocol that was expected of it"),
        ("socks5://proxy.test", b"\x05\x00HTTP", "it does not speak the protocol that was expected of it"),
        ("socks5://proxy.test", b"\x05\x00" + GRANTED[:-1], "it closed the connection"),
        ("socks5://proxy.test", b"\x05\x00" + GRANTED + b"x", "it does not speak the protocol that was expected of it"),
    ],
)
def test_why_there_is_no_connection(run: Run, proxy: str, answer: bytes, reason: str) -> None:
    assert fails(run, proxy, [answer]) == reason


# --- TLS with the proxy -----------------------------------------------------------------------------------------------


@contextmanager
def trusting() -> Iterator[Trust]:
    """Trust in the authority of the tests."""
    with AUTHORITY.cert_pem.tempfile() as file:
        yield Trust(file)


def test_an_https_proxy_is_spoken_to_over_tls_that_stays(run: Run) -> None:
    server = Server(server_context(name="proxy.test"))
    line = SecureScript(server, ESTABLISHED)
    with trusting() as trust:
        pump = run(open_tunnel, line, Proxy.parse("https://proxy.test"), ORIGIN, trust)
    assert line.sent == CONNECT
    assert isinstance(pump, TlsPump)
    server.takes(pump.encrypt(b"to the origin"))
    assert server.plain == CONNECT + b"to the origin"
    assert pump.decrypt(server.says(b"from the origin")) == b"from the origin"


@pytest.mark.parametrize(
    "context", [server_context(STRANGER, "proxy.test"), server_context(name="other.test")], ids=["unknown", "another"]
)
def test_a_proxy_whose_certificate_does_not_fit_is_told_nothing(run: Run, context: ssl.SSLContext) -> None:
    server = Server(context)
    line = SecureScript(server, ESTABLISHED)
    with trusting() as trust, pytest.raises(NotConnected) as failed:
        run(open_tunnel, line, Proxy.parse("https://ada:hush@proxy.test"), ORIGIN, trust)
    assert failed.value.reason is Loss.TLS
    assert failed.value.detail.startswith("proxy proxy.test:443: certificate not accepted: ")
    assert line.sent == b""
    assert line.alert is not None
