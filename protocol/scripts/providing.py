"""Asking an OpenAI-compatible provider, and the next one if that cannot answer."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.call import Call
from protocol.effects import (
    Effect,
    Failed,
    FailureKind,
    Fetched,
    Outcome,
    Store,
    UpstreamRequest,
    fetch,
    look_at_store,
    refusal_for,
)
from protocol.egress import Proxy
from protocol.errors import Refusal
from protocol.identity.provider_choice import Choice, Provider
from protocol.identity.provider_desk import ProviderDesk
from protocol.scripts.asking import NOT_CONNECTED, Persistence
from protocol.values import BaseUrl, Headers, RequestHead

FRESH_SECONDS: Final = 1.0
"""A provider that was changed by the command line, or by another router, is noticed after this long."""

ELSEWHERE: Final = frozenset({401, 403, 404, 408, 429})
"""Answers that say that nothing was done, so that another provider may be asked; so may it after a server error."""


@dataclass(frozen=True, slots=True)
class Providing:
    """What requests to providers need.

    :param default: which of them answers, unless the model says otherwise.
    :param fallbacks: which are asked next.
    """

    desk: ProviderDesk
    default: str
    fallbacks: tuple[str, ...]
    drop_unsupported: bool
    max_body: int
    persistence: Persistence


NewRequest = Callable[[Provider, str | None], UpstreamRequest]
"""The request for a provider and a model of its; None leaves the model to the request's body."""


def choose(call: Call, providing: Providing, model: str | None) -> Generator[Effect, Outcome, list[Choice]]:
    """Whom to ask for a model, in turn, as the providers are now.

    :raises Refusal: 404 or 503 where there is nobody.
    """
    yield from look(call, providing)
    return providing.desk.providers.choose(model, default=providing.default, fallbacks=providing.fallbacks)


def ask_provider(
    call: Call, providing: Providing, choices: Sequence[Choice], request_with: NewRequest, at: float
) -> Generator[Effect, Outcome, tuple[Provider, Fetched]]:
    """The provider that answers, and its response head.

    :param at: monotonic seconds; when the request was known as a whole.
    :raises Refusal: 404 or 503 where no provider can be asked; 502 or 504 where no response arrives.
    """
    *others, last = choices[: providing.persistence.attempts]
    for choice in others:
        try:
            provider, outcome = yield from _asked(call, providing, choice, request_with)
        except Refusal as refusal:
            if refusal.status not in (404, 503):
                raise
            continue
        if not _worth_another(outcome) or outcome.at >= at + providing.persistence.seconds:
            return provider, _answer(outcome)
    provider, outcome = yield from _asked(call, providing, last, request_with)
    return provider, _answer(outcome)


def look(call: Call, providing: Providing) -> Generator[Effect, Outcome, None]:
    """See whether somebody has changed the providers."""
    desk = providing.desk
    if call.at >= desk.looked_at + FRESH_SECONDS:
        desk.looked_at = yield from look_at_store(Store.PROVIDERS)


def _asked(
    call: Call, providing: Providing, choice: Choice, request_with: NewRequest
) -> Generator[Effect, Outcome, tuple[Provider, Fetched | Failed]]:
    provider = providing.desk.resolve(choice.provider)
    if provider.warning:
        call.annotations["provider_warning"] = provider.warning
    call.annotations["provider"] = choice.provider
    if choice.model is not None:
        call.annotations["model"] = choice.model
    request = request_with(provider, choice.model)
    outcome = yield from fetch_from(call, provider, request)
    return provider, outcome


def fetch_from(
    call: Call, provider: Provider, request: UpstreamRequest
) -> Generator[Effect, Outcome, Fetched | Failed]:
    """Ask, and once more where the provider had given the connection up before it was used again."""
    call.sent_with.append(provider.record.name)
    outcome = yield from fetch(request)
    if isinstance(outcome, Failed) and outcome.kind is FailureKind.STALE:
        call.sent_with.append(provider.record.name)
        outcome = yield from fetch(request, fresh=True)
    return outcome


def _worth_another(outcome: Fetched | Failed) -> bool:
    if isinstance(outcome, Failed):
        return outcome.kind in NOT_CONNECTED
    return outcome.head.status in ELSEWHERE or outcome.head.status >= 500


def _answer(outcome: Fetched | Failed) -> Fetched:
    if isinstance(outcome, Failed):
        raise refusal_for(outcome)
    return outcome


def request_to(
    providing: Providing, provider: Provider, method: bytes, path: str, headers: Headers, body: bytes = b""
) -> UpstreamRequest:
    """A request with the provider's key and no other credential, which goes to the provider's own origin.

    :param path: below ``/v1``, such as ``/chat/completions``, maybe with a query.
    """
    record = provider.record
    fields: Headers = [(b"host", record.base_url.origin.authority.encode("ascii")), *headers]
    if provider.key is not None:
        fields.append((b"authorization", b"Bearer " + provider.key.reveal().encode("ascii")))
    head = RequestHead(method, target_of(record.base_url, path), fields)
    via = None if record.proxy is None else Proxy.parse(str(record.proxy))
    return UpstreamRequest(record.base_url.origin, head, body, via, guarded=record.name in providing.desk.stored)


def target_of(base: BaseUrl, path: str) -> bytes:
    """Where an endpoint is: a base URL that ends with ``/v1`` has that already."""
    prefix = base.prefix if base.prefix.endswith("/v1") else f"{base.prefix}/v1"
    return f"{prefix}{path}".encode("ascii")
