"""``completion``: the script that lets a shell complete our commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from cli.options import RouterCommand
from cli.output import PROGRAM

SHELLS: Final = ("bash", "zsh", "fish")

VARIABLE: Final = f"_{PROGRAM.replace('-', '_')}_COMPLETE".upper()
"""How a script asks the program; click looks for it under this name."""


@click.command(cls=RouterCommand)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in your shell.

    Have your shell run it when it starts: for bash put eval "$(link-assistant-router completion bash)" into ~/.bashrc,
    for zsh the same with zsh into ~/.zshrc, for fish link-assistant-router completion fish | source into
    ~/.config/fish/config.fish.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}", ctx)
    script = kind(ctx.find_root().command, {}, PROGRAM, VARIABLE)
    # Not script.source(): for bash that starts one to see how old it is.
    click.echo(script.source_template % script.source_vars(), nl=False)
