"""The main story: a client's request goes to the provider as it is, but with the operator's credential."""

from collections.abc import Generator
from dataclasses import dataclass

from protocol.call import Call
from protocol.effects import (
    Effect,
    Failed,
    FailureKind,
    Fetched,
    Outcome,
    Reply,
    Script,
    UpstreamRequest,
    fetch,
    refusal_for,
)
from protocol.effects import check_credentials as check
from protocol.errors import Refusal
from protocol.event_relay import EventStreamPassthrough
from protocol.identity.accounts import Account
from protocol.identity.credentials import Credential, authorize
from protocol.relays import Passthrough, Relay
from protocol.request_body import RequestBody
from protocol.results_url import ResultsUrlRelay
from protocol.values import BaseUrl, Headers, RequestHead, ResponseHead
from protocol.wire.headers import first, is_event_stream, is_identity, is_json, request_headers, response_headers


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and what may be changed in the response on its way back.

    ``results_base`` is set on routes that answer with batch objects: the base URL that their ``results_url`` gets.
    """

    base: BaseUrl
    target: bytes
    results_base: str | None = None


def relay(call: Call, body: RequestBody, account: Account, target: Target) -> Script:
    """Swap the credential, ask, and hand the answer on; a 401 is tried once more if the credential file has changed."""
    credential = yield from usable_credential(call, account)
    fetched = yield from ask(call, body, account, credential, target)
    if fetched.head.status == 401 and body.replayable:
        yield from check(account.name)
        renewed = account.credential
        if renewed is not None and renewed != credential:
            fetched = yield from ask(call, body, account, renewed, target)
    yield reply(fetched.head, target)


def usable_credential(call: Call, account: Account) -> Generator[Effect, Outcome, Credential]:
    """The account's credential, no staler than its files.

    :raises Refusal: 502 when there is none.
    """
    if not account.fresh(call.at):
        yield from check(account.name)
    if account.credential is None:
        raise Refusal(502, "the router has no usable upstream credential; its operator has to log in or set an API key")
    return account.credential


def ask(
    call: Call, body: RequestBody, account: Account, credential: Credential, target: Target
) -> Generator[Effect, Outcome, Fetched]:
    """One request to the provider, and a second one if an idle connection turned out to have been closed meanwhile.

    :raises Refusal: 502 or 504 when no response arrives.
    """
    call.account = account.name
    request = UpstreamRequest(target.base.origin, upstream_head(call.head, credential, target))
    outcome = yield from fetch(request)
    if isinstance(outcome, Failed) and outcome.kind is FailureKind.STALE and body.replayable:
        outcome = yield from fetch(request, fresh=True)
    if isinstance(outcome, Failed):
        raise refusal_for(outcome)
    return outcome


def upstream_head(head: RequestHead, credential: Credential, target: Target) -> RequestHead:
    """The client's head under the header policy, with exactly one credential in it."""
    headers: Headers = [(b"host", target.base.origin.authority.encode("ascii"))]
    headers += authorize(request_headers(head.headers), credential)
    if target.results_base is not None:
        headers = [(name, value) for name, value in headers if name != b"accept-encoding"]
        headers.append((b"accept-encoding", b"identity"))
    return RequestHead(head.method, target.base.prefix.encode("ascii") + target.target, headers)


def reply(head: ResponseHead, target: Target) -> Reply:
    """The provider's answer for the client: same status, same headers but the hop-by-hop ones, same body."""
    headers = response_headers(head.headers)
    relay: Relay
    length: int | None = None
    if is_event_stream(head.headers) and is_identity(head.headers):
        relay = EventStreamPassthrough()
        headers += [(b"x-accel-buffering", b"no")]
        if first(headers, b"cache-control") is None:
            headers.append((b"cache-control", b"no-cache"))
    elif target.results_base is not None and is_json(head.headers) and is_identity(head.headers):
        relay = ResultsUrlRelay(target.results_base)
    else:
        relay = Passthrough()
        announced = first(head.headers, b"content-length")
        length = int(announced) if announced is not None and first(head.headers, b"transfer-encoding") is None else None
    return Reply(ResponseHead(head.status, headers, head.reason), relay, length)
