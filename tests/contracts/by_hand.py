"""A gateway driven with nothing but values: a few requests of every kind, and all the commands they cause."""

from dataclasses import replace

from protocol.commands import Close, Command, Connect, Drained, LoadFiles, Loss, Write
from protocol.config import Config
from protocol.files import FilesLoaded
from protocol.gateway import Gateway
from protocol.values import ConnId, Peer, PeerKind, Secret

HERE = Peer(PeerKind.LOOPBACK, "127.0.0.1")
ISSUE = b"POST /api/tokens HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b'2a\r\nevent: ping\ndata: {"type": "ping", "n": 1}\n\n\r\n'
)


class ByHand:
    """One gateway and the instant it lives in; ``commands`` is everything it ever ordered."""

    def __init__(self) -> None:
        settings = {
            "TOKEN_SECRET": "a secret of at least thirty-two bytes",
            "CLAUDE_CODE_HOME": "/nowhere",
            "STORAGE_POLICY": "memory",
        }
        config = replace(Config.parse(settings, home="/nobody"), token_secret=Secret(settings["TOKEN_SECRET"]))
        self.gateway = Gateway(config, entropy=lambda size: b"\x01" * size, epoch=1_700_000_000.0)
        self.now = 1.0
        self.commands: list[Command] = []
        self._carry_out(self.gateway.started(self.now))

    def asks(self, request: bytes) -> ConnId:
        conn, commands = self.gateway.accepted(HERE, self.now)
        self._carry_out(commands)
        self.receives(conn, request)
        return conn

    def receives(self, conn: ConnId, data: bytes) -> None:
        self._carry_out(self.gateway.received(conn, data, self.now))

    def loses(self, conn: ConnId) -> None:
        self._carry_out(self.gateway.lost(conn, Loss.RESET, self.now))

    def waits(self, seconds: float) -> None:
        self.now += seconds
        self._carry_out(self.gateway.timed_out(self.now))

    def drains(self) -> None:
        self._carry_out(self.gateway.drain(1.0, self.now))

    def written(self, conn: ConnId) -> bytes:
        return b"".join(order.data for order in self.commands if isinstance(order, Write) and order.conn == conn)

    def upstreams(self) -> list[ConnId]:
        return [order.conn for order in self.commands if isinstance(order, Connect)]

    def closed(self) -> list[ConnId]:
        return [order.conn for order in self.commands if isinstance(order, Close)]

    def _carry_out(self, commands: list[Command]) -> None:
        self.commands += commands
        for order in commands:
            match order:
                case Connect(conn=conn):
                    self._carry_out(self.gateway.connected(conn, self.now))
                case LoadFiles(job=job, paths=paths):
                    files = [(path, b'{"accessToken": "sk-ant-oat01-example"}') for path in paths]
                    self._carry_out(self.gateway.completed(job, FilesLoaded(files, fingerprint=1), self.now))
                case _:
                    continue


def an_eventful_day() -> ByHand:
    """Health, a token, a stream that is cut, a client that leaves, nonsense, time-outs, a shutdown."""
    world = ByHand()
    world.asks(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer = world.written(world.asks(ISSUE))
    token = answer.partition(b'"token":"')[2].partition(b'"')[0]
    ask = (
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %s\r\ncontent-length: 2\r\n\r\n{}"
        % token
    )
    client = world.asks(ask)
    (upstream,) = world.upstreams()
    world.receives(upstream, STREAM)
    world.waits(20.0)
    world.loses(upstream)
    assert b"event: error" in world.written(client), world.written(client)
    leaver = world.asks(ask)
    second = world.upstreams()[-1]
    world.loses(leaver)
    assert second in world.closed()
    world.asks(b"NONSENSE\r\n\r\n")
    world.asks(b"GET /health HTTP/1.1\r\n")
    world.waits(40.0)
    world.drains()
    world.waits(10.0)
    assert Drained() in world.commands
    return world
