"""Whether the router could listen where it is meant to, or does so already. Nothing beyond this machine is asked."""

import errno
import http.client
import os
import socket
import stat
from contextlib import closing
from http import HTTPStatus
from typing import Final

from cli.checks.findings import Check, check, failure, may_write
from cli.remote import UnixConnection, reachable
from protocol.config import Config
from transports.listen import close_all, open_listeners

PATIENCE_SECONDS: Final = 2.0

HEALTH: Final = {(HTTPStatus.OK, b"ok"), (HTTPStatus.SERVICE_UNAVAILABLE, b"draining")}
"""What a router says of itself."""


def listening_check(config: Config) -> Check:
    """Free, taken by a router, or taken by somebody else."""
    if config.unix_socket is not None:
        return socket_check(config.unix_socket)
    if config.port == 0:
        return check("port", "any free one")
    try:
        close_all(open_listeners(config))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return taken("port", http.client.HTTPConnection(reachable(config.host), config.port))
        return check("port", "UNUSABLE", [failure(error.strerror or str(error))])
    return check("port", "free")


def socket_check(path: str) -> Check:
    """A socket file that nobody answers at is replaced when the router starts."""
    if os.path.exists(path):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return check("socket", "UNUSABLE", [failure(f"{path} is there, and no socket")])
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                return check("socket", "free, left by a process that is gone")
            except OSError as error:
                return check("socket", "UNUSABLE", [failure(f"{path}: {error.strerror}")])
        return taken("socket", UnixConnection(path))
    directory = os.path.dirname(os.path.abspath(path))
    if not may_write(directory):
        return check("socket", "UNUSABLE", [failure(f"it cannot be made in {directory}")])
    return check("socket", "free")


def taken(label: str, connection: http.client.HTTPConnection) -> Check:
    connection.timeout = PATIENCE_SECONDS
    with closing(connection):
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            said = response.status, response.read(64)
        except (OSError, http.client.HTTPException):
            said = None
    if said in HEALTH:
        return check(label, "in use by a running router")
    return check(label, "in use by another program", [failure("the router cannot listen there")])
