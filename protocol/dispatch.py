"""The front door: which request is let in, and which story it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import unquote_to_bytes

from protocol.call import Call, RenderError
from protocol.config import ApiFormat, Config
from protocol.effects import Script
from protocol.errors import LocalError, Refusal, render_anthropic
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.roster import Roster
from protocol.identity.token_desk import TokenDesk
from protocol.identity.tokens import admin_allowed
from protocol.metrics import Metrics
from protocol.request_body import RequestBody
from protocol.routing import LEGACY_PREFIX, Action, Match, Router, Surface
from protocol.scripts import accounts, messages, observability, operations, providers, tokens, translated
from protocol.scripts.asking import Persistence
from protocol.translate.errors import render_openai
from protocol.translate.models import ModelTable
from protocol.values import RequestHead, Secret
from protocol.wire.headers import first

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
        persistence = Persistence(config.failover_attempts, config.failover_secs)
        self._desk = messages.Desk(house.roster, persistence, config.replay_limit_bytes, config.max_proxy_request_bytes)
        self._bridge = translated.Bridge(
            config.upstream_base_url,
            ModelTable(dict(config.model_map), config.fallback_model),
            config.drop_unsupported_parameters,
            config.max_proxy_request_bytes,
            persistence,
        )

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
                return self._bearers(call, body, match)

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

    def _bearers(self, call: Call, body: RequestBody, match: Match) -> Script:
        """A request of somebody with a token."""
        bearer = self._house.tokens.admit(call)
        match match.action:
            case Action.RELAY:
                return messages.relay(call, body, bearer, self._desk, self._target(match, readable=True))
            case Action.RELAY_RESOURCE:
                return messages.relay_resource(call, body, bearer, self._desk, self._target(match), match.resource)
            case Action.RELAY_BATCH:
                if call.head.method == b"POST" and match.resource is None:
                    bearer.require_unlimited("batches")
                target = self._target(match, self._results_base(call, match), readable=True)
                return messages.relay_resource(call, body, bearer, self._desk, target, match.resource)
            case Action.CHAT:
                return translated.complete(call, bearer, self._house.roster, self._bridge, translated.CHAT)
            case Action.RESPONSES:
                return translated.complete(call, bearer, self._house.roster, self._bridge, translated.RESPONSES)
            case Action.LIST_MODELS:
                return translated.list_models(call, self._bridge.models)
            case Action.SHOW_MODEL:
                return translated.show_model(call, self._bridge.models, _last_segment(match))
            case _:
                raise LocalError(f"no story for {match.action}")

    def _target(self, match: Match, results_base: str | None = None, *, readable: bool = False) -> messages.Target:
        return messages.Target(self._config.upstream_base_url, match.upstream_target, results_base, readable)

    def _results_base(self, call: Call, match: Match) -> str:
        """Where this client reaches the Anthropic paths: as configured, else as it did just now."""
        base = self._config.public_base_url
        if base is not None:
            root = str(base)
        else:
            host = first(call.head.headers, b"host")
            if host is None:
                raise Refusal(400, "set a Host header, or PUBLIC_BASE_URL on the router")
            root = f"http://{host.decode('latin-1')}"
        return root + LEGACY_PREFIX if match.legacy_prefix else root


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
        Surface.OBSERVABILITY: config.disable_metrics,
    }
    return {surface for surface, disabled in switches.items() if disabled}


def _last_segment(match: Match) -> str:
    return unquote_to_bytes(match.upstream_target.partition(b"?")[0].rpartition(b"/")[2]).decode("utf-8", "replace")
