"""``accounts``: whom requests are sent with, by the word of a running router or else of the files."""

import secrets
import time
from typing import Any, Final

import click
import msgspec

from cli.options import Invocation, RouterGroup
from cli.output import Report
from cli.remote import RemoteFailure, RemoteRouter, router_at, url_option
from cli.results import Column, json_option, show_json, table_text
from protocol.commands import Log, LogLevel
from protocol.config import Config
from protocol.errors import LocalError
from protocol.files import FilesLoaded
from protocol.identity.accounts import Account
from protocol.identity.cooldowns import Cause
from protocol.identity.credentials import CREDENTIAL_FILES, find_credential
from protocol.identity.roster import Roster
from protocol.scripts.accounts import described
from protocol.values import BaseUrl
from transports.disk import load


@click.group(cls=RouterGroup)
def accounts() -> None:
    """Look at the accounts that requests are sent with."""


@accounts.command("list")
@url_option
@json_option
@click.pass_context
def list_accounts(ctx: click.Context, url: BaseUrl | None, as_json: bool) -> None:
    """Show every account: whether it can answer, how often it was used, and what it is waiting for.

    The running router is asked, where the settings say that it listens or at --url, with the admin key if there is one.
    When none answers there, the credential files are read instead, which say nothing about use.
    """
    config, report = ctx.ensure_object(Invocation).configure()
    listing = current_listing(url, config, report)
    if as_json:
        show_json(listing)
    else:
        shown = msgspec.convert(listing, Listing).accounts
        click.echo(table_text(COLUMNS, [cells(account, time.time()) for account in shown]))


def current_listing(url: BaseUrl | None, config: Config, report: Report) -> Any:
    """The JSON of ``GET /v1/accounts``; of the same shape, and with a word on stderr, where nobody could be asked.

    :raises RemoteFailure: there is a router, but it refuses; or there is none at a ``url`` that was given.
    """
    try:
        return ask(router_at(url, config))
    except RemoteFailure as failure:
        if url is not None or failure.status not in (None, NOT_OFFERED):
            raise
        click.echo(f"{failure.message}; the credential files were read instead, so use counts are unknown", err=True)
    return listing_of_files(config, report, time.time())


NOT_OFFERED: Final = 404
"""What a router answers whose operator has hidden the list."""


# --- asked of a router ------------------------------------------------------------------------------------------------


class ListedCooldown(msgspec.Struct):
    """As much of it as is shown."""

    cause: str
    remaining_seconds: float
    model: str | None = None


class ListedAccount(msgspec.Struct):
    """As much of it as is shown; routers of other versions may leave out the later fields."""

    name: str
    healthy: bool
    used: int
    home: str | None = None
    last_error: str | None = None
    kind: str | None = None
    expires_at: float | None = None
    expired: bool = False
    needs_login: bool = False
    cooldown_remaining_seconds: float | None = None
    cooldown_cause: str | None = None
    cooldowns: list[ListedCooldown] = []


class Listing(msgspec.Struct):
    accounts: list[ListedAccount]


def ask(router: RemoteRouter) -> Any:
    """What the router says of its accounts.

    :raises RemoteFailure: it refuses, or what answers there is no router.
    """
    listing = router.ask("GET", "/v1/accounts")
    try:
        msgspec.convert(listing, Listing)
    except msgspec.ValidationError:
        raise RemoteFailure(f"no router answers at {router}: its answer is no list of accounts") from None
    return listing


# --- read from the files ----------------------------------------------------------------------------------------------


def listing_of_files(config: Config, report: Report, wall: float) -> dict[str, Any]:
    """What a router that starts now would find, ``wall`` in epoch seconds; doubts about the files are reported."""
    roster = Roster(config, entropy=secrets.token_bytes, report=lambda _: None)
    listed = []
    for account, untried in zip(roster, roster.snapshots(0.0), strict=True):
        for warning in look_at(account, wall):
            report(Log(LogLevel.WARN, warning, {}))
        problem = problem_of(account, wall)
        snapshot = msgspec.structs.replace(untried, healthy=problem is None, last_error=problem)
        listed.append(described(account, snapshot, wall))
    return {"accounts": listed}


def look_at(account: Account, wall: float) -> list[str]:
    """Let the account take in its files; returns what is wrong with them."""
    seen = load(account.paths, None)
    if not isinstance(seen, FilesLoaded):
        raise LocalError("a first look at files finds what they hold")
    account.checked(seen, wall, 0.0)
    return find_credential(seen.files[: len(CREDENTIAL_FILES)], wall).warnings


def problem_of(account: Account, wall: float) -> str | None:
    """Why a router could not send requests with this account; None if it could, perhaps after renewing a login."""
    if account.credential is None:
        return Cause.NO_CREDENTIAL.value
    if account.usable(wall) or (account.refresher is not None and account.refresher.renewable):
        return None
    return "the login has expired and cannot be renewed"


# --- for people -------------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    Column("name", 16), Column("healthy", 8), Column("used", 6), Column("home"), Column("kind"), Column("expires"),
    Column("cooldown"), Column("note"),
)  # fmt: skip

NOTHING: Final = "-"


def cells(account: ListedAccount, wall: float) -> list[str]:
    return [
        account.name,
        "true" if account.healthy else "false",
        str(account.used),
        account.home or NOTHING,
        account.kind or NOTHING,
        expiry(account, wall),
        cooldown(account),
        note(account),
    ]


def expiry(account: ListedAccount, wall: float) -> str:
    if account.expired:
        return "expired"
    return NOTHING if account.expires_at is None else lasting(account.expires_at - wall)


def cooldown(account: ListedAccount) -> str:
    """That of the whole account, else of the model that is out the longest."""
    if account.cooldown_remaining_seconds is not None:
        cause = f" ({account.cooldown_cause})" if account.cooldown_cause else ""
        return lasting(account.cooldown_remaining_seconds) + cause
    for of_model in account.cooldowns:
        return f"{lasting(of_model.remaining_seconds)} for {of_model.model} ({of_model.cause})"
    return NOTHING


def note(account: ListedAccount) -> str:
    if account.needs_login and account.kind is not None:
        return "has to be logged in again"
    return account.last_error or NOTHING


def lasting(seconds: float) -> str:
    """The two largest units: ``6d23h``, ``4h05m``, ``12m30s``, ``9s``."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"
