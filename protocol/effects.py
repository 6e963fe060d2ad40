"""What a script may ask for, what comes back, and one typed helper for each question.

A script tells the story of one request as a generator: it yields an effect and is resumed with the outcome. It runs a
few steps for each request and never sees the bytes of a streamed body.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from protocol.egress import Proxy
from protocol.errors import LocalError, Refusal
from protocol.files import Update
from protocol.relays import Relay
from protocol.values import Origin, RequestHead, ResponseHead, Secret


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request to an upstream. ``body`` None means the client's own body, streamed as it arrives.

    :param via: the proxy to go through; None leaves that to the operator's settings.
    :param guarded: an administrator named the place, so the address is looked at before it is connected to.
    """

    origin: Origin
    head: RequestHead
    body: bytes | None = None
    via: Proxy | None = None
    guarded: bool = False


class FailureKind(Enum):
    """How far a fetch came before it failed."""

    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect timeout"
    STALE = "stale connection"
    LOST = "connection lost"
    SILENT = "silent"
    MALFORMED = "malformed response"
    CRASHED = "internal error"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send a request and resume at the response head; ``fresh`` bars a connection that was used before."""

    request: UpstreamRequest
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class ReadBody:
    """Wait for the client's whole request body, at most ``limit`` bytes (413 beyond it)."""

    limit: int


@dataclass(frozen=True, slots=True)
class PeekBody:
    """Wait for the client's whole request body, or until it is longer than ``limit`` bytes; it can still be sent."""

    limit: int


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """Gather the current fetch's whole response body, at most ``limit`` bytes (502 beyond it)."""

    limit: int


@dataclass(frozen=True, slots=True)
class CheckCredentials:
    """Have the account's credential files read again if they changed, and its login renewed if it is time.

    Resumes when that is done: without ``renewal`` once the files were looked at, without ``wait`` at once. ``refused``
    is a token that the provider answered 401 to: reason enough to renew it, unless it was replaced already.
    """

    account: str
    wait: bool = True
    refused: Secret | None = None
    renewal: bool = True


class Store(Enum):
    """What is kept in files that other processes change too."""

    TOKENS = "tokens"
    PROVIDERS = "providers"


@dataclass(frozen=True, slots=True)
class ChangeStore:
    """Change a store's files, or with ``update`` None look whether somebody else has; resumes when that is done."""

    store: Store
    update: Update | None


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with the current fetch's response: this head, its body through ``relay``.

    ``length`` is the body's length in bytes when the relay keeps the upstream's, else None.
    """

    head: ResponseHead
    relay: Relay
    length: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with a body that is already whole."""

    head: ResponseHead
    body: bytes


Effect: TypeAlias = Fetch | ReadBody | PeekBody | ReadResponse | CheckCredentials | ChangeStore | Reply | Answer


@dataclass(frozen=True, slots=True)
class Fetched:
    """The upstream's response head has arrived at monotonic second ``at``."""

    head: ResponseHead
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A fetch came to nothing; not one byte of a response has arrived unless ``kind`` is MALFORMED."""

    kind: FailureKind
    detail: str
    at: float


FAILURES: Final[Mapping[FailureKind, tuple[int, str]]] = {
    FailureKind.UNREACHABLE: (502, "the upstream cannot be reached"),
    FailureKind.CONNECT_TIMEOUT: (504, "the upstream did not accept a connection in time"),
    FailureKind.STALE: (502, "the upstream closed the connection without an answer"),
    FailureKind.LOST: (502, "the upstream connection was lost before the answer was complete"),
    FailureKind.SILENT: (504, "the upstream was silent for too long"),
    FailureKind.MALFORMED: (502, "the upstream sent a malformed response"),
    FailureKind.CRASHED: (500, "internal error in the router"),
}


def refusal_for(failure: Failed) -> Refusal:
    """How a failed fetch is told to the client."""
    status, message = FAILURES[failure.kind]
    return Refusal(status, f"{message} ({failure.detail})" if failure.detail else message)


@dataclass(frozen=True, slots=True)
class BodyRead:
    """A whole body, the client's or a response's, at monotonic second ``at``."""

    body: bytes
    at: float


@dataclass(frozen=True, slots=True)
class BodyPeeked:
    """The client's whole body at monotonic second ``at``, or None for one that is too long to look at."""

    body: bytes | None
    at: float


@dataclass(frozen=True, slots=True)
class CredentialsChecked:
    """The account's credential is as good as it can be, or that is under way."""

    at: float


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """A store is up to date and on the disk, or ``reason`` says why not."""

    reason: str | None
    at: float


Outcome: TypeAlias = Fetched | Failed | BodyRead | BodyPeeked | CredentialsChecked | StoreChanged | None
Script: TypeAlias = Generator[Effect, Outcome, None]


def fetch(request: UpstreamRequest, *, fresh: bool = False) -> Generator[Effect, Outcome, Fetched | Failed]:
    """Ask an upstream; the response body stays on the connection until ``Reply`` or the next fetch."""
    outcome = yield Fetch(request, fresh)
    if isinstance(outcome, Fetched | Failed):
        return outcome
    raise LocalError(f"a fetch was answered with {outcome!r}")


def read_body(limit: int) -> Generator[Effect, Outcome, bytes]:
    """The client's request body, whole.

    :raises Refusal: 413 beyond ``limit`` bytes.
    """
    return (yield from wait_for_body(limit)).body


def wait_for_body(limit: int) -> Generator[Effect, Outcome, BodyRead]:
    """The client's request body, whole, and when it was.

    :raises Refusal: 413 beyond ``limit`` bytes.
    """
    outcome = yield ReadBody(limit)
    if isinstance(outcome, BodyRead):
        return outcome
    raise LocalError(f"reading a body was answered with {outcome!r}")


def peek_body(limit: int) -> Generator[Effect, Outcome, BodyPeeked]:
    """The client's request body if it is at most ``limit`` bytes, without taking it out of the way of a fetch."""
    outcome = yield PeekBody(limit)
    if isinstance(outcome, BodyPeeked):
        return outcome
    raise LocalError(f"peeking at a body was answered with {outcome!r}")


def read_response(limit: int) -> Generator[Effect, Outcome, bytes]:
    """The response body of the current fetch, whole.

    :raises Refusal: 502 beyond ``limit`` bytes.
    """
    outcome = yield ReadResponse(limit)
    if isinstance(outcome, BodyRead):
        return outcome.body
    raise LocalError(f"reading a response was answered with {outcome!r}")


def check_credentials(
    account: str, *, wait: bool = True, refused: Secret | None = None, renewal: bool = True
) -> Generator[Effect, Outcome, float]:
    """Bring an account's credential up to date; returns the monotonic second at which it goes on."""
    outcome = yield CheckCredentials(account, wait, refused, renewal)
    if isinstance(outcome, CredentialsChecked):
        return outcome.at
    raise LocalError(f"a credential check was answered with {outcome!r}")


def change_store(store: Store, update: Update | None = None) -> Generator[Effect, Outcome, float]:
    """Change a store, or look at it; returns the monotonic second at which that was done.

    :raises Refusal: 503, the store cannot be read or written.
    """
    outcome = yield ChangeStore(store, update)
    if not isinstance(outcome, StoreChanged):
        raise LocalError(f"a change was answered with {outcome!r}")
    if outcome.reason is not None:
        raise Refusal(503, f"the router's store of {store.value} is out of order; its log says more")
    return outcome.at


def look_at_store(store: Store) -> Generator[Effect, Outcome, float]:
    """See whether a store has changed; if it cannot be read, what is known of it has to do."""
    outcome = yield ChangeStore(store, None)
    if isinstance(outcome, StoreChanged):
        return outcome.at
    raise LocalError(f"a look at a store was answered with {outcome!r}")
