"""Asking the provider on behalf of an account: what every story that reaches an upstream has in common."""

from collections.abc import Callable, Generator
from typing import Protocol

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
from protocol.errors import Refusal
from protocol.identity.accounts import Account
from protocol.identity.credentials import Credential


class Replayable(Protocol):
    """A request body that may or may not be sent a second time."""

    @property
    def replayable(self) -> bool: ...


def ask(
    call: Call, account: Account, body: Replayable, request_with: Callable[[Credential], UpstreamRequest]
) -> Generator[Effect, Outcome, Fetched]:
    """The provider's response head to the request made with the account's credential.

    A 401 is tried once more if the credential file has changed meanwhile; an idle connection that turns out closed
    is replaced once. Both need a body that can be sent again.

    :raises Refusal: 502 without a usable credential; 502 or 504 when no response arrives.
    """
    call.account = account.name
    credential = yield from _usable_credential(call, account)
    fetched = yield from _fetch(request_with(credential), body)
    if fetched.head.status == 401 and body.replayable:
        yield from check_credentials(account.name)
        renewed = account.credential
        if renewed is not None and renewed != credential and body.replayable:
            fetched = yield from _fetch(request_with(renewed), body)
    return fetched


def _usable_credential(call: Call, account: Account) -> Generator[Effect, Outcome, Credential]:
    """A known one is used at once, while its files are looked at; should it have been replaced, a 401 will tell."""
    if not account.fresh(call.at):
        yield from check_credentials(account.name, wait=not account.usable(call.wall))
    if account.credential is None:
        raise Refusal(502, "the router has no usable upstream credential; its operator has to log in or set an API key")
    return account.credential


def _fetch(request: UpstreamRequest, body: Replayable) -> Generator[Effect, Outcome, Fetched]:
    outcome = yield from fetch(request)
    if isinstance(outcome, Failed) and outcome.kind is FailureKind.STALE and body.replayable:
        outcome = yield from fetch(request, fresh=True)
    if isinstance(outcome, Failed):
        raise refusal_for(outcome)
    return outcome
