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


@dataclass(frozen=True, slots=True)
class Question:
    """What the provider is asked.

    :param request_with: the request, with a credential in it.
    :param model: as the provider calls it, where that is known.
    :param counts: an answer tells something about the account: it is inference.
    :param repeatable: doing it twice does no harm, so it may be asked again after a server error.
    :param at: monotonic seconds; when it is asked.
    :param preferred: the account to ask unless something in ``hints`` belongs to another one.
    :param elsewhere: a 404 says no more than that this account does not have it.
    """

    body: Replayable
    request_with: Callable[[Credential], UpstreamRequest]
    at: float
    hints: Hints = NO_HINTS
    model: str | None = None
    counts: bool = True
    repeatable: bool = True
    preferred: str | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Persistence:
    """How many accounts a request is tried with, and until how many seconds after it came."""

    attempts: int
    seconds: float


def ask(
    call: Call, roster: Roster, question: Question, persistence: Persistence
) -> Generator[Effect, Outcome, Fetched]:
    """The provider's response head.

    An account that is limited, overloaded, refused or out of reach is left for the next one, while the request can be
    sent again. When nobody is left, the last answer is the client's to see, unless another account can answer sooner
    than that answer says.

    :raises Refusal: what the pool says when there is nobody to ask; 502 or 504 when no response arrives.
    """
    attempt = Attempt(call, roster, question)
    answer: Fetched | Failed | None = None
    for _ in range(persistence.attempts):
        choice = yield from attempt.next_account()
        if isinstance(choice, Unavailable):
            return last_word(answer, choice, attempt)
        answer = yield from attempt.at(choice)
        if not attempt.worth_repeating(answer) or attempt.now >= call.at + persistence.seconds:
            break
    return verbatim(answer)


def last_word(answer: Fetched | Failed | None, obstacle: Unavailable, attempt: "Attempt") -> Fetched:
    """The upstream's own answer, unless there is none, or it says to wait longer than one has to."""
    sooner = obstacle.account != attempt.last and obstacle.status in LIMITED and obstacle.cause is not Cause.TRIED
    if answer is None or (sooner and isinstance(answer, Fetched) and answer.head.status in LIMITED):
        raise obstacle.refusal(attempt.now)
    return verbatim(answer)


def verbatim(answer: Fetched | Failed | None) -> Fetched:
    if isinstance(answer, Fetched):
        return answer
    raise refusal_for(answer or Failed(FailureKind.UNREACHABLE, "", 0.0))


@final
class Attempt:
    """One request on its way through the accounts. ``now`` is the latest moment that is known."""

    def __init__(self, call: Call, roster: Roster, question: Question) -> None:
        self.now = question.at
        self.last: str | None = None
        self._call = call
        self._roster = roster
        self._question = question
        self._tried: set[str] = set()

    def next_account(self) -> Generator[Effect, Outcome, Account | Unavailable]:
        """One that has a credential to send; waits for files and renewals where that is needed."""
        roster = self._roster
        for account in roster.to_look_at(self.now):
            self.now = yield from check_credentials(account.name, wait=False)
        looked = False
        while True:
            choice = self._choose()
            if isinstance(choice, Unavailable):
                if looked or choice.status != 502:
                    return choice
                looked = True
                for account in roster.without_credential(self.now):
                    if account.renewable or not account.fresh(self.now):
                        self.now = yield from check_credentials(account.name)
                continue
            if (yield from self._ready(choice)):
                return choice
            self._tried.add(choice.name)

    def at(self, account: Account) -> Generator[Effect, Outcome, Fetched | Failed]:
        """What this account brings."""
        self._roster.ended(self._call, self.now)
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
        if self._call.pin is not None or not self._question.body.replayable:
            return False
        if isinstance(answer, Failed):
            return answer.kind in NOT_CONNECTED
        status, question = answer.head.status, self._question
        return status in LIMITED or (status >= 500 and question.repeatable) or (status == 404 and question.elsewhere)

    def _choose(self) -> Account | Unavailable:
        question = self._question
        return self._roster.choose(
            self._call, question.hints, question.model, self._tried, self.now, preferred=question.preferred,
            inference=question.counts,
        )  # fmt: skip

    def _ready(self, account: Account) -> Generator[Effect, Outcome, bool]:
        """Whether there is a credential worth sending. A known one is used at once, while its files are looked at;
        should it be replaced, a 401 will tell. For one whose time is over the next is waited for.
        """
        wall = self._call.wall_at(self.now)
        if account.fresh(self.now) and account.worth_sending(wall):
            return True
        self.now = yield from check_credentials(account.name, wait=not account.usable(wall))
        return account.worth_sending(self._call.wall_at(self.now))

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
