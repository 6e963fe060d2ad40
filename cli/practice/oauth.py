"""The practice provider's logins: ``POST /v1/oauth/token`` with refresh tokens that are good for one use.

Access tokens from here are good for the practice Messages API until they expire. ``Logins`` counts what a careful
client never causes: a refresh token used twice, and one sent while a request with it is still under way.
"""

import time
from collections import Counter, deque
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Final

import msgspec

from cli.practice.answers import Answer, Context, Json
from cli.practice.directives import Directives, directives, in_header
from cli.practice.prompts import parse
from protocol.errors import Refusal

TOKEN_PATH: Final = b"/v1/oauth/token"

OAUTH_ERRORS: Final = {429: "rate_limit_error", 529: "overloaded_error"}

MOST_LOGINS: Final = 10_000


class TokenRequest(msgspec.Struct):
    """The fields of a token request (RFC 6749 section 6), as JSON."""

    grant_type: str
    refresh_token: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class PracticeLogin:
    """A pair of tokens; ``expires_at`` is in epoch seconds."""

    access: str
    refresh: str
    expires_at: float

    def credentials(self) -> Json:
        """The content of a credential file in Claude Code's layout."""
        return {
            "claudeAiOauth": {
                "accessToken": self.access,
                "refreshToken": self.refresh,
                "expiresAt": round(self.expires_at * 1000),
                "scopes": ["user:inference", "user:profile"],
                "subscriptionType": "max",
            }
        }


class Logins:
    """Every login of one practice upstream. May be used from any thread.

    ``lifetime`` is how many seconds an access token lives. ``standing`` is what every token request is asked to go
    through, in the notation of the ``x-practice`` header, such as ``wait=20`` or ``error=500``; ``orders`` holds the
    same for one request each and goes first. A request that gets an ``error`` does not spend its refresh token, one
    whose answer is dropped does. With ``rotates`` False the old refresh token stays good and none is sent back.
    """

    def __init__(self) -> None:
        self.lifetime = 28_800.0
        self.standing = ""
        self.orders: deque[str] = deque()
        self.rotates = True
        self._guard = Lock()
        self._issued = 0
        self._expiries: dict[str, float] = {}
        self._refresh_tokens: dict[str, bool] = {}
        self._in_flight: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    @property
    def refreshed(self) -> int:
        """Refresh tokens exchanged for a new pair."""
        return self._counts["refreshed"]

    @property
    def reused(self) -> int:
        """Requests with a refresh token that was spent before."""
        return self._counts["reused"]

    @property
    def overlapping(self) -> int:
        """Requests with a refresh token that another request with it was still under way for."""
        return self._counts["overlapping"]

    @property
    def asked(self) -> int:
        """Token requests in all."""
        return self._counts["asked"]

    @property
    def in_flight(self) -> int:
        """Token requests under way now."""
        with self._guard:
            return self._in_flight.total()

    def new(self, *, lifetime: float | None = None) -> PracticeLogin:
        """Log in, as a person does in a browser."""
        with self._guard:
            return self._issue(time.time(), lifetime)

    def revoke(self, access: str) -> None:
        """Have the Messages API refuse this access token from now on."""
        with self._guard:
            self._expiries[access] = 0.0

    def is_good(self, refresh: str) -> bool:
        """The refresh token can still be exchanged."""
        with self._guard:
            return self._refresh_tokens.get(refresh, False)

    def check(self, access: str, wall: float) -> None:
        """Let a token pass that is alive, or that is not from here.

        :raises Refusal: 401 once it has expired.
        """
        with self._guard:
            expires_at = self._expiries.get(access)
        if expires_at is not None and wall >= expires_at:
            raise Refusal(401, "OAuth token has expired. Please obtain a new token or refresh your existing token.")

    def among(self, accepted: Container[str] | None) -> Container[str] | None:
        """``accepted`` and every access token from here."""
        return None if accepted is None else _Either(accepted, self._expiries)

    def answer(self, body: bytes, context: Context) -> Answer:
        """The answer to a token request, which is under way until the answer has been sent."""
        try:
            wanted = directives(in_header(self._next_order()))
            request = parse(body, TokenRequest)
        except Refusal as refusal:
            return context.oauth_error(400, "invalid_request", refusal.message, Directives())
        with self._guard:
            self._counts["asked"] += 1
            self._counts["overlapping"] += self._in_flight[request.refresh_token] > 0
            self._in_flight[request.refresh_token] += 1
            answer = self._decide(request, wanted, context)
        return replace(answer, ended=partial(self._ended, request.refresh_token))

    def _next_order(self) -> str:
        try:
            return self.orders.popleft()
        except IndexError:
            return self.standing

    def _decide(self, request: TokenRequest, wanted: Directives, context: Context) -> Answer:
        if wanted.error is not None:
            code = wanted.kind or OAUTH_ERRORS.get(wanted.error, "server_error")
            return context.oauth_error(wanted.error, code, "as it was told to", wanted)
        if request.grant_type != "refresh_token":
            return context.oauth_error(400, "unsupported_grant_type", "only refresh_token", wanted)
        if not request.client_id:
            return context.oauth_error(401, "invalid_client", "client_id is missing", wanted)
        good = self._refresh_tokens.get(request.refresh_token)
        if not good:
            self._counts["reused"] += good is False
            return context.oauth_error(400, "invalid_grant", "Refresh token not found or invalid", wanted)
        self._counts["refreshed"] += 1
        login = self._issue(context.wall, None)
        fields: Json = {"token_type": "Bearer", "access_token": login.access, "expires_in": self.lifetime}
        if self.rotates:
            self._refresh_tokens[request.refresh_token] = False
            fields["refresh_token"] = login.refresh
        return context.json(fields, wanted)

    def _issue(self, wall: float, lifetime: float | None) -> PracticeLogin:
        self._issued += 1
        name = f"practice-{self._issued:06d}"
        expires_at = wall + (self.lifetime if lifetime is None else lifetime)
        login = PracticeLogin(f"sk-ant-oat01-{name}", f"sk-ant-ort01-{name}", expires_at)
        for kept in (self._expiries, self._refresh_tokens):
            while len(kept) >= MOST_LOGINS:
                del kept[next(iter(kept))]
        self._expiries[login.access] = expires_at
        self._refresh_tokens[login.refresh] = True
        return login

    def _ended(self, refresh: str) -> None:
        with self._guard:
            self._in_flight[refresh] -= 1
            if self._in_flight[refresh] <= 0:
                del self._in_flight[refresh]


@dataclass(frozen=True, slots=True)
class _Either(Container[str]):
    first: Container[str]
    second: Container[str]

    def __contains__(self, token: object) -> bool:
        return token in self.first or token in self.second
