"""The loop-free half of a shell: commands become verbs, events become facts, in order, without a step in between."""

import socket
from collections import deque
from typing import final

import pytest

from protocol.commands import FilesLoaded, LoadFiles, Log, Loss
from protocol.config import Config
from protocol.gateway import Gateway
from protocol.identity.tokens import issue
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import ConnId, Origin, Secret
from tests.support.requests import BODY, EVENT, LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import CREDENTIALS, TOKEN_SECRET
from tests.support.tls import CLIENT_CONTEXT, NAME, STRANGER, Server, server_context
from transports.memory import EPOCH, LOCAL
from transports.shell import Shell, Stream, why_not
from transports.tls import TlsPump


@final
class Wire(Stream):
    """A stream that keeps what it is told to do."""

    def __init__(self, shell: Shell, tls: TlsPump | None = None) -> None:
        super().__init__(shell, tls)
        self.sent = b""
        self.done: list[str] = []

    def send(self, data: bytes) -> None:
        self.sent += data

    def send_eof(self) -> None:
        self.done.append("eof")

    def finish(self, *, reset: bool) -> None:
        self.done.append("reset" if reset else "close")

    def pause(self) -> None:
        self.done.append("pause")

    def resume(self) -> None:
        self.done.append("resume")

    def taken(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


@final
class BareShell(Shell):
    """A shell whose loop is the test."""

    def __init__(self, **settings: str) -> None:
        self.now = 1000.0
        self.logs: list[Log] = []
        self.connecting: deque[tuple[ConnId, Origin]] = deque()
        self.abandoned: list[ConnId] = []
        self.armed: list[float | None] = []
        self.done: list[str] = []
        values = {"TOKEN_SECRET": TOKEN_SECRET, "CLAUDE_CODE_HOME": "/home", "UPSTREAM_BASE_URL": f"https://{NAME}"}
        config = Config.parse({**values, **settings}, home="/home")
        gateway = Gateway(config, entropy=lambda size: bytes(size), epoch=EPOCH - self.now)
        super().__init__(gateway, clock=lambda: self.now, report=self.logs.append)
        self.start()

    def connect(self, conn: ConnId, origin: Origin) -> None:
        self.connecting.append((conn, origin))

    def abandon_connect(self, conn: ConnId) -> None:
        self.abandoned.append(conn)

    def load(self, command: LoadFiles) -> None:
        result = FilesLoaded([(command.paths[0], CREDENTIALS)], "fingerprint")
        self.tell_later(lambda: self.gateway.completed(command.job, result, self.now))

    def rearm(self, deadline: float | None) -> None:
        self.armed.append(deadline)

    def stop_listening(self) -> None:
        self.done.append("stop listening")

    def drained(self) -> None:
        self.done.append("drained")

    def client(self) -> Wire:
        wire = Wire(self)
        self.accepted(wire, LOCAL)
        return wire

    def asking(self) -> Wire:
        """A client that has asked for a message."""
        secret = Secret(TOKEN_SECRET)
        issued = issue(secret, ttl_hours=1, label="", wall=EPOCH, entropy=lambda size: bytes(size))
        client = self.client()
        client.arrived(post(issued.token.reveal().encode()))
        return client

    def upstream_over(self, tls: TlsPump | None) -> Wire:
        """The connection that was asked for is made."""
        conn, _ = self.connecting.popleft()
        wire = Wire(self, tls)
        self.upstream(conn, wire)
        wire.opened()
        return wire


def encrypted(shell: BareShell, server: Server) -> Wire:
    """A connection to the upstream, after the handshake."""
    wire = shell.upstream_over(TlsPump(CLIENT_CONTEXT, NAME))
    while data := wire.taken():
        wire.arrived(server.takes(data))
    return wire


# --- commands ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_written_and_its_connection_closed_when_that_was_asked_for() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(get(b"/health", b"Connection: close"))
    assert client.sent.endswith(b"\r\n\r\nok")
    assert client.done == ["close"]
    assert not shell.streams


def test_nothing_that_happens_to_a_closed_connection_is_told() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(get(b"/health", b"Connection: close"))
    logged = len(shell.logs)
    client.arrived(get(b"/health"))
    client.arrived_eof()
    client.broke(Loss.RESET, "")
    client.backlog(1 << 20)
    assert client._lost("") == []
    shell.tell_now()
    assert len(shell.logs) == logged
    assert client.done == ["close"]


def test_orders_about_connections_that_are_gone_are_passed_over() -> None:
    """A peer may vanish while the commands of one turn are carried out."""
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    shell.forget(client.conn)
    upstream.arrived(STREAM_HEAD + chunk(EVENT) + LAST_CHUNK)
    shell.forget(upstream.conn)
    shell.drain(0)
    assert client.sent == b""


def test_a_connection_that_is_still_being_made_is_abandoned() -> None:
    shell = BareShell()
    client = shell.asking()
    (conn, origin) = shell.connecting[0]
    assert str(origin) == f"https://{NAME}"
    client.arrived_eof()
    assert shell.abandoned == [conn]


def test_a_connection_that_could_not_be_made_is_told() -> None:
    shell = BareShell()
    client = shell.asking()
    conn, _ = shell.connecting.popleft()
    shell.not_connected(conn, Loss.REFUSED, "nobody there")
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert b"nobody there" in client.sent


def test_a_shutdown_is_passed_on() -> None:
    shell = BareShell()
    client = shell.client()
    shell.drain(5)
    assert shell.done == ["stop listening", "drained"]
    assert client.done == ["close"]


def test_the_alarm_is_set_only_when_the_deadline_moves() -> None:
    shell = BareShell()
    client = shell.client()
    assert shell.armed == [1030.0]
    client.arrived(b"\r\n")
    assert shell.armed == [1030.0]
    client.arrived(get(b"/health"))
    assert shell.armed == [1030.0, 1075.0]
    shell.now = 1075.0
    shell.tick()
    assert client.done == ["close"]


def test_crossing_a_watermark_is_told_once_and_after_the_commands_under_way() -> None:
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    upstream.arrived(STREAM_HEAD)
    for pending in (1, HIGH_WATER, HIGH_WATER + 1, HIGH_WATER + 2):
        client.backlog(pending)
    assert upstream.done == [], "nothing is told amid a turn"
    shell.tell_now()
    assert upstream.done == ["pause"]
    for pending in (LOW_WATER + 1, LOW_WATER, 0):
        client.backlog(pending)
        shell.tell_now()
    assert upstream.done == ["pause", "resume"]


def test_a_client_that_is_lost_amid_a_turn_is_told_as_a_fact_of_its_own() -> None:
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    shell.tell_later(lambda: client._lost("broken pipe"))
    shell.tell_now()
    assert upstream.done == ["close"]
    assert not shell.streams


def test_an_upload_that_is_answered_early_is_half_closed() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(post(b"la_sk_wrong", b"x" * 1000)[:-500])
    assert client.done == ["eof"]


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_an_upstream_is_spoken_to_once_the_handshake_is_over() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    assert server.plain.endswith(BODY)
    upstream.arrived(server.says(reply(b"hello")))
    assert client.sent.endswith(b"\r\n\r\nhello")


def test_a_clean_end_is_an_end_and_what_follows_does_not_matter() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"HTTP/1.1 200 OK\r\n\r\nall of it") + server.ends())
    upstream.arrived_eof()
    assert client.sent.endswith(chunk(b"all of it") + LAST_CHUNK)


def test_an_end_that_was_not_announced_is_a_cut() -> None:
    """Anybody on the way could have made it."""
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"HTTP/1.1 200 OK\r\n\r\nsome of it"))
    upstream.arrived_eof()
    assert client.sent.endswith(chunk(b"some of it"))
    assert client.done == ["close"]


def test_an_end_after_the_announced_one_is_no_news() -> None:
    shell, server = BareShell(), Server()
    shell.asking()
    upstream = encrypted(shell, server)
    upstream._tls.ended = True  # type: ignore[union-attr]
    upstream.arrived_eof()
    assert upstream.conn in shell.streams


def test_a_certificate_that_does_not_fit_is_a_502_and_the_server_is_told() -> None:
    shell, server = BareShell(), Server(server_context(STRANGER))
    client = shell.asking()
    upstream = shell.upstream_over(TlsPump(CLIENT_CONTEXT, NAME))
    upstream.arrived(server.takes(upstream.taken()))
    assert b"certificate not accepted" in client.sent
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert upstream.sent, "an alert"
    assert upstream.done == ["close"]


def test_closing_says_goodbye_unless_it_is_a_reset() -> None:
    for reset in (False, True):
        shell, server = BareShell(), Server()
        shell.asking()
        upstream = encrypted(shell, server)
        upstream.close(reset=reset)
        assert bool(upstream.sent) is not reset
        assert upstream.done == ["reset" if reset else "close"]


def test_the_rest_of_a_read_is_dropped_when_the_connection_was_closed_by_its_first_part() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"no HTTP at all\r\n\r\n") + server.ends())
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert upstream.done == ["close"]


# --- reasons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Loss.REFUSED, "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), Loss.UNRESOLVED, "Name or service not known"),
        (OSError(113, "No route to host"), Loss.FAILED, "No route to host"),
        (OSError("all failed"), Loss.FAILED, "all failed"),
    ],
)
def test_why_a_connection_could_not_be_made(error: OSError, reason: Loss, detail: str) -> None:
    assert why_not(error) == (reason, detail)


def test_one_error_may_stand_for_several_addresses() -> None:
    refused, unreachable = ConnectionRefusedError(111, "Connection refused"), OSError(101, "Network is unreachable")
    error = OSError("all attempts failed")
    error.__cause__ = BaseExceptionGroup("several", [refused, unreachable, refused, ExceptionGroup("x", [KeyError()])])
    assert why_not(error) == (Loss.REFUSED, "Connection refused, Network is unreachable")
