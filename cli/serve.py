"""``serve``: the router itself."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Final, TypeAlias

import click

from cli.options import Invocation, RouterCommand
from cli.output import Report, RuntimeFailure, version
from cli.secret_file import token_secret
from protocol.commands import Log, LogLevel
from protocol.config import Config

Run: TypeAlias = Callable[[Config, Report], int]

TRANSPORTS: Final = ("trio", "asyncio")


@click.command(cls=RouterCommand, lists_settings=True)
@click.option("--transport", type=click.Choice(TRANSPORTS), help="Event loop to run on; trio unless said otherwise.")
@click.pass_context
def serve(ctx: click.Context, transport: str | None) -> None:
    """Run the router until SIGTERM or SIGINT. This is also what happens without a command."""
    invocation = ctx.ensure_object(Invocation)
    config, report = invocation.configure()
    for line in opening_lines(config):
        report(Log(LogLevel.INFO, line, {}))
    ready = replace(config, token_secret=token_secret(config, report))
    # Only the chosen event loop is loaded.
    run: Run = import_module(f"transports.{transport or invocation.transport}").run
    try:
        exit_code = run(ready, report)
    except OSError as error:
        raise RuntimeFailure(error.strerror or str(error)) from None
    ctx.exit(exit_code)


def opening_lines(config: Config) -> list[str]:
    """What the log begins with; the transport adds where it listens."""
    return [
        f"Link.Assistant.Router v{version()}",
        f"Upstream: {config.upstream_base_url}",
        f"Upstream provider: {config.upstream_provider.value}",
        f"Claude Code home: {config.claude_code_home}",
        f"Data directory: {config.data_dir}",
    ]
