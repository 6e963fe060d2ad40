"""``tokens``: the router's own tokens, in the files of this machine or at a running router."""

from typing import Any, Final

import click
import jwt
import msgspec

from cli.options import Invocation, RouterGroup, utf8
from cli.remote import read_url, router_at
from cli.results import Column, json_option, show_json, table_text
from cli.token_admin import IN_MEMORY, RouterTokens, StoredTokens, TokenAdmin, TokenOrder
from protocol.commands import Log, LogLevel
from protocol.errors import Refusal
from protocol.identity.tokens import DEFAULT_TTL_HOURS, PREFIX
from protocol.values import BaseUrl

router_option: Final = click.option(
    "--url",
    metavar="URL",
    callback=read_url,
    help="Do it at the running router at this address, with the admin key, instead of in the files of this machine.",
)
"""For commands that administer; their parameter is ``url``."""


def read_id(ctx: click.Context, param: click.Parameter, text: str) -> str:
    """The id of a token, also from the token itself; whether that is genuine does not matter here."""
    utf8(ctx, param, text)
    if not text.startswith(PREFIX):
        return text
    try:
        return str(jwt.decode(text.removeprefix(PREFIX), options={"verify_signature": False})["sub"])
    except (jwt.PyJWTError, KeyError, RecursionError):
        raise click.BadParameter("this token cannot be read; give its id", ctx, param) from None


token_argument: Final = click.argument("token_id", metavar="ID", callback=read_id)


@click.group(cls=RouterGroup)
def tokens() -> None:
    """Issue tokens for the router's clients, look at them, and take them back.

    This is done in the data directory: run it with the router's settings, on its machine. Running routers take over
    what changed within a second. With --url a running router does it.
    """


@tokens.command("issue")
@click.option(
    "--ttl-hours",
    type=click.FLOAT,
    metavar="HOURS",
    default=DEFAULT_TTL_HOURS,
    show_default=True,
    help="How long the token is valid.",
)
@click.option("--label", callback=utf8, metavar="TEXT", default="", help="Whom or what the token is for.")
@click.option("--account", callback=utf8, metavar="NAME", help="The one account that its requests are sent with.")
@click.option("--max-requests", type=click.INT, metavar="NUMBER", help="How many requests it is good for in all.")
@click.option("--requests-per-minute", type=click.INT, metavar="NUMBER", help="How many requests within a minute.")
@click.option(
    "--token-budget", type=click.INT, metavar="NUMBER", help="How many of the model's tokens, of every kind, in all."
)
@click.option(
    "--model",
    "models",
    callback=utf8,
    metavar="PATTERN",
    multiple=True,
    help="A model that it may be used for, * standing for any characters; give the option again for more. Without it "
    "all models.",
)
@router_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the answer of the HTTP API, which has the token and its id."
)
@click.pass_context
def issue_token(
    ctx: click.Context,
    ttl_hours: float,
    label: str,
    account: str | None,
    max_requests: int | None,
    requests_per_minute: int | None,
    token_budget: int | None,
    models: tuple[str, ...],
    url: BaseUrl | None,
    as_json: bool,
) -> None:
    """Print a new token, alone on a line.

    It is signed with the router's token secret and shown this once; what is kept is a record of it, not the token.
    """
    hours = int(ttl_hours) if ttl_hours.is_integer() else ttl_hours
    order = TokenOrder(hours, label, account or None, max_requests, requests_per_minute, token_budget, models)
    admin = administration(ctx, url)
    try:
        issued = admin.issue(order)
    except Refusal as refusal:
        raise click.UsageError(refusal.message, ctx) from None
    if as_json:
        show_json(issued)
    else:
        click.echo(issued["token"])


@tokens.command("list")
@router_option
@json_option
@click.pass_context
def list_tokens(ctx: click.Context, url: BaseUrl | None, as_json: bool) -> None:
    """Show every token that is known, the oldest first.

    Times are in seconds since 1970. The last column has the requests that were made and how many may be.
    """
    records = administration(ctx, url).records()
    if as_json:
        show_json({"data": records})
    else:
        click.echo(table_text(COLUMNS, map(cells, records)))


@tokens.command("show")
@token_argument
@router_option
@click.pass_context
def show_token(ctx: click.Context, token_id: str, url: BaseUrl | None) -> None:
    """Print the record of one token as JSON: its limits, and what it has used.

    ID is the token's id; here as for the other commands the token itself will do, too.
    """
    show_json(administration(ctx, url).record(token_id))


@tokens.command("revoke")
@token_argument
@router_option
@click.pass_context
def revoke_token(ctx: click.Context, token_id: str, url: BaseUrl | None) -> None:
    """Refuse a token from now on. Nothing undoes this."""
    admin = administration(ctx, url)
    try:
        known = admin.revoke(token_id)
    except Refusal as refusal:
        raise click.UsageError(refusal.message, ctx) from None
    tell_ending("revoked", token_id, known)


@tokens.command("expire")
@token_argument
@router_option
@click.pass_context
def expire_token(ctx: click.Context, token_id: str, url: BaseUrl | None) -> None:
    """End a token now, as if its time were over. Its holder is told that it has expired."""
    admin = administration(ctx, url)
    try:
        known = admin.expire(token_id)
    except Refusal as refusal:
        raise click.UsageError(refusal.message, ctx) from None
    tell_ending("expired", token_id, known)


def administration(ctx: click.Context, url: BaseUrl | None) -> TokenAdmin:
    """The router at ``url``, else the files; where there are none, that is reported."""
    config, report = ctx.ensure_object(Invocation).configure()
    if url is not None:
        return RouterTokens(router_at(url, config))
    stored = StoredTokens(config, report)
    if not stored.kept:
        report(Log(LogLevel.WARN, f"{IN_MEMORY}, and nothing is recorded here", {}))
    return stored


def tell_ending(verb: str, token_id: str, known: bool) -> None:
    click.echo(f"{verb} {token_id}")
    if not known:
        click.echo(f"There was no record of {token_id}; one was made, so that a token of this id is refused.", err=True)


# --- for people -------------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    Column("id", 36), Column("issued_at", 10), Column("expires_at", 10), Column("revoked", 10), Column("label"),
    Column("requests"),
)  # fmt: skip


class ListedToken(msgspec.Struct):
    """As much of a record as is shown; the original router leaves out the later fields."""

    id: str
    label: str = ""
    issued_at: int = 0
    expires_at: int = 0
    revoked: bool = False
    max_requests: int | None = None
    used_requests: int = 0


def cells(record: Any) -> list[str]:
    try:
        token = msgspec.convert(record, ListedToken)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"a record of a token has another shape: {error}") from None
    allowed = "-" if token.max_requests is None else str(token.max_requests)
    return [
        token.id,
        str(token.issued_at),
        str(token.expires_at),
        "true" if token.revoked else "false",
        token.label,
        f"{token.used_requests}/{allowed}",
    ]
