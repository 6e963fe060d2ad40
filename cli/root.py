"""The program: its commands, and the settings that each of them takes as options."""

from typing import NoReturn

import click

from cli.accounts import accounts
from cli.completion import completion
from cli.demo import demo
from cli.doctor import doctor
from cli.effective import print_config_options
from cli.options import Invocation, RouterGroup
from cli.output import PROGRAM
from cli.providers import providers
from cli.serve import serve
from cli.tokens import tokens
from protocol.config import SETTINGS
from transports.version import version


def main(argv: list[str] | None = None, *, transport: str = "trio") -> NoReturn:
    """Run the program and exit: 0 = done, 1 = it failed while running, 2 = wrong usage or configuration.

    :param argv: arguments without the program's name; None = those of the process.
    :param transport: the event loop that ``serve`` runs on unless ``--transport`` says otherwise.
    """
    root.main(args=argv, prog_name=PROGRAM, obj=Invocation(transport))


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"{PROGRAM} {version()}")
        ctx.exit()


@click.group(
    name=PROGRAM,
    cls=RouterGroup,
    invoke_without_command=True,
    lists_settings=True,
    epilog="Settings are read from the command line, the environment, .lenv and .env in the current directory, in this "
    f"order; {' and '.join(row.env for row in SETTINGS if row.flag is None)} have no option. "
    "Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
@print_config_options
@click.pass_context
def root(ctx: click.Context, print_config: bool, as_json: bool) -> None:
    """A gateway that holds your Claude credentials and hands out its own expiring tokens.

    Without a command it runs the router, as serve does.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(serve, print_config=print_config, as_json=as_json)
    elif print_config or as_json:
        raise click.UsageError(
            "--print-config stands without a command, or behind serve; --json behind the command", ctx
        )


root.add_command(accounts)
root.add_command(completion)
root.add_command(demo)
root.add_command(doctor)
root.add_command(providers)
root.add_command(serve)
root.add_command(tokens)
