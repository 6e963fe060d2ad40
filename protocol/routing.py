"""The allow-list: which method on which path starts which action. What is not listed is refused here, never forwarded.

Paths are compared as bytes, without decoding: a request for a listed path in another spelling is a request for
something else. Where a pattern leaves a segment open, only text that no server would normalise away may stand.
"""

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, Self, final
from urllib.parse import unquote_to_bytes

import msgspec

from protocol.errors import Refusal

LEGACY_PREFIX: Final = "/api/latest/anthropic"
"""Base path under which the Anthropic API is offered besides the root; taken off before a request is relayed."""


class Surface(Enum):
    """Groups of routes that are offered or hidden together."""

    OPERATIONS = "operations"
    ADMIN = "admin"
    OBSERVABILITY = "observability"
    ANTHROPIC = "anthropic"
    BEDROCK = "bedrock"
    VERTEX = "vertex"
    OPENAI = "openai"
    FORWARDED = "forwarded"


class Action(Enum):
    """What the router does with a request. ``RELAY`` is for inference, ``RELAY_RESOURCE`` for what belongs to the
    account that made it, ``RELAY_BATCH`` for such calls whose answer holds batch objects, with their ``results_url``.
    """

    HEALTH = "health"
    METRICS = "metrics"
    USAGE = "usage"
    ISSUE_TOKEN = "issue_token"
    LIST_TOKENS = "list_tokens"
    SHOW_TOKEN = "show_token"
    REVOKE_TOKEN = "revoke_token"
    EXPIRE_TOKEN = "expire_token"
    LIST_PROVIDERS = "list_providers"
    UPSERT_PROVIDER = "upsert_provider"
    SHOW_PROVIDER = "show_provider"
    DELETE_PROVIDER = "delete_provider"
    HELLO = "hello"
    RELAY = "relay"
    RELAY_RESOURCE = "relay_resource"
    RELAY_BATCH = "relay_batch"
    CHAT = "chat"
    RESPONSES = "responses"
    FORWARD = "forward"
    LIST_ACCOUNTS = "list_accounts"
    LIST_MODELS = "list_models"
    SHOW_MODEL = "show_model"


ID: Final = "{id}"
"""Stands in a pattern for the id of one thing."""

MODELS: Final = "models"


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the allow-list.

    :param methods: in the order to show them; ``HEAD`` goes with ``GET``.
    :param pattern: the path as a client writes it. ``{name}`` stands for one segment, a last ``*`` for one or more, and
        what follows that for how they end.
    :param about: a sentence for the documentation.
    """

    methods: tuple[str, ...]
    pattern: str
    surface: Surface
    action: Action
    about: str

    @property
    def legacy_prefix(self) -> bool:
        return self.pattern.startswith(LEGACY_PREFIX)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an operator's ``[METHOD ]PATTERN``: a path of the Anthropic API to relay as well, under the prefix.
        Without a method it is open to all of ``EXTRA_METHODS``.

        :raises ValueError: another method, or something that is not a pattern.
        """
        method, _, pattern = text.strip().rpartition(" ")
        if method and method not in EXTRA_METHODS:
            raise ValueError(f"expected one of {', '.join(EXTRA_METHODS)} before the path, got {method!r}")
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"expected a path such as /v1/agents, /v1/agents/{{id}} or /v1/agents/*, got {text!r}")
        if f"{pattern}/".startswith(f"{LEGACY_PREFIX}/"):
            raise ValueError(f"give the path as the upstream knows it, without {LEGACY_PREFIX}: {text!r}")
        methods = _with_head(method) if method else EXTRA_METHODS
        about = "Relayed because the operator allows it"
        return cls(methods, LEGACY_PREFIX + pattern, Surface.ANTHROPIC, Action.RELAY_RESOURCE, about)


class Match(msgspec.Struct, frozen=True):
    """Where a request goes.

    :param upstream_target: for the relaying actions: the request target without the prefix, byte for byte otherwise.
    :param legacy_prefix: the client came by ``LEGACY_PREFIX``.
    :param pattern: the route's pattern; of these there are few, so it may label a metric or a log line.
    """

    action: Action
    surface: Surface
    upstream_target: bytes
    legacy_prefix: bool
    pattern: str

    @property
    def resource(self) -> str | None:
        """The id that the path names, as it is spelled there; none for a model, which no account has made."""
        segments = self.pattern.removeprefix(LEGACY_PREFIX).split("/")
        if ID not in segments or MODELS in segments:
            return None
        path = self.upstream_target.partition(b"?")[0]
        return path.split(b"/")[segments.index(ID)].decode("latin-1")

    @property
    def model(self) -> str | None:
        """The model that the path names, as it does in the forms of other clouds; there the body does not count."""
        if self.surface not in (Surface.BEDROCK, Surface.VERTEX):
            return None
        path = unquote_to_bytes(self.upstream_target.partition(b"?")[0]).decode("utf-8", "replace")
        if self.surface is Surface.VERTEX:
            return path.rpartition("/")[2].rpartition(":")[0]
        segments = path.split("/")
        return segments[2] if MODEL_SEGMENT in segments else None


@final
class Router:
    """Matches requests against the allow-list.

    :param extra_paths: further paths to relay, see ``Route.parse``.
    :param disabled: surfaces that are not there at all.
    :raises ValueError: an extra path that cannot be read.
    """

    def __init__(self, *, extra_paths: Sequence[str] = (), disabled: AbstractSet[Surface] = frozenset()) -> None:
        offered = [*ROUTES, *(Route.parse(text) for text in extra_paths)]
        self._routes = [route for route in offered if route.surface not in disabled]
        self._fixed: dict[bytes, dict[bytes, Route]] = {}
        self._open: list[tuple[re.Pattern[bytes], dict[bytes, Route]]] = []
        for pattern in dict.fromkeys(route.pattern for route in self._routes):
            by_method = _by_method(route for route in self._routes if route.pattern == pattern)
            if _is_open(pattern):
                self._open.append((_expression(pattern), by_method))
            else:
                self._fixed[pattern.encode()] = by_method

    def routes(self) -> list[Route]:
        """What is offered, in the order in which it should be shown."""
        return list(self._routes)

    def match(self, method: bytes, target: bytes) -> Match:
        """The route of a request by its method and raw request target.

        :raises Refusal: 404 for a path that is not offered; 405 with ``allow`` for a method that is not; 400 for a
            query that no request line can carry.
        """
        path, mark, query = target.partition(b"?")
        if mark and not _QUERY.fullmatch(query):
            raise Refusal(400, "the query holds characters that have to be percent-encoded")
        by_method = self._fixed.get(path)
        route = None if by_method is None else by_method.get(method)
        if route is None:
            route = self._search(method, path)
        legacy = route.legacy_prefix
        upstream_target = target[len(LEGACY_PREFIX) :] if legacy else target
        return Match(route.action, route.surface, upstream_target, legacy, route.pattern)

    def _search(self, method: bytes, path: bytes) -> Route:
        tables = self._tables(path)
        for by_method in tables:
            route = by_method.get(method)
            if route is not None:
                return route
        if not tables:
            self._refuse_unknown(path)
        allowed = b", ".join(dict.fromkeys(name for by_method in tables for name in by_method))
        raise Refusal(405, "this path does not take this method", headers=[(b"allow", allowed)])

    def _tables(self, path: bytes) -> list[dict[bytes, Route]]:
        """What is known of a path: the methods of every pattern that it fits, the most exact first."""
        tables = [self._fixed[path]] if path in self._fixed else []
        if _is_plain(path):
            tables += [by_method for expression, by_method in self._open if expression.fullmatch(path)]
        return tables

    def _refuse_unknown(self, path: bytes) -> NoReturn:
        if self._tables(LEGACY_PREFIX.encode() + path):
            raise Refusal(404, f"this path is offered under the prefix {LEGACY_PREFIX} only")
        raise Refusal(404, "the router does not offer this path")


# --- the table --------------------------------------------------------------------------------------------------------

MODEL_SEGMENT: Final = "model"
"""Before the name of a model in Bedrock's paths."""

EXTRA_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _with_head(*methods: str) -> tuple[str, ...]:
    """With ``HEAD`` beside ``GET``: a server that answers the one answers the other (RFC 9110 section 9.3.2)."""
    return tuple(name for method in methods for name in (("GET", "HEAD") if method == "GET" else (method,)))


def _admin(method: str, path: str, action: Action, about: str) -> Route:
    return Route(_with_head(method), path, Surface.ADMIN, action, about)


def _relayed(
    methods: str, path: str, about: str, action: Action = Action.RELAY_RESOURCE, *, root: bool = True
) -> list[Route]:
    """A call of the Anthropic API, under the prefix and, unless ``root`` is false, at the root."""
    bases = ("", LEGACY_PREFIX) if root else (LEGACY_PREFIX,)
    return [Route(_with_head(*methods.split()), base + path, Surface.ANTHROPIC, action, about) for base in bases]


def _invoked(path: str, surface: Surface, about: str) -> list[Route]:
    """Inference in the form of another cloud, for an upstream that is a gateway to it."""
    # The prefix first: an open path at the root would take it for a part of itself.
    return [Route(("POST",), base + path, surface, Action.RELAY, about) for base in (LEGACY_PREFIX, "")]


ROUTES: Final = (
    Route(_with_head("GET"), "/health", Surface.OPERATIONS, Action.HEALTH, "Whether the router is up"),
    _admin("POST", "/api/tokens", Action.ISSUE_TOKEN, "Issue a token"),
    _admin("GET", "/api/tokens/list", Action.LIST_TOKENS, "List token records, with what each token has used"),
    _admin("POST", "/api/tokens/revoke", Action.REVOKE_TOKEN, "Revoke a token"),
    _admin("POST", "/api/tokens/expire", Action.EXPIRE_TOKEN, "End a token now"),
    _admin("GET", "/api/tokens/{id}", Action.SHOW_TOKEN, "Show a token record"),
    _admin("GET", "/api/providers", Action.LIST_PROVIDERS, "List OpenAI-compatible providers"),
    _admin("POST", "/api/providers", Action.UPSERT_PROVIDER, "Store a provider"),
    _admin("GET", "/api/providers/{id}", Action.SHOW_PROVIDER, "Show a provider"),
    _admin("DELETE", "/api/providers/{id}", Action.DELETE_PROVIDER, "Forget a provider"),
    Route(_with_head("GET"), "/metrics", Surface.OBSERVABILITY, Action.METRICS, "Counters for Prometheus"),
    Route(_with_head("GET"), "/v1/usage", Surface.OBSERVABILITY, Action.USAGE, "Counters as JSON, by token too"),
    Route(
        _with_head("GET"),
        "/v1/accounts",
        Surface.OBSERVABILITY,
        Action.LIST_ACCOUNTS,
        "Every account's health, use and limits",
    ),
    *(
        Route(_with_head("GET"), path, Surface.ANTHROPIC, Action.HELLO, "Claude Code's probe")
        for path in ("/", LEGACY_PREFIX, "/api/hello", f"{LEGACY_PREFIX}/api/hello")
    ),
    *_relayed("POST", "/v1/messages", "Create a message", Action.RELAY),
    *_relayed("POST", "/v1/messages/count_tokens", "Count the tokens of a message", Action.RELAY),
    *_relayed("GET POST", "/v1/messages/batches", "List or create batches", Action.RELAY_BATCH),
    *_relayed("GET", "/v1/messages/batches/{id}", "Show a batch", Action.RELAY_BATCH),
    *_relayed("DELETE", "/v1/messages/batches/{id}", "Delete a batch"),
    *_relayed("POST", "/v1/messages/batches/{id}/cancel", "Cancel a batch", Action.RELAY_BATCH),
    *_relayed("GET", "/v1/messages/batches/{id}/results", "Fetch the results of a batch"),
    *_relayed("GET POST", "/v1/files", "List or upload files"),
    *_relayed("GET DELETE", "/v1/files/{id}", "Show or delete a file"),
    *_relayed("GET", "/v1/files/{id}/content", "Download a file"),
    *_invoked("/invoke", Surface.BEDROCK, "Bedrock's invoke"),
    *_invoked("/invoke-with-response-stream", Surface.BEDROCK, "Bedrock's invoke, streamed"),
    *_invoked("/model/{id}/invoke", Surface.BEDROCK, "Bedrock's invoke of a model"),
    *_invoked("/model/{id}/invoke-with-response-stream", Surface.BEDROCK, "Bedrock's invoke of a model, streamed"),
    *_invoked("/*:rawPredict", Surface.VERTEX, "Vertex AI's rawPredict"),
    *_invoked("/*:streamRawPredict", Surface.VERTEX, "Vertex AI's rawPredict, streamed"),
    Route(("POST",), "/v1/chat/completions", Surface.OPENAI, Action.CHAT, "Chat Completions, translated"),
    Route(("POST",), "/v1/responses", Surface.OPENAI, Action.RESPONSES, "Responses, translated"),
    Route(("POST",), "/v1/completions", Surface.FORWARDED, Action.FORWARD, "Completions, of a provider that has them"),
    Route(("POST",), "/v1/embeddings", Surface.FORWARDED, Action.FORWARD, "Embeddings, of a provider that has them"),
    Route(_with_head("GET"), "/v1/models", Surface.OPENAI, Action.LIST_MODELS, "List models, for either API's clients"),
    Route(_with_head("GET"), "/v1/models/{id}", Surface.OPENAI, Action.SHOW_MODEL, "Show a model"),
    # Under the prefix only: at the root /v1/models is the router's own list, and /v1/skills is kept for nobody yet.
    *_relayed("GET", "/v1/models", "List models", root=False),
    *_relayed("GET", "/v1/models/{id}", "Show a model", root=False),
    *_relayed("GET POST", "/v1/skills", "List or create skills", root=False),
    *_relayed("GET DELETE", "/v1/skills/{id}", "Show or delete a skill", root=False),
    *_relayed("GET POST", "/v1/skills/{id}/versions", "List or create versions of a skill", root=False),
    *_relayed("GET DELETE", "/v1/skills/{id}/versions/{version}", "Show or delete a version of a skill", root=False),
    *_relayed("GET", "/v1/skills/{id}/versions/{version}/content", "Download a version of a skill", root=False),
)
"""What the SDKs and Claude Code need for inference. Paths that manage an organization, its users or its logins are left
out on purpose: a holder of a token must not act there with the operator's credential.
"""


KNOWN_PATTERNS: Final = frozenset(route.pattern for route in ROUTES)


# --- patterns ---------------------------------------------------------------------------------------------------------

# A decoded segment may hold what RFC 3986 allows but ";", which some servers take for the start of parameters.
_DOTS: Final = r"\.{1,2}(?:/|\Z)"
_PLAIN: Final = re.compile(rf"(?:/(?!{_DOTS})[A-Za-z0-9._~:@!$&'()*+,=-]+)+".encode())
_SEGMENT: Final = rf"(?:(?!{_DOTS})[A-Za-z0-9._~:@-]+|\{{[a-z_]+\}})"
_PATTERN: Final = re.compile(rf"(?:/{_SEGMENT})*/(?:{_SEGMENT}|\*)")
_QUERY: Final = re.compile(rb"[!-~]*")


def _is_plain(path: bytes) -> bool:
    """Whether every reader of the path sees the same segments: none empty, none of dots, no slash, backslash or percent
    sign behind percent-encoding, and no trailing slash.
    """
    decoded = unquote_to_bytes(path)
    return _PLAIN.fullmatch(decoded) is not None and decoded.count(b"/") == path.count(b"/")


def _is_open(pattern: str) -> bool:
    return "{" in pattern or "/*" in pattern


def _expression(pattern: str) -> re.Pattern[bytes]:
    """The paths that a pattern stands for, of those that are plain."""
    body, below, end = pattern.partition("/*")
    segments = [r"[^/]+" if segment.startswith("{") else re.escape(segment) for segment in body.split("/")]
    return re.compile(("/".join(segments) + (r"/.+" + re.escape(end) if below else "")).encode())


def _by_method(routes: Iterable[Route]) -> dict[bytes, Route]:
    """Later routes of the same pattern only add methods."""
    table: dict[bytes, Route] = {}
    for route in routes:
        for method in route.methods:
            table.setdefault(method.encode(), route)
    return table
