"""Commands that take every setting as an option, before or after a subcommand, generated from the settings table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from cli.output import PROGRAM, ConfigurationError, Report, log_writer
from cli.sources import Sources, gather
from protocol.commands import Log, LogLevel
from protocol.config import SETTINGS, Config
from protocol.kinds import PATH
from protocol.routing import Route
from protocol.settings import Setting, SettingError


@dataclass
class Invocation:
    """One run of the program: its default transport, and the settings given as options so far, by environment name."""

    transport: str = "trio"
    given: dict[str, str] = field(default_factory=dict)

    def configure(self) -> tuple[Config, Report]:
        """Read the settings from everywhere, and report doubts about their sources.

        :raises ConfigurationError: a value that its setting cannot take, with the place it came from.
        """
        config, sources = self.read()
        report = log_writer(config)
        for warning in sources.warnings:
            report(Log(LogLevel.WARN, warning, {}))
        return config, report

    def read(self) -> tuple[Config, Sources]:
        """The settings, and where each value came from.

        :raises ConfigurationError: a value that its setting cannot take, with the place it came from.
        """
        sources = gather(self.given, os.environ, Path())
        try:
            config = Config.parse(sources.values, home=os.environ.get("HOME"))
            check_extra_paths(config)
        except SettingError as error:
            raise ConfigurationError(f"{error} (from {sources.places[error.setting.env]})") from None
        return config, sources


def check_extra_paths(config: Config) -> None:
    """What a pattern is, only the routes know.

    :raises SettingError: one is none.
    """
    for pattern in config.extra_upstream_paths:
        try:
            Route.parse(pattern)
        except ValueError as error:
            (row,) = (row for row in SETTINGS if row.name == "extra_upstream_paths")
            raise SettingError(row, pattern, str(error)) from None


class SettingOption(click.Option):
    """The option of one setting. It only notes the text; ``Config`` reads it together with the other sources."""

    def __init__(self, row: Setting, flag: str) -> None:
        kind = {"is_flag": True} if row.is_switch else {"metavar": row.kind.metavar}
        super().__init__([flag, row.name], help=described(row), expose_value=False, callback=self._note, **kind)
        self.row = row

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[Any]]":
        """The words that the setting takes, or files for a path."""
        kind = self.row.kind
        if "|" in kind.metavar:
            return [CompletionItem(word) for word in kind.metavar.split("|") if word.startswith(incomplete.lower())]
        if kind is PATH:
            return [CompletionItem(incomplete, type="file")]
        return super().shell_complete(ctx, incomplete)

    def _note(self, ctx: click.Context, _: click.Parameter, value: str | bool | None) -> None:
        if isinstance(value, str):
            ctx.ensure_object(Invocation).given[self.row.env] = value
        elif value:
            ctx.ensure_object(Invocation).given[self.row.env] = "true"


def described(row: Setting) -> str:
    """For ``--help``: the environment's name, never its value."""
    default = "" if row.is_switch or not row.shown_default else f"; default {row.shown_default}"
    return f"{row.about} [{row.env}{default}]"


def utf8(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """For texts that are stored or sent: what is not UTF-8 arrives with lone surrogates, and can be neither."""
    for text in value if isinstance(value, tuple) else (value,):
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise click.BadParameter("it is not text in UTF-8", ctx, param) from None
    return value


SETTING_OPTIONS: Final = tuple(SettingOption(row, row.flag) for row in SETTINGS if row.flag is not None)


class RouterCommand(click.Command):
    """A command that also takes every setting.

    :param lists_settings: whether its help lists them; the others' help says where they are listed.
    """

    def __init__(self, *arguments: Any, lists_settings: bool = False, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self.lists_settings = lists_settings

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *SETTING_OPTIONS]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [option for option in self.get_params(ctx) if not isinstance(option, SettingOption)]
        write_options(ctx, formatter, "Options", own)
        if self.lists_settings:
            for group, options in groupby(SETTING_OPTIONS, key=lambda option: option.row.group):
                write_options(ctx, formatter, group, list(options))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if not self.lists_settings:
            formatter.write_paragraph()
            formatter.write_text(f"It takes every setting as an option too: see `{PROGRAM} --help`.")


class RouterGroup(RouterCommand, click.Group):
    """A group of such commands; what ``@group.command()`` adds to it is one as well."""

    command_class = RouterCommand
    group_class = type

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Parameter]
) -> None:
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
