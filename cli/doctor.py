"""``doctor``: what the settings come to, and whether the router can work with what it finds."""

import os
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from cli.checks.accounts import account_checks
from cli.checks.findings import Check, Severity
from cli.checks.listening import listening_check
from cli.checks.settings import secret_check, settings_checks
from cli.checks.stores import store_checks
from cli.effective import effective_settings, effective_table
from cli.options import Invocation, RouterCommand
from cli.results import printable, show_json
from cli.sources import Sources
from protocol.config import Config
from transports.version import version

LABEL_WIDTH: Final = 23

FAILED: Final = 1
"""The exit code when something was found that the router cannot work with."""


@click.command(cls=RouterCommand)
@click.option("--online", is_flag=True, help="Also see whether the upstream and the token endpoint can be reached.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which has all settings and their sources too.")
@click.pass_context
def doctor(ctx: click.Context, online: bool, as_json: bool) -> None:
    """Show what the settings come to, and look for what would keep the router from working.

    Looks at credentials and how long they last, the port, the secrets, the data directory and the stores in it, and who
    may read them. Nothing is changed, and no network is used without --online. With --verbose every setting is listed
    with the place its value came from. The exit code is 1 if a check failed; warnings do not count.
    """
    config, sources = ctx.ensure_object(Invocation).read()
    checks = all_checks(config, sources, online=online)
    if as_json:
        show_json(as_object(checks, config, sources))
    else:
        click.echo(as_text(checks))
        if config.verbose:
            click.echo(f"\n{effective_table(config, sources)}")
    ctx.exit(FAILED if number_of(Severity.FAILURE, checks) else 0)


def all_checks(config: Config, sources: Sources, *, online: bool) -> list[Check]:
    """In the order of the original's lines; ours stand where they belong among them."""
    secret, value = secret_check(config)
    checks = [
        *settings_checks(config, sources),
        secret,
        listening_check(config),
        *account_checks(config, time.time()),
        *store_checks(config, value, os.environ),
    ]
    if online:
        from cli.checks.online import online_checks  # loads an event loop, which no other command needs

        checks += online_checks(config)
    return checks


def as_text(checks: Sequence[Check]) -> str:
    """A line for each check and below it one for each finding, then how many those are."""
    lines = [f"Link.Assistant.Router v{version()}"]
    for made in checks:
        lines.append(printable(f"{made.label:<{LABEL_WIDTH}}: {made.value}"))
        lines += [printable(f"  {finding.severity.value.upper()}: {finding.message}") for finding in made.findings]
    failed, warnings = number_of(Severity.FAILURE, checks), number_of(Severity.WARNING, checks)
    return "\n".join([*lines, "", f"{failed} failed, {warnings} {'warning' if warnings == 1 else 'warnings'}"])


def as_object(checks: Sequence[Check], config: Config, sources: Sources) -> dict[str, Any]:
    """The same as a JSON object."""
    return {
        "version": version(),
        "failed": number_of(Severity.FAILURE, checks),
        "warnings": number_of(Severity.WARNING, checks),
        "checks": [
            {
                "label": made.label,
                "value": made.value,
                "status": made.status,
                "findings": [
                    {"severity": finding.severity.value, "message": finding.message} for finding in made.findings
                ],
            }
            for made in checks
        ],
        "settings": effective_settings(config, sources),
    }


def number_of(severity: Severity, checks: Sequence[Check]) -> int:
    return sum(finding.severity is severity for made in checks for finding in made.findings)
