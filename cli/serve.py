"""``serve``: the router itself."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Final, TypeAlias

import click

from cli.effective import print_config_options, print_settings
from cli.options import Invocation, RouterCommand
from cli.output import ConfigurationError, Report, RuntimeFailure
from cli.secret_file import token_secret
from protocol.commands import Log, LogLevel
from protocol.config import Config, UpstreamProvider
from protocol.files import CorruptFile
from transports.logs import LogWriter, least_level
from transports.version import version

Run: TypeAlias = Callable[..., int]

TRANSPORTS: Final = ("trio", "asyncio")


@click.command(cls=RouterCommand, lists_settings=True)
@click.option("--transport", type=click.Choice(TRANSPORTS), help="Event loop to run on; trio unless said otherwise.")
@print_config_options
@click.pass_context
def serve(ctx: click.Context, transport: str | None, print_config: bool, as_json: bool) -> None:
    """Run the router until SIGTERM or SIGINT. This is also what happens without a command."""
    invocation = ctx.ensure_object(Invocation)
    if print_config:
        print_settings(*invocation.read(), as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json goes with --print-config; the form of the log is --log-format", ctx)
    config, report = invocation.configure()
    for line in opening_lines(config):
        report(Log(LogLevel.INFO, line, {}))
    ready = replace(config, token_secret=token_secret(config, report))
    # Only the chosen event loop is loaded.
    run: Run = import_module(f"transports.{transport or invocation.transport}").run
    try:
        exit_code = run(ready, report, reread=Reading(invocation, report, ready).again)
    except OSError as error:
        raise RuntimeFailure(error.strerror or str(error)) from None
    except CorruptFile as error:
        raise RuntimeFailure(str(error)) from None
    ctx.exit(exit_code)


class Reading:
    """The settings of a running router, read once more when the operator asks for it."""

    def __init__(self, invocation: Invocation, report: Report, config: Config) -> None:
        self._invocation = invocation
        self._report = report
        self._config = config

    def again(self) -> Config | None:
        """What the sources say now; None if that cannot be used, and the log says why."""
        report = self._report
        try:
            config, _ = self._invocation.configure()
        except ConfigurationError as error:
            report(Log(LogLevel.ERROR, f"the settings stay as they are: {error.message}", {}))
            return None
        if isinstance(report, LogWriter):
            report.become(config.log_format, least_level(config.rust_log, verbose=config.verbose))
        report(Log(LogLevel.INFO, "the settings were read again", {}))
        return replace(config, token_secret=self._config.token_secret)


def opening_lines(config: Config) -> list[str]:
    """What the log begins with; the transport adds where it listens."""
    accounts = 1 + len(config.additional_account_dirs)
    if config.upstream_provider is UpstreamProvider.ANTHROPIC:
        upstream = str(config.upstream_base_url)
    else:
        upstream = f"{config.openai_compatible_provider_name} ({config.openai_compatible_base_url} unless it is stored)"
    return [
        f"Link.Assistant.Router v{version()}",
        f"Upstream: {upstream}",
        f"Upstream provider: {config.upstream_provider.value}",
        f"Claude Code home: {config.claude_code_home}",
        f"Data directory: {config.data_dir}",
        f"Storage policy: {config.storage_policy.value}",
        *([f"Accounts: {accounts}"] if accounts > 1 else []),
    ]
