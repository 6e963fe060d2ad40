"""What a command answers with on stdout: columns that line up for people, JSON for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import combining, east_asian_width

import click
import msgspec

GAP: Final = "  "

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
"""For commands that show something; their parameter is ``as_json``."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and the least width. ``Column("name", 16)`` is wider where a cell needs it."""

    title: str
    width: int = 0


def table_text(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """A line of headings and one for each row, left-aligned, with two blanks between the columns.

    What a terminal would act on, such as a line feed in a name, is shown as a replacement character.
    """
    lines = [[printable(cell) for cell in line] for line in ([column.title for column in columns], *rows)]
    widths = [
        max(column.width, *(cells_wide(line[position]) for line in lines)) for position, column in enumerate(columns)
    ]
    return "\n".join(GAP.join(map(padded, line, widths)).rstrip() for line in lines)


def show_json(value: object) -> None:
    """Print a value of JSON types, indented, in UTF-8 whatever the terminal is."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def printable(text: str) -> str:
    """The text without characters that a terminal would act on instead of showing them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def padded(text: str, width: int) -> str:
    return text + " " * (width - cells_wide(text))


def cells_wide(text: str) -> int:
    """How many cells of a terminal the text takes (Unicode Standard Annex 11)."""
    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)
