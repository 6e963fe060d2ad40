"""What stands behind the router, and which story a request with a token starts there."""

from typing import Protocol, final
from urllib.parse import unquote_to_bytes

from protocol.call import Call
from protocol.config import Config, OpenAiApi
from protocol.effects import Script
from protocol.errors import LocalError, Refusal
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.roster import Roster
from protocol.identity.token_desk import Bearer
from protocol.request_body import RequestBody
from protocol.routing import ID, KNOWN_PATTERNS, LEGACY_PREFIX, Action, Match
from protocol.scripts import carried, catalogue, compatible, messages, translated
from protocol.scripts.asking import Persistence
from protocol.scripts.providing import Providing
from protocol.translate.models import ModelTable
from protocol.wire.headers import first


class Upstream(Protocol):
    """A kind of upstream."""

    def story(self, call: Call, body: RequestBody, bearer: Bearer, match: Match) -> Script:
        """The script for a request.

        :raises Refusal: it cannot be answered there.
        """


@final
class AnthropicUpstream:
    """The Anthropic API, asked on behalf of the operator's accounts."""

    def __init__(self, config: Config, roster: Roster) -> None:
        self._config = config
        self._roster = roster
        persistence = Persistence(config.failover_attempts, config.failover_secs)
        self._desk = messages.Desk(roster, persistence, config.replay_limit_bytes, config.max_proxy_request_bytes)
        self._bridge = translated.Bridge(
            config.upstream_base_url,
            ModelTable(dict(config.model_map), config.fallback_model),
            config.drop_unsupported_parameters,
            config.max_proxy_request_bytes,
            persistence,
        )

    def story(self, call: Call, body: RequestBody, bearer: Bearer, match: Match) -> Script:
        match match.action:
            case Action.RELAY:
                return messages.relay(call, body, bearer, self._desk, self._target(match, readable=True))
            case Action.RELAY_RESOURCE:
                if match.pattern not in KNOWN_PATTERNS:
                    bearer.require_unlimited("paths that the operator added")
                return messages.relay_resource(call, body, bearer, self._desk, self._target(match), match.resource)
            case Action.RELAY_BATCH:
                if call.head.method == b"POST" and match.resource is None:
                    bearer.require_unlimited("batches", many=True)
                target = self._target(match, results_base(self._config, call, match), readable=True)
                return messages.relay_resource(call, body, bearer, self._desk, target, match.resource)
            case Action.CHAT:
                return translated.complete(call, bearer, self._roster, self._bridge, translated.CHAT)
            case Action.RESPONSES:
                return translated.complete(call, bearer, self._roster, self._bridge, translated.RESPONSES)
            case Action.LIST_MODELS:
                return translated.list_models(call, self._bridge.models)
            case Action.SHOW_MODEL:
                return translated.show_model(call, self._bridge.models, last_segment(match))
            case _:
                raise LocalError(f"no story for {match.action}")

    def _target(self, match: Match, base: str | None = None, *, readable: bool = False) -> messages.Target:
        return messages.Target(self._config.upstream_base_url, match.upstream_target, base, readable, match.model)


@final
class CompatibleUpstream:
    """OpenAI-compatible providers, for clients of OpenAI's and, translated, for Anthropic's."""

    def __init__(self, config: Config, desk: ProviderDesk) -> None:
        self._providing = Providing(
            desk,
            config.openai_compatible_provider_name,
            config.provider_fallbacks,
            config.drop_unsupported_parameters,
            config.max_proxy_request_bytes,
            Persistence(config.failover_attempts, config.failover_secs),
        )

    def story(self, call: Call, body: RequestBody, bearer: Bearer, match: Match) -> Script:
        providing = self._providing
        match match.action:
            case Action.CHAT:
                return carried.cross(call, bearer, providing, translated.CHAT, OpenAiApi.CHAT)
            case Action.RESPONSES:
                return carried.cross(call, bearer, providing, translated.RESPONSES, OpenAiApi.RESPONSES)
            case Action.FORWARD:
                return compatible.forward(call, bearer, providing, match.pattern.removeprefix("/v1"))
            case Action.LIST_MODELS:
                return catalogue.list_models(call, providing)
            case Action.SHOW_MODEL:
                return catalogue.show_model(call, providing, last_segment(match))
            case Action.RELAY_RESOURCE if match.pattern == f"{LEGACY_PREFIX}/v1/models":
                return catalogue.list_models(call, providing)
            case Action.RELAY_RESOURCE if match.pattern == f"{LEGACY_PREFIX}/v1/models/{ID}":
                return catalogue.show_model(call, providing, last_segment(match))
            case Action.RELAY if match.pattern.endswith("/v1/messages"):
                return carried.carry(call, bearer, providing)
            case Action.RELAY if match.pattern.endswith("/v1/messages/count_tokens"):
                return carried.count_tokens(call, bearer, providing)
            case _:
                raise Refusal(
                    404, "the router's upstream is an OpenAI-compatible provider, which has nothing like this"
                )


def results_base(config: Config, call: Call, match: Match) -> str:
    """Where this client reaches the Anthropic paths: as configured, else as it did just now."""
    base = config.public_base_url
    if base is not None:
        root = str(base)
    else:
        host = first(call.head.headers, b"host")
        if host is None:
            raise Refusal(400, "set a Host header, or PUBLIC_BASE_URL on the router")
        root = f"http://{host.decode('latin-1')}"
    return root + LEGACY_PREFIX if match.legacy_prefix else root


def last_segment(match: Match) -> str:
    """The name that a path ends with."""
    return unquote_to_bytes(match.upstream_target.partition(b"?")[0].rpartition(b"/")[2]).decode("utf-8", "replace")
