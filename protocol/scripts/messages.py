"""The main story: a client's request goes to the provider as it is, but with the operator's credential."""

from dataclasses import dataclass
from typing import Final

from protocol.call import Call
from protocol.effects import Reply, Script, UpstreamRequest
from protocol.event_relay import EventStreamPassthrough
from protocol.identity.accounts import Account
from protocol.identity.credentials import Credential, authorize
from protocol.relays import Passthrough
from protocol.request_body import RequestBody
from protocol.results_url import ResultsUrlRelay
from protocol.scripts.asking import ask
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


def relay(call: Call, body: RequestBody, account: Account, target: Target) -> Script:
    """Swap the credential, ask, hand the answer on."""

    def request_with(credential: Credential) -> UpstreamRequest:
        return UpstreamRequest(target.base.origin, upstream_head(call.head, credential, target))

    fetched = yield from ask(call, account, body, request_with)
    yield reply(fetched.head, target)


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
