"""The main story: a client's request goes to the provider as it is, but with the operator's credential."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from protocol.call import Call
from protocol.effects import Reply, Script, UpstreamRequest, peek_body
from protocol.event_relay import EventStreamPassthrough
from protocol.identity.affinity import read_hints
from protocol.identity.credentials import Credential, authorize
from protocol.identity.roster import Roster
from protocol.relays import Passthrough
from protocol.request_body import RequestBody
from protocol.resource_id import IdTap
from protocol.results_url import ResultsUrlRelay
from protocol.scripts.asking import NO_HINTS, Persistence, Question, ask
from protocol.values import BaseUrl, Headers, RequestHead, ResponseHead
from protocol.wire.headers import first, is_event_stream, is_identity, is_json, request_headers, response_headers

EVENT_STREAM_HEADERS: Final = ((b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache"))
"""Tell whatever stands between us and the client to let each event through at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and what may be changed in the response on its way back.

    ``results_base`` is set on routes that answer with batch objects: the base URL that their ``results_url`` gets.
    """

    base: BaseUrl
    target: bytes
    results_base: str | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every relayed request needs: the accounts, how long to try, and how much of a body may be looked at."""

    roster: Roster
    persistence: Persistence
    peek_limit: int


def relay(call: Call, body: RequestBody, desk: Desk, target: Target) -> Script:
    """An inference call: swap the credential, ask, hand the answer on."""
    at, hints = call.at, NO_HINTS
    if desk.roster.has_choice:
        peeked = yield from peek_body(desk.peek_limit)
        at = peeked.at
        hints = read_hints(call.head.headers, peeked.body, files=desk.roster.holds_resources)
    question = Question(
        body,
        request_with(call, target),
        at,
        hints,
        model=hints.model,
        counts=not call.head.path.endswith(b"/count_tokens"),
    )
    fetched = yield from ask(call, desk.roster, question, desk.persistence)
    yield reply(fetched.head, target)


def relay_resource(call: Call, body: RequestBody, desk: Desk, target: Target, resource: str | None) -> Script:
    """A call about files, batches, skills or models, which are known to the account that made them and to no other.

    What is asked for by its id goes to the account that holds it; while that one is unknown, as after a restart, a 404
    is taken for "not here". All else goes to the first account that can answer, so that a list shows what was made.

    :param resource: the id in the path, if there is one.
    """
    roster = desk.roster
    holder = None if resource is None else roster.holder(resource)
    question = Question(
        body,
        request_with(call, target),
        call.at,
        preferred=holder or roster.first,
        counts=False,
        repeatable=call.head.method in (b"GET", b"HEAD"),
        elsewhere=resource is not None and holder is None,
    )
    fetched = yield from ask(call, roster, question, desk.persistence)
    answer = reply(fetched.head, target)
    if roster.has_choice and 200 <= fetched.head.status < 300 and call.account is not None:
        if resource is not None:
            roster.remember_resource(resource, call.account)
        elif call.head.method == b"POST":
            answer = replace(answer, relay=IdTap(answer.relay, partial(roster.remember_resource, name=call.account)))
    yield answer


def request_with(call: Call, target: Target) -> Callable[[Credential], UpstreamRequest]:
    """The client's own request, with a credential in the place of its token."""

    def request(credential: Credential) -> UpstreamRequest:
        return UpstreamRequest(target.base.origin, upstream_head(call.head, credential, target))

    return request


def upstream_head(head: RequestHead, credential: Credential, target: Target) -> RequestHead:
    """The client's head under the header policy, with exactly one credential in it."""
    headers: Headers = [(b"host", target.base.origin.authority.encode("ascii"))]
    headers += authorize(request_headers(head.headers), credential)
    if target.results_base is not None:
        headers = [field for field in headers if field[0] != b"accept-encoding"]
        headers.append((b"accept-encoding", b"identity"))
    return RequestHead(head.method, target.base.prefix.encode("ascii") + target.target, headers)


def reply(head: ResponseHead, target: Target) -> Reply:
    """The provider's answer for the client: same status, same headers but the hop-by-hop ones, same body."""
    headers = response_headers(head.headers)
    answer = ResponseHead(head.status, headers, head.reason)
    if is_event_stream(head.headers) and is_identity(head.headers):
        headers += [field for field in EVENT_STREAM_HEADERS if first(headers, field[0]) is None]
        return Reply(answer, EventStreamPassthrough(), None)
    if target.results_base is not None and is_json(head.headers) and is_identity(head.headers):
        return Reply(answer, ResultsUrlRelay(target.results_base), None)
    return Reply(answer, Passthrough(), _announced_length(head))


def _announced_length(head: ResponseHead) -> int | None:
    """A Content-Length that counts: beside a Transfer-Encoding it does not (RFC 9112 section 6.3)."""
    announced = first(head.headers, b"content-length")
    return None if announced is None or first(head.headers, b"transfer-encoding") is not None else int(announced)
