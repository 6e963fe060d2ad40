"""The core driven by hand: one gateway, kept-alive connections on both sides, bytes in and commands out.

No sockets and no clock, so what it does is the same in every run.
"""

from dataclasses import replace
from typing import Final, final

from benchmarks import traffic
from protocol.commands import Command, Connect, LoadFiles, Write
from protocol.config import Config, StoragePolicy
from protocol.files import FilesLoaded
from protocol.gateway import Gateway
from protocol.identity.tokens import issue
from protocol.values import ConnId, Peer, PeerKind, Secret

EPOCH: Final = 1_795_000_000.0
EVENT: Final = traffic.chunk(traffic.DELTA % 1_234_567_890)
"""A delta as the upstream sends it: one event, one chunk, one read."""
STREAM_START: Final = traffic.STREAM_HEAD + b"".join(map(traffic.chunk, traffic.OPENING_EVENTS))
STREAM_END: Final = b"".join(map(traffic.chunk, traffic.CLOSING_EVENTS)) + traffic.LAST_CHUNK


@final
class Core:
    """A gateway with one client and one upstream connection, both used before."""

    def __init__(self) -> None:
        config = replace(
            Config(),
            token_secret=Secret(traffic.TOKEN_SECRET),
            claude_code_home="/login",
            storage_policy=StoragePolicy.MEMORY,
        )
        self.now = 1.0
        self.gateway = Gateway(config, entropy=lambda size: b"\x01" * size, epoch=EPOCH)
        token = issue(Secret(traffic.TOKEN_SECRET), wall=EPOCH, entropy=lambda size: b"\x02" * size).token
        self.small_request = traffic.whole_request(token.reveal().encode(), traffic.SMALL_BODY)
        self.upstream = ConnId(0)
        self._carry_out(self.gateway.started(self.now))
        self.client, commands = self.gateway.accepted(Peer(PeerKind.LOOPBACK, "127.0.0.1:1"), self.now)
        self._carry_out(commands)
        self.request()
        self.request()

    def request(self) -> list[Command]:
        """One request and its whole answer."""
        return self.ask() + self.answer()

    def ask(self) -> list[Command]:
        return self._carry_out(self.gateway.received(self.client, self.small_request, self.now))

    def answer(self) -> list[Command]:
        return self._carry_out(self.gateway.received(self.upstream, traffic.WHOLE_RESPONSE, self.now))

    def open_stream(self) -> None:
        """Up to its first delta."""
        self.ask()
        self._carry_out(self.gateway.received(self.upstream, STREAM_START, self.now))

    def event(self) -> list[Command]:
        """One read of the upstream that holds one delta; returns the write to the client."""
        return self.gateway.received(self.upstream, EVENT, self.now)

    def close_stream(self) -> None:
        self._carry_out(self.gateway.received(self.upstream, STREAM_END, self.now))

    def _carry_out(self, commands: list[Command]) -> list[Command]:
        for command in commands:
            match command:
                case Connect(conn=conn):
                    self.upstream = conn
                    self._carry_out(self.gateway.connected(conn, self.now))
                case LoadFiles(job=job, paths=paths):
                    files = [(path, b'{"accessToken": "sk-ant-oat01-benchmarks"}') for path in paths]
                    self._carry_out(self.gateway.completed(job, FilesLoaded(files, fingerprint=1), self.now))
                case _:
                    continue
        return commands


def relayed(commands: list[Command]) -> bytes:
    """What the commands write."""
    return b"".join(command.data for command in commands if isinstance(command, Write))
