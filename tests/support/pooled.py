"""A router with several accounts, seen from their side: which one was asked what, and what it says.

``scene.asked()`` takes the next request that reached the provider, on whatever connection; ``scene.renews()`` the next
one that reached the token endpoint. Files, tokens and refresh tokens are made from the account's name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from protocol.files import FileContent
from protocol.identity.roster import name_of
from protocol.identity.standing import AccountSnapshot
from protocol.identity.tokens import issue
from protocol.values import Secret
from protocol.wire.h1_body import ChunkedReader
from tests.support.requests import BODY, REPLY, get, post
from tests.support.scene import Client, Scene, Upstream
from tests.support.stage import CREDENTIALS, OAUTH_TOKEN, TOKEN_SECRET
from transports.memory import EPOCH

TOKEN_URL: Final = "http://tokens/v1/oauth/token"
HOUR: Final = 3600.0

OK: Final = b"200 OK"
UNAUTHORIZED: Final = b"401 Unauthorized"
NOT_FOUND: Final = b"404 Not Found"
LIMITED: Final = b"429 Too Many Requests"
FAILED: Final = b"500 Internal Server Error"
OVERLOADED: Final = b"529 Overloaded"

FIRST_MONOTONIC: Final = 1000.0


def home_of(name: str) -> str:
    return "/home" if name == "primary" else f"/{name}"


def file_of(name: str) -> str:
    """The credential file of an account."""
    return f"{home_of(name)}/credentials.json"


def access(name: str, number: int = 0) -> str:
    """The ``number``-th access token that an account has had."""
    if name == "primary" and not number:
        return OAUTH_TOKEN
    return f"sk-ant-oat01-{name}-{number}"


def refresh(name: str, number: int = 0) -> str:
    return f"sk-ant-ort01-{name}-{number}"


def session(name: str, *, number: int = 0, expires_at: float | None = None, renewable: bool = True) -> bytes:
    """A credential file as Claude Code writes it; ``expires_at`` in epoch seconds."""
    login: dict[str, object] = {"accessToken": access(name, number)}
    if renewable:
        login["refreshToken"] = refresh(name, number)
    if expires_at is not None:
        login["expiresAt"] = round(expires_at * 1000)
    return json.dumps({"claudeAiOauth": {**login, "scopes": ["user:inference"]}, "mcpOAuth": {"kept": 1}}).encode()


def plain(name: str) -> bytes:
    """A credential file with an access token and nothing else."""
    return CREDENTIALS if name == "primary" else b'{"accessToken": "%s"}' % access(name).encode()


def bound_token(account: str) -> bytes:
    """A router's token that is bound to an account."""
    issued = issue(
        Secret(TOKEN_SECRET), ttl_hours=10_000, label="bound", account=account, wall=EPOCH,
        entropy=lambda size: bytes(size),
    )  # fmt: skip
    return issued.token.reveal().encode()


def granted(name: str, number: int = 1, lifetime: float = 28_800) -> bytes:
    """The token endpoint's answer: the next pair."""
    pair = {
        "token_type": "Bearer",
        "access_token": access(name, number),
        "refresh_token": refresh(name, number),
        "expires_in": lifetime,
    }
    return json.dumps(pair).encode()


def window(name: str, wall: float, *, utilization: float = 1.0, status: str = "rejected") -> list[bytes]:
    """The header lines of a usage window that resets at ``wall`` (epoch seconds)."""
    prefix = f"anthropic-ratelimit-unified-{name}"
    lines = [f"{prefix}-status: {status}", f"{prefix}-utilization: {utilization}", f"{prefix}-reset: {wall:.0f}"]
    return [line.encode() for line in lines]


@dataclass
class Asked:
    """A request as the provider or the token endpoint has got it."""

    upstream: Upstream
    line: bytes
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def token(self) -> str:
        """The credential in it."""
        bearer = self.headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return (bearer or self.headers.get(b"x-api-key", b"")).decode()

    def by(self, name: str, number: int = 0) -> Self:
        """It was sent with this account's credential, and with no other."""
        assert self.token == access(name, number), self.token
        assert (b"authorization" in self.headers) != (b"x-api-key" in self.headers)
        return self

    def says(self, status: bytes, *headers: bytes, body: bytes = b'{"type":"error"}') -> None:
        self.upstream.replies(body, status, *headers)

    def replies(self, body: bytes = REPLY, *headers: bytes) -> None:
        self.upstream.replies(body, OK, *headers)

    def streams(self, *events: bytes) -> Upstream:
        return self.upstream.streams(*events)

    def grants(self, name: str, number: int = 1, lifetime: int = 28_800) -> None:
        """The token endpoint takes the refresh token and gives the next pair."""
        self.replies(granted(name, number, lifetime))

    def denies(self, error: str = "invalid_grant", status: bytes = b"400 Bad Request") -> None:
        self.says(status, body=b'{"error":"%s"}' % error.encode())


class Pooled(Scene):
    """One router, some accounts: ``primary``, ``account-1`` and so on.

    :param accounts: how many there are.
    :param files: what is in the credential files of those that do not have a plain one, by account; None = no file.
    :param recovery: further files by path, such as those of an earlier router.
    """

    def __init__(
        self,
        accounts: int = 3,
        files: dict[str, FileContent | None] | None = None,
        *,
        recovery: Mapping[str, FileContent] | None = None,
        **settings: str,
    ) -> None:
        self._upstreams: list[Upstream] = []
        self._clients: list[Client] = []
        self.names = [name_of(position) for position in range(accounts)]
        contents = {name: (files or {}).get(name, plain(name)) for name in self.names}
        settings = {
            "ADDITIONAL_ACCOUNT_DIRS": ",".join(map(home_of, self.names[1:])),
            "OAUTH_TOKEN_URL": TOKEN_URL,
            "DATA_DIR": "/data",
            **settings,
        }
        present = dict(recovery or {}) | {
            file_of(name): content for name, content in contents.items() if content is not None
        }
        super().__init__(None, present, **settings)

    # What happens ----------------------------------------------------------------------------------------------------

    def asked(self) -> Asked:
        """The next request that has reached the provider."""
        found = self.next_of("upstream")
        assert found is not None, "the provider was asked nothing"
        return found

    def renews(self, line: bytes = b"POST /v1/oauth/token HTTP/1.1", host: str = "tokens") -> Asked:
        """The next request that has reached the token endpoint."""
        found = self.next_of(host)
        assert found is not None, "the token endpoint was asked nothing"
        assert found.line == line
        return found

    def next_of(self, host: str) -> Asked | None:
        """The next request that has reached this host, if there is one."""
        self._collect()
        for upstream in self._upstreams:
            destination = upstream.peer.destination
            if destination is not None and destination.origin.host == host and upstream.peer.inbox:
                return received(upstream)
        return None

    def asked_nobody(self) -> bool:
        """Neither the provider nor the token endpoint has got a request that was not taken."""
        self._collect()
        return not any(upstream.received or upstream.peer.inbox for upstream in self._upstreams)

    def has_login(self, name: str, content: FileContent) -> None:
        """The account's credential file changes."""
        self.shell.files[file_of(name)] = content

    def token_for(self, account: str) -> bytes:
        return bound_token(account)

    def request_as(self, account: str) -> bytes:
        """A request with a token that is bound to an account."""
        return post(self.token_for(account))

    def converses(self, session: str, client: Client | None = None) -> Client:
        """A request of a conversation."""
        return (client or self.client()).posts(BODY, b"x-session-id: " + session.encode())

    def fetches(self, path: bytes, client: Client | None = None, method: bytes = b"GET") -> Client:
        request = get(path, b"X-Api-Key: " + self.token).replace(b"GET", method, 1)
        return (client or self.client()).sends(request)

    def uploads(self, path: bytes, body: bytes, client: Client | None = None) -> Client:
        return (client or self.client()).sends(post(self.token, body, path))

    def client(self) -> Client:
        self._clients.append(super().client())
        return self._clients[-1]

    def ends(self) -> None:
        """Everybody leaves, and nothing is in flight or waited for any more."""
        self.shell.reads()
        for client in self._clients:
            client.reset()
        self.passes(1000)
        self.assert_faultless()
        self.assert_empty()

    # What came of it -------------------------------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        return EPOCH + self.shell.now - FIRST_MONOTONIC

    def account(self, name: str) -> AccountSnapshot:
        """How an account stands."""
        snapshots = self.shell.gateway._roster.snapshots(self.shell.now)
        return next(snapshot for snapshot in snapshots if snapshot.name == name)

    def accounts_page(self) -> list[dict[str, Any]]:
        """``GET /v1/accounts``, asked by the operator."""
        client = self.client().gets(b"/v1/accounts")
        status, _, body = client.response()
        assert status == 200, body
        client.leaves()
        page: dict[str, list[dict[str, Any]]] = msgspec.json.decode(body)
        assert list(page) == ["accounts"]
        return page["accounts"]

    def shown(self, name: str) -> dict[str, Any]:
        """An account on that page."""
        return next(account for account in self.accounts_page() if account["name"] == name)

    def login_in(self, name: str) -> dict[str, Any]:
        """The session in an account's credential file."""
        content = self.shell.files[file_of(name)]
        assert isinstance(content, bytes)
        found: dict[str, Any] = json.loads(content)["claudeAiOauth"]
        return found

    def in_flight(self) -> list[int]:
        return [self.account(name).in_flight for name in self.names]

    def health(self) -> list[str]:
        """What the log says about the accounts' health."""
        return [log.event for log in self.shell.logs if " is out" in log.event or " is back" in log.event]

    def _collect(self) -> None:
        while self.shell.dialled:
            self._upstreams.append(self.upstream())
        self._upstreams = [upstream for upstream in self._upstreams if not upstream.gone() or upstream.peer.inbox]


def received(upstream: Upstream) -> Asked:
    """A request and all of its body that has come."""
    line, fields = upstream.head()
    headers = dict(fields)
    assert len(headers) == len(fields), "no field comes twice"
    if headers.get(b"transfer-encoding") == b"chunked":
        body = ChunkedReader(400).feed(upstream.exactly(len(upstream.peer.inbox) + len(upstream.received)))
    else:
        announced = int(headers.get(b"content-length", b"0"))
        body = upstream.exactly(min(announced, len(upstream.peer.inbox) + len(upstream.received)))
    return Asked(upstream, line, headers, body)
