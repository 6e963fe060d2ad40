"""Listening on what an operator writes down: addresses, names, Unix paths; and who is at the other end."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol.config import Config
from protocol.values import Peer, PeerKind
from transports.listen import address_text, close_all, open_listeners, peer_of, remove_socket_files, tune

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(stack: ExitStack, **settings: str) -> list[socket.socket]:
    listeners = open_listeners(Config.parse({"ROUTER_PORT": "0", **settings}, home=None))
    stack.callback(close_all, listeners)
    return listeners


def connected(stack: ExitStack, listener: socket.socket) -> socket.socket:
    """The accepted end of a connection to a listener."""
    client = stack.enter_context(socket.socket(listener.family, socket.SOCK_STREAM))
    client.connect(listener.getsockname())
    return stack.enter_context(listener.accept()[0])


def test_an_ipv4_address_is_listened_on(stack: ExitStack) -> None:
    (listener,) = listening(stack, ROUTER_HOST="127.0.0.1")
    assert address_text(listener) == f"127.0.0.1:{listener.getsockname()[1]}"
    assert not listener.getblocking()
    assert peer_of(connected(stack, listener)).kind is PeerKind.LOOPBACK


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_listened_on(stack: ExitStack) -> None:
    (listener,) = listening(stack, ROUTER_HOST="[::1]")
    assert address_text(listener) == f"[::1]:{listener.getsockname()[1]}"
    assert peer_of(connected(stack, listener)).kind is PeerKind.LOOPBACK


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_every_address_takes_ipv4_too(stack: ExitStack) -> None:
    (listener,) = listening(stack, ROUTER_HOST="::")
    client = stack.enter_context(socket.create_connection(("127.0.0.1", listener.getsockname()[1])))
    accepted = stack.enter_context(listener.accept()[0])
    assert peer_of(accepted) == Peer(PeerKind.LOOPBACK, f"::ffff:127.0.0.1:{client.getsockname()[1]}")


def test_a_name_is_listened_on_at_all_its_addresses_with_one_port(stack: ExitStack) -> None:
    listeners = listening(stack, ROUTER_HOST="localhost")
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        assert peer_of(connected(stack, listener)).local


def test_a_port_in_use_is_told_with_its_address(stack: ExitStack) -> None:
    (listener,) = listening(stack, ROUTER_HOST="127.0.0.1")
    port = str(listener.getsockname()[1])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: ") as caught:
        listening(stack, ROUTER_HOST="127.0.0.1", ROUTER_PORT=port)
    assert caught.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_cannot_be_listened_on(stack: ExitStack) -> None:
    with pytest.raises(OSError) as caught:
        listening(stack, ROUTER_HOST="192.0.2.1")
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_name_that_stands_for_nothing_is_told(stack: ExitStack) -> None:
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:0: "):
        listening(stack, ROUTER_HOST="nowhere.invalid")


def test_a_unix_socket_is_for_its_owner_alone_and_goes_with_the_listener(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    mask = os.umask(0o022)
    stack.callback(os.umask, mask)
    listeners = listening(stack, UNIX_SOCKET=str(path))
    assert address_text(listeners[0]) == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.umask(0o022) == 0o022, "the process's own mask is as it was"
    accepted = connected(stack, listeners[0])
    assert peer_of(accepted) == Peer(PeerKind.UNIX, "unix")
    tune(accepted)
    close_all(listeners)
    assert not path.exists()
    close_all(listeners)


def test_a_file_that_is_gone_already_does_not_matter(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    listeners = listening(stack, UNIX_SOCKET=str(path))
    path.unlink()
    close_all(listeners)


def test_the_file_may_go_before_the_listener(stack: ExitStack, tmp_path: Path) -> None:
    """A loop that closes the sockets itself takes the knowledge of their names with it."""
    path = tmp_path / "router.sock"
    listeners = listening(stack, UNIX_SOCKET=str(path))
    remove_socket_files(listeners)
    assert not path.exists()
    listeners[0].close()
    remove_socket_files(listeners)
    remove_socket_files(listening(stack, ROUTER_HOST="127.0.0.1"))


def test_a_stale_unix_socket_is_replaced(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (listener,) = listening(stack, UNIX_SOCKET=str(path))
    assert peer_of(connected(stack, listener)).local


def test_a_unix_socket_in_use_is_left_alone(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    (listener,) = listening(stack, UNIX_SOCKET=str(path))
    with pytest.raises(OSError, match="cannot listen on") as caught:
        listening(stack, UNIX_SOCKET=str(path))
    assert caught.value.errno == errno.EADDRINUSE
    stack.enter_context(listener.accept()[0])  # the question whether anybody is there
    assert peer_of(connected(stack, listener)).local


def test_a_file_that_is_no_socket_is_left_alone(stack: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="cannot listen on"):
        listening(stack, UNIX_SOCKET=str(path))
    assert path.read_text() == "data"


def test_a_directory_that_is_not_there_is_told(stack: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot listen on"):
        listening(stack, UNIX_SOCKET=str(tmp_path / "no" / "router.sock"))


def test_small_writes_are_not_held_back(stack: ExitStack) -> None:
    (listener,) = listening(stack, ROUTER_HOST="127.0.0.1")
    accepted = connected(stack, listener)
    tune(accepted)
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_peer_that_is_gone_has_no_name(stack: ExitStack) -> None:
    unconnected = stack.enter_context(socket.socket(socket.AF_INET))
    with pytest.raises(OSError):
        peer_of(unconnected)
