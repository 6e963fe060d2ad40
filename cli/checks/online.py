"""``--online``: whether those that the router has to ask can be reached. No credential is sent."""

import time
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from cli.checks.findings import Check, Finding, check, failure, warning
from cli.checks.reaching import Answer, Unreachable, ask
from cli.token_admin import contents
from protocol.config import Config, RefreshMode, UpstreamProvider
from protocol.egress import Destination, Proxy, choose_proxy
from protocol.files import CorruptFile
from protocol.identity.providers import STORE_FILE, ProviderRecord, read_store
from protocol.identity.upstream_url import OriginGuard
from protocol.values import BaseUrl

MOST_SKEW_SECONDS: Final = 60.0
"""How wrong our clock may be: tokens and logins end by it."""


def online_checks(config: Config) -> list[Check]:
    """Whom requests are sent to, and the endpoint that renews logins."""
    if config.upstream_provider is UpstreamProvider.OPENAI_COMPATIBLE:
        checks = [provider_check(config)]
    else:
        checks = [reach(config, "upstream reachable", config.upstream_base_url, "/v1/models")]
    if config.oauth_refresh is not RefreshMode.OFF:
        checks.append(reach(config, "token endpoint", config.oauth_token_url, ""))
    return checks


def provider_check(config: Config) -> Check:
    """The stored provider of the configured name, else the one of the settings."""
    label = "provider reachable"
    try:
        record = stored_provider(config)
    except CorruptFile as error:
        return check(label, "<unknown>", [failure(str(error))])
    if record is None:
        return reach(config, label, config.openai_compatible_base_url, "/models")
    via = choose_proxy(record.base_url.origin, config)
    if record.proxy is not None:
        via = Proxy(record.proxy.scheme.removesuffix("h"), record.proxy.host, record.proxy.port)
    try:
        OriginGuard(config.allowed_provider_hosts).check(record.base_url.origin.host)
    except ValueError as error:
        return check(label, f"{record.base_url.origin} (not asked)", [failure(str(error))])
    return reach_by(config, label, record.base_url, "/models", Destination(record.base_url.origin, via, guarded=True))


def stored_provider(config: Config) -> ProviderRecord | None:
    """The one that is stored under the configured name.

    :raises CorruptFile: the store cannot be understood.
    """
    ((path, content),) = contents((f"{config.data_dir}/{STORE_FILE}",))
    return read_store(path, content).get(config.openai_compatible_provider_name)


def reach(config: Config, label: str, base: BaseUrl, path: str) -> Check:
    """Somebody whom the settings name."""
    return reach_by(config, label, base, path, Destination(base.origin, choose_proxy(base.origin, config)))


def reach_by(config: Config, label: str, base: BaseUrl, path: str, destination: Destination) -> Check:
    """Connect, agree on TLS, and wait for the head of an answer; which answer it is hardly matters."""
    target = base.prefix + path or "/"
    where = str(base.origin) if destination.via is None else f"{base.origin} through {destination.via}"
    began = time.monotonic()
    try:
        answer = ask(
            destination,
            target,
            ca_file=config.upstream_ca_file,
            check_address=OriginGuard(config.allowed_provider_hosts).check_resolved,
            patience=config.upstream_connect_timeout_secs,
        )
    except Unreachable as error:
        return check(label, f"{where} (UNREACHABLE)", [failure(f"no answer from {base.origin}: {error}")])
    took = round((time.monotonic() - began) * 1000)
    return check(label, f"{where} (HTTP {answer.status} in {took} ms)", doubts(answer, target, time.time()))


def doubts(answer: Answer, target: str, wall: float) -> Iterator[Finding]:
    """What is strange about an answer that came at ``wall`` (epoch seconds)."""
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        yield warning(f"it has troubles of its own: HTTP {answer.status}")
    elif 300 <= answer.status < 400:
        yield warning("it redirects, which the router does not follow: is the base URL right?")
    elif answer.status == HTTPStatus.NOT_FOUND and target.endswith("/models"):
        yield warning(f"it knows no {target}: is the base URL right?")
    try:
        there = parsedate_to_datetime(answer.date)
    except ValueError:
        return
    skew = wall - (there if there.tzinfo else there.replace(tzinfo=UTC)).timestamp()
    if abs(skew) > MOST_SKEW_SECONDS:
        yield warning(f"the clock here is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}: tokens end by it")
