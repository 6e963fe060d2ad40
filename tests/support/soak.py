"""Many clients, five accounts and a provider that fails in every way, in memory: what each was told is checked.

Every request has an id that its answer names, so an answer that belongs to another request is noticed. All chance is
seeded. Only as much is remembered as is under way, so that growth is the router's own.
"""

import gc
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from protocol.config import Config
from protocol.identity.roster import name_of
from protocol.identity.tokens import issue
from protocol.values import BaseUrl, Secret
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, chunk, get, post
from tests.support.stage import TOKEN_SECRET
from transports.memory import EPOCH, MemoryPeer, MemoryShell

TOKENS: Final = BaseUrl.parse("http://tokens/v1/oauth/token")
ACCOUNTS: Final = 5
CLIENTS: Final = 24
CONVERSATIONS: Final = 200
LIFETIME: Final = 400.0
INPUT: Final = 7
"""Tokens that every answer costs."""

FAULTS: Final = {
    "window": 0.01,
    "retry-after": 0.01,
    "429": 0.02,
    "529": 0.02,
    "500": 0.02,
    "401": 0.003,
    "drop": 0.02,
    "cut": 0.02,
}
"""How often the provider fails, and how; ``drop`` is before the head of an answer, ``cut`` within its body."""

STATUSES: Final = {"window": 429, "retry-after": 429, "429": 429, "529": 529, "500": 500, "401": 401}
FIRST: Final = 1000.0
"""The monotonic second at which a memory shell starts."""


@dataclass
class Fate:
    """What the provider has done to one request so far; ``last`` is None while it has not seen it."""

    accounts: list[str] = field(default_factory=list)
    last: str | None = None
    under_way: int = 0


class Asker:
    """One client on one connection, with one request at a time."""

    def __init__(self, peer: MemoryPeer) -> None:
        self.peer = peer
        self.id: str | None = None
        self.streams = False
        self.seen = 0
        """Bytes of the answer that were looked at."""

    @property
    def has_news(self) -> bool:
        return self.id is not None and (len(self.peer.inbox) > self.seen or self.peer.closed)


@dataclass
class Asked:
    """A request that the provider has got, and what it still has to write; None ends the connection."""

    peer: MemoryPeer
    id: str
    account: str
    kind: str
    rest: list[bytes | None]


class Soak:
    """One run. ``hurry`` is how many seconds at most pass while nothing else happens: the fewer, the harder it is for
    the accounts to recover.
    """

    def __init__(self, seed: int, hurry: float = 4.0) -> None:
        self.hurry = hurry
        self.chance = Random(seed)
        self.wrong: list[str] = []
        """What must not happen, in words."""
        self.outcomes: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        """How many requests each account was tried with."""
        self.billed: Counter[str] = Counter()
        """How many tokens of input each account's answers have told of."""
        self.renewals = 0
        self._ids = count(1)
        self._fates: dict[str, Fate] = {}
        self._access: dict[str, str] = {}
        self._refresh: dict[str, str] = {}
        self._revoked: set[str] = set()
        self._asked: list[Asked] = []
        self._served: dict[MemoryPeer, int] = {}
        names = [name_of(position) for position in range(ACCOUNTS)]
        files = {f"/{name}/.credentials.json": self._login(name) for name in names}
        settings = {
            "TOKEN_SECRET": TOKEN_SECRET,
            "STORAGE_POLICY": "memory",
            "UPSTREAM_BASE_URL": "http://provider",
            "OAUTH_TOKEN_URL": str(TOKENS),
            "OAUTH_REFRESH_AHEAD_SECS": "60",
            "CLAUDE_CODE_HOME": "/primary",
            "ADDITIONAL_ACCOUNT_DIRS": ",".join(f"/{name}" for name in names[1:]),
        }
        self.shell = MemoryShell(Config.parse(settings, home="/nobody"), files)
        issued = issue(Secret(TOKEN_SECRET), wall=EPOCH, ttl_hours=1000, entropy=lambda size: b"\x05" * size)
        self._token = issued.token.reveal().encode()
        self._askers = [Asker(self.shell.client()) for _ in range(CLIENTS)]

    # What is done to the router --------------------------------------------------------------------------------------

    def ask(self, requests: int) -> None:
        """So many more requests, in any order with what is under way; returns when all of them are over."""
        left = requests
        while left or any(asker.id for asker in self._askers):
            idle = [asker for asker in self._askers if asker.id is None]
            move = self.chance.random()
            if left and idle and move < 0.4:
                self._send(self.chance.choice(idle))
                left -= 1
            elif move < 0.95 and self._asked:
                self._write(self.chance.choice(self._asked))
            else:
                self.shell.advance(self.chance.uniform(0, self.hurry))
            self._look()

    def blocks(self) -> int:
        """Memory blocks in use while nothing is under way; what the log says of bugs is noted before it is dropped."""
        self.wrong += [f"{log.event}: {log.fields}" for log in self.shell.logs if log.event == "internal error"]
        self.shell.logs.clear()
        gc.collect()
        return sys.getallocatedblocks()

    def accounts(self) -> list[dict[str, Any]]:
        """``GET /v1/accounts``."""
        peer = self.shell.client()
        peer.sends(get(b"/v1/accounts"))
        shown: list[dict[str, Any]] = json.loads(peer.taken().partition(b"\r\n\r\n")[2])["accounts"]
        peer.ends()
        return shown

    def end(self) -> None:
        """All clients leave, and what is unused runs out of time."""
        for asker in self._askers:
            asker.peer.ends()
        self.shell.advance(600)

    # Clients ---------------------------------------------------------------------------------------------------------

    def _send(self, asker: Asker) -> None:
        asker.id, asker.streams = f"id-{next(self._ids)}", self.chance.random() < 0.5
        self._fates[asker.id] = Fate()
        turns = [f"conversation {self.chance.randrange(CONVERSATIONS)}", "go on", f"<{asker.id}>"]
        messages = [{"role": "user" if at != 1 else "assistant", "content": text} for at, text in enumerate(turns)]
        body = json.dumps({"model": "claude-x", "max_tokens": 9, "stream": asker.streams, "messages": messages})
        asker.peer.sends(post(self._token, body.encode()))

    def _look(self) -> None:
        """See what has arrived where."""
        while self.shell.dialled:
            self._served[self.shell.dialled.popleft()] = 0
        for peer in list(self._served):
            if peer.closed:
                del self._served[peer]
            elif peer.inbox:
                self._receive(peer)
        for asker in self._askers:
            if asker.has_news:
                self._read(asker)
        for asked in [asked for asked in self._asked if asked.peer.closed]:
            self._over(asked)

    def _read(self, asker: Asker) -> None:
        """Judge the answer if it is whole, or if no more of it will come; some clients leave before that."""
        head, found, body = bytes(asker.peer.inbox).partition(b"\r\n\r\n")
        whole = bool(found) and _is_whole(head, body)
        asker.seen = len(asker.peer.inbox)
        if not whole and not asker.peer.closed:
            if found and self.chance.random() < 0.01:
                asker.peer.breaks()
                self._settle(asker, "left")
            return
        asker.peer.taken()
        self._settle(asker, self._verdict(asker, head, body, whole=whole))

    def _settle(self, asker: Asker, outcome: str) -> None:
        self.outcomes[outcome] += 1
        if asker.id is None:
            return
        fate = self._fates.pop(asker.id)
        self.used.update(set(fate.accounts))
        asker.id, asker.seen = None, 0
        if asker.peer.closed:
            asker.peer = self.shell.client()

    def _verdict(self, asker: Asker, head: bytes, body: bytes, *, whole: bool) -> str:
        """What became of the request, in a word; what cannot be right is noted."""
        fate = self._fates[asker.id or ""]
        status = int(head[9:12]) if head else 0
        names = body.count(f"<{asker.id}>".encode())
        others = body.count(b"<id-") - names
        if others:
            self._note(asker, "an answer to another request", head, body)
        if status == 200:
            expected = "ok" if whole else "cut"
            if fate.last != expected or (whole and not names):
                self._note(asker, f"{expected}, while the provider's answer was {fate.last}", head, body)
            if not whole and asker.streams and b"event: error" not in body:
                self._note(asker, "a stream that was cut without a word", head, body)
            return "answered" if whole else "cut"
        if not whole:
            self._note(asker, f"half an error, after {fate.last}", head, body)
        if names:
            if status != STATUSES.get(fate.last or ""):
                self._note(asker, f"a {status}, while the provider's answer was {fate.last}", head, body)
            return "the provider's error"
        if status == 502:
            if fate.last != "drop" or b"lost before the answer" not in body:
                self._note(asker, f"a 502, after {fate.last}", head, body)
            return "dropped"
        if status not in (429, 529) or b"retry-after:" not in head.lower() or fate.last in ("ok", "cut", "drop"):
            self._note(asker, f"a {status} of the router's own, after {fate.last}", head, body)
        return "nobody left"

    def _note(self, asker: Asker, what: str, head: bytes, body: bytes) -> None:
        self.wrong.append(f"{asker.id}: {what}: {head!r} {body[:300]!r}")

    # The provider ----------------------------------------------------------------------------------------------------

    def _receive(self, peer: MemoryPeer) -> None:
        head, found, body = bytes(peer.inbox).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if not found or len(body) < int(fields[b"content-length"]):
            return
        peer.taken()
        if peer.origin == TOKENS.origin:
            self._renew(peer, json.loads(body))
            return
        access = fields[b"authorization"].decode().removeprefix("bearer ")
        account = access.split("-", 3)[3].rpartition("-")[0]
        asked_id = body[body.index(b"<id-") + 1 : body.index(b">")].decode()
        fate = self._fates.get(asked_id)
        if fate is None or fate.under_way:
            self.wrong.append(f"{asked_id} was sent while nobody waits for it, or twice at once")
            return
        fate.accounts.append(account)
        fate.under_way += 1
        self._asked.append(self._planned(peer, asked_id, account, access, streams=b'"stream": true' in body))

    def _planned(self, peer: MemoryPeer, asked_id: str, account: str, access: str, *, streams: bool) -> Asked:
        kind = self.chance.choices(["ok", *FAULTS], [1 - sum(FAULTS.values()), *FAULTS.values()])[0]
        if kind == "401":
            self._revoked.add(access)
        if access in self._revoked:
            kind = "401"
        if kind == "drop":
            return Asked(peer, asked_id, account, kind, [None])
        if kind in STATUSES:
            return Asked(peer, asked_id, account, kind, [self._error(kind, asked_id)])
        writes: list[bytes | None] = [*(self._stream(asked_id) if streams else self._message(asked_id))]
        if kind == "cut":
            writes[self.chance.randrange(1, len(writes)) :] = [None]
        return Asked(peer, asked_id, account, kind, writes)

    def _write(self, asked: Asked) -> None:
        """The next piece of an answer."""
        data = asked.rest.pop(0)
        self._fates[asked.id].last = asked.kind
        if data is None:
            self._over(asked)
            asked.peer.breaks() if self.chance.random() < 0.5 else asked.peer.ends()
            return
        if not asked.rest:
            self._over(asked)
        if b"message_start" in data or (not asked.rest and not data.endswith(LAST_CHUNK) and asked.kind == "ok"):
            self.billed[asked.account] += INPUT
        asked.peer.sends(data)

    def _over(self, asked: Asked) -> None:
        self._asked.remove(asked)
        fate = self._fates.get(asked.id)
        if fate is not None:
            fate.under_way -= 1

    def _message(self, asked_id: str) -> list[bytes]:
        usage = {"input_tokens": INPUT, "output_tokens": 3}
        body = json.dumps({"type": "message", "content": [{"type": "text", "text": f"<{asked_id}>"}], "usage": usage})
        head = _head(200, len(body), self._allowance())
        half = len(body) // 2
        return [head, body[:half].encode(), body[half:].encode()]

    def _stream(self, asked_id: str) -> list[bytes]:
        start = {"type": "message_start", "message": {"type": "message", "usage": {"input_tokens": INPUT}}}
        piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"<{asked_id}>"}}
        end = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}}
        events: list[dict[str, Any]] = [start, *[piece] * self.chance.randrange(1, 5), end, {"type": "message_stop"}]
        writes = [chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in events]
        return [STREAM_HEAD.replace(b"\r\n\r\n", b"\r\n") + self._allowance() + b"\r\n", *writes, LAST_CHUNK]

    def _error(self, kind: str, asked_id: str) -> bytes:
        lines = b""
        if kind == "window":
            prefix = b"anthropic-ratelimit-unified-5h-"
            lines = prefix + b"status: rejected\r\n" + prefix + b"reset: %d\r\n" % (EPOCH + self.shell.now - FIRST + 30)
        elif kind == "retry-after":
            lines = b"retry-after: 5\r\n"
        error = {"type": "error", "error": {"type": "api_error", "message": f"as told by <{asked_id}>"}}
        body = json.dumps(error)
        return _head(STATUSES[kind], len(body), lines) + body.encode()

    def _allowance(self) -> bytes:
        prefix = b"anthropic-ratelimit-unified-5h-"
        share = b"utilization: 0.%02d\r\n" % self.chance.randrange(90)
        return prefix + b"status: allowed\r\n" + prefix + share + prefix + b"reset: %d\r\n" % (EPOCH + 90_000)

    # Logins ----------------------------------------------------------------------------------------------------------

    def _login(self, name: str) -> bytes:
        self._access[name], self._refresh[name] = f"sk-ant-oat01-{name}-0", f"sk-ant-ort01-{name}-0"
        login = {
            "accessToken": self._access[name],
            "refreshToken": self._refresh[name],
            "expiresAt": round((EPOCH + LIFETIME) * 1000),
        }
        return json.dumps({"claudeAiOauth": login}).encode()

    def _renew(self, peer: MemoryPeer, asked: dict[str, str]) -> None:
        """Give the next pair for the current refresh token, each once."""
        refresh = asked["refresh_token"]
        name = refresh.split("-", 3)[3].rpartition("-")[0]
        if refresh != self._refresh[name]:
            self.wrong.append(f"{refresh} was sent twice")
        self.renewals += 1
        self._revoked.discard(self._access[name])
        self._access[name] = f"sk-ant-oat01-{name}-{self.renewals}"
        self._refresh[name] = f"sk-ant-ort01-{name}-{self.renewals}"
        pair = {"access_token": self._access[name], "refresh_token": self._refresh[name], "expires_in": LIFETIME}
        body = json.dumps(pair)
        peer.sends(_head(200, len(body), b"") + body.encode())


def _head(status: int, length: int, lines: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, length)
        + lines
        + b"\r\n"
    )


def _is_whole(head: bytes, body: bytes) -> bool:
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = fields.get(b"content-length")
    return body.endswith(LAST_CHUNK) if length is None else len(body) == int(length)
