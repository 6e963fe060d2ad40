"""Keeping one OAuth login alive: when its token is renewed, who may do it, and what becomes of the new one.

A refresh token is good for one use. So the file is locked and read again before it is sent, and the lock is held until
the next pair is kept. Claude Code takes no such lock: it may spend the token while we send it. Then our request is
denied, and the file, read again for a few seconds, brings the pair that Claude Code got.

All facts take ``now`` in monotonic seconds and ``wall`` in epoch seconds, and return orders.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never, final

from protocol.config import CLIENT_ID, TOKEN_URL
from protocol.effects import UpstreamRequest
from protocol.errors import LocalError
from protocol.files import FileContent
from protocol.identity.credentials import Credential, Kind
from protocol.identity.known_logins import KnownLogins
from protocol.identity.token_endpoint import (
    Denied,
    Granted,
    Unavailable,
    read_answer,
    refresh_request,
)
from protocol.login_jobs import (
    FileResult,
    FileWork,
    LockBusy,
    LockLogin,
    Login,
    LoginRead,
    LoginSaved,
    Place,
    ReadLogin,
    SaveLogin,
    Superseded,
    UnlockLogin,
    WorkFailed,
)
from protocol.values import BaseUrl, Headers, Secret

ENDPOINT: Final = BaseUrl.parse(TOKEN_URL)

ANSWER_SECONDS: Final = 60.0
"""How long the endpoint may take: long, since an answer that is not heard may have spent the refresh token."""

LOCK_POLL_SECONDS: Final = 0.05
LOCK_PATIENCE_SECONDS: Final = 90.0
"""How long another holder of the lock is waited for: longer than a refresh of its own can take."""

SETTLE_POLL_SECONDS: Final = 0.25
SETTLE_SECONDS: Final = 5.0
"""How long after a denial the file may take to show the pair that somebody else got for the token."""

FIRST_BACK_OFF: Final = 5.0
LONGEST_BACK_OFF: Final = 300.0

FORCED_INTERVAL: Final = 300.0
"""A token that is refused this soon after a refusal made us renew it is not renewed again."""

REPAIR_INTERVAL: Final = 300.0
"""How often at most a login that the file lacks is written there again."""


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """``ahead`` is how many seconds before its expiry a token is renewed; without ``keep`` no file is ever written."""

    endpoint: BaseUrl = ENDPOINT
    client_id: str = CLIENT_ID
    ahead: float = 300.0
    keep: bool = True


class Phase(Enum):
    """Where the renewal of a login stands."""

    RESTING = "nothing is under way"
    LOCKING = "the lock was asked for"
    QUEUEING = "somebody else has the lock"
    ASKING = "the token endpoint was asked"
    REREADING = "the file is read again after a denial"
    SETTLING = "the file does not show yet what somebody else got"
    SAVING = "the new login is being written"
    UNLOCKING = "the lock is being given back"


LIFECYCLE: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.RESTING: frozenset({Phase.LOCKING}),
    Phase.LOCKING: frozenset({Phase.QUEUEING, Phase.ASKING, Phase.SAVING, Phase.UNLOCKING, Phase.RESTING}),
    Phase.QUEUEING: frozenset({Phase.LOCKING}),
    Phase.ASKING: frozenset({Phase.SAVING, Phase.REREADING, Phase.UNLOCKING}),
    Phase.REREADING: frozenset({Phase.ASKING, Phase.SETTLING, Phase.UNLOCKING}),
    Phase.SETTLING: frozenset({Phase.REREADING}),
    Phase.SAVING: frozenset({Phase.UNLOCKING}),
    Phase.UNLOCKING: frozenset({Phase.RESTING}),
}
"""Which phase may follow which. The lock is held from the end of LOCKING on, and UNLOCKING is the only way out."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send ``request()`` to the token endpoint; report ``answered`` with the whole answer, or ``unanswered``."""

    endpoint: BaseUrl
    client_id: str
    refresh: Secret

    def request(self) -> UpstreamRequest:
        """The request with the secret in it; make it where it is sent."""
        return refresh_request(self.endpoint, self.client_id, self.refresh)


@dataclass(frozen=True, slots=True)
class Abandon:
    """The answer to the last ``Ask`` is not waited for any longer; report nothing of it."""


@dataclass(frozen=True, slots=True)
class TokenReady:
    """Wake who waits: ``credential`` is the one to use. ``renewed`` tells our own renewal from somebody else's."""

    credential: Credential
    renewed: bool


@dataclass(frozen=True, slots=True)
class Postponed:
    """Wake who waits: there will be no new token before monotonic second ``until``. The old one may live on."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class LoginLost:
    """Wake who waits: the operator has to log in again. A new login in the file is noticed as usual."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotKept:
    """Tell the operator: the new login is not in the credential file. ``place`` is where it is, None = in memory."""

    place: Place | None
    reason: str


Order: TypeAlias = FileWork | Ask | Abandon | TokenReady | Postponed | LoginLost | NotKept


@final
class Refresher:
    """The login of one credential file.

    :param entropy: returns that many random bytes.
    """

    def __init__(self, path: str, settings: RefreshSettings, entropy: Callable[[int], bytes]) -> None:
        self.path = path
        self.phase = Phase.RESTING
        self.pending = False
        """An outcome (``TokenReady``, ``Postponed`` or ``LoginLost``) is under way and worth waiting for."""
        self.retry_at = 0.0
        """Not before this monotonic second is the endpoint asked again."""
        self._settings = settings
        self._entropy = entropy
        self._known = KnownLogins()
        self._failures = 0
        self._refused: Secret | None = None
        self._renew_early_at = 0.0
        self._force_at = 0.0
        self._repair_at = 0.0
        self._asked = Login(Secret(""))
        self._denial = Denied("", terminal=False)
        self._asked_again = False
        self._give_up_at = 0.0
        self._wake_at: float | None = None

    # Questions -------------------------------------------------------------------------------------------------------

    @property
    def credential(self) -> Credential | None:
        """The newest there is, expired or not; None without an OAuth login."""
        login = self._known.best
        return None if login is None else _credential(login)

    def alive(self, wall: float) -> bool:
        """The credential has not expired, as far as anybody knows: use it without waiting."""
        login = self._known.best
        return login is not None and (login.expires_at is None or wall < login.expires_at)

    @property
    def renewable(self) -> bool:
        """There is a refresh token, and nothing says that it is spent."""
        login = self._known.best
        return login is not None and self._renewable(login)

    @property
    def needs_login(self) -> bool:
        """Nothing that we know of can prolong this login any more."""
        login = self._known.best
        return login is not None and login.refresh is not None and self._known.is_spent(login)

    @property
    def busy(self) -> bool:
        """A renewal is under way."""
        return self.phase is not Phase.RESTING

    @property
    def committed(self) -> bool:
        """Work is under way that a shutdown should let end, lest a login be lost. Waiting for a lock is none."""
        return self.phase not in (Phase.RESTING, Phase.QUEUEING)

    def deadline(self) -> float | None:
        """When ``timed_out`` is due, in monotonic seconds."""
        return self._wake_at

    # Facts -----------------------------------------------------------------------------------------------------------

    def seen(self, file: FileContent, recovery: FileContent) -> None:
        """The files were read for whatever reason, without the lock."""
        self._known.learn(file, recovery)

    def token_wanted(self, now: float, wall: float) -> list[Order]:
        """Somebody is going to use the credential: see whether it is time to renew it."""
        if self.busy or now < self.retry_at:
            return []
        if self._due(now, wall) or self._misplaced(now):
            return self._lock(now, first=True)
        return []

    def unauthorized(self, token: Secret, now: float) -> list[Order]:
        """The provider answered 401 to this access token."""
        login = self._known.best
        if login is None or login.access != token or not self._renewable(login):
            return []
        if self.busy or now < max(self.retry_at, self._force_at):
            return []
        self._refused = token
        return self._lock(now, first=True)

    def work_done(self, result: FileResult, now: float, wall: float) -> list[Order]:
        """The last piece of ``FileWork`` was carried out."""
        match self.phase:
            case Phase.LOCKING:
                return self._lock_answered(result, now, wall)
            case Phase.REREADING:
                return self._reread(result, now, wall)
            case Phase.SAVING:
                return self._saved(result)
            case Phase.UNLOCKING:
                self._move(Phase.RESTING)
                return []
            case _:
                raise LocalError(f"no work on files is under way while {self.phase.value}")

    def answered(self, status: int, headers: Headers, body: bytes, now: float, wall: float) -> list[Order]:
        """The token endpoint's whole answer; any bytes will do."""
        if self.phase is not Phase.ASKING:
            raise LocalError(f"no answer is expected while {self.phase.value}")
        answer = read_answer(status, headers, body, wall)
        match answer:
            case Granted():
                return self._granted(answer, now, wall)
            case Denied():
                return self._denied(answer, now)
            case Unavailable():
                return self._postponed(answer.reason, now, answer.retry_after)
            case _:
                assert_never(answer)

    def unanswered(self, reason: str, now: float) -> list[Order]:
        """The token endpoint could not be reached, or broke off."""
        if self.phase is not Phase.ASKING:
            raise LocalError(f"no answer is expected while {self.phase.value}")
        return self._postponed(reason, now)

    def timed_out(self, now: float) -> list[Order]:
        """The deadline has passed; early calls are harmless."""
        if self._wake_at is None or now < self._wake_at:
            return []
        match self.phase:
            case Phase.ASKING:
                return [Abandon(), *self._postponed(f"no answer within {ANSWER_SECONDS:g} s", now)]
            case Phase.QUEUEING:
                return self._lock(now, first=False)
            case _:
                self._move(Phase.REREADING)
                return [ReadLogin(self.path)]

    # Under way -------------------------------------------------------------------------------------------------------

    def _lock(self, now: float, *, first: bool) -> list[Order]:
        if first:
            self._give_up_at = now + LOCK_PATIENCE_SECONDS
            self._asked_again = False
            self.pending = True
        self._move(Phase.LOCKING)
        return [LockLogin(self.path)]

    def _lock_answered(self, result: FileResult, now: float, wall: float) -> list[Order]:
        if isinstance(result, LoginRead):
            self._known.learn(result.file, result.recovery)
            return self._decide(now, wall)
        if isinstance(result, LockBusy) and now < self._give_up_at:
            self._move(Phase.QUEUEING, wake_at=now + LOCK_POLL_SECONDS * (1 + self._jitter()))
            return []
        self._move(Phase.RESTING)
        reason = result.reason if isinstance(result, WorkFailed) else "another process holds it"
        return [self._back_off(f"the lock of the credential file cannot be had: {reason}", now)]

    def _decide(self, now: float, wall: float) -> list[Order]:
        """What is still to be done, now that the lock is ours and the file was read."""
        login = self._known.best
        if login is None:
            return self._unlock([self._back_off("the credential file holds no login any more", now)])
        if self._renewable(login) and (self._due(now, wall) or login.access == self._refused):
            return self._ask(login, now)
        if not self.alive(wall):
            return self._unlock([self._back_off("the login has expired and cannot be renewed", now)])
        ready = self._ready(login, renewed=False)
        if self._misplaced(now):
            return self._save(login, now, ready)
        return self._unlock([ready])

    def _ask(self, login: Login, now: float) -> list[Order]:
        if login.refresh is None:
            raise LocalError("a login without a refresh token cannot be renewed")
        self._asked = login
        self._move(Phase.ASKING, wake_at=now + ANSWER_SECONDS)
        return [Ask(self._settings.endpoint, self._settings.client_id, login.refresh)]

    def _granted(self, answer: Granted, now: float, wall: float) -> list[Order]:
        expires_at = round(wall + answer.lifetime, 3)  # milliseconds are what files hold
        login = Login(answer.access, answer.refresh or self._asked.refresh, expires_at)
        self._known.renewed(login, of=self._asked)
        # An endpoint whose tokens live shorter than `ahead` must not be asked at every request.
        self._renew_early_at = now + answer.lifetime / 2
        if self._refused is not None:
            self._force_at = now + FORCED_INTERVAL
        self._failures = 0
        ready = self._ready(login, renewed=True)
        return self._save(login, now, ready) if self._settings.keep else self._unlock([ready])

    def _denied(self, denial: Denied, now: float) -> list[Order]:
        """Before giving up, look whether somebody else has renewed the login with the same refresh token."""
        self._denial = denial
        if denial.terminal:
            self._known.spend(self._asked)
        self._give_up_at = now + SETTLE_SECONDS
        self._move(Phase.REREADING)
        return [ReadLogin(self.path)]

    def _reread(self, result: FileResult, now: float, wall: float) -> list[Order]:
        if isinstance(result, LoginRead):
            self._known.learn(result.file, result.recovery)
        login = self._known.best
        if login is not None and login.access != self._asked.access and not self._known.is_spent(login):
            if login.expires_at is None or not self._due(now, wall):
                return self._unlock([self._ready(login, renewed=False)])
            if self._renewable(login) and not self._asked_again:
                self._asked_again = True
                return self._ask(login, now)
        elif self._denial.terminal:
            if now < self._give_up_at:
                self._move(Phase.SETTLING, wake_at=now + SETTLE_POLL_SECONDS)
                return []
            return self._unlock([self._lost(f"the token endpoint refused it: {self._denial.reason}")])
        return self._postponed(self._denial.reason, now)

    def _save(self, login: Login, now: float, ready: TokenReady) -> list[Order]:
        replaced = self._known.file or self._asked
        self._repair_at = now + REPAIR_INTERVAL
        self._move(Phase.SAVING)
        return [SaveLogin(self.path, replaced, login), ready]

    def _saved(self, result: FileResult) -> list[Order]:
        match result:
            case LoginSaved():
                self._known.kept(result.place)
                notes: list[Order] = [] if result.place is Place.FILE else [NotKept(result.place, result.reason)]
            case Superseded():
                self._known.superseded(result.file)
                notes = []
            case WorkFailed():
                notes = [NotKept(None, result.reason)]
            case _:
                raise LocalError(f"saving a login was answered with {type(result).__name__}")
        return self._unlock(notes)

    def _postponed(self, reason: str, now: float, retry_after: float | None = None) -> list[Order]:
        return self._unlock([self._back_off(reason, now, retry_after)])

    def _unlock(self, told: list[Order]) -> list[Order]:
        """Give the lock back; that is ordered first, so that it does not depend on what ``told`` sets off."""
        self._move(Phase.UNLOCKING)
        return [UnlockLogin(self.path), *told]

    # Outcomes --------------------------------------------------------------------------------------------------------

    def _ready(self, login: Login, *, renewed: bool) -> TokenReady:
        self._conclude()
        return TokenReady(_credential(login), renewed)

    def _lost(self, reason: str) -> LoginLost:
        self._conclude()
        return LoginLost(reason)

    def _back_off(self, reason: str, now: float, retry_after: float | None = None) -> Postponed:
        """Twice as long each time, a part of it by lot so that many routers do not come back at once."""
        self._conclude()
        delay = min(FIRST_BACK_OFF * 2.0 ** min(self._failures, 10), LONGEST_BACK_OFF) * (0.5 + self._jitter() / 2)
        self._failures += 1
        self.retry_at = now + max(delay, retry_after or 0.0)
        return Postponed(self.retry_at, reason)

    def _conclude(self) -> None:
        self.pending = False
        self._refused = None

    # Judgement -------------------------------------------------------------------------------------------------------

    def _due(self, now: float, wall: float) -> bool:
        login = self._known.best
        if login is None or login.expires_at is None or not self._renewable(login):
            return False
        early = wall >= login.expires_at - self._settings.ahead and now >= self._renew_early_at
        return early or wall >= login.expires_at

    def _misplaced(self, now: float) -> bool:
        """The file holds an older login than we know, as after a failed write or when a program undid ours."""
        login, file = self._known.best, self._known.file
        if login is None or file is None or not self._settings.keep or now < self._repair_at:
            return False
        return login.access != file.access and not self._known.is_spent(login)

    def _renewable(self, login: Login) -> bool:
        return login.refresh is not None and not self._known.is_spent(login)

    def _jitter(self) -> float:
        """From 0 to almost 1."""
        return self._entropy(1)[0] / 256

    def _move(self, phase: Phase, *, wake_at: float | None = None) -> None:
        if phase not in LIFECYCLE[self.phase]:
            raise LocalError(f"a renewal that is {self.phase.name} cannot become {phase.name}")
        self.phase = phase
        self._wake_at = wake_at


def _credential(login: Login) -> Credential:
    return Credential(Kind.OAUTH, login.access, login.expires_at)
