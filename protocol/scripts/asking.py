"""Asking the provider on behalf of an account, and of another one if that cannot answer: what every story that reaches
an upstream has in common.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Protocol, final

from protocol.call import Call
from protocol.effects import (
    Effect,
    Failed,
    FailureKind,
    Fetched,
    Outcome,
    UpstreamRequest,
    check_credentials,
    fetch,
    refusal_for,
)
from protocol.errors import LocalError, Refusal
from protocol.identity.accounts import Account
from protocol.identity.affinity import Hints
from protocol.identity.cooldowns import Cause
from protocol.identity.credentials import Credential
from protocol.identity.pool import Unavailable
from protocol.identity.roster import Roster

LIMITED: Final = frozenset({401, 429, 529})
"""Answers that are about the account, or about the moment, and that say that nothing was done."""

NOT_CONNECTED: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.CONNECT_TIMEOUT})

NO_HINTS: Final = Hints()


class Replayable(Protocol):
    """A request body that may or may not be sent a second time."""

    @property
    def replayable(self) -> bool: ...


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Question:
    """What the provider is asked.

    :param request_with: the request, with a credential in it.
    :param model: as the provider calls it, where that is known.
    :param counts: an answer tells something about the account: it is inference.
    :param repeatable: doing it twice does no harm, so it may be asked again after a server error.
    :param at: monotonic seconds; when it is asked.
    :param preferred: the account to ask unless something in ``hints`` belongs to another one.
    :param only: the account that holds what is asked for, so that no other one is asked unless that one misses it.
    :param elsewhere: whether a 404 of the account that was asked last says no more than that this one does not have it.
    """

    body: Replayable
    request_with: Callable[[Credential], UpstreamRequest]
    at: float
    hints: Hints = NO_HINTS
    model: str | None = None
    counts: bool = True
    repeatable: bool = True
    preferred: str | None = None
    only: str | None = None
    elsewhere: Callable[[], bool] = never


@dataclass(frozen=True, slots=True)
class Persistence:
    """How many accounts a request is tried with, and until how many seconds after it was known what it asks."""

    attempts: int
    seconds: float


def ask(
    call: Call, roster: Roster, question: Question, persistence: Persistence
) -> Generator[Effect, Outcome, Fetched]:
    """The provider's response head.

    An account that is limited, overloaded, refused or out of reach is left for the next one, while the request can be
    sent again. When nobody is left, the last answer is the client's to see, unless another account can answer sooner
    than that answer says. What one account does not have is asked of each other one, once.

    :raises Refusal: what the pool says when there is nobody to ask; 502 or 504 when no response arrives.
    """
    attempt = Attempt(call, roster, question)
    answer: Fetched | Failed | None = None
    attempts_left = persistence.attempts
    while attempts_left > 0:
        choice = yield from attempt.next_account()
        if isinstance(choice, Unavailable) or (answer is not None and not question.body.replayable):
            break
        answer = yield from attempt.at(choice)
        if not attempt.worth_repeating(answer) or attempt.now >= question.at + persistence.seconds:
            break
        roster.ended(call, attempt.now)  # nobody should wait for a place that is not needed any more
        if not attempt.missing:
            attempts_left -= 1
    if isinstance(answer, Fetched) and answer.head.status not in LIMITED:
        if attempt.missing:
            attempt.hear_everybody()
        return answer
    return last_word(answer, attempt.outlook(), attempt)


def last_word(answer: Fetched | Failed | None, outlook: Account | Unavailable, attempt: "Attempt") -> Fetched:
    """The upstream's own answer, unless there is none, or it says to wait longer than one has to."""
    if isinstance(answer, Failed):
        raise refusal_for(answer)
    if isinstance(outlook, Unavailable):
        if answer is None or _is_sooner(outlook, attempt):
            raise outlook.refusal(attempt.now)
    elif answer is not None:
        raise Refusal(429 if answer.head.status == 429 else 529, ANOTHER_CAN, headers=[(b"retry-after", b"1")])
    if answer is None:
        raise LocalError("an account that can be asked was not")
    return answer


ANOTHER_CAN: Final = "the account that was asked cannot answer now, but another one can; try again"
"""To a request that could not be sent a second time, or had been sent often enough."""


def _is_sooner(obstacle: Unavailable, attempt: "Attempt") -> bool:
    """Another account than the one asked last can answer by itself, and before that one."""
    passes = obstacle.retry_at is not None and obstacle.status != 502 and obstacle.cause is not Cause.TRIED
    return passes and obstacle.account != attempt.last


@final
class Attempt:
    """One request on its way through the accounts.

    ``now`` is the latest moment that is known, ``last`` the account asked last; ``missing``: that one does not have
    what is asked for, though another may.
    """

    def __init__(self, call: Call, roster: Roster, question: Question) -> None:
        self.now = question.at
        self.last: str | None = None
        self.missing = False
        self._call = call
        self._roster = roster
        self._question = question
        self._only = call.pin or question.only
        self._tried: set[str] = set()
        self._unheard = None if call.pin is not None else question.preferred
        self._late: dict[str, Account] = {}
        self._waited: set[str] = set()

    def next_account(self) -> Generator[Effect, Outcome, Account | Unavailable]:
        """One that has a credential to send. One whose credential has first to be found or renewed is waited for only
        when nobody else can answer.
        """
        for account in self._roster.to_look_at(self.now):
            self.now = yield from check_credentials(account.name, wait=False)
        while True:
            choice = self.outlook()
            if isinstance(choice, Unavailable):
                late = self._next_to_wait_for(choice)
                if late is None:
                    return choice
                self._late.pop(late.name, None)
                self._waited.add(late.name)
                self.now = yield from check_credentials(late.name)
            elif self._is_ready(choice):
                # What is known is used at once, while the files are looked at; should it be void, a 401 will tell.
                for account in (choice, *self._late.values()):
                    if not account.fresh(self.now):
                        self.now = yield from check_credentials(account.name, wait=False)
                return choice
            else:
                self._late[choice.name] = choice

    def at(self, account: Account) -> Generator[Effect, Outcome, Fetched | Failed]:
        """What this account brings."""
        self._roster.began(self._call, account, self._question.hints, self.now)
        self._tried.add(account.name)
        self.last = account.name
        credential = account.credential
        if credential is None:
            return Failed(FailureKind.CRASHED, "no credential", self.now)
        answer = yield from self._fetch(account, credential)
        if isinstance(answer, Fetched) and answer.head.status == 401:
            answer = yield from self._renewed(account, credential, answer)
        return answer

    def worth_repeating(self, answer: Fetched | Failed) -> bool:
        """Another account may do better, and nothing is done twice."""
        question = self._question
        self.missing = isinstance(answer, Fetched) and answer.head.status == 404 and question.elsewhere()
        if self.missing:
            self._only = self._call.pin  # who was thought to hold it does not
            self._unheard = None if self._unheard == self.last else self._unheard
        else:
            self._unheard = self.last
        if self._only is not None or not question.body.replayable:
            return False
        if isinstance(answer, Failed):
            return answer.kind in NOT_CONNECTED
        status = answer.head.status
        return self.missing or status in LIMITED or (status >= 500 and question.repeatable)

    def hear_everybody(self) -> None:
        """After a 404: to a client it means that what it asks for is gone, which nobody knows before all were heard.

        :raises Refusal: an account that may have it cannot answer now.
        """
        if self._unheard is None:
            return
        question, name = self._question, self._unheard
        outlook = self._roster.choose(NO_HINTS, question.model, set(), self.now, only=name, inference=question.counts)
        if not isinstance(outlook, Unavailable):
            raise Refusal(529, ANOTHER_CAN, headers=[(b"retry-after", b"1")])
        if outlook.retry_at is not None:
            raise outlook.refusal(self.now)

    def outlook(self) -> Account | Unavailable:
        """Who could be asked now."""
        question = self._question
        return self._roster.choose(
            question.hints, question.model, {*self._tried, *self._late}, self.now, only=self._only,
            preferred=question.preferred, inference=question.counts,
        )  # fmt: skip

    def _is_ready(self, account: Account) -> bool:
        """Its credential can be sent; an expired one that nothing can renew only after a look at the files."""
        wall = self._call.wall_at(self.now)
        seen = account.name in self._waited or account.fresh(self.now)
        return account.usable(wall) or (seen and account.worth_sending(wall))

    def _next_to_wait_for(self, obstacle: Unavailable) -> Account | None:
        """An account that may have a credential once its files were looked at, or its login is renewed."""
        candidates = list(self._late.values())
        if obstacle.status == 502:
            missing = self._roster.without_credential(self.now)
            candidates += [account for account in missing if account.renewable or not account.fresh(self.now)]
        for account in candidates:
            untried = account.name not in self._waited and account.name not in self._tried
            if untried and self._only in (None, account.name):
                return account
        return None

    def _renewed(
        self, account: Account, refused: Credential, answer: Fetched
    ) -> Generator[Effect, Outcome, Fetched | Failed]:
        """The answer to another try with a credential that is newer than the refused one; else the 401."""
        body = self._question.body
        self.now = yield from check_credentials(account.name, wait=body.replayable, refused=refused.token)
        credential = account.credential
        if credential is None or credential.token == refused.token or not body.replayable:
            self._refused(account)
            return answer
        again = yield from self._fetch(account, credential)
        if isinstance(again, Fetched) and again.head.status == 401:
            self._refused(account)
        return again

    def _refused(self, account: Account) -> None:
        if self._question.counts:
            self._roster.unauthorized(account, self.now)

    def _fetch(self, account: Account, credential: Credential) -> Generator[Effect, Outcome, Fetched | Failed]:
        question, asked_at = self._question, self.now
        request = question.request_with(credential)
        self._call.sent_with.append(account.name)
        outcome = yield from fetch(request)
        if isinstance(outcome, Failed) and outcome.kind is FailureKind.STALE and question.body.replayable:
            self._call.sent_with.append(account.name)
            outcome = yield from fetch(request, fresh=True)
        self.now = outcome.at
        if isinstance(outcome, Fetched):
            self._roster.answered(
                self._call, account, outcome.head, model=question.model, counts=question.counts, asked_at=asked_at,
                now=self.now,
            )  # fmt: skip
        elif outcome.kind in NOT_CONNECTED:
            self._roster.failed(account, outcome.kind.value, asked_at=asked_at, now=self.now)
        return outcome
