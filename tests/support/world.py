"""A router, with one account or with three, among many clients and upstreams that do anything at any time, one small
operation after the other.

An operation is a name and two numbers, so a history is plain data: it can be drawn, shrunk, fuzzed and played again.
Operations that make no sense at the moment do nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

import h11

from protocol.commands import Loss
from protocol.files import FileContent, Missing
from protocol.identity.refresh import Phase
from protocol.links.client import ClientLink
from protocol.links.link import HIGH_WATER
from protocol.values import Peer, PeerKind
from tests.support.pooled import TOKEN_URL, bound_token, file_of, granted, session
from tests.support.requests import BODY, EVENT, LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.scene import READ, Client, Scene, Upstream
from tests.support.stage import CREDENTIALS
from transports.memory import EPOCH

Operation: TypeAlias = tuple[str, int, int]

REPLAY_LIMIT: Final = 100_000
MOST_UNSENT: Final = REPLAY_LIMIT + HIGH_WATER + READ + 4096
"""Unsent bytes on any connection: a kept body that starts over, the watermark, one read, and some framing."""

SECONDS: Final = (0.1, 0.9, 2.0, 14.0, 16.0, 31.0, 61.0, 76.0, 290.0, 400.0)
SETTINGS: Final = {"REPLAY_LIMIT_BYTES": str(REPLAY_LIMIT), "UPSTREAM_IDLE_CONNECTIONS": "2"}
SEVERAL: Final = {
    "ADDITIONAL_ACCOUNT_DIRS": "/account-1,/account-2",
    "ACCOUNT_CONCURRENCY_LIMITS": "account-1=2",
    "OAUTH_TOKEN_URL": TOKEN_URL,
    "DATA_DIR": "/data",
}
"""The settings of a router with three accounts."""


ACCOUNTS: Final = ("primary", "account-1", "account-2")
LOGINS: Final[tuple[FileContent, ...]] = (
    session("x", expires_at=EPOCH + 2000),
    session("x", number=1, expires_at=EPOCH - 5),
    session("x", number=2, expires_at=EPOCH + 100),
    session("x", number=3, expires_at=EPOCH - 5, renewable=False),
    b'{"accessToken": "sk-ant-oat01-x-4"}',
    b'{"primaryApiKey": "sk-ant-api03-x"}',
    Missing(),
    b'{"accessToken": "sk-ant-oa',
)
"""What a credential file may hold."""


UNDER_WAY: Final = frozenset(Phase) - {Phase.RESTING}
OWN_LOCK: Final = UNDER_WAY - {Phase.LOCKING, Phase.QUEUEING}
"""The router itself has the lock of a login."""


class Visitor(Client):
    """A client that keeps book of what it asked."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.peer_name = f"client-{number}"
        super().__init__(scene, scene.shell.client(Peer(PeerKind.LOOPBACK, self.peer_name)))
        self.methods: list[bytes] = []
        self.unsent = b""
        self.has_ended = False
        self.has_broken_off = False


class World:
    """One history. ``operations`` is what has been done so far."""

    def __init__(self, half_close: str = "cancel", *, several: bool = False) -> None:
        settings = SETTINGS | SEVERAL if several else SETTINGS
        files = {file_of(name): LOGINS[0] for name in ACCOUNTS[1:]} if several else {}
        self.scene = Scene(CREDENTIALS, files, CLIENT_HALF_CLOSE=half_close, **settings)
        self.half_close = half_close
        self.several = several
        self.granted = 0
        self.operations: list[Operation] = []
        self.clients: list[Visitor] = []
        self.upstreams: list[tuple[Upstream, list[bytes]]] = []
        self.requests = requests(self.scene.token)
        self.account_requests = account_requests(self.scene.token, bound_token("account-1"))

    def do(self, name: str, which: int = 0, how: int = 0) -> None:
        """One operation: on the ``which``-th client or upstream, in the ``how``-th way."""
        self.operations.append((name, which, how))
        OPERATIONS[name](self, which, how)
        while self.scene.shell.dialled:
            self.upstreams.append((self.scene.upstream(), []))
        self.check()

    # Operations ----------------------------------------------------------------------------------------------------

    def connect(self, _: int, __: int) -> None:
        if self.scene.shell.listening and len(self.clients) < 20:
            self.clients.append(Visitor(self.scene, len(self.clients)))

    def ask(self, which: int, how: int) -> None:
        """A request, or the first part of one."""
        self._asks(which, self.requests, how)

    def ask_of_account(self, which: int, how: int) -> None:
        """Likewise, where it matters which account answers."""
        self._asks(which, self.account_requests, how)

    def _asks(self, which: int, table: list[tuple[list[bytes], bytes]], how: int) -> None:
        client = self._client(which)
        if client is None or client.unsent or client.has_ended:
            return
        methods, client.unsent = table[how % len(table)]
        client.methods += methods
        self.go_on(which, how // len(table))

    def go_on(self, which: int, how: int) -> None:
        """More of a request: all the rest, or some eighths of it."""
        client = self._client(which)
        if client is None or client.has_ended:
            return
        size = len(client.unsent) * (how % 8) // 8 if how % 8 else len(client.unsent)
        data, client.unsent = client.unsent[:size], client.unsent[size:]
        client.sends(data)

    def half_close_client(self, which: int, _: int) -> None:
        client = self._client(which)
        if client is not None and not client.has_ended:
            client.has_ended = True
            client.half_close()

    def break_client(self, which: int, _: int) -> None:
        client = self._client(which)
        if client is not None:
            client.has_ended = client.has_broken_off = True
            client.reset()

    def stop_reading(self, which: int, _: int) -> None:
        client = self._client(which)
        if client is not None:
            client.stops_reading()

    def read(self, which: int, how: int) -> None:
        client = self._client(which)
        if client is not None:
            client.reads(how * 999 if how else None)

    def answer(self, which: int, how: int) -> None:
        """What an upstream has still to say, or something new, piece by piece."""
        self._answers(which, ANSWERS, how)

    def answer_for_account(self, which: int, how: int) -> None:
        """Likewise, with something about the account; or what the token endpoint says."""
        self._answers(which, ACCOUNT_ANSWERS, how)

    def _answers(self, which: int, table: list[list[bytes]], how: int) -> None:
        if not self.upstreams:
            return
        upstream, untold = self.upstreams[which % len(self.upstreams)]
        if not untold:
            untold += table[how % len(table)]
        how //= len(table)
        for _ in range(how % 4 or len(untold)):
            if untold:
                upstream.sends(untold.pop(0))

    def end_upstream(self, which: int, how: int) -> None:
        if not self.upstreams:
            return
        upstream, untold = self.upstreams[which % len(self.upstreams)]
        untold.clear()
        if how % 2:
            upstream.reset()
        else:
            upstream.half_close()

    def slow_upstream(self, which: int, how: int) -> None:
        if self.upstreams:
            upstream, _ = self.upstreams[which % len(self.upstreams)]
            if how % 4 == 0:
                upstream.stops_reading()
            else:
                upstream.reads(how * 999 if how % 4 < 3 else None)

    def wait(self, _: int, how: int) -> None:
        self.scene.passes(SECONDS[how % len(SECONDS)])

    def network(self, _: int, how: int) -> None:
        shell = self.scene.shell
        shell.connect_fails = (None, None, Loss.REFUSED)[how % 3]
        if how % 3 == 1:
            shell.connect_hangs = True
        else:
            shell.connects()

    def disk(self, _: int, how: int) -> None:
        shell = self.scene.shell
        if how % 2:
            shell.disk_hangs = True
        else:
            shell.reads()
        self.scene.writes_credentials(b'{"accessToken": "sk-ant-oat01-%d"}' % (how % 4))

    def renew(self, which: int, how: int) -> None:
        """The token endpoint answers, well or not."""
        asked = [upstream for upstream, _ in self.upstreams if is_token_endpoint(upstream) and upstream.peer.inbox]
        if asked:
            upstream = asked[which % len(asked)]
            upstream.peer.taken()
            self.granted += 1
            pair = granted("y", self.granted, LIFETIMES[how % len(LIFETIMES)])
            upstream.sends(REFUSALS[how % 16] if how % 16 < len(REFUSALS) else reply(pair))

    def login(self, which: int, how: int) -> None:
        """An account's login changes, or somebody else takes or gives back its lock."""
        disk, path = self.scene.shell.disk, file_of(ACCOUNTS[which % len(ACCOUNTS)])
        if how % 16 == 15:
            if not self._renewing(OWN_LOCK):
                disk.locked ^= {path}
        elif how % 16 == 14:
            disk.read_only ^= {path}
        else:
            self.scene.shell.files[path] = LOGINS[how % len(LOGINS)]

    def drain(self, _: int, how: int) -> None:
        self.scene.drains((0.0, 1.0, 60.0)[how % 3])

    # What always holds ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The promises that hold between any two operations."""
        scene = self.scene
        gateway = scene.shell.gateway
        scene.assert_faultless()
        begun = gateway._last_request
        assert begun == len(scene.requests()) + len(gateway._exchanges), "each request ends exactly once"
        for client in self.clients:
            assert client.backlog <= MOST_UNSENT
        for upstream, _ in self.upstreams:
            assert upstream.backlog <= MOST_UNSENT
        held = Counter(exchange.call.holds for exchange in gateway._exchanges)
        standings = gateway._roster.snapshots(scene.shell.now)
        for standing in standings:
            assert standing.in_flight == held.pop(standing.name, 0), "each request in flight is somebody's"
            assert standing.concurrency_limit is None or standing.in_flight <= standing.concurrency_limit
        assert not [name for name in held if name is not None]
        if not (gateway._links or gateway.draining or scene.shell.disk_hangs or self._renewing()):
            assert gateway.deadline() is None

    def finish(self) -> None:
        """What every client has read is judged, everybody leaves, and nothing may be left."""
        scene = self.scene
        for client in self.clients:
            client.reads()
            self._judge(client)
            self._expect_service(client)
        scene.shell.reads()
        for client in self.clients:
            client.reset()
        for upstream, _ in self.upstreams:
            upstream.reads()
        scene.passes(1000)
        self.check()
        if scene.shell.gateway.draining:
            assert scene.stopped()
        scene.assert_empty()

    def _judge(self, client: Visitor) -> None:
        """Another HTTP parser finds no more whole responses than the router has completed."""
        own = [request for request in self.scene.requests() if request["peer"] == client.peer_name]
        ended = [request["ended"] for request in own]
        understood = [str(request["method"]).replace("-", "GET").encode() for request in own]
        methods = understood + client.methods[len(own) :]
        whole = whole_responses(
            bytes(client.peer.inbox), methods, closed=client.ended_well and not client.has_broken_off
        )
        if client.has_ended:
            assert whole <= ended.count("done")
        else:
            assert whole == ended.count("done"), (ended, bytes(client.peer.inbox))

    def _expect_service(self, client: Visitor) -> None:
        """A connection between two requests serves another one, whatever happened on it before."""
        link = self.scene.shell.gateway._links.get(client.peer.conn)
        if isinstance(link, ClientLink) and link.idle:
            answered = len(self.scene.requests())
            client.gets()
            assert len(self.scene.requests()) == answered + 1

    def _renewing(self, phases: AbstractSet[Phase] = UNDER_WAY) -> bool:
        """Some login's renewal is in one of these phases."""
        keepers = self.scene.shell.gateway._keepers.values()
        return any(renewal.refresher.phase in phases for keeper in keepers for renewal in keeper._renewals.values())

    def _client(self, which: int) -> Visitor | None:
        return self.clients[which % len(self.clients)] if self.clients else None


def again(world: World) -> World:
    """The same history once more."""
    second = World(world.half_close, several=world.several)
    for operation in world.operations:
        second.do(*operation)
    return second


def play(operations: Iterable[Operation], half_close: str = "cancel", *, several: bool = False) -> World:
    """Do them all, and see that everything ends as it should, the same every time."""
    world = World(half_close, several=several)
    for operation in operations:
        world.do(*operation)
    commands = list(world.scene.commands)
    world.finish()
    assert again(world).scene.commands == commands, "the same facts make for the same commands"
    return world


def is_token_endpoint(upstream: Upstream) -> bool:
    destination = upstream.peer.destination
    return destination is not None and destination.origin.host == "tokens"


def whole_responses(data: bytes, methods: list[bytes], *, closed: bool) -> int:
    """How many complete responses h11 reads from what a client received."""
    connection, whole = h11.Connection(h11.CLIENT), 0
    connection.receive_data(data) if data else None
    if closed:
        connection.receive_data(b"")
    asked = iter(methods)
    while True:
        connection.send(h11.Request(method=next(asked, b"GET"), target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                    return whole
        except h11.RemoteProtocolError:
            assert closed, "nothing malformed is ever sent"
            return whole
        whole += 1
        if connection.states[h11.CLIENT] is not h11.DONE or connection.their_state is not h11.DONE:
            assert not connection.trailing_data[0], "nothing follows the last response"
            return whole
        connection.start_next_cycle()


def requests(token: bytes) -> list[tuple[list[bytes], bytes]]:
    """What a client may send in one go: the methods in it, and the bytes."""
    key = b"X-Api-Key: " + token
    chunked = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % key
    large = chunk(b"y" * 60_000)
    return [
        ([b"POST"], post(token)),
        ([b"GET"], get(b"/health")),
        ([b"POST"], post(token, b"x" * 150_000)),
        ([b"POST"], post(token, b"x" * 90_000)),
        ([b"POST"], _in_whole_reads(post(token, b"x" * 130_000), b"x" * 130_000)),
        ([b"POST"], chunked + chunk(BODY) + LAST_CHUNK),
        ([b"POST"], chunked + large * 4 + LAST_CHUNK),
        ([b"POST"], chunked + chunk(BODY) + b"no size\r\n"),
        ([b"POST"], post(token, BODY, b"/v1/messages", b"Expect: 100-continue")),
        ([b"HEAD"], b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        ([b"HEAD"], b"HEAD /v1/files/f1 HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % key),
        ([b"POST"], post(b"la_sk_wrong")),
        ([b"POST"], post(token).replace(b"HTTP/1.1", b"HTTP/1.0")),
        ([b"GET"], b"\x16\x03\x01\x02\x00"),
        ([b"GET"], get(b"/nowhere", b"Connection: close")),
        ([b"GET"], get(b"/v1/messages/batches/b1", key)),
        ([b"POST", b"GET", b"HEAD"], post(token) + get(b"/health") + b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        ([b"POST", b"POST"], post(token) + post(token, b"z" * 70_000)),
        ([b"GET"] * 300, get(b"/health") * 300),
    ]


def account_requests(token: bytes, bound: bytes) -> list[tuple[list[bytes], bytes]]:
    """What a client may ask for that concerns one account more than another."""
    key = b"X-Api-Key: " + token
    chat = b'{"model":"gpt-5","messages":[{"role":"user","content":"hi"}]}'
    filed = b'{"model":"claude-x","messages":[{"role":"user","content":[{"source":{"file_id":"file_1"}}]}]}'
    return [
        ([b"POST"], post(token, BODY, b"/v1/messages", b"X-Session-Id: one")),
        ([b"POST"], post(token, BODY, b"/v1/messages", b"X-Session-Id: two")),
        ([b"POST"], post(bound)),
        ([b"POST"], post(token, BODY, b"/v1/messages/count_tokens")),
        ([b"POST"], post(token, chat, b"/v1/chat/completions")),
        ([b"POST"], post(token, chat.replace(b"}]", b'}],"stream":true'), b"/v1/chat/completions")),
        ([b"POST"], post(token, b"content", b"/v1/files")),
        ([b"GET"], get(b"/v1/files/file_1", key)),
        ([b"GET"], get(b"/v1/files", key)),
        ([b"POST"], post(token, filed)),
        ([b"POST"], post(token, b'{"requests":[]}', b"/v1/messages/batches")),
        ([b"GET"], get(b"/v1/accounts")),
        ([b"POST", b"POST", b"GET"], post(token) + post(token, b"z" * 30_000) + get(b"/v1/accounts")),
    ]


def _in_whole_reads(request: bytes, body: bytes) -> bytes:
    """The same request with a body shortened so that its last byte is the last of two reads."""
    surplus = len(request) - 2 * READ
    shorter = body[: len(body) - surplus]
    return request.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(shorter))[: 2 * READ]


_BATCH: Final = b'{"results_url":"https://api.anthropic.com/v1/messages/batches/b1/results"}'
_PIECE: Final = chunk(b"e" * 60_000)

ANSWERS: Final[list[list[bytes]]] = [
    [reply()],
    [reply()[:20], reply()[20:-5], reply()[-5:]],
    [STREAM_HEAD, chunk(EVENT), chunk(EVENT[:9]), chunk(EVENT[9:]), LAST_CHUNK],
    [STREAM_HEAD + chunk(EVENT), chunk(EVENT), LAST_CHUNK],
    [STREAM_HEAD, *[_PIECE] * 6, LAST_CHUNK],
    [reply(b"b" * 60_000) + b"", reply(b"b" * 60_000)],
    [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", *[b"l" * 50_000] * 4],
    [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"until ", b"close"],
    [b"HTTP/1.1 204 No Content\r\n\r\n"],
    [b"HTTP/1.1 100 Continue\r\n\r\n", reply()],
    [reply(b'{"type":"error"}', b"401 Unauthorized")],
    [reply(b"", b"401 Unauthorized")],
    [reply(b"{}", b"529 Overloaded", b"Connection: close")],
    [reply(_BATCH)],
    [b"SSH-2.0-x\r\n\r\n"],
    [STREAM_HEAD, b"no size\r\n"],
    [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
    [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"],
]
"""What an upstream may say, in reads."""

_RESET: Final = b"anthropic-ratelimit-unified-%b-status: rejected\r\nanthropic-ratelimit-unified-%b-reset: %d"
_LIMITED: Final = b"429 Too Many Requests"

ACCOUNT_ANSWERS: Final[list[list[bytes]]] = [
    [reply()],
    [reply(b"{}", _LIMITED)],
    [reply(b"{}", _LIMITED, b"Retry-After: 20")],
    [reply(b"{}", _LIMITED, _RESET % (b"5h", b"5h", EPOCH + 300))],
    [reply(b"{}", _LIMITED, _RESET % (b"7d_x", b"7d_x", EPOCH + 600))],
    [b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 200000\r\n\r\n", b"l" * 50_000],
    [reply(b"{}", b"529 Overloaded", b"Connection: close")],
    [reply(b"{}", b"503 Service Unavailable")],
    [reply(b"{}", b"401 Unauthorized")],
    [reply(b'{"error":{"type":"not_found_error"}}', b"404 Not Found")],
    [reply(b'{"id":"file_1"}')],
    [reply(granted("x", 1, 600))],
    [reply(granted("x", 2, 5))[:40], reply(granted("x", 2, 5))[40:]],
    [reply(b'{"error":"invalid_grant"}', b"400 Bad Request")],
    [reply(b"{}", _LIMITED, b"Retry-After: 100000")],
    [STREAM_HEAD + chunk(EVENT), LAST_CHUNK],
]
"""What an upstream may say of an account, and the token endpoint of a login, in reads."""

LIFETIMES: Final = (600.0, 5.0, 400.0, 28_800.0)
REFUSALS: Final = (
    reply(b'{"error":"invalid_grant"}', b"400 Bad Request"),
    reply(b"", _LIMITED, b"Retry-After: 60"),
    reply(b"", b"502 Bad Gateway"),
    reply(b"<html>"),
)
"""What the token endpoint says instead of granting."""

OPERATIONS: Final[dict[str, Callable[[World, int, int], None]]] = {
    "connect": World.connect,
    "ask": World.ask,
    "go_on": World.go_on,
    "half_close_client": World.half_close_client,
    "break_client": World.break_client,
    "stop_reading": World.stop_reading,
    "read": World.read,
    "answer": World.answer,
    "end_upstream": World.end_upstream,
    "slow_upstream": World.slow_upstream,
    "wait": World.wait,
    "network": World.network,
    "disk": World.disk,
    "drain": World.drain,
    "ask_of_account": World.ask_of_account,
    "answer_for_account": World.answer_for_account,
    "login": World.login,
    "renew": World.renew,
}
"""New ones come last: histories that were written down count on the order."""
