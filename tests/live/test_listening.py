"""Where the router can be reached: IPv4, IPv6, names and Unix sockets."""

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from cli.practice import PracticeUpstream
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.routers import RunningRouter


def can_bind(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


IPV6 = can_bind(socket.AF_INET6, "::1")
needs_ipv6 = pytest.mark.skipif(not IPV6, reason="this machine has no IPv6 loopback address")


def own_network_address() -> str | None:
    """An address of this machine that is not a loopback one, if it has any; no packet is sent to find out."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if not address.startswith("127.") and can_bind(family, address):
            return address
    return None


NETWORK_ADDRESS = own_network_address()


def message_at(host: str, port: int) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    with (
        new_client(f"http://{bracketed}:{port}") as client,
        client.messages.stream(**ask()) as stream,
    ):
        return stream.get_final_text()


def port_of(router: RunningRouter) -> int:
    return int(router.addresses[0].rpartition(":")[2])


@pytest.mark.parametrize(
    ("host", "reachable"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("localhost", ["localhost"]),
        pytest.param("::1", ["::1"], marks=needs_ipv6),
        pytest.param("[::1]", ["::1"], marks=needs_ipv6),
        pytest.param("::", ["::1", "127.0.0.1"], marks=needs_ipv6),
    ],
)
def test_an_address_or_a_name(loop: str, upstream: PracticeUpstream, host: str, reachable: list[str]) -> None:
    with RunningRouter(loop, upstream.origin, ROUTER_HOST=host) as router:
        assert ["You said" in message_at(name, port_of(router)) for name in reachable] == [True] * len(reachable)


def test_a_name_is_served_at_every_address_it_has_here(loop: str, upstream: PracticeUpstream) -> None:
    found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    wanted = {entry[4][0] for entry in found if can_bind(socket.AddressFamily(entry[0]), str(entry[4][0]))}
    with RunningRouter(loop, upstream.origin, ROUTER_HOST="localhost") as router:
        hosts = {address.rpartition(":")[0].strip("[]") for address in router.addresses}
        assert hosts == wanted
        assert len({address.rpartition(":")[2] for address in router.addresses}) == 1


@needs_ipv6
def test_an_upstream_at_an_ipv6_address(loop: str) -> None:
    with PracticeUpstream("::1") as upstream, RunningRouter(loop, upstream.origin) as router:
        assert "You said" in message_at("127.0.0.1", port_of(router))
        assert upstream.requests[-1].header("host") == [f"[::1]:{upstream.port}"]


def test_a_port_that_is_taken_is_an_error(loop: str, upstream: PracticeUpstream) -> None:
    with RunningRouter(loop, upstream.origin) as router:
        taken = str(port_of(router))
        with pytest.raises(OSError, match=taken), RunningRouter(loop, upstream.origin, ROUTER_PORT=taken):
            pass
        assert "You said" in message_at("127.0.0.1", int(taken))


def test_a_name_without_an_address_is_an_error(loop: str, upstream: PracticeUpstream) -> None:
    with (
        pytest.raises(OSError, match=r"nowhere\.invalid"),
        RunningRouter(loop, upstream.origin, ROUTER_HOST="nowhere.invalid"),
    ):
        pass


# --- who may issue tokens ---------------------------------------------------------------------------------------------


def issue(connection: http.client.HTTPConnection, **headers: str) -> tuple[int, dict[str, object]]:
    body = json.dumps({"ttl_hours": 1, "label": "live"})
    connection.request("POST", "/api/tokens", body, {"content-type": "application/json", **headers})
    response = connection.getresponse()
    answer: dict[str, object] = json.loads(response.read())
    connection.close()
    return response.status, answer


@pytest.mark.parametrize(
    ("listening", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        pytest.param("::1", "::1", marks=needs_ipv6),
        pytest.param("::", "127.0.0.1", marks=needs_ipv6),
    ],
)
def test_this_machine_may_issue_tokens(loop: str, upstream: PracticeUpstream, listening: str, name: str) -> None:
    with RunningRouter(loop, upstream.origin, ROUTER_HOST=listening) as router:
        status, issued = issue(http.client.HTTPConnection(name, port_of(router)))
        assert status == 200
        assert str(issued["token"]).startswith("la_sk_")
        forwarded = issue(http.client.HTTPConnection(name, port_of(router)), **{"x-forwarded-for": "10.0.0.1"})
        assert forwarded[0] == 401


@pytest.mark.skipif(NETWORK_ADDRESS is None, reason="this machine has no address besides loopback ones")
def test_the_network_may_not(loop: str, upstream: PracticeUpstream) -> None:
    assert NETWORK_ADDRESS is not None
    everywhere = "::" if ":" in NETWORK_ADDRESS else "0.0.0.0"
    with RunningRouter(loop, upstream.origin, ROUTER_HOST=everywhere) as router:
        assert issue(http.client.HTTPConnection(NETWORK_ADDRESS, port_of(router)))[0] == 401
        assert "You said" in message_at(NETWORK_ADDRESS, port_of(router))


# --- Unix sockets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router.sock"


@pytest.fixture
def local(loop: str, upstream: PracticeUpstream, path: Path) -> Iterator[RunningRouter]:
    with RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path)) as running:
        yield running


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def test_the_sdk_streams_over_a_unix_socket(local: RunningRouter, path: Path) -> None:
    assert local.addresses == (f"unix:{path}",)
    with (
        httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as http,
        new_client("http://localhost", http_client=http) as client,
    ):
        assert client.messages.create(**ask()).content
        with client.messages.stream(**ask("/size 200")) as stream:
            assert len(list(stream.text_stream)) == 200
        created = client.messages.batches.create(requests=[{"custom_id": "one", "params": ask()}])  # type: ignore[typeddict-item]
        client.messages.batches.retrieve(created.id)
        assert [line.custom_id for line in client.messages.batches.results(created.id)] == ["one"]


def test_only_the_owner_may_connect(local: RunningRouter, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_whoever_may_connect_may_issue_tokens(local: RunningRouter, path: Path) -> None:
    status, issued = issue(UnixConnection(path))
    assert status == 200
    assert str(issued["token"]).startswith("la_sk_")


def test_with_an_admin_key_that_is_needed_here_too(loop: str, upstream: PracticeUpstream, path: Path) -> None:
    with RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path), TOKEN_ADMIN_KEY="the admin's own") as _:
        assert issue(UnixConnection(path))[0] == 401
        assert issue(UnixConnection(path), authorization="Bearer the admin's own")[0] == 200


def test_the_file_goes_with_the_router(loop: str, upstream: PracticeUpstream, path: Path) -> None:
    with RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path)):
        assert path.exists()
    assert not path.exists()


def test_a_file_that_a_dead_router_left_is_replaced(loop: str, upstream: PracticeUpstream, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path)):
        assert issue(UnixConnection(path))[0] == 200


def test_a_living_router_keeps_its_file(
    loop: str, upstream: PracticeUpstream, local: RunningRouter, path: Path
) -> None:
    with pytest.raises(OSError, match=str(path)), RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path)):
        pass
    assert issue(UnixConnection(path))[0] == 200


def test_a_file_that_is_no_socket_is_left_alone(loop: str, upstream: PracticeUpstream, path: Path) -> None:
    path.write_text("notes")
    with pytest.raises(OSError, match=str(path)), RunningRouter(loop, upstream.origin, UNIX_SOCKET=str(path)):
        pass
    assert path.read_text() == "notes"
