"""A shell whose loop is the test, and streams that keep what they are told to do."""

from collections import deque
from typing import final

from protocol.commands import Job, LoadFiles, Log
from protocol.config import Config
from protocol.egress import Destination
from protocol.files import FilesLoaded
from protocol.gateway import Gateway
from protocol.identity.tokens import issue
from protocol.values import ConnId, Secret
from tests.support.requests import post
from tests.support.stage import CREDENTIALS, TOKEN_SECRET
from tests.support.tls import CLIENT_CONTEXT, NAME, Server
from transports.memory import EPOCH, LOCAL
from transports.shell import Shell, Stream
from transports.tls import TlsPump


@final
class Wire(Stream):
    """A stream without a socket: ``stuck`` makes its bytes stay unsent, ``fault`` is raised when it is to send."""

    def __init__(self, shell: Shell, tls: TlsPump | None = None, *, accepted: bool = False) -> None:
        super().__init__(shell, tls, accepted=accepted)
        self.sent = b""
        self.done: list[str] = []
        self.stuck = False
        self.fault: Exception | None = None

    @property
    def unsent(self) -> bool:
        return self.stuck

    def send(self, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent += data

    def send_eof(self) -> None:
        self.done.append("eof")

    def finish(self, *, reset: bool) -> None:
        self.done.append("reset" if reset else "close")

    def pause(self) -> None:
        self.done.append("pause")

    def resume(self) -> None:
        self.done.append("resume")

    def flows(self) -> None:
        """The peer has taken the last byte."""
        self.stuck = False
        self.sent_all()

    def taken(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


@final
class BareShell(Shell):
    """A shell whose loop is the test.

    ``epoch`` is what its wall clock shows at monotonic second 0, ``disk_fault`` is raised when files are to be read.
    """

    def __init__(self, **settings: str) -> None:
        self.now = 1000.0
        self.epoch = EPOCH - self.now
        self.disk_fault: Exception | None = None
        self.logs: list[Log] = []
        self.connecting: deque[tuple[ConnId, Destination]] = deque()
        self.abandoned: list[ConnId] = []
        self.armed: list[float | None] = []
        self.done: list[str] = []
        values = {
            "TOKEN_SECRET": TOKEN_SECRET,
            "STORAGE_POLICY": "memory",
            "CLAUDE_CODE_HOME": "/home",
            "UPSTREAM_BASE_URL": f"https://{NAME}",
        }
        config = Config.parse({**values, **settings}, home="/home")
        gateway = Gateway(config, entropy=lambda size: bytes(size), epoch=self.epoch)
        super().__init__(gateway, clock=lambda: self.now, report=self.logs.append)
        self.start()

    def connect(self, conn: ConnId, destination: Destination) -> None:
        self.connecting.append((conn, destination))

    def abandon_connect(self, conn: ConnId) -> None:
        self.abandoned.append(conn)

    def work(self, job: Job) -> None:
        if self.disk_fault is not None:
            raise self.disk_fault
        assert isinstance(job, LoadFiles)
        result = FilesLoaded([(job.paths[0], CREDENTIALS)], "fingerprint")
        self.tell_later(lambda: self.gateway.completed(job.job, result, self.now))

    def rearm(self, deadline: float | None) -> None:
        self.armed.append(deadline)

    def stop_listening(self) -> None:
        self.done.append("stop listening")

    def drained(self) -> None:
        if "drained" not in self.done:  # like the event that the loops set: once more means nothing
            self.done.append("drained")

    def sync_clock(self) -> None:
        self.gateway.clock_synced(self.epoch)

    def client(self) -> Wire:
        wire = Wire(self, accepted=True)
        self.accepted(wire, LOCAL)
        return wire

    def asking(self) -> Wire:
        """A client that has asked for a message."""
        client = self.client()
        client.arrived(post(self.token()))
        return client

    def token(self) -> bytes:
        """A token that was issued when this shell began, for an hour."""
        secret = Secret(TOKEN_SECRET)
        issued = issue(secret, ttl_hours=1, label="", wall=EPOCH, entropy=lambda size: bytes(size))
        return issued.token.reveal().encode()

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
