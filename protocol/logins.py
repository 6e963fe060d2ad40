"""Keeping the accounts' credentials current: their files are read when somebody asks, their logins renewed in time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeAlias, final

from protocol.commands import Command, JobResult, LoadFiles, LogLevel, WorkOnLogin
from protocol.effects import Failed
from protocol.errand import Errand, ErrandHouse, ErrandResult
from protocol.errors import LocalError
from protocol.files import FilesSeen, UpdateFailed
from protocol.identity.accounts import Account
from protocol.identity.refresh import Abandon, Ask, LoginLost, NotKept, Order, Postponed, Refresher, TokenReady
from protocol.identity.token_endpoint import MOST_ANSWER_BYTES
from protocol.login_jobs import FileResult, LockLogin, ReadLogin, SaveLogin, UnlockLogin, WorkFailed
from protocol.ports import CredentialWaiter
from protocol.timers import Timer, TimerOwner, Timers
from protocol.values import JobId, Secret

NewCommand: TypeAlias = Callable[[JobId], Command]


class KeeperHouse(ErrandHouse, Protocol):
    """What the gateway does for those who keep credentials."""

    timers: Timers

    @property
    def wall(self) -> float:
        """Epoch seconds."""

    def order(self, command: NewCommand, done: Callable[[JobResult], None]) -> None:
        """Have a job carried out, and its result handed to ``done``."""

    def wake(self, waiter: CredentialWaiter) -> None:
        """Tell one who waits; what that sets off is no trouble of the teller."""

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None: ...

    def credential_seen(self, account: Account) -> None:
        """The account's credential may have changed."""


LOOK_SECONDS: Final = 10.0
"""How long the disk may take; then whoever waits goes on with what is known."""


@final
class AccountKeeper(TimerOwner):
    """Looks after one account."""

    def __init__(self, account: Account, house: KeeperHouse) -> None:
        self.account = account
        self._house = house
        self._looking = False
        self._refused: set[Secret] = set()
        self._waiting: list[tuple[CredentialWaiter, Secret | None]] = []
        self._looking_on: list[CredentialWaiter] = []
        self._renewals: dict[str, Renewal] = {}

    @property
    def busy(self) -> bool:
        """A login is being renewed, which a shutdown should let end."""
        return any(renewal.refresher.committed for renewal in self._renewals.values())

    @property
    def waiting(self) -> int:
        """How many wait for this account."""
        return len(self._waiting) + len(self._looking_on)

    def check(
        self, waiter: CredentialWaiter | None = None, refused: Secret | None = None, *, renewal: bool = True
    ) -> None:
        """Look at the files, once for everybody who asks meanwhile, and renew the login if it is time; without
        ``renewal`` the waiter is told as soon as the files were looked at.
        """
        if waiter is not None:
            if renewal:
                self._waiting.append((waiter, refused))
            else:
                self._looking_on.append(waiter)
        if refused is not None:
            self._refused.add(refused)
        if not self._looking:
            self._looking = True
            self._house.timers.set(self, Timer.DISK, self._house.now + LOOK_SECONDS)
            account = self.account
            self._house.order(lambda job: LoadFiles(job, account.paths, account.fingerprint), self._looked)

    def timer_fired(self, timer: Timer) -> None:
        """The disk hangs."""
        self._house.log(LogLevel.ERROR, f"the disk does not answer for account {self.account.name}", {})
        self._tell()

    def _looked(self, result: JobResult) -> None:
        self._looking = False
        house, account = self._house, self.account
        house.timers.clear(self, Timer.DISK)
        if not isinstance(result, FilesSeen):
            reason = result.reason if isinstance(result, UpdateFailed) else type(result).__name__
            house.log(LogLevel.ERROR, f"the files of account {account.name} cannot be looked at", {"reason": reason})
            self._settle()
            return
        for note in account.checked(result, house.wall, house.now):
            house.log(LogLevel.INFO if account.credential is not None else LogLevel.WARN, note, {})
        refused, self._refused = self._refused, set()
        refresher = account.refresher
        if refresher is not None:
            renewal = self._renewal(refresher)
            for token in refused:
                renewal.carry_out(refresher.unauthorized(token, house.now))
            renewal.carry_out(refresher.token_wanted(house.now, house.wall))
        self._settle()

    def _renewal(self, refresher: Refresher) -> "Renewal":
        renewal = self._renewals.get(refresher.path)
        if renewal is None or renewal.refresher is not refresher:
            renewal = self._renewals[refresher.path] = Renewal(refresher, self.account.name, self._house, self._settle)
        return renewal

    def _settle(self) -> None:
        """News about the credential: tell who waits, unless more is to come at once."""
        self._house.credential_seen(self.account)
        if not self._looking:
            self._tell()

    def _tell(self) -> None:
        """Wake who waits if nothing better is to be expected, or what there is will do."""
        looking_on, self._looking_on = self._looking_on, []
        for waiter in looking_on:
            self._house.wake(waiter)
        waiting, self._waiting = self._waiting, []
        for waiter, refused in waiting:
            if self.account.renewing and not self._has_better_than(refused):
                self._waiting.append((waiter, refused))
            else:
                self._house.wake(waiter)

    def _has_better_than(self, refused: Secret | None) -> bool:
        credential = self.account.credential
        return credential is not None and credential.token != refused and self.account.usable(self._house.wall)


@final
class Renewal(TimerOwner):
    """Carries out what one login's renewer orders.

    :param settled: is called after each outcome.
    """

    def __init__(self, refresher: Refresher, account: str, house: KeeperHouse, settled: Callable[[], None]) -> None:
        self.refresher = refresher
        self._account = account
        self._house = house
        self._settled = settled
        self._errand: Errand | None = None

    def timer_fired(self, timer: Timer) -> None:
        self.carry_out(self.refresher.timed_out(self._house.now))

    def carry_out(self, orders: list[Order]) -> None:
        """Do what is ordered, and see to it that time is kept."""
        for order in orders:
            self._carry_out(order)
        deadline = self.refresher.deadline()
        if deadline is None:
            self._house.timers.clear(self, Timer.RENEWAL)
        else:
            self._house.timers.set(self, Timer.RENEWAL, deadline)

    def _carry_out(self, order: Order) -> None:
        match order:
            case LockLogin() | ReadLogin() | SaveLogin() | UnlockLogin():
                self._house.order(partial(WorkOnLogin, work=order), self._worked)
            case Ask():
                self._errand = Errand(order.request(), MOST_ANSWER_BYTES, self._house, self._answered)
            case Abandon():
                if self._errand is not None:
                    self._errand.cancel()
            case NotKept(place, reason):
                where = "only in memory" if place is None else f"in {place.value}"
                self._say(LogLevel.WARN, f"the renewed login of account {self._account} is kept {where}", reason)
            case TokenReady(_, renewed):
                if renewed:
                    self._say(LogLevel.INFO, f"the login of account {self._account} was renewed")
                self._settled()
            case Postponed(_, reason):
                self._say(LogLevel.WARN, f"the login of account {self._account} cannot be renewed now", reason)
                self._settled()
            case LoginLost(reason):
                self._say(LogLevel.ERROR, f"account {self._account} has to be logged in again", reason)
                self._settled()

    def _worked(self, result: JobResult) -> None:
        if isinstance(result, UpdateFailed):
            result = WorkFailed(result.reason)
        if not isinstance(result, FileResult):
            raise LocalError(f"work on a login was answered with {type(result).__name__}")
        self.carry_out(self.refresher.work_done(result, self._house.now, self._house.wall))

    def _answered(self, result: ErrandResult) -> None:
        self._errand = None
        house, refresher = self._house, self.refresher
        if isinstance(result, Failed):
            reason = f"{result.kind.value} ({result.detail})" if result.detail else result.kind.value
            self.carry_out(refresher.unanswered(reason, house.now))
        else:
            head = result.head
            self.carry_out(refresher.answered(head.status, head.headers, result.body, house.now, house.wall))

    def _say(self, level: LogLevel, event: str, reason: str = "") -> None:
        self._house.log(level, event, {"reason": reason} if reason else {})
