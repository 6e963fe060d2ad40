"""The core as a whole: facts in, commands out; no I/O, no clock, no entropy of its own. One for each event loop.

Every input method takes ``now`` in monotonic seconds and returns the commands it caused, in order. Between inputs the
gateway only waits: ``deadline`` says until when.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, final

import msgspec

from protocol.call import Call
from protocol.commands import (
    Command,
    Connect,
    Drained,
    JobResult,
    Log,
    LogLevel,
    Loss,
    StopListening,
)
from protocol.config import NEXT_START, SETTINGS, Config, UpstreamProvider
from protocol.dispatch import FrontDoor, Household, router_for, secret_of
from protocol.effects import ChangeStore, CheckCredentials, Store
from protocol.egress import Destination, Proxy, choose_proxy
from protocol.errors import Refusal
from protocol.exchange import Exchange, Phase
from protocol.files import Contents
from protocol.identity.accounts import Account
from protocol.identity.health_log import HealthLog
from protocol.identity.pool import Change
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.roster import Roster
from protocol.identity.token_desk import TokenDesk
from protocol.identity.token_limits import at_least
from protocol.links.client import ClientLink
from protocol.links.link import Link
from protocol.links.upstream import UpstreamLink
from protocol.logins import AccountKeeper, NewCommand
from protocol.metrics import Ended, Metrics
from protocol.ports import CredentialWaiter, Responder
from protocol.request_body import RequestBody
from protocol.routing import ROUTES, Surface
from protocol.scripts.operations import refuse
from protocol.stores import AuditLog, OnChanged, StoreKeeper, UsageKeeper
from protocol.timers import Timer, TimerOwner, Timers
from protocol.values import ConnId, JobId, Origin, Peer, RequestHead, Tokens
from protocol.wire.pool import IdlePool

SHUTTING_DOWN: Final = Refusal(503, "the router is shutting down")
_TOKENS: Final = re.compile(r"(?<=la_sk_)[^/]+|(?<=sk-ant-)[^/]+")
"""What follows the prefix of a token or credential: somebody may have put one into a path."""

ADMIN_ROUTES: Final = frozenset(route.pattern for route in ROUTES if route.surface is Surface.ADMIN)
READING: Final = frozenset({b"GET", b"HEAD"})

AUDIT_LOG: Final = "audit.jsonl"
"""In the data directory: one JSON object for each change that an operator made or tried to make over HTTP. With
``STORAGE_POLICY=memory`` there is none.
"""

LAST_SECONDS: Final = 3.0
"""After the last answers were cut: for what has to be kept of them to reach the disk."""

NO_ENVIRONMENT: Final[Mapping[str, str]] = {}

UNREADABLE: Final = RequestHead(b"-", b"-", [])


@final
class Gateway(TimerOwner):
    """Owns every connection, exchange and timer; see the module.

    :param config: with the token secret settled.
    :param entropy: returns that many random bytes.
    :param epoch: seconds since the epoch at monotonic second 0; ``clock_synced`` corrects it.
    :param version: of the router, for the metrics.
    :param environment: where providers' keys may be.
    """

    def __init__(
        self,
        config: Config,
        *,
        entropy: Callable[[int], bytes],
        epoch: float,
        version: str = "unknown",
        environment: Mapping[str, str] = NO_ENVIRONMENT,
    ) -> None:
        self.now = 0.0
        self.timers = Timers()
        self.commands: list[Command] = []
        self.dirty: list[Link] = []
        self._config = config
        secret, router = secret_of(config), router_for(config)
        self._roster = Roster(config, entropy=entropy, report=self._report_health)
        self._tokens = TokenDesk(secret, config)
        self._providers = ProviderDesk(secret, config, environment)
        self._metrics = Metrics(router.routes(), version=version)
        self._household = Household(
            self._roster, self._tokens, self._providers, self._metrics, lambda: len(self._exchanges)
        )
        self._entropy = entropy
        self._door = FrontDoor(config, router, self._household, entropy=entropy)
        self._keepers = {account.name: AccountKeeper(account, self) for account in self._roster}
        self._moved: list[AccountKeeper] = []
        self._stores = {
            Store.TOKENS: StoreKeeper(self._tokens, self),
            Store.PROVIDERS: StoreKeeper(self._providers, self),
        }
        self._usage_keeper = UsageKeeper(self._tokens, self)
        self._audit_log = AuditLog(f"{config.data_dir}/{AUDIT_LOG}" if self._tokens.paths else None, self)
        self._health_log = HealthLog()
        self._epoch = epoch
        self._links: dict[ConnId, Link] = {}
        self._clients = 0
        self._idle: IdlePool[UpstreamLink] = IdlePool(config.upstream_idle_connections)
        self._last_conn = 0
        self._last_job = 0
        self._jobs: dict[JobId, Callable[[JobResult], None]] = {}
        self._exchanges: set[Exchange] = set()
        self._request_prefix = f"req_{entropy(6).hex()}"
        self._last_request = 0
        self._draining = False
        self._drained = False
        self._cut_off = False
        self._given_up = False

    # Facts ---------------------------------------------------------------------------------------------------------

    @property
    def store_paths(self) -> list[str]:
        """The files to hand to ``opened``."""
        return [*self._tokens.files.records, *self._tokens.files.usage, *self._providers.paths]

    def opened(self, files: Contents) -> None:
        """Take in the router's own files, before anything else happens: a token that was revoked must not slip in.

        :raises CorruptFile: one cannot be understood, and nobody should guess what it said.
        """
        found = dict(files)
        records, usage = self._tokens.files.records, self._tokens.files.usage
        self._tokens.loaded([(path, found[path]) for path in records], self.wall)
        if usage:
            self._tokens.usage.loaded([(path, found[path]) for path in usage])
        self._providers.loaded([(path, found[path]) for path in self._providers.paths], self.wall)

    def started(self, now: float) -> list[Command]:
        """The shell is up: look at the credentials once, if they are needed, so that the log tells how things stand."""
        self.now = now
        self._metrics.started_at = self.wall
        self._stores[Store.TOKENS].watch()
        self._usage_keeper.watch()
        if self._config.upstream_provider is UpstreamProvider.ANTHROPIC:
            for keeper in self._keepers.values():
                keeper.check()
        return self._collect()

    def accepted(self, peer: Peer, now: float) -> tuple[ConnId, list[Command]]:
        """A client has connected; the id names this connection from now on."""
        self.now = now
        conn = self._new_conn()
        self._links[conn] = ClientLink(conn, peer, self._config, self)
        self._clients += 1
        return conn, self._collect()

    def connected(self, conn: ConnId, now: float) -> list[Command]:
        """A ``Connect`` succeeded."""
        self.now = now
        link = self._links.get(conn)
        if isinstance(link, UpstreamLink):
            self._guard(link, link.connected)
        return self._collect()

    def received(self, conn: ConnId, data: bytes, now: float) -> list[Command]:
        """Bytes arrived on a connection."""
        self.now = now
        link = self._links.get(conn)
        if link is not None:
            try:
                link.received(data)
            except Exception as error:
                self._bug(link, error)
        return self._collect()

    def received_eof(self, conn: ConnId, now: float) -> list[Command]:
        """The peer ended its sending side."""
        self.now = now
        link = self._links.get(conn)
        if link is not None:
            self._guard(link, link.received_eof)
        return self._collect()

    def flushed(self, conn: ConnId, pending: int, now: float) -> list[Command]:
        """The unsent bytes of a connection crossed HIGH_WATER upwards or LOW_WATER downwards."""
        self.now = now
        link = self._links.get(conn)
        if link is not None:
            self._guard(link, partial(link.flushed, pending))
        return self._collect()

    def lost(self, conn: ConnId, reason: Loss, now: float, detail: str = "") -> list[Command]:
        """A connection broke, or a ``Connect`` failed; ``detail`` is for people."""
        self.now = now
        link = self._links.get(conn)
        if link is not None:
            self._guard(link, partial(link.lost, reason, detail))
        return self._collect()

    def completed(self, job: JobId, result: JobResult, now: float) -> list[Command]:
        """A job that a command named was carried out."""
        self.now = now
        done = self._jobs.pop(job)
        self._guard(done, partial(done, result))
        return self._collect()

    def timed_out(self, now: float) -> list[Command]:
        """The deadline has passed (or not: early calls are harmless)."""
        self.now = now
        while (due := self.timers.take_due(now)) is not None:
            owner, timer = due
            self._guard(owner, partial(owner.timer_fired, timer))
        return self._collect()

    def clock_synced(self, epoch: float) -> None:
        """The wall clock reads ``epoch`` seconds more than the monotonic one."""
        self._epoch = epoch

    def reconfigured(self, config: Config, now: float) -> list[Command]:
        """The operator has other wishes: new requests follow them, running ones are left alone."""
        self.now = now
        kept = {}
        for row in SETTINGS:
            before, after = getattr(self._config, row.name), getattr(config, row.name)
            if before == after:
                continue
            if row.name in NEXT_START:
                kept[row.name] = before
                self.log(LogLevel.WARN, f"{row.env} has changed, which takes effect with the next start", {})
            else:
                self.log(LogLevel.INFO, f"{row.env} has changed", {})
        self._config = replace(config, **kept)
        self._providers.reconfigured(self._config)
        router = router_for(self._config)
        self._metrics.offer(router.routes())
        self._door = FrontDoor(self._config, router, self._household, entropy=self._entropy)
        self._moved = [keeper for keeper in self._moved if keeper.busy or keeper.waiting]
        for account in self._roster.reconfigured(self._config, now):
            self._keep(account)
        return self._collect()

    def drain(self, grace: float, now: float) -> list[Command]:
        """Shut down: no new connections, running answers may take ``grace`` seconds; 0 ends them at once."""
        self.now = now
        if self._drained:
            return []
        if not self._draining:
            self._draining = True
            self.commands.append(StopListening())
            self.log(LogLevel.INFO, "Shutting down", {"running": len(self._exchanges), "grace_seconds": grace})
            for link in self._idle.clear():
                link.close()
        self.timers.set(self, Timer.DRAIN, now + grace)
        if grace <= 0:
            self._end_everything()
        return self._collect()

    def deadline(self) -> float | None:
        """When ``timed_out`` is due next, in monotonic seconds; None while nothing is waited for."""
        return self.timers.deadline()

    # What links and exchanges need ---------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def wall(self) -> float:
        return self._epoch + self.now

    def begin(self, head: RequestHead, length: int | None, peer: Peer, responder: Responder) -> Exchange:
        """Set up one request; a refusal becomes an exchange too, so that every request is answered and logged alike."""
        call = self._call(head, peer)
        body = RequestBody(length, self._config.max_proxy_request_bytes, self._config.replay_limit_bytes)
        try:
            script = self._door.admit(call, body, draining=self._draining)
            body.admit()
        except Refusal as refusal:
            script = refuse(refusal)
        return self._exchange(Exchange(call, script, body, responder, self, self._config.sse_keepalive_secs))

    def begin_unreadable(self, refusal: Refusal, peer: Peer, responder: Responder) -> Exchange:
        call = self._call(UNREADABLE, peer)
        return self._exchange(Exchange(call, refuse(refusal), RequestBody(0, 0, 0), responder, self, None))

    def exchange_ended(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)
        call = exchange.call
        self._count(exchange, call)
        for change, line in self._health_log.overdue(self.now):
            self._log_health(change, line)
        fields: dict[str, str | int | float | None] = {
            "method": call.head.method.decode("latin-1"),
            "path": _TOKENS.sub("...", call.head.path.decode("latin-1")),
            "status": exchange.status,
            "token": call.token_id,
            "account": call.account,
            "upstream_ms": _milliseconds(call.at, exchange.upstream_head_at),
            "first_byte_ms": _milliseconds(call.at, exchange.first_byte_at),
            "total_ms": _milliseconds(call.at, self.now),
            "bytes_in": exchange.body.received,
            "bytes_out": exchange.sent,
            "ended": exchange.phase.name.lower(),
            "peer": call.peer.address,
            "request": call.request_id,
            **call.annotations,
        }
        troubled = exchange.phase is Phase.CUT or exchange.status >= 500
        self.log(LogLevel.WARN if troubled else LogLevel.INFO, "request", fields)

    def change(self, effect: ChangeStore, done: Callable[[str | None], None]) -> None:
        keeper = self._stores[effect.store]
        if effect.update is None:
            keeper.look(done)
        else:
            keeper.change(effect.update, done)

    def open_channel(
        self, origin: Origin, *, fresh: bool, via: Proxy | None = None, guarded: bool = False
    ) -> UpstreamLink:
        proxy = via or choose_proxy(origin, self._config)
        # Behind the operator's own proxy it is the proxy that connects, by the operator's rules.
        destination = Destination(origin, proxy, guarded and (proxy is None or via is not None))
        link = None if fresh else self._idle.claim(destination)
        if link is None:
            conn = self._new_conn()
            link = UpstreamLink(conn, destination, self._config, self)
            self._links[conn] = link
            self.commands.append(Connect(conn, destination))
        return link

    def release_upstream(self, link: UpstreamLink) -> None:
        surplus = self._idle.release(link.destination, link)
        if surplus is not None:
            surplus.close()

    def check_credentials(self, effect: CheckCredentials, waiter: CredentialWaiter | None) -> None:
        self._keepers[effect.account].check(waiter, effect.refused, renewal=effect.renewal)

    def credential_seen(self, account: Account) -> None:
        self._roster.credential_seen(account, self.wall, self.now)

    def order(self, command: NewCommand, done: Callable[[JobResult], None]) -> None:
        self._last_job += 1
        job = JobId(self._last_job)
        self._jobs[job] = done
        self.commands.append(command(job))

    def tell(self, done: OnChanged, reason: str | None) -> None:
        self._guard(done, partial(done, reason))

    def wake(self, waiter: CredentialWaiter) -> None:
        self._guard(waiter, waiter.credentials_checked)

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None:
        self.commands.append(Log(level, event, fields))

    def link_closed(self, link: Link) -> None:
        del self._links[link.conn]
        self.timers.forget(link)
        if isinstance(link, UpstreamLink):
            self._idle.discard(link.destination, link)
        else:
            self._clients -= 1

    def timer_fired(self, timer: Timer) -> None:
        self._end_everything()

    # Bookkeeping ---------------------------------------------------------------------------------------------------

    def _keep(self, account: Account) -> None:
        """Look after a new account. Whoever looked after one of the same name ends what is under way there; keepers of
        accounts that are gone stay for the sake of requests that are still with them.
        """
        before = self._keepers.get(account.name)
        if before is not None:
            self._moved.append(before)
            if not before.account.same_as(account):
                warning = f"account {account.name} has another home or key now, and tokens bound to it go there"
                self.log(LogLevel.WARN, warning, {})
        self._keepers[account.name] = keeper = AccountKeeper(account, self)
        keeper.check()

    def _new_conn(self) -> ConnId:
        self._last_conn += 1
        return ConnId(self._last_conn)

    def _call(self, head: RequestHead, peer: Peer) -> Call:
        self._last_request += 1
        return Call(head, peer, f"{self._request_prefix}{self._last_request:08x}", self.now, self.wall)

    def _exchange(self, exchange: Exchange) -> Exchange:
        self._exchanges.add(exchange)
        return exchange

    def _count(self, exchange: Exchange, call: Call) -> None:
        """Settle what an exchange held, and count what it was."""
        now, tokens, status = self.now, exchange.tokens, exchange.status
        self._roster.ended(call, now)
        if tokens is not None and call.account is not None:
            self._roster.spent(call.account, tokens, now)
            message = exchange.answer_id if self._roster.has_choice else None
            if message is not None:
                self._roster.remember_message(message, call.account, now)
        self._tokens.ended(call, _cost(exchange, tokens), now)
        self._usage_keeper.counted()
        self._metrics.ended(
            Ended(
                route=call.route,
                status=status,
                seconds=now - call.at,
                first_byte_seconds=None if exchange.first_byte_at is None else exchange.first_byte_at - call.at,
                cut=exchange.phase is Phase.CUT,
                left=exchange.phase is Phase.LEFT,
                from_client=exchange.body.received,
                to_client=exchange.sent,
                from_upstream=exchange.from_upstream,
                to_upstream=exchange.to_upstream,
                sent_with=call.sent_with,
                tokens=tokens,
            )
        )
        if call.administers and call.route in ADMIN_ROUTES and call.head.method not in READING:
            self._audit(call, status)

    def _audit(self, call: Call, status: int) -> None:
        """Add a line to the log of what operators did, or tried to do; strangers must not make it grow."""
        entry = {
            "time": round(self.wall, 3),
            "method": call.head.method.decode("latin-1"),
            "path": call.route,
            "status": status,
            "peer": call.peer.address,
            "request": call.request_id,
            **call.annotations,
        }
        self._audit_log.add(msgspec.json.encode(entry))

    def _report_health(self, change: Change) -> None:
        line = self._health_log.line(change, self.now)
        if line is not None:
            self._log_health(change, line)

    def _log_health(self, change: Change, line: str) -> None:
        self.log(LogLevel.WARN if change.out else LogLevel.INFO, line, {})

    def _end_everything(self) -> None:
        for link in self._client_links():
            self._guard(link, partial(link.shut, SHUTTING_DOWN))
        self._exchanges.clear()
        self._given_up = self._cut_off
        self._cut_off = True
        self.timers.set(self, Timer.DRAIN, self.now + LAST_SECONDS)

    def _guard(self, owner: object, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._bug(owner, error)

    def _bug(self, owner: object, error: Exception) -> None:
        """Our own fault: say where, give up that connection, keep serving the others."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        self.log(LogLevel.ERROR, "internal error", {"type": type(error).__name__, "where": where})
        if isinstance(owner, Link):
            try:
                owner.crashed()
            except Exception:
                owner.close()

    def _collect(self) -> list[Command]:
        if self._draining:
            self._finish_drain()
        commands, self.commands = self.commands, []
        if self.dirty:
            dirty, self.dirty = self.dirty, []
            # Bytes first: nothing, not even a log line, should keep an answer waiting.
            commands[:0] = [link.take_output() for link in dirty if link.has_output]
        return commands

    def _finish_drain(self) -> None:
        """Idle clients may stay while answers run, to ask for health; with the last answer they go. A login that is
        being renewed is waited for, too: its old refresh token is spent.
        """
        if self._drained or self._exchanges or self._finishing():
            return
        for link in self._client_links():
            if link.idle:
                link.close()
        if self._clients == 0:
            self._drained = True
            for left in list(self._links.values()):
                left.close()  # what is still on its way there is not waited for any more
            self.timers.clear(self, Timer.DRAIN)
            self._usage_keeper.rest()
            for keeper in self._stores.values():
                keeper.rest()
            self.commands.append(Drained())

    def _finishing(self) -> bool:
        """Something of our own has to be brought to its end: a login's renewal, a file that is being written."""
        if self._given_up:
            return False
        return (
            not self._usage_keeper.end()
            or not self._audit_log.end()
            or any(keeper.busy for keeper in self._stores.values())
            or any(keeper.busy for keeper in (*self._keepers.values(), *self._moved))
        )

    def _client_links(self) -> list[ClientLink]:
        return [link for link in self._links.values() if isinstance(link, ClientLink)]


def _cost(exchange: Exchange, told: Tokens | None) -> Tokens | None:
    """What the token pays for: an error costs nothing, and of what the answer did not say nobody knows."""
    if told is None:
        return Tokens() if exchange.status >= 400 else None
    return at_least(told, exchange.from_upstream) if exchange.phase is Phase.LEFT else told


def _milliseconds(since: float, until: float | None) -> float | None:
    return None if until is None else round((until - since) * 1000, 3)
