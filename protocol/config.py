"""Every setting of the router, in one table: type, names, kind, default, purpose. Flags and pages are made from it."""
# ruff: noqa: RUF009  # setting() returns a dataclass field

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from protocol.egress import DirectHosts, Proxy
from protocol.kinds import (
    ACCOUNT_LIMITS,
    API_KEY,
    BOOLEAN,
    HOST,
    MODEL,
    MODEL_NAMES,
    NO_PROXY,
    PATH,
    PATHS,
    PORT,
    PROVIDER_KEY,
    PROXY,
    ROUTE,
    SECONDS,
    SECONDS_FROM_ZERO,
    SECONDS_OR_OFF,
    SECRET,
    TEXT,
    URL,
    WORD,
    choice,
    listed,
    size,
    whole,
)
from protocol.settings import Setting, setting, table
from protocol.values import BaseUrl, Secret


class UpstreamProvider(Enum):
    """Who answers the requests."""

    ANTHROPIC = "anthropic"
    OPENAI_COMPATIBLE = "openai-compatible"


class OpenAiApi(Enum):
    """Which of OpenAI's APIs a server has."""

    CHAT = "chat"
    RESPONSES = "responses"
    BOTH = "both"


class ApiFormat(Enum):
    """A way to speak to a Claude model over HTTP."""

    ANTHROPIC = "anthropic"
    BEDROCK = "bedrock"
    VERTEX = "vertex"


class StoragePolicy(Enum):
    """Where token records are kept."""

    MEMORY = "memory"
    TEXT = "text"
    BINARY = "binary"
    BOTH = "both"


class Strategy(Enum):
    """What makes an account the next one."""

    ROUND_ROBIN = "round-robin"
    PRIORITY = "priority"
    LEAST_USED = "least-used"


class RefreshMode(Enum):
    """What becomes of an OAuth login that is about to expire."""

    FILE = "file"
    MEMORY = "memory"
    OFF = "off"


class ClientHalfClose(Enum):
    """What it means that a client ended its sending side with a whole request on the way."""

    CANCEL = "cancel"
    ANSWER = "answer"


class LogFormat(Enum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


LISTENING: Final = "Listening"
ACCESS: Final = "Tokens and access"
UPSTREAM: Final = "Upstream"
ACCOUNTS: Final = "Accounts"
PROVIDER: Final = "OpenAI-compatible provider"
OPENAI: Final = "OpenAI surface"
LIMITS: Final = "Limits"
TIMES: Final = "Time limits"
OBSERVABILITY: Final = "Observability"
LOGGING: Final = "Logging"

PROVIDERS: Final = choice(
    {
        UpstreamProvider.ANTHROPIC: ("claude",),
        UpstreamProvider.OPENAI_COMPATIBLE: ("openai", "openai_like", "litellm"),
    },
    planned=("gonka", "crater", "forgefed"),
)
API_FORMAT: Final = choice(
    {ApiFormat.ANTHROPIC: ("messages",), ApiFormat.BEDROCK: ("invoke",), ApiFormat.VERTEX: ("rawpredict",)}
)
STORAGE: Final = choice(
    {
        StoragePolicy.MEMORY: ("mem", "none"),
        StoragePolicy.TEXT: ("lino",),
        StoragePolicy.BINARY: ("bin", "link-cli", "linkcli", "clink"),
        StoragePolicy.BOTH: ("dual",),
    }
)
OPENAI_API: Final = choice(dict.fromkeys(OpenAiApi, ()))
STRATEGY: Final = choice(
    {
        Strategy.ROUND_ROBIN: ("roundrobin", "rr"),
        Strategy.PRIORITY: ("prio", "fill-first"),
        Strategy.LEAST_USED: ("leastused", "lru", "quota-first"),
    }
)
REFRESH: Final = choice(dict.fromkeys(RefreshMode, ()))
HALF_CLOSE: Final = choice(dict.fromkeys(ClientHalfClose, ()))
LOG_FORMAT: Final = choice(dict.fromkeys(LogFormat, ()))
DEFAULT_MODEL_MAP: Final = (
    "gpt-4o-mini=claude-haiku-4-5-20251001,gpt-*-mini*=claude-haiku-4-5-20251001,"
    "gpt-*-nano*=claude-haiku-4-5-20251001,gpt-3.5*=claude-haiku-4-5-20251001,"
    "gpt-4o=claude-sonnet-4-6,gpt-4.1=claude-sonnet-4-6,gpt-4*=claude-sonnet-4-6,chatgpt-*=claude-sonnet-4-6,"
    "gpt-5=claude-opus-4-7,gpt-5*=claude-opus-4-7,gpt-6*=claude-opus-4-7,codex-*=claude-opus-4-7,"
    "o1*=claude-opus-4-7,o3*=claude-opus-4-7,o4*=claude-opus-4-7"
)
"""Small models go to Haiku, GPT-4 to Sonnet, GPT-5 and the reasoning families to Opus. The Sonnet is the newest that
accepts ``temperature``, which GPT-4 clients commonly send."""
TOKEN_URL: Final = "https://platform.claude.com/v1/oauth/token"
"""Where Claude Code's logins are prolonged."""
CLIENT_ID: Final = "9d1c250a-e61b-44d9-88ed-5944d1962f5e"
"""The OAuth client that those logins belong to; a refresh token is good for no other."""
UP_TO_A_TERABYTE: Final = size(1, 1 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the operator decided, parsed. ``Config()`` is all defaults, for a machine without a home directory."""

    host: str = setting("ROUTER_HOST", HOST, "0.0.0.0", LISTENING, "Address or host name to listen on.")  # noqa: S104
    port: int = setting("ROUTER_PORT", PORT, "8080", LISTENING, "Port to listen on; 0 takes any free one.")
    unix_socket: str | None = setting(
        "UNIX_SOCKET", PATH, None, LISTENING, "Listen on this Unix socket instead of a host and port."
    )
    public_base_url: BaseUrl | None = setting(
        "PUBLIC_BASE_URL", URL, None, LISTENING,
        "Where clients reach the router; links in answers begin with it. Not set: what the request's Host says.",
    )  # fmt: skip

    token_secret: Secret | None = setting(
        "TOKEN_SECRET", SECRET, None, ACCESS,
        "Key that signs the tokens, at least 32 bytes. Not set: TOKEN_SECRET_FILE, else `token_secret` in DATA_DIR, "
        "which is made at the first start.",
    )  # fmt: skip
    token_secret_file: str | None = setting(
        "TOKEN_SECRET_FILE", PATH, None, ACCESS, "File that holds the key, such as a mounted container secret."
    )
    admin_key: Secret | None = setting(
        "TOKEN_ADMIN_KEY", SECRET, None, ACCESS,
        "Bearer key for the admin endpoints. Not set: they answer only to clients on this machine.",
    )  # fmt: skip
    data_dir: str = setting(
        "DATA_DIR", PATH, "/var/lib/link-assistant-router/.link-assistant-router", ACCESS,
        "Directory for what the router keeps.", under_home=".link-assistant-router",
    )  # fmt: skip

    storage_policy: StoragePolicy = setting(
        "STORAGE_POLICY", STORAGE, "both", ACCESS,
        "Where token records are kept: memory (gone with the process), tokens.lino, tokens.bin, or both files.",
    )  # fmt: skip
    token_keep_days: int = setting(
        "TOKEN_KEEP_DAYS", whole(0, 36_500), "30", ACCESS,
        "How many days the record of a token is kept after the token has ended by itself.",
    )  # fmt: skip

    upstream_provider: UpstreamProvider = setting(
        "UPSTREAM_PROVIDER", PROVIDERS, "anthropic", UPSTREAM, "Who answers the requests."
    )
    upstream_base_url: BaseUrl = setting(
        "UPSTREAM_BASE_URL", URL, "https://api.anthropic.com", UPSTREAM, "Base URL of the Anthropic API."
    )
    api_format: ApiFormat | None = setting(
        "UPSTREAM_API_FORMAT", API_FORMAT, None, UPSTREAM,
        "Relay this form of the Anthropic API only: its own (/v1/messages), Bedrock's (.../invoke) or Vertex AI's "
        "(...:rawPredict). Not set: all three.",
    )  # fmt: skip
    claude_code_home: str = setting(
        "CLAUDE_CODE_HOME", PATH, "/root/.claude", UPSTREAM,
        "Directory with the Claude Code login that requests are sent with.", under_home=".claude",
    )  # fmt: skip
    anthropic_api_key: Secret | None = setting(
        "ANTHROPIC_API_KEY", PROVIDER_KEY, None, UPSTREAM,
        "API key to send requests with when no login is found. It has no flag: a command line is no place for it.",
        command_line=False,
    )  # fmt: skip
    upstream_ca_file: str | None = setting(
        "UPSTREAM_CA_FILE", PATH, None, UPSTREAM,
        "PEM file of authorities to trust besides the system's (or those of SSL_CERT_FILE).",
    )  # fmt: skip
    https_proxy: Proxy | None = setting(
        "HTTPS_PROXY", PROXY, None, UPSTREAM,
        "Proxy to reach https:// upstreams through; lower-case `https_proxy` counts too, and first.", any_case=True,
    )  # fmt: skip
    http_proxy: Proxy | None = setting(
        "HTTP_PROXY", PROXY, None, UPSTREAM,
        "Proxy to reach http:// upstreams through, by CONNECT as well; or `http_proxy`.", any_case=True,
    )  # fmt: skip
    all_proxy: Proxy | None = setting(
        "ALL_PROXY", PROXY, None, UPSTREAM, "Proxy for what neither of these is set for; or `all_proxy`.", any_case=True
    )
    no_proxy: DirectHosts | None = setting(
        "NO_PROXY", NO_PROXY, None, UPSTREAM,
        "Hosts to reach without a proxy; or `no_proxy`. A name stands for all names below it, too.", any_case=True,
    )  # fmt: skip
    extra_upstream_paths: tuple[str, ...] = setting(
        "EXTRA_UPSTREAM_PATHS", listed(ROUTE), "", UPSTREAM,
        "More paths of the Anthropic API to relay: `*` at the end stands for all below, `{id}` for one segment.",
    )  # fmt: skip
    disable_anthropic_api: bool = setting(
        "DISABLE_ANTHROPIC_API", BOOLEAN, "false", UPSTREAM, "Hide the Anthropic endpoints."
    )

    additional_account_dirs: tuple[str, ...] = setting(
        "ADDITIONAL_ACCOUNT_DIRS", PATHS, "", ACCOUNTS,
        "More directories with a login or an API key each: the accounts account-1, account-2 and so on, beside the "
        "primary one in CLAUDE_CODE_HOME.",
    )  # fmt: skip
    account_routing_strategy: Strategy = setting(
        "ACCOUNT_ROUTING_STRATEGY", STRATEGY, "round-robin", ACCOUNTS,
        "Which account is asked next: the one that waited longest, the first of the list that can answer, or the one "
        "that has used the least of its limits and tokens.",
    )  # fmt: skip
    account_request_limits: tuple[tuple[str, int], ...] = setting(
        "ACCOUNT_REQUEST_LIMITS", ACCOUNT_LIMITS, "", ACCOUNTS,
        "How many requests an account may be sent until the router is restarted.",
    )  # fmt: skip
    account_concurrency_limits: tuple[tuple[str, int], ...] = setting(
        "ACCOUNT_CONCURRENCY_LIMITS", ACCOUNT_LIMITS, "", ACCOUNTS,
        "How many requests an account may have under way at the same time.",
    )  # fmt: skip
    session_affinity_ttl_secs: float | None = setting(
        "SESSION_AFFINITY_TTL_SECS", SECONDS_OR_OFF, "3600", ACCOUNTS,
        "How long a conversation stays with its account after its last request, for the prompt cache's sake; 0 = off.",
    )  # fmt: skip
    failover_attempts: int = setting(
        "FAILOVER_ATTEMPTS", whole(1, 1000), "10", ACCOUNTS, "Most accounts that one request is tried with."
    )
    failover_secs: float = setting(
        "FAILOVER_SECS", SECONDS, "60", ACCOUNTS,
        "How long after its arrival a request is still tried with another account.",
    )  # fmt: skip
    oauth_refresh: RefreshMode = setting(
        "OAUTH_REFRESH", REFRESH, "file", ACCOUNTS,
        "Whether logins are renewed before they expire: into the credential file (or, where that is read-only, a copy "
        "in DATA_DIR), in memory only, or not at all.",
    )  # fmt: skip
    oauth_refresh_ahead_secs: float = setting(
        "OAUTH_REFRESH_AHEAD_SECS", SECONDS, "300", ACCOUNTS, "How long before its expiry a login is renewed."
    )
    oauth_token_url: BaseUrl = setting(
        "OAUTH_TOKEN_URL", URL, TOKEN_URL, ACCOUNTS,
        "The endpoint that renews logins.",
    )  # fmt: skip
    oauth_client_id: str = setting(
        "OAUTH_CLIENT_ID", WORD, CLIENT_ID, ACCOUNTS,
        "The client that logins were made with: Claude Code's.",
    )  # fmt: skip

    openai_compatible_provider_name: str = setting(
        "OPENAI_COMPATIBLE_PROVIDER_NAME", WORD, "litellm", PROVIDER,
        "Which provider answers: a stored one of this name, else the one that these settings describe.",
    )  # fmt: skip
    openai_compatible_base_url: BaseUrl = setting(
        "OPENAI_COMPATIBLE_BASE_URL", URL, "http://localhost:4000/v1", PROVIDER, "Base URL of its API."
    )
    openai_compatible_api_key: Secret | None = setting(
        "OPENAI_COMPATIBLE_API_KEY", API_KEY, None, PROVIDER,
        "Its key. Better in OPENAI_COMPATIBLE_API_KEY_ENV or stored with `providers add`: others on the machine can "
        "read a command line.",
    )  # fmt: skip
    openai_compatible_api_key_env: str | None = setting(
        "OPENAI_COMPATIBLE_API_KEY_ENV", WORD, None, PROVIDER, "The environment variable that holds its key."
    )
    allowed_provider_hosts: tuple[str, ...] = setting(
        "ALLOWED_PROVIDER_HOSTS", listed(HOST), "", PROVIDER,
        "Hosts that stored providers may be at although their addresses are refused otherwise: link-local ones, and "
        "those where clouds keep their metadata.",
    )  # fmt: skip
    openai_compatible_api: OpenAiApi = setting(
        "OPENAI_COMPATIBLE_API", OPENAI_API, "both", PROVIDER,
        "Which APIs it has: Chat Completions, Responses, or both. Requests for the other one are translated.",
    )  # fmt: skip
    provider_fallbacks: tuple[str, ...] = setting(
        "PROVIDER_FALLBACKS", listed(WORD), "", PROVIDER,
        "Providers to ask in turn when one is out of reach, overloaded or failing: `name`, or `name/model`.",
    )  # fmt: skip
    openai_compatible_model: str | None = setting(
        "OPENAI_COMPATIBLE_MODEL", MODEL, None, PROVIDER, "The model for requests that name none."
    )
    openai_compatible_max_tokens: int | None = setting(
        "OPENAI_COMPATIBLE_MAX_TOKENS", whole(1, 10**9), None, PROVIDER,
        "The most tokens that its models can answer with. Claude Code asks for more than most models have; translated "
        "requests that do get this many. Not set: as many as the client asks for.",
    )  # fmt: skip
    openai_compatible_counts_tokens: bool = setting(
        "OPENAI_COMPATIBLE_COUNTS_TOKENS", BOOLEAN, "false", PROVIDER,
        "It has Anthropic's /v1/messages/count_tokens, as LiteLLM and llama.cpp do: ask it, instead of estimating.",
    )  # fmt: skip
    openai_compatible_models: tuple[str, ...] = setting(
        "OPENAI_COMPATIBLE_MODELS", listed(MODEL), "", PROVIDER, "The models to list where the provider lists none."
    )

    disable_openai_api: bool = setting(
        "DISABLE_OPENAI_API", BOOLEAN, "false", OPENAI,
        "Hide /v1/chat/completions, /v1/responses and /v1/models.",
    )  # fmt: skip
    model_map: tuple[tuple[str, str], ...] = setting(
        "MODEL_MAP", MODEL_NAMES, DEFAULT_MODEL_MAP, OPENAI,
        "Which Claude model answers for a requested name; * stands for any characters, claude-* names pass unchanged.",
    )  # fmt: skip
    fallback_model: str | None = setting(
        "FALLBACK_MODEL",
        MODEL,
        None,
        OPENAI,
        "The model for names that MODEL_MAP does not know. Not set: they are a 404.",
    )
    drop_unsupported_parameters: bool = setting(
        "DROP_UNSUPPORTED_PARAMETERS", BOOLEAN, "false", OPENAI,
        "Leave out what cannot be carried to the Anthropic API, instead of refusing it with a 400 that names it.",
    )  # fmt: skip

    max_proxy_request_bytes: int = setting(
        "MAX_PROXY_REQUEST_BYTES", UP_TO_A_TERABYTE, "64 MiB", LIMITS, "Largest request body; more is answered 413."
    )
    replay_limit_bytes: int = setting(
        "REPLAY_LIMIT_BYTES", size(0, 1 << 40), "4 MiB", LIMITS,
        "How much of a request body is kept while it is sent, so that a failed request can be sent once more.",
    )  # fmt: skip
    max_head_bytes: int = setting(
        "MAX_HEAD_BYTES", size(1 << 10, 1 << 30), "64 KiB", LIMITS,
        "Largest head of a request or response: first line and header fields; more is answered 431.",
    )  # fmt: skip
    max_header_fields: int = setting(
        "MAX_HEADER_FIELDS", whole(8, 100_000), "128", LIMITS, "Most header fields in a head; more is answered 431."
    )
    upstream_idle_connections: int = setting(
        "UPSTREAM_IDLE_CONNECTIONS", whole(0, 100_000), "64", LIMITS,
        "Most unused connections kept open to one upstream.",
    )  # fmt: skip
    client_half_close: ClientHalfClose = setting(
        "CLIENT_HALF_CLOSE", HALF_CLOSE, "cancel", LIMITS,
        "When a client ends its sending side before the answer: take it for gone, or answer all the same.",
    )  # fmt: skip

    head_timeout_secs: float = setting(
        "HEAD_TIMEOUT_SECS", SECONDS, "30", TIMES, "For a whole request head to arrive, else 408."
    )
    body_timeout_secs: float = setting(
        "BODY_TIMEOUT_SECS", SECONDS, "60", TIMES, "Longest silence within a request body, else 408."
    )
    client_keepalive_secs: float = setting(
        "CLIENT_KEEPALIVE_SECS", SECONDS, "75", TIMES, "How long a client's unused connection is kept open."
    )
    upstream_connect_timeout_secs: float = setting(
        "UPSTREAM_CONNECT_TIMEOUT_SECS", SECONDS, "10", TIMES, "For a connection to the upstream, TLS included."
    )
    upstream_read_timeout_secs: float = setting(
        "UPSTREAM_READ_TIMEOUT_SECS", SECONDS, "300", TIMES,
        "Longest silence of the upstream, before the answer and within it. A stream has no limit in all.",
    )  # fmt: skip
    upstream_idle_secs: float = setting(
        "UPSTREAM_IDLE_SECS", SECONDS, "30", TIMES, "How long an unused connection to the upstream is kept open."
    )
    sse_keepalive_secs: float | None = setting(
        "SSE_KEEPALIVE_SECS", SECONDS_OR_OFF, "15", TIMES,
        "Silence in an event stream after which a comment is sent, so that nothing between takes it for dead; 0 = off.",
    )  # fmt: skip
    drain_grace_secs: float = setting(
        "DRAIN_GRACE_SECS", SECONDS_FROM_ZERO, "300", TIMES,
        "How long running answers may go on after SIGTERM or SIGINT. Give what started the router more time than that "
        "before it kills.",
    )  # fmt: skip

    disable_metrics: bool = setting(
        "DISABLE_METRICS", BOOLEAN, "false", OBSERVABILITY, "Hide /metrics, /v1/usage and /v1/accounts."
    )

    verbose: bool = setting("VERBOSE", BOOLEAN, "false", LOGGING, "Log at debug level at least.")
    log_format: LogFormat = setting(
        "LOG_FORMAT", LOG_FORMAT, "text", LOGGING, "Log lines for people (text) or programs (json)."
    )
    rust_log: str = setting(
        "RUST_LOG", TEXT, "info", LOGGING,
        "Least level that is logged: error, warn, info, debug, trace or off; in a list of directives the one for "
        "`link_assistant_router` counts.",
        command_line=False,
    )  # fmt: skip

    @classmethod
    def parse(cls, values: Mapping[str, str], *, home: str | None) -> Self:
        """Read texts by their environment names, such as ``{"ROUTER_PORT": "80"}``; other keys are left alone.

        :param home: the home directory, which some defaults and ``~/`` lie under.
        :raises SettingError: a text that its setting cannot take.
        """
        return cls(**{row.name: row.value_from(values, home) for row in SETTINGS})  # type: ignore[arg-type]  # by kind


SETTINGS: Final[tuple[Setting, ...]] = table(Config)
"""The table, in the order of the pages."""

NEXT_START: Final = frozenset(
    {
        "host", "port", "unix_socket", "token_secret", "token_secret_file", "data_dir", "storage_policy",
        "token_keep_days", "upstream_ca_file", "session_affinity_ttl_secs", "oauth_refresh", "oauth_refresh_ahead_secs",
        "oauth_token_url", "oauth_client_id", "allowed_provider_hosts", "upstream_idle_connections", "drain_grace_secs",
    }
)  # fmt: skip
"""Settings, by their fields, that a running router cannot take over."""
