"""``demo``: the whole thing on this machine, with the practice upstream in the provider's place."""

import click

from cli.options import Invocation, RouterCommand


@click.command(cls=RouterCommand)
@click.option("--once", is_flag=True, help="Stop after the first answer instead of serving on.")
@click.pass_context
def demo(ctx: click.Context, once: bool) -> None:
    """Try the router without credentials and without a network.

    Starts a practice upstream, the router before it, issues a token, sends one streaming request through and shows it
    arriving. Then it prints how to point Claude Code, curl and the SDKs at it, and serves until Ctrl-C.
    """
    from cli.tour import give_tour  # no other command needs the practice upstream, nor its start-up time

    config, report = ctx.ensure_object(Invocation).configure()
    give_tour(config, report, once=once)
