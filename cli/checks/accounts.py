"""The accounts: whether each has a credential that works, keeps working, and is nobody else's."""

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cli.accounts import look_at, problem_of
from cli.checks.findings import Check, Finding, check, failure, may_write, private, warning
from protocol.config import Config, RefreshMode, UpstreamProvider
from protocol.identity.accounts import Account
from protocol.identity.credentials import CREDENTIAL_FILES, Credential, Kind
from protocol.identity.roster import Roster
from protocol.values import Secret

PRIMARY: Final = "primary credentials"

SOON_SECONDS: Final = 24 * 3600.0


def account_checks(config: Config, wall: float) -> list[Check]:
    """One for each account, the primary one first; ``wall`` in epoch seconds."""
    roster = Roster(config, entropy=secrets.token_bytes, report=lambda _: None)
    labels = [PRIMARY, *(f"extra account {number}" for number in range(1, len(config.additional_account_dirs) + 1))]
    holders: dict[Secret, str] = {}
    checks = []
    for label, account in zip(labels, roster, strict=True):
        complaints = look_at(account, wall)
        credential = account.credential
        if credential is None:
            checks.append(check(label, nothing_in(account), why_nothing(account, config, complaints)))
            continue
        findings = [*doubts(account, config, credential, complaints, wall), *file_findings(account, config)]
        holder = holders.setdefault(credential.token, label)
        if holder != label:
            findings.append(
                warning(f"it is the same as that of {holder}: one account under two names has no more room")
            )
        checks.append(check(label, found_in(account, credential, wall), findings))
    return checks


# --- without a credential ---------------------------------------------------------------------------------------------


def nothing_in(account: Account) -> str:
    files = [path for path in account.paths[: len(CREDENTIAL_FILES)] if os.path.exists(path)]
    return f"{files[0]} (found, NO TOKEN)" if files else f"{account.home} (MISSING)"


def why_nothing(account: Account, config: Config, complaints: list[str]) -> Iterator[Finding]:
    yield from map(warning, complaints)
    if config.upstream_provider is UpstreamProvider.ANTHROPIC:
        yield failure(
            f"no credential was found: log in with Claude Code and CLAUDE_CONFIG_DIR={account.home}, or use an API key"
        )


# --- with one ---------------------------------------------------------------------------------------------------------


def found_in(account: Account, credential: Credential, wall: float) -> str:
    if account.source not in account.paths:
        return f"{account.source} (set)"
    if credential.kind is Kind.API_KEY:
        return f"{account.source} (found, token OK), API key"
    state = "token OK" if account.usable(wall) else "token expired"
    until = "" if credential.expires_at is None else f" until {instant(credential.expires_at)}"
    return f"{account.source} (found, {state}), login{until}, {'renewable' if renewable(account) else 'not renewable'}"


def doubts(
    account: Account, config: Config, credential: Credential, complaints: list[str], wall: float
) -> Iterator[Finding]:
    """What is wrong with the credential, and with files that were passed over before it was found."""
    problem = problem_of(account, wall)
    if problem is not None:
        told = f"{problem}: log in with Claude Code again"
        yield failure(told) if config.upstream_provider is UpstreamProvider.ANTHROPIC else warning(told)
    elif credential.expires_at is not None and not renewable(account) and credential.expires_at < wall + SOON_SECONDS:
        yield warning("it ends within a day, and nothing renews it")
    yield from (
        warning(complaint) for complaint in complaints if not complaint.startswith(f"{account.source}: the access")
    )


def file_findings(account: Account, config: Config) -> Iterator[Finding]:
    if account.source not in account.paths:
        return
    yield from private(account.source)
    replaced = config.oauth_refresh is RefreshMode.FILE and renewable(account)
    if replaced and not may_write(os.path.dirname(os.path.realpath(account.source))):
        yield warning(
            f"{account.source} cannot be replaced: renewed logins are kept in the data directory, and who else uses "
            "the file has to log in again"
        )


def renewable(account: Account) -> bool:
    return account.refresher is not None and account.refresher.renewable


def instant(seconds: float) -> str:
    """In UTC, to the second; what a calendar does not have as the number it is."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"
