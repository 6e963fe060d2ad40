import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.config import SETTINGS, ClientHalfClose, Config, LogFormat, Strategy, UpstreamProvider
from protocol.settings import SettingError
from protocol.values import BaseUrl, Secret

README_DEFAULTS = {
    "ROUTER_PORT": "8080",
    "ROUTER_HOST": "0.0.0.0",
    "CLAUDE_CODE_HOME": "$HOME/.claude",
    "UPSTREAM_PROVIDER": "anthropic",
    "UPSTREAM_BASE_URL": "https://api.anthropic.com",
    "VERBOSE": "false",
    "DATA_DIR": "$HOME/.link-assistant-router",
    "DISABLE_ANTHROPIC_API": "false",
    "TOKEN_SECRET": None,
    "TOKEN_ADMIN_KEY": None,
    "RUST_LOG": "info",
}

README_FLAGS = {
    "TOKEN_SECRET": "--token-secret",
    "ROUTER_PORT": "--port",
    "ROUTER_HOST": "--host",
    "CLAUDE_CODE_HOME": "--claude-code-home",
    "UPSTREAM_PROVIDER": "--upstream-provider",
    "UPSTREAM_BASE_URL": "--upstream-base-url",
    "VERBOSE": "--verbose",
    "DATA_DIR": "--data-dir",
    "DISABLE_ANTHROPIC_API": "--disable-anthropic-api",
    "TOKEN_ADMIN_KEY": "--admin-key",
}

WRONG = {
    "ROUTER_HOST": "two words",
    "ROUTER_PORT": "http",
    "UNIX_SOCKET": "a\0b",
    "PUBLIC_BASE_URL": "router.example",
    "TOKEN_SECRET": "\udc80",
    "TOKEN_SECRET_FILE": "\0",
    "TOKEN_ADMIN_KEY": "\udc80",
    "DATA_DIR": "\0",
    "UPSTREAM_PROVIDER": "claude-max",
    "UPSTREAM_BASE_URL": "anthropic",
    "CLAUDE_CODE_HOME": "\0",
    "ANTHROPIC_API_KEY": "two words",
    "UPSTREAM_CA_FILE": "\0",
    "HTTPS_PROXY": "ftp://proxy",
    "HTTP_PROXY": "http://user:p@ss@proxy",
    "ALL_PROXY": "http://proxy:0",
    "NO_PROXY": "10.0.0.0/33",
    "EXTRA_UPSTREAM_PATHS": "/v1/\udc80",
    "DISABLE_ANTHROPIC_API": "maybe",
    "STORAGE_POLICY": "disk",
    "TOKEN_KEEP_DAYS": "ever",
    "UPSTREAM_API_FORMAT": "openai",
    "OPENAI_COMPATIBLE_PROVIDER_NAME": "two words",
    "OPENAI_COMPATIBLE_BASE_URL": "litellm",
    "OPENAI_COMPATIBLE_API_KEY": "two words",
    "OPENAI_COMPATIBLE_API_KEY_ENV": "\0",
    "OPENAI_COMPATIBLE_API": "legacy",
    "PROVIDER_FALLBACKS": "a b",
    "ALLOWED_PROVIDER_HOSTS": "a b",
    "OPENAI_COMPATIBLE_MODEL": "two words",
    "OPENAI_COMPATIBLE_MAX_TOKENS": "0",
    "OPENAI_COMPATIBLE_COUNTS_TOKENS": "maybe",
    "OPENAI_COMPATIBLE_MODELS": "a b",
    "ADDITIONAL_ACCOUNT_DIRS": "\0",
    "ACCOUNT_ROUTING_STRATEGY": "random",
    "ACCOUNT_REQUEST_LIMITS": "primary=0",
    "ACCOUNT_CONCURRENCY_LIMITS": "primary=two",
    "SESSION_AFFINITY_TTL_SECS": "off",
    "FAILOVER_ATTEMPTS": "0",
    "FAILOVER_SECS": "0",
    "OAUTH_REFRESH": "maybe",
    "OAUTH_REFRESH_AHEAD_SECS": "0",
    "OAUTH_TOKEN_URL": "platform",
    "OAUTH_CLIENT_ID": "\udc80",
    "DISABLE_METRICS": "maybe",
    "DISABLE_OPENAI_API": "maybe",
    "MODEL_MAP": "gpt-4o",
    "FALLBACK_MODEL": "\udc80",
    "DROP_UNSUPPORTED_PARAMETERS": "2",
    "MAX_PROXY_REQUEST_BYTES": "64 MB",
    "REPLAY_LIMIT_BYTES": "-1",
    "MAX_HEAD_BYTES": "1",
    "MAX_HEADER_FIELDS": "0",
    "UPSTREAM_IDLE_CONNECTIONS": "many",
    "CLIENT_HALF_CLOSE": "ignore",
    "HEAD_TIMEOUT_SECS": "0",
    "BODY_TIMEOUT_SECS": "nan",
    "CLIENT_KEEPALIVE_SECS": "inf",
    "UPSTREAM_CONNECT_TIMEOUT_SECS": "-1",
    "UPSTREAM_READ_TIMEOUT_SECS": "0",
    "UPSTREAM_IDLE_SECS": "1e9",
    "SSE_KEEPALIVE_SECS": "off",
    "DRAIN_GRACE_SECS": "5m",
    "VERBOSE": "verbose",
    "LOG_FORMAT": "xml",
    "RUST_LOG": "\udc80",
}


def test_the_defaults_are_those_of_the_readme() -> None:
    shown = {row.env: row.shown_default for row in SETTINGS}
    assert {env: shown[env] for env in README_DEFAULTS} == README_DEFAULTS


def test_the_flags_are_those_of_the_readme() -> None:
    flags = {row.env: row.flag for row in SETTINGS}
    assert {env: flags[env] for env in README_FLAGS} == README_FLAGS


def test_nothing_given_is_all_defaults() -> None:
    assert Config.parse({}, home=None) == Config()


def test_files_lie_under_the_home_directory() -> None:
    config = Config.parse({}, home="/home/ada")
    assert (config.claude_code_home, config.data_dir) == ("/home/ada/.claude", "/home/ada/.link-assistant-router")


def test_texts_become_values_that_cannot_be_wrong() -> None:
    config = Config.parse(
        {
            "ROUTER_PORT": "0",
            "TOKEN_SECRET": "s3cret",
            "UPSTREAM_PROVIDER": "Claude",
            "UPSTREAM_BASE_URL": "http://127.0.0.1:9/",
            "CLIENT_HALF_CLOSE": "ANSWER",
            "LOG_FORMAT": "Json",
            "EXTRA_UPSTREAM_PATHS": "/v1/agents/*, GET /v1/organizations/me",
            "SSE_KEEPALIVE_SECS": "0",
            "DRAIN_GRACE_SECS": "0",
            "UPSTREAM_READ_TIMEOUT_SECS": "0.5",
            "PATH": "/usr/bin",
        },
        home=None,
    )
    assert config == Config(
        port=0,
        token_secret=Secret("s3cret"),
        upstream_provider=UpstreamProvider.ANTHROPIC,
        upstream_base_url=BaseUrl.parse("http://127.0.0.1:9"),
        client_half_close=ClientHalfClose.ANSWER,
        log_format=LogFormat.JSON,
        extra_upstream_paths=("/v1/agents/*", "GET /v1/organizations/me"),
        sse_keepalive_secs=None,
        drain_grace_secs=0.0,
        upstream_read_timeout_secs=0.5,
    )


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.env)
def test_a_wrong_value_names_its_setting_and_what_is_allowed(row: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Config.parse({row.env: WRONG[row.env]}, home=None)
    message = str(caught.value)
    assert message.startswith(f"{row.label}: ")
    assert message.endswith(f"; allowed: {row.kind.allowed}")


@pytest.mark.parametrize("spelling", ["openai", "openai-compatible", "OPENAI_LIKE", "LiteLLM"])
def test_a_provider_goes_by_the_spellings_of_the_original(spelling: str) -> None:
    config = Config.parse({"UPSTREAM_PROVIDER": spelling}, home=None)
    assert config.upstream_provider is UpstreamProvider.OPENAI_COMPATIBLE


@pytest.mark.parametrize("spelling", ["gonka", "Crater", "forgefed"])
def test_a_provider_that_is_yet_to_come_is_refused_as_such(spelling: str) -> None:
    with pytest.raises(SettingError, match="not available in this version; allowed: anthropic"):
        Config.parse({"UPSTREAM_PROVIDER": spelling}, home=None)


def test_a_model_map_names_each_model_once() -> None:
    config = Config.parse({"MODEL_MAP": " gpt-4o = claude-a ,o*=claude-b,"}, home=None)
    assert config.model_map == (("gpt-4o", "claude-a"), ("o*", "claude-b"))
    for wrong in ("gpt-4o=", "=claude-a", "a=claude-*", "a=b=c", "a b=claude-a", "a=x,a=y"):
        with pytest.raises(SettingError, match="MODEL_MAP"):
            Config.parse({"MODEL_MAP": wrong}, home=None)


def test_no_secret_is_shown_by_the_configuration() -> None:
    config = Config.parse(
        {"TOKEN_SECRET": "hush1", "TOKEN_ADMIN_KEY": "hush2", "ANTHROPIC_API_KEY": "hush3"}, home=None
    )
    assert "hush" not in repr(config)


@pytest.mark.parametrize("env", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxys_password_is_shown_neither_right_nor_wrong(env: str) -> None:
    assert "hush" not in repr(Config.parse({env: "http://ada:hush@proxy.test"}, home=None))
    with pytest.raises(SettingError) as caught:
        Config.parse({env: "http://ada:hush@proxy.test/path"}, home=None)
    assert "hush" not in str(caught.value)
    with pytest.raises(SettingError) as caught:
        Config.parse({"NO_PROXY": "http://ada:hush@proxy.test"}, home=None)
    assert "hush" not in str(caught.value)


def test_every_setting_has_its_own_names() -> None:
    assert len({row.env for row in SETTINGS}) == len({row.name for row in SETTINGS}) == len(fields(Config))
    assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", row.env) for row in SETTINGS)


def test_every_group_stands_together() -> None:
    groups = [row.group for row in SETTINGS]
    assert [group for before, group in zip([None, *groups], groups, strict=False) if group != before] == list(
        dict.fromkeys(groups)
    )


@given(
    st.dictionaries(st.sampled_from([row.env for row in SETTINGS]), st.text()),
    st.none() | st.text(st.characters(exclude_characters="\0")),
)
def test_any_texts_make_a_configuration_or_a_setting_error(values: dict[str, str], home: str | None) -> None:
    try:
        config = Config.parse(values, home=home)
    except SettingError:
        return
    assert 0 <= config.port <= 65535


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("5", (("*", 5),)),
        ("primary=1, account-2 = 20", (("primary", 1), ("account-2", 20))),
        ("*=7,primary=1", (("*", 7), ("primary", 1))),
    ],
)
def test_limits_of_accounts_are_by_name_or_for_all_others(text: str, limits: tuple[tuple[str, int], ...]) -> None:
    assert Config.parse({"ACCOUNT_REQUEST_LIMITS": text}, home=None).account_request_limits == limits


@pytest.mark.parametrize("text", ["primary=1,primary=2", "3,4", "=5", "primary=", "primary=1e3"])
def test_a_limit_that_is_none_or_told_twice_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="limit"):
        Config.parse({"ACCOUNT_CONCURRENCY_LIMITS": text}, home=None)


def test_account_directories_lie_under_the_home_directory_too() -> None:
    config = Config.parse({"ADDITIONAL_ACCOUNT_DIRS": "~/a, /b ,"}, home="/home/ada")
    assert config.additional_account_dirs == ("/home/ada/a", "/b")


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        *((name, Strategy.ROUND_ROBIN) for name in ("round-robin", "RoundRobin", "rr")),
        *((name, Strategy.PRIORITY) for name in ("priority", "prio", "fill-first")),
        *((name, Strategy.LEAST_USED) for name in ("least-used", "leastused", "LRU", "quota-first")),
    ],
)
def test_a_strategy_has_the_spellings_of_the_original(text: str, strategy: Strategy) -> None:
    assert Config.parse({"ACCOUNT_ROUTING_STRATEGY": text}, home=None).account_routing_strategy is strategy
