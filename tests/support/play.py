"""An exchange with a client and an upstream that are both in the test's hands, one call at a time."""

from collections.abc import Callable, Mapping

from protocol.call import Call
from protocol.commands import LogLevel
from protocol.effects import ChangeStore, CheckCredentials, Fetch, Script, UpstreamRequest
from protocol.egress import Proxy
from protocol.exchange import Exchange, Phase
from protocol.ports import Channel, CredentialWaiter, Responder, UpstreamEvents
from protocol.request_body import RequestBody
from protocol.timers import Timers
from protocol.values import Origin, Peer, PeerKind, RequestHead, ResponseHead

ORIGIN = Origin("http", "upstream", 80)
ASKED = Fetch(UpstreamRequest(ORIGIN, RequestHead(b"POST", b"/v1/messages", [])))


def head(status: int = 200) -> ResponseHead:
    return ResponseHead(status, [])


class Client(Responder):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self.ended = 0
        self.cuts: list[bytes | None] = []
        self._held = False
        self.wanted = False

    def send_head(self, head: ResponseHead, length: int | None) -> None:
        assert self.status is None, "one head to a response"
        self.status = head.status

    def send_body(self, data: bytes) -> None:
        assert not self.over, "nothing after the end"
        self.body += data

    def send_end(self) -> None:
        self.ended += 1

    def cut(self, frame: bytes | None) -> None:
        self.cuts.append(frame)

    def hold_body(self, held: bool) -> None:
        self._held = held

    def want_body(self) -> None:
        self.wanted = True

    def held(self) -> bool:
        return self._held

    @property
    def over(self) -> int:
        return self.ended + len(self.cuts)


class Connection(Channel):
    """Keeps what it is asked; the test answers through ``events``."""

    def __init__(self) -> None:
        self.sent = b""
        self.whole = False
        self._held = False
        self.cancelled = False
        self.events: UpstreamEvents

    def request(self, head: RequestHead, body_length: int | None, events: UpstreamEvents) -> None:
        self.events = events

    def send_body(self, data: bytes) -> None:
        self.sent += data

    def send_end(self) -> None:
        self.whole = True

    def hold(self, held: bool) -> None:
        self._held = held

    def cancel(self) -> None:
        self.cancelled = True

    def held(self) -> bool:
        return self._held


class House:
    """Lends connections and counts the ends."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers = Timers()
        self.channels: list[Connection] = []
        self.checks: list[tuple[CheckCredentials, CredentialWaiter | None]] = []
        self.changes: list[ChangeStore] = []
        self.ended: list[Exchange] = []

    def open_channel(
        self, origin: Origin, *, fresh: bool, via: Proxy | None = None, guarded: bool = False
    ) -> Connection:
        self.channels.append(Connection())
        return self.channels[-1]

    def check_credentials(self, effect: CheckCredentials, waiter: CredentialWaiter | None) -> None:
        self.checks.append((effect, waiter))

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None:
        raise AssertionError(event)

    def change(self, effect: ChangeStore, done: Callable[[str | None], None]) -> None:
        self.changes.append(effect)
        done(None)

    def exchange_ended(self, exchange: Exchange) -> None:
        self.ended.append(exchange)


class Play:
    """A script, and everybody it meets."""

    def __init__(
        self,
        script: Script,
        length: int | None = 0,
        *,
        limit: int = 1 << 20,
        replay: int = 1 << 20,
        house: House | None = None,
    ) -> None:
        self.house = house or House()
        self.client = Client()
        self.call = Call(RequestHead(b"POST", b"/v1/messages", []), Peer(PeerKind.LOOPBACK, "test"), "req_1", 0.0, 0.0)
        body = RequestBody(length, limit, replay)
        self.exchange = Exchange(self.call, script, body, self.client, self.house, 15.0)
        self.exchange.start()

    @property
    def upstream(self) -> Connection:
        """The latest connection."""
        return self.house.channels[-1]

    def assert_ended_once(self, phase: Phase) -> None:
        assert self.exchange.phase is phase
        assert self.house.ended == [self.exchange]
