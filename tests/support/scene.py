"""A router on a stage of memory, with a clock that moves when told: tests over it read as transcripts.

``scene.client()`` are the clients, ``scene.upstream()`` takes the router's next connection to the upstream. Whatever
happens, two promises are watched: no order names a connection that is closed, and nothing is logged as a fault of ours.
"""

from collections.abc import Mapping
from typing import Final, Self

import pytest

from protocol.commands import Close, Command, Connect, Log, Pause, Resume, ShutdownWrite, Write
from protocol.config import Config
from protocol.files import FileContent
from protocol.identity.tokens import issue
from protocol.values import Secret
from tests.support.requests import BODY, EVENT, REPLY, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import CREDENTIALS, OAUTH_TOKEN, TOKEN_SECRET, MemoryEnd
from transports.memory import EPOCH, LOCAL, MemoryPeer, MemoryShell

READ: Final = 64 * 1024
"""The most that reaches the router at once, as from a socket."""

CREDENTIAL_FILE: Final = "/home/credentials.json"

EXPIRED: Final = b'{"accessToken": "%s", "expiresAt": 1}' % OAUTH_TOKEN.encode()
"""A credential file that says its time is over: what is known of it is not used before it was looked at again."""


class Client(MemoryEnd):
    """Somebody who talks to the router."""

    def __init__(self, scene: "Scene", peer: MemoryPeer) -> None:
        super().__init__(peer)
        self._scene = scene

    def posts(self, body: bytes = BODY, *headers: bytes, path: bytes = b"/v1/messages") -> Self:
        """A request with a good token, arriving in reads of a socket's size."""
        return self.sends(post(self._scene.token, body, path, *headers))

    def begins(self, length: int, *headers: bytes, path: bytes = b"/v1/messages") -> Self:
        """The head of a request whose body of ``length`` bytes is still to come."""
        return self.sends(post(self._scene.token, b"x" * length, path, *headers)[:-length])

    def begins_chunked(self) -> Self:
        return self.sends(
            b"POST /v1/messages HTTP/1.1\r\nHost: router.test\r\nX-Api-Key: %b\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % self._scene.token
        )

    def gets(self, path: bytes = b"/health", *headers: bytes) -> Self:
        return self.sends(get(path, *headers))

    def sends(self, data: bytes) -> Self:
        for at in range(0, len(data), READ):
            self.peer.sends(data[at : at + READ])
        return self

    def leaves(self) -> None:
        """The client is gone, as a closed socket is."""
        self.peer.ends()

    def stops_reading(self) -> Self:
        self.peer.takes(0)
        return self

    def reads(self, amount: int | None = None) -> Self:
        """Take that many more bytes, or all from now on."""
        self.peer.takes(amount)
        return self

    def saw(self, status: int, body: bytes | None = None) -> dict[bytes, bytes]:
        """The next response is this one; returns its header fields."""
        seen, headers, content = self.response()
        assert (seen, content) == (status, content if body is None else body)
        return headers

    def saw_nothing(self) -> None:
        """Neither a byte nor an end."""
        assert not self.received
        assert not self.peer.inbox
        assert not self.peer.ended

    @property
    def backlog(self) -> int:
        """Bytes that the router keeps for this peer because it does not take them."""
        return len(self.peer._stream._pending)

    @property
    def ended_well(self) -> bool:
        """The router has ended its side, and not by a reset."""
        return self.peer.ended and not self.peer.reset

    def gone(self) -> bool:
        """The router has closed this connection."""
        return self.peer.closed

    def broken_off(self) -> bytes:
        """The router has reset this connection; returns what had come over it since the last look."""
        with pytest.raises(ConnectionResetError):
            self.rest()
        return self._take(len(self.received))

    def held(self) -> bool:
        """The router has stopped reading from this connection."""
        return self.peer.paused


class Upstream(Client):
    """The upstream's end of one connection."""

    def got(self, body: bytes = BODY) -> dict[bytes, bytes]:
        """A whole request with this body has come; returns its header fields."""
        _, fields = self.head()
        assert self.exactly(len(body)) == body
        return dict(fields)

    def replies(self, body: bytes = REPLY, status: bytes = b"200 OK", *headers: bytes) -> Self:
        return self.sends(reply(body, status, *headers))

    def streams(self, *events: bytes) -> Self:
        """The head of an event stream and its first events."""
        return self.sends(STREAM_HEAD + b"".join(map(chunk, events)))


class Scene:
    """One router and everybody around it.

    :param credentials: what the credential file holds; None = there is none.
    :param files: further files, by path.
    :param beside: another router on the same disk.
    :param settings: by their environment names.
    """

    def __init__(
        self,
        credentials: FileContent | None = CREDENTIALS,
        files: Mapping[str, FileContent] | None = None,
        beside: "Scene | None" = None,
        /,
        **settings: str,
    ) -> None:
        self.commands: list[Command] = []
        self.marked = 0
        values = {
            "TOKEN_SECRET": TOKEN_SECRET,
            "STORAGE_POLICY": "memory",
            "CLAUDE_CODE_HOME": "/home",
            "UPSTREAM_BASE_URL": "http://upstream",
        }
        config = Config.parse({**values, **settings}, home="/home")
        present = dict(files or {})
        if credentials is not None:
            present[CREDENTIAL_FILE] = credentials
        neighbour = None if beside is None else beside.shell
        self.shell: MemoryShell = MemoryShell(config, present, beside=neighbour, watch=self._watch)
        secret = Secret(TOKEN_SECRET)
        issued = issue(secret, ttl_hours=10_000, label="test", wall=EPOCH, entropy=lambda size: bytes(size))
        self.token = issued.token.reveal().encode()

    # What happens --------------------------------------------------------------------------------------------------

    def client(self) -> Client:
        return Client(self, self.shell.client(LOCAL))

    def upstream(self) -> Upstream:
        """The router's next connection to the upstream."""
        assert self.shell.dialled, "the router asked nobody"
        return Upstream(self, self.shell.dialled.popleft())

    def passes(self, seconds: float) -> None:
        """Time passes."""
        self.shell.advance(seconds)

    def drains(self, grace: float = 60) -> None:
        """The operator stops the router."""
        self.shell.drain(grace)

    def writes_credentials(self, content: FileContent) -> None:
        """The credential file changes."""
        self.shell.files[CREDENTIAL_FILE] = content

    def streaming(self, client: Client | None = None) -> tuple[Client, Upstream]:
        """A client that has seen the head and first event of a stream, and its upstream."""
        client = (client or self.client()).posts()
        upstream = self.upstream()
        upstream.got()
        upstream.streams(EVENT)
        client.head()
        assert client.exactly(len(chunk(EVENT))) == chunk(EVENT)
        return client, upstream

    def used_before(self) -> tuple[Client, Upstream]:
        """A client that has been answered, and the connection that did it, idle now."""
        client = self.client().posts()
        upstream = self.upstream()
        upstream.got()
        upstream.replies()
        client.saw(200)
        return client, upstream

    # What came of it -----------------------------------------------------------------------------------------------

    def asked_nobody(self) -> bool:
        """No connection to the upstream is waiting to be taken."""
        return not self.shell.dialled

    def stopped(self) -> bool:
        return self.shell.finished

    def orders(self, *kinds: type[Command]) -> list[Command]:
        """The commands of these kinds since the last call, in order."""
        new, self.marked = self.commands[self.marked :], len(self.commands)
        return [command for command in new if isinstance(command, kinds)]

    def requests(self) -> list[dict[str, str | int | float | None]]:
        """The access log."""
        return [dict(log.fields) for log in self.shell.logs if log.event == "request"]

    def logs(self, text: str) -> list[Log]:
        """The records whose sentence holds ``text``."""
        return [log for log in self.shell.logs if text in log.event]

    def assert_faultless(self) -> None:
        faults = [log.fields for log in self.shell.logs if log.event == "internal error"]
        assert not faults, faults

    def assert_empty(self) -> None:
        """Nothing is left of what was: no connection, exchange, job or deadline."""
        gateway = self.shell.gateway
        assert not gateway._links
        assert not gateway._exchanges
        assert not gateway._jobs
        assert not any(keeper.waiting or keeper.busy for keeper in gateway._keepers.values())
        assert all(account.in_flight == 0 for account in gateway._roster.snapshots(self.shell.now))
        assert len(gateway._idle) == 0
        assert gateway._clients == 0
        assert gateway.deadline() is None
        assert not gateway.commands
        assert not gateway.dirty
        assert not self.shell.streams
        assert not self.shell.connecting

    def _watch(self, shell: MemoryShell, command: Command) -> None:
        self.commands.append(command)
        match command:
            case Write(conn) | ShutdownWrite(conn) | Pause(conn) | Resume(conn):
                assert conn in shell.streams, f"{command} names a connection that is not open"
            case Close(conn):
                assert conn in shell.streams or conn in shell.connecting, f"{command} closes what is not open"
            case Connect(conn):
                assert conn not in shell.streams
            case _:
                pass
