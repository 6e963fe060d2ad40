"""``--print-config``: every setting as it is in effect, and where its value came from. Secrets are not shown."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, TypeVar

import click

from cli.results import Column, printable, show_json, table_text
from cli.sources import Sources
from protocol.config import SETTINGS, Config
from protocol.settings import Setting
from protocol.values import BaseUrl

UNSET: Final = "<unset>"
SET: Final = "set"

COLUMNS: Final = (Column("setting"), Column("source"), Column("value"))


F = TypeVar("F", bound=Callable[..., Any])


def print_config_options(command: F) -> F:
    """The options of a command that can show the settings instead of using them: ``print_config`` and ``as_json``."""
    as_json = click.option("--json", "as_json", is_flag=True, help="With --print-config: JSON instead of a table.")
    shown = "Show every setting with its value and where that came from, and exit. Secrets are not shown."
    return click.option("--print-config", is_flag=True, help=shown)(as_json(command))


def print_settings(config: Config, sources: Sources, *, as_json: bool) -> None:
    """On stdout, as a table or as ``{"settings": [...]}``; doubts about the sources on stderr."""
    for warning in sources.warnings:
        click.echo(printable(warning), err=True)
    if as_json:
        show_json({"settings": effective_settings(config, sources)})
    else:
        click.echo(effective_table(config, sources))


def effective_settings(config: Config, sources: Sources) -> list[dict[str, Any]]:
    """One JSON object for each setting, in the order of the table; of a secret the value is ``set`` or null."""
    return [
        {
            "setting": row.env,
            "flag": row.flag,
            "value": plain(row, getattr(config, row.name), sources.values.get(row.env, "")),
            "source": source_of(row, sources),
        }
        for row in SETTINGS
    ]


def effective_table(config: Config, sources: Sources) -> str:
    """The same for people."""
    rows = [(row["setting"], row["source"], text(row["value"])) for row in effective_settings(config, sources)]
    return table_text(COLUMNS, rows)


def source_of(row: Setting, sources: Sources) -> str:
    place = sources.places.get(row.env)
    if place is None:
        return "default"
    return place if sources.values[row.env].strip() else f"default, since it is empty in {place}"


def plain(row: Setting, value: object, given: str) -> Any:
    """A setting's value in JSON types; ``given`` is the text it was read from, for one that has no form of its own."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if row.kind.secret:
        return SET
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        pairs = bool(value) and all(isinstance(item, tuple) for item in value)
        return dict(value) if pairs else list(value)
    return str(value) if isinstance(value, BaseUrl) else given.strip()


def text(value: Any) -> str:
    """A value as an operator would write it."""
    if value is None or value in ([], ""):
        return UNSET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, dict):
        return ",".join(f"{name}={meant}" for name, meant in value.items())
    return ",".join(value) if isinstance(value, list) else str(value)
