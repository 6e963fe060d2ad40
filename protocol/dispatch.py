"""The front door: which request is let in, and which story it starts."""

from collections.abc import Callable
from typing import Final, final
from urllib.parse import unquote_to_bytes

from protocol.call import Call, RenderError
from protocol.config import Config
from protocol.effects import Script
from protocol.errors import LocalError, Refusal, render_anthropic
from protocol.identity.roster import Roster
from protocol.identity.tokens import TokenVerifier, admin_allowed, present_token
from protocol.request_body import RequestBody
from protocol.routing import LEGACY_PREFIX, Action, Match, Router, Surface
from protocol.scripts import accounts, messages, operations, tokens, translated
from protocol.scripts.asking import Persistence
from protocol.translate.errors import render_openai
from protocol.translate.models import ModelTable
from protocol.values import RequestHead, Secret
from protocol.wire.headers import first


@final
class FrontDoor:
    """Routes a request, checks who asks, and picks the script. Runs on the head alone, before any body is read."""

    def __init__(self, config: Config, roster: Roster, *, entropy: Callable[[int], bytes]) -> None:
        if config.token_secret is None:
            raise LocalError("a token secret has to be settled before the gateway starts")
        self._config = config
        self._secret: Secret = config.token_secret
        self._entropy = entropy
        self._verifier = TokenVerifier(self._secret)
        self._router = Router(extra_paths=config.extra_upstream_paths, disabled=disabled_surfaces(config))
        persistence = Persistence(config.failover_attempts, config.failover_secs)
        self._roster = roster
        self._desk = messages.Desk(roster, persistence, config.replay_limit_bytes)
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
                self._identify(call)  # where a token is needed, a wrong method is told only to those who have one
            raise
        match match.action:
            case Action.HEALTH:
                return operations.health(draining)
            case Action.HELLO:
                return operations.hello()
            case Action.ISSUE_TOKEN:
                admin_allowed(head.headers, call.peer, self._config.admin_key)
                return tokens.issue_token(call, self._secret, self._entropy)
            case Action.LIST_ACCOUNTS:
                admin_allowed(head.headers, call.peer, self._config.admin_key)
                return accounts.list_accounts(call, self._roster)
            case Action.RELAY:
                self._identify(call)
                return messages.relay(call, body, self._desk, self._target(match))
            case Action.RELAY_RESOURCE:
                self._identify(call)
                return messages.relay_resource(call, body, self._desk, self._target(match), match.resource)
            case Action.RELAY_BATCH:
                self._identify(call)
                target = self._target(match, self._results_base(call, match))
                return messages.relay_resource(call, body, self._desk, target, match.resource)
            case Action.CHAT:
                self._identify(call)
                return translated.complete(call, self._roster, self._bridge, translated.CHAT)
            case Action.RESPONSES:
                self._identify(call)
                return translated.complete(call, self._roster, self._bridge, translated.RESPONSES)
            case Action.LIST_MODELS:
                self._identify(call)
                return translated.list_models(call, self._bridge.models)
            case Action.SHOW_MODEL:
                self._identify(call)
                return translated.show_model(call, self._bridge.models, _last_segment(match))

    def _identify(self, call: Call) -> None:
        """Verify the caller's token."""
        claims = self._verifier.verify(present_token(call.head.headers), call.wall)
        call.token_id, call.pin = claims.sub, claims.account

    def _target(self, match: Match, results_base: str | None = None) -> messages.Target:
        return messages.Target(self._config.upstream_base_url, match.upstream_target, results_base)

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
ANTHROPIC_PATHS: Final = (b"/v1/messages", b"/v1/files", b"/v1/skills")


def dialect_of(head: RequestHead) -> RenderError:
    """How errors are told to this client: by the path it asks for; where that is no sign, by what it says of itself."""
    path = head.path
    if path.startswith(TRANSLATED_PATHS):
        return render_openai
    if not path.startswith(b"/v1/") or path.startswith(ANTHROPIC_PATHS) or translated.speaks_anthropic(head):
        return render_anthropic
    return render_openai


def disabled_surfaces(config: Config) -> set[Surface]:
    """What the operator does not offer."""
    switches = {
        Surface.ANTHROPIC: config.disable_anthropic_api,
        Surface.OPENAI: config.disable_openai_api,
        Surface.OBSERVABILITY: config.disable_metrics,
    }
    return {surface for surface, disabled in switches.items() if disabled}


def _last_segment(match: Match) -> str:
    return unquote_to_bytes(match.upstream_target.partition(b"?")[0].rpartition(b"/")[2]).decode("utf-8", "replace")
