"""``tokens``: the router's own tokens, made here without asking a running router."""

import os
import time

import click

from cli.options import Invocation, RouterGroup
from cli.secret_file import token_secret
from protocol.errors import Refusal
from protocol.identity.tokens import DEFAULT_TTL_HOURS, issue


@click.group(cls=RouterGroup)
def tokens() -> None:
    """Issue tokens for the router's clients."""


@tokens.command("issue")
@click.option(
    "--ttl-hours",
    type=click.FLOAT,
    metavar="HOURS",
    default=DEFAULT_TTL_HOURS,
    show_default=True,
    help="How long the token is valid.",
)
@click.option("--label", metavar="TEXT", default="", help="Whom or what the token is for.")
@click.option("--account", metavar="NAME", help="The one account that its requests are sent with.")
@click.pass_context
def issue_token(ctx: click.Context, ttl_hours: float, label: str, account: str | None) -> None:
    """Print a new token, alone on a line.

    It is signed with the router's token secret: run this with the same settings, in the same place.
    """
    config, report = ctx.ensure_object(Invocation).configure()
    secret = token_secret(config, report)
    try:
        issued = issue(
            secret, ttl_hours=ttl_hours, label=label, account=account or None, wall=time.time(), entropy=os.urandom
        )
    except Refusal as refusal:
        raise click.UsageError(refusal.message, ctx) from None
    click.echo(issued.token.reveal())
