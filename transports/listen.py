"""Listening sockets, for host names, IPv4, IPv6 and Unix paths, and who is at the other end of an accepted one."""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from protocol.config import Config
from protocol.values import Peer, PeerKind

BACKLOG: Final = 1024
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def open_listeners(config: Config) -> list[socket.socket]:
    """Non-blocking listening sockets for what the configuration says.

    A name is bound at every address it stands for on this machine; ``::`` takes IPv4 as well.

    :raises OSError: nothing could be bound.
    """
    if config.unix_socket is not None:
        return [_listen_unix(config.unix_socket)]
    return _listen_tcp(config.host, config.port)


def address_text(listener: socket.socket) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:/run/router.sock``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"


def peer_of(connection: socket.socket) -> Peer:
    """The other end of an accepted connection.

    :raises OSError: it is gone already.
    """
    if connection.family == socket.AF_UNIX:
        return Peer(PeerKind.UNIX, "unix")
    host, port = connection.getpeername()[:2]
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    loopback = (mapped or address).is_loopback
    return Peer(PeerKind.LOOPBACK if loopback else PeerKind.NETWORK, f"{host}:{port}")


def tune(connection: socket.socket) -> None:
    """No waiting for more bytes to fill a packet (Nagle): a stream's events are small and urgent."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        chosen = listeners[0].getsockname()[1] if listeners and port == 0 else port
        try:
            listeners.append(_bind(family, (address[0], chosen, *address[2:]), dual=address[0] == "::"))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                close_all(listeners)
                raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
            failure = error
    if not listeners:
        raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address to listen on")
    return listeners


def _bind(family: int, address: tuple[object, ...], *, dual: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> socket.socket:
    """Only this user may connect: whoever can is trusted like the operator at the keyboard."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: str) -> None:
    """A socket file that nobody answers on was left by a process that is gone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def close_all(listeners: Sequence[socket.socket]) -> None:
    """Stop listening; a Unix socket's file goes too."""
    remove_socket_files(listeners)
    for listener in listeners:
        listener.close()


def remove_socket_files(listeners: Sequence[socket.socket]) -> None:
    """Nobody can connect by path any more."""
    for listener in listeners:
        if listener.family == socket.AF_UNIX and listener.fileno() >= 0:
            with suppress(FileNotFoundError):
                os.unlink(listener.getsockname())
