"""The front door: which request is let in, and which story it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from protocol.call import Call, RenderError
from protocol.config import ApiFormat, Config, UpstreamProvider
from protocol.effects import Script, Store, look_at_store
from protocol.errors import LocalError, Refusal, render_anthropic
from protocol.identity.ledger import Unrecorded
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.roster import Roster
from protocol.identity.token_desk import TokenDesk
from protocol.identity.tokens import admin_allowed
from protocol.metrics import Metrics
from protocol.request_body import RequestBody
from protocol.routing import LEGACY_PREFIX, Action, Match, Router, Surface
from protocol.scripts import accounts, observability, operations, providers, tokens, translated
from protocol.translate.errors import render_openai
from protocol.upstreams import AnthropicUpstream, CompatibleUpstream, Upstream
from protocol.values import RequestHead, Secret

OPERATORS: Final = frozenset({Surface.ADMIN, Surface.OBSERVABILITY})
"""Surfaces for whoever runs the router, all but ``/metrics``, which names nobody."""


@dataclass(frozen=True, slots=True)
class Household:
    """What the stories are about. ``in_flight`` counts the requests that are not over."""

    roster: Roster
    tokens: TokenDesk
    providers: ProviderDesk
    metrics: Metrics
    in_flight: Callable[[], int]


@final
class FrontDoor:
    """Routes a request, checks who asks, and picks the script. Runs on the head alone, before any body is read."""

    def __init__(self, config: Config, router: Router, house: Household, *, entropy: Callable[[int], bytes]) -> None:
        self._config = config
        self._house = house
        self._secret = secret_of(config)
        self._entropy = entropy
        self._router = router
        self._upstream = upstream_for(config, house)

    def admit(self, call: Call, body: RequestBody, *, draining: bool) -> Script:
        """The script for this request.

        :raises Refusal: 401, 403, 404 or 405, in the caller's dialect.
        """
        head = call.head
        call.render_error = dialect_of(head)
        try:
            match = self._router.match(head.method, head.target)
        except Refusal as refusal:
            if refusal.status == 405 and head.path.startswith(TOKEN_PATHS):
                # Where a token is needed, a wrong method is told only to those who have one.
                self._house.tokens.admit(call)
            raise
        call.route = match.pattern
        if match.surface in OPERATORS and match.action is not Action.METRICS:
            admin_allowed(head.headers, call.peer, self._config.admin_key)
            call.administers = True
            return self._operators(call, match)
        match match.action:
            case Action.HEALTH:
                return operations.health(draining)
            case Action.HELLO:
                return operations.hello()
            case Action.METRICS:
                house = self._house
                return observability.metrics_page(call, house.metrics, house.roster, house.in_flight)
            case _:
                return self._with_token(call, body, match)

    def _with_token(self, call: Call, body: RequestBody, match: Match) -> Script:
        """A request of a token's holder."""
        tokens_desk = self._house.tokens
        try:
            bearer = tokens_desk.admit(call)
        except Unrecorded:
            if tokens_desk.paths:
                return self._after_a_look(call, body, match)
            raise
        return self._upstream.story(call, body, bearer, match)

    def _after_a_look(self, call: Call, body: RequestBody, match: Match) -> Script:
        """Another process may have recorded the token a moment ago."""
        yield from look_at_store(Store.TOKENS)
        yield from self._upstream.story(call, body, self._house.tokens.admit(call), match)

    def _operators(self, call: Call, match: Match) -> Script:
        """A request of the operator's."""
        house, tokens_desk, resource = self._house, self._house.tokens, match.resource or ""
        match match.action:
            case Action.ISSUE_TOKEN:
                return tokens.issue_token(call, tokens_desk, self._secret, self._entropy)
            case Action.LIST_TOKENS:
                return tokens.list_tokens(call, tokens_desk)
            case Action.SHOW_TOKEN:
                return tokens.show_token(call, tokens_desk, resource)
            case Action.REVOKE_TOKEN:
                return tokens.revoke_token(call, tokens_desk)
            case Action.EXPIRE_TOKEN:
                return tokens.expire_token(call, tokens_desk)
            case Action.LIST_PROVIDERS:
                return providers.list_providers(call, house.providers)
            case Action.UPSERT_PROVIDER:
                return providers.upsert_provider(call, house.providers, self._entropy)
            case Action.SHOW_PROVIDER:
                return providers.show_provider(call, house.providers, resource)
            case Action.DELETE_PROVIDER:
                return providers.delete_provider(call, house.providers, resource)
            case Action.USAGE:
                return observability.usage(call, house.metrics, house.roster, tokens_desk, house.in_flight)
            case Action.LIST_ACCOUNTS:
                return accounts.list_accounts(call, house.roster)
            case _:
                raise LocalError(f"no story for {match.action}")


TOKEN_PATHS: Final = (b"/v1/", LEGACY_PREFIX.encode())
TRANSLATED_PATHS: Final = (b"/v1/chat/", b"/v1/responses")
VERTEX_ENDINGS: Final = (b":rawPredict", b":streamRawPredict")
ANTHROPIC_PATHS: Final = (b"/v1/messages", b"/v1/files", b"/v1/skills")


def dialect_of(head: RequestHead) -> RenderError:
    """How errors are told to this client: by the path it asks for; where that is no sign, by what it says of itself."""
    path = head.path
    if path.startswith(TRANSLATED_PATHS):
        return render_openai
    if (
        not path.startswith(b"/v1/")
        or path.endswith(VERTEX_ENDINGS)
        or path.startswith(ANTHROPIC_PATHS)
        or translated.speaks_anthropic(head)
    ):
        return render_anthropic
    return render_openai


def upstream_for(config: Config, house: Household) -> Upstream:
    """What stands behind the router by this configuration."""
    if config.upstream_provider is UpstreamProvider.OPENAI_COMPATIBLE:
        return CompatibleUpstream(config, house.providers)
    return AnthropicUpstream(config, house.roster)


def secret_of(config: Config) -> Secret:
    """The secret that tokens are signed with."""
    if config.token_secret is None:
        raise LocalError("a token secret has to be settled before the gateway starts")
    return config.token_secret


def router_for(config: Config) -> Router:
    """What is offered by this configuration."""
    return Router(extra_paths=config.extra_upstream_paths, disabled=disabled_surfaces(config))


def disabled_surfaces(config: Config) -> set[Surface]:
    """What the operator does not offer."""
    only, relayed = config.api_format, not config.disable_anthropic_api
    switches = {
        Surface.ANTHROPIC: not relayed or only not in (None, ApiFormat.ANTHROPIC),
        Surface.BEDROCK: not relayed or only not in (None, ApiFormat.BEDROCK),
        Surface.VERTEX: not relayed or only not in (None, ApiFormat.VERTEX),
        Surface.OPENAI: config.disable_openai_api,
        Surface.FORWARDED: config.disable_openai_api
        or config.upstream_provider is not UpstreamProvider.OPENAI_COMPATIBLE,
        Surface.OBSERVABILITY: config.disable_metrics,
    }
    return {surface for surface, disabled in switches.items() if disabled}
