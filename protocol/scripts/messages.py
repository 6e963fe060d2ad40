"""The main story: a client's request goes to the provider as it is, but with the operator's credential."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from protocol.call import Call
from protocol.effects import Reply, Script, UpstreamRequest, peek_body
from protocol.event_relay import EventStreamPassthrough, MeteredPassthrough
from protocol.identity.affinity import file_in, read_hints
from protocol.identity.credentials import Credential, authorize
from protocol.identity.roster import Roster
from protocol.identity.token_desk import Bearer
from protocol.relays import Passthrough
from protocol.request_body import RequestBody
from protocol.resource_id import IdTap, message_id
from protocol.results_url import ResultsUrlRelay
from protocol.scripts.asking import NO_HINTS, Persistence, Question, ask
from protocol.scripts.file_in_use import FileInUse
from protocol.usage_tap import tap_for
from protocol.values import BaseUrl, Headers, RequestHead, ResponseHead
from protocol.wire.headers import first, is_event_stream, is_identity, is_json, request_headers, response_headers

EVENT_STREAM_HEADERS: Final = ((b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache"))
"""Tell whatever stands between us and the client to let each event through at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and what may be changed in the response on its way back.

    :param results_base: on routes that answer with batch objects, the base URL that their ``results_url`` gets.
    :param readable: the answer is to come without compression, since it is read on its way: streams for their ends and
        pauses, answers of inference for what they cost, batch objects for their ``results_url``.
    :param model: the one that is asked, where the path says so.
    """

    base: BaseUrl
    target: bytes
    results_base: str | None = None
    readable: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every relayed request needs: the accounts, and how long to try.

    :param peek_limit: how much of a body is waited for to see what it belongs to.
    :param most: how much of it where it decides on whether the request may be made.
    """

    roster: Roster
    persistence: Persistence
    peek_limit: int
    most: int


def relay(call: Call, body: RequestBody, bearer: Bearer, desk: Desk, target: Target) -> Script:
    """An inference call: swap the credential, ask, hand the answer on."""
    roster, at, seen, hints = desk.roster, call.at, None, NO_HINTS
    if roster.has_choice or bearer.must_show_body:
        peeked = yield from peek_body(desk.most if bearer.must_show_body else desk.peek_limit)
        at, seen = peeked.at, peeked.body
        hints = read_hints(call.head.headers, seen, files=roster.holds_resources)
    inference = not call.head.path.endswith(b"/count_tokens")
    bearer.reserve(call, at, seen or b"", model=target.model, inference=inference)
    file = FileInUse(roster, hints, seen)
    question = Question(
        body,
        request_with(call, target),
        at,
        hints,
        model=target.model or hints.model,
        counts=inference,
        preferred=file.holder,
        elsewhere=file.is_elsewhere,
    )
    fetched = yield from ask(call, roster, question, desk.persistence)
    answer = reply(fetched.head, target, metered=True)
    if hints.threaded and call.account is not None and 200 <= fetched.head.status < 300:
        remember = partial(roster.remember_message, name=call.account, now=fetched.at)
        answer = replace(answer, relay=IdTap(answer.relay, remember, message_id))
    yield answer


def relay_resource(
    call: Call, body: RequestBody, bearer: Bearer, desk: Desk, target: Target, resource: str | None
) -> Script:
    """A call about files, batches, skills or models, which are known to the account that made them and to no other.

    What is asked for by its id goes to the account that holds it. While that one is unknown, as after a restart, or
    does not have it after all, a 404 is taken for "not here". All else goes to the first account that can answer, so
    that a list shows what was made.

    :param resource: the id in the path, if there is one.
    """
    roster = desk.roster
    holder = None if resource is None else roster.holder(resource)
    at, preferred = call.at, roster.first
    makes = roster.has_choice and resource is None and call.head.method == b"POST"
    if makes:
        target = replace(target, readable=True)
        if roster.holds_resources and is_json(call.head.headers):  # a batch, perhaps of messages with a file
            peeked = yield from peek_body(desk.peek_limit)
            at, file = peeked.at, file_in(peeked.body or b"")
            preferred = (None if file is None else roster.holder(file)) or preferred
    bearer.reserve(call, at)

    def elsewhere() -> bool:
        if resource is not None and call.account is not None:
            roster.forget_resource(resource, call.account)
        return resource is not None

    question = Question(
        body,
        request_with(call, target),
        at,
        preferred=preferred,
        only=holder,
        counts=False,
        repeatable=call.head.method in (b"GET", b"HEAD"),
        elsewhere=elsewhere,
    )
    fetched = yield from ask(call, roster, question, desk.persistence)
    answer = reply(fetched.head, target)
    if 200 <= fetched.head.status < 300 and call.account is not None:
        if resource is not None:
            roster.remember_resource(resource, call.account)
        elif makes:
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
    if target.readable:
        headers = [field for field in headers if field[0] != b"accept-encoding"]
        headers.append((b"accept-encoding", b"identity"))
    return RequestHead(head.method, target.base.prefix.encode("ascii") + target.target, headers)


def reply(head: ResponseHead, target: Target, *, metered: bool = False) -> Reply:
    """The provider's answer for the client: same status, same headers but the hop-by-hop ones, same body.

    :param metered: the answer is one of inference, so that it says what it cost.
    """
    headers = response_headers(head.headers)
    answer = ResponseHead(head.status, headers, head.reason)
    if is_event_stream(head.headers) and is_identity(head.headers):
        headers += [field for field in EVENT_STREAM_HEADERS if first(headers, field[0]) is None]
        return Reply(answer, EventStreamPassthrough(), None)
    if target.results_base is not None and is_json(head.headers) and is_identity(head.headers):
        return Reply(answer, ResultsUrlRelay(target.results_base), None)
    tap = tap_for(head.headers) if metered else None
    return Reply(answer, Passthrough() if tap is None else MeteredPassthrough(tap), announced_length(head))


def announced_length(head: ResponseHead) -> int | None:
    """A Content-Length that counts: beside a Transfer-Encoding it does not (RFC 9112 section 6.3)."""
    announced = first(head.headers, b"content-length")
    return None if announced is None or first(head.headers, b"transfer-encoding") is not None else int(announced)
